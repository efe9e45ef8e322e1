package vllmsim

import (
	"fmt"
	"slices"
)

// maxChoices bounds n, as VLLM_MAX_N_SEQUENCES does unless it is set.
const maxChoices = 16384

// textRequest is what completions and chat ask alike.
type textRequest struct {
	Model         string   `json:"model"`
	N             *int     `json:"n"`
	MaxTokens     *int     `json:"max_tokens"`
	Temperature   *float64 `json:"temperature"`
	TopP          *float64 `json:"top_p"`
	Stop          stopList `json:"stop"`
	IgnoreEOS     bool     `json:"ignore_eos"`
	IncludeStop   bool     `json:"include_stop_str_in_output"`
	BeamSearch    bool     `json:"use_beam_search"`
	RequestID     string   `json:"request_id"`
	Stream        bool     `json:"stream"`
	StreamOptions *struct {
		IncludeUsage    bool `json:"include_usage"`
		ContinuousUsage bool `json:"continuous_usage_stats"`
	} `json:"stream_options"`
}

// plan is a request understood: what the engine is to do.
type plan struct {
	prompts        []prompt
	n              int
	sampling       sampling
	beam           bool
	promptLogprobs bool
	id             string           // the answer's
	sub            func(int) string // the engine's id for a prompt
}

// plan checks what was asked, as vLLM does.
func (c *call) plan(q *textRequest, prompts []prompt, id string) (*plan, error) {
	p := &plan{prompts: prompts, n: 1, beam: q.BeamSearch, id: id, sub: func(int) string { return id }}
	p.sampling = sampling{
		temperature: value(q.Temperature, 1), topP: value(q.TopP, 1), ignoreEOS: q.IgnoreEOS,
		stop: q.Stop, includeStop: q.IncludeStop, logprobs: -1,
	}
	p.n = value(q.N, 1)
	switch {
	case q.Stream && q.BeamSearch:
		return nil, badRequest(nil, "Streaming is not currently supported with beam search")
	case q.StreamOptions != nil && !q.Stream:
		return nil, badRequest("stream_options", "Stream options can only be defined when `stream=True`.")
	case p.n < 1:
		return nil, badRequest(nil, "n must be at least 1, got %d.", p.n)
	case p.n > maxChoices:
		return nil, badRequest(nil, "n must be at most %d, got %d. To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable.", maxChoices, p.n)
	case p.n > 1 && p.sampling.temperature == 0 && !q.BeamSearch:
		return nil, badRequest(nil, "n must be 1 when using greedy sampling, got %d.", p.n)
	case p.sampling.temperature < 0 || p.sampling.temperature > 2:
		return nil, badRequest("temperature", "temperature must be in [0, 2], got %v.", p.sampling.temperature)
	case p.sampling.topP <= 0 || p.sampling.topP > 1:
		return nil, badRequest("top_p", "top_p must be in (0, 1], got %v.", p.sampling.topP)
	}
	return p, nil
}

// limit sets how many tokens are asked for: at most what the model has room for.
func (c *call) limit(p *plan, asked *int, unasked int) error {
	room := c.o.MaxModelLen
	for _, prompt := range p.prompts {
		n := len(prompt.tokens)
		switch {
		case n > room:
			return tooLong(room, fmt.Sprintf("your prompt contains at least %d input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.", room+1), room+1)
		case asked != nil && n+*asked > room:
			return tooLong(room, fmt.Sprintf("you requested %d output tokens and your prompt contains at least %d input tokens, for a total of at least %d tokens. "+
				"Please reduce the length of the input prompt or the number of requested output tokens.", *asked, n, n+*asked), n)
		}
		p.sampling.maxTokens = max(p.sampling.maxTokens, min(value(asked, unasked), room-n))
	}
	if p.sampling.maxTokens < 1 {
		return badRequest("max_tokens", "max_tokens must be at least 1, got %d.", p.sampling.maxTokens)
	}
	return nil
}

func tooLong(limit int, text string, tokens int) *failure {
	return badRequest("input_tokens", "This model's maximum context length is %d tokens. However, %s (parameter=input_tokens, value=%d)", limit, text, tokens)
}

func value[T any](p *T, unset T) T {
	if p == nil {
		return unset
	}
	return *p
}

