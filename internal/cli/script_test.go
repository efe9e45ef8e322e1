package cli_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
	_ "modernc.org/sqlite" // the driver "sqlite", for the command sql
)

var update = flag.Bool("update", false, "write the golden files")

// TestScripts runs testdata/script/*.txtar. Besides testscript's own commands a
// script has:
//
//	serve [FLAG…]       starts `tollkeeper serve --data data` on free ports, waits until it is ready, and sets
//	                    $API, $OTLP_HTTP (both http://HOST:PORT), $OTLP_GRPC; its log is server.log
//	end                 ends it by SIGTERM and wants exit code 0
//	engine              starts a simulated vLLM whose spans go to $OTLP_HTTP, and sets $ENGINE (http://HOST:PORT)
//	post [CASE|FILE…]   sends the bodies of a recording (testdata/recordings/vllm-0.32.0/CASE) or a file (.pb, .json)
//	                    to $OTLP_HTTP with $TOKEN, if set, and waits until usage has them; ! post wants another answer
//	                    than 200; the answers are its standard output
//	await STATUS CASE   sends the bodies of a recording again and again until it is answered so
//	emit KEY=VALUE…     sends spans like vLLM's and waits: service, model, id, in, out, at (RFC 3339), count, trace,
//	                    tracestate, attributes, long; see spans
//	settle              waits until usage has everything that is on disk
//	http METHOD PATH [NAME:VALUE…]   asks $API and prints status and body
//	status N COMMAND…   runs a command and wants this exit code
//	get VAR FILE PATH   sets $VAR to what stands at PATH (records.0.id) of a JSON file or of stdout
//	plain FILE          writes the last standard output to FILE with what chance made replaced: JOURNAL, KEY, TOKEN,
//	                    SECRET, MAC and so on, for cmp
//	stranger ARG…       runs tollkeeper as a user who owns nothing here and wants it to fail; root's test runs it as
//	                    another user, others' tests as themselves, so the script takes their permissions away first
//	sql FILE STATEMENT  changes a SQLite file behind tollkeeper's back
//	flip FILE OFFSET    flips all bits of one byte; a negative offset counts from the end
//
// Its clock stands still at $CLOCK (2026-12-02T10:00:00Z; CLOCK= lets it go); its home is $WORK/home.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv(clockVariable, "2026-12-02T10:00:00Z")
			e.Values[serverKey{}] = &scriptServer{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"serve": scriptServe, "engine": scriptEngine, "end": scriptEnd, "post": scriptPost, "await": scriptAwait, "emit": scriptEmit,
			"get": scriptGet, "settle": scriptSettle, "http": scriptHTTP, "status": scriptStatus, "plain": scriptPlain, "stranger": scriptStranger, "sql": scriptSQL, "flip": scriptFlip,
		},
	})
}

// serverKey finds the script's server among its values.
type serverKey struct{}

type scriptServer struct{ cmd *exec.Cmd }

func serverOf(ts *testscript.TestScript) *scriptServer { return ts.Value(serverKey{}).(*scriptServer) }

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("use `! exec tollkeeper serve …` for a server that must not start")
	}
	program, err := exec.LookPath("tollkeeper")
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("server.log"))
	ts.Check(err)
	defer log.Close()
	flags := []string{"serve", "--data", "data", "--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--api", "127.0.0.1:0"}
	s := serverOf(ts)
	s.cmd = exec.Command(program, append(flags, args...)...)
	s.cmd.Dir, s.cmd.Stderr = ts.MkAbs("."), log
	for _, name := range []string{"HOME", clockVariable, "PATH", "TMPDIR"} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(s.cmd.Start())
	ts.Defer(s.kill)
	a, err := waitReady(log.Name())
	ts.Check(err)
	ts.Setenv("API", "http://"+a.API)
	ts.Setenv("OTLP_HTTP", "http://"+a.HTTP)
	ts.Setenv("OTLP_GRPC", a.GRPC)
}

