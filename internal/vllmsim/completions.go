package vllmsim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// unaskedCompletion is how many tokens a completion gets that names no number.
const unaskedCompletion = 16

type completionRequest struct {
	textRequest

	Prompt   json.RawMessage `json:"prompt"`
	Echo     bool            `json:"echo"`
	Logprobs *int            `json:"logprobs"`
}

// completions is POST /v1/completions.
func (c *call) completions() error {
	var q completionRequest
	members, err := readBody(c.r, &q)
	if err != nil {
		return err
	}
	if err := c.checkModel(q.Model); err != nil {
		return err
	}
	if members["prompt"] == nil {
		return badRequest("prompt", "Either prompt or prompt_embeds must be provided and non-empty.")
	}
	prompts, err := c.prompts(q.Prompt, "prompt")
	if err != nil {
		return err
	}
	p, err := c.plan(&q.textRequest, prompts, "cmpl-"+c.baseID(q.RequestID))
	if err != nil {
		return err
	}
	p.sub = func(i int) string { return fmt.Sprintf("%s-%d", p.id, i) }
	if q.Logprobs != nil {
		p.sampling.logprobs, p.promptLogprobs = *q.Logprobs, q.Echo
	}
	asked := q.MaxTokens
	if q.echoOnly() { // it is computed all the same: one token, which is not shown
		one := 1
		asked = &one
	}
	if err := c.limit(p, asked, unaskedCompletion); err != nil {
		return err
	}
	if q.Stream {
		return c.streamCompletion(&q, p)
	}
	out, err := c.run(p)
	if err != nil {
		return err
	}
	return c.json(q.answer(c, p, out))
}

func (q *completionRequest) echoOnly() bool { return q.Echo && q.MaxTokens != nil && *q.MaxTokens == 0 }

func (q *completionRequest) answer(c *call, p *plan, out *outcome) object {
	choices := []object{}
	for i, ch := range out.choices {
		var logprobs, ofPrompt any
		if q.Logprobs != nil && !p.beam {
			logprobs = completionLogprobs(q.shown(ch.prompt, ch.tokens), q.Echo, *q.Logprobs, 0)
			if q.Echo {
				ofPrompt = promptLogprobs(ch.prompt.tokens, *q.Logprobs)
			}
		}
		text := ch.text
		if q.Echo {
			text = ch.prompt.text + text
		}
		if q.echoOnly() {
			text = ch.prompt.text
		}
		choices = append(choices, object{
			{"index", i}, {"text", text}, {"logprobs", logprobs}, {"finish_reason", ch.reason}, {"stop_reason", ch.stop},
			{"token_ids", nil}, {"prompt_logprobs", ofPrompt}, {"prompt_token_ids", nil}, {"routed_experts", nil},
		})
	}
	return tail(object{
		{"id", p.id}, {"object", "text_completion"}, {"created", c.at}, {"model", c.o.Model}, {"choices", choices},
		{"service_tier", nil}, {"system_fingerprint", fingerprint},
		{"usage", usage(out.prompt, out.completion, c.cacheDetails(out, nil))},
	})
}

// shown are the tokens that logprobs are told of.
func (q *completionRequest) shown(p prompt, tokens []string) []string {
	switch {
	case q.echoOnly():
		return p.tokens
	case q.Echo:
		return append(slices.Clip(p.tokens), tokens...)
	default:
		return append([]string{}, tokens...)
	}
}

// streamCompletion answers in events, one for each token.
func (c *call) streamCompletion(q *completionRequest, p *plan) error {
	final, continuous := c.includeUsage(&q.textRequest)
	front := func(choices []object) object {
		return object{{"id", p.id}, {"object", "text_completion"}, {"created", c.at}, {"model", c.o.Model}, {"choices", choices}}
	}
	out := newStream(c)
	echoed, offsets := map[int]bool{}, map[int]int{} // by choice
	j, done, err := c.streamTokens(p, nil, func(o output) {
		i, prompt := o.seq.index, p.prompts[o.seq.index/p.n]
		echo, text, tokens := q.Echo && !echoed[i], o.text, o.tokens
		if echo {
			echoed[i] = true
			text, tokens = prompt.text+text, q.shown(prompt, tokens)
			if q.echoOnly() {
				text = prompt.text
			}
		}
		var logprobs any
		if q.Logprobs != nil {
			logprobs = completionLogprobs(append([]string{}, tokens...), echo, *q.Logprobs, offsets[i])
			offsets[i] += utf8.RuneCountInString(strings.Join(tokens, ""))
		}
		chunk := front([]object{{
			{"index", i}, {"text", text}, {"logprobs", logprobs}, {"finish_reason", orNil(o.reason)}, {"stop_reason", o.stopReason},
			{"prompt_token_ids", nil}, {"token_ids", nil},
		}})
		if continuous {
			chunk = append(chunk, member{"usage", counts(len(prompt.tokens), o.generated)})
		}
		if o.reason != "" && !final {
			chunk = append(chunk, member{"system_fingerprint", fingerprint})
		}
		out.event(chunk)
	})
	if err != nil {
		return err
	}
	if final {
		u := counts(p.promptTokens(), total(done))
		if c.o.PromptTokensDetails {
			u = append(u, member{"prompt_tokens_details", object{{"cached_tokens", j.seqs[0].cached}}})
		}
		out.event(append(front([]object{}), member{"usage", u}, member{"system_fingerprint", fingerprint}))
	}
	out.done()
	return nil
}

// orNil is null for an empty text.
func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}
