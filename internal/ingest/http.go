package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// httpStatus is the answer of each outcome over HTTP (OTLP specification 1.9,
// "OTLP/HTTP response"; the design's table).
var httpStatus = map[outcome]int{
	stored: http.StatusOK, unavailable: http.StatusServiceUnavailable, rateLimited: http.StatusTooManyRequests,
	tooLarge: http.StatusRequestEntityTooLarge, undecodable: http.StatusBadRequest, unsupported: http.StatusUnsupportedMediaType,
	unknownSignal: http.StatusNotFound, unauthenticated: http.StatusUnauthorized, forbidden: http.StatusForbidden,
}

const (
	// headerTimeout and bodyTimeout end clients that send a byte now and then.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 60 * time.Second
	// idleTimeout outlives the pause between two exports of a quiet client.
	idleTimeout = 3 * time.Minute
	// maxHeader bounds the headers in bytes: a token, a traceparent and some slack.
	maxHeader = 64 << 10
)

// HTTPServer returns a server of OTLP/HTTP: POST /v1/traces in protobuf or
// JSON, with gzip or zstd.
func (r *Receiver) HTTPServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/traces", r.serveTraces)
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		r.answerHTTP(w, req, time.Now(), 0, "", refuse(unknownSignal, "%s: tollkeeper takes traces, at /v1/traces", req.URL.Path))
	})
	return &http.Server{
		Handler: mux, TLSConfig: r.TLS, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
}

func (r *Receiver) serveTraces(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	rejected, message, err := r.traces(w, req)
	r.answerHTTP(w, req, began, rejected, message, err)
}

// traces is one request. Whatever panics in it is answered retryably.
func (r *Receiver) traces(w http.ResponseWriter, req *http.Request) (rejected int64, message string, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.Metrics.panics.Inc()
			r.Logger.Error("a request panicked", "panic", p)
			err = refuse(unavailable, "internal error")
		}
	}()
	if req.Method != http.MethodPost {
		return 0, "", refuse(unsupported, "%s: use POST", req.Method)
	}
	producer, err := r.authenticate(req.Context(), req.Header.Get("Authorization"), req.TLS)
	if err != nil {
		return 0, "", err
	}
	if err := r.admit(producer); err != nil {
		return 0, "", err
	}
	e := export{producer: producer}
	if e.json, err = isJSON(req); err != nil {
		return 0, "", err
	}
	body, release, err := r.readBody(w, req)
	if err != nil {
		return 0, "", err
	}
	defer release()
	e.body = body
	return r.store(req.Context(), e)
}

func isJSON(req *http.Request) (bool, error) {
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/x-protobuf":
		return false, nil
	case err == nil && kind == "application/json":
		return true, nil
	}
	return false, refuse(unsupported, "content type %q: use application/x-protobuf or application/json", req.Header.Get("Content-Type"))
}

// readBody reads and decompresses the body into memory that it took from the
// receiver's room; release gives it back.
func (r *Receiver) readBody(w http.ResponseWriter, req *http.Request) (body []byte, release func(), err error) {
	encoding := req.Header.Get("Content-Encoding")
	room := r.MaxBody
	if (encoding == "" || encoding == "identity") && req.ContentLength >= 0 {
		room = req.ContentLength
	}
	if room > r.MaxBody {
		return nil, nil, refuse(tooLarge, "the body has %d bytes, the limit is %d", room, r.MaxBody)
	}
	if !r.room.TryAcquire(room) {
		return nil, nil, errNoRoom
	}
	buffer := buffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // nothing else is put there
	buffer.Reset()
	release = func() {
		r.room.Release(room)
		if buffer.Cap() <= keptBuffer {
			buffers.Put(buffer)
		}
	}
	if err := r.fill(buffer, encoding, http.MaxBytesReader(w, req.Body, r.MaxBody)); err != nil {
		release()
		return nil, nil, err
	}
	r.Metrics.bytes.Add(float64(buffer.Len()))
	return buffer.Bytes(), release, nil
}

// keptBuffer is the largest buffer in bytes that is kept for the next request.
const keptBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (r *Receiver) fill(to *bytes.Buffer, encoding string, from io.Reader) error {
	reader, done, err := decompressor(encoding, from)
	if err != nil {
		return readRefusal(err, encoding)
	}
	defer done()
	n, err := io.Copy(to, io.LimitReader(reader, r.MaxBody+1))
	if err != nil {
		return readRefusal(err, encoding)
	}
	if n > r.MaxBody {
		return refuse(tooLarge, "the decompressed body has more than %d bytes", r.MaxBody)
	}
	return nil
}

// readRefusal tells a connection that broke, which may be tried again, from
// bytes that are no such compression.
func readRefusal(err error, encoding string) error {
	var r *refusal
	var large *http.MaxBytesError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &large):
		return refuse(tooLarge, "the body has more than %d bytes", large.Limit)
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.Canceled):
		return refuse(unavailable, "the body did not arrive: %w", err)
	case encoding == "" || encoding == "identity":
		return refuse(unavailable, "the body did not arrive: %w", err)
	}
	return refuse(undecodable, "bad %s: %w", encoding, err)
}

// decompressor wraps a reader by the name of the encoding.
func decompressor(encoding string, from io.Reader) (reader io.Reader, done func(), err error) {
	switch encoding {
	case "", "identity":
		return from, func() {}, nil
	case "gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case "zstd":
		z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return nil, nil, refuse(unsupported, "content encoding %q: use gzip or zstd", encoding)
}

// answerHTTP writes the answer in the encoding of the request.
func (r *Receiver) answerHTTP(w http.ResponseWriter, req *http.Request, began time.Time, rejected int64, message string, err error) {
	asJSON, _ := isJSON(req)
	o, body := stored, exportResponse(asJSON, rejected, message)
	if err != nil {
		refused := r.classify(err)
		o = refused.outcome
		body = statusBody(asJSON, o, refused.Error())
		if o == unavailable || o == rateLimited {
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		}
		if o == unauthenticated {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		r.Logger.Debug("refused", "transport", "http", "outcome", o, "error", refused.Error())
	}
	w.Header().Set("Content-Type", map[bool]string{true: "application/json", false: "application/x-protobuf"}[asJSON])
	w.WriteHeader(httpStatus[o])
	_, _ = w.Write(body) // a client that left got what it wanted: nothing
	r.Metrics.answered("http", o, time.Since(began))
}

func exportResponse(asJSON bool, rejected int64, message string) []byte {
	resp := ptraceotlp.NewExportResponse()
	if rejected > 0 {
		resp.PartialSuccess().SetRejectedSpans(rejected)
		resp.PartialSuccess().SetErrorMessage(message)
	}
	if asJSON {
		b, _ := resp.MarshalJSON()
		return b
	}
	b, _ := resp.MarshalProto()
	return b
}

// statusBody is the google.rpc.Status that the specification asks for.
func statusBody(asJSON bool, o outcome, message string) []byte {
	s := &spb.Status{Code: int32(grpcCode[o]), Message: message}
	if asJSON {
		b, _ := protojson.Marshal(s)
		return b
	}
	b, _ := proto.Marshal(s)
	return b
}
