package vllmsim

type chatRequest struct {
	textRequest

	Messages            []message `json:"messages"`
	MaxCompletionTokens *int      `json:"max_completion_tokens"`
	Logprobs            bool      `json:"logprobs"`
	TopLogprobs         int       `json:"top_logprobs"`
}

// chat is POST /v1/chat/completions.
func (c *call) chat() error {
	var q chatRequest
	members, err := readBody(c.r, &q)
	if err != nil {
		return err
	}
	if members["messages"] == nil {
		return missing("messages", len(members))
	}
	p, err := c.planChat(&q)
	if err != nil {
		return err
	}
	if q.Stream {
		return c.streamChat(&q, p)
	}
	out, err := c.run(p)
	if err != nil {
		return err
	}
	choices := []object{}
	for i, ch := range out.choices {
		var logprobs any
		if q.Logprobs && !p.beam {
			logprobs = chatLogprobs(ch.tokens, q.TopLogprobs)
		}
		choices = append(choices, object{
			{"index", i},
			{"message", object{
				{"role", "assistant"}, {"content", ch.text}, {"refusal", nil}, {"annotations", nil}, {"audio", nil},
				{"function_call", nil}, {"reasoning", nil},
			}},
			{"logprobs", logprobs}, {"finish_reason", ch.reason}, {"stop_reason", ch.stop}, {"token_ids", nil}, {"routed_experts", nil},
		})
	}
	return c.json(tail(object{
		{"id", p.id}, {"object", "chat.completion"}, {"created", c.at}, {"model", c.o.Model}, {"choices", choices},
		{"service_tier", nil}, {"system_fingerprint", fingerprint},
		{"usage", usage(out.prompt, out.completion, c.cacheDetails(out, out.created))},
		{"prompt_logprobs", nil}, {"prompt_token_ids", nil}, {"prompt_text", nil},
	}))
}

func (c *call) planChat(q *chatRequest) (*plan, error) {
	if err := c.checkModel(q.Model); err != nil {
		return nil, err
	}
	if len(q.Messages) == 0 {
		return nil, badRequest("messages", "messages must not be empty.")
	}
	p, err := c.plan(&q.textRequest, []prompt{c.chatPrompt(q.Messages)}, "chatcmpl-"+c.baseID(q.RequestID))
	if err != nil {
		return nil, err
	}
	if q.Logprobs {
		p.sampling.logprobs = q.TopLogprobs
	}
	asked := q.MaxCompletionTokens
	if asked == nil {
		asked = q.MaxTokens
	}
	return p, c.limit(p, asked, c.o.MaxModelLen)
}

// streamChat answers in events: the role of each choice, then one for each token.
func (c *call) streamChat(q *chatRequest, p *plan) error {
	final, continuous := c.includeUsage(&q.textRequest)
	chunk := func(choice object, done int, more ...member) object {
		o := object{{"id", p.id}, {"object", "chat.completion.chunk"}, {"created", c.at}, {"model", c.o.Model}, {"choices", []object{choice}}}
		if continuous {
			o = append(o, member{"usage", append(counts(p.promptTokens(), done), member{"completion_tokens_details", nil})})
		}
		return append(o, more...)
	}
	out := newStream(c)
	j, done, err := c.streamTokens(p, func() {
		for i := range p.n {
			out.event(chunk(object{
				{"index", i}, {"delta", object{{"role", "assistant"}, {"content", ""}}}, {"logprobs", nil}, {"finish_reason", nil},
			}, 0, member{"prompt_token_ids", nil}, member{"prompt_text", nil}))
		}
	}, func(o output) {
		var logprobs any
		if q.Logprobs {
			logprobs = chatLogprobs(o.tokens, q.TopLogprobs)
		}
		choice := object{
			{"index", o.seq.index}, {"delta", object{{"content", o.text}}}, {"logprobs", logprobs}, {"finish_reason", orNil(o.reason)},
		}
		if o.reason == "" {
			out.event(chunk(append(choice, member{"token_ids", nil}), o.generated))
			return
		}
		var more []member
		if !final {
			more = []member{{"system_fingerprint", fingerprint}}
		}
		out.event(chunk(append(choice, member{"stop_reason", o.stopReason}, member{"token_ids", nil}), o.generated, more...))
	})
	if err != nil {
		return err
	}
	if final {
		u, first := counts(p.promptTokens(), total(done)), j.seqs[0]
		if c.o.PromptTokensDetails {
			u = append(u, member{"prompt_tokens_details", object{{"cached_tokens", first.cached}, {"created_cache_tokens", c.created(first)}}})
		}
		out.event(object{
			{"id", p.id}, {"object", "chat.completion.chunk"}, {"created", c.at}, {"model", c.o.Model}, {"choices", []object{}},
			{"usage", u}, {"system_fingerprint", fingerprint},
		})
	}
	out.done()
	return nil
}

// streamTokens runs the plan, calling begin before the first token and each for
// every token; done counts the tokens of each choice.
func (c *call) streamTokens(p *plan, begin func(), each func(output)) (j *job, done []int, err error) {
	j = c.job(p, true)
	c.engine.submit(c.ctx, j)
	done = make([]int, len(j.seqs))
	for batch := j.next(); batch != nil; batch = j.next() {
		if begin != nil {
			begin()
			begin = nil
		}
		for _, o := range batch {
			done[o.seq.index] = o.generated
			each(o)
		}
	}
	if !j.wait() {
		return nil, nil, errGone
	}
	return j, done, nil
}

// includeUsage says whether a stream ends with usage and whether each event has it.
func (c *call) includeUsage(q *textRequest) (final, continuous bool) {
	switch {
	case c.o.ForceIncludeUsage:
		return true, true
	case q.StreamOptions == nil:
		return false, false
	default:
		return q.StreamOptions.IncludeUsage, q.StreamOptions.IncludeUsage && q.StreamOptions.ContinuousUsage
	}
}
