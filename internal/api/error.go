package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/tollkeeper/tollkeeper/internal/store/business"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Error is what is told to a caller. Over HTTP it is a problem document (RFC
// 9457) with one member more, hint.
type Error struct {
	// Status is the HTTP status: 4xx is for the caller to mend, 503 to try again.
	Status  int
	Message string
	// Hint says what to do next, "" when the message does.
	Hint string
	Err  error
}

// Error returns message and hint.
func (e *Error) Error() string {
	s := e.Message
	if e.Err != nil && s == "" {
		s = e.Err.Error()
	}
	if e.Hint != "" {
		s += "\n" + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// GetStatus implements huma.StatusError.
func (e *Error) GetStatus() int { return e.Status }

// ContentType implements huma.ContentTypeFilter.
func (e *Error) ContentType(string) string { return "application/problem+json" }

// problem is RFC 9457's document; huma writes its own errors in the same form.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (e *Error) MarshalJSON() ([]byte, error) {
	message := e.Message
	if message == "" && e.Err != nil {
		message = e.Err.Error()
	}
	return json.Marshal(problem{Title: http.StatusText(e.Status), Status: e.Status, Detail: message, Hint: e.Hint})
}

// write answers with the error where no operation does.
func (e *Error) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", e.ContentType(""))
	w.WriteHeader(e.Status)
	b, _ := e.MarshalJSON() // of texts and a number
	_, _ = w.Write(b)
}

// badRequest is an error of the caller's: 400, and exit code 2.
func badRequest(format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// statusOf says which status an error of the stores has.
var statusOf = []struct {
	err    error
	status int
}{
	{tenant.ErrInvalid, http.StatusBadRequest},
	{business.ErrNotFound, http.StatusNotFound},
	{fs.ErrNotExist, http.StatusNotFound},
	{business.ErrExists, http.StatusConflict},
	{business.ErrArchived, http.StatusConflict},
	{business.ErrState, http.StatusConflict},
	{business.ErrStale, http.StatusConflict},
	{business.ErrBusy, http.StatusServiceUnavailable},
	{business.ErrFull, http.StatusServiceUnavailable},
}

// hinted adds to an error of the stores what to do next.
func hinted(err error, hint string) error {
	var known *Error
	if errors.As(explain(err), &known) && known.Hint == "" {
		return &Error{Status: known.Status, Message: known.Message, Err: known.Err, Hint: hint}
	}
	return err
}

// explain gives an error of the stores its status. What has none is ours, and
// may be tried again.
func explain(err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	for _, s := range statusOf {
		if errors.Is(err, s.err) {
			return &Error{Status: s.status, Err: err}
		}
	}
	return err
}
