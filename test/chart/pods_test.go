package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// workloads are the resources that make Pods.
func workloads(all []object) []object {
	return slices.DeleteFunc(slices.Clone(all), func(o object) bool { return o.podSpec() == nil })
}

// TestEveryKnob: what a part can be given arrives at its Pods.
func TestEveryKnob(t *testing.T) {
	t.Parallel()
	all := workloads(ours(objects(t, template(t, "-f", chart+"/ci/every-knob-values.yaml"))))
	if len(all) < 5 {
		t.Fatalf("%d workloads", len(all))
	}
	for _, o := range all {
		if o["kind"] == "Pod" {
			continue // helm test's
		}
		labels := mapping(o.at("spec", "template", "metadata", "labels"))
		part := labels["app.kubernetes.io/component"].(string)
		spec, c := object(o.podSpec()), o.container(t)
		e := env(c)
		for what, ok := range map[string]bool{
			"resources":         at(c, "resources", "limits", "memory") == "3Gi",
			"extraEnv":          e["PLAIN"] == "text" && e["NUMBER"] == "8" && e["LARGE"] == "1000000000" && e["ON"] == "true",
			"extraArgs":         slices.Contains(args(c), "--extra="+part),
			"mounts":            slices.ContainsFunc(list(c["volumeMounts"]), func(m any) bool { return at(m, "mountPath") == "/extra" }),
			"volumes":           slices.ContainsFunc(list(spec["volumes"]), func(v any) bool { return at(v, "name") == "extra" }),
			"nodeSelector":      spec.at("nodeSelector", "pool") == part,
			"tolerations":       spec.at("tolerations", 0, "value") == part,
			"affinity":          spec.at("affinity", "nodeAffinity") != nil,
			"spread":            spec.at("topologySpreadConstraints", 0, "topologyKey") == "kubernetes.io/hostname",
			"priorityClassName": spec.at("priorityClassName") == part+"-priority",
			"podLabels":         labels["team"] == part,
			"podAnnotations":    o.at("spec", "template", "metadata", "annotations", "note") == part,
			"serviceAccount":    spec.at("serviceAccountName") == "inference",
			"pull secrets":      fmt.Sprint(spec.at("imagePullSecrets")) == "[map[name:pull] map[name:pull-too]]",
			"registry":          strings.HasPrefix(fmt.Sprint(c["image"]), "registry.example.com/"),
			"proxy":             e["HTTPS_PROXY"] == "http://proxy.example.com:3128" && strings.Contains(e["NO_PROXY"], "vllm-collector,"),
			"authorities":       e["SSL_CERT_FILE"] == "/etc/site-ca/ca.crt",
		} {
			if !ok {
				t.Errorf("%s: %s does not arrive", o.id(), what)
			}
		}
	}
}

// ours leaves out what a sub-chart renders.
func ours(all []object) []object {
	return slices.DeleteFunc(slices.Clone(all), func(o object) bool {
		return o.at("metadata", "labels", "app.kubernetes.io/name") != "llm-inference-app"
	})
}

// TestNamesComeOnce: Kubernetes refuses a variable, a port, a volume or a mount
// that comes twice.
func TestNamesComeOnce(t *testing.T) {
	t.Parallel()
	for name, a := range renders {
		a = slices.Concat(a, []string{"--set", "vllm.apiKey.existingSecret="})
		all := objects(t, template(t, append(slices.Clone(a), values(t, `
global: {caBundle: {configMap: authorities}, proxy: {http: "http://proxy:3128"}}
env: {HF_HOME: /mine, OTEL_SERVICE_NAME: mine}
vllm: {podAnnotations: {prometheus.io/scrape: "false", prometheus.io/port: "8001", checksum/secrets: mine}, apiKey: {value: abc}}
collector: {podAnnotations: {prometheus.io/scrape: "false", checksum/config: mine}}
`)...)...))
		ids := map[string]bool{}
		for _, o := range all {
			if ids[o.id()] {
				t.Errorf("%s: %s is rendered twice", name, o.id())
			}
			ids[o.id()] = true
		}
		for _, o := range workloads(all) {
			c := o.container(t)
			for field, key := range map[string]string{"env": "name", "ports": "name", "volumeMounts": "mountPath"} {
				once(t, name+" "+o.id(), list(c[field]), key)
			}
			once(t, name+" "+o.id(), list(o.podSpec()["volumes"]), "name")
		}
		given := object(mapping(find(t, all, vllm).at("spec", "template", "metadata", "annotations")))
		if given["prometheus.io/scrape"] != "false" || given["prometheus.io/port"] != "8001" || given["prometheus.io/path"] != "/metrics" || given["checksum/secrets"] == "mine" {
			t.Errorf("%s: annotations %v", name, given)
		}
	}
}

