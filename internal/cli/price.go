package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/pricing"
	"github.com/tollkeeper/tollkeeper/internal/rating"
)

func priceCommand(p *Program) *cobra.Command {
	return parent(&cobra.Command{
		Use: "price", GroupID: groupBusiness, Short: "The price book: check, apply, list and compare prices",
		Long: `Prices are written in a YAML file and applied as a version of the price book, which never changes; an invoice names the version that it
was made with. An entry is about a model, or many by a glob (* stands for any characters, also slashes, ? for one), maybe about one
customer, and holds from an instant until "to", or until the next entry of the same model and customer:

  currency: USD
  prices:
    - { model: facebook/opt-125m, from: 2026-01-01, per: 1000000, input_tokens: "0.10", cached_input_tokens: "0.05", output_tokens: "0.40" }
    - { model: "meta-llama/*", from: 2026-01-01, per: 1000000, input_tokens: "0.60", output_tokens: "0.80" }
    - { model: facebook/opt-125m, customer: acme, from: 2026-11-01, per: 1000000, output_tokens: "0.32" }

Each quantity is looked up by itself: a customer's own price before that for all, a model's name before a glob. Usage that has no price is
kept and shown as unpriced.`,
		Example: "  tollkeeper price check prices.yaml\n  tollkeeper price apply prices.yaml",
	}, priceCheck(p), priceApply(p), priceList(p), priceVersions(p), priceDiff(p))
}

// yamlFiles completes the names of price files.
func yamlFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// loadDocument reads a price file as what the API takes.
func loadDocument(file string) (api.PriceDocument, config.Problems, error) {
	book, odd, err := config.LoadPrices(file)
	if err != nil {
		return api.PriceDocument{}, nil, usageError{err}
	}
	document, err := book.Canonical()
	if err != nil {
		return api.PriceDocument{}, nil, usageError{fmt.Errorf("%s: %w", file, err)}
	}
	return api.PriceDocument{RawMessage: document}, odd, nil
}

// checkedPrices is the answer of price check.
type checkedPrices struct {
	File     string         `json:"file"`
	Problems []filedProblem `json:"problems"`
	// Against says that the file was held against usage and customers.
	Against          bool                `json:"checked_against_usage"`
	Unpriced         []api.UnpricedUsage `json:"unpriced"`
	UnknownCustomers []string            `json:"unknown_customers"`
	summary          string
}

// filedProblem is a problem of the file; one that refuses keeps it from being
// applied.
type filedProblem struct {
	config.Problem
	Refuses bool `json:"refuses"`
}

func priceCheck(p *Program) *cobra.Command {
	var where source
	var format string
	c := &cobra.Command{
		Use: "check FILE", Args: cobra.ExactArgs(1), ValidArgsFunction: yamlFiles,
		Short: "What is wrong with a price file, and which usage it would leave unpriced",
		Long: `Reads a price file and names, with file and line, all that keeps it from being applied: misspelt keys, numbers that are none, overlapping
periods, globs that match the same model. Gaps, in which usage would be unpriced, are warnings.

With a data directory or a server, named by a flag or by $TOLLKEEPER_DATA or $TOLLKEEPER_SERVER, it also lists the usage so far that these
prices would not cover, and customers with prices who were never added. The exit code is 1 if the file cannot be applied or leaves usage
unpriced.`,
		Example: `  tollkeeper price check prices.yaml
  tollkeeper price check prices.yaml --server https://toll.example:8443 -o json`,
	}
	where.add(c)
	outputFlag(c, &format)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkOutput(format); err != nil {
			return err
		}
		out, document, err := checkFile(args[0])
		if err != nil {
			return err
		}
		if len(document.RawMessage) > 0 && (where.data != "" || where.server != "" || p.env("TOLLKEEPER_DATA") != "" || p.env("TOLLKEEPER_SERVER") != "") {
			err = call(c.Context(), p, &where, api.CheckPrices, &api.PriceDocumentIn{Body: document}, func(answer *api.PriceCheck) error {
				out.Against, out.Unpriced, out.UnknownCustomers = true, answer.Unpriced, answer.UnknownCustomers
				return nil
			})
			if err != nil {
				return err
			}
		}
		if err := out.print(p.Stdout, format); err != nil {
			return err
		}
		if len(out.Unpriced) > 0 || slices.ContainsFunc(out.Problems, func(x filedProblem) bool { return x.Refuses }) {
			return errSilent
		}
		return nil
	}
	return c
}

