package vllmsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxBody bounds a request's body in bytes; uvicorn has no bound, a simulator
// that tests point at needs one.
const maxBody = 64 << 20

// readBody decodes a request's body into each of targets and returns how many
// members the object has. null is as good as absent, as for pydantic.
func readBody(r *http.Request, targets ...any) (members map[string]json.RawMessage, err error) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, plain(http.StatusRequestEntityTooLarge)
	}
	if err != nil {
		return nil, errGone
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, invalid("missing", "body", "Field required", "None")
	}
	for _, t := range append(targets, &members) {
		if err := json.Unmarshal(raw, t); err != nil {
			return nil, decodeFailure(err)
		}
	}
	if members == nil { // null
		return nil, invalid("model_attributes_type", "body", "Input should be a valid dictionary", "None")
	}
	for name, value := range members {
		if string(value) == "null" {
			delete(members, name)
		}
	}
	return members, nil
}

func decodeFailure(err error) *failure {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return invalid("json_invalid", fmt.Sprintf("body.%d", syntax.Offset), "JSON decode error", "{}")
	case errors.As(err, &kind):
		name, msg := "value_error", "Input should be valid"
		switch t := kind.Type.String(); {
		case strings.HasPrefix(t, "int"):
			name, msg = "int_parsing", "Input should be a valid integer"
		case strings.HasPrefix(t, "float"):
			name, msg = "float_parsing", "Input should be a valid number"
		case t == "bool":
			name, msg = "bool_parsing", "Input should be a valid boolean"
		case t == "string":
			name, msg = "string_type", "Input should be a valid string"
		case strings.HasPrefix(t, "["):
			name, msg = "list_type", "Input should be a valid list"
		}
		loc := "body"
		if kind.Field != "" {
			loc += "." + strings.TrimPrefix(kind.Field, "textRequest.") // what completions and chat share is no level of its own
		}
		return invalid(name, loc, msg, "'<"+kind.Value+">'")
	default:
		return invalid("value_error", "body", err.Error(), "None")
	}
}

// prompt is one text to work on, in tokens.
type prompt struct {
	text   string
	tokens []string
}

func (p *process) prompt(text string) prompt { return prompt{text, p.o.Tokenize(text)} }

// prompts reads what the API calls prompt or input: a text, texts, the token ids
// of one prompt, or of several.
func (p *process) prompts(raw json.RawMessage, field string) ([]prompt, error) {
	var text string
	var texts []string
	var ids []int64
	var lists [][]int64
	switch {
	case json.Unmarshal(raw, &text) == nil:
		return []prompt{p.prompt(text)}, nil
	case json.Unmarshal(raw, &texts) == nil:
		var out []prompt
		for _, t := range texts {
			out = append(out, p.prompt(t))
		}
		if len(out) == 0 {
			return nil, badRequest(nil, "You must pass at least one prompt")
		}
		return out, nil
	case json.Unmarshal(raw, &ids) == nil:
		return []prompt{fromIDs(ids)}, nil
	case json.Unmarshal(raw, &lists) == nil:
		var out []prompt
		for _, l := range lists {
			out = append(out, fromIDs(l))
		}
		return out, nil
	default:
		return nil, invalid("string_type", "body."+field, "Input should be a valid string", "'<other>'")
	}
}

// fromIDs is a prompt given in tokens; there is no vocabulary to take them back to
// text.
func fromIDs(ids []int64) prompt {
	var p prompt
	for _, id := range ids {
		p.tokens = append(p.tokens, fmt.Sprintf("<%d>", id))
	}
	p.text = strings.Join(p.tokens, "")
	return p
}

// stopList is one stop string or several.
type stopList []string

// UnmarshalJSON takes both forms.
func (s *stopList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*s = nil
		if one != "" {
			*s = stopList{one}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(s))
}

// message is one of a chat; its content is a text or a list of parts.
type message struct {
	Role    string      `json:"role"`
	Content contentText `json:"content"`
}

// contentText is the text of a message: parts of other kinds than text are left out.
type contentText string

// UnmarshalJSON takes both forms.
func (c *contentText) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = contentText(text)
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	for _, p := range parts {
		*c += contentText(p.Text)
	}
	return nil
}

// chatPrompt is the recorded chat template.
func (p *process) chatPrompt(list []message) prompt {
	var b strings.Builder
	for _, m := range list {
		b.WriteString(m.Role + ": " + string(m.Content) + "\n")
	}
	b.WriteString("assistant:")
	return p.prompt(b.String())
}
