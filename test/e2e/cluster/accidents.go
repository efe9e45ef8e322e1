package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// outage is an accident under load. Afterwards what is billed must be what the
// clients saw, each request once.
type outage struct {
	name string
	// during happens while requests run, and returns when all is well again.
	during func(ctx context.Context, b *bench) error
	// loses says that spans may be lost: then the engine's own counters must say
	// how many, and that must be what the clients' sums lack.
	loses bool
	// restarts says that vLLM itself ends: its counters begin anew, and clients
	// see requests fail that they begin meanwhile.
	restarts bool
	// traced says that otel_traces must have each request's span afterwards, too.
	// Where Collectors are told to end it may lack some (ADR 0007).
	traced bool
}

// The release's parts, as the chart names them.
const (
	collector0 = "vllm-collector-0"
	collector1 = "vllm-collector-1"
	clickhouse = "vllm-clickhouse-0"
	tollkeeper = "vllm-tollkeeper-0"

	collectors     = "statefulset/vllm-collector"
	clickhouseSet  = "statefulset/vllm-clickhouse"
	tollkeeperSet  = "statefulset/vllm-tollkeeper"
	vllmPods       = "app.kubernetes.io/instance=vllm,app.kubernetes.io/component=vllm"
	tollkeeperPods = "app.kubernetes.io/instance=vllm,app.kubernetes.io/component=tollkeeper"
	tollkeeperData = "/var/lib/tollkeeper/data"
)

func (b *bench) outages() []outage {
	return []outage{
		{name: "nothing", traced: true, during: func(ctx context.Context, b *bench) error { return b.requests(ctx, 40) }},
		{name: fmt.Sprintf("kill -9 of one of two Collectors, %d times", b.kills), during: func(ctx context.Context, b *bench) error {
			return b.killed(ctx, collector0, collector1)
		}},
		{name: "no Collector for 10 s", loses: b.stock, during: func(ctx context.Context, b *bench) error {
			return b.without(ctx, collectors, 10*time.Second)
		}},
		{name: fmt.Sprintf("no Collector for %s", b.outage), loses: b.stock, during: func(ctx context.Context, b *bench) error {
			return b.without(ctx, collectors, b.outage)
		}},
		{name: fmt.Sprintf("no ClickHouse for %s, and Collectors that start meanwhile", b.outage), during: withoutClickHouse},
		{name: fmt.Sprintf("kill -9 of ClickHouse, %d times", b.kills), traced: true, during: func(ctx context.Context, b *bench) error {
			return b.killed(ctx, clickhouse)
		}},
		{name: "no table in ClickHouse until an upgrade", during: withoutTable},
		{name: fmt.Sprintf("kill -9 of tollkeeper, %d times", b.kills), during: func(ctx context.Context, b *bench) error {
			return b.killed(ctx, tollkeeper)
		}},
		{name: "tollkeeper's Pod deleted", during: func(ctx context.Context, b *bench) error {
			return errors.Join(b.kubectl(ctx, "delete pod "+tollkeeper), b.requests(ctx, 10), b.podReady(ctx, tollkeeper))
		}},
		{name: fmt.Sprintf("no tollkeeper for %s", b.outage), during: func(ctx context.Context, b *bench) error {
			return b.without(ctx, tollkeeperSet, b.outage)
		}},
		{name: "the Collector's key rotated", during: rotateKey},
		{name: fmt.Sprintf("the Collector's key and ClickHouse's password wrong for %s", max(b.outage, wrongAtLeast)), during: wrongly},
		{name: "a rolling upgrade of all", restarts: true, during: func(ctx context.Context, b *bench) error {
			return b.upgrade(ctx, fmt.Sprintf("--set vllm.podAnnotations.again=a%d --set collector.podAnnotations.again=a%[1]d --set tollkeeper.podAnnotations.again=a%[1]d", time.Now().Unix()))
		}},
		{name: "vLLM's Pod deleted while 20 streams run", restarts: true, during: func(ctx context.Context, b *bench) error {
			return b.whileStreaming(ctx, func() error { return b.kubectl(ctx, "delete pod -l "+vllmPods) })
		}},
		{name: "vLLM and tollkeeper drained from their node while 20 streams run", restarts: true, during: func(ctx context.Context, b *bench) error {
			return b.whileStreaming(ctx, func() error {
				return b.drain(ctx, vllmPods, tollkeeperPods)
			})
		}},
	}
}

// suffer has each outage happen under load, and compares.
func (b *bench) suffer(ctx context.Context) error {
	values := fmt.Sprintf("--set collector.replicas=2 --set vllm.exporter.patient=%t", !b.stock)
	err := b.step("two Collectors", func() (string, error) { return "ready", b.upgrade(ctx, values) })
	if err != nil {
		return err
	}
	var failed []error
	for _, o := range b.outages() {
		failed = append(failed, b.under(ctx, o))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(failed, b.fillsUp(ctx))...)
}

// killed ends Pods without warning, one at a time and in turn, and waits until each
// is back.
func (b *bench) killed(ctx context.Context, pods ...string) error {
	for i := range b.kills {
		pod := pods[i%len(pods)]
		if err := errors.Join(b.kill(ctx, pod), b.requests(ctx, 10), b.podReady(ctx, pod)); err != nil {
			return err
		}
	}
	return nil
}

// withoutClickHouse has Collectors run, end and start that cannot reach it, as at an
// install where it is late.
func withoutClickHouse(ctx context.Context, b *bench) error {
	err := errors.Join(
		b.kubectl(ctx, "scale --replicas=0 "+clickhouseSet),
		pause(ctx, b.outage),
		b.kubectl(ctx, "rollout restart "+collectors),
		b.kubectl(ctx, fmt.Sprintf("rollout status --timeout=%s %s", rolloutTime, collectors)),
		b.requests(ctx, 10),
	)
	return errors.Join(err, b.kubectl(ctx, "scale --replicas=1 "+clickhouseSet), b.ready(ctx))
}

