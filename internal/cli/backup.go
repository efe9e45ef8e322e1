package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tollkeeper/tollkeeper/internal/backup"
	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
)

const (
	// standard is standard output or input where a file could be named.
	standard = "-"
	// unfinished ends the name of what is not a backup yet.
	unfinished = ".unfinished"
)

type backupOptions struct {
	source
	to, tmp, format string
}

func backupCommand(p *Program) *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use: "backup --to DIR|-", GroupID: groupRun, Args: cobra.NoArgs,
		Short: "Back up the data directory, beside a running server",
		Long: `Copies business.db and journal.db as they are at one moment each, with the newest signed checkpoint and the verifier key, and verifies the
copies before it says that it is done. A server goes on working meanwhile. usage/ is not in a backup, since it is made again from the journal; nor is
the signing key, of which a copy should lie elsewhere, nor the configuration. business.db holds secrets: keep the backup as secret.

DIR must not be there yet; what is broken off is never called DIR. With "-" the backup is written to standard output as a tar, and what there is to
say to standard error. The copies are made before the first byte is written: in the data directory, or in the folder that --tmp names.`,
		Example: `  tollkeeper backup --data ./data --to /mnt/backup/$(date +%F)
  tollkeeper backup --to - | ssh elsewhere 'umask 077; cat > tollkeeper.tar'
  kubectl exec vllm-tollkeeper-0 -- tollkeeper backup --to - > tollkeeper.tar`,
	}
	o.addData(c)
	c.Flags().StringVar(&o.to, "to", "", `a folder that is made, or "-": standard output, as a tar`)
	c.Flags().StringVar(&o.tmp, "tmp", "", "with --to -: a folder with room for the copies (default: the data directory)")
	textFlag(c, &o.format)
	_ = c.MarkFlagRequired("to")
	_ = c.MarkFlagDirname("to")
	_ = c.MarkFlagDirname("tmp")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := notEmpty(c, "to", "tmp"); err != nil {
			return err
		}
		if err := o.checkTarget(p.Stdout); err != nil {
			return usageError{err}
		}
		return p.backup(c.Context(), &o)
	}
	return c
}

func (o *backupOptions) checkTarget(stdout io.Writer) error {
	switch {
	case o.to == standard && isTerminal(stdout):
		return errors.New("--to -: a terminal is no place for a tar: write it to a file, as in `tollkeeper backup --to - > backup.tar`")
	case o.to == standard:
		return nil
	case o.tmp != "":
		return errors.New("--tmp is for --to - only: a folder is made where it is to be")
	}
	o.to = filepath.Clean(o.to)
	if _, err := os.Lstat(o.to); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fmt.Errorf("--to %s: that is there already: name a folder that is not", o.to))
	}
	return nil
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p *Program) backup(ctx context.Context, o *backupOptions) (err error) {
	dir, err := o.directory(p)
	if err != nil {
		return err
	}
	if err := o.check(dir); err != nil {
		return advised(dir, err)
	}
	defer func() { err = o.advised(err) }()
	folder, err := backup.Gather(o.gather(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Discard()) }()
	out, err := p.take(ctx, dir, folder)
	if err != nil {
		return err
	}
	tell := p.Stdout
	if o.to == standard {
		tell, err = p.Stderr, folder.WriteTar(ctx, p.Stdout, p.Now())
	} else {
		err = folder.Keep(o.to)
	}
	if err != nil {
		return err
	}
	out.Place = o.to
	return out.tell(tell, o.format, out.backedUp)
}

// gather is where the files gather that become the backup.
func (o *backupOptions) gather(dir string) string {
	if o.to == standard {
		return filepath.Join(cmp.Or(o.tmp, dir), "backup"+unfinished)
	}
	return o.to + unfinished
}

