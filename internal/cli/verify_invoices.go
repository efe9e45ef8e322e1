package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/billing"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/project"
	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// The kinds of defect of an invoice.
const (
	defectDocument   = "document"   // it is none that closing writes, or rests on such a one
	defectDiffers    = "differs"    // made again it is another
	defectFold       = "fold"       // it was made by other rules than these, by which it is another
	defectJournals   = "journals"   // it counted what this journal does not hold
	defectCheckpoint = "checkpoint" // what was signed at its closing is not this journal
)

// invoicesReport is what verify found about final invoices.
type invoicesReport struct {
	Checked int      `json:"checked"`
	Defects []defect `json:"defects"`
}

// invoicesCheck makes the final invoices again, each from usage as it was when
// it was closed.
type invoicesCheck struct {
	journal *journal.Reader
	keys    []string // whose signatures count
	anew    *replay  // goes from the position of one to that of the next
	local   api.Local
	all     []business.Invoice // also void ones: they were subtracted while they were final
	lives   map[string]life
	made    map[string][]byte // the documents that those which differ should be
	report  *invoicesReport
}

// life says which lines of the audit log closed an invoice and made it void;
// times would not tell what came first.
type life struct{ closed, voided int64 }

// finalInvoice is an invoice and what its document says.
type finalInvoice struct {
	*business.Invoice
	said *billing.Invoice
}

func (p *Program) verifyInvoices(ctx context.Context, b *business.Store, r *journal.Reader, anew *replay, keys []string) (*invoicesReport, error) {
	c := &invoicesCheck{journal: r, keys: keys, anew: anew, local: api.Local{Business: b, Usage: anew.store}, made: map[string][]byte{}, report: &invoicesReport{Defects: []defect{}}}
	if len(keys) == 0 {
		key, err := r.Verifier(ctx)
		if err != nil {
			return nil, err
		}
		c.keys = []string{key}
	}
	var err error
	if c.all, err = b.Invoices(ctx, business.InvoiceFilter{}); err != nil {
		return nil, err
	}
	if c.lives, err = invoiceLives(ctx, b); err != nil {
		return nil, err
	}
	list := c.finals()
	bar := p.progress("invoices")
	defer bar.done()
	for i, x := range list {
		if err := c.check(ctx, x); err != nil {
			return nil, fmt.Errorf("invoice %s: %w", x.ID, err)
		}
		bar.to(uint64(i)+1, uint64(len(list)))
	}
	return c.report, nil
}

// invoiceLives reads when, among other changes, invoices were closed and made void.
func invoiceLives(ctx context.Context, b *business.Store) (map[string]life, error) {
	const page = 10_000 // lines of the log at a time: some megabytes
	lives := map[string]life{}
	for after := int64(0); ; {
		lines, err := b.Changes(ctx, business.ChangeFilter{After: after, Limit: page})
		if err != nil || len(lines) == 0 {
			return lives, err
		}
		for _, line := range lines {
			after = line.Seq
			id, of := strings.CutPrefix(line.Subject, "invoice/")
			x := lives[id]
			switch {
			case of && line.Action == "invoice.finalise":
				x.closed = line.Seq
			case of && line.Action == "invoice.void":
				x.voided = line.Seq
			default:
				continue
			}
			lives[id] = x
		}
	}
}

// finals are the final invoices in the order in which the replay gets to them.
func (c *invoicesCheck) finals() (list []finalInvoice) {
	for i := range c.all {
		kept := &c.all[i]
		if kept.State != business.InvoiceFinal {
			continue
		}
		c.report.Checked++
		said, err := billing.Parse(kept.Document)
		if err != nil {
			c.defect(defectDocument, kept.ID, 0, err.Error())
			continue
		}
		list = append(list, finalInvoice{kept, said})
	}
	slices.SortStableFunc(list, func(a, b finalInvoice) int {
		return cmp.Compare(a.said.Journals[c.journal.Origin()], b.said.Journals[c.journal.Origin()])
	})
	return list
}

// defect adds what is wrong with a line of an invoice, or, line 0, with another
// part of it.
func (c *invoicesCheck) defect(kind, id string, line int, detail string) {
	if line > 0 {
		id = fmt.Sprintf("%s line %d", id, line)
	}
	c.report.Defects = append(c.report.Defects, defect{Kind: kind, Place: id, Detail: detail})
}

