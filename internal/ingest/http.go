package ingest

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"time"

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
	unknownSignal: http.StatusNotFound, wrongMethod: http.StatusMethodNotAllowed,
	unauthenticated: http.StatusUnauthorized, forbidden: http.StatusForbidden, badCredential: http.StatusServiceUnavailable,
}

const (
	// idleTimeout outlives the pause between two exports of a quiet client.
	idleTimeout = 3 * time.Minute
	// maxHeader bounds the headers in bytes: a token, a traceparent and some slack.
	maxHeader = 64 << 10

	tracesPath = "/v1/traces"
)

// HTTPServer returns a server of OTLP/HTTP: POST /v1/traces in protobuf or
// JSON, with gzip or zstd.
func (r *Receiver) HTTPServer() *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(r.serveHTTP), TLSConfig: r.TLS,
		ReadHeaderTimeout: r.HeaderTimeout, ReadTimeout: r.BodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(r.Logger.Handler(), slog.LevelDebug),
	}
}

// serveHTTP has no mux, which answers with redirections, on which clients turn
// a POST into a GET.
func (r *Receiver) serveHTTP(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	var a answer
	var err error
	if req.URL.Path == tracesPath {
		a, err = r.traces(w, req)
	} else {
		err = refuse(unknownSignal, "%q: tollkeeper takes traces, at %s", req.URL.Path, tracesPath)
	}
	r.answerHTTP(w, req, began, a, err)
}

// traces is one request. Whatever panics in it is answered retryably.
func (r *Receiver) traces(w http.ResponseWriter, req *http.Request) (a answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.panicked(p)
			err = refuse(unavailable, "internal error")
		}
	}()
	if req.Method != http.MethodPost {
		return a, refuse(wrongMethod, "%q: use POST", req.Method)
	}
	producer, err := r.admit(req.Context(), req.Header.Get("Authorization"), req.TLS)
	if err != nil {
		return a, err
	}
	asJSON, err := isJSON(req)
	if err != nil {
		return a, err
	}
	work, err := r.newWork(req.ContentLength)
	if err != nil {
		return a, err
	}
	defer work.free()
	if err := r.readBody(work, w, req); err != nil {
		return a, err
	}
	return r.store(req.Context(), producer, asJSON, work)
}

func isJSON(req *http.Request) (bool, error) {
	named := req.Header.Get("Content-Type")
	if named == "application/x-protobuf" { // what nearly all send
		return false, nil
	}
	kind, _, err := mime.ParseMediaType(named)
	switch {
	case err == nil && kind == "application/x-protobuf":
		return false, nil
	case err == nil && kind == "application/json":
		return true, nil
	}
	return false, refuse(unsupported, "content type %q: use application/x-protobuf or application/json", named)
}

// readBody reads and decompresses the body. A body that did not arrive may be
// sent again; one that is no such compression may not.
func (r *Receiver) readBody(work *work, w http.ResponseWriter, req *http.Request) error {
	if req.ContentLength > r.MaxBody {
		return refuse(tooLarge, "the body has %d bytes, the limit is %d", req.ContentLength, r.MaxBody)
	}
	err := decompressing(req.Header.Get("Content-Encoding"), http.MaxBytesReader(w, req.Body, r.MaxBody), func(from io.Reader) error {
		return work.read(from, req.ContentLength, r.MaxBody)
	})
	var refused *refusal
	var compressed *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &compressed), errors.Is(err, errBodyTooLarge):
		return refuse(tooLarge, "the body has more than %d bytes, decompressed", r.MaxBody)
	case errors.Is(err, errCompression):
		return refuse(undecodable, "%w", err)
	}
	return refuse(unavailable, "the body did not arrive: %w", err)
}

// answerHTTP writes the answer in the encoding of the request.
func (r *Receiver) answerHTTP(w http.ResponseWriter, req *http.Request, began time.Time, a answer, err error) {
	asJSON, _ := isJSON(req)
	o, header, body := stored, w.Header(), exportResponse(asJSON, a)
	if err != nil {
		refused := r.classify(err)
		o = refused.outcome
		body = statusBody(asJSON, o, refused.text())
		if o.retryable() {
			header.Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		}
		switch o {
		case unauthenticated:
			header.Set("WWW-Authenticate", "Bearer")
		case wrongMethod:
			header.Set("Allow", http.MethodPost)
		}
		r.Logger.Debug("refused", "transport", "http", "outcome", o, "error", refused.Error())
	}
	kind := "application/x-protobuf"
	if asJSON {
		kind = "application/json"
	}
	header.Set("Content-Type", kind)
	w.WriteHeader(httpStatus[o])
	_, _ = w.Write(body) // a client that left got what it wanted: nothing
	r.Metrics.answered(overHTTP, o, time.Since(began))
}

// exportResponse is the ExportTraceServiceResponse: empty unless spans were
// rejected.
func exportResponse(asJSON bool, a answer) []byte {
	if a.rejected == 0 && !asJSON {
		return nil
	}
	resp := ptraceotlp.NewExportResponse()
	if a.rejected > 0 {
		resp.PartialSuccess().SetRejectedSpans(a.rejected)
		resp.PartialSuccess().SetErrorMessage(a.message)
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
