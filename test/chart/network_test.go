package chart

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// pod is what NetworkPolicies see of one.
type pod struct {
	name, namespace string
	labels          map[string]any
	ports           []int
}

// network evaluates NetworkPolicies as Kubernetes defines them: a Pod that no
// policy of a direction selects is open in that direction; else one rule of any
// of them has to let the connection through, and it needs both directions.
type network []object

func (n network) allows(from, to pod, port int) bool {
	return n.open("Egress", from, to, port) && n.open("Ingress", to, from, port)
}

func (n network) open(direction string, subject, peer pod, port int) bool {
	rules, peers := "ingress", "from"
	if direction == "Egress" {
		rules, peers = "egress", "to"
	}
	isolated := false
	for _, p := range n {
		if p.at("metadata", "namespace") != subject.namespace || !selects(mapping(p.at("spec", "podSelector")), subject.labels) ||
			!slices.Contains(list(p.at("spec", "policyTypes")), any(direction)) {
			continue
		}
		isolated = true
		for _, r := range list(p.at("spec", rules)) {
			if letsPort(list(at(r, "ports")), port) && letsPeer(list(at(r, peers)), subject.namespace, peer) {
				return true
			}
		}
	}
	return !isolated
}

func letsPort(ports []any, port int) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p any) bool {
		return at(p, "port") == port && (at(p, "protocol") == nil || at(p, "protocol") == "TCP")
	})
}

func letsPeer(peers []any, namespace string, peer pod) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p any) bool {
		m := mapping(p)
		for field := range m {
			if field != "podSelector" {
				panic("the evaluator knows no " + field)
			}
		}
		// Without a namespaceSelector: Pods of the policy's own namespace.
		return peer.namespace == namespace && selects(mapping(m["podSelector"]), peer.labels)
	})
}

func selects(selector, labels map[string]any) bool {
	for field := range selector {
		if field != "matchLabels" {
			panic("the evaluator knows no " + field)
		}
	}
	for k, v := range mapping(selector["matchLabels"]) {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// pods are what the rendered workloads make, by component.
func pods(all []object) map[string]pod {
	out := map[string]pod{}
	for _, o := range all {
		spec := o.podSpec()
		if spec == nil {
			continue
		}
		labels := mapping(o.at("spec", "template", "metadata", "labels"))
		if o["kind"] == "Pod" {
			labels = mapping(o.at("metadata", "labels"))
		}
		p := pod{namespace: o.at("metadata", "namespace").(string), labels: labels}
		p.name, _ = labels["app.kubernetes.io/component"].(string)
		if labels["app.kubernetes.io/name"] == "prometheus" {
			p.name = "prometheus"
		}
		for _, c := range list(spec["containers"]) {
			for _, port := range list(at(c, "ports")) {
				p.ports = append(p.ports, at(port, "containerPort").(int))
			}
		}
		out[p.name] = p
	}
	return out
}

// TestNetworkPolicies asks for every pair of Pods, strangers and another release
// among them, and every port, whether they may talk: those who have to, may, and
// nobody else. What is evaluated is the rendered YAML; no network enforced it.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	all := objects(t, template(t))
	var policies network
	for _, o := range all {
		if o["kind"] == "NetworkPolicy" {
			policies = append(policies, o)
		}
	}
	everybody := pods(all)
	for _, o := range pods(objects(t, strings.ReplaceAll(template(t), "app.kubernetes.io/instance: vllm", "app.kubernetes.io/instance: other"))) {
		o.name = "other " + o.name
		everybody[o.name] = o
	}
	for _, o := range pods(all) {
		o.name, o.namespace = "elsewhere "+o.name, "elsewhere"
		everybody[o.name] = o
	}
	everybody["stranger"] = pod{name: "stranger", namespace: "llm"}

	want := map[string]bool{
		"vllm → collector:4317": true, "vllm → collector:4318": true,
		"collector → tollkeeper:4318":  true,
		"collector → clickhouse:8123":  true,
		"collector → clickhouse:9000":  true,
		"schema → clickhouse:8123":     true,
		"schema → clickhouse:9000":     true,
		"prometheus → collector:8888":  true,
		"prometheus → tollkeeper:8080": true,
		"test → tollkeeper:8080":       true,
	}
	closed := []string{"collector", "clickhouse", "tollkeeper", "schema"}
	seen := map[string]bool{}
	for _, from := range everybody {
		for component, to := range pods(all) {
			for _, port := range to.ports {
				pair := fmt.Sprintf("%s → %s:%d", from.name, component, port)
				// Clients ask vLLM from anywhere; our own parts that need not, cannot. Probes come from the node, which no policy keeps out.
				expected := want[pair] || component == "vllm" && !slices.Contains(closed, from.name)
				if got := policies.allows(from, to, port); got != expected {
					t.Errorf("%s: %v, want %v", pair, got, expected)
				}
				seen[pair] = true
			}
		}
	}
	for _, pair := range slices.Sorted(maps.Keys(want)) {
		if !seen[pair] {
			t.Errorf("%s was never asked about", pair)
		}
	}
}
