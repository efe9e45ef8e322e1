package otlp

import (
	"errors"
	"fmt"

	"github.com/VictoriaMetrics/easyproto"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// ErrUndecodable says that a body is no ExportTraceServiceRequest. Sending it
// again cannot help.
var ErrUndecodable = errors.New("otlp: undecodable body")

// Result is what one export said. Each span is an observation, or counted in
// Rejected (it should carry usage and cannot be kept) or Ignored (it carries
// none), by reason.
type Result struct {
	Observations []usage.Observation
	// Resources holds the canonical JSON of each observation's resource,
	// shared by the observations of one resource.
	Resources [][]byte
	Rejected  map[string]int64
	Ignored   map[string]int64
}

func (r *Result) reject(reason string) {
	if r.Rejected == nil {
		r.Rejected = map[string]int64{}
	}
	r.Rejected[reason]++
}

func (r *Result) ignore(reason string) {
	if r.Ignored == nil {
		r.Ignored = map[string]int64{}
	}
	r.Ignored[reason]++
}

// Decoder decodes exports. It is safe for concurrent use.
type Decoder struct {
	resourceKeys map[string]bool
}

// NewDecoder returns a decoder that keeps the resource attributes of the
// allow-list and those that the policy looks at.
func NewDecoder(matched []string) *Decoder {
	d := &Decoder{resourceKeys: map[string]bool{}}
	for _, k := range resourceAllowed {
		d.resourceKeys[k] = true
	}
	for _, k := range matched {
		d.resourceKeys[k] = true
	}
	return d
}

// resourceAllowed are the resource attributes that are kept: who did the work,
// where, and for whom. OpenTelemetry semantic conventions 1.37, resource.
var resourceAllowed = []string{
	"deployment.environment", "deployment.environment.name", "gen_ai.request.model", "host.name",
	"k8s.cluster.name", "k8s.container.name", "k8s.deployment.name", "k8s.namespace.name", "k8s.node.name", "k8s.pod.name", "k8s.pod.uid",
	"k8s.statefulset.name", "service.instance.id", "service.name", "service.namespace", "service.version", "vllm.process_id",
}

// JSON decodes the OTLP/JSON encoding. Errors wrap ErrUndecodable.
func (d *Decoder) JSON(body []byte) (*Result, error) {
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalJSON(body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	b, err := req.MarshalProto()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return d.Proto(b)
}

// Proto decodes the protobuf encoding. The result holds no part of body.
// Errors wrap ErrUndecodable.
func (d *Decoder) Proto(body []byte) (*Result, error) {
	w := walker{decoder: d, result: &Result{}}
	if err := eachField(body, func(fc *easyproto.FieldContext) error {
		if fc.FieldNum != 1 {
			return nil
		}
		return message(fc, w.resourceSpans)
	}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	return w.result, nil
}

// walker goes through one export. It is used once.
type walker struct {
	decoder  *Decoder
	result   *Result
	resource usage.Attributes
	encoded  []byte // canonical JSON of resource
	badText  bool   // the resource holds text that cannot be kept
	span     span
}

var errWire = errors.New("wrong wire type or truncated field")

// eachField calls fn for every field of a message.
func eachField(src []byte, fn func(fc *easyproto.FieldContext) error) error {
	var fc easyproto.FieldContext
	var err error
	for len(src) > 0 {
		if src, err = fc.NextField(src); err != nil {
			return err
		}
		if err = fn(&fc); err != nil {
			return err
		}
	}
	return nil
}

// message calls fn with the bytes of an embedded message.
func message(fc *easyproto.FieldContext, fn func([]byte) error) error {
	b, ok := fc.MessageData()
	if !ok {
		return errWire
	}
	return fn(b)
}

// resourceSpans reads the resource first, wherever it stands, since the spans
// need it.
func (w *walker) resourceSpans(b []byte) error {
	w.resource, w.encoded, w.badText = nil, nil, false
	if err := eachField(b, func(fc *easyproto.FieldContext) error {
		if fc.FieldNum != 1 {
			return nil
		}
		return message(fc, w.resourceMessage)
	}); err != nil {
		return err
	}
	w.resource = w.resource.Sorted()
	for i := range w.resource {
		a := &w.resource[i]
		w.badText = w.badText || !usage.ValidText(a.Str)
		a.Str = shorten(a.Str)
	}
	if !w.badText {
		w.encoded = usage.AppendAttributes(nil, w.resource)
	}
	return eachField(b, func(fc *easyproto.FieldContext) error {
		if fc.FieldNum != 2 {
			return nil
		}
		return message(fc, w.scopeSpans)
	})
}

func (w *walker) resourceMessage(b []byte) error {
	return eachField(b, func(fc *easyproto.FieldContext) error {
		if fc.FieldNum != 1 {
			return nil
		}
		return message(fc, func(b []byte) error {
			kv, err := readKeyValue(b)
			if err != nil || !w.decoder.resourceKeys[kv.key] {
				return err
			}
			if a, ok := kv.attribute(); ok {
				w.resource = append(w.resource, a)
			}
			return nil
		})
	})
}

func (w *walker) scopeSpans(b []byte) error {
	return eachField(b, func(fc *easyproto.FieldContext) error {
		if fc.FieldNum != 2 {
			return nil
		}
		return message(fc, w.spanMessage)
	})
}

func (w *walker) spanMessage(b []byte) error {
	w.span.reset()
	if err := w.span.read(b); err != nil {
		return err
	}
	w.vllm(&w.span)
	return nil
}