// TestWhatIsTheChartsIsTaken: a volume, a path, a label or a variable that a part
// has from the chart cannot be given to it a second time: Kubernetes would refuse
// it, or the chart's would be hidden.
func TestWhatIsTheChartsIsTaken(t *testing.T) {
	t.Parallel()
	base := []string{"-f", chart + "/ci/every-knob-values.yaml", "--set", "vllm.cache.existingClaim=,global.caBundle.configMap=authorities"}
	for _, w := range workloads(objects(t, template(t, base...))) {
		part, _ := w.at("spec", "template", "metadata", "labels", "app.kubernetes.io/component").(string)
		if part == "" {
			continue // helm test's Pod takes nothing
		}
		where := strings.Replace(part, "schema", "clickhouse.schemaJob", 1)
		taken := map[string]string{fmt.Sprintf(`%s.podLabels={"app.kubernetes.io/component":"x"}`, where): where + ".podLabels: app.kubernetes.io/component is refused"}
		for _, v := range slices.Concat(list(w.podSpec()["volumes"]), list(w.at("spec", "volumeClaimTemplates"))) {
			name, _ := at(v, "name").(string)
			if name == "" {
				name, _ = at(v, "metadata", "name").(string)
			}
			if name != "extra" {
				taken[fmt.Sprintf(`%s.extraVolumes=[{"name":%q,"emptyDir":{}}]`, where, name)] = fmt.Sprintf("%s.extraVolumes: the name %q is taken", where, name)
			}
		}
		for _, m := range list(w.container(t)["volumeMounts"]) {
			if path, _ := at(m, "mountPath").(string); path != "/extra" {
				taken[fmt.Sprintf(`%s.extraVolumeMounts=[{"name":%q,"mountPath":%q}]`, where, at(m, "name"), path)] = path + " is taken"
			}
		}
		for _, e := range list(w.container(t)["env"]) {
			name, _ := at(e, "name").(string)
			// The Collector's key can be another than the Secret's: what is refused then waits.
			if at(e, "valueFrom") != nil && name != "REFERENCE" && part != "collector" {
				taken[fmt.Sprintf(`%s.extraEnv={%q:"mine"}`, where, name)] = name
			}
		}
		for set, want := range taken {
			if got := refused(t, append(slices.Clone(base), "--set-json", set)...); !strings.Contains(got, want) {
				t.Errorf("%s: it says\n%s\nwithout %q", set, got, want)
			}
		}
	}
}

func once(t *testing.T, where string, list []any, key string) {
	t.Helper()
	seen := map[any]bool{}
	for _, x := range list {
		if k := at(x, key); seen[k] {
			t.Errorf("%s: %v comes twice", where, k)
		} else {
			seen[k] = true
		}
	}
}

// TestRestricted holds each Pod against pod-security.kubernetes.io's restricted;
// vLLM with vllm.nonroot, since its official image runs as root.
func TestRestricted(t *testing.T) {
	t.Parallel()
	for name, a := range renders {
		for _, o := range workloads(objects(t, template(t, append(slices.Clone(a), "--set", "vllm.nonroot=true")...))) {
			spec := object(o.podSpec())
			for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
				if spec[field] != nil {
					t.Errorf("%s %s: %s", name, o.id(), field)
				}
			}
			for _, v := range list(spec["volumes"]) {
				if at(v, "hostPath") != nil {
					t.Errorf("%s %s: a path of the host", name, o.id())
				}
			}
			for _, c := range slices.Concat(list(spec["containers"]), list(spec["initContainers"])) {
				s := object(mapping(at(c, "securityContext")))
				seccomp := s.at("seccompProfile", "type")
				if seccomp == nil {
					seccomp = spec.at("securityContext", "seccompProfile", "type")
				}
				nonroot := s["runAsNonRoot"]
				if nonroot == nil {
					nonroot = spec.at("securityContext", "runAsNonRoot")
				}
				if seccomp != "RuntimeDefault" || nonroot != true || s["allowPrivilegeEscalation"] != false || fmt.Sprint(s.at("capabilities", "drop")) != "[ALL]" {
					t.Errorf("%s %s: %v below %v", name, o.id(), s, spec["securityContext"])
				}
			}
		}
	}
}

