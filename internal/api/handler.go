package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Authenticator says who a token is. Errors wrap tenant.ErrUnauthenticated or
// tenant.ErrUnavailable.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (tenant.Key, error)
}

// HandlerOptions are the settings of Handler. Local and Keys must be set.
type HandlerOptions struct {
	Local *Local
	Keys  Authenticator
	// Open answers requests without a token as an admin's: on loopback only.
	Open bool
	// Ready says why the server takes no work, nil when it does.
	Ready   func() error
	Metrics http.Handler
	Logger  *slog.Logger
}

// Handler serves /v1/…, /openapi.json, /healthz, /readyz and /metrics.
func Handler(o HandlerOptions) http.Handler {
	h := newHandler(o)
	h.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	h.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	h.mux.Handle("GET /metrics", o.Metrics)
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		(&Error{Status: http.StatusForbidden, Message: "a page of another site may not change anything here"}).write(w)
	}))
	return sameOrigin.Handler(h.local(h.mux))
}

// version is the API's own, not the program's: its parts before the last dot
// change when a client may have to.
const version = "1.0.0"

// OpenAPI is the description of the API in YAML: api/openapi.yaml.
func OpenAPI() ([]byte, error) { return newHandler(HandlerOptions{}).api.OpenAPI().YAML() }

type handler struct {
	HandlerOptions
	mux *http.ServeMux
	api huma.API
}

func newHandler(o HandlerOptions) *handler {
	h := &handler{HandlerOptions: o, mux: http.NewServeMux()}
	config := huma.DefaultConfig("tollkeeper", version)
	config.Info.Description = "Usage billing for self-hosted LLM inference: the same questions and answers as the commands'."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "/openapi", "", ""
	config.CreateHooks = nil                   // no $schema links in the answers: they are the commands' JSON
	config.RejectUnknownQueryParameters = true // a misspelt filter would answer too much
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}}
	config.Security = []map[string][]string{{"token": {}}}
	h.api = humago.New(h.mux, config)
	h.api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		u := ctx.URL()
		for name, values := range u.Query() {
			if len(values) > 1 { // the first alone would be read
				_ = huma.WriteErr(h.api, ctx, http.StatusBadRequest, name+" stands twice in the query; several values are separated by commas")
				return
			}
		}
		next(huma.WithValue(ctx, callerKey{}, callerOf(ctx)))
	})
	for _, op := range ops {
		op.register(h)
	}
	h.api.OpenAPI().Components.Schemas.Map()["ErrorModel"].Properties["hint"] = &huma.Schema{Type: huma.TypeString, Description: "What to do next."}
	return h
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// local refuses, on an open server, names that are not this machine's: a web
// page could point one of its own at it (DNS rebinding).
func (h *handler) local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.Open && !loopbackName(r.Host) {
			(&Error{Status: http.StatusMisdirectedRequest, Message: "this server answers as localhost only; make an admin key to reach it otherwise"}).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// answer wraps the JSON of an answer as huma wants it.
type answer[O any] struct{ Body *O }

// errorStatuses are those of every operation; bodyStatuses are those of one with a
// body too.
var (
	errorStatuses = []int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusMisdirectedRequest,
		http.StatusServiceUnavailable,
	}
	bodyStatuses = []int{http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
)

// needs says whose key an operation takes.
func needs(role tenant.Role, own bool) string {
	s := "Needs a key of the role " + string(role) + "; not for customers' own keys."
	if own {
		s = "Needs a key of the role " + string(role) + "; a customer's own key gets what is that customer's."
	}
	return s
}

func (op *Op[I, O]) register(h *handler) {
	statuses := slices.Clone(errorStatuses)
	if _, ok := reflect.TypeFor[I]().FieldByName("Body"); ok {
		statuses = append(statuses, bodyStatuses...)
	}
	huma.Register(h.api, huma.Operation{
		OperationID: op.Name, Method: op.Method, Path: op.Path, Summary: op.Summary,
		Description: needs(op.Role, op.Own), MaxBodyBytes: maxAPIBody,
		Errors: statuses,
	}, func(ctx context.Context, in *I) (*answer[O], error) {
		c, _ := ctx.Value(callerKey{}).(caller)
		l, err := h.as(ctx, c, op.Role, op.Own)
		if err != nil {
			return nil, err
		}
		out, err := op.Do(ctx, l, in)
		if err != nil {
			return nil, h.told(op.Name, explain(err))
		}
		return &answer[O]{Body: out}, nil
	})
}

// caller is what a request says about who asks.
type caller struct {
	authorization string
	// forwarded says that a proxy stands between: whoever asks is not on this
	// machine, although the connection is.
	forwarded bool
}

// callerKey carries the caller in a request's context.
type callerKey struct{}

func callerOf(ctx huma.Context) caller {
	return caller{
		authorization: ctx.Header("Authorization"),
		forwarded:     ctx.Header("Forwarded") != "" || ctx.Header("X-Forwarded-For") != "" || ctx.Header("X-Real-Ip") != "",
	}
}

// maxAPIBody bounds a request's body: a price book of thousands of entries.
const maxAPIBody = 4 << 20

// told makes an error fit for a stranger: what is not meant for callers is
// logged and answered retryably.
func (h *handler) told(op string, err error) error {
	known, ok := errors.AsType[*Error](err)
	if !ok {
		if !errors.Is(err, context.Canceled) {
			h.Logger.Error("a question failed", "op", op, "error", err)
		}
		known = &Error{Status: http.StatusServiceUnavailable, Message: "the server could not answer: try again; its log says why"}
	}
	if known.Status == http.StatusServiceUnavailable {
		return huma.ErrorWithHeaders(known, http.Header{"Retry-After": {"1"}})
	}
	return known
}

// as returns the Local of who asks.
func (h *handler) as(ctx context.Context, c caller, need tenant.Role, own bool) (*Local, error) {
	l := *h.Local
	if c.authorization == "" && h.Open && !c.forwarded {
		l.Actor = "local"
		return &l, nil
	}
	scheme, token, _ := strings.Cut(c.authorization, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return nil, &Error{Status: http.StatusUnauthorized, Message: "no token", Hint: "send `Authorization: Bearer tk_…`; `tollkeeper key add --role reader` makes one"}
	}
	key, err := h.Keys.Authenticate(ctx, strings.TrimSpace(token))
	switch {
	case errors.Is(err, tenant.ErrUnauthenticated):
		return nil, &Error{Status: http.StatusUnauthorized, Err: err}
	case err != nil:
		return nil, h.told("authenticate", err)
	case !key.Role.Allows(need):
		return nil, &Error{Status: http.StatusForbidden, Message: key.ID + " has the role " + string(key.Role) + "; this needs the role " + string(need)}
	case key.Customer != "" && !own:
		return nil, &Error{Status: http.StatusForbidden, Message: key.ID + " is a customer's key; this is the operator's"}
	}
	l.Actor, l.Scope = "key:"+key.ID, key.Customer
	return &l, nil
}

// Server returns an HTTP server with the timeouts of an API.
func Server(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
}
