package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// MakeTagIn is the input of MakeTag.
type MakeTagIn struct {
	Body struct {
		Customer string `json:"customer"`
		Project  string `json:"project,omitempty"`
		For      string `json:"for,omitempty" enum:"nginx,envoy,litellm" doc:"the edge whose configuration is wanted too"`
	}
}

// Tag says who pays for what carries it.
type Tag struct {
	Key string `json:"key" doc:"the caller key that the tag names"`
	// Member is as secret as a password: whoever has it can bill the customer.
	Member string `json:"member" doc:"a member of the tracestate header"`
	Edge   string `json:"edge,omitempty" doc:"the configuration of the edge that was asked for"`
}

// MakeTag signs a tag with the customer's caller key, and makes one the first
// time.
var MakeTag = &Op[MakeTagIn, Tag]{
	Name: "make-tag", Method: http.MethodPost, Path: "/v1/tags", Summary: "A signed tag that says who pays, and what an edge must set", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *MakeTagIn) (*Tag, error) {
		if edge := in.Body.For; edge != "" && !slices.Contains(tenant.Edges, edge) {
			return nil, badRequest("edge %q: one of %s", edge, strings.Join(tenant.Edges, ", "))
		}
		k, err := l.callerKey(ctx, in.Body.Customer, in.Body.Project)
		if err != nil {
			return nil, err
		}
		fresh, err := tenant.NewSecret(rand.Reader, l.Now())
		if err != nil {
			return nil, err
		}
		s, err := l.Business.EnsureTagSecret(ctx, l.Actor, fresh)
		if err != nil {
			return nil, err
		}
		value, err := s.Sign(tenant.Tag{Key: k.ID}, "")
		if err != nil {
			return nil, err
		}
		out := &Tag{Key: k.ID, Member: tenant.MemberKey + "=" + value}
		if in.Body.For != "" {
			out.Edge, err = tenant.Snippet(in.Body.For, k, s)
		}
		return out, err
	},
}

// callerKey finds the key that stands for the customer in tags, or makes it.
func (l *Local) callerKey(ctx context.Context, customer, project string) (tenant.Key, error) {
	if err := l.ensureReserved(ctx, customer); err != nil {
		return tenant.Key{}, err
	}
	c, err := l.Business.Customer(ctx, customer)
	if err != nil {
		return tenant.Key{}, hinted(err, "`tollkeeper customer add "+customer+"` adds it")
	}
	if !c.Active() {
		return tenant.Key{}, &Error{Status: http.StatusConflict, Message: "customer " + c.ID + " is archived: its tags do not count", Hint: "`tollkeeper customer restore " + c.ID + "` takes it back"}
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

// RotateTagsIn is the input of RotateTags.
type RotateTagsIn struct {
	Body struct {
		OverlapSeconds int64 `json:"overlap_seconds" minimum:"0" doc:"how long tags of the old secret still count; 0 ends them at once, for one that leaked"`
	}
}

// RotatedTags says what became of the secrets.
type RotatedTags struct {
	Secret string    `json:"secret" doc:"the id of the one that signs from now on"`
	Until  time.Time `json:"until" doc:"when tags that were signed before end to count"`
}

// RotateTags makes a new signing secret.
var RotateTags = &Op[RotateTagsIn, RotatedTags]{
	Name: "rotate-tags", Method: http.MethodPost, Path: "/v1/tags/rotate", Summary: "Make a new signing secret; tags of the old one count until the overlap ends", Role: tenant.RoleAdmin,
	Do: func(ctx context.Context, l *Local, in *RotateTagsIn) (*RotatedTags, error) {
		if most := int64(maxOverlap / time.Second); in.Body.OverlapSeconds < 0 || in.Body.OverlapSeconds > most {
			return nil, badRequest("overlap of %d seconds: from 0 to %d", in.Body.OverlapSeconds, most)
		}
		overlap := time.Duration(in.Body.OverlapSeconds) * time.Second
		s, err := tenant.NewSecret(rand.Reader, l.Now())
		if err != nil {
			return nil, err
		}
		if err := l.Business.RotateTagSecret(ctx, l.Actor, s, overlap); err != nil {
			return nil, err
		}
		return &RotatedTags{Secret: s.ID, Until: l.Now().Add(overlap).UTC().Truncate(time.Second)}, nil
	},
}

// maxOverlap bounds how long a secret verifies: a year, beyond which nobody
// remembers where its tags are.
const maxOverlap = 366 * 24 * time.Hour
