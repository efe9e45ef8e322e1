package api

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Tag returns the tracestate member that bills what carries it to a customer,
// or, for an edge, the configuration that sets it. It uses the customer's caller
// key, and makes one the first time.
func (l *Local) Tag(ctx context.Context, customer, project, edge string) (string, error) {
	k, err := l.callerKey(ctx, customer, project)
	if err != nil {
		return "", explain(err)
	}
	fresh, err := tenant.NewSecret(rand.Reader, l.Now())
	if err != nil {
		return "", err
	}
	s, err := l.Business.EnsureTagSecret(ctx, l.Actor, fresh)
	if err != nil {
		return "", explain(err)
	}
	if edge != "" {
		text, err := tenant.Snippet(edge, k, s)
		return text, explain(err)
	}
	value, err := s.Sign(tenant.Tag{Key: k.ID}, "")
	return tenant.MemberKey + "=" + value, explain(err)
}

func (l *Local) callerKey(ctx context.Context, customer, project string) (tenant.Key, error) {
	c, err := l.Business.Customer(ctx, customer)
	if err != nil {
		return tenant.Key{}, &Error{Status: http.StatusNotFound, Err: err, Hint: "`tollkeeper customer add " + customer + "` adds it"}
	}
	keys, err := l.Business.Keys(ctx, c.ID)
	if err != nil {
		return tenant.Key{}, err
	}
	for _, k := range keys {
		if k.Role == tenant.RoleCaller && k.Project == project && k.Active() {
			return k, nil
		}
	}
	k, _, err := tenant.NewKey(tenant.Key{Customer: customer, Project: project, Role: tenant.RoleCaller, Note: "tags"}, rand.Reader, l.Now())
	if err != nil {
		return tenant.Key{}, err
	}
	return k, l.Business.AddKey(ctx, l.Actor, k)
}