// TestTwoReleases: nothing of one release has a name or selects a Pod of
// another's, and none is outside of its namespace.
func TestTwoReleases(t *testing.T) {
	t.Parallel()
	one := objects(t, template(t))
	out, refusal := helm(t, "template", "vllm-two", chart, "--namespace", "llm", "--kube-version", "1.34.0")
	if refusal != "" {
		t.Fatal(refusal)
	}
	two := objects(t, out)
	for _, o := range one {
		if o.at("metadata", "namespace") != "llm" {
			t.Errorf("%s is in no namespace: one name in two namespaces would be one thing", o.id())
		}
		if slices.ContainsFunc(two, func(other object) bool { return other.id() == o.id() }) {
			t.Errorf("%s is in both", o.id())
		}
		if o["kind"] == "Service" {
			for _, w := range workloads(two) {
				if selects(map[string]any{"matchLabels": o.at("spec", "selector")}, mapping(w.at("spec", "template", "metadata", "labels"))) {
					t.Errorf("%s sends to the other's %s", o.id(), w.id())
				}
			}
		}
	}
}

// TestOneNameInTwoNamespaces: whatever is chosen, everything has a kind that lives
// in a namespace, is in the release's, names no other, and takes nothing of a node
// that there is once.
func TestOneNameInTwoNamespaces(t *testing.T) {
	t.Parallel()
	operator := []string{"--namespace", "elsewhere", "--set", "monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true,monitoring.dashboards.enabled=true"}
	for _, kind := range []string{"ServiceMonitor", "PodMonitor", "PrometheusRule"} {
		operator = append(operator, "--api-versions", "monitoring.coreos.com/v1/"+kind)
	}
	namespaced := []string{
		"ConfigMap", "Deployment", "Job", "NetworkPolicy", "PersistentVolumeClaim", "Pod", "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "Role", "RoleBinding",
		"Secret", "Service", "ServiceAccount", "ServiceMonitor", "StatefulSet",
	}
	for name, a := range renders {
		for _, o := range objects(t, template(t, slices.Concat(a, operator)...)) {
			if kind, _ := o["kind"].(string); !slices.Contains(namespaced, kind) || o.at("metadata", "namespace") != "elsewhere" {
				t.Errorf("%s: %s is in the namespace %v: two releases of one name would share it", name, o.id(), o.at("metadata", "namespace"))
			}
			walk(map[string]any(o), func(key string, value any) {
				switch {
				case key == "namespace" && value != "elsewhere",
					slices.Contains([]string{"hostPort", "nodePort", "hostNetwork", "hostPath", "hostPID", "hostIPC", "loadBalancerIP", "externalIPs"}, key),
					key == "clusterIP" && value != "None", key == "kind" && value == "ClusterRole":
					t.Errorf("%s: %s has %s: %v, of which there is one", name, o.id(), key, value)
				}
			})
		}
	}
}

// walk visits each key of a tree with its value.
func walk(x any, visit func(key string, value any)) {
	for key, value := range mapping(x) {
		visit(key, value)
		walk(value, visit)
	}
	for _, value := range list(x) {
		walk(value, visit)
	}
}

// TestServicesReachPods: each Service selects one workload, and its ports are the container's.
func TestServicesReachPods(t *testing.T) {
	t.Parallel()
	all := objects(t, template(t))
	for _, s := range all {
		if s["kind"] != "Service" {
			continue
		}
		found := 0
		for _, w := range workloads(all) {
			if !selects(map[string]any{"matchLabels": s.at("spec", "selector")}, mapping(w.at("spec", "template", "metadata", "labels"))) {
				continue
			}
			found++
			for _, p := range list(s.at("spec", "ports")) {
				if !slices.ContainsFunc(list(w.container(t)["ports"]), func(c any) bool { return at(c, "name") == at(p, "targetPort") }) {
					t.Errorf("%s: no port %v", s.id(), at(p, "targetPort"))
				}
			}
		}
		if found != 1 {
			t.Errorf("%s selects %d workloads", s.id(), found)
		}
	}
	for name, ports := range map[string]string{
		"vllm-llm-inference-app": "[8000]", "vllm-clickhouse": "[8123 9000]", "vllm-tollkeeper": "[4318 4317 8080]", "vllm-collector": "[4317 4318]",
	} {
		var got []any
		for _, p := range list(find(t, all, "Service/"+name).at("spec", "ports")) {
			got = append(got, at(p, "port"))
		}
		if fmt.Sprint(got) != ports {
			t.Errorf("%s: ports %v, want %s", name, got, ports)
		}
	}
}

