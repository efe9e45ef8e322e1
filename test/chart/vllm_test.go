package chart

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const vllm = "Deployment/vllm-llm-inference-app"

// TestBillingTelemetry: what vLLM has to be told so that each request has a span
// that arrives.
func TestBillingTelemetry(t *testing.T) {
	t.Parallel()
	c := find(t, objects(t, template(t)), vllm).container(t)
	e := env(c)
	for name, want := range map[string]string{
		"OTEL_TRACES_SAMPLER":                "always_on",
		"OTEL_SERVICE_NAME":                  "vllm-llm-inference-app",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
		"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT":  "60",
	} {
		if e[name] != want {
			t.Errorf("%s=%q, want %q", name, e[name], want)
		}
	}
	if queue, _ := strconv.Atoi(e["OTEL_BSP_MAX_QUEUE_SIZE"]); queue < 65536 {
		t.Errorf("the SDK's queue holds %d spans: bursts are dropped without a word", queue)
	}
	if delay, err := strconv.Atoi(e["OTEL_BSP_SCHEDULE_DELAY"]); err != nil || delay > 500 {
		t.Errorf("spans wait %d ms in memory, %v", delay, err)
	}
	if a := args(c); !slices.Contains(a, "--otlp-traces-endpoint=http://vllm-collector:4318/v1/traces") || a[0] != "facebook/opt-125m" {
		t.Errorf("args %q", a)
	}
}

