package main

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                                 nil,
		" ; ;\n":                           nil,
		"select 1":                         {"select 1"},
		"select 1; select 2;":              {"select 1", "select 2"},
		"select ';', `a;b`, \"c;\"; x":     {"select ';', `a;b`, \"c;\"", "x"},
		`select 'it\'s;'; x`:               {`select 'it\'s;'`, "x"},
		"select 'a'';b'; x":                {"select 'a'';b'", "x"},
		"-- one; two\nselect 1 /* ; */; x": {"-- one; two\nselect 1 /* ; */", "x"},
		"select 1; -- the end":             {"select 1"},
		"select 'open;":                    {"select 'open;"},
		"select 5 - 3; select 6 / 2":       {"select 5 - 3", "select 6 / 2"},
	} {
		if got := split(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// server is a real one, started by .ci/clickhouse: its native port and its HTTP
// URL.
func server(t *testing.T) (flags []string, byHTTP string) {
	t.Helper()
	native, err := url.Parse(os.Getenv("TEST_CLICKHOUSE_NATIVE"))
	if err != nil || native.Host == "" {
		t.Skip("no ClickHouse: `.ci/clickhouse go test ./test/e2e/clickhouse` starts one")
	}
	password, _ := native.User.Password()
	return []string{"client", "--host", native.Hostname(), "--port", native.Port(), "--user", native.User.Username(), "--password", password}, os.Getenv("TEST_CLICKHOUSE_HTTP")
}

// ask runs the client.
func ask(t *testing.T, flags []string, sql string) (out, problem string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), flags, strings.NewReader(sql), &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

// TestPrintsAsTheServer compares with what the server itself prints, for each
// type that otel_traces has and some more.
func TestPrintsAsTheServer(t *testing.T) {
	flags, byHTTP := server(t)
	for _, query := range []string{
		`select 'a\tb\n\\c\'d', '', 'ü'`,
		`select 1, -7, 18446744073709551615, 1.5, true, NULL, toNullable(3)`,
		`select toDateTime64('2026-11-30 20:10:07.000000123', 9, 'UTC'), toDateTime('2026-11-30 20:10:07', 'UTC'), toDate('2026-11-30'), toDateTime64('2026-11-30 20:10:07', 0, 'UTC')`,
		`select ['a','b\'c'], [1,2], [], [['x'],[]], [toNullable('a'), NULL], [toDateTime64('2026-11-30 20:10:07.5', 9, 'UTC')]`,
		`select map('k','v','l','it\'s'), [map('a','1'), map()], CAST(map('x', 'y'), 'Map(LowCardinality(String), String)')`,
		`select toLowCardinality('word'), toFixedString('abc', 3), toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'), CAST('a', 'Enum8(\'a\'=1)'), toDecimal64('1.20', 2)`,
		`select number, toString(number) from numbers(3)`,
		`select 1 where 0`,
		`with 2 as x select x`,
		`show databases like 'system'`,
	} {
		for _, format := range []string{"TabSeparated", "TabSeparatedWithNames"} {
			resp, err := http.Post(byHTTP, "text/plain", strings.NewReader(query+" format "+format))
			if err != nil {
				t.Fatal(err)
			}
			want, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s %v", query, want, err)
			}
			if got, problem, code := ask(t, append(slices.Clone(flags), "--format", format), query); got != string(want) || code != 0 {
				t.Errorf("%s\nprints %q\nwant   %q\n%d %s", query, got, want, code, problem)
			}
		}
	}
}

func TestStatements(t *testing.T) {
	flags, _ := server(t)
	out, problem, code := ask(t, flags, `
		create table client_test (a Int8, b String) engine = Memory; -- made
		insert into client_test values (1, 'x;y'), (2, 'z');
		select a, b from client_test order by a;
		select count() as n from client_test format JSONEachRow;
		select a, b as name from client_test where a = 2 format Vertical;
		select a from client_test format Null;
		drop table client_test`)
	if want := "1\tx;y\n2\tz\n{\"n\":2}\nRow 1:\n──────\na:    2\nname: z\n\n"; out != want || code != 0 {
		t.Errorf("%d %q %s\nwant %q", code, out, problem, want)
	}
	out, problem, code = ask(t, flags, "select 1; select x from nowhere.x; select 2")
	if out != "1\n" || code != 81 || !strings.Contains(problem, "Code: 81. DB::Exception: Database nowhere does not exist") {
		t.Errorf("%d %q %q: want the first answer, and the error", code, out, problem)
	}
	if _, problem, code := ask(t, flags, "select 1 format Pretty"); code != 1 || !strings.Contains(problem, "does not know the format Pretty") {
		t.Errorf("%d %q", code, problem)
	}
	if out, _, code := ask(t, append(slices.Clone(flags), "--query", "select 3"), ""); out != "3\n" || code != 0 {
		t.Errorf("--query: %d %q", code, out)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"server"}, {"client", "--nonsense"}, {"client", "extra"}, {"client", "--format", "Parquet"}} {
		if out, problem, code := ask(t, args, ""); code != 2 || out != "" || problem == "" {
			t.Errorf("%q: %d %q %q", args, code, out, problem)
		}
	}
}
