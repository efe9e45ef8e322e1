package monitoring

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// dashboard is what we use of Grafana's model.
type dashboard struct {
	file       string
	UID        string
	Title      string
	Panels     []panel
	Templating struct{ List []variable }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	Targets                  []struct {
		Expr       string
		Datasource source
	}
}

type source struct{ Type, UID string }

type variable struct {
	Name, Type string
	Query      any
}

func dashboards(t *testing.T) (list []dashboard) {
	t.Helper()
	for _, name := range files(t, chart, "dashboards", "*.json") {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		d := dashboard{file: name}
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list = append(list, d)
	}
	return list
}

// TestDashboardsCanBeImported: they name no data source of ours but ask for one,
// no two have one uid, and each panel says what it shows.
func TestDashboardsCanBeImported(t *testing.T) {
	uids := map[string]string{}
	for _, d := range dashboards(t) {
		if d.UID == "" || len(d.UID) > 40 || uids[d.UID] != "" {
			t.Errorf("%s: uid %q is empty, too long, or that of %s", d.file, d.UID, uids[d.UID])
		}
		uids[d.UID] = d.file
		if len(d.Templating.List) == 0 || d.Templating.List[0].Name != "datasource" || d.Templating.List[0].Type != "datasource" {
			t.Errorf("%s: the first variable is not the data source", d.file)
		}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have id %d", d.file, p.ID)
			}
			ids[p.ID] = true
			if p.Type != "row" {
				p.check(t, d.file)
			}
		}
	}
}

func (p *panel) check(t *testing.T, file string) {
	t.Helper()
	ours := source{"prometheus", "${datasource}"}
	if p.Title == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource != ours {
		t.Errorf("%s: panel %q: no title, no description, nothing asked, or a data source of its own", file, p.Title)
	}
	for _, q := range p.Targets {
		if q.Datasource != ours || !strings.Contains(q.Expr, "$namespace") {
			t.Errorf("%s: panel %q asks another data source, or all namespaces: %s", file, p.Title, q.Expr)
		}
	}
}
