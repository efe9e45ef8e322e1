package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/test/process"
)

// TestTwoReleasesKeepApart: of two releases in one namespace each Prometheus, a
// real one, scrapes its own Pods and those that belong to no release of the chart;
// else each alert would come twice, and dashboards would show a mixture.
func TestTwoReleasesKeepApart(t *testing.T) {
	prometheus := program(t, "PROMETHEUS", "prometheus")
	pods := slices.Concat(releasePods(t, "vllm"), releasePods(t, "vllm-two"), []object{
		annotated("plain", nil),
		annotated("shop", object{"app.kubernetes.io/name": "shop", "app.kubernetes.io/instance": "shop"}),
	})
	kubernetes := startKubernetes(t, pods)
	all := []string{"plain", "shop"}
	for _, release := range []string{"vllm", "vllm-two"} {
		for _, part := range []string{"collector", "llm-inference-app", "prometheus", "tollkeeper"} {
			all = append(all, release+"-"+part)
		}
	}
	for _, c := range []struct {
		release string
		values  []string
		want    []string
	}{
		{"vllm", nil, slices.DeleteFunc(slices.Clone(all), func(pod string) bool { return strings.HasPrefix(pod, "vllm-two-") })},
		{"vllm-two", nil, slices.DeleteFunc(slices.Clone(all), func(pod string) bool { return strings.HasPrefix(pod, "vllm-") && !strings.HasPrefix(pod, "vllm-two-") })},
		{"vllm", []string{`prometheus.scrape={"otherReleases":true}`}, all},
	} {
		t.Run(strings.Join(append([]string{c.release}, c.values...), " "), func(t *testing.T) {
			t.Parallel()
			config := get[string](renderAs(t, c.release, c.values...)["ConfigMap/"+c.release+"-prometheus"], "data", "prometheus.yml")
			config = strings.Replace(config, "role: pod\n        namespaces:\n          own_namespace: true", fmt.Sprintf("role: pod\n        api_server: %s\n        namespaces: { names: [ llm ] }", kubernetes), 1)
			p := startPrometheusWith(t, prometheus, config)
			slices.Sort(c.want)
			var got []string
			var last error
			err := process.Until(t.Context(), "it has its targets", func() (bool, error) {
				got, last = p.pods()
				return slices.Equal(got, c.want), nil
			})
			if err != nil {
				t.Errorf("it scrapes\n%q, want\n%q (%v, %v)", got, c.want, err, last)
			}
		})
	}
}

// releasePods are the Pods that a rendered release's workloads would make.
func releasePods(t *testing.T, release string) (pods []object) {
	t.Helper()
	for _, o := range renderAs(t, release) {
		template := get[object](o, "spec", "template")
		if template == nil || get[string](o, "kind") == "Job" {
			continue
		}
		pods = append(pods, pod(get[string](o, "metadata", "name"), get[object](template, "metadata"), get[object](template, "spec")))
	}
	return pods
}

func annotated(name string, labels object) object {
	metadata := object{"labels": labels, "annotations": object{"prometheus.io/scrape": "true", "prometheus.io/port": "1"}}
	return pod(name, metadata, object{"containers": []object{{"name": name}}})
}

// pod runs where nobody answers.
func pod(name string, metadata, spec object) object {
	metadata["name"], metadata["namespace"], metadata["uid"] = name, "llm", name
	return object{"metadata": metadata, "spec": spec, "status": object{"phase": "Running", "podIP": "127.0.0.1"}}
}

// startKubernetes answers who lists and watches Pods: these, for ever.
func startKubernetes(t *testing.T, pods []object) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path != "/api/v1/namespaces/llm/pods":
			w.WriteHeader(http.StatusNotFound)
			t.Errorf("Prometheus asks for %s: its Role does not let it", r.URL)
		case r.URL.Query().Get("sendInitialEvents") != "": // an apiserver that has only lists
			w.WriteHeader(http.StatusUnprocessableEntity)
			_ = json.NewEncoder(w).Encode(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": http.StatusUnprocessableEntity})
		case r.URL.Query().Get("watch") != "":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			_ = json.NewEncoder(w).Encode(object{"kind": "PodList", "apiVersion": "v1", "metadata": object{"resourceVersion": "1"}, "items": pods})
		}
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

// startPrometheusWith runs a Prometheus with a configuration of its own, without
// the rules of the Pod's volume.
func startPrometheusWith(t *testing.T, program, config string) prom {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "prometheus.yml"), config)
	address := process.FreeAddress(t)
	process.Start(t, exec.Command(program, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", address, "--log.level", "warn"))
	return prom{url: "http://" + address}
}

// pods are those that this Prometheus scrapes, sorted.
func (p prom) pods() ([]string, error) {
	resp, err := http.Get(p.url + "/api/v1/targets?state=active")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var a struct {
		Data struct {
			ActiveTargets []struct{ Labels map[string]string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return nil, err
	}
	var names []string
	for _, target := range a.Data.ActiveTargets {
		names = append(names, target.Labels["pod"])
	}
	slices.Sort(names)
	return names, nil
}
