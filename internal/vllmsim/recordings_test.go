package vllmsim_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tollkeeper/tollkeeper/internal/vllmsim"
)

const recordings = "../../testdata/recordings/vllm-0.32.0"

// recording is one case of testdata/recordings.
type recording struct {
	name string
	dir  string

	Method          string            `json:"method"`
	Path            string            `json:"path"`
	Headers         map[string]string `json:"headers"`
	Body            json.RawMessage   `json:"body"`
	Times           int               `json:"times"`
	Parallel        int               `json:"parallel"`
	AbortAfter      int               `json:"abort_after_events"`
	answers         []answer
	before, after   string // expositions
	resourceSpans   []*tracepb.ResourceSpans
	restartMidway   bool
	generatedBefore int // tokens when the client left, or the server ended
}

type answer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func load(t *testing.T, dir string) *recording {
	t.Helper()
	r := &recording{name: filepath.Base(dir), dir: dir}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return b
	}
	if err := json.Unmarshal(read("request.json"), r); err != nil {
		t.Fatal(err)
	}
	if raw := read("responses.json"); raw != nil {
		if err := json.Unmarshal(raw, &r.answers); err != nil {
			t.Fatal(err)
		}
	} else { // SIGTERM while it streamed
		r.answers = []answer{{Status: 200, Body: string(read("stream.txt"))}}
		r.restartMidway = true
		r.AbortAfter = strings.Count(r.answers[0].Body, "\n\n")
		r.generatedBefore = r.AbortAfter - 1 // the first event is the role
	}
	r.Times, r.Parallel = max(r.Times, 1), max(r.Parallel, 1)
	r.before, r.after = string(read("metrics-before.txt")), string(read("metrics-after.txt"))
	var bodies [][]byte
	for i := 1; ; i++ {
		b := read(fmt.Sprintf("otlp-%d.pb", i))
		if b == nil {
			break
		}
		bodies = append(bodies, b)
	}
	r.resourceSpans = decode(t, bodies)
	if r.AbortAfter > 0 && !r.restartMidway {
		r.generatedBefore = int(deltas(r.before, r.after)[`vllm:generation_tokens_total{engine="0",model_name="facebook/opt-125m"}`])
	}
	return r
}

// options are the recorded server's.
func (r *recording) options() vllmsim.Options {
	o := vllmsim.Recorded(vllmsim.Options{Runner: vllmsim.RunnerGenerate})
	switch {
	case strings.HasPrefix(r.name, "always-on-"):
		o.Sampler = vllmsim.AlwaysOn
	case strings.HasPrefix(r.name, "auto-instrumented-"):
		o.ForceIncludeUsage = true
	case slices.Contains([]string{"/v1/embeddings", "/pooling", "/score"}, r.Path):
		o.Runner = vllmsim.RunnerPooling
	}
	return o
}

// TestRecordingsPlayed plays each recorded request against the simulator and
// compares the answers, the spans and what the counters did. Everything is the
// same but for what sameBody, sameSpans and sameDeltas name, with the reason.
func TestRecordingsPlayed(t *testing.T) {
	dirs, err := filepath.Glob(recordings + "/*")
	if err != nil || len(dirs) < 40 {
		t.Fatalf("%d recordings: %v", len(dirs), err)
	}
	for _, dir := range dirs {
		r := load(t, dir)
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			got := r.play(t)
			r.sameAnswers(t, got.answers)
			r.sameSpans(t, got.resourceSpans)
			if !r.restartMidway {
				r.sameDeltas(t, got.before, got.after)
			}
		})
	}
}

// play does what was recorded, against a simulator of its own.
func (r *recording) play(t *testing.T) *recording {
	t.Helper()
	sink, o, steps := newSink(t), r.options(), 1<<15
	if r.AbortAfter > 0 {
		choices := max(1, bytes.Count(r.Body, []byte(`"n": 2`))*2)
		steps = r.generatedBefore / choices
	}
	o.Sleep = newGate(steps).sleep
	s := start(t, sink, o)
	if r.name == "prefix-cached-again" {
		load(t, filepath.Join(filepath.Dir(r.dir), "prefix-cached-first")).send(t, s)
		flush(t, s)
		sink.mu.Lock()
		sink.bodies = nil
		sink.mu.Unlock()
	}
	got := &recording{}
	_, got.before = get(t, s, "/metrics")
	got.answers = r.send(t, s)
	eventually(t, "the engine is idle", func() bool { return counter(t, s, "vllm:num_requests_running") == 0 })
	flush(t, s)
	_, got.after = get(t, s, "/metrics")
	got.resourceSpans = sink.resources(t)
	return got
}

