package journal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// OpenCheckpoint reads a signed checkpoint and verifies it with a verifier key
// (the text that Signer.Verifier gives).
func OpenCheckpoint(signed, verifier string) (Checkpoint, error) {
	v, err := note.NewVerifier(strings.TrimSpace(verifier))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verifier key: %w", err)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return parseCheckpoint(n.Text)
}

func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 {
		return Checkpoint{}, fmt.Errorf("%w: %d lines", ErrCheckpoint, len(lines))
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: size: %w", ErrCheckpoint, err)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: root", ErrCheckpoint)
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}

// Signer signs checkpoints with Ed25519.
type Signer struct {
	signer   note.Signer
	verifier string
}

// keyName is the name in keys and signatures; it tells people whose they are.
const keyName = "tollkeeper"

// LoadSigner reads the signing key at path, and makes one when there is none,
// with its verifier key beside it in path + ".pub".
func LoadSigner(path string) (*Signer, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeSigner(path)
	}
	if err != nil {
		return nil, err
	}
	verifier, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	return newSigner(strings.TrimSpace(string(b)), strings.TrimSpace(string(verifier)))
}

func makeSigner(path string) (*Signer, error) {
	secret, verifier, err := note.GenerateKey(rand.Reader, keyName)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// The verifier first: a key without one would be of no use.
	if err := os.WriteFile(path+".pub", []byte(verifier+"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return nil, err
	}
	return newSigner(secret, verifier)
}

func newSigner(secret, verifier string) (*Signer, error) {
	s, err := note.NewSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	if v.KeyHash() != s.KeyHash() {
		return nil, errors.New("the signing key and the verifier key beside it do not belong together")
	}
	return &Signer{signer: s, verifier: verifier}, nil
}

// Verifier is the key that verifies, to be given away.
func (s *Signer) Verifier() string { return s.verifier }

// Sign signs a checkpoint as a note.
func (s *Signer) Sign(c Checkpoint) (string, error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, s.signer)
	return string(b), err
}
