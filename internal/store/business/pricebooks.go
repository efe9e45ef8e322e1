package business

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Where a price book came from.
const (
	// SourceConfig is the file that the configuration names, read at start.
	SourceConfig = "config"
	// SourceCommand is a command, or a call of the API.
	SourceCommand = "command"
)

// PriceBook is one version of the prices. It never changes.
type PriceBook struct {
	// Version counts from 1.
	Version int64 `json:"version"`
	// Hash is the SHA-256 of Document in hex.
	Hash    string    `json:"hash"`
	Source  string    `json:"source"`
	Applied time.Time `json:"applied"`
	Actor   string    `json:"actor"`
	// Document is canonical JSON, byte for byte as it was given.
	Document json.RawMessage `json:"document,omitempty"`
}

const bookColumns = "version, hash, source, applied, actor, document"

func scanBook(rows scanner) (b PriceBook, err error) {
	var applied int64
	err = rows.Scan(&b.Version, &b.Hash, &b.Source, &applied, &b.Actor, (*[]byte)(&b.Document))
	b.Applied = fromMillis(applied)
	return b, err
}

// ApplyPriceBook makes document the newest version, unless the newest is the
// same already: then changed is false. b is the version in force afterwards.
// Errors: tenant.ErrInvalid.
func (s *Store) ApplyPriceBook(ctx context.Context, actor string, document []byte) (b PriceBook, changed bool, err error) {
	return s.addBook(ctx, actor, SourceCommand, document)
}

// SyncPriceBook is for the file that the configuration names, at each start:
// document becomes the newest version if the file changed since the last start
// that applied it. A book that a command applied after that stays in force while
// the file stays the same. b is the version in force afterwards.
func (s *Store) SyncPriceBook(ctx context.Context, actor string, document []byte) (b PriceBook, changed bool, err error) {
	return s.addBook(ctx, actor, SourceConfig, document)
}

// addBook adds document unless the newest book has it, or the newest that the
// configuration brought and brings again.
func (s *Store) addBook(ctx context.Context, actor, source string, document []byte) (b PriceBook, changed bool, err error) {
	if !json.Valid(document) {
		return PriceBook{}, false, fmt.Errorf("%w price book: not JSON", tenant.ErrInvalid)
	}
	hash := hashOf(document)
	err = s.change(ctx, actor, func(tx *change) error {
		last, err := list(ctx, tx, scanBook, "SELECT "+bookColumns+` FROM price_books WHERE version = (SELECT max(version) FROM price_books)
			OR source = ?1 AND version = (SELECT max(version) FROM price_books WHERE source = ?2) ORDER BY version DESC`, source, SourceConfig)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(last, func(x PriceBook) bool { return x.Hash == hash }) {
			b = last[0]
			return nil
		}
		changed = true
		b = PriceBook{Hash: hash, Source: source, Applied: tx.now, Actor: actor, Document: document}
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) + 1 FROM price_books").Scan(&b.Version); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO price_books ("+bookColumns+") VALUES (?, ?, ?, ?, ?, ?)",
			b.Version, b.Hash, b.Source, b.Applied.UnixMilli(), b.Actor, document); err != nil {
			return err
		}
		return tx.audit(ctx, "price_book.apply", "price_book/"+strconv.FormatInt(b.Version, 10), b.applied())
	})
	if err != nil {
		return PriceBook{}, false, err
	}
	return b, changed, nil
}

// applied is what the audit log keeps of a book, apart from its prices.
func (b PriceBook) applied() any {
	return struct {
		Hash   string `json:"hash"`
		Source string `json:"source"`
	}{b.Hash, b.Source}
}

// PriceBook reads a version. Errors: ErrNotFound.
func (s *Store) PriceBook(ctx context.Context, version int64) (PriceBook, error) {
	return one(ctx, s.db, "price book version", strconv.FormatInt(version, 10), scanBook,
		"SELECT "+bookColumns+" FROM price_books WHERE version = ?", version)
}

// NewestPriceBook reads the version in force. Errors: ErrNotFound while there is none.
func (s *Store) NewestPriceBook(ctx context.Context) (PriceBook, error) {
	b, err := one(ctx, s.db, "price book", "(any)", scanBook, "SELECT "+bookColumns+" FROM price_books ORDER BY version DESC LIMIT 1")
	if err != nil {
		return PriceBook{}, err
	}
	return b, nil
}

// PriceBooks lists the versions, oldest first, with their documents.
func (s *Store) PriceBooks(ctx context.Context) ([]PriceBook, error) {
	return list(ctx, s.db, scanBook, "SELECT "+bookColumns+" FROM price_books ORDER BY version")
}

// hashOf is the SHA-256 of a document in hex.
func hashOf(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}
