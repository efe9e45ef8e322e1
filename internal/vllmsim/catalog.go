package vllmsim

import "encoding/json"

const (
	// version is the vLLM that is recorded.
	version = "0.32.0"
	// fingerprint is its system_fingerprint: the version and a hash of its settings.
	fingerprint = "vllm-0.32.0-b56913c5"
)

// models is GET /v1/models.
func (c *call) models() error {
	created := c.started.Unix()
	return c.json(object{{"object", "list"}, {"data", []object{{
		{"id", c.o.Model}, {"object", "model"}, {"created", created}, {"owned_by", "vllm"}, {"root", c.o.Model}, {"parent", nil},
		{"max_model_len", c.o.MaxModelLen},
		{"permission", []object{{
			{"id", "modelperm-" + newID()}, {"object", "model_permission"}, {"created", created}, {"allow_create_engine", false},
			{"allow_sampling", true}, {"allow_logprobs", true}, {"allow_search_indices", false}, {"allow_view", true},
			{"allow_fine_tuning", false}, {"organization", "*"}, {"group", nil}, {"is_blocking", false},
		}}},
	}}}})
}

// version is GET /version.
func (c *call) version() error { return c.json(object{{"version", version}}) }

// health is GET /health: an empty answer.
func (c *call) health() error {
	c.w.WriteHeader(200)
	return nil
}

// exposition is GET /metrics.
func (c *call) exposition() error {
	c.w.Header().Set("Content-Type", "text/plain; version=1.0.0; charset=utf-8")
	_, err := c.w.Write([]byte(c.metrics.text()))
	return gone(err)
}

// tokenize is POST /tokenize.
func (c *call) tokenize() error {
	var q struct {
		Model    string          `json:"model"`
		Prompt   json.RawMessage `json:"prompt"`
		Messages []message       `json:"messages"`
		Strings  bool            `json:"return_token_strs"`
	}
	members, err := readBody(c.r, &q)
	if err != nil {
		return err
	}
	if err := c.checkModel(q.Model); err != nil {
		return err
	}
	var text string
	switch {
	case members["messages"] != nil:
		text = c.chatPrompt(q.Messages).text
	case members["prompt"] == nil:
		return missing("prompt", len(members))
	case json.Unmarshal(q.Prompt, &text) != nil:
		return invalid("string_type", "body.prompt", "Input should be a valid string", "'<other>'")
	}
	tokens, ids := c.prompt(text).tokens, []int{}
	for _, t := range tokens {
		ids = append(ids, tokenID(t))
	}
	var strings any
	if q.Strings {
		strings = append([]string{}, tokens...)
	}
	return c.json(object{{"count", len(ids)}, {"max_model_len", c.o.MaxModelLen}, {"tokens", ids}, {"token_strs", strings}})
}
