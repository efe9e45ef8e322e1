package vllmsim

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// metrics are the counters of one process: vLLM's and its HTTP server's.
type metrics struct {
	mu       sync.Mutex
	now      func() time.Time
	families []*family
	byName   map[string]*family
}

type family struct {
	definition
	base     []label
	children []*sample
	byKey    map[string]*sample
}

type label struct{ name, value string }

// sample is one set of labels of a family.
type sample struct {
	labels  []label // sorted by name
	value   float64 // of a counter or gauge; the sum of the others
	count   float64
	buckets []float64 // not cumulative
	created float64
}

func newMetrics(o Options) *metrics {
	m := &metrics{now: o.Now, byName: map[string]*family{}}
	lengths := lengthBuckets(o.MaxModelLen)
	for _, d := range definitions {
		if d.buckets != nil && len(d.buckets) == 0 {
			d.buckets = lengths
		}
		f := &family{definition: d, byKey: map[string]*sample{}}
		switch d.base {
		case engineLabels:
			f.base = []label{{"engine", "0"}, {"model_name", o.Model}}
		case modelLabels:
			f.base = []label{{"model_name", o.Model}}
		}
		m.families = append(m.families, f)
		m.byName[d.name] = f
		switch {
		case d.dynamic || d.info != "":
		case d.label != "":
			for _, v := range d.values {
				f.child(m.now, label{d.label, v})
			}
		default:
			f.child(m.now)
		}
	}
	m.set("vllm:engine_sleep_state", 1, "awake")
	m.set("process_start_time_seconds", math.Floor(100*seconds(m.now()))/100) // in the kernel's ticks
	m.set("process_max_fds", 20000)
	return m
}

// child finds the sample with these labels besides the base ones, or makes it.
func (f *family) child(now func() time.Time, more ...label) *sample {
	var key strings.Builder
	for _, l := range more {
		key.WriteString(l.value)
		key.WriteByte(0)
	}
	if s := f.byKey[key.String()]; s != nil {
		return s
	}
	labels := slices.Concat(f.base, more)
	slices.SortFunc(labels, func(a, b label) int { return strings.Compare(a.name, b.name) })
	s := &sample{labels: labels, created: seconds(now())}
	if f.kind == histogram {
		s.buckets = make([]float64, len(f.buckets)+1)
	}
	f.byKey[key.String()] = s
	f.children = append(f.children, s)
	return s
}

// pick is the sample of a family with one more label at most. m.mu is held.
func (m *metrics) pick(name string, value []string) *sample {
	f := m.byName[name]
	if len(value) == 0 {
		return f.child(m.now)
	}
	return f.child(m.now, label{f.label, value[0]})
}

// add counts; m.mu is held.
func (m *metrics) add(name string, n float64, value ...string) { m.pick(name, value).value += n }

// set is for gauges; m.mu is held.
func (m *metrics) set(name string, v float64, value ...string) { m.pick(name, value).value = v }

// observe is for histograms; m.mu is held.
func (m *metrics) observe(name string, v float64) {
	f := m.byName[name]
	f.observe(f.child(m.now), v)
}

func (f *family) observe(s *sample, v float64) {
	s.count++
	s.value += v
	if f.kind == histogram {
		s.buckets[bucket(f.buckets, v)]++
	}
}

// bucket is the index of the first bound that is not below v.
func bucket(bounds []float64, v float64) int {
	i, _ := slices.BinarySearch(bounds, v)
	return i
}

// seconds since 1970, as Python's time.time has them.
func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// text is the whole of /metrics.
func (m *metrics) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, f := range m.families {
		f.write(&b)
	}
	return b.String()
}

func (f *family) write(b *strings.Builder) {
	name := f.name
	if f.kind == counter {
		name += "_total"
	}
	head(b, name, f.help, f.kind)
	if f.info != "" {
		line(b, name, f.info, 1)
		return
	}
	for _, s := range f.children {
		f.writeSample(b, name, s)
	}
	if f.kind == gauge || len(f.children) == 0 || !strings.Contains(f.name, ":") && !strings.HasPrefix(f.name, "http_") {
		return // Python's own collectors know no creation time
	}
	head(b, f.name+"_created", f.help, gauge)
	for _, s := range f.children {
		line(b, f.name+"_created", render(s.labels), s.created)
	}
}

func (f *family) writeSample(b *strings.Builder, name string, s *sample) {
	switch f.kind {
	case histogram:
		sum := 0.0
		for i, n := range s.buckets {
			sum += n
			le := "+Inf"
			if i < len(f.buckets) {
				le = float(f.buckets[i])
			}
			labels := append(slices.Clone(s.labels), label{"le", le})
			slices.SortFunc(labels, func(a, b label) int { return strings.Compare(a.name, b.name) })
			line(b, name+"_bucket", render(labels), sum)
		}
		fallthrough
	case summary:
		line(b, name+"_count", render(s.labels), s.count)
		line(b, name+"_sum", render(s.labels), s.value)
	default:
		line(b, name, render(s.labels), s.value)
	}
}

func head(b *strings.Builder, name, help, kind string) {
	b.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

func line(b *strings.Builder, name, labels string, v float64) {
	b.WriteString(name)
	if labels != "" {
		b.WriteString("{" + labels + "}")
	}
	b.WriteString(" " + float(v) + "\n")
}

func render(labels []label) string {
	parts := make([]string, len(labels))
	for i, l := range labels {
		parts[i] = l.name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(l.value) + `"`
	}
	return strings.Join(parts, ",")
}

// goExponent is where Python's client writes a float as Go does.
const goExponent = 1e6

// float writes v as Python's prometheus_client does: 10.0, 1.79548601368e+09.
func float(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.Abs(v) >= goExponent, v != 0 && math.Abs(v) < 1e-4:
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
