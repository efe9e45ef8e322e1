package vllmsim

import "encoding/json"

type responsesRequest struct {
	Model           string          `json:"model"`
	Input           json.RawMessage `json:"input"`
	Instructions    *string         `json:"instructions"`
	MaxOutputTokens *int            `json:"max_output_tokens"`
	Temperature     *float64        `json:"temperature"`
	TopP            *float64        `json:"top_p"`
	Stream          bool            `json:"stream"`
	User            *string         `json:"user"`
	Metadata        json.RawMessage `json:"metadata"`
	PreviousID      *string         `json:"previous_response_id"`
	Background      bool            `json:"background"`
}

// responses is POST /v1/responses. Nothing is stored: an earlier response is
// unknown, and none runs in the background.
func (c *call) responses() error {
	var q responsesRequest
	members, err := readBody(c.r, &q)
	if err != nil {
		return err
	}
	if members["input"] == nil {
		return missing("input", len(members))
	}
	if err := c.checkModel(q.Model); err != nil {
		return err
	}
	switch {
	case q.PreviousID != nil:
		return &failure{404, "invalid_request_error", "Response with id '" + *q.PreviousID + "' not found.", "response_id"}
	case q.Background:
		return badRequest("background", "background is only supported when `store` is enabled on the server.")
	}
	input, err := c.responsesPrompt(&q)
	if err != nil {
		return err
	}
	// vLLM takes no X-Request-Id here.
	p, err := c.plan(&textRequest{Temperature: q.Temperature, TopP: q.TopP}, []prompt{input}, "resp_"+newID())
	if err != nil {
		return err
	}
	p.sub = func(int) string { return p.id + "_0" }
	if err := c.limit(p, q.MaxOutputTokens, c.o.MaxModelLen); err != nil {
		return err
	}
	if q.Stream {
		return c.streamResponse(&q, p)
	}
	out, err := c.run(p)
	if err != nil {
		return err
	}
	return c.json(q.answer(c, p, "msg_"+newID(), out))
}

func (c *call) responsesPrompt(q *responsesRequest) (prompt, error) {
	var list []message
	if q.Instructions != nil {
		list = append(list, message{Role: "system", Content: contentText(*q.Instructions)})
	}
	var text string
	if json.Unmarshal(q.Input, &text) == nil {
		return c.chatPrompt(append(list, message{Role: "user", Content: contentText(text)})), nil
	}
	var items []message
	if json.Unmarshal(q.Input, &items) != nil {
		return prompt{}, invalid("string_type", "body.input", "Input should be a valid string", "'<other>'")
	}
	return c.chatPrompt(append(list, items...)), nil
}

// answer is the response as it stands: in progress while out is nil.
func (q *responsesRequest) answer(c *call, p *plan, message string, out *outcome) object {
	status, items, usage, incomplete := "in_progress", []object{}, any(nil), any(nil)
	if out != nil {
		status = "completed"
		ch := out.choices[0]
		if ch.reason == reasonLength {
			status, incomplete = "incomplete", object{{"reason", "max_output_tokens"}}
		}
		items = append(items, responseMessage(message, "completed", []object{outputText(ch.text, nil)}))
		usage = responseUsage(out)
	}
	return object{
		{"id", p.id}, {"created_at", c.at}, {"incomplete_details", incomplete}, {"instructions", q.Instructions}, {"metadata", q.Metadata},
		{"model", c.o.Model}, {"object", "response"}, {"output", items}, {"parallel_tool_calls", true},
		{"temperature", p.sampling.temperature}, {"tool_choice", "none"}, {"tools", []object{}}, {"top_p", p.sampling.topP},
		{"background", false}, {"max_output_tokens", p.sampling.maxTokens}, {"max_tool_calls", nil}, {"previous_response_id", nil},
		{"prompt", nil}, {"reasoning", nil}, {"service_tier", "auto"}, {"status", status}, {"text", nil}, {"top_logprobs", nil},
		{"truncation", "disabled"}, {"usage", usage}, {"user", q.User}, {"presence_penalty", 0.0}, {"frequency_penalty", 0.0},
		{"kv_transfer_params", nil}, {"ec_transfer_params", nil}, {"input_messages", nil}, {"output_messages", nil},
	}
}

func responseMessage(id, status string, content []object) object {
	return object{{"id", id}, {"content", content}, {"role", "assistant"}, {"status", status}, {"type", "message"}, {"phase", nil}}
}

func outputText(text string, logprobs any) object {
	return object{{"annotations", []object{}}, {"text", text}, {"type", "output_text"}, {"logprobs", logprobs}}
}

func responseUsage(out *outcome) object {
	return object{
		{"input_tokens", out.prompt},
		{"input_tokens_details", object{
			{"cached_tokens", out.cached}, {"cache_write_tokens", out.created}, {"input_tokens_per_turn", []int{}}, {"cached_tokens_per_turn", []int{}},
		}},
		{"output_tokens", out.completion},
		{"output_tokens_details", object{
			{"reasoning_tokens", 0}, {"tool_output_tokens", 0}, {"output_tokens_per_turn", []int{}}, {"tool_output_tokens_per_turn", []int{}},
		}},
		{"total_tokens", out.prompt + out.completion},
	}
}

// streamResponse answers in the events of the Responses API.
func (c *call) streamResponse(q *responsesRequest, p *plan) error {
	out, id, number := newStream(c), "msg_"+newID(), 0
	send := func(kind string, more ...member) {
		o := object{{"type", kind}, {"sequence_number", number}}
		out.named(kind, append(o, more...))
		number++
	}
	at := []member{{"item_id", id}, {"output_index", 0}, {"content_index", 0}}
	started := q.answer(c, p, id, nil)
	send("response.created", member{"response", started})
	send("response.in_progress", member{"response", started})
	text := ""
	ch := choice{}
	j, done, err := c.streamTokens(p, func() {
		send("response.output_item.added", member{"output_index", 0}, member{"item", responseMessage(id, "in_progress", []object{})})
		send("response.content_part.added", append(at[:3:3], member{"part", outputText("", []object{})})...)
	}, func(o output) {
		text += o.text
		ch = choice{text: text, reason: o.reason}
		if o.text != "" {
			send("response.output_text.delta", append(at[:3:3], member{"delta", o.text}, member{"logprobs", []object{}})...)
		}
	})
	if err != nil {
		return err
	}
	part := outputText(text, nil)
	send("response.output_text.done", append(at[:3:3], member{"text", text}, member{"logprobs", []object{}})...)
	send("response.content_part.done", append(at[:3:3], member{"part", part})...)
	send("response.output_item.done", member{"output_index", 0}, member{"item", responseMessage(id, "completed", []object{part})})
	first := j.seqs[0]
	send("response.completed", member{"response", q.answer(c, p, id, &outcome{
		choices: []choice{ch}, prompt: p.promptTokens(), completion: total(done), cached: first.cached, created: c.created(first),
	})})
	return nil
}
