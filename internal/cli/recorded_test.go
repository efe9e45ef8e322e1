package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollkeeper/tollkeeper/internal/cli"
)

// TestRecorded sends all that a real vLLM sent through the whole program, case
// by case over HTTP and over gRPC in turn: usage grows by what the API answered.
// Sent again the other way it is the same; so it is after a restart and after a
// rebuild, and all of it follows from the journal.
func TestRecorded(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h := newHouse(t)
	stop := h.serve()
	cases, err := filepath.Glob(recordings + "/*")
	if err != nil || len(cases) < 40 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	var before sums
	for i, dir := range cases {
		h.send(dir, i%2 == 0)
		after := h.usage("--server", h.api)
		checkGrowth(t, dir, sums{after.Requests - before.Requests, after.Input - before.Input, after.Output - before.Output})
		before = after
	}
	accepted := h.verdicts()
	for i, dir := range cases {
		h.send(dir, i%2 == 1)
	}
	if got := h.usage("--server", h.api); got != before {
		t.Errorf("sent again: %+v, before %+v", got, before)
	}
	if got := h.verdicts(); accepted["accepted"] == 0 || got["accepted"] != accepted["accepted"] || got["duplicate"] != accepted["accepted"] || got["conflict"] != 0 || got["rejected"] != 0 {
		t.Errorf("sent twice: %v, once %v", got, accepted)
	}
	records := h.command("requests", "--server", h.api, "--limit", "10000", "-o", "json")
	stop()

	stop = h.serve()
	if got := h.command("requests", "--server", h.api, "--limit", "10000", "-o", "json"); got != records {
		t.Error("after a restart the records are others")
	}
	stop()
	h.command("rebuild", "--data", h.data)
	if got := h.command("requests", "--data", h.data, "--limit", "10000", "-o", "json"); got != records {
		t.Error("after a rebuild the records are others")
	}
	if got := h.usage("--data", h.data); got != before {
		t.Errorf("after a rebuild: %+v, before %+v", got, before)
	}
	if got := h.command("verify", "--data", h.data); !strings.HasPrefix(got, "OK: ") {
		t.Error(got)
	}
}

// sums of usage.
type sums struct {
	Requests int64 `json:"requests"`
	Input    int64 `json:"input_tokens"`
	Output   int64 `json:"output_tokens"`
}

// checkGrowth compares what a case added with what its API answered. The tokens
// of a stream without usage nobody was told.
func checkGrowth(t *testing.T, dir string, got sums) {
	t.Helper()
	want, told := answered(t, dir)
	if !told {
		want.Input, want.Output = got.Input, got.Output
	}
	if filepath.Base(dir) == "unsampled-caller" { // who switched its record off
		want = sums{}
	}
	if got != want {
		t.Errorf("%s: usage grew by %+v, the API answered %+v", filepath.Base(dir), got, want)
	}
}

