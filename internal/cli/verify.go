package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/journal"
)

type verifyOptions struct {
	source
	checkpoints []string
	proof       string
	keys        []string // as given; then as read
	format      string
	journalOnly bool
}

func verifyCommand(p *Program) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use: "verify", GroupID: groupProve, Args: cobra.NoArgs,
		Short: "Check that the journal is what was written, and that usage and invoices follow from it",
		Long: `Recomputes every hash of the journal; replays it, with nothing but what it holds, into a usage projection of its own and compares that with
the one kept; and rates each final invoice again from the usage at its positions. Each defect is named with its kind and place. Without a checkpoint
it finds any change by one who lacks the signing key; with one that was kept elsewhere (a customer's invoice holds one), any change before it, also by
one who has the key. Exit code 1: something is wrong.

Whose signature counts is --key, else the verifier key beside the signing key that the configuration names. Where there is none, only the key that the
journal itself names is left, which one who wrote all of it anew has named too: the answer says so.

With --proof it checks a proof made by "tollkeeper prove", without any data.`,
		Example: `  tollkeeper verify --data ./data
  tollkeeper verify --data ./data --checkpoint kept-elsewhere.txt --key "$(cat signing.key.pub)" -o json
  tollkeeper verify --proof request.json --key "$(cat signing.key.pub)"`,
	}
	o.addData(c)
	c.Flags().StringSliceVar(&o.checkpoints, "checkpoint", nil, "a signed checkpoint that was kept elsewhere (a file; may be repeated)")
	c.Flags().StringVar(&o.proof, "proof", "", "check this proof instead of a data directory")
	c.Flags().StringSliceVar(&o.keys, "key", nil, "a verifier key that is trusted, as text or as a file (may be repeated; default: the one beside the signing key)")
	c.Flags().BoolVar(&o.journalOnly, "journal-only", false, "check the journal alone: no replay")
	textFlag(c, &o.format)
	_ = c.MarkFlagFilename("checkpoint")
	_ = c.MarkFlagFilename("proof", "json")
	c.MarkFlagsMutuallyExclusive("proof", "data")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := notEmpty(c, "checkpoint", "proof", "key"); err != nil {
			return err
		}
		if err := readKeys(o.keys); err != nil {
			return err
		}
		if o.proof != "" {
			return p.verifyProof(&o)
		}
		return p.verifyData(c.Context(), &o)
	}
	return c
}

// notEmpty refuses flags that were given without a value, such as
// "$(cat nothing.pub)": not to check it would be a wrong OK.
func notEmpty(c *cobra.Command, names ...string) error {
	for _, name := range names {
		if v := changed(c, name); v != nil && strings.Trim(*v, "[]") == "" {
			return usageError{fmt.Errorf("--%s is empty", name)}
		}
	}
	return nil
}

// readKeys puts the keys themselves in the place of what was given.
func readKeys(keys []string) (err error) {
	for i := range keys {
		if keys[i], err = readKey(keys[i]); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// readKey takes a verifier key as text or as the name of a file that holds it. An
// error does not repeat the text: it can be the signing key.
func readKey(s string) (string, error) {
	if strings.Count(s, "+") < 2 || exists(s) {
		b, err := os.ReadFile(s)
		if err != nil {
			return "", fmt.Errorf("--key: neither a verifier key nor a file that holds one: %w", err)
		}
		s = string(b)
	}
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "PRIVATE+KEY+") {
		return "", errors.New("--key: that is the signing key: keep it secret. The verifier key lies beside it, in the file whose name ends in .pub")
	}
	if _, err := note.NewVerifier(s); err != nil {
		return "", fmt.Errorf("--key: no verifier key, such as tollkeeper+1234abcd+…: %w", err)
	}
	return s, nil
}

// trusted are the keys whose signatures count: those given, else the one beside
// the signing key. Where no configuration names a signing key, the usual place
// may hold that of other data, so it counts only if the journal names it too.
func (p *Program) trusted(ctx context.Context, given []string, r *journal.Reader) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	path, named := p.verifierFile()
	key, err := readKey(path)
	if path == "" || err != nil {
		return nil, nil //nolint:nilerr // no key at hand: the journal's own word has to do
	}
	has, err := r.Verifier(ctx)
	if err != nil || !named && key != has {
		return nil, err
	}
	return []string{key}, nil
}

// verifierFile is where the verifier key should lie, "" where nothing says so;
// named tells whether a configuration does.
func (p *Program) verifierFile() (path string, named bool) {
	if c, _, err := p.loadConfig(""); err == nil && c.SigningKey != "" { // verifying needs no configuration
		return c.SigningKey + ".pub", true
	}
	path, err := p.defaultSigningKey()
	if err != nil {
		return "", false
	}
	return path + ".pub", false
}

