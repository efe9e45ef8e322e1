package vllmsim

import (
	"hash/fnv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Words is the default tokenizer: a word with the space before it is a token,
// so is a run of digits, and so is any other character.
func Words(text string) []string {
	var out []string
	for text != "" {
		n := wordLen(text)
		out = append(out, text[:n])
		text = text[n:]
	}
	return out
}

// wordLen is the length of the first token of text, which is not empty.
func wordLen(text string) int {
	start := 0
	if text[0] == ' ' && len(text) > 1 {
		start = 1
	}
	first, size := utf8.DecodeRuneInString(text[start:])
	kind := func(rune) bool { return false }
	switch {
	case unicode.IsLetter(first):
		kind = unicode.IsLetter
	case unicode.IsDigit(first):
		kind = unicode.IsDigit
	}
	end := start + size
	for end < len(text) {
		r, size := utf8.DecodeRuneInString(text[end:])
		if !kind(r) {
			break
		}
		end += size
	}
	return end
}

// tokenID is a stable number for a token's text: there is no real vocabulary.
func tokenID(token string) int {
	h := fnv.New32a()
	h.Write([]byte(token))
	return int(h.Sum32() % vocabularySize)
}

// vocabularySize is OPT's.
const vocabularySize = 50272

// Position is where the model stands: what it has read and written so far.
type Position struct {
	Prompt      string  // the whole prompt, chat template included
	Choice      int     // which of the n choices
	Step        int     // tokens of this choice before this one
	Temperature float64 // 0 is greedy: all choices alike
}

// Token is what the model says next.
type Token struct {
	Text string
	// End says that this is the end-of-sequence token. It counts as a token but
	// adds no text, and is ignored by a request with ignore_eos.
	End bool
}

// endEvery is the mean length, in tokens, after which Babble ends by itself.
const endEvery = 48

var babble = strings.Fields("the a usage tokens bill invoice is counted of and customer for each engine span price month to in meter record line sum total day")

// Babble is the default model: deterministic words that depend on the prompt,
// the choice (unless greedy) and the position.
func Babble(p Position) Token {
	h := fnv.New64a()
	choice := p.Choice
	if p.Temperature == 0 {
		choice = 0
	}
	h.Write([]byte(p.Prompt))
	h.Write([]byte{byte(choice), byte(choice >> 8), byte(p.Step), byte(p.Step >> 8), byte(p.Step >> 16)})
	n := h.Sum64()
	n ^= n >> 31 // FNV's low bits are weak
	return Token{Text: " " + babble[n%uint64(len(babble))], End: (n>>16)%endEvery == 0}
}
