package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
)

// source says where a command's answers come from: a data directory or a
// server.
type source struct{ data string }

func (s *source) add(c *cobra.Command) {
	c.Flags().StringVar(&s.data, "data", "", "the data directory; a server may be running on it (default: $TOLLKEEPER_DATA, else ./data)")
	_ = c.MarkFlagDirname("data")
}

// Files of a data directory.
const (
	journalFile  = "journal.db"
	businessFile = "business.db"
	usageDir     = "usage"
)

// directory is the data directory that the flag, the environment or the default
// names.
func (s *source) directory(p *Program) string {
	if s.data != "" {
		return s.data
	}
	if d := p.env("TOLLKEEPER_DATA"); d != "" {
		return d
	}
	return "data"
}

// with opens the source for one question.
func (s *source) with(ctx context.Context, p *Program, ask func(context.Context, api.API) error) (err error) {
	dir := s.directory(p)
	if _, err := os.Stat(filepath.Join(dir, journalFile)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return usageError{fmt.Errorf("%s holds no journal: name the data directory of a tollkeeper with --data, or start one with `tollkeeper serve --data %s`", dir, dir)}
		}
		return err
	}
	reader, err := sqlite.OpenReader(ctx, filepath.Join(dir, usageDir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	return ask(ctx, &api.Local{Store: reader})
}
