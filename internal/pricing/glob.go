package pricing

import (
	"strings"
	"unicode/utf8"
)

// isGlob tells whether a model's text stands for many.
func isGlob(model string) bool { return strings.ContainsAny(model, "*?") }

// matches tells whether a model's text, a name or a glob, stands for a name.
func matches(model, name string) bool {
	if !isGlob(model) {
		return model == name
	}
	return includes(model, name, false)
}

// includes tells whether glob matches text, by the usual walk that goes back to
// the last "*" only. With pattern, text is a glob itself, and the answer is
// whether whatever it matches is matched: a "*" there is taken by "*" alone.
func includes(glob, text string, pattern bool) bool {
	g, t, star, resume := 0, 0, -1, 0
	for t < len(text) {
		_, size := utf8.DecodeRuneInString(text[t:])
		switch {
		case g < len(glob) && glob[g] == '*':
			star, resume = g, t
			g++
		case g < len(glob) && glob[g] == '?' && (!pattern || text[t] != '*'):
			g, t = g+1, t+size
		case g < len(glob) && glob[g] == text[t] && (!pattern || text[t] != '?'):
			g, t = g+1, t+1
		case star >= 0:
			_, size := utf8.DecodeRuneInString(text[resume:])
			resume += size
			g, t = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}

// covers tells whether everything that the text other stands for is matched by
// the text model. It may say no where a finer look would say yes.
func covers(model, other string) bool {
	if !isGlob(other) {
		return matches(model, other)
	}
	return model == other || isGlob(model) && includes(model, other, true)
}

// common returns a name that both globs match, and false when there is none.
func common(a, b string) (string, bool) {
	if !begins(a, b) || !begins(reversed(a), reversed(b)) {
		return "", false
	}
	m := meeting{a: []rune(a), b: []rune(b)}
	m.dead = make([]bool, (len(m.a)+1)*(len(m.b)+1))
	if !m.from(0, 0) {
		return "", false
	}
	if len(m.name) == 0 {
		return "x", true // both are nothing but stars
	}
	return string(m.name), true
}

// begins tells whether what stands before the first wildcard of each agrees: the
// quick answer for most pairs.
func begins(a, b string) bool {
	n := min(strings.IndexAny(a+"*", "*?"), strings.IndexAny(b+"*", "*?"))
	return a[:n] == b[:n]
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// meeting looks for a name of two globs by walking both at once. Each pair of
// places is left at most once, so it takes the product of the lengths.
type meeting struct {
	a, b []rune
	dead []bool
	name []rune
}

func (m *meeting) from(i, j int) bool {
	at := i*(len(m.b)+1) + j
	if m.dead[at] {
		return false
	}
	m.dead[at] = true // unless this call finds the end, nobody needs to look again
	aStar, bStar := i < len(m.a) && m.a[i] == '*', j < len(m.b) && m.b[j] == '*'
	switch {
	case i == len(m.a) && j == len(m.b):
		return true
	case aStar && m.from(i+1, j), bStar && m.from(i, j+1):
		return true
	case aStar && !bStar && j < len(m.b):
		return m.take(m.b[j], i, j+1)
	case bStar && !aStar && i < len(m.a):
		return m.take(m.a[i], i+1, j)
	case aStar || bStar || i == len(m.a) || j == len(m.b):
		return false
	case m.a[i] == '?':
		return m.take(m.b[j], i+1, j+1)
	case m.b[j] == '?' || m.a[i] == m.b[j]:
		return m.take(m.a[i], i+1, j+1)
	}
	return false
}

// take goes on with one more character of the name; a "?" may be any.
func (m *meeting) take(c rune, i, j int) bool {
	if c == '?' {
		c = 'x'
	}
	m.name = append(m.name, c)
	if m.from(i, j) {
		return true
	}
	m.name = m.name[:len(m.name)-1]
	return false
}
