package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// kubectl runs one command.
func (b *bench) kubectl(ctx context.Context, arguments string) error {
	_, err := b.shell.run(ctx, "kubectl "+arguments)
	return err
}

// requests waits until so many more were answered or failed.
func (b *bench) requests(ctx context.Context, n int) error {
	from := b.traffic.ended()
	return until(ctx, settleTime, fmt.Sprintf("%d requests", n), func() error {
		if done := b.traffic.ended() - from; done < n {
			return fmt.Errorf("%d so far", done)
		}
		return nil
	})
}

// pause lets an outage last.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// without scales a workload down for a time.
func (b *bench) without(ctx context.Context, workload string, d time.Duration) error {
	n, err := b.shell.run(ctx, fmt.Sprintf("kubectl get %s -o jsonpath={.spec.replicas}", workload))
	if err != nil {
		return err
	}
	if err := b.kubectl(ctx, fmt.Sprintf("scale --replicas=0 %s", workload)); err != nil {
		return err
	}
	err = pause(ctx, d)
	return errors.Join(err, b.kubectl(ctx, fmt.Sprintf("scale --replicas=%s %s", strings.TrimSpace(n), workload)), b.ready(ctx))
}

// chaosPod runs test/e2e/chaos, which `run` has put there.
const chaosPod = "kubectl exec --namespace=chaos pod/chaos -- /chaos"

// container is the id of a Pod's container.
func (b *bench) container(ctx context.Context, pod string) (string, error) {
	id, err := b.shell.run(ctx, fmt.Sprintf("kubectl get pod %s -o jsonpath={.status.containerStatuses[0].containerID}", pod))
	return strings.TrimSpace(id), err
}

// kill ends a Pod's processes without warning, and waits until Kubernetes saw it.
func (b *bench) kill(ctx context.Context, pod string) error {
	id, err := b.container(ctx, pod)
	if err != nil {
		return err
	}
	if _, err := b.shell.run(ctx, chaosPod+" kill "+id); err != nil {
		return err
	}
	return until(ctx, settleTime, pod+" is started again", func() error {
		now, err := b.container(ctx, pod)
		if err == nil && now == id {
			err = errors.New("not yet")
		}
		return err
	})
}

func (b *bench) podReady(ctx context.Context, pod string) error {
	return until(ctx, settleTime, pod+" is there", func() error {
		return b.kubectl(ctx, fmt.Sprintf("wait --for=condition=Ready --timeout=%s pod/%s", settleTime, pod))
	})
}

// upgrade changes values of the release, and waits until all is ready. With
// --reuse-values, Helm would bring back what a null takes away.
func (b *bench) upgrade(ctx context.Context, set string) error {
	_, err := b.shell.run(ctx, "helm upgrade vllm llm-inference-app --reset-then-reuse-values "+set)
	return errors.Join(err, b.ready(ctx))
}

// api is where the API server has the namespace.
const api = "/api/v1/namespaces/default"

// sql asks the release's ClickHouse, by way of the API server.
func (b *bench) sql(ctx context.Context, query string) (string, error) {
	return b.shell.fed(ctx, fmt.Sprintf("kubectl create --raw '%s/services/vllm-clickhouse:8123/proxy/?user=default&password=default-password' -f -", api), query)
}

// proxyPort is where this machine reaches the API server, and Services by way of it.
const proxyPort = 18000

// reachVLLM reaches vLLM as others do, by its Service, whatever Pods are behind it.
// A forwarded port is one Pod's, and kubectl neither notices always that this is
// gone nor always answers as long as it is there.
func (b *bench) reachVLLM(ctx context.Context) error {
	b.vllm = fmt.Sprintf("http://127.0.0.1:%d%s/services/vllm-llm-inference-app:8000/proxy", proxyPort, api)
	return b.shell.background(ctx, fmt.Sprintf("kubectl proxy --port=%d", proxyPort), proxyPort)
}

// scraping reads vLLM's counters. A connection that vLLM has closed is not tried.
var scraping = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// counted are the engine's own counters, over its processes.
func (b *bench) counted(ctx context.Context) (s sums, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.vllm+"/metrics", http.NoBody)
	if err != nil {
		return s, err
	}
	resp, err := scraping.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, errors.New(resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		var to *int64
		switch name {
		case "vllm:request_success_total":
			to = &s.Requests
		case "vllm:request_prompt_tokens_sum":
			to = &s.Input
		case "vllm:request_generation_tokens_sum":
			to = &s.Output
		default:
			continue
		}
		if i := strings.LastIndex(value, " "); i >= 0 {
			value = value[i+1:] // a label held a space
		}
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return s, fmt.Errorf("%s: %w", lines.Text(), err)
		}
		*to += int64(f)
	}
	return s, lines.Err()
}
