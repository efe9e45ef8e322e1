package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// cluster is a real Kubernetes with the chart's images on its nodes, and a
// namespace of the test's that lets nobody do more than pod-security's
// restricted.
type cluster struct{ namespace string }

// newCluster takes the cluster of $KUBECONFIG, and only if it is told so: it
// installs things there. Claims end with the namespace; volumes of a cluster
// that does not recycle them stay taken.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("CHART_CLUSTER") == "" || os.Getenv("KUBECONFIG") == "" {
		t.Skip("no $CHART_CLUSTER=1 with a $KUBECONFIG whose cluster has the images of make images")
	}
	c := &cluster{namespace: fmt.Sprintf("chart-%d", os.Getpid())}
	c.kubectl(t, "create", "namespace", c.namespace)
	t.Cleanup(func() { c.kubectl(t, "delete", "namespace", c.namespace, "--wait=false") })
	c.kubectl(t, "label", "namespace", c.namespace, "pod-security.kubernetes.io/enforce=restricted")
	return c
}

func (c *cluster) run(program string, args ...string) (string, error) {
	var out, problem bytes.Buffer
	x := exec.Command(program, slices.Concat([]string{"--namespace", c.namespace}, args)...)
	x.Stdout, x.Stderr = &out, &problem
	if err := x.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s%s", program, strings.Join(args, " "), err, out.String(), problem.String())
	}
	return out.String(), nil
}

func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.run("kubectl", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// helm runs $HELM and returns why it failed.
func (c *cluster) helm(t *testing.T, args ...string) error {
	t.Helper()
	began := time.Now()
	_, err := c.run(os.Getenv("HELM"), args...)
	t.Logf("helm %s: %.1f s", strings.Join(args, " "), time.Since(began).Seconds())
	return err
}

// small is a release that needs no GPU, no weights and few volumes.
var small = []string{"--set", "simulator.enabled=true,prometheus.enabled=false"}

func (c *cluster) install(t *testing.T, release string, args ...string) {
	t.Helper()
	if err := c.helm(t, slices.Concat([]string{"install", release, chart}, small, args)...); err != nil {
		t.Fatal(err)
	}
	for w := range strings.FieldsSeq(c.kubectl(t, "get", "deployments,statefulsets", "-l", "app.kubernetes.io/instance="+release, "-o", "name")) {
		c.kubectl(t, "rollout", "status", w, "--timeout=120s")
	}
}

// test runs helm test: one request, metered and priced.
func (c *cluster) test(t *testing.T, release string) {
	t.Helper()
	if err := c.helm(t, "test", release); err != nil {
		t.Fatalf("%v\n%s", err, c.kubectl(t, "logs", release+"-test"))
	}
}

// state is what an upgrade that changes nothing must leave as it is: each
// resource's generation and content, and which Pods there are. The Job that makes
// the table is made anew by each upgrade.
func (c *cluster) state(t *testing.T) string {
	t.Helper()
	var list struct{ Items []object }
	text := c.kubectl(t, "get", "deployments,statefulsets,services,configmaps,secrets,networkpolicies,poddisruptionbudgets,persistentvolumeclaims", "-o", "json")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, o := range list.Items {
		if o["type"] == "helm.sh/release.v1" {
			continue
		}
		fmt.Fprintln(&out, o.id(), o.at("metadata", "generation"), o["spec"], o["data"])
	}
	return out.String() + c.kubectl(t, "get", "pods", "-l", "app.kubernetes.io/component notin (schema, test)", "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{'\\n'}{end}")
}

// TestRelease lives through a release's life, with a second one beside it.
func TestRelease(t *testing.T) {
	c := newCluster(t)
	c.install(t, "one")
	c.test(t, "one")
	c.install(t, "two", "--set", "clickhouse.enabled=false")
	c.test(t, "two")

	before := c.state(t)
	for range 2 {
		if err := c.helm(t, slices.Concat([]string{"upgrade", "one", chart}, small)...); err != nil {
			t.Fatal(err)
		}
	}
	if after := c.state(t); after != before {
		t.Errorf("an upgrade with the same values changed something:\n%s\nbefore\n%s", after, before)
	}

	for values, want := range map[string]string{
		"collector.persistence.size=11Gi":           "--cascade=orphan",
		"tollkeeper.persistence.size=11Gi":          "tollkeeper.persistence.size is 11Gi",
		"clickhouse.persistence.size=21Gi":          "Nothing is lost",
		"tollkeeper.keys.existingSecret=nobody":     `names the Secret "nobody", and there is none`,
		"huggingface.existingSecret=one-clickhouse": `has no key "token", or an empty one; it has password`,
	} {
		err := c.helm(t, slices.Concat([]string{"upgrade", "one", chart}, small, []string{"--set", values})...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", values, err, want)
		}
	}

	claims := c.kubectl(t, "get", "pvc", "-o", "name")
	requests := func() string {
		return c.kubectl(t, "exec", "one-tollkeeper-0", "--", "tollkeeper", "requests", "-o", "csv")
	}
	metered := requests()
	if strings.Count(metered, "helm-test") != 1 {
		t.Errorf("requests\n%s", metered)
	}
	if err := c.helm(t, "uninstall", "one"); err != nil {
		t.Fatal(err)
	}
	if left := c.kubectl(t, "get", "pvc", "-o", "name"); left != claims {
		t.Errorf("uninstall took volumes: %s of\n%s", left, claims)
	}
	c.install(t, "one")
	if again := requests(); again != metered {
		t.Errorf("installed again, it has\n%s\nand had\n%s", again, metered)
	}
	for _, release := range []string{"one", "two"} {
		if err := c.helm(t, "uninstall", release); err != nil {
			t.Error(err)
		}
	}
}
