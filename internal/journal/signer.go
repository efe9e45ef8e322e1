package journal

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

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
		if err = makeKey(path); err == nil {
			b, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return nil, err
	}
	s, err := newSigner(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, s.publish(path + ".pub")
}

// makeKey makes a key. Of two processes that make one at once, both get the
// first one's.
func makeKey(path string) error {
	secret, _, err := note.GenerateKey(rand.Reader, keyName)
	if err != nil {
		return err
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return place(path, secret, 0o600, func(from, to string) error {
		if err := os.Link(from, to); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// place makes a file that is all there or not at all, and stays: a key that a
// power cut takes away takes the worth of its signatures with it.
func place(path, line string, mode fs.FileMode, move func(from, to string) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tollkeeper-key-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(line + "\n")
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := move(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func newSigner(secret string) (*Signer, error) {
	s, err := note.NewSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("no signing key: %w", err)
	}
	// PRIVATE+KEY+name+hash+key, and the key is a byte that names Ed25519, and the seed.
	fields := strings.SplitN(secret, "+", 5)
	key, err := base64.StdEncoding.DecodeString(fields[4])
	if err != nil {
		return nil, fmt.Errorf("no signing key: %w", err)
	}
	public, ok := ed25519.NewKeyFromSeed(key[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("no signing key: not of Ed25519")
	}
	verifier, err := note.NewEd25519VerifierKey(fields[2], public)
	return &Signer{signer: s, verifier: verifier}, err
}

// publish writes the verifier key for people. It is not needed to sign, so a
// directory that cannot be written to, such as a mounted secret, is no error;
// another key there is.
func (s *Signer) publish(path string) error {
	b, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(b)) != s.verifier {
		return fmt.Errorf("%s is not the verifier key of the signing key beside it: move the one away that is wrong", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		_ = place(path, s.verifier, 0o644, os.Rename)
	}
	return nil
}

// Verifier is the key that verifies, to be given away.
func (s *Signer) Verifier() string { return s.verifier }

// Sign signs a checkpoint as a note.
func (s *Signer) Sign(c Checkpoint) (string, error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, s.signer)
	return string(b), err
}
