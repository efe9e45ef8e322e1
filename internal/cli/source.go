package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/backup"
	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/money"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
)

// source says where a command's answers come from: a data directory or a
// server.
type source struct {
	data, server, config string
	// writes is set for commands that may come before any server: they make the
	// data directory.
	writes bool
	// configured is set for commands whose answer depends on the configuration.
	configured bool
	// folded is set for commands that answer from usage.
	folded bool
}

// add adds the flags of a command that a server can answer too.
func (s *source) add(c *cobra.Command) {
	s.addData(c)
	c.Flags().StringVar(&s.server, "server", "", "ask this server, http://HOST:PORT, with the key in $TOLLKEEPER_TOKEN (default: $TOLLKEEPER_SERVER, else --data)")
	c.MarkFlagsMutuallyExclusive("data", "server")
}

// addData adds the flag of a command that works on a data directory alone.
func (s *source) addData(c *cobra.Command) {
	c.Flags().StringVar(&s.data, "data", "", "the data directory; a server may be running on it (default: $TOLLKEEPER_DATA, else what the configuration says, else ./data)")
	_ = c.MarkFlagDirname("data")
}

// addConfig adds --config.
func (s *source) addConfig(c *cobra.Command) {
	c.Flags().StringVar(&s.config, "config", "", "the configuration (default: ./tollkeeper.yaml if there is one)")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
}

// Files of a data directory.
const (
	journalFile  = "journal.db"
	businessFile = "business.db"
	usageDir     = "usage"
)

// What is taken where nobody names another.
const (
	defaultConfig = "tollkeeper.yaml"
	defaultData   = "data"
)

// loadConfig reads the configuration that the flag names, or the default file
// if it is there.
func (p *Program) loadConfig(name string) (*config.Config, *config.Provenance, error) {
	if name == "" {
		if _, err := os.Stat(defaultConfig); err == nil {
			name = defaultConfig
		}
	}
	c, from, err := config.Load(name, p.Environ)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return c, from, nil
}

// directory is the data directory that the flag, the environment, the
// configuration or the default names. The configuration is read only when it
// has to be: reading needs none.
func (s *source) directory(p *Program) (string, error) {
	if s.data != "" {
		return s.data, nil
	}
	if d := p.env("TOLLKEEPER_DATA"); d != "" {
		return d, nil
	}
	c, _, err := p.loadConfig(s.config)
	if err != nil {
		return "", err
	}
	return cmp.Or(c.Data, defaultData), nil
}

// with opens the source for one question.
func (s *source) with(ctx context.Context, p *Program, ask func(context.Context, api.Caller) error) error {
	server := s.server
	if server == "" && s.data == "" {
		server = p.env("TOLLKEEPER_SERVER")
	}
	if server != "" {
		c, err := api.NewClient(server, p.env("TOLLKEEPER_TOKEN"))
		if err != nil {
			return err
		}
		return ask(ctx, c)
	}
	return s.local(ctx, p, func(ctx context.Context, l *api.Local) error { return ask(ctx, l) })
}

// local opens the data directory for one question.
func (s *source) local(ctx context.Context, p *Program, ask func(context.Context, *api.Local) error) (err error) {
	dir, err := s.directory(p)
	if err != nil {
		return err
	}
	defer func() { err = advised(dir, err) }()
	if err := s.check(dir); err != nil {
		return err
	}
	l := &api.Local{Actor: actor(), Now: p.Now}
	if s.configured {
		c, _, err := p.loadConfig(s.config)
		if err != nil {
			return err
		}
		l.Defaults = defaults(c)
	}
	var open closers
	defer func() { err = errors.Join(err, open.close()) }()
	if exists(filepath.Join(dir, journalFile)) {
		if l.Journal, err = journal.OpenReader(ctx, filepath.Join(dir, journalFile)); err != nil {
			return err
		}
		open.add(l.Journal.Close)
	}
	if l.Business, err = business.Open(ctx, filepath.Join(dir, businessFile), business.Options{Now: p.Now, MustExist: !s.writes}); err != nil {
		return err
	}
	open.add(l.Business.Close)
	usage, err := sqlite.OpenReader(ctx, filepath.Join(dir, usageDir))
	if err != nil {
		return err
	}
	open.add(usage.Close)
	l.Usage = usage
	if s.folded && l.Journal != nil {
		if err := p.warnBehind(ctx, l.Journal, usage); err != nil {
			return err
		}
	}
	return ask(ctx, l)
}

