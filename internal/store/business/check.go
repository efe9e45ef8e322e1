package business

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
)

// Problem is one thing that is wrong in the file.
type Problem struct {
	// Kind is one of damaged, reference, price_book_hash, price_book_gap,
	// invoice_hash, invoice_gap, audit_gap, missing (the log knows it, the file does
	// not), unlogged (the other way round), differs (from what the log says of it).
	Kind string `json:"kind"`
	// Place names the thing, such as "invoice/acme-0007".
	Place string `json:"place"`
	// Found says what is wrong, in words.
	Found string `json:"found"`
}

// Check looks for what no command of ours can make: a document that differs
// from its hash, a gap in numbers that have none, a reference to nothing, a
// thing that the audit log does not tell the same about, a damaged file. One who
// may write the file can also change hashes and log: that an invoice follows
// from the journal is checked elsewhere.
func (s *Store) Check(ctx context.Context) ([]Problem, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, explain(err)
	}
	defer tx.Rollback()
	var all []Problem
	for _, check := range []func(context.Context, queryer) ([]Problem, error){
		checkFile, checkReferences, checkBooks, checkInvoices, checkAudit, checkLogged,
	} {
		found, err := check(ctx, tx)
		all = append(all, found...)
		if errors.Is(err, ErrNotOurs) {
			// SQLite stumbled over a damaged page: to find that is what we are here for.
			return append(all, Problem{"damaged", "business.db", err.Error()}), nil
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// problems is list for checks: each row may have some.
func problems(ctx context.Context, q queryer, check func(scanner) ([]Problem, error), query string) ([]Problem, error) {
	rows, err := list(ctx, q, check, query)
	var out []Problem
	for _, r := range rows {
		out = append(out, r...)
	}
	return out, err
}

func checkFile(ctx context.Context, q queryer) ([]Problem, error) {
	return problems(ctx, q, func(r scanner) ([]Problem, error) {
		var found string
		if err := r.Scan(&found); err != nil || found == "ok" {
			return nil, err
		}
		return []Problem{{"damaged", "business.db", found}}, nil
	}, "PRAGMA integrity_check(20)")
}

func checkReferences(ctx context.Context, q queryer) ([]Problem, error) {
	return list(ctx, q, func(r scanner) (Problem, error) {
		var table, parent string
		var row sql.NullInt64
		var n int
		err := r.Scan(&table, &row, &parent, &n)
		return Problem{"reference", table, "a row of it names a row of " + parent + " that is not there"}, err
	}, "PRAGMA foreign_key_check")
}

func checkBooks(ctx context.Context, q queryer) ([]Problem, error) {
	last := int64(0)
	return problems(ctx, q, func(r scanner) ([]Problem, error) {
		var log sql.NullString
		b, err := scanBook(withColumn{r, &log})
		place := fmt.Sprintf("price_book/%d", b.Version)
		out := append(checkHash("price_book_hash", place, b.Document, b.Hash), checkTold(place, log, b.applied())...)
		if want := last + 1; b.Version != want {
			out = append(out, Problem{"price_book_gap", place, fmt.Sprintf("version %d was to follow", want)})
		}
		last = b.Version
		return out, err
	}, "SELECT "+bookColumns+`, (SELECT detail FROM audit WHERE subject = 'price_book/' || version AND action = 'price_book.apply')
		FROM price_books ORDER BY version`)
}

func checkInvoices(ctx context.Context, q queryer) ([]Problem, error) {
	last := map[string]int64{}
	return problems(ctx, q, func(r scanner) ([]Problem, error) {
		var log sql.NullString
		i, err := scanInvoice(withColumn{r, &log})
		place := "invoice/" + i.ID
		out := append(checkHash("invoice_hash", place, i.Document, i.Hash), checkTold(place, log, i.closed())...)
		if want := last[i.Account] + 1; i.Number != want {
			out = append(out, Problem{"invoice_gap", place, fmt.Sprintf("number %d of account %s was to follow", want, i.Account)})
		}
		last[i.Account] = i.Number
		return out, err
	}, "SELECT "+invoiceColumns+`, (SELECT detail FROM audit WHERE subject = 'invoice/' || id AND action = 'invoice.finalise')
		FROM invoices ORDER BY account, number`)
}

// withColumn scans a row that has one more column than the scan function knows.
type withColumn struct {
	row  scanner
	last any
}

func (w withColumn) Scan(dest ...any) error { return w.row.Scan(append(dest, w.last)...) }

func checkHash(kind, place string, document []byte, want string) []Problem {
	if got := hashOf(document); got != want {
		return []Problem{{kind, place, "its document hashes to " + got + ", not " + want}}
	}
	return nil
}

// checkTold compares what the log told about a thing with what the thing says
// now. That there is no line is for checkLogged to say.
func checkTold(place string, log sql.NullString, now any) []Problem {
	text, err := json.Marshal(now)
	if err != nil || !log.Valid || log.String == string(text) {
		return nil
	}
	return []Problem{{"differs", place, fmt.Sprintf("it says %s, the audit log says %s", text, log.String)}}
}

func checkAudit(ctx context.Context, q queryer) ([]Problem, error) {
	return list(ctx, q, func(r scanner) (Problem, error) {
		var count, first, last int64
		err := r.Scan(&count, &first, &last)
		return Problem{"audit_gap", "audit", fmt.Sprintf("%d lines, but they are numbered %d to %d", count, first, last)}, err
	}, "SELECT count(*), min(seq), max(seq) FROM audit HAVING min(seq) <> 1 OR max(seq) <> count(*)")
}

// checkLogged compares what is there with what the log says was added; a void
// invoice counts as a second thing, its being void.
func checkLogged(ctx context.Context, q queryer) ([]Problem, error) {
	return list(ctx, q, func(r scanner) (p Problem, err error) {
		return p, r.Scan(&p.Kind, &p.Place, &p.Found)
	}, `WITH there (what, subject) AS (
			SELECT 'add', 'customer/' || id FROM customers
			UNION ALL SELECT 'add', 'project/' || customer || '/' || id FROM projects
			UNION ALL SELECT 'add', 'key/' || id FROM keys
			UNION ALL SELECT 'add', 'tag_secret/' || id FROM tag_secrets
			UNION ALL SELECT 'add', 'price_book/' || version FROM price_books
			UNION ALL SELECT 'add', 'invoice/' || id FROM invoices
			UNION ALL SELECT 'void', 'invoice/' || id FROM invoices WHERE state = 'void'),
		told (what, subject) AS (
			SELECT 'void', subject FROM audit WHERE action = 'invoice.void'
			UNION ALL SELECT 'add', subject FROM audit WHERE action IN ('customer.add', 'project.add', 'key.add',
				'tag_secret.add', 'tag_secret.rotate', 'price_book.apply', 'invoice.finalise'))
		SELECT 'missing', subject, iif(what = 'add', 'the audit log says that it was added', 'the audit log says that it is void')
			FROM (SELECT what, subject FROM told EXCEPT SELECT what, subject FROM there)
		UNION ALL SELECT 'unlogged', subject, iif(what = 'add', 'no line of the audit log added it', 'no line of the audit log made it void')
			FROM (SELECT what, subject FROM there EXCEPT SELECT what, subject FROM told)
		ORDER BY 1, 2, 3`)
}