// TestModes: production refuses what everybody knows, and demo shows it. The
// schema says where, what would be right, and why: validators print nothing of a
// schema's own text but a const.
func TestModes(t *testing.T) {
	t.Parallel()
	complete := []string{"-f", chart + "/values-production.yaml", "-f", chart + "/ci/production-values.yaml"}
	for set, want := range map[string]string{
		"clickhouse.auth.existingSecret=":           "/clickhouse/auth/existingSecret': value must be 'the name of a Secret with the password of ClickHouse",
		"clickhouse.auth.password=default-password": "/clickhouse/auth/password': value must be 'empty, since mode is production",
		"tollkeeper.keys.existingSecret=":           "kubectl create secret generic tollkeeper-keys --from-literal=current=… --from-literal=previous= --from-literal=admin=…",
		"tollkeeper.keys.current=key":               "/tollkeeper/keys/current': value must be 'empty",
		"tollkeeper.keys.previous=key":              "/tollkeeper/keys/previous': value must be 'empty",
		"tollkeeper.keys.admin=key":                 "/tollkeeper/keys/admin': value must be 'empty",
		"collector.replicas=1":                      "/collector/replicas': value must be '2 or more, since mode is production: one may be away",
		"simulator.enabled=true":                    "/simulator/enabled': value must be 'false, since mode is production",
		"vlm.model=x":                               "vlm",
		"vllm.gpu.cuont=1":                          "cuont",
		"mode=prod":                                 "/mode': value must be one of 'demo', 'production'",
		"vllm.replicas=two":                         "/vllm/replicas': got string, want integer",

		"clickhouse.enabled=false,clickhouse.external.endpoint=http://x:8123,clickhouse.auth.existingSecret=":   "/clickhouse/auth/existingSecret': value must be",
		"clickhouse.enabled=false,clickhouse.external.endpoint=http://x:8123,clickhouse.auth.password=password": "/clickhouse/auth/password': value must be 'empty",
		"clickhouse.auth.existingSecret=null": "/clickhouse/auth': missing property 'existingSecret'",
		"collector.replicas=null":             "/collector': missing property 'replicas'",
	} {
		if got := refused(t, append(slices.Clone(complete), "--set", set)...); !strings.Contains(got, want) {
			t.Errorf("%s: it says\n%s\nwithout %q", set, got, want)
		}
	}
	got := refused(t, "--set", "mode=production")
	for _, path := range []string{"/collector/replicas", "/clickhouse/auth/existingSecret", "/clickhouse/auth/password", "/tollkeeper/keys/existingSecret", "/tollkeeper/keys/current", "/tollkeeper/keys/admin"} {
		if !strings.Contains(got, path+"': value must be '") {
			t.Errorf("the demo's values in production: it says\n%s\nand not what %s has to be", got, path)
		}
	}
	if strings.Contains(got, "default-password") {
		t.Errorf("a refusal shows the password: %s", got)
	}
	template(t, append(slices.Clone(complete), "--set", "clickhouse.enabled=false,clickhouse.auth.existingSecret=")...) // none is used
	rendered := template(t, complete...)
	if strings.Contains(rendered, "which-everybody-knows") || strings.Contains(rendered, "default-password") || strings.Contains(rendered, "kind: Secret") {
		t.Error("production renders a secret")
	}
	all := objects(t, rendered)
	if find(t, all, "StatefulSet/vllm-collector").at("spec", "replicas") != 2 {
		t.Error("one Collector in production")
	}
	find(t, all, "PodDisruptionBudget/vllm-collector")
	find(t, all, "PodDisruptionBudget/vllm-tollkeeper")
	if find(t, all, "StatefulSet/vllm-tollkeeper").at("spec", "replicas") != 1 {
		t.Error("the journal has one writer")
	}
}

// TestImages: an image by digest, and another registry for all of them.
func TestImages(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for set, want := range map[string]string{
		"mode=demo":                                 "docker.io/vllm/vllm-openai:v0.32.0",
		"vllm.image.tag=v1":                         "docker.io/vllm/vllm-openai:v1",
		"vllm.image.digest=" + digest:               "docker.io/vllm/vllm-openai@" + digest,
		"global.imageRegistry=registry.example.com": "registry.example.com/vllm/vllm-openai:v0.32.0",
		"simulator.enabled=true":                    "docker.io/tollkeeper/tollkeeper:0.1.0",
		"vllm.instrumentation.enabled=true":         "docker.io/tollkeeper/vllm-openai-instrumented:v0.32.0",
		"vllm.instrumentation.enabled=true,vllm.image.digest=" + digest: "docker.io/tollkeeper/vllm-openai-instrumented:v0.32.0",
	} {
		if got := find(t, objects(t, template(t, "--set", set)), vllm).container(t)["image"]; got != want {
			t.Errorf("%s: %v, want %s", set, got, want)
		}
	}
}
