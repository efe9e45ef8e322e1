package api_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tollkeeper/tollkeeper/internal/api"
)

// TestEveryOperation asks each operation there is, and each is answered as it is
// described.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	h := newOffice(t)
	all, err := same(h, api.AskRequests, api.RequestsQuery{})
	h.must(err)
	record := all.Records[0]
	key, err := api.AddKey.Call(t.Context(), h.client, new(addKey("acme", "", "reader")))
	h.must(err)
	price := priceDocument(dearer)
	for _, call := range []func(api.Caller) error{
		asking(h, api.AskUsage, api.UsageQuery{By: api.Dimensions}), asking(h, api.AskConflicts, api.ConflictsQuery{}), asking(h, api.AskTallies, api.None{}),
		asking(h, api.AddCustomer, api.AddCustomerIn{Body: spec("umbrella", "Umbrella")}), asking(h, api.UpdateCustomer, api.UpdateCustomerIn{ID: "umbrella", Body: spec("", "U")}),
		asking(h, api.AddProject, addProject("umbrella", "chat")), asking(h, api.ListProjects, api.ByID{ID: "umbrella"}),
		asking(h, api.ArchiveProject, api.ArchiveProjectIn{ID: "umbrella", Project: "chat"}),
		asking(h, api.ArchiveCustomer, api.ByID{ID: "umbrella"}), asking(h, api.RestoreCustomer, api.ByID{ID: "umbrella"}), asking(h, api.ListCustomers, api.None{}),
		asking(h, api.ListKeys, api.KeysQuery{}), asking(h, api.ArchiveKey, api.ByID{ID: key.Key.ID}),
		asking(h, api.CheckPrices, price), asking(h, api.DiffPrices, diff(0, 0, dearer)), asking(h, api.ApplyPrices, price),
		asking(h, api.AskPrices, api.PricesQuery{}), asking(h, api.ListPriceVersions, api.None{}),
		asking(h, api.MakeTag, tagFor("acme", "", "nginx")), asking(h, api.RotateTags, rotation(60)), asking(h, api.AskAudit, api.AuditQuery{}),
		asking(h, api.AskCheckpoint, api.None{}), asking(h, api.ProveRequest, api.ByID{ID: record.ID}),
		asking(h, api.DraftInvoice, api.DraftQuery{Customer: "acme", Month: "2026-11"}), asking(h, api.FinaliseInvoice, closing("acme", "2026-11")),
		asking(h, api.ListInvoices, api.InvoicesQuery{}), asking(h, api.ShowInvoice, api.ByID{ID: "acme-0001"}),
		asking(h, api.ExplainLine, api.ExplainQuery{ID: "acme-0001", Line: 1}), asking(h, api.ExplainRequest, api.ByID{ID: record.ID}),
		asking(h, api.ExplainTrace, api.TraceQuery{Trace: record.Trace}), asking(h, api.VoidInvoice, voiding("acme-0001", "a test's")),
	} {
		if err := call(h.client); err != nil {
			t.Error(err)
		}
	}
	for path, methods := range h.description.paths {
		for method, op := range methods {
			if _, answered := h.description.answered.Load(op.OperationID); !answered {
				t.Errorf("nothing asks %s %s", method, path)
			}
		}
	}
}

// truthful holds each answer of h under /v1/ against its description.
func (d *description) truthful(t *testing.T, h http.Handler) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			d.check(t, r, answer)
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

// description is /openapi.json, ready to check answers.
type description struct {
	paths    map[string]map[string]operation // by path and method
	compiler *jsonschema.Compiler
	one      sync.Mutex // compiles at a time
	routes   *http.ServeMux
	answered sync.Map // operations that succeeded
}

type operation struct {
	OperationID string `json:"operationId"`
	Responses   map[string]struct {
		Content map[string]any `json:"content"`
	} `json:"responses"`
}

const descriptionName = "openapi.json"

func described(t *testing.T, h http.Handler) *description {
	t.Helper()
	w := ask(h, "GET", "http://localhost/openapi.json", "")
	var read struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(w.Body.Bytes()))
	if err == nil {
		err = json.Unmarshal(w.Body.Bytes(), &read)
	}
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	d := &description{paths: read.Paths, compiler: jsonschema.NewCompiler(), routes: http.NewServeMux()}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(descriptionName, document); err != nil {
		t.Fatal(err)
	}
	for path, methods := range d.paths {
		for method := range methods {
			d.routes.Handle(strings.ToUpper(method)+" "+path, http.NotFoundHandler())
		}
	}
	return d
}

// check holds that an answer has the status, the type and the shape that the
// description has for its request. What is no operation is not described.
func (d *description) check(t *testing.T, r *http.Request, answer *httptest.ResponseRecorder) {
	t.Helper()
	_, pattern := d.routes.Handler(r)
	method, path, found := strings.Cut(pattern, " ")
	if !found {
		return
	}
	op := d.paths[path][strings.ToLower(method)]
	mediaType := strings.TrimSuffix(answer.Header().Get("Content-Type"), "; charset=utf-8")
	status := strconv.Itoa(answer.Code)
	if _, ok := op.Responses[status].Content[mediaType]; !ok {
		t.Errorf("%s answered %s %s, which its description does not have: %s", op.OperationID, status, mediaType, answer.Body)
		return
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	d.one.Lock()
	schema, err := d.compiler.Compile(descriptionName + "#/paths/" + escape.Replace(path) + "/" + strings.ToLower(method) + "/responses/" + status + "/content/" + escape.Replace(mediaType) + "/schema")
	d.one.Unlock()
	if err != nil {
		t.Errorf("%s: %v", op.OperationID, err)
		return
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer.Body.Bytes()))
	if err == nil {
		err = schema.Validate(body)
	}
	if answer.Code == http.StatusOK {
		d.answered.Store(op.OperationID, true)
	}
	if err != nil {
		t.Errorf("%s answered %s otherwise than described: %v\n%s", op.OperationID, status, err, answer.Body)
	}
}