// advised says what to do about a place that does not take the copies.
func (o *backupOptions) advised(err error) error {
	other := "name another disk with --to, or --to - for a tar on standard output"
	if o.to == standard {
		other = "name another disk with --tmp"
	}
	switch path, isPath := errors.AsType[*fs.PathError](err); {
	case noRoom(err):
		return fmt.Errorf("%w\nnothing of the backup was kept: free some space, or %s", err, other)
	case sqliteCode(err) == sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w\nnothing of the backup was kept: is a disk failing (see the kernel's log), full, or over its quota? %s", err, other)
	case isPath && path.Op == "mkdir":
		return fmt.Errorf("%w\nthe backup cannot be made there: %s", err, other)
	}
	return err
}

// noRoom tells a disk or a quota without room.
func noRoom(err error) bool {
	for _, is := range []error{backup.ErrNoRoom, business.ErrFull, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, is) {
			return true
		}
	}
	return sqliteCode(err) == sqlite3.SQLITE_FULL
}

// take copies what a backup holds, and verifies the copies.
func (p *Program) take(ctx context.Context, dir string, folder *backup.Folder) (*copied, error) {
	if err := copyFiles(ctx, dir, folder); err != nil {
		return nil, err
	}
	r, err := journal.OpenReader(ctx, folder.Path(backup.Journal))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	keys, err := p.trusted(ctx, nil, r)
	if err != nil {
		return nil, err
	}
	if err := describe(ctx, r, folder); err != nil {
		return nil, err
	}
	from := fromJournal
	if len(keys) > 0 {
		from = fromSigningKey
	}
	out, err := p.verifyCopies(ctx, folder, journal.VerifyOptions{Verifiers: keys}, from)
	if errors.Is(err, errNotOK) {
		err = fmt.Errorf("%w: nothing of the backup was kept, older ones stay the best there are; `tollkeeper verify --data %s` tells about the original, and a stopped server's directory can be copied whole as evidence", err, dir)
	}
	return out, err
}

// copyFiles copies business.db before the journal: an invoice names places in the
// journal, which must not be missing from the copy.
func copyFiles(ctx context.Context, dir string, folder *backup.Folder) error {
	need, err := size(filepath.Join(dir, businessFile), filepath.Join(dir, journalFile))
	if err != nil {
		return advised(dir, err)
	}
	if err := folder.NeedRoom(need); err != nil {
		return err
	}
	for _, name := range []string{backup.Business, backup.Journal} {
		f, err := folder.Create(name)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
	}
	if err := business.Copy(ctx, filepath.Join(dir, businessFile), folder.Path(backup.Business)); err != nil {
		return advised(dir, err)
	}
	r, err := journal.OpenReader(ctx, filepath.Join(dir, journalFile))
	if err != nil {
		return advised(dir, err)
	}
	return advised(dir, errors.Join(r.Copy(ctx, folder.Path(backup.Journal)), r.Close()))
}

// size is how many bytes files have together.
func size(files ...string) (sum int64, err error) {
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return 0, fmt.Errorf("%w: that is no whole data directory", err)
		}
		sum += info.Size()
	}
	return sum, nil
}

// describe writes what the journal is known by: the key that signs it, and what
// was signed last; and what the files are.
func describe(ctx context.Context, r *journal.Reader, folder *backup.Folder) error {
	key, err := r.Verifier(ctx)
	if err != nil {
		return err
	}
	note, err := r.Checkpoint(ctx)
	if err == nil && note == "" {
		err = errors.New("nothing was written to the journal yet: there is nothing to back up before `tollkeeper serve` has run")
	}
	if err != nil {
		return err
	}
	if err := errors.Join(folder.Write(backup.Verifier, key+"\n"), folder.Write(backup.Checkpoint, note)); err != nil {
		return err
	}
	return folder.Seal(ctx)
}

// Where the verifier key comes from whose signature counted.
const (
	fromFlag       = "key"
	fromSigningKey = "signing_key"
	fromBackup     = "backup"
	fromJournal    = "journal"
)

// saying is that for people.
var saying = map[string]string{
	fromFlag:       "--key says",
	fromSigningKey: "the file beside the signing key says",
	fromBackup:     "the backup itself says: to be sure, give the operator's with --key",
	fromJournal:    "the journal itself says",
}

