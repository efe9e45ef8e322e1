package vllmsim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// idBytes is the length of vLLM's random ids: 16 hexadecimal digits.
const idBytes = 8

// newID is vLLM's random_uuid.
func newID() string { return hex.EncodeToString(random(idBytes)) }

// newUUID is a random UUID, as service.instance.id has.
func newUUID() string {
	b := random(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the program
	return b
}
