package otlp

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/VictoriaMetrics/easyproto"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// ErrUndecodable says that a body is no ExportTraceServiceRequest. Sending it
// again cannot help.
var ErrUndecodable = errors.New("otlp: undecodable body")

// Visit is given each observation with the canonical JSON of its resource. Both
// hold parts of the body and are used again: they are valid until it returns.
// Its error ends the walk.
type Visit func(o *usage.Observation, resource []byte) error

// Counts are the spans of one export that are no observations: Rejected ones
// should carry usage and cannot be kept, Ignored ones carry none; by reason.
type Counts struct {
	Rejected, Ignored map[string]int64
}

func (c *Counts) reject(reason string) { count(&c.Rejected, reason) }
func (c *Counts) ignore(reason string) { count(&c.Ignored, reason) }

func count(to *map[string]int64, reason string) {
	if *to == nil {
		*to = map[string]int64{}
	}
	(*to)[reason]++
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

// EachProto walks the protobuf encoding. A span that cannot be kept is counted
// and its neighbours go on; a body that is no protobuf is refused whole, however
// much of it was visited. Errors wrap ErrUndecodable or are visit's.
func (d *Decoder) EachProto(body []byte, visit Visit) (Counts, error) {
	w := d.walker(visit)
	defer w.free()
	err := w.export(body)
	return w.counts, err
}

var walkers = sync.Pool{New: func() any { return new(walker) }}

func (d *Decoder) walker(visit Visit) *walker {
	w := walkers.Get().(*walker) //nolint:forcetypeassert // nothing else is put there
	w.decoder, w.visit = d, visit
	return w
}

// free lets go of the export, and keeps the walker for another one.
func (w *walker) free() {
	clear(w.resource[:cap(w.resource)])
	*w = walker{resource: w.resource[:0], encoded: w.encoded[:0]}
	walkers.Put(w)
}

// walker goes through one export.
type walker struct {
	decoder  *Decoder
	visit    Visit
	counts   Counts
	resource usage.Attributes
	encoded  []byte // canonical JSON of resource
	badText  bool   // the resource holds text that cannot be kept
	span     span
	scratch  scratch
}

var errWire = fmt.Errorf("%w: wrong wire type", ErrUndecodable)

// next reads the next field of a message. A group, which OTLP has none of but
// protobuf allows among unknown fields, comes as the field 0, which has no
// meaning anywhere.
func next(fc *easyproto.FieldContext, b []byte) (rest []byte, err error) {
	rest, err = fc.NextField(b)
	if err == nil && fc.FieldNum != 0 && fc.FieldNum <= math.MaxInt32 {
		return rest, nil
	}
	number, kind, n := protowire.ConsumeTag(b)
	if n > 0 && kind == protowire.StartGroupType {
		if m := protowire.ConsumeFieldValue(number, kind, b[n:]); m >= 0 {
			*fc = easyproto.FieldContext{}
			return b[n+m:], nil
		}
	}
	if err == nil {
		err = errors.New("field number out of range")
	}
	return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
}

func (w *walker) export(b []byte) (err error) {
	var fc easyproto.FieldContext
	for len(b) > 0 {
		if b, err = next(&fc, b); err != nil {
			return err
		}
		if fc.FieldNum == 1 {
			m, ok := fc.MessageData()
			if !ok {
				return errWire
			}
			if err := w.resourceSpans(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// Where a ResourceSpans holds its spans. The old field is what senders used
// before 2022 (instrumentation_library_spans); it counts when the new one is
// not there, as in the Collector.
const (
	fieldScopeSpans    = 2
	fieldOldScopeSpans = 1000
)

// resourceSpans reads the resource first, wherever it stands, since the spans
// need it.
func (w *walker) resourceSpans(b []byte) (err error) {
	w.resource = w.resource[:0]
	scopes := uint32(fieldOldScopeSpans)
	var fc easyproto.FieldContext
	for rest := b; len(rest) > 0; {
		if rest, err = next(&fc, rest); err != nil {
			return err
		}
		switch fc.FieldNum {
		case 1:
			m, ok := fc.MessageData()
			if !ok {
				return errWire
			}
			if err := w.resourceMessage(m); err != nil {
				return err
			}
		case fieldScopeSpans:
			scopes = fieldScopeSpans
		}
	}
	w.closeResource()
	for rest := b; len(rest) > 0; {
		if rest, err = next(&fc, rest); err != nil {
			return err
		}
		if fc.FieldNum != scopes {
			continue
		}
		m, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		if err := w.scopeSpans(m); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) resourceMessage(b []byte) (err error) {
	var fc easyproto.FieldContext
	for len(b) > 0 {
		if b, err = next(&fc, b); err != nil {
			return err
		}
		if fc.FieldNum != 1 {
			continue
		}
		m, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		var kv keyValue
		if err := kv.read(m); err != nil {
			return err
		}
		w.addResource(&kv)
	}
	return nil
}

// addResource keeps an attribute of the allow-list, the last under a key.
func (w *walker) addResource(kv *keyValue) {
	if !w.decoder.resourceKeys[kv.key] {
		return
	}
	a, ok := kv.attribute()
	if !ok {
		return
	}
	for i := range w.resource {
		if w.resource[i].Key == a.Key {
			w.resource[i] = a
			return
		}
	}
	w.resource = append(w.resource, a)
}

// closeResource makes the resource ready for its spans.
func (w *walker) closeResource() {
	w.resource = w.resource.Sorted()
	w.badText = false
	for i := range w.resource {
		if !usage.ValidText(w.resource[i].Str) {
			w.badText = true
			return
		}
		w.resource[i].Str = shorten(w.resource[i].Str)
	}
	w.encoded = usage.AppendAttributes(w.encoded[:0], w.resource)
}

func (w *walker) scopeSpans(b []byte) (err error) {
	var fc easyproto.FieldContext
	for len(b) > 0 {
		if b, err = next(&fc, b); err != nil {
			return err
		}
		if fc.FieldNum != 2 {
			continue
		}
		m, ok := fc.MessageData()
		if !ok {
			return errWire
		}
		w.span = span{}
		if err := w.span.read(m); err != nil {
			return err
		}
		if err := w.vllm(&w.span); err != nil {
			return err
		}
	}
	return nil
}
