package vllmsim

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
)

// dimensions is the length of the recorded model's vectors.
const dimensions = 128

type poolingRequest struct {
	Model          string          `json:"model"`
	Input          json.RawMessage `json:"input"`
	Messages       []message       `json:"messages"`
	EncodingFormat string          `json:"encoding_format"`
	RequestID      string          `json:"request_id"`
}

// embeddings is POST /v1/embeddings.
func (c *call) embeddings() error { return c.pool("embd", "embedding", "embedding") }

// pooling is POST /pooling.
func (c *call) pooling() error { return c.pool("pooling", "pooling", "data") }

// pool answers with a vector for each input.
func (c *call) pool(prefix, kind, field string) error {
	var q poolingRequest
	members, err := readBody(c.r, &q)
	if err != nil {
		return err
	}
	if members["input"] == nil && members["messages"] == nil {
		return missing("input", len(members))
	}
	if err := c.checkModel(q.Model); err != nil {
		return err
	}
	list := []prompt{c.chatPrompt(q.Messages)}
	if members["messages"] == nil {
		if list, err = c.prompts(q.Input, "input"); err != nil {
			return err
		}
	}
	id := prefix + "-" + c.baseID(q.RequestID)
	tokens, err := c.encode(id, list)
	if err != nil {
		return err
	}
	data := []object{}
	for i, p := range list {
		v := any(vector(p.tokens))
		if q.EncodingFormat == "base64" {
			v = packed(vector(p.tokens))
		}
		data = append(data, object{{"index", i}, {"object", kind}, {field, v}})
	}
	return c.json(object{
		{"id", id}, {"object", "list"}, {"created", c.at}, {"model", c.o.Model}, {"data", data}, {"usage", usage(tokens, 0, nil)},
	})
}

// encode does the engine's work on prompts, each a request of its own with its own
// arrival, and counts their tokens.
func (c *call) encode(id string, list []prompt) (tokens int, err error) {
	j := &job{}
	for i, p := range list {
		n := len(p.tokens)
		if n > c.o.MaxModelLen {
			return 0, tooLong(c.o.MaxModelLen, fmt.Sprintf("your prompt contains at least %d input tokens, which exceeds this limit even without any output tokens. "+
				"Please reduce the length of the input prompt.", c.o.MaxModelLen+1), c.o.MaxModelLen+1)
		}
		tokens += n
		j.seqs = append(j.seqs, &sequence{
			sampling: sampling{pooling: true, logprobs: -1}, id: fmt.Sprintf("%s-%d", id, i), trace: c.trace, index: i,
			group: &group{n: 1, left: 1}, text: p.text, prompt: p.tokens, arrival: c.engine.arrive(),
		})
	}
	c.engine.submit(c.ctx, j)
	if !j.wait() {
		return 0, errGone
	}
	return tokens, nil
}

// vector is a text's place: texts with words in common are near each other.
func vector(tokens []string) []float64 {
	v := make([]float64, dimensions)
	for _, t := range tokens {
		h := fnv.New64a()
		h.Write([]byte(t))
		for i, x := 0, h.Sum64(); i < dimensions; i++ {
			x = x*6364136223846793005 + 1442695040888963407 // Knuth's generator
			v[i] += float64(int64(x)>>33) / (1 << 30)
		}
	}
	norm := 0.0
	for _, x := range v {
		norm += x * x
	}
	if norm > 0 {
		for i := range v {
			v[i] /= math.Sqrt(norm)
		}
	}
	return v
}

// packed is base64 of the vector's 32-bit floats.
func packed(v []float64) string {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// textList is one text or several.
type textList []string

// UnmarshalJSON takes both forms.
func (l *textList) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = textList{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(l))
}

type scoreRequest struct {
	Model     string   `json:"model"`
	Queries   textList `json:"queries"`
	Text1     textList `json:"text_1"`
	Data1     textList `json:"data_1"`
	Query     textList `json:"query"`
	Documents textList `json:"documents"`
	Items     textList `json:"items"`
	Text2     textList `json:"text_2"`
	Data2     textList `json:"data_2"`
	TopN      int      `json:"top_n"`
	RequestID string   `json:"request_id"`
}

// scored are the pairs that a request is about, and how near they are.
type scored struct {
	id        string
	documents []string
	scores    []float64
	tokens    int
}

// compare embeds both sides, as vLLM does with a model that embeds, and compares.
// One query goes with every document, else they go in pairs.
func (c *call) compare() (*scored, *scoreRequest, error) {
	var q scoreRequest
	if _, err := readBody(c.r, &q); err != nil {
		return nil, nil, err
	}
	if err := c.checkModel(q.Model); err != nil {
		return nil, nil, err
	}
	left := slices.Concat(q.Queries, q.Text1, q.Data1, q.Query)
	right := slices.Concat(q.Documents, q.Items, q.Text2, q.Data2)
	if len(left) == 0 || len(right) == 0 || len(left) > 1 && len(left) != len(right) {
		return nil, nil, badRequest(nil, "Input lengths must be either 1:1, 1:N or N:N")
	}
	var list []prompt
	for _, t := range slices.Concat(left, right) {
		list = append(list, c.prompt(t))
	}
	out := &scored{id: "score-" + c.baseID(q.RequestID), documents: right}
	var err error
	if out.tokens, err = c.encode(out.id, list); err != nil {
		return nil, nil, err
	}
	for i := range right {
		out.scores = append(out.scores, dot(vector(list[min(i, len(left)-1)].tokens), vector(list[len(left)+i].tokens)))
	}
	return out, &q, nil
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// score is POST /score.
func (c *call) score() error {
	s, _, err := c.compare()
	if err != nil {
		return err
	}
	data := []object{}
	for i, x := range s.scores {
		data = append(data, object{{"index", i}, {"object", "score"}, {"score", x}})
	}
	return c.json(object{
		{"id", s.id}, {"object", "list"}, {"created", c.at}, {"model", c.o.Model}, {"data", data}, {"usage", usage(s.tokens, 0, nil)},
	})
}

// rerank is POST /rerank.
func (c *call) rerank() error {
	s, q, err := c.compare()
	if err != nil {
		return err
	}
	order := make([]int, len(s.scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.scores[b], s.scores[a]) })
	if q.TopN > 0 && q.TopN < len(order) {
		order = order[:q.TopN]
	}
	results := []object{}
	for _, i := range order {
		results = append(results, object{
			{"index", i}, {"document", object{{"text", s.documents[i]}, {"multi_modal", nil}}}, {"relevance_score", s.scores[i]},
		})
	}
	return c.json(object{
		{"id", s.id}, {"model", c.o.Model}, {"usage", object{{"prompt_tokens", s.tokens}, {"total_tokens", s.tokens}}}, {"results", results},
	})
}