// check compares an invoice with one that is made again. The error is about
// reading.
func (c *invoicesCheck) check(ctx context.Context, x finalInvoice) error {
	if err := c.checkAnchor(ctx, x); err != nil {
		return err
	}
	at := x.said.Journals[c.journal.Origin()]
	for origin := range x.said.Journals {
		if origin != c.journal.Origin() {
			c.defect(defectJournals, x.ID, 0, "it counts journal "+origin+" too, which this one alone does not explain")
			return nil
		}
	}
	if err := c.anew.projector.CatchUp(ctx, at, nil); errors.Is(err, project.ErrEnds) {
		c.defect(defectJournals, x.ID, 0, fmt.Sprintf("it counts up to entry %d: %s", at, err))
		return nil
	} else if err != nil {
		return err
	}
	counted := c.counted(x.Invoice)
	made, document, err := c.remake(ctx, x, counted)
	if err == nil && !bytes.Equal(document, x.Document) && c.mend(counted) {
		// One that it subtracted was edited, before or since. It may well follow from
		// what that should be.
		if _, other, err := c.remake(ctx, x, counted); err == nil && bytes.Equal(other, x.Document) {
			return nil
		}
	}
	switch {
	case errors.Is(err, api.ErrCannotRemake):
		c.defect(defectDocument, x.ID, 0, err.Error())
		return nil
	case err != nil || bytes.Equal(document, x.Document):
		return err
	}
	c.made[x.ID] = document
	return c.compare(x, made)
}

func (c *invoicesCheck) remake(ctx context.Context, x finalInvoice, counted []business.Invoice) (*billing.Invoice, []byte, error) {
	made, err := c.local.RemakeInvoice(ctx, x.Invoice, x.said, counted)
	if err != nil {
		return nil, nil, err
	}
	document, err := made.Canonical()
	return made, document, err
}

// mend puts what they should be in the place of invoices that differ, and tells
// whether there are such.
func (c *invoicesCheck) mend(list []business.Invoice) (some bool) {
	for i := range list {
		if document, differs := c.made[list[i].ID]; differs {
			list[i].Document, some = document, true
		}
	}
	return some
}

// counted are the invoices that an invoice had to subtract: those of its
// customer that were final when it was closed.
func (c *invoicesCheck) counted(x *business.Invoice) (out []business.Invoice) {
	now := c.lives[x.ID].closed
	for i := range c.all {
		other := &c.all[i]
		l := c.lives[other.ID]
		if other.Customer == x.Customer && l.closed < now && (l.voided == 0 || l.voided > now) {
			out = append(out, *other)
		}
	}
	return out
}

func (c *invoicesCheck) compare(x finalInvoice, made *billing.Invoice) error {
	differences, err := billing.Differences(x.said, made)
	if err != nil {
		return err
	}
	kind, under := defectDiffers, ""
	if x.said.Fold != usage.FoldVersion {
		// Other rules may count otherwise; its own arithmetic they do not excuse.
		for _, text := range x.said.Check() {
			c.defect(defectDiffers, x.ID, 0, text)
		}
		kind, under = defectFold, fmt.Sprintf("differs under fold v%d, it was closed under v%d: ", usage.FoldVersion, x.said.Fold)
	}
	for _, d := range differences {
		c.defect(kind, x.ID, d.Line, under+d.Text)
	}
	return nil
}

// checkAnchor asks whether the checkpoint that the invoice holds was signed, and
// is of this journal and of all that the invoice counts.
func (c *invoicesCheck) checkAnchor(ctx context.Context, x finalInvoice) error {
	signed, err := journal.OpenCheckpoint(x.said.Checkpoint, c.keys...)
	if err != nil {
		c.defect(defectCheckpoint, x.ID, 0, err.Error())
		return nil
	}
	if at := x.said.Journals[signed.Origin]; signed.Size < at {
		c.defect(defectCheckpoint, x.ID, 0, fmt.Sprintf("it is of %d entries, the invoice counts %d", signed.Size, at))
		return nil
	}
	ours, err := c.journal.Signed(ctx, signed)
	if err == nil && !ours {
		c.defect(defectCheckpoint, x.ID, 0, fmt.Sprintf("the %d entries of journal %s that were signed are not those of this journal", signed.Size, signed.Origin))
	}
	return err
}
