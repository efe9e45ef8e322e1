package ingest_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/ingest"
	"github.com/tollkeeper/tollkeeper/internal/otlp"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// FuzzRequest: whatever body comes, in whatever encoding it says, the answer is
// one of the table's, nothing panics, and only a 200 keeps anything.
func FuzzRequest(f *testing.F) {
	span := recorded(f)
	for _, encoding := range []string{"", "gzip", "zstd", "br"} {
		for _, body := range [][]byte{span, gzipped(span), zstded(span), []byte(`{"resourceSpans":[]}`), {}} {
			f.Add(encoding, false, body)
			f.Add(encoding, true, body)
		}
	}
	f.Fuzz(func(t *testing.T, encoding string, asJSON bool, body []byte) {
		live, err := tenant.NewLive(t.Context(), &keys{}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		kept := &store{}
		r := ingest.NewReceiver(ingest.Options{Journal: kept, Credentials: live, Decoder: otlp.NewDecoder(nil), Open: true, MaxBody: maxBody})
		req := httptest.NewRequest(http.MethodPost, "/v1/traces", bytes.NewReader(body))
		req.Header.Set("Content-Encoding", encoding)
		req.Header.Set("Content-Type", map[bool]string{false: "application/x-protobuf", true: "application/json"}[asJSON])
		w := httptest.NewRecorder()
		r.HTTPServer().Handler.ServeHTTP(w, req)
		switch w.Code {
		case 200:
		case 400, 413, 415:
			if len(kept.kept()) > 0 {
				t.Errorf("kept, and answered %d", w.Code)
			}
		default:
			t.Errorf("answered %d", w.Code)
		}
		if n := counted(t, &server{Receiver: r}, "tollkeeper_ingest_panics_total"); n > 0 {
			t.Error("it panicked")
		}
	})
}
