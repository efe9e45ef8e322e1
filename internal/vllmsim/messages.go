package vllmsim

import "errors"

type messagesRequest struct {
	Model         string      `json:"model"`
	MaxTokens     *int        `json:"max_tokens"`
	Messages      []message   `json:"messages"`
	System        contentText `json:"system"`
	StopSequences []string    `json:"stop_sequences"`
	Temperature   *float64    `json:"temperature"`
	TopP          *float64    `json:"top_p"`
	Stream        bool        `json:"stream"`
}

// messages is POST /v1/messages, Anthropic's API, whose errors look different.
func (c *call) messages() error {
	err := c.answerMessages()
	var f *failure
	if errors.As(err, &f) && f.kind != "Bad Request" { // that one is FastAPI's own
		c.write(f.status, object{{"type", "error"}, {"error", object{{"type", f.kind}, {"message", f.message}}}})
		return nil
	}
	return err
}

func (c *call) answerMessages() error {
	var q messagesRequest
	members, err := readBody(c.r, &q)
	if err != nil {
		return err
	}
	for _, name := range []string{"messages", "max_tokens"} {
		if members[name] == nil {
			return missing(name, len(members))
		}
	}
	if err := c.checkModel(q.Model); err != nil {
		return err
	}
	list := q.Messages
	if q.System != "" {
		list = append([]message{{Role: "system", Content: q.System}}, list...)
	}
	p, err := c.plan(&textRequest{Temperature: q.Temperature, TopP: q.TopP, Stop: q.StopSequences}, []prompt{c.chatPrompt(list)}, "chatcmpl-"+c.baseID(""))
	if err != nil {
		return err
	}
	if err := c.limit(p, q.MaxTokens, 0); err != nil {
		return err
	}
	if q.Stream {
		return c.streamMessages(p)
	}
	out, err := c.run(p)
	if err != nil {
		return err
	}
	ch := out.choices[0]
	reason, sequence := stopReason(ch.reason, ch.stop)
	answer := object{
		{"id", p.id}, {"type", "message"}, {"role", "assistant"}, {"content", []object{{{"type", "text"}, {"text", ch.text}}}},
		{"model", c.o.Model}, {"stop_reason", reason},
	}
	if sequence != nil {
		answer = append(answer, member{"stop_sequence", sequence})
	}
	return c.json(append(answer, member{"usage", c.messagesUsage(out)}))
}

// messagesUsage counts what was cached apart, as Anthropic does.
func (c *call) messagesUsage(out *outcome) object {
	if !c.o.PromptTokensDetails {
		return object{{"input_tokens", out.prompt}, {"output_tokens", out.completion}}
	}
	return object{
		{"input_tokens", out.prompt - out.cached - out.created}, {"output_tokens", out.completion},
		{"cache_creation_input_tokens", out.created}, {"cache_read_input_tokens", out.cached},
	}
}

func stopReason(reason string, stop any) (string, any) {
	switch {
	case reason == reasonLength:
		return "max_tokens", nil
	case stop != nil:
		return "stop_sequence", stop
	default:
		return "end_turn", nil
	}
}

// streamMessages answers in the events of the Messages API.
func (c *call) streamMessages(p *plan) error {
	out := newStream(c)
	send := func(kind string, more ...member) {
		out.named(kind, append(object{{"type", kind}}, more...))
	}
	open, last := false, output{}
	j, done, err := c.streamTokens(p, func() {
		send("message_start", member{"message", object{
			{"id", p.id}, {"type", "message"}, {"role", "assistant"}, {"content", []object{}}, {"model", c.o.Model},
			{"stop_reason", nil}, {"stop_sequence", nil}, {"usage", object{{"input_tokens", p.promptTokens()}, {"output_tokens", 0}}},
		}})
	}, func(o output) {
		last = o
		if o.text == "" {
			return
		}
		if !open {
			open = true
			send("content_block_start", member{"index", 0}, member{"content_block", object{{"type", "text"}, {"text", ""}}})
		}
		send("content_block_delta", member{"index", 0}, member{"delta", object{{"type", "text_delta"}, {"text", o.text}}})
	})
	if err != nil {
		return err
	}
	if open {
		send("content_block_stop", member{"index", 0})
	}
	reason, sequence := stopReason(last.reason, last.stopReason)
	first := j.seqs[0]
	send("message_delta", member{"delta", object{{"stop_reason", reason}, {"stop_sequence", sequence}}}, member{"usage", c.messagesUsage(&outcome{
		prompt: p.promptTokens(), completion: total(done), cached: first.cached, created: c.created(first),
	})})
	send("message_stop")
	return nil
}
