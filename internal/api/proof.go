package api

import (
	"context"
	"net/http"

	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Checkpoint is the newest signed checkpoint.
type Checkpoint struct {
	Origin   string `json:"origin"`
	Verifier string `json:"verifier" doc:"the key that verifies it"`
	Note     string `json:"note" doc:"the signed note (C2SP tlog-checkpoint)"`
}

// AskCheckpoint reads the newest signed checkpoint.
var AskCheckpoint = &Op[None, Checkpoint]{
	Name: "checkpoint", Method: http.MethodGet, Path: "/v1/checkpoint", Summary: "The newest signed checkpoint of the journal", Role: tenant.RoleReader, Own: true,
	Do: func(ctx context.Context, l *Local, _ *None) (*Checkpoint, error) {
		if err := l.hasJournal(); err != nil {
			return nil, err
		}
		note, err := l.Journal.Checkpoint(ctx)
		if err != nil {
			return nil, err
		}
		verifier, err := l.Journal.Verifier(ctx)
		return &Checkpoint{Origin: l.Journal.Origin(), Verifier: verifier, Note: note}, err
	},
}

// ProveRequest makes a self-contained proof of a record's observations.
var ProveRequest = &Op[ByID, journal.Proof]{
	Name: "prove", Method: http.MethodGet, Path: "/v1/requests/{id}/proof", Summary: "A proof that a request's observations stand in the journal", Role: tenant.RoleReader, Own: true,
	Do: func(ctx context.Context, l *Local, in *ByID) (*journal.Proof, error) {
		r, err := l.record(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		if err := l.hasJournal(); err != nil {
			return nil, err
		}
		places := make([]journal.Place, 0, len(r.Facts))
		for i := range r.Facts {
			p := r.Facts[i].Position
			if p.Origin != l.Journal.Origin() {
				return nil, &Error{Status: http.StatusNotFound, Message: "an observation stands in another journal, " + p.Origin, Hint: "ask the server that keeps it"}
			}
			places = append(places, journal.Place{Seq: p.Seq, Index: p.Index})
		}
		return l.Journal.Prove(ctx, places)
	},
}

// record finds one record by its id.
func (l *Local) record(ctx context.Context, id string) (*usage.Record, error) {
	if !recordID(id) {
		return nil, &Error{Status: http.StatusBadRequest, Message: "request " + id + ": a record's id begins with rec_", Hint: "`tollkeeper requests --request-id …` finds it"}
	}
	f := usage.RecordFilter{ID: id, Limit: 1}
	if l.Scope != "" {
		f.Customer = &l.Scope
	}
	list, err := l.Usage.Records(ctx, f)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &Error{Status: http.StatusNotFound, Message: "no request has the id " + id}
	}
	return &list[0], nil
}