func (s *scriptServer) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // it may have ended
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func scriptEngine(ts *testscript.TestScript, _ bool, _ []string) {
	s, err := vllmsim.Start("127.0.0.1:0", vllmsim.Options{
		OTLPEndpoint: ts.Getenv("OTLP_HTTP") + "/v1/traces", OTLPProtocol: vllmsim.ProtocolHTTP, Sampler: vllmsim.AlwaysOn,
		ServiceName: vllmsim.DefaultServiceName, ScheduleDelay: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	ts.Check(err)
	ts.Defer(func() { _ = s.Close(context.Background()) })
	ts.Setenv("ENGINE", s.URL())
}

func scriptEnd(ts *testscript.TestScript, _ bool, _ []string) {
	s := serverOf(ts)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.cmd.Wait()
	s.cmd = nil
	ts.Check(err)
}

// readyLine is what serve logs when it accepts work.
type readyLine struct {
	Msg  string `json:"msg"`
	GRPC string `json:"otlp_grpc"`
	HTTP string `json:"otlp_http"`
	API  string `json:"api"`
}

// waitReady finds the ready line in a growing log.
func waitReady(log string) (readyLine, error) {
	var text []byte
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		text, _ = os.ReadFile(log)
		if a, ok := findReady(text); ok {
			return a, nil
		}
		if bytes.Contains(text, []byte("tollkeeper: ")) {
			break
		}
	}
	return readyLine{}, fmt.Errorf("the server is not ready; it says\n%s", text)
}

func findReady(log []byte) (readyLine, bool) {
	for line := range bytes.Lines(log) {
		var a readyLine
		if json.Unmarshal(line, &a) == nil && a.Msg == "ready" {
			return a, true
		}
	}
	return readyLine{}, false
}

func scriptPost(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		files := []string{ts.MkAbs(arg)}
		if filepath.Ext(arg) == "" {
			files = recording(ts, arg)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			ts.Check(err)
			kind := "application/x-protobuf"
			if filepath.Ext(name) == ".json" {
				kind = "application/json"
			}
			scriptSend(ts, neg, kind, b)
		}
	}
	if !neg {
		ts.Check(settle(ts.Getenv("API")))
	}
}

// recording names the bodies of a recorded case.
func recording(ts *testscript.TestScript, name string) []string {
	files, err := filepath.Glob(filepath.Join(recordings, name, "otlp-*.pb"))
	if err != nil || len(files) == 0 {
		ts.Fatalf("no bodies in recording %s: %v", name, err)
	}
	return files
}

// scriptAwait waits for what a server does by itself, such as reading a file anew.
func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	body, err := os.ReadFile(recording(ts, args[1])[0])
	ts.Check(err)
	for end := time.Now().Add(patience); ; <-time.After(50 * time.Millisecond) {
		status, answer := sendBody(ts, "application/x-protobuf", body)
		if status == want {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("still answered %d %q", status, answer)
		}
	}
}

func scriptSend(ts *testscript.TestScript, neg bool, kind string, body []byte) {
	status, answer := sendBody(ts, kind, body)
	fmt.Fprintf(ts.Stdout(), "%d %q\n", status, answer)
	if (status == http.StatusOK) == neg {
		ts.Fatalf("post answered %d %q", status, answer)
	}
}