// answered sums the usage in the answers of a case that came to their end.
func answered(t *testing.T, dir string) (want sums, told bool) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "responses.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return sums{}, true // the server was ended before it answered
	}
	var list []struct {
		Status  int    `json:"status"`
		Aborted *int   `json:"aborted_after_events"`
		Body    string `json:"body"`
	}
	if err = errors.Join(err, json.Unmarshal(b, &list)); err != nil {
		t.Fatal(err)
	}
	told = true
	for _, r := range list {
		stream := strings.HasPrefix(r.Body, "data:")
		if r.Status != http.StatusOK || r.Aborted != nil || strings.Contains(r.Body, `"error"`) || stream && !strings.Contains(r.Body, "[DONE]") {
			continue
		}
		if strings.Contains(r.Body, `"token_strs"`) {
			continue // of the tokenizer: nothing was generated
		}
		want.Requests++
		_, last, found := cutLast(r.Body, `"usage":{`)
		var u struct {
			Prompt     int64 `json:"prompt_tokens"`
			Completion int64 `json:"completion_tokens"`
			Input      int64 `json:"input_tokens"`
			Output     int64 `json:"output_tokens"`
		}
		if told = told && found; found {
			if err := json.NewDecoder(strings.NewReader("{" + last)).Decode(&u); err != nil {
				t.Fatalf("%s: %v", dir, err)
			}
		}
		want.Input, want.Output = want.Input+u.Prompt+u.Input, want.Output+u.Completion+u.Output
	}
	return want, told
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// house is a program with a home of its own.
type house struct {
	t               *testing.T
	home, data      string
	api, http, grpc string // of its server
	client          *http.Client
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, home: t.TempDir(), client: &http.Client{Transport: &http.Transport{}}}
	h.data = filepath.Join(h.home, "data")
	config := `engines: [ { match: { service.name: opt-125m }, model: facebook/opt-125m, beams: fold } ]`
	if err := os.WriteFile(filepath.Join(h.home, "tollkeeper.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) program(stdout, stderr io.Writer) *cli.Program {
	return &cli.Program{
		Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Environ: []string{"HOME=" + h.home},
		Now: func() time.Time { return time.Date(2026, 12, 2, 10, 0, 0, 0, time.UTC) },
	}
}

// command runs a command that has to succeed.
func (h *house) command(args ...string) string {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	if code := h.program(&stdout, &stderr).Run(h.t.Context(), args); code != 0 {
		h.t.Fatalf("tollkeeper %s: %d %s%s", strings.Join(args, " "), code, &stdout, &stderr)
	}
	return stdout.String()
}

// serve starts a server; stop ends it.
func (h *house) serve() (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	log, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- h.program(io.Discard, w).Run(ctx, []string{
			"serve", "--data", h.data, "--config", filepath.Join(h.home, "tollkeeper.yaml"), "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0",
		})
		w.Close()
	}()
	ready := make(chan readyLine, 1)
	go func() {
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if a, ok := findReady(lines.Bytes()); ok {
				ready <- a
			}
			if !json.Valid(lines.Bytes()) {
				h.t.Errorf("the log has a line that is no JSON: %s", lines.Bytes())
			}
		}
		close(ready)
	}()
	a, ok := <-ready
	if !ok {
		cancel()
		h.t.Fatalf("the server ended with exit code %d before it was ready", <-ended)
	}
	h.api, h.http, h.grpc = "http://"+a.API, "http://"+a.HTTP, a.GRPC
	return func() {
		h.t.Helper()
		h.client.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if code := <-ended; code != 0 {
			h.t.Errorf("the server ended with exit code %d", code)
		}
		<-ready // the log is read to its end
	}
}

// send sends the bodies of a case and waits until usage has them.
func (h *house) send(dir string, overGRPC bool) {
	h.t.Helper()
	bodies, err := filepath.Glob(filepath.Join(dir, "otlp-*.pb"))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range bodies {
		body, err := os.ReadFile(name)
		if err != nil {
			h.t.Fatal(err)
		}
		post := h.post
		if overGRPC {
			post = h.export
		}
		if err := post(body); err != nil {
			h.t.Fatalf("%s: %v", name, err)
		}
	}
	if err := settle(h.api); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) post(body []byte) error {
	resp, err := h.client.Post(h.http+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || len(answer) > 0) {
		err = errors.New(resp.Status + " " + string(answer))
	}
	return err
}

func (h *house) export(body []byte) error {
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(body); err != nil {
		return err
	}
	conn, err := grpc.NewClient(h.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := ptraceotlp.NewGRPCClient(conn).Export(h.t.Context(), req)
	if err == nil && resp.PartialSuccess().RejectedSpans() > 0 {
		err = errors.New(resp.PartialSuccess().ErrorMessage())
	}
	return err
}

func (h *house) usage(where ...string) sums {
	h.t.Helper()
	var answer struct {
		Total sums `json:"total"`
	}
	h.read(&answer, append([]string{"usage", "--by", "", "-o", "json"}, where...)...)
	return answer.Total
}

// verdicts sums what became of what was sent.
func (h *house) verdicts() map[string]int64 {
	h.t.Helper()
	var answer struct {
		Rows []struct {
			Verdict string `json:"verdict"`
			Amount  int64  `json:"amount"`
		} `json:"tallies"`
	}
	h.read(&answer, "tally", "--server", h.api, "-o", "json")
	out := map[string]int64{}
	for _, r := range answer.Rows {
		out[r.Verdict] += r.Amount
	}
	return out
}

func (h *house) read(into any, args ...string) {
	h.t.Helper()
	if text := h.command(args...); json.Unmarshal([]byte(text), into) != nil {
		h.t.Fatalf("not JSON: %s", text)
	}
}
