package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// settleTime is how long all may take to arrive after an outage: the longest
// pause of a Collector's retries, and a restart or two.
const settleTime = 3 * time.Minute

// model is what the chart serves by default.
const model = "facebook/opt-125m"

// under has an outage happen under load.
func (b *bench) under(ctx context.Context, o outage) error {
	if !b.chosen(o.name) {
		return nil
	}
	return b.step("under load: "+o.name, func() (string, error) { return b.survive(ctx, o) })
}

// chosen says whether -only lets an accident happen.
func (b *bench) chosen(name string) bool { return b.only == nil || b.only.MatchString(name) }

func (b *bench) survive(ctx context.Context, o outage) (string, error) {
	var engine sums
	err := until(ctx, settleTime, "vLLM is reached", func() (err error) {
		engine, err = b.counted(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	b.traffic = newLoad(b.vllm, model)
	b.traffic.start(ctx)
	err = errors.Join(b.requests(ctx, clients), o.during(ctx, b), b.requests(ctx, clients))
	asked, failed := b.traffic.finish()
	if err != nil {
		return "", errors.Join(err, b.traffic.lastFail)
	}
	if failed > 0 && !o.restarts {
		return "", fmt.Errorf("%d requests failed: %w", failed, b.traffic.lastFail)
	}
	if o.loses {
		return b.lossIsShown(ctx, asked, engine)
	}
	if err := until(ctx, settleTime, "what is billed is what clients saw", func() error { return b.billedOnce(ctx) }); err != nil {
		return "", err
	}
	seen := asked.String() + ", billed once each"
	if o.traced {
		seen += " and in otel_traces"
		err = until(ctx, settleTime, "each request's span is in otel_traces", func() error { return b.traced(ctx) })
	}
	if err != nil {
		return "", err
	}
	if failed > 0 {
		seen += fmt.Sprintf("; %d requests broke off", failed)
	}
	if o.restarts {
		return seen, nil
	}
	return seen + ", as the engine's counters say", b.counters(ctx, engine, asked)
}

// longestPause is how long nothing may come although something will: vLLM's SDK
// tries a batch again after 1, 2, 4, … seconds, for 60 in all.
const longestPause = 90 * time.Second

// lossIsShown wants the engine's counters to say what clients saw, and the
// difference from them to the bill to be what the bill lacks: nobody is left to
// guess.
func (b *bench) lossIsShown(ctx context.Context, asked, before sums) (string, error) {
	if err := b.counters(ctx, before, asked); err != nil {
		return "", err
	}
	var billed, last sums
	still := time.Now()
	err := until(ctx, 2*settleTime, "the bill settles", func() (err error) {
		if billed, err = b.billed(ctx); err != nil {
			return err
		}
		if billed != last {
			last, still = billed, time.Now()
		}
		if time.Since(still) < longestPause && billed != asked {
			return errors.New("more came")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if extra := billed.minus(asked); extra.Requests > 0 || extra.Input > 0 || extra.Output > 0 {
		return "", fmt.Errorf("billed %s, but clients saw %s", billed, asked)
	}
	if billed == asked {
		return asked.String() + ", billed once each, as the engine's counters say: nothing was lost", b.billedOnce(ctx)
	}
	return fmt.Sprintf("%s; lost %s: the difference from counters to bill, and from the clients' sums", asked, asked.minus(billed)), nil
}

// counters wants the engine to have counted what clients saw.
func (b *bench) counters(ctx context.Context, before, asked sums) error {
	return until(ctx, settleTime, "the engine's counters", func() error {
		now, err := b.counted(ctx)
		if err == nil && now.minus(before) != asked {
			err = fmt.Errorf("the engine counted %s, clients saw %s", now.minus(before), asked)
		}
		return err
	})
}

// record is one of `tollkeeper requests`.
type record struct {
	RequestID  string `json:"request_id"`
	Quantities sums   `json:"quantities"`
}

// mostRecords is how many of one outage's are read.
const mostRecords = 100_000

// records are those of the present traffic, by the client's id.
func (b *bench) records(ctx context.Context) (map[string][]sums, error) {
	out, err := b.shell.run(ctx, fmt.Sprintf("kubectl exec %s -- tollkeeper requests --from %s --limit %d -o json", tollkeeper, b.traffic.began.UTC().Format(time.RFC3339), mostRecords))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Records []record `json:"records"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("%w:\n%.200s", err, out)
	}
	byID := map[string][]sums{}
	for _, r := range answer.Records {
		// vLLM names a completion cmpl-ID and its first choice cmpl-ID-0.
		id := strings.TrimSuffix(strings.TrimPrefix(r.RequestID, "cmpl-"), "-0")
		if strings.HasPrefix(id, b.traffic.name+"-") {
			r.Quantities.Requests = max(r.Quantities.Requests, 1)
			byID[id] = append(byID[id], r.Quantities)
		}
	}
	return byID, nil
}

// billedOnce wants each request that a client saw whole on one record, with the
// usage that it was told; one that broke off on one at most.
func (b *bench) billedOnce(ctx context.Context) error {
	byID, err := b.records(ctx)
	if err != nil {
		return err
	}
	missing := 0
	for id, used := range b.traffic.told {
		switch have := byID[id]; {
		case len(have) == 0:
			missing++
		case len(have) > 1:
			return fmt.Errorf("%s is billed %d times", id, len(have))
		case have[0] != used:
			return fmt.Errorf("%s is billed with %s, its client saw %s", id, have[0], used)
		}
	}
	for id, have := range byID {
		if len(have) > 1 {
			return fmt.Errorf("%s is billed %d times", id, len(have))
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d requests are not billed yet", missing, len(b.traffic.told))
	}
	return nil
}

// billed is the sum of the present traffic's records.
func (b *bench) billed(ctx context.Context) (all sums, err error) {
	byID, err := b.records(ctx)
	for _, list := range byID {
		for _, s := range list {
			all = all.plus(s)
		}
	}
	return all, err
}

// traced wants each request that a client saw whole in otel_traces.
func (b *bench) traced(ctx context.Context) error {
	out, err := b.sql(ctx, fmt.Sprintf("select uniqExact(SpanAttributes['gen_ai.request.id']) from otel_traces where SpanName = 'llm_request' and SpanAttributes['gen_ai.request.id'] like 'cmpl-%s-%%'", b.traffic.name))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if want := len(b.traffic.told); err == nil && n < want {
		err = fmt.Errorf("%d of %d", n, want)
	}
	return err
}
