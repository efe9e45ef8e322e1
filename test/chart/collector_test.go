package chart

import (
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// collector is the rendered configuration of the Collector.
func collector(t *testing.T, args ...string) (all []object, config object) {
	t.Helper()
	all = objects(t, template(t, args...))
	text, _ := find(t, all, "ConfigMap/vllm-collector").at("data", "config.yaml").(string)
	if err := yaml.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	return all, config
}

// inBytes reads a quantity of Kubernetes.
func inBytes(t *testing.T, quantity any) int {
	t.Helper()
	text, _ := quantity.(string)
	for unit, factor := range map[string]int{"Mi": 1 << 20, "Gi": 1 << 30} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			return n * factor
		}
	}
	t.Fatalf("size %v", quantity)
	return 0
}

// TestCollectorLosesNothing: each exporter's queue is on disk, fsynced, its own,
// and tried for ever; all of them fit into half of the volume.
func TestCollectorLosesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"demo", "production", "every-knob"} {
		all, config := collector(t, renders[name]...)
		losesNothing(t, all, config)
	}
}

func losesNothing(t *testing.T, all []object, config object) {
	t.Helper()
	sum, directories := 0, map[any]string{}
	for name := range mapping(config["exporters"]) {
		e := object(mapping(config.at("exporters", name)))
		size, _ := e.at("sending_queue", "queue_size").(int)
		if e.at("sending_queue", "sizer") != "bytes" || size == 0 || e.at("sending_queue", "block_on_overflow") != nil {
			t.Errorf("%s: queue %v", name, e["sending_queue"])
		}
		sum += size
		storage, _ := e.at("sending_queue", "storage").(string)
		s := object(mapping(config.at("extensions", storage)))
		if s.at("fsync") != true || s.at("compaction", "on_rebound") != true || s.at("compaction", "on_start") != true {
			t.Errorf("%s: storage %v", name, s)
		}
		if other, taken := directories[s.at("directory")]; taken || s.at("directory") == nil {
			t.Errorf("%s and %s keep their queues in one directory, %v", name, other, s.at("directory"))
		}
		directories[s.at("directory")] = name
		if name != "otlp_grpc/handoff" && (e.at("retry_on_failure", "enabled") != true || e.at("retry_on_failure", "max_elapsed_time") != "0s") {
			t.Errorf("%s gives up: %v", name, e["retry_on_failure"])
		}
	}
	if len(directories) != 3 {
		t.Errorf("exporters %v", directories)
	}
	volume := find(t, all, "StatefulSet/vllm-collector").at("spec", "volumeClaimTemplates", 0, "spec", "resources", "requests", "storage")
	if half := inBytes(t, volume) / 2; sum > half {
		t.Errorf("the queues come to %d bytes, more than half of the volume (%d)", sum, half)
	}
	for name := range mapping(config["processors"]) {
		if name != "memory_limiter" {
			t.Errorf("processor %s: a batch processor answers before anything is on disk, others change what is billed", name)
		}
	}
}

// TestClickHouseNeverHoldsUpBilling: where one exporter's queue refuses, the
// receiver refuses the whole request, and vLLM's SDK sends it again and again
// while its own queue overflows. So ClickHouse's exporter is in a pipeline of
// its own, behind a handoff that drops what that refuses.
func TestClickHouseNeverHoldsUpBilling(t *testing.T) {
	t.Parallel()
	_, config := collector(t)
	front, behind := list(config.at("service", "pipelines", "traces", "exporters")), list(config.at("service", "pipelines", "traces/clickhouse", "exporters"))
	if len(front) != 2 || front[0] != "otlp_http/tollkeeper" || front[1] != "otlp_grpc/handoff" || len(behind) != 1 || behind[0] != "clickhouse" {
		t.Fatalf("pipelines %v, %v", front, behind)
	}
	if config.at("exporters", "otlp_grpc/handoff", "retry_on_failure", "enabled") != false {
		t.Error("the handoff waits for ClickHouse's queue, and fills its own")
	}
	if at, from := config.at("exporters", "otlp_grpc/handoff", "endpoint"), config.at("receivers", "otlp/handoff", "protocols", "grpc", "endpoint"); at != from {
		t.Errorf("the handoff sends to %v, and %v is listened on", at, from)
	}
	if config.at("exporters", "clickhouse", "create_schema") != false {
		t.Error("an absent ClickHouse would end the Collector at its start")
	}
	_, config = collector(t, "--set", "clickhouse.enabled=false")
	if front := list(config.at("service", "pipelines", "traces", "exporters")); len(front) != 1 || config.at("exporters", "clickhouse") != nil {
		t.Errorf("without ClickHouse: %v", front)
	}
}

// TestRequestSizes: what the Collector takes, tollkeeper takes four times over: a
// request that is refused as too large is thrown away.
func TestRequestSizes(t *testing.T) {
	t.Parallel()
	all, config := collector(t)
	var ours object
	text, _ := find(t, all, "ConfigMap/vllm-tollkeeper").at("data", "tollkeeper.yaml").(string)
	if err := yaml.Unmarshal([]byte(text), &ours); err != nil {
		t.Fatal(err)
	}
	limit, _ := ours.at("ingest", "max_body_bytes").(int)
	http, _ := config.at("receivers", "otlp", "protocols", "http", "max_request_body_size").(int)
	grpc, _ := config.at("receivers", "otlp", "protocols", "grpc", "max_recv_msg_size_mib").(int)
	if http == 0 || grpc == 0 || limit < 4*max(http, grpc<<20) {
		t.Errorf("the Collector takes %d and %d MiB, tollkeeper %d", http, grpc, limit)
	}
	if handoff, _ := config.at("receivers", "otlp/handoff", "protocols", "grpc", "max_recv_msg_size_mib").(int); handoff <= grpc {
		t.Errorf("the handoff takes %d MiB: less than what is handed over", handoff)
	}
}

// TestOneKey: the Collector shows what tollkeeper accepts, out of one Secret, and
// a bad key is answered such that the Collector keeps its data.
func TestOneKey(t *testing.T) {
	t.Parallel()
	for set, secret := range map[string]string{"mode=demo": "vllm-tollkeeper-keys", "tollkeeper.keys.existingSecret=mine": "mine"} {
		all, config := collector(t, "--set", set)
		if got := config.at("exporters", "otlp_http/tollkeeper", "headers", "authorization"); got != "Bearer ${env:TOLLKEEPER_KEY}" {
			t.Errorf("authorization %v", got)
		}
		ref := at(find(t, all, "StatefulSet/vllm-collector").container(t), "env", 0)
		if at(ref, "name") != "TOLLKEEPER_KEY" || at(ref, "valueFrom", "secretKeyRef", "name") != secret || at(ref, "valueFrom", "secretKeyRef", "key") != "current" {
			t.Errorf("the Collector's key: %v", ref)
		}
		mounted := false
		for _, v := range list(find(t, all, "StatefulSet/vllm-tollkeeper").podSpec()["volumes"]) {
			mounted = mounted || at(v, "secret", "secretName") == secret
		}
		text, _ := find(t, all, "ConfigMap/vllm-tollkeeper").at("data", "tollkeeper.yaml").(string)
		if !mounted || !strings.Contains(text, "/current") || !strings.Contains(text, "/previous") || !strings.Contains(text, "on_bad_credential: retry") {
			t.Errorf("tollkeeper's side (mounted: %v):\n%s", mounted, text)
		}
	}
}