// job makes the plan's sequences: the choices of a prompt, and the prompts of a
// request, arrive at the same moment.
func (c *call) job(p *plan, stream bool) *job {
	j := &job{stream: stream}
	at := c.engine.arrive()
	for i, prompt := range p.prompts {
		g := &group{n: p.n, left: p.n}
		s := p.sampling
		s.maxTokens = min(s.maxTokens, c.o.MaxModelLen-len(prompt.tokens))
		for k := range p.n {
			j.seqs = append(j.seqs, &sequence{
				sampling: s, id: p.sub(i), trace: c.trace, index: i*p.n + k, choice: k, group: g,
				text: prompt.text, prompt: prompt.tokens, promptLogprobs: p.promptLogprobs, arrival: at,
			})
		}
	}
	return j
}

// choice is one continuation of one prompt.
type choice struct {
	prompt prompt
	text   string
	tokens []string // when logprobs were asked for
	reason string
	stop   any
}

// outcome is what a request came to.
type outcome struct {
	choices            []choice
	prompt, completion int
	cached, created    int
	uncounted          bool // beam search tells nothing of the cache
}

// run does the plan to its end.
func (c *call) run(p *plan) (*outcome, error) {
	if p.beam {
		return c.beams(p)
	}
	j := c.job(p, false)
	c.engine.submit(c.ctx, j)
	if !j.wait() {
		return nil, errGone
	}
	out := &outcome{}
	for i, s := range j.seqs {
		out.choices = append(out.choices, choice{p.prompts[i/p.n], s.out.String(), s.tokens, s.reason, s.stopReason})
		out.completion += s.generated
		out.cached, out.created = s.cached, c.created(s)
	}
	out.prompt = p.promptTokens()
	return out, nil
}

// created is how many tokens a prompt added to the prefix cache.
func (c *call) created(s *sequence) int {
	return max(0, len(s.prompt)/c.o.BlockSize*c.o.BlockSize-s.cached)
}

// counts are the usage that every form of it begins with: what bills are compared with.
func counts(prompt, completion int) object {
	return object{{"prompt_tokens", prompt}, {"total_tokens", prompt + completion}, {"completion_tokens", completion}}
}

// usage is that of an answer which is not streamed; details is nil for null.
func usage(prompt, completion int, details any) object {
	return append(counts(prompt, completion), member{"prompt_tokens_details", details}, member{"completion_tokens_details", nil})
}

func (p *plan) promptTokens() (n int) {
	for _, prompt := range p.prompts {
		n += len(prompt.tokens)
	}
	return n
}

func total(list []int) (n int) {
	for _, x := range list {
		n += x
	}
	return n
}

// cacheDetails are the prompt_tokens_details of an answer that is not streamed;
// created is nil where vLLM does not tell.
func (c *call) cacheDetails(out *outcome, created any) any {
	if !c.o.PromptTokensDetails || out.uncounted {
		return nil
	}
	return object{{"cached_tokens", out.cached}, {"created_cache_tokens", created}, {"multimodal_tokens", nil}}
}

// tail are the members at the end of every answer.
func tail(front object) object {
	return append(front, member{"kv_transfer_params", nil}, member{"ec_transfer_params", nil}, member{"metrics", nil})
}

// beams does a beam search as vLLM does: each step is a request of its own for
// each beam, one token long, whose prompt is the prefix so far.
func (c *call) beams(p *plan) (*outcome, error) {
	out := &outcome{uncounted: true}
	for _, prompt := range p.prompts {
		width, steps := p.n, min(p.sampling.maxTokens, c.o.MaxModelLen-len(prompt.tokens))
		found := make([]choice, width)
		prefix := prompt.tokens
		for step := range steps {
			batch, j := newID(), &job{}
			for b := range width {
				if step == 0 && b > 0 { // all beams begin at the prompt
					break
				}
				j.seqs = append(j.seqs, &sequence{
					sampling: sampling{maxTokens: 1, temperature: p.sampling.temperature, topP: 1, ignoreEOS: true, logprobs: -1},
					id:       fmt.Sprintf("%s-%s-beam-%d", p.id, batch, b), trace: c.trace, group: &group{n: 1, left: 1},
					text: prompt.text, prompt: prefix, arrival: c.engine.arrive(),
				})
			}
			c.engine.submit(c.ctx, j)
			if !j.wait() {
				return nil, errGone
			}
			prefix = append(slices.Clip(prefix), " beam")
			for b := range width {
				// A search keeps different beams, also where sampling would be greedy.
				found[b].text += c.o.Next(Position{Prompt: prompt.text, Choice: b, Step: step, Temperature: 1}).Text
			}
		}
		for b := range width {
			found[b].prompt, found[b].reason = prompt, reasonLength
		}
		out.choices = append(out.choices, found...)
		out.prompt += len(prompt.tokens)
		out.completion += width * steps
	}
	return out, nil
}
