package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Seal writes down what the files are, so that one that rots is found: not all
// of business.db has a hash of its own.
func (f *Folder) Seal(ctx context.Context) error {
	sums, err := f.sums(ctx)
	if err != nil {
		return err
	}
	return f.Write(Sums, string(sums))
}

// sums are the lines of sha256sum for the files that are there.
func (f *Folder) sums(ctx context.Context) ([]byte, error) {
	var lines bytes.Buffer
	for _, name := range names {
		if name == Sums || !exists(f.Path(name)) {
			continue
		}
		sum, err := hashFile(ctx, f.Path(name))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&lines, "%x  %s\n", sum, name)
	}
	return lines.Bytes(), nil
}

func hashFile(ctx context.Context, path string) ([]byte, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := sha256.New()
	_, err = io.Copy(h, &reader{ctx, r})
	return h.Sum(nil), err
}

// checkSums compares the files with what Seal wrote, if it did.
func (f *Folder) checkSums(ctx context.Context) error {
	want, err := os.ReadFile(f.Path(Sums))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := f.sums(ctx)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(have) {
		if name := string(bytes.TrimSpace(line[sha256.Size*2:])); !bytes.Contains(want, line) {
			return fmt.Errorf("%w: its %s is not what %s says: it was damaged or changed", ErrNotBackup, name, Sums)
		}
	}
	if len(want) != len(have) {
		return fmt.Errorf("%w: %s is about other files", ErrNotBackup, Sums)
	}
	return nil
}
