package chart

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"testing"
)

var (
	overrides   = regexp.MustCompile(`(?s)--overrides='(.*?)'`)
	restoreArgs = regexp.MustCompile(`-- restore - --data (\S+)`)
)

// TestRestorePod: the Pod that docs/ops/kubernetes.md restores with has the claim,
// the mounts and the rights of tollkeeper's own.
func TestRestorePod(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/ops/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	text, data := overrides.FindSubmatch(page), restoreArgs.FindSubmatch(page)
	if text == nil || data == nil {
		t.Fatal("the page has no such Pod")
	}
	var pod object
	if err := json.Unmarshal(text[1], &pod); err != nil {
		t.Fatal(err)
	}
	own := find(t, objects(t, template(t)), "StatefulSet/vllm-tollkeeper")
	spec, container := own.podSpec(), own.container(t)
	if want := "data-vllm-tollkeeper-0"; pod.at("spec", "volumes", 0, "persistentVolumeClaim", "claimName") != want || own.at("spec", "volumeClaimTemplates", 0, "metadata", "name") != "data" {
		t.Errorf("it mounts %v", pod.at("spec", "volumes"))
	}
	if got, want := string(data[1]), env(container)["TOLLKEEPER_DATA"]; got != want {
		t.Errorf("it restores into %s, tollkeeper serves %s", got, want)
	}
	mounts := map[any]any{}
	for _, m := range list(container["volumeMounts"]) {
		mounts[at(m, "name")] = at(m, "mountPath")
	}
	for _, m := range list(pod.at("spec", "containers", 0, "volumeMounts")) {
		if mounts[at(m, "name")] != at(m, "mountPath") {
			t.Errorf("it mounts %v, tollkeeper's Pod %v", m, mounts)
		}
	}
	for what, pair := range map[string][2]any{
		"the Pod's rights":       {pod.at("spec", "securityContext"), spec["securityContext"]},
		"the container's rights": {pod.at("spec", "containers", 0, "securityContext"), container["securityContext"]},
		"the account's token":    {pod.at("spec", "automountServiceAccountToken"), spec["automountServiceAccountToken"]},
	} {
		if !same(t, pair[0], pair[1]) {
			t.Errorf("%s: %v, tollkeeper's %v", what, pair[0], pair[1])
		}
	}
}

// same compares what was read as JSON with what was read as YAML.
func same(t *testing.T, a, b any) bool {
	t.Helper()
	var plain [2]any
	for i, x := range []any{a, b} {
		text, err := json.Marshal(x)
		if err == nil {
			err = json.Unmarshal(text, &plain[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return reflect.DeepEqual(plain[0], plain[1])
}
