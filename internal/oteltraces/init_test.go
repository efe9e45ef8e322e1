package oteltraces_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/internal/oteltraces"
	"github.com/tollkeeper/tollkeeper/test/process"
)

// clickhouse is a real server, named by its two URLs with user and password;
// .ci/clickhouse starts one for a command.
type clickhouse struct{ http, native string }

func realServer(t *testing.T) clickhouse {
	t.Helper()
	c := clickhouse{os.Getenv("TEST_CLICKHOUSE_HTTP"), os.Getenv("TEST_CLICKHOUSE_NATIVE")}
	if c.http == "" || c.native == "" {
		t.Skip("no ClickHouse: `.ci/clickhouse go test ./internal/oteltraces` starts one")
	}
	return c
}

// ask runs a statement and returns its answer.
func (c clickhouse) ask(t *testing.T, statement string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, c.http, strings.NewReader(statement))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", statement, resp.Status, answer, err)
	}
	return strings.TrimSuffix(string(answer), "\n")
}

// database names one of the test's own.
func (c clickhouse) database(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("test-%d-%s", time.Now().UnixNano(), strings.ToLower(t.Name()))
	name = strings.ReplaceAll(name, "/", "_")
	t.Cleanup(func() { c.ask(t, "DROP DATABASE IF EXISTS `"+name+"` SYNC") })
	return name
}

// definitions are the statements of all three, without the database's name.
func (c clickhouse) definitions(t *testing.T, database string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range []string{"otel_traces", "otel_traces_trace_id_ts", "otel_traces_trace_id_ts_mv"} {
		b.WriteString(c.ask(t, "SHOW CREATE TABLE `"+database+"`."+name+" FORMAT TSVRaw") + "\n")
	}
	return strings.ReplaceAll(strings.ReplaceAll(b.String(), "`"+database+"`", "DB"), database, "DB")
}

func options(url, database, ttl string) oteltraces.Options {
	parsed, err := oteltraces.ParseTTL(ttl)
	if err != nil {
		panic(err)
	}
	return oteltraces.Options{
		Address: oteltraces.Address{URL: url, Credential: oteltraces.Credential{Database: database}}, TTL: parsed, Timeout: time.Minute,
	}
}

func initialise(t *testing.T, o oteltraces.Options) *oteltraces.Result {
	t.Helper()
	r, err := oteltraces.Init(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSecondRunChangesNothing(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	for name, url := range map[string]string{"http": c.http, "native": c.native} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := c.database(t)
			first := initialise(t, options(url, database, ""))
			want := []string{
				"made the database " + database, "made the table " + database + ".otel_traces",
				"made the table " + database + ".otel_traces_trace_id_ts", "made the view " + database + ".otel_traces_trace_id_ts_mv",
			}
			if !slices.Equal(first.Changes, want) || len(first.Notes) > 0 {
				t.Errorf("first run: %q %q", first.Changes, first.Notes)
			}
			made := c.definitions(t, database)
			for _, setting := range []string{"fsync_after_insert = 1", "fsync_part_directory = 1", "min_rows_to_fsync_after_merge = 1"} {
				if strings.Count(made, setting) != 2 {
					t.Errorf("%s does not stand in both tables:\n%s", setting, made)
				}
			}
			if strings.Contains(made, "TTL") {
				t.Errorf("a TTL that nobody asked for:\n%s", made)
			}
			second := initialise(t, options(url, database, ""))
			if len(second.Changes) > 0 || len(second.Notes) > 0 || c.definitions(t, database) != made {
				t.Errorf("second run: %q %q", second.Changes, second.Notes)
			}
		})
	}
}

func TestTTLChangesOnlyWhenItIsGiven(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	database := c.database(t)
	initialise(t, options(c.http, database, ""))
	if r := initialise(t, options(c.http, database, "30d")); len(r.Changes) != 2 || r.Changes[0] != "set the TTL of the table "+database+".otel_traces to 30 days" {
		t.Errorf("a TTL: %q", r.Changes)
	}
	with := c.definitions(t, database)
	if strings.Count(with, "toIntervalDay(30)") != 2 {
		t.Errorf("30 days do not stand in both tables:\n%s", with)
	}
	if r := initialise(t, options(c.http, database, "720h")); len(r.Changes) > 0 {
		t.Errorf("the same TTL by another unit: %q", r.Changes)
	}
	r := initialise(t, options(c.http, database, ""))
	if len(r.Changes) > 0 || len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "REMOVE TTL") || c.definitions(t, database) != with {
		t.Errorf("no TTL: %q %q", r.Changes, r.Notes)
	}
}

