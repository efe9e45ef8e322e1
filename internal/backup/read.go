package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrNotBackup says that what was read is no backup, or not a whole one.
var ErrNotBackup = errors.New("this is no whole backup of `tollkeeper backup`")

// maxText bounds the files that are text.
const maxText = 64 << 10 // bytes

// ReadFolder copies a backup that is a folder. Errors wrap ErrNotBackup or
// ErrNoRoom.
func (f *Folder) ReadFolder(ctx context.Context, dir string) error {
	for _, name := range names {
		for _, suffix := range []string{"-wal", "-journal"} {
			if exists(filepath.Join(dir, name+suffix)) {
				return fmt.Errorf("%w: %s%s says that %s is a data directory, of which `tollkeeper backup --data %s` makes one", ErrNotBackup, name, suffix, dir, dir)
			}
		}
		if err := f.copy(ctx, name, filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.whole(ctx)
}

func (f *Folder) copy(ctx context.Context, name, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	info, err := r.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s is no plain file", ErrNotBackup, from)
	}
	if err != nil {
		return err
	}
	return f.receive(ctx, name, info.Size(), r)
}

// ReadTar unpacks a backup that is a tar, from wherever it comes. Errors wrap
// ErrNotBackup or ErrNoRoom.
func (f *Folder) ReadTar(ctx context.Context, r io.Reader) error {
	t := tar.NewReader(&reader{ctx, r})
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return f.whole(ctx)
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, tar.ErrHeader):
			return fmt.Errorf("%w: no tar; if it is compressed, decompress it first: gunzip < FILE | tollkeeper restore -", ErrNotBackup)
		case err != nil:
			return brokenOff(err)
		case h.Typeflag == tar.TypeDir && strings.TrimPrefix(h.Name, "./") == "":
			continue // of a folder that was packed by hand
		case h.Typeflag != tar.TypeReg:
			return fmt.Errorf("%w: %q in it is no plain file", ErrNotBackup, h.Name)
		}
		if err := f.receive(ctx, strings.TrimPrefix(h.Name, "./"), h.Size, t); err != nil {
			return brokenOff(err)
		}
	}
}

// brokenOff names the one error of reading that says nothing of its cause.
func brokenOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends in the middle: it was broken off", ErrNotBackup)
	}
	return err
}

// receive takes one file, if it is one of a backup's.
func (f *Folder) receive(ctx context.Context, name string, size int64, r io.Reader) error {
	switch {
	case !slices.Contains(names, name):
		return fmt.Errorf("%w: it holds %q; one holds %s, and nothing else", ErrNotBackup, name, strings.Join(names, ", "))
	case !slices.Contains(databases, name) && size > maxText:
		return fmt.Errorf("%w: its %s is %d bytes long", ErrNotBackup, name, size)
	}
	if err := f.NeedRoom(size); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w, err := f.Create(name)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: it holds %s twice", ErrNotBackup, name)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(w, &reader{ctx, r})
	return errors.Join(err, w.Close())
}

// whole tells whether all files are there and as they were.
func (f *Folder) whole(ctx context.Context) error {
	for _, name := range required {
		if !exists(f.Path(name)) {
			return fmt.Errorf("%w: %s is missing", ErrNotBackup, name)
		}
	}
	return f.checkSums(ctx)
}

// reader reads until the context ends.
type reader struct {
	ctx  context.Context
	from io.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	default:
		return r.from.Read(b)
	}
}

// WriteTar writes the files as a tar. They have no name any more while it does:
// where it ends early, however, nothing is left.
func (f *Folder) WriteTar(ctx context.Context, w io.Writer, at time.Time) (err error) {
	list, err := f.Files()
	if err != nil {
		return err
	}
	open := make([]*os.File, 0, len(list))
	defer func() {
		for _, x := range open {
			err = errors.Join(err, x.Close())
		}
	}()
	for _, x := range list {
		r, err := os.Open(f.Path(x.Name))
		if err != nil {
			return err
		}
		open = append(open, r)
	}
	if err := f.Discard(); err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for i, x := range list {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: x.Name, Size: x.Bytes, Mode: fileMode, ModTime: at}); err != nil {
			return err
		}
		if _, err := io.Copy(t, &reader{ctx, open[i]}); err != nil {
			return err
		}
	}
	return t.Close()
}
