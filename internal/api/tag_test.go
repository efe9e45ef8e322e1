package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func tagFor(customer, project, edge string) (in api.MakeTagIn) {
	in.Body.Customer, in.Body.Project, in.Body.For = customer, project, edge
	return in
}

func rotation(seconds int64) (in api.RotateTagsIn) {
	in.Body.OverlapSeconds = seconds
	return in
}

// verdict is what ingest makes of a tag at a time.
func (h *house) verdict(tag *api.Tag, at time.Time) tenant.Verdict {
	h.Helper()
	h.must(h.live.Refresh(h.Context()))
	return h.live.Directory().Judge(tag.Member, "", at)
}

// TestATagSaysWhoPays: in process and over HTTP it is the same key's, and ingest
// believes it.
func TestATagSaysWhoPays(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	_, err := api.AddProject.Call(t.Context(), h.local, new(addProject("acme", "chat")))
	h.must(err)
	tag, err := same(h, api.MakeTag, tagFor("acme", "", ""))
	h.must(err)
	if v := h.verdict(tag, noon); v.Customer != "acme" || v.Project != "" || v.Key != tag.Key {
		t.Errorf("%+v of %+v", v, tag)
	}
	project, err := same(h, api.MakeTag, tagFor("acme", "chat", ""))
	h.must(err)
	if v := h.verdict(project, noon); v.Customer != "acme" || v.Project != "chat" || project.Key == tag.Key {
		t.Errorf("%+v of %+v", v, project)
	}
	for _, edge := range []string{"nginx", "envoy", "litellm"} {
		out, err := same(h, api.MakeTag, tagFor("acme", "", edge))
		h.must(err)
		if out.Key != tag.Key || !strings.Contains(out.Edge, "tracestate") || !strings.Contains(out.Edge, strings.TrimPrefix(tag.Member, "tollkeeper=")) {
			t.Errorf("%s: %+v", edge, out)
		}
	}
	list, err := same(h, api.ListKeys, api.KeysQuery{Customer: "acme"})
	if err != nil || len(list.Keys) != 2 {
		t.Errorf("a key was made for each question: %+v, %v", list, err)
	}
}

func TestTagsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	_, err := same(h, api.MakeTag, tagFor("stranger", "", ""))
	h.refused(err, http.StatusNotFound, "customer stranger not found\n`tollkeeper customer add stranger` adds it")
	_, err = same(h, api.MakeTag, tagFor("", "", ""))
	h.refused(err, http.StatusNotFound, "not found")
	_, err = same(h, api.MakeTag, tagFor("acme", "none", ""))
	h.refused(err, http.StatusNotFound, "project acme/none not found")
	_, err = same(h, api.MakeTag, tagFor("acme", "", "apache"))
	h.refused(err, http.StatusBadRequest, "apache")
	if list, err := same(h, api.ListKeys, api.KeysQuery{}); err != nil || len(list.Keys) != 0 {
		t.Errorf("a refusal left a key: %+v, %v", list, err)
	}
	_, err = same(h, api.MakeTag, tagFor("acme", "", ""))
	h.must(err)
	h.must(h.local.Business.ArchiveCustomer(t.Context(), "test", "acme"))
	_, err = same(h, api.MakeTag, tagFor("acme", "", ""))
	h.refused(err, http.StatusConflict, "customer acme is archived: its tags do not count\n`tollkeeper customer restore acme` takes it back")
}

// TestRotation: an old tag counts until the overlap ends, and no longer.
func TestRotation(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*house, api.RotateTagsIn) (*api.RotatedTags, error){
		"in process": func(h *house, in api.RotateTagsIn) (*api.RotatedTags, error) {
			return api.RotateTags.Call(t.Context(), h.local, &in)
		},
		"over HTTP": func(h *house, in api.RotateTagsIn) (*api.RotatedTags, error) {
			return api.RotateTags.Call(t.Context(), h.client, &in)
		},
	} {
		h := newOffice(t)
		old, err := same(h, api.MakeTag, tagFor("acme", "", ""))
		h.must(err)
		out, err := change(h, rotation(3600))
		h.must(err)
		if !out.Until.Equal(noon.Add(time.Hour)) || out.Secret == "" {
			t.Errorf("%s: %+v", name, out)
		}
		if v := h.verdict(old, noon.Add(59*time.Minute)); v.Customer != "acme" {
			t.Errorf("%s: within the overlap: %+v", name, v)
		}
		if v := h.verdict(old, noon.Add(61*time.Minute)); v.Customer != "" {
			t.Errorf("%s: after it: %+v", name, v)
		}
		fresh, err := same(h, api.MakeTag, tagFor("acme", "", ""))
		h.must(err)
		if v := h.verdict(fresh, noon.Add(61*time.Minute)); v.Customer != "acme" || fresh.Member == old.Member || fresh.Key != old.Key {
			t.Errorf("%s: a new one: %+v", name, v)
		}
		_, err = change(h, rotation(0))
		h.must(err)
		if v := h.verdict(fresh, noon.Add(time.Second)); v.Customer != "" {
			t.Errorf("%s: one that leaked: %+v", name, v)
		}
	}
}

func TestOverlapsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	tag, err := same(h, api.MakeTag, tagFor("acme", "", ""))
	h.must(err)
	// The last two come round to less than a second when counted in ns of 64 bits.
	for _, seconds := range []int64{-1, 366*24*3600 + 1, 1 << 62, 18_446_744_074, 36_893_488_148} {
		_, err := same(h, api.RotateTags, rotation(seconds))
		h.refused(err, http.StatusBadRequest, "from 0 to 31622400")
	}
	if v := h.verdict(tag, noon.Add(time.Hour)); v.Customer != "acme" {
		t.Errorf("a refusal ended the tag: %+v", v)
	}
}
