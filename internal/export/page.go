package export

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/tollkeeper/tollkeeper/internal/billing"
)

// Page is an invoice to be written as a page.
type Page struct {
	Invoice *billing.Invoice
	// Hash is the SHA-256 of the invoice's document in hex, "" of a draft.
	Hash string
	// Voided is when it was declared void, zero if it was not.
	Voided     time.Time
	VoidReason string
	// Blocks are what keeps a draft from being closed.
	Blocks []string
}

//go:embed page.html
var pageText string

// pageTemplate escapes whatever an invoice says by where it stands.
var pageTemplate = template.Must(template.New("page").Parse(pageText))

// WriteHTML writes one HTML file that needs no other: no script, font, picture
// or address of elsewhere. It prints on A4 and on Letter.
func (p *Page) WriteHTML(w io.Writer) error {
	var b strings.Builder
	if err := pageTemplate.Execute(&b, newView(p)); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.Map(printable, b.String()))
	return err
}

// printable replaces control characters, which HTML does not allow and a
// terminal would obey.
func printable(r rune) rune {
	if r != '\n' && unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}