// checkFile finds what is wrong with the file alone. The document is empty when
// it cannot be applied.
func checkFile(file string) (*checkedPrices, api.PriceDocument, error) {
	out := &checkedPrices{File: file, Problems: []filedProblem{}, Unpriced: []api.UnpricedUsage{}, UnknownCustomers: []string{}}
	add := func(list config.Problems, refuses bool) {
		for _, x := range list {
			out.Problems = append(out.Problems, filedProblem{x, refuses})
		}
	}
	document, odd, err := loadDocument(file)
	var problems config.Problems
	switch {
	case errors.As(err, &problems):
		add(problems, true)
		return out, document, nil
	case err != nil:
		return nil, document, err
	}
	add(odd, false)
	book, err := pricing.Parse(document.RawMessage)
	if err != nil {
		return nil, document, err
	}
	out.summary = fmt.Sprintf("%s: %s in %s", file, count(int64(len(book.Entries)), "entry", "entries"), book.Currency)
	return out, document, nil
}

func (c *checkedPrices) print(w io.Writer, format string) error {
	if format != "table" {
		return printAnswer(w, format, c, c.grid())
	}
	refused := 0
	for _, x := range c.Problems {
		kind := ": warning: "
		if x.Refuses {
			kind, refused = ": ", refused+1
		}
		place, text := strings.TrimSuffix(x.Problem.String(), ": "+x.Text), x.Text
		fmt.Fprintln(w, place+kind+text)
	}
	if refused > 0 {
		_, err := fmt.Fprintf(w, "%s: cannot be applied: %s\n", c.File, count(int64(refused), "problem", "problems"))
		return err
	}
	for _, id := range c.UnknownCustomers {
		fmt.Fprintf(w, "%s: warning: customer %s has prices, but was never added: `tollkeeper customer add %s`\n", c.File, id, id)
	}
	if len(c.Unpriced) == 0 {
		covered := ""
		if c.Against {
			covered = "; it covers all usage"
		}
		_, err := fmt.Fprintf(w, "%s: can be applied%s\n", c.summary, covered)
		return err
	}
	g := &grid{above: c.summary + ": can be applied, but this usage would have no price:", columns: []string{"customer", "model", "quantity", "amount", "reason"}, numbers: []string{"amount"}, unnamed: true}
	for _, u := range c.Unpriced {
		g.rows = append(g.rows, []string{u.Customer, u.Model, u.Quantity, thousands(u.Amount), whyUnpriced(u.Unpriced)})
	}
	return g.table(w)
}

// whyUnpriced says in words why usage has no price.
func whyUnpriced(u rating.Unpriced) string {
	switch u.Reason {
	case rating.ReasonUnknownModel:
		if u.Model == "" {
			return "nothing says which model it was: see engines: in the configuration"
		}
		return "no entry is about this model"
	case rating.ReasonNoPrice:
		return "no price of this quantity at that time"
	case rating.ReasonExceedsInput:
		return "more cached than input tokens: one of the counts is wrong"
	case rating.ReasonExceedsOutput:
		return "more reasoning than output tokens: one of the counts is wrong"
	}
	return u.Reason
}

