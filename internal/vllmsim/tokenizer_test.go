package vllmsim_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

// TestTokensAreTheText: no tokenizer loses or adds a byte, whatever the text.
func TestTokensAreTheText(t *testing.T) {
	vocabulary := vllmsim.NewVocabulary("ab", " a", "é", "abc")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("ab c1é\xff")))).Draw(t, "text")
		for name, split := range map[string]func(string) []string{"Words": vllmsim.Words, "Vocabulary": vocabulary.Tokenize} {
			tokens := split(text)
			if strings.Join(tokens, "") != text || slices.Contains(tokens, "") {
				t.Fatalf("%s: %q became %q", name, text, tokens)
			}
		}
	})
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                   nil,
		" ":                  {" "},
		"Tell me, 12 times!": {"Tell", " me", ",", " 12", " times", "!"},
		"a  b":               {"a", "  ", "b"},
		"naïve\n":            {"naïve", "\n"},
	} {
		if got := vllmsim.Words(text); !slices.Equal(got, want) {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// TestPrefixCache: whole blocks of a prompt that came before are cached, but never
// all of a prompt.
func TestPrefixCache(t *testing.T) {
	s := start(t, nil, vllmsim.Options{PromptTokensDetails: true, BlockSize: 4})
	cached := func(prompt string) int {
		t.Helper()
		_, body := post(t, s, "/v1/completions", `{"max_tokens":1,"prompt":"`+prompt+`"}`)
		return decodeJSON[struct {
			Usage struct {
				Details struct {
					Cached int `json:"cached_tokens"`
				} `json:"prompt_tokens_details"`
			} `json:"usage"`
		}](t, body).Usage.Details.Cached
	}
	for _, c := range []struct {
		prompt string
		want   int
	}{
		{"a b c d e f g h i", 0},
		{"a b c d e f g h i", 8},
		{"a b c d e f g h", 4}, // the last token is computed
		{"a b c d x y z", 4},
		{"a b c", 0},
		{"b c d e f", 0},
	} {
		if got := cached(c.prompt); got != c.want {
			t.Errorf("%q: %d cached, want %d", c.prompt, got, c.want)
		}
	}
}
