package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollkeeper/tollkeeper/internal/api"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// trial is what the flags of `try` ask for.
type trial struct {
	source
	engine, model string
	unpriced      bool
	timeout       time.Duration
}

func tryCommand(p *Program) *cobra.Command {
	t := trial{source: source{writes: true}}
	c := &cobra.Command{
		Use: "try --engine URL --model NAME", GroupID: groupRun, Args: cobra.NoArgs,
		Short: "Send an engine one request, and wait until it is metered and priced",
		Long: `Asks an engine for a few tokens in the name of the reserved customer helm-test, and waits until tollkeeper shows the same request with
the same tokens and a price: the whole way from the engine's span to money works. It is on no invoice. The engine's key, if it asks for one,
is taken from $VLLM_API_KEY.`,
		Example: `  tollkeeper try --engine http://127.0.0.1:8000 --model facebook/opt-125m --data ./data
  tollkeeper try --engine http://vllm:8000 --model opt --server http://tollkeeper:8080`,
	}
	t.add(c)
	t.addConfig(c)
	c.Flags().StringVar(&t.engine, "engine", "", "where vLLM answers, http://HOST:PORT")
	c.Flags().StringVar(&t.model, "model", "", "a model that it serves")
	c.Flags().BoolVar(&t.unpriced, "unpriced", false, "metered is enough: for usage whose model nobody knows")
	c.Flags().DurationVar(&t.timeout, "timeout", time.Minute, "give up after so long")
	_ = c.MarkFlagRequired("engine")
	_ = c.MarkFlagRequired("model")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(c.Context(), t.timeout)
		defer cancel()
		return t.with(ctx, p, func(ctx context.Context, caller api.Caller) error { return p.try(ctx, &t, caller) })
	}
	return c
}

// tryPause is how long is waited before the answer that is not there yet is asked for again.
const tryPause = 500 * time.Millisecond

func (p *Program) try(ctx context.Context, t *trial, caller api.Caller) error {
	var tag api.MakeTagIn
	tag.Body.Customer = tenant.TestCustomer
	made, err := await(ctx, t.timeout, func() (*api.Tag, error) { return api.MakeTag.Call(ctx, caller, &tag) })
	if err != nil {
		return err
	}
	trace := randomHex(16)
	seen, err := await(ctx, t.timeout, func() (answered, error) { return t.ask(ctx, p.env("VLLM_API_KEY"), trace, made.Member) })
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "%s answered: %d input and %d output tokens, trace %s\n", t.engine, seen.Input, seen.Output, trace)
	cost, err := await(ctx, t.timeout, func() (string, error) { return t.found(ctx, caller, trace, seen) })
	if err == nil {
		fmt.Fprintln(p.Stdout, cost)
	}
	return err
}

// await asks again until there is an answer, the time is over, or an error that
// waiting does not mend. An engine and a server that were just started may not be
// reached by their Services yet.
func await[T any](ctx context.Context, timeout time.Duration, ask func() (T, error)) (answer T, err error) {
	for {
		last := err
		answer, err = ask()
		bad, refused := errors.AsType[*api.Error](err)
		switch {
		case err == nil, errors.As(err, &usageError{}), refused && bad.Status >= 400 && bad.Status < 500:
			return answer, err
		case ctx.Err() != nil && last != nil: // this error says only that the time is over
			return answer, fmt.Errorf("after %s: %w", timeout, last)
		case ctx.Err() != nil:
			return answer, err
		}
		select {
		case <-time.After(tryPause):
		case <-ctx.Done():
			return answer, fmt.Errorf("after %s: %w", timeout, err)
		}
	}
}

// answered are the tokens that the engine told its client.
type answered struct {
	Input  int64 `json:"prompt_tokens"`
	Output int64 `json:"completion_tokens"`
}

// ask sends one request.
func (t *trial) ask(ctx context.Context, key, trace, member string) (answered, error) {
	body, err := json.Marshal(map[string]any{"model": t.model, "prompt": "San Francisco is a", "max_tokens": 7, "temperature": 0})
	if err != nil {
		return answered{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(t.engine, "/")+"/v1/completions", bytes.NewReader(body))
	if err != nil {
		return answered{}, usageError{fmt.Errorf("--engine: %w", err)}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Traceparent", fmt.Sprintf("00-%s-%s-01", trace, randomHex(8)))
	r.Header.Set("Tracestate", member)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answered{}, fmt.Errorf("the engine: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answered{}, fmt.Errorf("the engine: %w", err)
	}
	var told struct{ Usage answered }
	if err := json.Unmarshal(text, &told); resp.StatusCode != http.StatusOK || err != nil || told.Usage.Output == 0 {
		err := fmt.Errorf("the engine answered %s: %s", resp.Status, bytes.TrimSpace(text[:min(len(text), 500)]))
		if resp.StatusCode < http.StatusInternalServerError {
			err = usageError{err}
		}
		return answered{}, err
	}
	return told.Usage, nil
}

// found tells what the request costs, or what is missing yet.
func (t *trial) found(ctx context.Context, caller api.Caller, trace string, want answered) (string, error) {
	x, err := api.ExplainTrace.Call(ctx, caller, &api.TraceQuery{Trace: trace})
	if bad, ok := errors.AsType[*api.Error](err); ok && bad.Status == http.StatusNotFound {
		return "", errors.New("the request was not metered: its span did not arrive; look at the engine's log, then at the Collector's, then at tollkeeper's")
	}
	if err != nil {
		return "", err
	}
	r := x.Requests[0]
	got := answered{r.Record.Quantities["input_tokens"], r.Record.Quantities["output_tokens"]}
	switch {
	case got != want:
		return "", fmt.Errorf("the request was metered with %d input and %d output tokens", got.Input, got.Output)
	case r.Record.Customer != tenant.TestCustomer:
		return "", fmt.Errorf("the request was metered for %q by the rule %q, not for %s: has attribution.order the rule tag, before that one?", r.Record.Customer, r.Record.Rule, tenant.TestCustomer)
	case len(r.Charges) == 0 && !t.unpriced:
		return "", fmt.Errorf("the request was metered, but %q has no price: set one (tollkeeper price apply, or prices in the configuration)", r.Record.Model)
	case len(r.Charges) == 0:
		return "metered, without a price", nil
	}
	return fmt.Sprintf("metered as %s, and priced: %s %s", r.Record.ID, r.Total, r.Currency), nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