// warnBehind tells people that an answer will lack something: usage that was not
// folded yet must not be taken for none.
func (p *Program) warnBehind(ctx context.Context, j *journal.Reader, usage *sqlite.Reader) error {
	at, err := usage.Positions(ctx)
	if err != nil {
		return err
	}
	head, err := j.Size(ctx)
	if behind := int64(head) - int64(at[j.Origin()]); err == nil && behind > 0 {
		fmt.Fprintf(p.Stderr, "Usage lacks the last %s of the journal: a running `tollkeeper serve` folds what is missing, or `tollkeeper rebuild`.\n", count(behind, "entry", "entries"))
	}
	return err
}

// check refuses a directory that is none of ours, or not whole.
func (s *source) check(dir string) error {
	if err := whole(dir); err != nil {
		return err
	}
	for _, name := range []string{journalFile, businessFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil || errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if s.writes {
		return os.MkdirAll(dir, 0o750)
	}
	return usageError{fmt.Errorf("%s is no data directory of tollkeeper: name one with --data, a server with --server, or start one with `tollkeeper serve --data %s`", dir, dir)}
}

// advised says what to do about files that cannot be used: damaged ones, and
// those of a directory in which this user may not write. Reading needs that too:
// SQLite's readers keep their locks in a file beside the data.
func advised(dir string, err error) error {
	code := sqliteCode(err)
	told := func(known ...error) bool {
		return slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) })
	}
	switch {
	case slices.Contains([]int{sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}, code) && !told(journal.ErrNotOurs, journal.ErrCorrupt, business.ErrNotOurs, sqlite.ErrDamaged):
		return fmt.Errorf("%w\n`tollkeeper verify --data %s` tells what is damaged: put it back from a backup; usage is made again by `tollkeeper rebuild`", err, dir)
	case slices.Contains([]int{sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}, code) || told(fs.ErrPermission):
		return fmt.Errorf("%w\nmay this user write in %s? Reading needs it too: use the user that serves it, ask the server with --server, or copy the directory", err, dir)
	}
	return err
}

// sqliteCode is the primary result code of an error of SQLite's, 0 of any other.
func sqliteCode(err error) int {
	e, ok := errors.AsType[interface {
		error
		Code() int
	}](err)
	if !ok {
		return 0
	}
	return e.Code() & 0xff // the rest is detail
}

// whole refuses a data directory that a restore has not filled yet.
func whole(dir string) error {
	if !backup.BrokenOff(dir) {
		return nil
	}
	return fmt.Errorf("a restore into %s has not come to its end, so what is there is not whole: let it end, or run `tollkeeper restore` again if it was broken off", dir)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// actor names who works at the shell, for the audit log.
func actor() string {
	if u, err := user.Current(); err == nil {
		return "cli:" + u.Username
	}
	return "cli:unknown"
}

func defaults(c *config.Config) api.Defaults {
	i := c.Invoice
	return api.Defaults{
		Currency: i.Currency, TimeZone: i.TimeZone, Rounding: money.Rounding(i.Rounding), Grace: i.Grace,
		Issuer: billing.Party{Name: i.Issuer.Name, Address: strings.TrimSpace(i.Issuer.Address)}, Note: strings.TrimSpace(i.Note),
	}
}

// closers are closed in the reverse order of their opening.
type closers []func() error

func (c *closers) add(fn func() error) { *c = append(*c, fn) }

func (c *closers) close() (err error) {
	for _, fn := range slices.Backward(*c) {
		err = errors.Join(err, fn())
	}
	return err
}
