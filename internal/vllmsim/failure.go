package vllmsim

import (
	"errors"
	"fmt"
	"net/http"
)

// failure is an error in vLLM's shape.
type failure struct {
	status  int
	kind    string
	message string
	param   any // a string, or nil
}

func (f *failure) Error() string { return f.message }

func (f *failure) body() object {
	return object{{"error", object{{"message", f.message}, {"type", f.kind}, {"param", f.param}, {"code", f.status}}}}
}

// errGone ends a call that nobody waits for: the client left, or the process ended.
var errGone = errors.New("the client or the process is gone")

func badRequest(param any, format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, "BadRequestError", fmt.Sprintf(format, args...), param}
}

func noSuchModel(model, served string) *failure {
	return &failure{http.StatusNotFound, "NotFoundError", fmt.Sprintf("The model `%s` does not exist. Valid aliases: %s.", model, served), "model"}
}

// plain is what FastAPI itself refuses: an unknown path or a wrong method.
func plain(status int) *failure {
	return &failure{status, http.StatusText(status), http.StatusText(status), nil}
}

// invalid is what pydantic refuses; loc is where, e.g. "body.messages".
func invalid(kind, loc, msg, input string) *failure {
	text := fmt.Sprintf("1 validation error:\n  {'type': '%s', 'loc': '%s', 'msg': '%s', 'input': %s}", kind, loc, msg, input)
	return &failure{http.StatusBadRequest, http.StatusText(http.StatusBadRequest), text, loc}
}

func missing(field string, members int) *failure {
	return invalid("missing", "body."+field, "Field required", fmt.Sprintf("'<dict of %d items>'", members))
}
