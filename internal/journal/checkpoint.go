package journal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is what a signature says: a journal of this origin has Size
// entries, whose tree has this root. Its text is C2SP tlog-checkpoint.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   tlog.Hash
}

// Text is the text that is signed.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// ErrCheckpoint says that a text is no checkpoint, or that no known key signed
// it.
var ErrCheckpoint = errors.New("bad checkpoint")

// OpenCheckpoint reads a signed checkpoint and verifies it with the verifier
// keys (texts that Signer.Verifier gives), of which one must have signed it. Two
// texts that open are the same but for signatures of others.
func OpenCheckpoint(signed string, verifiers ...string) (Checkpoint, error) {
	var known []note.Verifier
	for _, text := range verifiers {
		v, err := note.NewVerifier(strings.TrimSpace(text))
		if err != nil {
			return Checkpoint{}, fmt.Errorf("%w: verifier key %q: %w", ErrCheckpoint, text, err)
		}
		known = append(known, v)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(known...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	for _, s := range n.Sigs {
		if _, err := decodeOnlyText(s.Base64); err != nil {
			return Checkpoint{}, fmt.Errorf("%w: signature: %w", ErrCheckpoint, err)
		}
	}
	return parseCheckpoint(n.Text)
}

// sizeBits bounds a tree's size: tlog doubles a number until it is past the size,
// and above 2^62 never gets there.
const sizeBits = 62

// parseCheckpoint reads the text. Lines behind the third are extensions, which
// say nothing to us.
func parseCheckpoint(text string) (Checkpoint, error) {
	text, ended := strings.CutSuffix(text, "\n")
	lines := strings.Split(text, "\n")
	if !ended || len(lines) < 3 || slices.Contains(lines, "") {
		return Checkpoint{}, fmt.Errorf("%w: not three lines or more, each with something in it", ErrCheckpoint)
	}
	size, err := strconv.ParseUint(lines[1], 10, sizeBits)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("%w: size %q", ErrCheckpoint, lines[1])
	}
	root, err := decodeOnlyText(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: root %q", ErrCheckpoint, lines[2])
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}

// decodeOnlyText decodes base64 where text is the one that its bytes are encoded
// as. The library's own strict decoder takes several texts for the same bytes: it
// leaves line ends out, wherever they are.
func decodeOnlyText(text string) ([]byte, error) {
	decoded, err := base64.StdEncoding.Strict().DecodeString(text)
	if err == nil && base64.StdEncoding.EncodeToString(decoded) != text {
		err = errors.New("line ends within base64")
	}
	return decoded, err
}

// signedText is the text of a note, without its signatures.
func signedText(signed string) string {
	text, _, _ := strings.Cut(signed, "\n\n")
	return text + "\n"
}