// grid is the answer for CSV: a row for each finding.
func (c *checkedPrices) grid() *grid {
	g := &grid{columns: []string{"finding", "file", "line", "column", "key", "customer", "model", "quantity", "amount", "text"}}
	for _, x := range c.Problems {
		finding := "warning"
		if x.Refuses {
			finding = "problem"
		}
		g.rows = append(g.rows, []string{finding, x.File, strconv.Itoa(x.Line), strconv.Itoa(x.Column), x.Key, "", "", "", "", x.Text})
	}
	for _, id := range c.UnknownCustomers {
		g.rows = append(g.rows, []string{"unknown_customer", c.File, "", "", "", id, "", "", "", "has prices, but was never added"})
	}
	for _, u := range c.Unpriced {
		g.rows = append(g.rows, []string{"unpriced", c.File, "", "", "", u.Customer, u.Model, u.Quantity, strconv.FormatInt(u.Amount, 10), u.Reason})
	}
	return g
}

func priceApply(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "apply FILE", Args: cobra.ExactArgs(1), ValidArgsFunction: yamlFiles,
		Short: "Bring a price file into force, as a new version of the price book",
		Long: `Checks the file as "price check" does, and makes it the newest version of the price book, unless it says what is in force already.
Drafts are rated with the newest version; a final invoice keeps the version that it was made with.`,
		Example: `  tollkeeper price diff prices.yaml && tollkeeper price apply prices.yaml --data ./data`,
	}
	var file string
	var odd config.Problems
	return acting(p, c, api.ApplyPrices, func(args []string) (_ *api.PriceDocumentIn, err error) {
		in := &api.PriceDocumentIn{}
		file = args[0]
		in.Body, odd, err = loadDocument(file)
		return in, err
	}, func(_ *api.PriceDocumentIn, out *api.AppliedPrices) string {
		var say strings.Builder
		for _, x := range odd {
			fmt.Fprintf(&say, "warning: %s\n", x)
		}
		if out.Changed {
			fmt.Fprintf(&say, "%s is in force, as version %d", file, out.Version)
		} else {
			fmt.Fprintf(&say, "nothing changed: version %d, which is in force, says the same", out.Version)
		}
		return say.String()
	})
}

func priceList(p *Program) *cobra.Command {
	var in api.PricesQuery
	c := &cobra.Command{
		Use: "list", Args: cobra.NoArgs, Short: "The prices in force, or those of an earlier version",
		Example: `  tollkeeper price list
  tollkeeper price list --version 3 -o csv`,
	}
	c.Flags().Int64Var(&in.Version, "version", 0, "this version (default: the one in force)")
	return reading(p, c, api.AskPrices, func([]string) (*api.PricesQuery, error) { return &in, nil }, pricesGrid)
}

func pricesGrid(b *api.Prices, format string) *grid {
	g := &grid{
		above:   fmt.Sprintf("Version %d, %s, applied %s", b.Version, b.Currency, day(b.Applied)),
		columns: []string{"model", "customer", "quantity", "price", "per", "from", "to"}, numbers: []string{"price", "per"},
	}
	if len(b.Entries) == 0 {
		g.above += ": no prices"
	}
	for _, e := range b.Entries {
		for _, quantity := range slices.SortedFunc(maps.Keys(e.Prices), rating.CompareQuantities) {
			price := e.Prices[quantity]
			row := []string{e.Model, e.Customer, quantity, price.Text(priceDigits), thousands(e.Per), instant(e.From), instant(e.To)}
			if format == "csv" {
				row[3], row[4] = price.String(), strconv.FormatInt(e.Per, 10)
				row[5], row[6] = e.From.String(), ends(e.To)
			}
			g.rows = append(g.rows, row)
		}
	}
	return g
}

// priceDigits is how many decimal places a price has at least, for people.
const priceDigits = 2

// instant shows a bound of a period: a day if it is its beginning in UTC.
func instant(i pricing.Instant) string {
	return strings.TrimSuffix(ends(i), "T00:00:00Z")
}

// ends is an instant, and nothing for an open end.
func ends(i pricing.Instant) string {
	if i == 0 {
		return ""
	}
	return i.String()
}