// TestRefusals: a value that would break billing, or that contradicts another, is
// refused with a sentence that names it and says why.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ values, want string }{
		"sampler":              {`env: {OTEL_TRACES_SAMPLER: parentbased_always_on}`, "requests without a span"},
		"sampler in extraEnv":  {`vllm: {extraEnv: {OTEL_TRACES_SAMPLER: traceidratio}}`, `vllm.extraEnv.OTEL_TRACES_SAMPLER="traceidratio" must be always_on`},
		"sampler by reference": {`vllm: {extraEnv: {OTEL_TRACES_SAMPLER: {valueFrom: {configMapKeyRef: {name: a, key: b}}}}}`, "not a reference"},
		"SDK off":              {`env: {OTEL_SDK_DISABLED: "true"}`, "nothing would be billed"},
		"SDK off by a boolean": {`env: {OTEL_SDK_DISABLED: true}`, "nothing would be billed"},
		"no service name":      {`env: {OTEL_SERVICE_NAME: ""}`, "told apart"},
		"gRPC":                 {`env: {OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: grpc}`, "must be http/protobuf"},
		"endpoint":             {`env: {OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://x:4318"}`, "collector.external.tracesEndpoint"},
		"timeout":              {`env: {OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: 10}`, "at least 60"},
		"small queue":          {`env: {OTEL_BSP_MAX_QUEUE_SIZE: 2048}`, "at least 65536"},
		"long delay":           {`env: {OTEL_BSP_SCHEDULE_DELAY: 5000}`, "1 to 500"},
		"attribute limit":      {`env: {OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: 4}`, "token counts"},
		"propagators":          {`env: {OTEL_PROPAGATORS: b3}`, "tracecontext"},
		"Rust frontend":        {`env: {VLLM_USE_RUST_FRONTEND: 1}`, "Rust frontend"},
		"key in the open":      {`env: {VLLM_API_KEY: secret}`, "use vllm.apiKey"},
		"token in the open":    {`vllm: {extraEnv: {HF_TOKEN: secret}}`, "huggingface.existingSecret"},
		"instance id":          {`vllm: {resourceAttributes: {service.instance.id: one}}`, "billed as one"},
		"instance id in env":   {`env: {OTEL_RESOURCE_ATTRIBUTES: "a=b, service.instance.id=one"}`, "billed as one"},
		"model attribute":      {`vllm: {resourceAttributes: {gen_ai.request.model: other}}`, "untrue"},
		"no statistics":        {`vllm: {extraArgs: [--disable-log-stats]}`, "nothing it does would be billed"},
		"with an underscore":   {`vllm: {extraArgs: [--disable_log_stats]}`, "nothing it does would be billed"},
		"abbreviated":          {`vllm: {extraArgs: [--disable-log-st]}`, "nothing it does would be billed"},
		"other endpoint":       {`vllm: {extraArgs: ["--otlp-traces-endpoint=http://x"]}`, "not be billed"},
		"a file":               {`vllm: {extraArgs: [--config, a.yaml]}`, "cannot see into it"},
		"name as argument":     {`vllm: {extraArgs: [--served-model-name, a]}`, "use vllm.servedModelNames"},
		"two names":            {`env: {HUGGING_FACE_HUB_TOKEN: a, HF_TOKEN: b}`, "which one is meant"},
		"token by reference":   {`env: {HUGGING_FACE_HUB_TOKEN: {valueFrom: {secretKeyRef: {name: a, key: b}}}}`, "use huggingface.existingSecret"},
		"one path twice":       {`collector: {extraVolumes: [{name: x, emptyDir: {}}], extraVolumeMounts: [{name: x, mountPath: /x}, {name: x, mountPath: /x}]}`, "/x is taken"},
		"path with dots":       {`collector: {extraVolumes: [{name: x, emptyDir: {}}], extraVolumeMounts: [{name: x, mountPath: /var/lib/x/../otelcol}]}`, "without .. in it"},
		"a port that is all":   {`networkPolicy: {tollkeeperTo: [{ports: [{prt: 5}]}]}`, "'prt' not allowed"},
		"spread misspelt":      {`vllm: {topologySpreadConstraints: [{maxSkew: 1, topolgyKey: zone, whenUnsatisfiable: DoNotSchedule}]}`, "missing property 'topologyKey'"},
		"label's name":         {`vllm: {podLabels: {"a b": c}}`, "'a b' not allowed"},
		"Prometheus' own path": {`prometheus: {extraVolumes: [{name: x, emptyDir: {}}], extraVolumeMounts: [{name: x, mountPath: /prometheus}]}`, "/prometheus is taken"},
		"Prometheus' own job":  {`prometheus: {extraScrapeConfigs: [{job_name: pods}]}`, "another name than pods"},
		"two tokens":           {`{env: {HUGGING_FACE_HUB_TOKEN: a}, huggingface: {existingSecret: b}}`, "Keep one"},
		"two keys":             {`vllm: {apiKey: {value: a, existingSecret: b}}`, "Keep one"},
		"two ClickHouses":      {`clickhouse: {external: {endpoint: "http://x:8123"}}`, "which ClickHouse"},
		"one volume for two":   {`vllm: {replicas: 2}`, "ReadWriteMany"},
		"queues over half":     {`collector: {queues: {tollkeeper: 9Gi}}`, "more than half"},
		"size without a unit":  {`collector: {persistence: {size: 10 GB}}`, "such as 10Gi"},
		"small body limit":     {`tollkeeper: {config: {ingest: {max_body_bytes: 16777216}}}`, "less than four times"},
		"keys thrown away":     {`tollkeeper: {config: {ingest: {on_bad_credential: reject}}}`, "throws away"},
		"open ingest":          {`tollkeeper: {config: {ingest: {auth: none}}}`, "anybody in the cluster"},
		"password with a $":    {`clickhouse: {auth: {password: "pa$$word"}}`, "must not contain $, <"},
		"key with a $":         {`tollkeeper: {keys: {current: "a${b}"}}`, "must not contain $, which the Collector"},
		"no time to drain":     {`vllm: {shutdown: {timeoutSeconds: 0}}`, "/vllm/shutdown/timeoutSeconds': value must be '1 or more: with 0 vLLM aborts what runs"},
		"no Collector":         {`collector: {replicas: 0}`, "/collector/replicas': value must be '1 or more: without a Collector usage is lost"},
		"nowhere for spans":    {`collector: {enabled: false}`, "/collector/external/tracesEndpoint': value must be 'http://HOST:4318/v1/traces"},
		"two Prometheuses":     {`externalPrometheus: {url: "http://x:9090"}`, "/prometheus/enabled': value must be 'false, since externalPrometheus.url names another"},
		"ClickHouse by TCP":    {`clickhouse: {enabled: false, external: {endpoint: "tcp://x:9000"}}`, "value must be 'http://HOST:8123"},
		"half a digest":        {`vllm: {image: {digest: "sha256:abc"}}`, "/vllm/image/digest': value must be 'sha256: and 64"},
		"no model":             {`vllm: {model: ""}`, "such as facebook/opt-125m"},
		// What Python reads as no number is the SDK's default: 2048 spans, 5 seconds.
		"queue in hexadecimal":    {`env: {OTEL_BSP_MAX_QUEUE_SIZE: "0x20000"}`, "whole number of at least 65536"},
		"queue with a point":      {`env: {OTEL_BSP_MAX_QUEUE_SIZE: "131072.0"}`, "whole number of at least 65536"},
		"delay in hexadecimal":    {`env: {OTEL_BSP_SCHEDULE_DELAY: "0x10"}`, "1 to 500"},
		"short for an endpoint":   {`vllm: {extraArgs: ["--otlp=http://x:4318"]}`, "--otlp-traces-endpoint is refused"},
		"shorter":                 {`vllm: {extraArgs: ["--shut", "5"]}`, "--shutdown-timeout is refused"},
		"other address":           {`vllm: {extraArgs: ["--host", "127.0.0.1"]}`, "ask at the Pod's address"},
		"TLS":                     {`vllm: {extraArgs: ["--ssl-keyfile=/k"]}`, "end TLS in front of it"},
		"proxy":                   {`env: {http_proxy: "http://x:1"}`, "use global.proxy"},
		"proxy of the Collector":  {`collector: {extraEnv: {HTTP_PROXY: "http://x:1"}}`, "collector.extraEnv.HTTP_PROXY is refused: spans would go by a proxy"},
		"no proxy for nobody":     {`{global: {proxy: {http: "http://x:1"}}, env: {NO_PROXY: ""}}`, "use global.proxy"},
		"Pod's name":              {`env: {POD_NAME: mine}`, "usage is told apart by"},
		"authorization in traces": {`{env: {OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS: cookie}, vllm: {instrumentation: {enabled: true}}}`, "must contain authorization"},
		"distribution away":       {`{env: {PYTHONPATH: /mine}, vllm: {instrumentation: {enabled: true}}}`, "must contain /opt/tollkeeper"},
		"session away":            {`{env: {PYTHONPATH: /mine}}`, "must contain /opt/tollkeeper"},
		"another session":         {`{env: {OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER: mine}}`, "vllm.exporter.patient=false"},
		"attribute in a key":      {`vllm: {resourceAttributes: {"a=1,gen_ai.request.model": other}}`, "/vllm/resourceAttributes': additional properties"},
		"attributes as a number":  {`env: {OTEL_RESOURCE_ATTRIBUTES: 5}`, `"5" is no key=value`},
		"one adapter twice":       {`vllm: {lora: {modules: [{name: a, path: /x}, {name: a, path: /y}]}}`, "is another model's already"},
		"adapter like its model":  {`vllm: {lora: {modules: [{name: "facebook/opt-125m", path: /x}]}}`, "is another model's already"},
		"model like an argument":  {`vllm: {model: "--help"}`, "such as facebook/opt-125m"},
		"GPUs twice":              {`vllm: {resources: {limits: {nvidia.com/gpu: 4}}}`, "how many are meant"},
		"GPU without a vendor":    {`vllm: {gpu: {resource: "n vidia/gpu"}}`, "what the device plugin calls it"},
		"memory in words":         {`vllm: {resources: {limits: {memory: lots}}}`, "such as 2, 500m or 4Gi"},
		"two Collectors":          {`collector: {external: {tracesEndpoint: "http://x:4318/v1/traces"}}`, "empty, since collector.enabled is true: which Collector is meant?"},
		"other configuration":     {`collector: {extraArgs: ["--config=/other"]}`, "could not see whether usage is still kept"},
		"overridden setting":      {`collector: {extraArgs: ["-set=processors.batch.timeout=1s"]}`, "could not see whether usage is still kept"},
		"small requests":          {`collector: {maxRequestSize: 1Mi}`, "is thrown away, with its usage"},
		"queue below a request":   {`collector: {queues: {tollkeeper: 1Mi}}`, "would not fit into it and be refused for ever"},
		"mount over the queue":    {`collector: {extraVolumes: [{name: x, emptyDir: {}}], extraVolumeMounts: [{name: x, mountPath: /var/lib/otelcol/tollkeeper}]}`, "would be hidden"},
		"mount of nothing":        {`vllm: {extraVolumeMounts: [{name: x, mountPath: /x}]}`, `there is no volume "x": add it to vllm.extraVolumes`},
		"journal elsewhere":       {`tollkeeper: {extraArgs: ["--data=/tmp/x"]}`, "use tollkeeper.config"},
		"settings by variables":   {`tollkeeper: {extraEnv: {TOLLKEEPER_INGEST_ON_BAD_CREDENTIAL: reject}}`, "stand over what the chart sets, unseen"},
		"body limit as text":      {`tollkeeper: {config: {ingest: {max_body_bytes: 64MiB}}}`, "max_body_bytes': got string, want integer"},
		"no key":                  {`tollkeeper: {keys: {current: ""}}`, "tollkeeper takes no usage without keys"},
		"key with a blank":        {`tollkeeper: {keys: {current: "a b"}}`, "or blanks: choose another"},
		"one key for both":        {`tollkeeper: {keys: {current: abcdefghijklmnop, admin: abcdefghijklmnop}}`, "could change prices and invoices"},
		"no password":             {`clickhouse: {auth: {password: ""}}`, "lets nobody in"},
		"password in a URL":       {`clickhouse: {enabled: false, external: {endpoint: "http://u:p@x:8123"}}`, "User and password are clickhouse.auth"},
		"user with a colon":       {`clickhouse: {auth: {username: "a: b"}}`, "a user of ClickHouse"},
		"TTL in words":            {`clickhouse: {ttl: soon}`, "such as 30d"},
		"size 0":                  {`tollkeeper: {persistence: {size: 0Gi}}`, "such as 10Gi"},
		"negative size":           {`clickhouse: {persistence: {size: -5Gi}}`, "such as 10Gi"},
		"a size of ten bytes":     {`tollkeeper: {persistence: {size: 10}}`, "/tollkeeper/persistence/size': got number, want string"},
		"tag as a number":         {`vllm: {image: {tag: 1.10}}`, "put it into quotes"},
		"no tag":                  {`clickhouse: {image: {tag: ""}}`, "it has to be given"},
		"registry with a slash":   {`global: {imageRegistry: registry.example.com/}`, "without a slash at the end"},
		"registry with a scheme":  {`global: {imageRegistry: "https://registry.example.com"}`, "without https://"},
		"repository with a tag":   {`vllm: {image: {repository: "vllm/vllm-openai:v1"}}`, "without its registry, tag and digest"},
		"affinity misspelt":       {`vllm: {affinity: {nodeAffinty: {}}}`, "'nodeAffinty' not allowed"},
		"a rule that opens all":   {`networkPolicy: {tollkeeperTo: [{too: []}]}`, "'too' not allowed"},
		"variable without value":  {`env: {A: {b: c}}`, "/env/A': missing property 'valueFrom'"},
		"Secret's name":           {`clickhouse: {auth: {existingSecret: "My Secret"}}`, "small letters, digits, - and . between them"},
		"label":                   {`vllm: {podLabels: {team: "a b"}}`, "a label as Kubernetes has it"},
		"timeout over interval":   {`prometheus: {scrape: {interval: 5s, timeout: 30s}}`, "Prometheus would not start"},
		"more than the volume":    {`prometheus: {persistence: {enabled: true, size: 5Gi}}`, "would be full before anything is dropped"},
		"listen":                  {`tollkeeper: {config: {listen: {api: "0.0.0.0:1"}}}`, "depend on it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := refused(t, values(t, c.values)...); !strings.Contains(got, c.want) {
				t.Errorf("it says\n%s\nwithout %q", got, c.want)
			}
		})
	}
	for release, want := range map[string]string{
		strings.Repeat("a", 41): "choose a shorter one", "my.vllm": "that begins with a letter", "1vllm": "that begins with a letter", "true": "is no word of YAML", "y": "is no word of YAML",
	} {
		t.Run("release "+release, func(t *testing.T) {
			t.Parallel()
			if _, got := helm(t, "template", release, chart, "--kube-version", "1.34.0"); !strings.Contains(got, want) {
				t.Errorf("it says\n%s\nwithout %q", got, want)
			}
		})
	}
}