// provenItem is an item of a proof, as it is shown.
type provenItem struct {
	Entry       uint64          `json:"entry"`
	Index       int             `json:"index"`
	Received    string          `json:"received"`
	Producer    string          `json:"producer"`
	Observation json.RawMessage `json:"observation"`
}

func (p *Program) verifyProof(o *verifyOptions) error {
	if len(o.keys) == 0 {
		return usageError{errors.New("--proof needs --key: whom do you trust? The operator's verifier key is the file beside the signing key, ending in .pub")}
	}
	b, err := os.ReadFile(o.proof)
	if err != nil {
		return usageError{fmt.Errorf("--proof: %w", err)}
	}
	proven, err := journal.VerifyProof(b, o.keys...)
	if err != nil {
		return fmt.Errorf("%s: %w", o.proof, err)
	}
	items := make([]provenItem, 0, len(proven.Items))
	for _, x := range proven.Items {
		items = append(items, provenItem{
			Entry: x.Header.Seq, Index: x.Index, Producer: x.Header.Producer, Observation: x.Item,
			Received: time.Unix(0, x.Header.Received).UTC().Format(time.RFC3339Nano),
		})
	}
	if o.format == "json" {
		return printJSON(p.Stdout, map[string]any{"ok": true, "journal": proven.Checkpoint.Origin, "size": proven.Checkpoint.Size, "items": items})
	}
	var w bytes.Buffer
	fmt.Fprintf(&w, "The proof holds: these observations stand in journal %s, which had %d entries when it was signed.\n", proven.Checkpoint.Origin, proven.Checkpoint.Size)
	for _, x := range items {
		fmt.Fprintf(&w, "\nentry %d, observation %d, received %s from %s\n%s\n", x.Entry, x.Index, x.Received, x.Producer, x.Observation)
	}
	_, err = w.WriteTo(p.Stdout)
	return err
}

// verdict is what verify found, as it is printed.
type verdict struct {
	OK       bool            `json:"ok"`
	Journal  *journal.Report `json:"journal"`
	Usage    *usageReport    `json:"usage,omitempty"`
	Invoices *invoicesReport `json:"invoices,omitempty"`
	Business []defect        `json:"business,omitempty"`
}

