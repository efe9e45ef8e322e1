package vllmsim

import (
	"hash/fnv"
	"math"
	"strconv"
	"unicode/utf8"
)

// There is no model whose probabilities could be told, so they are made up: the
// shape is vLLM's, the numbers are a hash.

// alternative is one token that might have come.
type alternative struct {
	token   string
	logprob float64
}

// alternatives are the token that came and others, n in all (but at least it).
func alternatives(token string, n int) []alternative {
	out := []alternative{{token, madeUp(token, 0)}}
	h := fnv.New32a()
	h.Write([]byte(token))
	for i := uint32(1); len(out) < n; i++ {
		other := " " + babble[(h.Sum32()+i)%uint32(len(babble))]
		if other != token {
			out = append(out, alternative{other, madeUp(token, int(i))})
		}
		if i > uint32(len(babble)) {
			break
		}
	}
	return out
}

// madeUp is a log probability, the lower the rank the higher.
func madeUp(token string, rank int) float64 {
	h := fnv.New32a()
	h.Write([]byte(token))
	return math.Round(-1e6*(float64(rank)+float64(1+h.Sum32()%1000)/1000)) / 1e6
}

// completionLogprobs are those of /v1/completions. The first prompt of an echo has
// none: nothing is before it.
func completionLogprobs(tokens []string, echo bool, n, offset int) object {
	offsets, logprobs, top := []int{}, []any{}, []any{}
	for i, t := range tokens {
		offsets = append(offsets, offset)
		offset += utf8.RuneCountInString(t)
		if echo && i == 0 {
			logprobs, top = append(logprobs, nil), append(top, nil)
			continue
		}
		list := alternatives(t, n)
		logprobs = append(logprobs, list[0].logprob)
		var o object
		for _, a := range list {
			o = append(o, member{a.token, a.logprob})
		}
		top = append(top, o)
	}
	return object{{"text_offset", offsets}, {"token_logprobs", logprobs}, {"tokens", tokens}, {"top_logprobs", top}}
}

// promptLogprobs are those that an echo with logprobs adds to each choice.
func promptLogprobs(tokens []string, n int) []any {
	out := []any{}
	for i, t := range tokens {
		if i == 0 {
			out = append(out, nil)
			continue
		}
		var o object
		for rank, a := range alternatives(t, n) {
			o = append(o, member{strconv.Itoa(tokenID(a.token)), object{{"logprob", a.logprob}, {"rank", rank + 1}, {"decoded_token", a.token}}})
		}
		out = append(out, o)
	}
	return out
}

// chatLogprobs are those of /v1/chat/completions, n alternatives to each token.
func chatLogprobs(tokens []string, n int) object {
	entry := func(a alternative) object {
		bytes := []int{}
		for _, b := range []byte(a.token) {
			bytes = append(bytes, int(b))
		}
		return object{{"token", a.token}, {"logprob", a.logprob}, {"bytes", bytes}}
	}
	content := []object{}
	for _, t := range tokens {
		list, top := alternatives(t, n), []object{}
		for _, a := range list[:min(n, len(list))] {
			top = append(top, entry(a))
		}
		content = append(content, append(entry(list[0]), member{"top_logprobs", top}))
	}
	return object{{"content", content}}
}