// TestShutdownOrder: sleep, then requests, then spans, and time for all of it.
func TestShutdownOrder(t *testing.T) {
	t.Parallel()
	for _, s := range [][3]int{{5, 60, 30}, {15, 600, 40}, {0, 1, 30}} {
		o := find(t, objects(t, template(t, "--set", fmt.Sprintf(
			"vllm.shutdown.preStopSeconds=%d,vllm.shutdown.timeoutSeconds=%d,vllm.shutdown.flushSeconds=%d", s[0], s[1], s[2]))), vllm)
		c := o.container(t)
		if got, _ := at(c, "lifecycle", "preStop", "sleep", "seconds").(int); got != s[0] { // none where there is nothing to sleep
			t.Errorf("preStop sleeps %d s, want %d", got, s[0])
		}
		if want := fmt.Sprintf("--shutdown-timeout=%d", s[1]); !slices.Contains(args(c), want) {
			t.Errorf("no %s in %q", want, args(c))
		}
		if got, want := o.podSpec()["terminationGracePeriodSeconds"], s[0]+s[1]+s[2]+10; got != want {
			t.Errorf("the grace period is %v s, want %d: what is left then is killed, with its usage", got, want)
		}
	}
}

// TestResourceAttributes reads the variable as the SDK does.
func TestResourceAttributes(t *testing.T) {
	t.Parallel()
	c := find(t, objects(t, template(t, values(t, `
env: {OTEL_RESOURCE_ATTRIBUTES: "team=search,k8s.pod.name=mine,cost=100%25"}
vllm:
  resourceAttributes: {note: "a,b=c d+e $(POD_NAME) é", team: "ads"}
`)...)), vllm).container(t)
	got := map[string]string{}
	for pair := range strings.SplitSeq(env(c)["OTEL_RESOURCE_ATTRIBUTES"], ",") {
		key, value, ok := strings.Cut(pair, "=")
		plain, err := url.PathUnescape(value)
		if _, twice := got[key]; twice || !ok || err != nil {
			t.Errorf("%q, %v", pair, err)
		}
		got[key] = plain
	}
	want := map[string]string{
		"team": "ads", "cost": "100%", "note": "a,b=c d+e $(POD_NAME) é", "gen_ai.request.model": "facebook/opt-125m",
		"k8s.pod.name": "$(POD_NAME)", "k8s.namespace.name": "$(POD_NAMESPACE)", "k8s.node.name": "$(NODE_NAME)",
		"k8s.deployment.name": "vllm-llm-inference-app", "helm.release.name": "vllm",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if n := strings.Count(env(c)["OTEL_RESOURCE_ATTRIBUTES"], "$("); n != 3 {
		t.Errorf("%d references, of which 3 are ours: Kubernetes would fill the others in", n)
	}
	// A variable can be referred to only after it was set.
	names := []string{}
	for _, e := range list(c["env"]) {
		names = append(names, at(e, "name").(string))
	}
	for _, name := range []string{"POD_NAME", "POD_NAMESPACE", "NODE_NAME"} {
		if i := slices.Index(names, name); i < 0 || i > slices.Index(names, "OTEL_RESOURCE_ATTRIBUTES") {
			t.Errorf("%s does not come before OTEL_RESOURCE_ATTRIBUTES: %v", name, names)
		}
	}
}

// TestModelOnlyWhereTrue: spans name no model, so one is named for all of them
// only where there is no other.
func TestModelOnlyWhereTrue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ values, want string }{
		"one model":        {``, "facebook%2Fopt-125m"},
		"one other name":   {`vllm: {servedModelNames: [opt]}`, "opt"},
		"two names":        {`vllm: {servedModelNames: [opt, small]}`, ""},
		"LoRA":             {`vllm: {lora: {modules: [{name: sql-lora, path: /models/sql-lora}]}}`, ""},
		"LoRA abbreviated": {`vllm: {extraArgs: [--enable_lor]}`, ""},
		"LoRA at runtime":  {`{vllm: {extraArgs: [--enable-lora]}, env: {VLLM_ALLOW_RUNTIME_LORA_UPDATING: "True"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := env(find(t, objects(t, template(t, values(t, c.values)...)), vllm).container(t))
			_, after, _ := strings.Cut(e["OTEL_RESOURCE_ATTRIBUTES"], "gen_ai.request.model=")
			if got, _, _ := strings.Cut(after, ","); got != c.want {
				t.Errorf("gen_ai.request.model=%q, want %q", got, c.want)
			}
		})
	}
}

// TestDemoCustomer: in demo mode all usage is one customer's, by the name that the
// spans really have.
func TestDemoCustomer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ values, want string }{
		"the chart's": {``, "vllm-llm-inference-app"},
		"env":         {`env: {OTEL_SERVICE_NAME: opt}`, "opt"},
		"extraEnv":    {`{env: {OTEL_SERVICE_NAME: opt}, vllm: {extraEnv: {OTEL_SERVICE_NAME: 125}}}`, "125"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := objects(t, template(t, values(t, c.values)...))
			var config object
			text, _ := find(t, all, "ConfigMap/vllm-tollkeeper").at("data", "tollkeeper.yaml").(string)
			if err := yaml.Unmarshal([]byte(text), &config); err != nil {
				t.Fatal(err)
			}
			match := config.at("attribution", "resource", 0, "match", "service.name")
			if spans := env(find(t, all, vllm).container(t))["OTEL_SERVICE_NAME"]; spans != c.want || match != c.want {
				t.Errorf("spans say %q, and tollkeeper looks for %#v; want %q", spans, match, c.want)
			}
		})
	}
}

// TestToken: the walk-through's --set ends in a Secret, under both names that
// libraries read; an empty one makes none.
func TestToken(t *testing.T) {
	t.Parallel()
	const secret = "Secret/vllm-llm-inference-app-huggingface"
	rendered := template(t, "--set", "env.HUGGING_FACE_HUB_TOKEN=hf_abc")
	if strings.Contains(rendered, "hf_abc") {
		t.Error("the token stands in the open")
	}
	all := objects(t, rendered)
	token, _ := find(t, all, secret).at("data", "token").(string)
	if b, err := base64.StdEncoding.DecodeString(token); err != nil || string(b) != "hf_abc" {
		t.Errorf("token %q, %v", b, err)
	}
	if got := tokenRefs(find(t, all, vllm).container(t)); got != "HF_TOKEN HUGGING_FACE_HUB_TOKEN" {
		t.Errorf("variables %q", got)
	}
	for _, args := range [][]string{{"--set", "env.HUGGING_FACE_HUB_TOKEN="}, {"--set", "huggingface.existingSecret=mine"}} {
		if strings.Contains(template(t, args...), "-huggingface") {
			t.Errorf("%v makes a Secret", args)
		}
	}
	all = objects(t, template(t, "--set", "huggingface.existingSecret=mine"))
	if got := tokenRefs(find(t, all, vllm).container(t)); got != "HF_TOKEN HUGGING_FACE_HUB_TOKEN" {
		t.Errorf("with a Secret of the user's: variables %q", got)
	}
}

func tokenRefs(c map[string]any) string {
	var names []string
	for _, e := range list(c["env"]) {
		if at(e, "valueFrom", "secretKeyRef", "key") == "token" {
			names = append(names, at(e, "name").(string))
		}
	}
	return strings.Join(names, " ")
}

// TestStrategy: where the next Pod cannot have what this one holds, this one ends first.
func TestStrategy(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"vllm.gpu.count=1,vllm.cache.enabled=false":                                                       "Recreate",
		"vllm.gpu.count=0,vllm.cache.enabled=true":                                                        "Recreate",
		"vllm.gpu.count=0,vllm.cache.enabled=false":                                                       "RollingUpdate",
		"vllm.gpu.count=1,vllm.cache.enabled=true,vllm.replicas=2,vllm.cache.accessModes={ReadWriteMany}": "RollingUpdate",
	} {
		if got := find(t, objects(t, template(t, "--set", set)), vllm).at("spec", "strategy", "type"); got != want {
			t.Errorf("%s: %v, want %s", set, got, want)
		}
	}
}

// TestGPU: count and resource's name as they are given.
func TestGPU(t *testing.T) {
	t.Parallel()
	c := find(t, objects(t, template(t, "--set", `vllm.gpu.count=2,vllm.gpu.resource=amd\.com/gpu`)), vllm).container(t)
	if at(c, "resources", "limits", "amd.com/gpu") != 2 || at(c, "resources", "limits", "nvidia.com/gpu") != nil {
		t.Errorf("resources %v", c["resources"])
	}
	c = find(t, objects(t, template(t, "--set", "vllm.gpu.count=0")), vllm).container(t)
	if at(c, "resources", "limits") != nil {
		t.Errorf("without a GPU: resources %v", c["resources"])
	}
}
