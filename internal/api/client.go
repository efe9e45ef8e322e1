package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"
)

// Client asks a server.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

func (*Client) caller() {}

// clientTimeout bounds one question; a month's invoice over millions of records
// takes seconds.
const clientTimeout = 5 * time.Minute

// NewClient returns a client of the server at base, such as
// "https://toll.example:8443". token is an API key's, "" for a server that asks
// for none.
func NewClient(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, badRequest("server %q: name it as http://HOST:PORT or https://HOST:PORT", base)
	}
	return &Client{base: u, token: token, http: &http.Client{
		Timeout: clientTimeout,
		// A redirected change would be asked again as a question, and lost.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// send asks one question. path is huma's: its {name}s are fields of in.
func (c *Client) send(ctx context.Context, method, path string, in, out any) error {
	path, query, body, err := encode(path, in)
	if err != nil {
		return err
	}
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return &Error{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf("the server did not answer: %v", err), Hint: "is `tollkeeper serve` running there?", Err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return answered(resp)
	}
	err = json.NewDecoder(resp.Body).Decode(&out)
	if err == nil && out == nil {
		err = errors.New("null")
	}
	if err != nil {
		return &Error{
			Status: http.StatusBadGateway, Message: fmt.Sprintf("the server's answer is none of tollkeeper's, or was cut off: %v", err),
			Hint: "does " + c.base.Redacted() + " name the API of a tollkeeper?", Err: err,
		}
	}
	return nil
}

// maxProblem bounds what is read of an error's text.
const maxProblem = 64 << 10

func answered(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // what came of it is said
	var p problem
	_ = json.Unmarshal(b, &p) // a proxy's page is no problem document
	message, ours := p.Detail, p.Detail != ""
	if !ours {
		// A page of something else is of no use in a terminal.
		message = fmt.Sprintf("%s answered %s, and not as tollkeeper does", resp.Request.URL.Host, resp.Status)
	}
	parts := []string{message}
	for _, e := range p.Errors {
		parts = append(parts, strings.TrimSpace(e.Location+" "+e.Message))
	}
	hint := p.Hint
	switch location := resp.Header.Get("Location"); {
	case hint != "":
	case resp.StatusCode == http.StatusUnauthorized:
		hint = "set TOLLKEEPER_TOKEN to an API key"
	case location != "":
		hint = "the server sends on to " + location + ": name that one"
	case !ours:
		hint = "name the address that `tollkeeper serve` logs as api"
	}
	return &Error{Status: resp.StatusCode, Message: strings.Join(parts, "; "), Hint: hint}
}

// encode spreads the fields of in over path, query and body.
func encode(path string, in any) (string, url.Values, io.Reader, error) {
	query := url.Values{}
	var body io.Reader
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if field.Name == "Body" {
			b, err := json.Marshal(value.Interface())
			if err != nil {
				return "", nil, nil, err
			}
			body = bytes.NewReader(b)
			continue
		}
		if name := field.Tag.Get("path"); name != "" {
			step := text(value.Interface())
			if step == "" || step == "." || step == ".." {
				return "", nil, nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("%s %q not found", name, step)} // another path would be asked
			}
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(step))
		}
		if name := field.Tag.Get("query"); name != "" && !value.IsZero() {
			query.Set(name, text(value.Interface()))
		}
	}
	return path, query, body, nil
}

func text(value any) string {
	switch x := value.(type) {
	case time.Time:
		return x.Format(time.RFC3339Nano)
	case []string:
		return strings.Join(x, ",")
	}
	return fmt.Sprint(value)
}
