package oteltraces

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// failure is an attempt that failed.
type failure struct {
	why    string
	passes bool // waiting may mend it
	err    error
}

func (f *failure) Error() string { return f.why }

func (f *failure) Unwrap() error { return f.err }

// Codes of ClickHouse's errors.
const (
	codeUnknownUser          = 192
	codeWrongPassword        = 193
	codeRequiredPassword     = 194
	codeAccessDenied         = 497
	codeAuthenticationFailed = 516
)

// passing are the codes of a server that is starting, stopping or overloaded.
var passing = []int32{
	3,   // unexpected end of file
	32,  // attempt to read after end of file
	159, // timeout exceeded
	198, // DNS error
	202, // too many simultaneous queries
	203, // no free connection
	209, // socket timeout
	210, // network error
	225, // no Keeper
	236, // aborted: the server is stopping
	241, // memory limit exceeded
	242, // table is read only: Keeper is not there yet
	243, // not enough space
	394, // query was cancelled
	425, // system error
	999, // Keeper exception
}

// explain says what an error means, and whether waiting may mend it.
func explain(err error, s *server) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if e, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return refused(e, s)
	}
	if e, ok := errors.AsType[*clickhouse.HTTPError](err); ok {
		f := &failure{why: fmt.Sprintf("it answers %d %s", e.StatusCode, http.StatusText(e.StatusCode)), err: err}
		f.passes = e.StatusCode >= http.StatusInternalServerError || e.StatusCode == http.StatusTooManyRequests
		if strings.Contains(err.Error(), "clickhouse-client program") {
			f.why = "that is the port of the native protocol: write clickhouse:// for it, or name the HTTP port (8123)"
		}
		return f.at(s)
	}
	if strings.Contains(err.Error(), "[handshake] unexpected packet") {
		return (&failure{why: "what answers there does not speak ClickHouse's native protocol: write http:// for the HTTP port, or name the native port (9000)", err: err}).at(s)
	}
	if f := untrusted(err); f != nil {
		return f.at(s)
	}
	return &failure{why: cause(err), passes: true, err: err}
}

// at begins a failure's text with the server's name.
func (f *failure) at(s *server) *failure {
	if !f.passes {
		f.why = "ClickHouse at " + s.name + ": " + f.why
	}
	return f
}

// refused is what ClickHouse itself said.
func refused(e *clickhouse.Exception, s *server) *failure {
	f := &failure{why: strings.TrimSpace(e.Message), passes: slices.Contains(passing, e.Code), err: e}
	switch e.Code {
	case codeAuthenticationFailed, codeUnknownUser, codeWrongPassword, codeRequiredPassword:
		f.why = fmt.Sprintf("the user %q is refused: the password is wrong, or there is no such user\nGive the right one by --user and --password-file (or CLICKHOUSE_USER and CLICKHOUSE_PASSWORD)",
			s.options.Auth.Username)
	case codeAccessDenied:
		f.why += fmt.Sprintf("\nLet an administrator run: GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER TABLE, SELECT, INSERT ON %s.* TO %s",
			quote(s.database), quote(s.options.Auth.Username))
	}
	return f.at(s)
}

// untrusted is a failure of TLS, which waiting does not mend; nil if it is none.
func untrusted(err error) *failure {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		hint := "name the file of its authority in SSL_CERT_FILE"
		if _, ok := errors.AsType[x509.HostnameError](err); ok {
			hint = "use a name that the certificate has"
		}
		return &failure{why: fmt.Sprintf("its certificate is not trusted: %s: %s", cause(err), hint), err: err}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return &failure{why: "it does not speak TLS on that port: write http:// or clickhouse://", err: err}
	}
	return nil
}

// cause is the end of a chain of errors that says what happened, without the
// URL that was asked.
func cause(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return err.Error()
}
