package vllmsim

import (
	"strings"
	"unicode/utf8"
)

// Vocabulary is a tokenizer by the longest match: a token that is not in it is a
// single character.
type Vocabulary struct {
	tokens  map[string]bool
	longest int
}

// NewVocabulary takes the tokens longer than one character.
func NewVocabulary(tokens ...string) *Vocabulary {
	v := &Vocabulary{tokens: make(map[string]bool, len(tokens))}
	for _, t := range tokens {
		v.tokens[t] = true
		v.longest = max(v.longest, len(t))
	}
	return v
}

// Tokenize is for Options.Tokenize.
func (v *Vocabulary) Tokenize(text string) []string {
	var out []string
	for text != "" {
		_, n := utf8.DecodeRuneInString(text)
		for l := min(v.longest, len(text)); l > n; l-- {
			if v.tokens[text[:l]] {
				n = l
				break
			}
		}
		out = append(out, text[:n])
		text = text[n:]
	}
	return out
}

// recordedTokens are the pieces into which the recorded model split the recorded
// prompts: seen in logprobs-echo, else chosen so that every count agrees.
var recordedTokens = strings.Split("an| F|ran|is| is| a| S|one|wo| two|th|ree| three|our| f|ive|"+
	" c|ity| on| the| we|st| co|ast| and| tokens| of| this| prompt| are| ca|ched|"+
	"us|er| T|ell| me| about| b|ill|ing|ass|ist|ant", "|")

// Recorded makes o count and speak as the model of testdata/recordings did, so
// that a recorded request gets the recorded counts.
func Recorded(o Options) Options {
	o.Tokenize = NewVocabulary(recordedTokens...).Tokenize
	o.Next = recordedNext
	o.PromptTokensDetails = true
	return o
}

// recordedNext says what the recorded model said to a chat, and to the rest.
func recordedNext(p Position) Token {
	switch {
	case strings.HasPrefix(p.Prompt, "user:") && p.Step < 3:
		return Token{Text: "hema"}
	case strings.HasPrefix(p.Prompt, "user:"):
		return Token{Text: " ⇒"}
	case p.Step == 0:
		return Token{Text: " a"}
	default:
		return Token{Text: "por"}
	}
}
