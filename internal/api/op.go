package api

import (
	"context"
	"fmt"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Op is one question or command. It is defined once and asked in process, over
// HTTP, and described in /openapi.json.
//
// I is a struct whose fields say where they travel: `path:"…"`, `query:"…"`, or
// a field named Body. O is the answer's JSON.
type Op[I, O any] struct {
	Name, Method, Path, Summary string
	// Role is what the caller's key must allow.
	Role tenant.Role
	// Own lets the keys of a customer ask too: Do answers with what is Local.Scope's.
	Own bool
	// Configured says that Do reads Local.Defaults.
	Configured bool
	// Folded says that Do answers from usage, which can be behind the journal.
	Folded bool
	Do     func(ctx context.Context, l *Local, in *I) (*O, error)
}

// Caller answers ops: a *Local from a data directory, a *Client from a server.
type Caller interface{ caller() }

// Call asks c. Errors are *Error where the caller can do something about them.
func (op *Op[I, O]) Call(ctx context.Context, c Caller, in *I) (*O, error) {
	switch c := c.(type) {
	case *Local:
		out, err := op.Do(ctx, c, in)
		return out, explain(err)
	case *Client:
		out := new(O)
		return out, c.send(ctx, op.Method, op.Path, in, out)
	}
	return nil, fmt.Errorf("api: no caller %T", c)
}

// registered is an Op of any types.
type registered interface {
	register(h *handler)
}