func (p *Program) verifyData(ctx context.Context, o *verifyOptions) (err error) {
	dir, err := o.directory(p)
	if err != nil {
		return err
	}
	defer func() { err = advised(dir, err) }()
	if err := o.check(dir); err != nil {
		return err
	}
	r, err := journal.OpenReader(ctx, filepath.Join(dir, journalFile))
	if report := journal.Unreadable(err); report != nil {
		return p.tell(&verdict{Journal: report}, o.format)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	options := journal.VerifyOptions{}
	if options.Verifiers, err = p.trusted(ctx, o.keys, r); err != nil {
		return err
	}
	for _, name := range o.checkpoints {
		b, err := os.ReadFile(name)
		if err != nil {
			return usageError{fmt.Errorf("--checkpoint: %w", err)}
		}
		options.Checkpoints = append(options.Checkpoints, string(b))
	}
	bar := p.progress("journal")
	options.Progress = bar.to
	v := &verdict{}
	if v.Journal, err = r.Verify(ctx, options); err != nil {
		return err
	}
	bar.done()
	if !o.journalOnly && exists(filepath.Join(dir, businessFile)) {
		if v.Business, err = p.verifyBusiness(ctx, dir); err != nil {
			return err
		}
	}
	// What does not read cannot be replayed; the journal's defects say why.
	if !o.journalOnly && len(v.Journal.Defects) == 0 {
		if err := p.verifyDerived(ctx, dir, r, options.Verifiers, v); err != nil {
			return err
		}
	}
	v.OK = v.defects() == 0
	return p.tell(v, o.format)
}

func (v *verdict) defects() int {
	n := len(v.Journal.Defects) + len(v.Business)
	if v.Usage != nil {
		n += len(v.Usage.Defects)
	}
	if v.Invoices != nil {
		n += len(v.Invoices.Defects)
	}
	return n
}

func (p *Program) tell(v *verdict, format string) error {
	write := v.print
	if format == "json" {
		write = func(w io.Writer) error { return printJSON(w, v) }
	}
	if err := write(p.Stdout); err != nil {
		return err
	}
	if !v.OK {
		return errSilent
	}
	return nil
}

// print writes the verdict for people. Where it cannot be written nobody has
// read it.
func (v *verdict) print(to io.Writer) error {
	w := &bytes.Buffer{}
	for _, d := range v.Journal.Defects {
		place := ""
		if d.Seq > 0 {
			place = fmt.Sprintf("entry %d: ", d.Seq)
		}
		fmt.Fprintf(w, "journal  %-20s %s%s\n", d.Kind, place, d.Detail)
	}
	for _, d := range v.Business {
		fmt.Fprintf(w, "business %-20s %s: %s\n", d.Kind, d.Place, d.Detail)
	}
	if v.Usage != nil {
		for _, d := range v.Usage.Defects {
			fmt.Fprintf(w, "usage    %-20s %s: %s\n", d.Kind, d.Place, d.Detail)
		}
	}
	if v.Invoices != nil {
		for _, d := range v.Invoices.Defects {
			fmt.Fprintf(w, "invoice  %-20s %s: %s\n", d.Kind, d.Place, d.Detail)
		}
	}
	if v.OK {
		fmt.Fprintf(w, "OK: the journal's %s with %s are what was written", count(int64(v.Journal.Entries), "entry", "entries"), count(int64(v.Journal.Observations), "observation", "observations"))
		if v.Usage != nil {
			fmt.Fprintf(w, "; %s of usage and all sums follow from it", count(v.Usage.Records, "record", "records"))
		}
		if v.Invoices != nil && v.Invoices.Checked > 0 {
			fmt.Fprintf(w, ", and so does what %s billed", count(int64(v.Invoices.Checked), "final invoice", "final invoices"))
		}
		fmt.Fprintf(w, ".\njournal  %s\nroot     %s\nverifier %s\n", v.Journal.Origin, v.Journal.Root, v.Journal.Verifier)
		if !v.Journal.VerifierGiven {
			fmt.Fprintln(w, "         which is what the journal itself says: to be sure, give the operator's with --key")
		}
	} else {
		fmt.Fprintf(w, "NOT OK: %s.\n", count(int64(v.defects()), "defect", "defects"))
	}
	_, err := w.WriteTo(to)
	return err
}

// bar is a progress bar on standard error, for people who wait.
type bar struct{ bar *progressbar.ProgressBar }

// progress returns a bar, silent where nobody looks.
func (p *Program) progress(what string) *bar {
	f, ok := p.Stderr.(*os.File)
	if !ok {
		return &bar{}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return &bar{}
	}
	return &bar{progressbar.NewOptions64(-1, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))}
}

func (b *bar) to(done, total uint64) {
	if b.bar == nil {
		return
	}
	if b.bar.GetMax64() != int64(total) {
		b.bar.ChangeMax64(int64(total))
	}
	_ = b.bar.Set64(int64(done)) // a bar that cannot be drawn is no error
}

func (b *bar) done() {
	if b.bar != nil {
		_ = b.bar.Finish()
	}
}

func checkpointCommand(p *Program) *cobra.Command {
	var where source
	var format string
	c := &cobra.Command{
		Use: "checkpoint", GroupID: groupProve, Args: cobra.NoArgs,
		Short: "The newest signed checkpoint: keep it elsewhere",
		Long: `Prints the newest signed checkpoint of the journal (C2SP tlog-checkpoint). Who keeps it elsewhere can later find any change before it,
with "tollkeeper verify --checkpoint".`,
		Example: "  tollkeeper checkpoint --data ./data > checkpoint-$(date +%F).txt",
	}
	where.add(c)
	textFlag(c, &format)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return call(c.Context(), p, &where, api.AskCheckpoint, &api.None{}, func(out *api.Checkpoint) error {
			if format == "json" {
				return printJSON(p.Stdout, out)
			}
			_, err := fmt.Fprint(p.Stdout, out.Note)
			return err
		})
	}
	return c
}

func proveCommand(p *Program) *cobra.Command {
	var where source
	var in api.ByID
	c := &cobra.Command{
		Use: "prove --request rec_…", GroupID: groupProve, Args: cobra.NoArgs,
		Short: "A self-contained proof that a request stands in the journal",
		Long: `Writes the request's observations with their paths to the signed root. "tollkeeper verify --proof FILE --key VERIFIER" checks it
without the data: give it to a customer who asks.`,
		Example: `  tollkeeper prove --request rec_2f1e… > proof.json
  tollkeeper verify --proof proof.json --key "$(cat ~/.config/tollkeeper/signing.key.pub)"`,
	}
	where.add(c)
	c.Flags().StringVar(&in.ID, "request", "", "the record's id, as `tollkeeper requests` shows it")
	_ = c.MarkFlagRequired("request")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return call(c.Context(), p, &where, api.ProveRequest, &in, func(out *journal.Proof) error { return printJSON(p.Stdout, out) })
	}
	return c
}
