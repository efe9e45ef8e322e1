package otlp

import (
	"crypto/sha256"
	"encoding/hex"
	"unicode/utf8"
)

const (
	// maxText bounds a kept text in bytes. A client chooses request ids, so a
	// long one is shortened and never a reason to refuse what it used.
	maxText = 512
	// headText and tailText are what is kept of a longer one; the tail holds the
	// index that the engine put there.
	headText, tailText = 256, 64
)

// shorten returns a long text as its head, its SHA-256 and its tail. The text
// must be valid UTF-8.
func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	head := headText
	for !utf8.RuneStart(s[head]) {
		head--
	}
	tail := len(s) - tailText
	for !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + "~" + hex.EncodeToString(sum[:]) + "~" + s[tail:]
}