// send sends the request as often, and as many at once, as was recorded; in
// parallel the i-th asks for i tokens, as the recorder did.
func (r *recording) send(t *testing.T, s *vllmsim.Server) []answer {
	t.Helper()
	var mu sync.Mutex
	var out []answer
	var wait sync.WaitGroup
	todo := make(chan int, r.Times)
	for i := range r.Times {
		todo <- i
	}
	close(todo)
	c := client(t)
	for range r.Parallel {
		wait.Go(func() {
			for i := range todo {
				a, err := r.once(t.Context(), c, s, i)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				out = append(out, a)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return out
}

func (r *recording) once(ctx context.Context, c *http.Client, s *vllmsim.Server, i int) (answer, error) {
	var body map[string]any
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return answer{}, err
	}
	if r.Parallel > 1 {
		body["max_tokens"] = 1 + i
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.Method, s.URL()+r.Path, bytes.NewReader(raw))
	if err != nil {
		return answer{}, err
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	w, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer w.Body.Close()
	a := answer{Status: w.StatusCode, Headers: map[string]string{}}
	for name := range w.Header {
		a.Headers[strings.ToLower(name)] = w.Header.Get(name)
	}
	if len(w.TransferEncoding) > 0 {
		a.Headers["transfer-encoding"] = w.TransferEncoding[0]
	}
	buf := make([]byte, 4096)
	for r.AbortAfter == 0 || strings.Count(a.Body, "\n\n") < r.AbortAfter {
		n, err := w.Body.Read(buf)
		a.Body += string(buf[:n])
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return a, err
		}
	}
	if r.restartMidway {
		err = s.Restart(ctx)
	}
	// Reads do not end where events do: the recorded body has no more than it counted.
	a.Body = strings.Join(strings.SplitAfter(a.Body, "\n\n")[:r.AbortAfter], "")
	return a, err
}

// sameAnswers compares what clients get.
func (r *recording) sameAnswers(t *testing.T, got []answer) {
	t.Helper()
	shapes := func(list []answer) (out []string) {
		for _, a := range list {
			h := a.Headers
			text := fmt.Sprintf("%d\n", a.Status)
			if h != nil && a.Headers["content-type"] != "" { // not kept for sigterm-in-flight
				text += fmt.Sprintf("%s %s %s length=%v chunked=%v\n", h["server"], h["vary"], h["content-type"], h["content-length"] != "", h["transfer-encoding"] != "")
			}
			out = append(out, text+r.sameBody(t, a.Body))
		}
		return out
	}
	want, have := shapes(r.answers), shapes(got)
	if r.restartMidway {
		_, have[0], _ = strings.Cut(have[0], "\n")
		_, have[0], _ = strings.Cut(have[0], "\n")
		_, want[0], _ = strings.Cut(want[0], "\n")
	}
	if r.Parallel > 1 { // who comes first is chance
		want, have = sorted(want), sorted(have)
	}
	if len(want) != len(have) {
		t.Fatalf("%d answers, recorded %d", len(have), len(want))
	}
	for i := range want {
		diff(t, "answer", strings.Split(have[i], "\n"), strings.Split(want[i], "\n"))
	}
}

// randomID is a random part of an id: vLLM's are 16 hexadecimal digits.
var randomID = regexp.MustCompile(`[0-9a-f]{16}`)

// difference is a set of paths and why they may differ.
type difference struct {
	path *regexp.Regexp
	why  string
}

func differences(pathAndWhy ...string) (out []difference) {
	for i := 0; i < len(pathAndWhy); i += 2 {
		out = append(out, difference{regexp.MustCompile(pathAndWhy[i]), pathAndWhy[i+1]})
	}
	return out
}

// mayDiffer are the paths of answers whose values, not types, may differ.
var mayDiffer = differences(
	`\.created(_at)?$`, "the time",
	`\.(text|content)$|\.delta\.content$`, "there is no model: the words are others (their number is compared, as usage)",
	`\.content\[\d+\]\.text$|\.part\.text$`, "as above",
	`\.system_fingerprint$`, "a hash of the server's settings, which differed between the recorded servers",
	`logprobs?(\[|\.|$)`, "there is no model: the probabilities are made up",
	`\.embedding\[|\.data\[\d+\]\.data\[|\.score$`, "there is no model: the vectors are made up",
	`^\.tokens\[`, "there is no real vocabulary: the ids are a hash",
)

// notCompared are the paths that are left out.
var notCompared = differences(
	`\.choices\[\d+\]\.logprobs\.top_logprobs\[\d+\]\.`, "members are named after alternatives, which are made up",
	`\.prompt_logprobs\[\d+\]\.`, "as above, after their ids",
	`\.bytes\[`, "as many as the made-up token has",
)

// sameBody is a body as lines that must be equal: for JSON the paths in order with
// their values, or the types of those that may differ.
func (r *recording) sameBody(t *testing.T, body string) string {
	t.Helper()
	var b strings.Builder
	if !strings.HasPrefix(body, "data: ") {
		shape(t, &b, body)
		return b.String()
	}
	for event := range strings.SplitSeq(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok || data == "[DONE]" {
			fmt.Fprintln(&b, event)
			continue
		}
		fmt.Fprintln(&b, "event")
		shape(t, &b, data)
	}
	return b.String()
}

func shape(t *testing.T, b *strings.Builder, text string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := walk(d, "", b); err != nil {
		t.Fatalf("%v in %.200q", err, text)
	}
}

// walk writes one line for each value, in the order of the text.
func walk(d *json.Decoder, path string, b *strings.Builder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	line := func(s string) {
		for _, x := range notCompared {
			if x.path.MatchString(path) {
				return
			}
		}
		fmt.Fprintf(b, "%s %s\n", path, randomID.ReplaceAllString(s, "<random>"))
	}
	switch v := token.(type) {
	case json.Delim:
		line(v.String())
		for i := 0; d.More(); i++ {
			at := fmt.Sprintf("%s[%d]", path, i)
			if v == '{' {
				name, err := d.Token()
				if err != nil {
					return err
				}
				at = fmt.Sprintf("%s.%s", path, name)
			}
			if err := walk(d, at, b); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	case nil:
		line("null")
	default:
		s := fmt.Sprintf("%T %v", v, v)
		for _, x := range mayDiffer {
			if x.path.MatchString(path) {
				s = fmt.Sprintf("%T", v)
			}
		}
		line(s)
	}
	return nil
}

// sameSpans compares llm_request spans: scope, resource, ids, times and attributes.
// May differ: random ids (that they differ among themselves is compared), times
// (that the same ones are equal is compared), latencies (their type is compared).
// Of an auto-instrumented server the FastAPI spans are left out, since the
// simulator is stock vLLM, and the resource, since that SDK was set up otherwise.
func (r *recording) sameSpans(t *testing.T, got []*tracepb.ResourceSpans) {
	t.Helper()
	want, have := spanLines(r, r.resourceSpans), spanLines(r, got)
	if r.Parallel > 1 || strings.HasPrefix(r.name, "beam") { // who ends first is chance
		want, have = sorted(want), sorted(have)
	}
	diff(t, "span", have, want)
}

func spanLines(r *recording, list []*tracepb.ResourceSpans) (out []string) {
	starts, traces, ids := map[uint64]int{}, map[string]bool{}, map[string]bool{}
	given := ""
	if tp := strings.Split(r.Headers["traceparent"], "-"); len(tp) == 4 {
		given = tp[1]
	}
	for _, rs := range list {
		resource := []string{}
		for _, a := range rs.GetResource().GetAttributes() {
			value := a.GetValue().GetStringValue()
			if strings.HasSuffix(a.GetKey(), "instance.id") || strings.HasSuffix(a.GetKey(), "process_id") {
				value = "<random>"
			}
			resource = append(resource, a.GetKey()+"="+value)
		}
		slices.Sort(resource)
		if strings.HasPrefix(r.name, "auto-instrumented-") {
			resource = nil
		}
		for _, scope := range rs.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				if s.GetName() != "llm_request" {
					continue
				}
				trace := hex.EncodeToString(s.GetTraceId())
				traces[trace], ids[hex.EncodeToString(s.GetSpanId())] = true, true
				if trace != given {
					trace = "<random>"
				}
				starts[s.GetStartTimeUnixNano()]++
				line := fmt.Sprintf("%v %s%s %s kind=%v trace=%s parent=%x state=%q flags=%x status=%v/%v dropped=%d",
					resource, scope.GetScope().GetName(), scope.GetScope().GetVersion(), s.GetName(), s.GetKind(), trace, s.GetParentSpanId(),
					s.GetTraceState(), s.GetFlags(), s.GetStatus() != nil, s.GetStatus().GetCode(), s.GetDroppedAttributesCount())
				for _, a := range s.GetAttributes() {
					line += " " + attributeText(a)
				}
				out = append(out, line)
			}
		}
	}
	together := []int{}
	for _, n := range starts {
		together = append(together, n)
	}
	slices.Sort(together)
	return append(out, fmt.Sprintf("%d traces, %d span ids, spans with the same start: %v", len(traces), len(ids), together))
}

func attributeText(a *commonpb.KeyValue) string {
	switch v := a.GetValue().GetValue().(type) {
	case *commonpb.AnyValue_DoubleValue:
		if strings.HasPrefix(a.GetKey(), "gen_ai.latency.") {
			return fmt.Sprintf("%s=double>=0:%v", a.GetKey(), v.DoubleValue >= 0)
		}
		return fmt.Sprintf("%s=double:%v", a.GetKey(), v.DoubleValue)
	case *commonpb.AnyValue_StringValue:
		return fmt.Sprintf("%s=%q", a.GetKey(), randomID.ReplaceAllString(v.StringValue, "<random>"))
	default:
		return fmt.Sprintf("%s=%v", a.GetKey(), v)
	}
}

// timing are the samples that depend on how fast the machine is and how the engine
// put sequences together into steps; vllm:lora_requests_info, the time of a change,
// is there because one recorded server ran with --enable-lora.
var timing = regexp.MustCompile(`_seconds_sum|^vllm:lora_requests_info|_created|_bucket|^vllm:iteration_tokens_total_count|^process_|^python_`)

// deltas are what changed, without timing.
func deltas(before, after string) map[string]float64 {
	a, out := samples(before), map[string]float64{}
	for name, v := range samples(after) {
		if d := v - a[name]; d != 0 && !timing.MatchString(name) {
			out[name] = d
		}
	}
	return out
}

// sameDeltas compares what every counter did.
func (r *recording) sameDeltas(t *testing.T, before, after string) {
	t.Helper()
	lines := func(m map[string]float64) (out []string) {
		for name, d := range m {
			if strings.HasPrefix(name, "http_re") && !strings.Contains(r.before, "http_requests") {
				continue // only vllm: samples were kept
			}
			if strings.HasPrefix(name, "http_re") && strings.Contains(name, "size_bytes_sum") {
				continue // the body's length in another spelling of JSON
			}
			out = append(out, fmt.Sprintf("%s %+v", name, d))
		}
		return sorted(out)
	}
	diff(t, "counter", lines(deltas(before, after)), lines(deltas(r.before, r.after)))
}

// diff reports the lines that are not alike.
func diff(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		g, w := "(none)", "(none)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("%s, line %d:\n got      %s\n recorded %s", what, i+1, g, w)
			break
		}
	}
}

// TestMetricsAreTheRecordedOnes compares all of /metrics: names, helps, types, labels
// and their order. The values are compared where each request is played.
func TestMetricsAreTheRecordedOnes(t *testing.T) {
	r := load(t, filepath.Join(recordings, "seed"))
	got := r.play(t)
	names := func(text string) (out []string) {
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				line = line[:strings.LastIndexByte(line, ' ')]
			}
			out = append(out, strings.TrimSpace(line))
		}
		return out
	}
	diff(t, "/metrics before", names(got.before), names(r.before))
	diff(t, "/metrics after", names(got.after), names(r.after))
}
