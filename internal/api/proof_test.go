package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/journal"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// TestAProofHoldsByItself: what the API answered is checked with the verifier
// alone, as its reader would; one digit more and it does not hold.
func TestAProofHoldsByItself(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	checkpoint, err := same(h, api.AskCheckpoint, api.None{})
	h.must(err)
	if checkpoint.Origin != h.journal.Origin() || !strings.HasPrefix(checkpoint.Note, checkpoint.Origin+"\n7\n") {
		t.Errorf("%+v", checkpoint)
	}
	if signed, err := journal.OpenCheckpoint(checkpoint.Note, checkpoint.Verifier); err != nil || signed.Size != 7 {
		t.Errorf("%+v, %v", signed, err)
	}
	all, err := same(h, api.AskRequests, api.RequestsQuery{Customer: "acme"})
	h.must(err)
	for _, r := range all.Records {
		p, err := same(h, api.ProveRequest, api.ByID{ID: r.ID})
		h.must(err)
		text, err := json.Marshal(p)
		h.must(err)
		proven, err := journal.VerifyProof(text, checkpoint.Verifier)
		if err != nil || len(proven.Items) != len(r.Observations) || !strings.Contains(string(text), `\"request_id\":\"`+r.RequestID+`\"`) {
			t.Errorf("%s: %+v, %v\n%s", r.ID, proven, err, text)
		}
		forged := strings.Replace(string(text), `\"output_tokens\":5`, `\"output_tokens\":4`, 1)
		if _, err := journal.VerifyProof([]byte(forged), checkpoint.Verifier); forged != string(text) && err == nil {
			t.Errorf("a forged proof holds: %s", forged)
		}
	}
	zeta := h.key("zeta", tenant.RoleReader)
	if c, err := api.AskCheckpoint.Call(t.Context(), zeta, &api.None{}); err != nil || c.Note != checkpoint.Note {
		t.Errorf("a customer has no anchor: %+v, %v", c, err)
	}
}

// TestAnObservationOfAnotherJournal cannot be proven here, and says where.
func TestAnObservationOfAnotherJournal(t *testing.T) {
	t.Parallel()
	h, other := newOffice(t), newHouse(t)
	all, err := same(h, api.AskRequests, api.RequestsQuery{})
	h.must(err)
	h.local.Journal = other.journal.Reader
	_, err = same(h, api.ProveRequest, api.ByID{ID: all.Records[0].ID})
	h.refused(err, http.StatusNotFound, "in another journal, "+h.journal.Origin()+"\nask the server that keeps it")
	h.local.Journal = nil
	_, err = same(h, api.ProveRequest, api.ByID{ID: all.Records[0].ID})
	h.refused(err, http.StatusNotFound, "there is no journal")
}