func TestOtherColumnsAreNamedAndLeft(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	database := c.database(t)
	c.ask(t, "CREATE DATABASE `"+database+"`")
	c.ask(t, "CREATE TABLE `"+database+"`.otel_traces (Timestamp DateTime, TraceId String, Mine Int8) ENGINE = MergeTree ORDER BY TraceId")
	before := c.ask(t, "SHOW CREATE TABLE `"+database+"`.otel_traces")
	_, err := oteltraces.Init(t.Context(), options(c.http, database, "30d"))
	if err == nil {
		t.Fatal("another table was taken for the Collector's")
	}
	for _, want := range []string{database + ".otel_traces", "its column Timestamp is DateTime, not DateTime64(9)", "it has no column SpanId String", "It was not touched", "--database", "RENAME TABLE"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said by %q", want, err)
		}
	}
	if after := c.ask(t, "SHOW CREATE TABLE `"+database+"`.otel_traces"); after != before {
		t.Errorf("it became %s", after)
	}
	if n := c.ask(t, "SELECT count() FROM system.tables WHERE database = '"+database+"'"); n != "1" {
		t.Errorf("%s tables, want the one that was there", n)
	}
}

// TestTableOfTheUsersOwnStays takes a table that the Collector can write to,
// makes it durable, and tells what else is different.
func TestTableOfTheUsersOwnStays(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	database := c.database(t)
	initialise(t, options(c.http, database, ""))
	name := "`" + database + "`.otel_traces"
	for _, change := range []string{
		"RESET SETTING fsync_after_insert, fsync_part_directory", "ADD COLUMN Team String DEFAULT 'none'",
		"DROP INDEX idx_duration", "MODIFY COLUMN StatusMessage String CODEC(LZ4)",
	} {
		c.ask(t, "ALTER TABLE "+name+" "+change)
	}
	r := initialise(t, options(c.native, database, ""))
	want := "set on the table " + database + ".otel_traces, so that an insert that it acknowledges is on disk: fsync_after_insert = 1, fsync_part_directory = 1"
	if len(r.Changes) != 1 || r.Changes[0] != want {
		t.Errorf("changes: %q", r.Changes)
	}
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{"a column more, Team", "no index idx_duration", `compresses StatusMessage by "LZ4"`} {
		if !strings.Contains(notes, want) {
			t.Errorf("%q is not said by\n%s", want, notes)
		}
	}
	if r := initialise(t, options(c.native, database, "")); len(r.Changes) > 0 || len(r.Notes) != 3 {
		t.Errorf("second run: %q %q", r.Changes, r.Notes)
	}
}

func TestRefusalsAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	h, native := parse(t, c.http), parse(t, c.native)
	wrong := *h
	wrong.User = url.UserPassword(h.User.Username(), "wrong-word")
	secure := *h
	secure.Scheme = "https"
	for name, x := range map[string]struct{ url, want string }{
		"password":             {wrong.String(), `the user "` + h.User.Username() + `" is refused`},
		"HTTP to native port":  {"http://" + h.User.String() + "@" + native.Host, "write clickhouse://"},
		"native to HTTP port":  {"clickhouse://" + h.User.String() + "@" + h.Host, "write http://"},
		"TLS to plain port":    {secure.String(), "does not speak TLS"},
		"native TLS to no TLS": {"clickhouses://" + h.User.String() + "@" + h.Host, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(x.url, "absent", "")
			o.Waiting = func(_, why string, _ time.Duration) { t.Errorf("waited: %s", why) }
			_, err := oteltraces.Init(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %q", err, x.want)
			}
			if err != nil && strings.Contains(err.Error(), "wrong-word") {
				t.Errorf("the password stands in %q", err)
			}
		})
	}
}

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestWaitsForTheServer opens the way to the server only when Init said that it
// waits for it.
func TestWaitsForTheServer(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	for name, raw := range map[string]string{"http": c.http, "native": c.native} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := parse(t, raw)
			target, address := u.Host, process.FreeAddress(t)
			u.Host = address
			o, opened := options(u.String(), c.database(t), ""), false
			o.Waiting = func(server, why string, _ time.Duration) {
				if server != u.Scheme+"://"+address || !strings.Contains(why, "connection refused") {
					t.Errorf("waiting for %s: %s", server, why)
				}
				if !opened {
					opened = true
					forward(t, address, target)
				}
			}
			if r := initialise(t, o); !opened || len(r.Changes) != 4 {
				t.Errorf("waited: %v; %q", opened, r.Changes)
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	t.Parallel()
	o := options("http://otel:secret-word@"+process.FreeAddress(t), "otel", "")
	o.Timeout = time.Millisecond
	_, err := oteltraces.Init(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "was not there within 1ms: dial tcp") || strings.Contains(err.Error(), "secret-word") {
		t.Error(err)
	}
}

// forward takes connections at one address to another.
func forward(t *testing.T, address, target string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1]) // it ends when either side does
					pair[0].Close()
				}()
			}
		}
	}()
}

const collectorConfig = `
receivers: { otlp: { protocols: { http: { endpoint: %q } } } }
exporters: { clickhouse: { endpoint: %q, username: %q, password: %q, database: %q, create_schema: %v, ttl: 72h, sending_queue: { enabled: false } } }
service:
  telemetry: { metrics: { level: none }, logs: { level: error } }
  pipelines: { traces: { receivers: [ otlp ], exporters: [ clickhouse ] } }
`

