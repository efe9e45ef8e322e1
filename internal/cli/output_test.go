package cli_test

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
)

// TestClientsText: what a client calls its requests stays text: in a terminal, in
// a spreadsheet, in JSON.
func TestClientsText(t *testing.T) {
	h := newHouse(t)
	stop := h.serve()
	ids := []string{"=HYPERLINK(1)", "+1+1", "@SUM(1)", "-1+cmd|' /C calc'!A0", "-5", "\tx", "a\x1b[31mred", "a,b\"c\nd", "漢字", "plain"}
	for _, id := range ids {
		s := defaultSpans(t.Name() + id)
		s.id = id
		body, err := s.body()
		if err != nil {
			t.Fatal(err)
		}
		if err := h.post(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := settle(h.api); err != nil {
		t.Fatal(err)
	}
	stop()

	table := h.command("requests", "--data", h.data)
	if strings.ContainsAny(table, "\x1b\t") || strings.Count(table, "\n") != len(ids)+2 || !strings.Contains(table, "a�[31mred") {
		t.Errorf("table:\n%q", table)
	}

	rows, err := csv.NewReader(strings.NewReader(h.command("requests", "--data", h.data, "-o", "csv"))).ReadAll()
	if err != nil || len(rows) != len(ids)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	shown := map[string]bool{}
	for _, row := range rows[1:] {
		shown[row[9]] = true
	}
	for _, id := range ids {
		want := id
		if strings.ContainsRune("=+@-\t", rune(id[0])) && id != "-5" {
			want = "'" + id
		}
		if !shown[want] {
			t.Errorf("CSV: %q is not among %v", want, shown)
		}
	}

	var answer struct {
		Records []struct {
			ID string `json:"request_id"`
		} `json:"records"`
	}
	if err := json.Unmarshal([]byte(h.command("requests", "--data", h.data, "-o", "json")), &answer); err != nil {
		t.Fatal(err)
	}
	for _, r := range answer.Records {
		delete(shown, "'"+r.ID)
		delete(shown, r.ID)
	}
	if len(answer.Records) != len(ids) || len(shown) > 0 {
		t.Errorf("JSON: %q, not %v", answer.Records, shown)
	}
}
