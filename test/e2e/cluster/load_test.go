package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// engine streams answers: each waits, once it has begun, until release is closed.
// Every failing-th of them breaks off.
func engine(t *testing.T, release <-chan struct{}, failing int64) string {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Tokens int `json:"max_tokens"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, "data: {}\n\n")
		w.(http.Flusher).Flush()
		<-release
		if failing > 0 && n.Add(1)%failing == 0 {
			return
		}
		fmt.Fprintf(w, `data: {"usage":{"prompt_tokens":3,"completion_tokens":%d}}`+"\n\ndata: [DONE]\n\n", asked.Tokens)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestBurst has all streams under way before anything else happens, and tells of
// each that does not end whole.
func TestBurst(t *testing.T) {
	for failing, want := range map[int64]string{0: "", 5: "the stream broke off"} {
		release := make(chan struct{})
		l := newLoad(engine(t, release, failing), model)
		end, err := l.burst(t.Context(), 20, 500)
		if err != nil {
			t.Fatal(err)
		}
		if n := l.ended(); n != 0 {
			t.Errorf("%d ended already", n)
		}
		close(release)
		if err := end(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		var seen sums
		for _, used := range l.told {
			seen = seen.plus(used)
		}
		whole := int64(20)
		if failing > 0 {
			whole -= 20 / failing
		}
		if seen != (sums{whole, 3 * whole, 500 * whole}) || l.ended() != 20 {
			t.Errorf("saw %s of %d ended", seen, l.ended())
		}
	}
}

// TestBurstThatDoesNotRun: an engine that refuses has no streams to look at.
func TestBurstThatDoesNotRun(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	l := newLoad(s.URL, model)
	if _, err := l.burst(t.Context(), 3, 500); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
}