// collector runs a stock Collector that exports to ClickHouse, and returns where
// it takes traces.
func collector(t *testing.T, c *url.URL, database string, createSchema bool) string {
	t.Helper()
	address, program := process.FreeAddress(t), process.FindCollector(t)
	password, _ := c.User.Password()
	config := fmt.Sprintf(collectorConfig, address, c.Scheme+"://"+c.Host, c.User.Username(), password, database, createSchema)
	process.StartCollector(t, program, config, address)
	return "http://" + address + "/v1/traces"
}

// export sends one span, with all that a span can have; what the Collector
// acknowledges has been inserted, because it has no queue.
func export(t *testing.T, to, trace string) {
	t.Helper()
	e := ptraceotlp.NewExportRequest()
	rs := e.Traces().ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "opt-125m")
	span := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.SetName("llm_request")
	span.SetTraceID(pcommon.TraceID([]byte(trace)))
	span.SetSpanID(pcommon.SpanID([]byte("12345678")))
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	span.Attributes().PutInt("gen_ai.usage.prompt_tokens", 5)
	span.Events().AppendEmpty().SetName("first")
	span.Links().AppendEmpty().Attributes().PutStr("k", "v")
	body, err := e.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(to, "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the Collector did not take the span: %s", resp.Status)
	}
}

// TestSameTablesAsTheCollectors has the exporter make its own, and compares.
func TestSameTablesAsTheCollectors(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	theirs, ours := c.database(t), c.database(t)
	export(t, collector(t, parse(t, c.http), theirs, true), "of-16-bytes-here")
	initialise(t, options(c.http, ours, "3d"))
	made := strings.ReplaceAll(c.definitions(t, ours), ", fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1", "")
	if want := c.definitions(t, theirs); made != want {
		t.Errorf("we make\n%s\nthe exporter makes\n%s", made, want)
	}
	if r := initialise(t, options(c.http, theirs, "")); len(r.Changes) != 2 || !strings.HasPrefix(r.Changes[0], "set on the table ") {
		t.Errorf("the exporter's table: %q %q", r.Changes, r.Notes)
	}
}

// TestCollectorWrites has the exporter write to what Init made.
func TestCollectorWrites(t *testing.T) {
	t.Parallel()
	c := realServer(t)
	for name, raw := range map[string]string{"http": c.http, "native": c.native} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := c.database(t)
			initialise(t, options(c.http, database, ""))
			export(t, collector(t, parse(t, raw), database, false), "of-16-bytes-here")
			got := c.ask(t, "SELECT SpanName, ServiceName, SpanAttributes['gen_ai.usage.prompt_tokens'], Events.Name, Links.Attributes FROM `"+database+"`.otel_traces WHERE TraceId = '6f662d31362d62797465732d68657265'")
			if want := "llm_request\topt-125m\t5\t['first']\t[{'k':'v'}]"; got != want {
				t.Errorf("otel_traces holds %q, want %q", got, want)
			}
			if n := c.ask(t, "SELECT count() FROM `"+database+"`.otel_traces_trace_id_ts"); n != "1" {
				t.Errorf("otel_traces_trace_id_ts holds %s rows, want 1", n)
			}
		})
	}
}

// syncs counts how often the server has waited for its disk.
func (c clickhouse) syncs(t *testing.T, of string) (files, directories int) {
	t.Helper()
	c.ask(t, of)
	answer := c.ask(t, "SELECT sumIf(value, event = 'FileSync'), sumIf(value, event = 'DirectorySync') FROM system.events")
	if _, err := fmt.Sscan(answer, &files, &directories); err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	return files, directories
}

// TestAcknowledgedInsertIsOnDisk asks the server itself whether it waited for its
// disk, for inserts and for the merge that puts another part in their place. It
// is not parallel: the server counts for all.
func TestAcknowledgedInsertIsOnDisk(t *testing.T) {
	c := realServer(t)
	database := c.database(t)
	initialise(t, options(c.http, database, ""))
	c.ask(t, "CREATE TABLE `"+database+"`.plain (a Int8) ENGINE = MergeTree ORDER BY a")
	files, directories := c.syncs(t, "SELECT 1")
	if f, d := c.syncs(t, "INSERT INTO `"+database+"`.plain VALUES (1)"); f != files || d != directories {
		t.Fatalf("a table without the settings is synced (%d files, %d directories): this test says nothing", f-files, d-directories)
	}
	for _, statement := range []string{
		"INSERT INTO `" + database + "`.otel_traces (Timestamp, TraceId) VALUES (now64(9), 'a')",
		"INSERT INTO `" + database + "`.otel_traces (Timestamp, TraceId) VALUES (now64(9), 'b')",
		"OPTIMIZE TABLE `" + database + "`.otel_traces FINAL",
	} {
		f, d := c.syncs(t, statement)
		if f == files || d == directories {
			t.Errorf("%s: %d files and %d directories were synced, want some of both", statement, f-files, d-directories)
		}
		files, directories = f, d
	}
}
