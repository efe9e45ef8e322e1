package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/tollkeeper/tollkeeper/internal/backup"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
)

type restoreOptions struct {
	source
	keys     []string // as given; then as read
	setAside bool
	format   string
}

func restoreCommand(p *Program) *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use: "restore BACKUP|-", GroupID: groupRun, Args: cobra.ExactArgs(1),
		Short: "Put a backup in its place, once it is verified",
		Long: `Reads a backup that "tollkeeper backup" made, a folder or a tar, or a tar from standard input, verifies it whole, and only then puts it in its
place. A restore that is broken off leaves nothing that can be taken for the data: run it again. The data directory must hold no journal.db or
business.db, or --set-aside moves them into a folder of it; and no server may run on it. usage/ is deleted: the server makes it again.

Whose signature counts is --key, else the verifier key in the backup, which one who made the backup up has put there too: the answer says which.

To try a backup, restore it into a directory that is not there.`,
		Example: `  tollkeeper restore /mnt/backup/2026-12-01 --data ./data --key keys/signing.key.pub
  ssh elsewhere cat tollkeeper.tar | tollkeeper restore - --data ./data
  tollkeeper restore tollkeeper.tar --data ./trial`,
	}
	o.addData(c)
	c.Flags().Lookup("data").Usage = "the data directory, in which no server runs (default: $TOLLKEEPER_DATA, else what the configuration says, else ./data)"
	c.Flags().StringSliceVar(&o.keys, "key", nil, "a verifier key that is trusted, as text or as a file (may be repeated; default: the one in the backup)")
	c.Flags().BoolVar(&o.setAside, "set-aside", false, "move what the data directory holds into its folder set-aside-TIME")
	textFlag(c, &o.format)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := notEmpty(c, "key"); err != nil {
			return err
		}
		if err := readKeys(o.keys); err != nil {
			return err
		}
		if args[0] == standard && isTerminal(p.Stdin) {
			return usageError{errors.New("-: nobody types a tar: read it from a file, as in `tollkeeper restore - < backup.tar`")}
		}
		if _, err := os.Stat(args[0]); args[0] != standard && err != nil {
			return usageError{err}
		}
		return p.restore(c.Context(), args[0], &o)
	}
	return c
}

func (p *Program) restore(ctx context.Context, name string, o *restoreOptions) (err error) {
	dir, err := o.directory(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	unlock, err := journal.Lock(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	folder, err := backup.Arrive(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Discard()) }()
	if err := backup.Vacant(dir); err != nil && !o.setAside {
		return fmt.Errorf("%w: name a directory without a journal, or let --set-aside move what is there", err)
	}
	if err := p.arrive(ctx, folder, name); err != nil {
		return fmt.Errorf("%w\nnothing was put in its place", err)
	}
	out, err := p.verifyArrived(ctx, folder, o.keys)
	if err != nil {
		return fmt.Errorf("%w: nothing was put in its place: take another backup, or name the right --key", err)
	}
	if err := p.place(folder, dir, out); err != nil {
		return err
	}
	return out.tell(p.Stdout, o.format, func(w *bytes.Buffer) { p.restored(w, out) })
}

// arrive copies or unpacks the backup into the folder.
func (p *Program) arrive(ctx context.Context, folder *backup.Folder, name string) error {
	if name == standard {
		return folder.ReadTar(ctx, p.Stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return folder.ReadFolder(ctx, name)
	default:
		return folder.ReadTar(ctx, f)
	}
}

// verifyArrived verifies by the keys given, else by the one that came with the
// files.
func (p *Program) verifyArrived(ctx context.Context, folder *backup.Folder, keys []string) (*copied, error) {
	from := fromFlag
	if len(keys) == 0 {
		from = fromBackup
		var err error
		if keys, err = ownKey(folder); err != nil {
			return nil, err
		}
	}
	kept, err := os.ReadFile(folder.Path(backup.Checkpoint))
	if err != nil {
		return nil, err
	}
	return p.verifyCopies(ctx, folder, journal.VerifyOptions{Verifiers: keys, Checkpoints: []string{string(kept)}}, from)
}

// ownKey is the verifier key that came with the files, if one did.
func ownKey(folder *backup.Folder) ([]string, error) {
	b, err := os.ReadFile(folder.Path(backup.Verifier))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	key := strings.TrimSpace(string(b))
	if _, bad := note.NewVerifier(key); err == nil && bad != nil {
		err = fmt.Errorf("%s in the backup: no verifier key: %w", backup.Verifier, bad)
	}
	return []string{key}, err
}

// place puts verified files in their place. usage is the projection of what was
// there before.
func (p *Program) place(folder *backup.Folder, dir string, out *copied) error {
	out.Place = dir
	if backup.Vacant(dir) != nil {
		out.SetAside = filepath.Join(dir, "set-aside-"+p.Now().UTC().Format("20060102T150405Z"))
		if err := backup.SetAside(dir, out.SetAside); err != nil {
			return err
		}
	}
	if err := sqlite.Remove(filepath.Join(dir, usageDir)); err != nil {
		return err
	}
	return folder.Place(dir)
}

func (p *Program) restored(w *bytes.Buffer, c *copied) {
	fmt.Fprintf(w, "OK: the backup was verified and is in %s: %s, and customers, prices and invoices.\n", c.Place, c.holds())
	c.proof(w)
	if c.SetAside != "" {
		fmt.Fprintf(w, "What was there before is in %s.\n", c.SetAside)
	}
	key := "put the signing key of this verifier key in its old place, then start "
	if p.keyInPlace(c.Verifier) {
		key = "start "
	}
	fmt.Fprintf(w, "Next: %s`tollkeeper serve --data %s`, which makes usage again.\n", key, c.Place)
	fmt.Fprintln(w, "What was acknowledged after the backup is not in this journal: from here on it is another branch, and checkpoints, proofs and invoices of")
	fmt.Fprintln(w, "the lost one do not agree with it.")
}

// keyInPlace tells whether the signing key of a verifier key lies where serve
// looks for it.
func (p *Program) keyInPlace(verifier string) bool {
	path, _ := p.verifierFile()
	key, err := readKey(path)
	return err == nil && key == verifier && exists(strings.TrimSuffix(path, ".pub"))
}