// withoutTable takes otel_traces away. An upgrade runs the Job that makes it.
func withoutTable(ctx context.Context, b *bench) error {
	_, err := b.sql(ctx, "drop table otel_traces sync")
	return errors.Join(err, b.requests(ctx, 40), b.upgrade(ctx, ""), until(ctx, settleTime, "otel_traces is filled again", func() error {
		_, err := b.sql(ctx, "select throwIf(count() = 0, 'it is empty') from otel_traces")
		return err
	}))
}

// rotateKey does what docs/ops says: the new one current, the old one previous;
// then the old one away. The Collector reads its key when it starts, tollkeeper
// when the file changes.
func rotateKey(ctx context.Context, b *bench) error {
	const (
		oldKey = "demo-collector-key-which-everybody-knows" // the chart's default
		newKey = "another-collector-key-for-the-rotation"
	)
	return errors.Join(
		b.upgrade(ctx, "--set tollkeeper.keys.current="+newKey+" --set tollkeeper.keys.previous="+oldKey),
		b.requests(ctx, 10),
		b.upgrade(ctx, "--set tollkeeper.keys.current="+newKey+" --set tollkeeper.keys.previous="),
	)
}

// wrongAtLeast is how long credentials are wrong: longer than a Collector's pauses
// between two tries grow.
const wrongAtLeast = time.Minute

// wrongly has the Collectors show a wrong key to tollkeeper, and a wrong password
// to ClickHouse, for a time; by the names that their configuration has for them.
func wrongly(ctx context.Context, b *bench) error {
	const env = `--set-json collector.extraEnv='{"TOLLKEEPER_KEY":%s,"CLICKHOUSE_PASSWORD":%[1]s}'`
	err := errors.Join(b.upgrade(ctx, fmt.Sprintf(env, `"wrong"`)), b.requests(ctx, 10), pause(ctx, max(b.outage, wrongAtLeast)))
	return errors.Join(err, b.upgrade(ctx, fmt.Sprintf(env, "null")))
}

// What streams are under way when vLLM is told to end: long enough to outlast the
// time that it leaves to proxies, so that it is really asked to end them.
const (
	streams      = 20
	streamTokens = 900
)

// whileStreaming has something end vLLM while it answers, and wants each of those
// answers whole.
func (b *bench) whileStreaming(ctx context.Context, end func() error) error {
	burst, err := b.traffic.burst(ctx, streams, streamTokens)
	if err != nil {
		return err
	}
	return errors.Join(end(), burst(), b.ready(ctx))
}

// drain moves the Pods of some labels from their node, as for its maintenance.
// The Collectors stay: on a cluster of one node, their disruption budget
// forbids to take the second one while the first finds no place.
func (b *bench) drain(ctx context.Context, selectors ...string) error {
	node, err := b.shell.run(ctx, fmt.Sprintf("kubectl get pods -l %s -o jsonpath={.items[0].spec.nodeName}", selectors[0]))
	if err != nil {
		return err
	}
	for _, pods := range selectors {
		err = errors.Join(err, b.kubectl(ctx, fmt.Sprintf("drain %s --pod-selector=%s --ignore-daemonsets --delete-emptydir-data --timeout=%s", node, pods, settleTime)))
	}
	return errors.Join(err, b.kubectl(ctx, "uncordon "+node))
}

// fillsUp has tollkeeper run on a volume of 64 MiB of memory that gets full.
func (b *bench) fillsUp(ctx context.Context) error {
	full := outage{name: fmt.Sprintf("tollkeeper's volume full for %s", b.outage), during: fullDisk}
	if !b.chosen(full.name) {
		return nil
	}
	const volume = `--set-json tollkeeper.extraVolumes='[{"name":"small","emptyDir":{"medium":"Memory","sizeLimit":"64Mi"}}]' ` +
		`--set-json tollkeeper.extraVolumeMounts='[{"name":"small","mountPath":"` + tollkeeperData + `"}]'`
	err := b.step("tollkeeper's data on 64 MiB of memory", func() (string, error) { return "ready", b.upgrade(ctx, volume) })
	if err == nil {
		err = b.under(ctx, full)
	}
	return errors.Join(err, b.step("its own volume again", func() (string, error) {
		return "ready", b.upgrade(ctx, "--set-json tollkeeper.extraVolumes='[]' --set-json tollkeeper.extraVolumeMounts='[]'")
	}))
}

// fullDisk takes all room from tollkeeper's data, sees it say so, and gives it
// back.
func fullDisk(ctx context.Context, b *bench) error {
	id, err := b.container(ctx, tollkeeper)
	if err != nil {
		return err
	}
	place := id + " " + tollkeeperData
	_, err = b.shell.run(ctx, chaosPod+" fill "+place)
	err = errors.Join(err, b.diskFull(ctx, 1), pause(ctx, b.outage))
	_, freed := b.shell.run(ctx, chaosPod+" free "+place)
	return errors.Join(err, freed, b.diskFull(ctx, 0))
}

// diskFull waits until tollkeeper says that its disk is full (1), or is not (0).
func (b *bench) diskFull(ctx context.Context, want int) error {
	metric := fmt.Sprintf("tollkeeper_journal_disk_full %d", want)
	return until(ctx, settleTime, metric, func() error {
		_, err := b.shell.run(ctx, fmt.Sprintf("kubectl get --raw %s/pods/%s:8080/proxy/metrics | grep -x '%s'", api, tollkeeper, metric))
		return err
	})
}