func priceVersions(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "versions", Args: cobra.NoArgs, Short: "The versions of the price book: when, by whom and from where",
		Example: "  tollkeeper price versions",
	}
	return reading(p, c, api.ListPriceVersions, noInput, func(list *api.PriceVersions, _ string) *grid {
		g := &grid{columns: []string{"version", "applied", "actor", "source", "hash"}, numbers: []string{"version"}}
		for _, v := range list.Versions {
			g.rows = append(g.rows, []string{strconv.FormatInt(v.Version, 10), v.Applied.UTC().Format("2006-01-02T15:04:05Z"), v.Actor, v.Source, v.Hash})
		}
		return g
	})
}

func priceDiff(p *Program) *cobra.Command {
	c := &cobra.Command{
		Use: "diff [A B | FILE]", Args: cobra.MaximumNArgs(2), ValidArgsFunction: yamlFiles,
		Short: "What changes between two versions, or from the prices in force to a file",
		Long: `Lists, by model, customer, quantity and time, each price that changes. Without arguments: what the newest version changed; with a file:
what applying it would change. Prices that come to the same money per unit are the same, however they are written.`,
		Example: `  tollkeeper price diff prices.yaml
  tollkeeper price diff 2 5 -o csv`,
	}
	var file string
	return reading(p, c, api.DiffPrices, func(args []string) (*api.DiffPricesIn, error) {
		in := &api.DiffPricesIn{}
		if len(args) != 1 {
			return in, versions(args, &in.Body.Before, &in.Body.After)
		}
		file = args[0]
		document, _, err := loadDocument(file)
		in.Body.Document = &document
		return in, err
	}, func(d *api.PriceDiff, format string) *grid { return diffGrid(d, file, format) })
}

// versions reads the numbers of versions, which count from 1.
func versions(args []string, into ...*int64) error {
	for i, arg := range args {
		n, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || n < 1 {
			return usageError{fmt.Errorf("%q is no version of the price book: they count from 1; `tollkeeper price versions` lists them", arg)}
		}
		*into[i] = n
	}
	return nil
}

func diffGrid(d *api.PriceDiff, file, format string) *grid {
	side := func(s api.PriceSide, name string) string {
		if s.Version > 0 {
			name = fmt.Sprintf("version %d", s.Version)
		}
		return fmt.Sprintf("%s (%s)", name, s.Currency)
	}
	g := &grid{
		above:   fmt.Sprintf("From %s to %s", side(d.Before, "no prices"), side(d.After, file)),
		columns: []string{"model", "customer", "quantity", "from", "to", "before", "after", "change"}, numbers: []string{"before", "after", "change"},
	}
	if len(d.Changes) == 0 {
		g.above += ": the prices are the same"
	}
	for _, c := range d.Changes {
		g.rows = append(g.rows, []string{c.Model, c.Customer, c.Quantity, instant(c.From), instant(c.To), unitText(c.Before), unitText(c.After), changeText(c)})
	}
	if format == "csv" {
		g = diffTable(d)
	}
	return g
}

// diffTable is the diff for programs: prices and their units apart.
func diffTable(d *api.PriceDiff) *grid {
	g := &grid{columns: []string{"model", "customer", "quantity", "from", "to", "before", "before_per", "after", "after_per", "percent"}}
	for _, c := range d.Changes {
		row := []string{c.Model, c.Customer, c.Quantity, c.From.String(), ends(c.To), "", "", "", "", strings.Trim(c.Percent, "+%")}
		for i, u := range []*api.UnitPrice{c.Before, c.After} {
			if u != nil {
				row[5+2*i], row[6+2*i] = u.Price.String(), strconv.FormatInt(u.Per, 10)
			}
		}
		g.rows = append(g.rows, row)
	}
	return g
}

func unitText(u *api.UnitPrice) string {
	if u == nil {
		return ""
	}
	return u.Price.Text(priceDigits) + " per " + thousands(u.Per)
}

func changeText(c api.PriceChange) string {
	switch {
	case c.Before == nil:
		return "new"
	case c.After == nil:
		return "gone"
	}
	return c.Percent
}