// sendBody posts a body with $TOKEN and returns the answer.
func sendBody(ts *testscript.TestScript, kind string, body []byte) (status int, answer []byte) {
	req, err := http.NewRequest(http.MethodPost, ts.Getenv("OTLP_HTTP")+"/v1/traces", bytes.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", kind)
	if token := ts.Getenv("TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	ts.Check(err)
	return resp.StatusCode, answer
}

// settle waits until usage has everything that is on disk.
func settle(api string) error {
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		resp, err := http.Get(api + "/metrics")
		if err != nil {
			return err
		}
		b, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if value, ok := strings.CutPrefix(line, "tollkeeper_projection_lag_entries "); ok {
				if last = strings.TrimSpace(value); last == "0" {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("usage is %s entries behind the journal", last)
}

func scriptSettle(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(settle(ts.Getenv("API"))) }

func scriptHTTP(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequest(args[0], ts.Getenv("API")+args[1], http.NoBody)
	ts.Check(err)
	for _, arg := range args[2:] {
		name, value, _ := strings.Cut(arg, ":")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s", resp.StatusCode, body)
}

func scriptStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptEmit(ts *testscript.TestScript, neg bool, args []string) {
	s := defaultSpans(ts.Name())
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		ts.Check(s.set(key, value))
	}
	body, err := s.body()
	ts.Check(err)
	scriptSend(ts, neg, "application/x-protobuf", body)
	if !neg {
		ts.Check(settle(ts.Getenv("API")))
	}
}

func scriptGet(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: get VAR FILE PATH")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[1])))
	d.UseNumber()
	var value any
	ts.Check(d.Decode(&value))
	for name := range strings.SplitSeq(args[2], ".") {
		switch x := value.(type) {
		case map[string]any:
			if name == "*" { // the one key of a map that nobody can know
				for name = range x {
				}
				value = name
				continue
			}
			value = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			ts.Check(err)
			if i >= len(x) {
				ts.Fatalf("%s: %d elements at %s", args[2], len(x), name)
			}
			value = x[i]
		default:
			ts.Fatalf("%s: nothing at %s", args[2], name)
		}
	}
	ts.Setenv(args[0], fmt.Sprint(value))
}

// chances are texts that differ at each run.
var chances = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`tollkeeper-journal-[0-9a-f]{16}`), "JOURNAL"},
	{regexp.MustCompile(`tollkeeper\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}`), "VERIFIER"},
	{regexp.MustCompile(`\B[+/][A-Za-z0-9+/]{42}=|\b[A-Za-z0-9+/]{43}=`), "ROOT"},
	{regexp.MustCompile(`\bkey_[0-9a-z]{16}\b`), "KEY"},
	{regexp.MustCompile(`\btk_[0-9a-z]{52}\b`), "TOKEN"},
	{regexp.MustCompile(`\btk_[0-9a-z]{4}\b`), "HINT"},
	{regexp.MustCompile(`\bsec_[0-9a-z]{16}\b`), "SECRET"},
	{regexp.MustCompile(`KEY\.[A-Za-z0-9_-]{22}`), "KEY.MAC"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HASH"},
	{regexp.MustCompile(`cli:[A-Za-z0-9._-]+`), "cli:USER"},
}

func scriptPlain(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile("stdout")
	for _, c := range chances {
		text = c.pattern.ReplaceAllString(text, c.name)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// nobody is a user and a group that own nothing.
const nobody = 65534

func scriptStranger(ts *testscript.TestScript, neg bool, args []string) {
	path, err := exec.LookPath("tollkeeper")
	ts.Check(err)
	var as *syscall.SysProcAttr
	if os.Getuid() == 0 {
		// It must reach the program and the script's files.
		b, err := os.ReadFile(path)
		ts.Check(err)
		path = ts.MkAbs("stranger/tollkeeper")
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, b, 0o755))
		for _, dir := range []string{ts.Getenv("WORK"), filepath.Dir(ts.Getenv("WORK"))} {
			ts.Check(os.Chmod(dir, 0o755))
		}
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	run := func() error {
		c := exec.Command(path, args...)
		c.Dir, c.SysProcAttr, c.Stdout, c.Stderr = ts.MkAbs("."), as, ts.Stdout(), ts.Stderr()
		c.Env = []string{"HOME=" + ts.MkAbs("nowhere"), "PATH=" + ts.Getenv("PATH")}
		return c.Run()
	}
	err = run()
	for errors.Is(err, syscall.ETXTBSY) { // a script beside this one forked while the copy was being written
		err = run()
	}
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) || (err == nil) == neg {
		ts.Fatalf("tollkeeper %s: %v", strings.Join(args, " "), err)
	}
}

func scriptSQL(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(strings.Join(args[1:], " "))
	ts.Check(err)
}

func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 0xff
	ts.Check(os.WriteFile(name, b, 0o600))
}