// copied is what is to be said of a backup that was made or put in its place.
type copied struct {
	OK           bool   `json:"ok"`
	Place        string `json:"place"`
	Journal      string `json:"journal"`
	Entries      uint64 `json:"entries"`
	Observations uint64 `json:"observations"`
	Checkpoint   struct {
		Size uint64 `json:"size"`
		Root string `json:"root"`
	} `json:"checkpoint"`
	Verifier string `json:"verifier"`
	// VerifierFrom says whose word it is that this key counts.
	VerifierFrom string        `json:"verifier_from"`
	Files        []backup.File `json:"files"`
	SetAside     string        `json:"set_aside,omitempty"`
}

// errNotOK says that the copies are not what was written.
var errNotOK = errors.New("it does not verify")

// verifyCopies verifies what was gathered; it says on standard error what is
// wrong. Errors wrap errNotOK.
func (p *Program) verifyCopies(ctx context.Context, folder *backup.Folder, o journal.VerifyOptions, from string) (*copied, error) {
	v, err := p.verifyGathered(ctx, folder, o)
	if err != nil {
		return nil, err
	}
	if v.OK = v.defects() == 0; !v.OK {
		return nil, errors.Join(v.print(p.Stderr), errNotOK)
	}
	out := &copied{
		OK: true, Journal: v.Journal.Origin, Entries: v.Journal.Entries, Observations: v.Journal.Observations,
		Verifier: v.Journal.Verifier, VerifierFrom: from,
	}
	out.Checkpoint.Size, out.Checkpoint.Root = v.Journal.Signed, v.Journal.Root
	out.Files, err = folder.Files()
	return out, err
}

func (p *Program) verifyGathered(ctx context.Context, folder *backup.Folder, o journal.VerifyOptions) (*verdict, error) {
	r, err := journal.OpenReader(ctx, folder.Path(backup.Journal))
	if report := journal.Unreadable(err); report != nil {
		return &verdict{Journal: report}, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	bar := p.progress("verify")
	o.Progress = bar.to
	v := &verdict{}
	if v.Journal, err = r.Verify(ctx, o); err != nil {
		return nil, err
	}
	bar.done()
	dir := filepath.Dir(folder.Path(backup.Business))
	if v.Business, err = p.verifyBusiness(ctx, dir); err == nil && len(v.Business) == 0 {
		v.Business, err = p.invoicesAhead(ctx, dir, v.Journal)
	}
	return v, err
}

// invoicesAhead finds final invoices of more than the journal holds: then the one
// file is older than the other.
func (p *Program) invoicesAhead(ctx context.Context, dir string, j *journal.Report) (out []defect, err error) {
	s, err := business.Open(ctx, filepath.Join(dir, backup.Business), business.Options{Now: p.Now, MustExist: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	list, err := s.Invoices(ctx, business.InvoiceFilter{State: business.InvoiceFinal})
	for i := range list {
		said, err := billing.Parse(list[i].Document)
		if err == nil && said.Journals[j.Origin] > j.Entries {
			detail := fmt.Sprintf("it counts up to entry %d, and the journal has %d", said.Journals[j.Origin], j.Entries)
			out = append(out, defect{Kind: defectJournals, Place: "invoice/" + list[i].ID, Detail: detail})
		}
	}
	return out, err
}

// tell prints what was done, for programs or, by words, for people.
func (c *copied) tell(w io.Writer, format string, words func(w *bytes.Buffer)) error {
	if format == "json" {
		return printJSON(w, c)
	}
	var b bytes.Buffer
	words(&b)
	_, err := b.WriteTo(w)
	return err
}

func (c *copied) backedUp(w *bytes.Buffer) {
	where := "is in " + c.Place
	if c.Place == standard {
		where = "went to standard output"
	}
	fmt.Fprintf(w, "OK: a backup %s and was verified: %s, and customers, prices and invoices.\n", where, c.holds())
	c.proof(w)
	fmt.Fprintln(w, "The signing key is not in it: keep a copy of that elsewhere, apart from the data.")
}

func (c *copied) holds() string {
	return fmt.Sprintf("the journal's %s with %s", count(int64(c.Entries), "entry", "entries"), count(int64(c.Observations), "observation", "observations"))
}

func (c *copied) proof(w *bytes.Buffer) {
	fmt.Fprintf(w, "journal  %s\nroot     %s\nverifier %s\n         as %s\n", c.Journal, c.Checkpoint.Root, c.Verifier, saying[c.VerifierFrom])
}
