package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tested runs the chart's own test, whose request nobody is billed for.
func (b *bench) tested(ctx context.Context) error {
	return b.step("helm test vllm --logs", func() (string, error) {
		out, err := b.shell.run(ctx, "helm test vllm --logs")
		if err != nil {
			return "", err
		}
		return all("a request of helm-test, metered and priced", `answered: \d+ input and \d+ output tokens`, `metered as rec_[0-9a-f]{32}, and priced: [0-9.]+ USD`)(out)
	})
}

// serverSpans plays the second walk-through, vLLM under opentelemetry-instrument,
// and then has it answer many long streams: the instrumentation makes a span for
// each piece of a stream where nobody stops it, and those push requests' out of
// the SDK's queue.
func (b *bench) serverSpans(ctx context.Context) error {
	if err := b.play(ctx, "docs/ops/minikube.md", "## Server spans"); err != nil {
		return err
	}
	return b.under(ctx, outage{name: "20 streams of 500 tokens, with server spans", traced: true, during: func(ctx context.Context, b *bench) error {
		end, err := b.traffic.burst(ctx, 20, 500)
		if err != nil {
			return err
		}
		return end()
	}})
}

// lora has vLLM serve an adapter beside its model. No span tells which one a request
// used: its usage must be kept, without a model's name and without a price.
func (b *bench) lora(ctx context.Context) error {
	return b.step("a request of the LoRA adapter sql-lora", func() (seen string, err error) {
		err = b.upgrade(ctx, `--set vllm.instrumentation.enabled=false --set-json 'vllm.lora.modules=[{"name":"sql-lora","path":"tiny"}]'`)
		if err != nil {
			return "", err
		}
		l := newLoad(b.vllm, "sql-lora")
		err = until(ctx, settleTime, "an answer", func() error { return l.record(ctx, question{number: l.number.Add(1), tokens: 7}) })
		if err != nil {
			return "", err
		}
		look := all("its tokens, of a model that is unknown, without a price", `\(unknown\) +\d+ +7 +final`)
		err = until(ctx, arrivalTime, "its record", func() error {
			out, err := b.shell.run(ctx, fmt.Sprintf("kubectl exec %s -- tollkeeper requests --request-id %s-%d", tollkeeper, l.name, l.number.Load()))
			if err == nil {
				seen, err = look(out)
			}
			return err
		})
		return seen, err
	})
}

// dashboards asks the release's Prometheus for each panel of the dashboards, while
// there is something to show.
func (b *bench) dashboards(ctx context.Context) error {
	const port = 9090
	if err := b.shell.background(ctx, fmt.Sprintf("kubectl port-forward services/vllm-prometheus %d:9090", port), port); err != nil {
		return err
	}
	return b.under(ctx, outage{name: "each panel of the dashboards has a series in the release's Prometheus", during: func(ctx context.Context, b *bench) error {
		out, err := b.shell.run(ctx, fmt.Sprintf("PROMETHEUS_URL=http://127.0.0.1:%d go -C .. test -count=1 -v -run '^TestRelease$' ./test/monitoring", port))
		if err == nil && !strings.Contains(out, "--- PASS: TestRelease") {
			err = errors.New("nothing was asked:\n" + out)
		}
		return err
	}})
}

// restored plays the page's backup, and its restore into the volume of the release:
// what was in the backup is there again, and all follows from it.
func (b *bench) restored(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(b.repository, "docs/ops/kubernetes.md"))
	if err != nil {
		return err
	}
	parts, err := blocks(string(text), "## Back up and restore")
	if err != nil || len(parts) != 2 {
		return fmt.Errorf("docs/ops/kubernetes.md: want the backup and the restore, it has %d code blocks: %w", len(parts), err)
	}
	// The page's namespace and day are not this one's.
	as := strings.NewReplacer("-n llm", "-n default", "backup-2026-12-01.tar", "backup-$(date +%F).tar")
	count := fmt.Sprintf("kubectl exec %s -- tollkeeper usage --by customer,model -o csv", tollkeeper)
	var before string
	err = b.step("docs/ops/kubernetes.md: back up", func() (string, error) {
		if before, err = b.shell.run(ctx, "cd $(mktemp -d); "+count); err != nil {
			return "", err
		}
		out, err := b.shell.run(ctx, as.Replace(parts[0]))
		return firstLine(out), err
	})
	if err != nil {
		return err
	}
	return b.step("docs/ops/kubernetes.md: restore", func() (string, error) {
		out, err := b.shell.run(ctx, as.Replace(parts[1]))
		if err = errors.Join(err, b.podReady(ctx, tollkeeper)); err != nil {
			return "", err
		}
		return "the same sums as before", until(ctx, settleTime, "the usage of before", func() error { // it is folded anew
			after, err := b.shell.run(ctx, count)
			if err == nil && after != before {
				err = fmt.Errorf("before:\n%s\nafter:\n%s\n%s", before, after, out)
			}
			return err
		})
	})
}

// verified has tollkeeper check all of it: the journal, the usage that follows from
// it, the invoices.
func (b *bench) verified(ctx context.Context) error {
	const command = "kubectl exec " + tollkeeper + " -- tollkeeper verify"
	return b.step(command, func() (string, error) {
		out, err := b.shell.run(ctx, command+" 2>/dev/null")
		return firstLine(out), err
	})
}
