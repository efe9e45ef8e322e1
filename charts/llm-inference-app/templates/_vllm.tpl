{{/*
What vLLM is told so that its usage can be billed, and the refusal of values
that would break it. A guard's sentence says what would be lost.
*/}}

{{- define "vllm.service" -}}{{ include "app.name" (dict "root" . "component" "vllm") }}{{- end -}}

{{/* What vLLM's spans call it: the chart's name, or the user's. */}}
{{- define "vllm.serviceName" -}}
{{- $given := get (.Values.vllm.extraEnv | default dict) "OTEL_SERVICE_NAME" | default (get (.Values.env | default dict) "OTEL_SERVICE_NAME") -}}
{{- include "app.text" ($given | default (include "vllm.service" .)) -}}
{{- end -}}

{{/* Where vLLM sends its spans. */}}
{{- define "vllm.tracesEndpoint" -}}
{{- if .Values.collector.enabled -}}
http://{{ include "app.name" (dict "root" . "component" "collector") }}:4318/v1/traces
{{- else -}}
{{ .Values.collector.external.tracesEndpoint }}
{{- end -}}
{{- end -}}

{{/* The names that vLLM answers to, as a JSON list. */}}
{{- define "vllm.servedNames" -}}
{{- toJson (.Values.vllm.servedModelNames | default (list .Values.vllm.model)) -}}
{{- end -}}

{{/*
The model of every span, or nothing. vLLM's spans name no model, so one that is
not the only one would be billed for the others' usage.
*/}}
{{- define "vllm.onlyModel" -}}
{{- $names := include "vllm.servedNames" . | fromJsonArray -}}
{{- $args := include "vllm.argNames" . | fromJsonArray -}}
{{- $lora := or .Values.vllm.lora.modules (get (.Values.env | default dict) "VLLM_ALLOW_RUNTIME_LORA_UPDATING") (get (.Values.vllm.extraEnv | default dict) "VLLM_ALLOW_RUNTIME_LORA_UPDATING") -}}
{{- range $args -}}
{{- if and (gt (len .) 8) (hasPrefix . "--enable-lora") }}{{ $lora = true }}{{ end -}}
{{- end -}}
{{- if and (eq (len $names) 1) (not $lora) -}}
{{ first $names }}
{{- end -}}
{{- end -}}

{{/* The names of the extra arguments as vLLM's parser sees them: --a_b=c is --a-b. A JSON list. */}}
{{- define "vllm.argNames" -}}
{{- $names := list -}}
{{- range .Values.vllm.extraArgs -}}
{{- $name := include "app.text" . -}}
{{- if hasPrefix "--" $name -}}
{{- $names = append $names (regexReplaceAll "[=.].*$" $name "" | replace "_" "-") -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* A model for each name, and a GPU from one place. */}}
{{- define "vllm.guardModels" -}}
{{- $names := include "vllm.servedNames" . | fromJsonArray -}}
{{- range .Values.vllm.lora.modules -}}
{{- if has .name $names -}}
{{- fail (printf "vllm.lora.modules: the name %q is another model's already, so nobody could ask for this one: choose another" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $gpu := .Values.vllm.gpu -}}
{{- range $kind := list "limits" "requests" -}}
{{- if and (gt (int $gpu.count) 0) (hasKey (get ($.Values.vllm.resources | default dict) $kind | default dict) $gpu.resource) -}}
{{- fail (printf "vllm.resources.%s names %s, and vllm.gpu.count is %d: how many are meant? Use vllm.gpu, or set vllm.gpu.count=0" $kind $gpu.resource (int $gpu.count)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Arguments that the chart sets itself, or that would take usage out of the bill. */}}
{{- define "vllm.guardArgs" -}}
{{- $why := dict
  "--disable-log-stats" "without its statistics vLLM makes no llm_request spans, and nothing it does would be billed"
  "--otlp-traces-endpoint" "spans would go elsewhere than to the Collector, and not be billed; to use a Collector of your own, set collector.enabled=false and collector.external.tracesEndpoint"
  "--config" "a file can hold settings that break billing, and this chart cannot see into it; write them as vllm.extraArgs"
  "--served-model-name" "the name stands on the bill, so the chart has to know it; use vllm.servedModelNames"
  "--model" "the name stands on the bill, so the chart has to know it; use vllm.model"
  "--lora-modules" "the name stands on the bill, so the chart has to know it; use vllm.lora.modules"
  "--shutdown-timeout" "the Pod's grace period is reckoned from it; use vllm.shutdown.timeoutSeconds"
  "--api-key" "whoever can read the Pod could read it; use vllm.apiKey"
  "--port" "the Service, the probes and Prometheus expect 8000"
  "--host" "the Service, the probes and Prometheus ask at the Pod's address"
  "--uds" "the Service, the probes and Prometheus ask at the Pod's address"
  "--ssl-keyfile" "the Service, the probes and Prometheus speak plain HTTP; end TLS in front of it"
  "--ssl-certfile" "the Service, the probes and Prometheus speak plain HTTP; end TLS in front of it"
  "--headless" "without its API server vLLM answers nobody"
  "--grpc" "vLLM's gRPC server makes no llm_request spans, and nothing it does would be billed"
-}}
{{- range $arg := include "vllm.argNames" . | fromJsonArray -}}
{{- range $name, $reason := $why -}}
{{- /* argparse takes an unambiguous beginning for the whole: --otlp is --otlp-traces-endpoint */ -}}
{{- if and (gt (len $arg) 2) (hasPrefix $arg $name) -}}
{{- fail (printf "vllm.extraArgs: %s is refused: %s" $name $reason) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The billing variables, and what is said when one is set to break billing. */}}
{{- define "vllm.guardEnv" -}}
{{- range $where := list "env" "vllm.extraEnv" -}}
{{- range $name, $given := ternary $.Values.env $.Values.vllm.extraEnv (eq $where "env") -}}
{{- include "app.guardProxy" (dict "where" $where "name" $name) -}}
{{- if not (kindIs "invalid" $given) -}}
{{- $value := "" -}}
{{- if kindIs "map" $given -}}
{{- if or (hasPrefix "OTEL_" $name) (eq $name "VLLM_USE_RUST_FRONTEND") -}}
{{- fail (printf "%s.%s: write its value here, not a reference: the chart has to see that billing works with it" $where $name) -}}
{{- end -}}
{{- else -}}
{{- $value = include "app.text" $given | trim -}}
{{- end -}}
{{- $no := "" -}}
{{- $number := int64 (regexFind "^[0-9]{1,9}$" $value) -}}
{{- if has $name (list "POD_NAME" "POD_NAMESPACE" "NODE_NAME") -}}
{{- $no = "is refused: the chart fills it in with the Pod's own, which usage is told apart by" -}}
{{- else if and (eq $name "OTEL_TRACES_SAMPLER") (ne $value "always_on") -}}
{{- $no = "must be always_on: any other sampler leaves requests without a span, and they would not be billed" -}}
{{- else if and (eq $name "OTEL_SDK_DISABLED") (eq (lower $value) "true") -}}
{{- $no = "must not be true: vLLM would send no spans, and nothing would be billed" -}}
{{- else if and (eq $name "OTEL_SERVICE_NAME") (eq $value "") -}}
{{- $no = "must not be empty: engines could not be told apart on the bill" -}}
{{- else if and (has $name (list "OTEL_EXPORTER_OTLP_PROTOCOL" "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")) (ne $value "http/protobuf") -}}
{{- $no = "must be http/protobuf: the endpoint that vLLM is given speaks nothing else, and no span would arrive" -}}
{{- else if has $name (list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") -}}
{{- $no = "is refused: spans would go elsewhere than to the Collector, and not be billed; to use a Collector of your own, set collector.enabled=false and collector.external.tracesEndpoint" -}}
{{- else if and (has $name (list "OTEL_EXPORTER_OTLP_TIMEOUT" "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")) (lt $number 60) -}}
{{- $no = "must be a whole number of at least 60 (seconds): where vllm.exporter.patient is false, a batch is sent again for so long and dropped after it" -}}
{{- else if and (eq $name "OTEL_BSP_MAX_QUEUE_SIZE") (lt $number 65536) -}}
{{- $no = "must be a whole number of at least 65536: the SDK drops, without a word, what does not fit into its queue" -}}
{{- else if and (eq $name "OTEL_BSP_SCHEDULE_DELAY") (or (gt $number 500) (lt $number 1)) -}}
{{- $no = "must be 1 to 500 (milliseconds): so much usage is in memory only, and is lost when the process is killed" -}}
{{- else if and (eq $name "OTEL_BSP_MAX_EXPORT_BATCH_SIZE") (or (gt $number 4096) (lt $number 1)) -}}
{{- $no = "must be 1 to 4096: larger requests could be more than the Collector takes" -}}
{{- else if and (regexMatch "^OTEL_(SPAN_)?(ATTRIBUTE|EVENT|LINK)_(COUNT|VALUE_LENGTH)_LIMIT$" $name) (ne $value "") (lt $number 128) -}}
{{- $no = "must be at least 128, or not set: the token counts are attributes, and a limit cuts them off" -}}
{{- else if and (eq $name "OTEL_PROPAGATORS") (not (has "tracecontext" (splitList "," $value))) -}}
{{- $no = "must contain tracecontext: the caller's trace and the signed customer come by it" -}}
{{- else if and (eq $name "VLLM_USE_RUST_FRONTEND") (not (has (lower $value) (list "" "0" "false"))) -}}
{{- $no = "is refused: vLLM's Rust frontend makes no llm_request spans, and nothing it does would be billed" -}}
{{- else if and (eq $name "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS") (not (has "authorization" (splitList "," (lower $value)))) -}}
{{- $no = "must contain authorization: a key could end in a trace" -}}
{{- else if and (eq $name "PYTHONPATH") (include "vllm.python" $) (not (has "/opt/tollkeeper" (splitList ":" $value))) -}}
{{- $no = "must contain /opt/tollkeeper: what lies there sends spans again while the Collector is away, and leaves out a span for each message of a stream" -}}
{{- else if and (hasPrefix "OTEL_PYTHON_EXPORTER_OTLP_HTTP_" $name) (hasSuffix "_CREDENTIAL_PROVIDER" $name) $.Values.vllm.exporter.patient (ne $value "patient") -}}
{{- $no = "must be patient: another session drops a batch when the Collector is away for half a minute; to use it all the same, set vllm.exporter.patient=false" -}}
{{- else if eq $name "VLLM_API_KEY" -}}
{{- $no = "is refused: whoever can read the Pod could read it; use vllm.apiKey" -}}
{{- else if and (eq $where "vllm.extraEnv") (has $name (list "HUGGING_FACE_HUB_TOKEN" "HF_TOKEN")) -}}
{{- $no = "is refused: whoever can read the Pod could read it; use env.HUGGING_FACE_HUB_TOKEN or huggingface.existingSecret, which end in a Secret" -}}
{{- end -}}
{{- if $no -}}{{- fail (printf "%s.%s=%q %s" $where $name $value $no) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Hugging Face token that values hold, or nothing. */}}
{{- define "vllm.token" -}}
{{- $env := .Values.env | default dict -}}
{{- $token := get $env "HUGGING_FACE_HUB_TOKEN" | default (get $env "HF_TOKEN") -}}
{{- if ne (toString $token) (get $env "HF_TOKEN" | default $token | toString) -}}
{{- fail "env.HUGGING_FACE_HUB_TOKEN and env.HF_TOKEN are both set, to different tokens: which one is meant? Keep one" -}}
{{- end -}}
{{- if kindIs "map" $token -}}
{{- fail "env.HUGGING_FACE_HUB_TOKEN is the token itself; to take it from a Secret, use huggingface.existingSecret" -}}
{{- end -}}
{{- if and $token .Values.huggingface.existingSecret -}}
{{- fail "env.HUGGING_FACE_HUB_TOKEN and huggingface.existingSecret are both set: which token is meant? Keep one" -}}
{{- end -}}
{{- with $token }}{{ include "app.text" . }}{{ end -}}
{{- end -}}

{{/*
OTEL_RESOURCE_ATTRIBUTES: the user's, then ours, which the Pod's own fields fill
in. Values are percent-encoded, since a comma or an equals sign would part them.
*/}}
{{- define "vllm.resourceAttributes" -}}
{{- $ours := list "k8s.pod.name" "k8s.namespace.name" "k8s.node.name" "k8s.deployment.name" "helm.release.name" -}}
{{- $all := list -}}
{{- $given := get (.Values.vllm.extraEnv | default dict) "OTEL_RESOURCE_ATTRIBUTES" | default (get (.Values.env | default dict) "OTEL_RESOURCE_ATTRIBUTES") | default "" | toString -}}
{{- range compact (splitList "," $given) -}}
{{- $key := trim (first (splitList "=" .)) -}}
{{- include "vllm.guardAttribute" (dict "key" $key "where" "OTEL_RESOURCE_ATTRIBUTES") -}}
{{- if not (contains "=" .) -}}
{{- fail (printf "OTEL_RESOURCE_ATTRIBUTES: %q is no key=value" .) -}}
{{- end -}}
{{- if not (has $key (concat $ours (keys $.Values.vllm.resourceAttributes))) -}}
{{- /* $( would be read by Kubernetes as one of its own variables. */ -}}
{{- $all = append $all (trim . | replace "$" "%24") -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := .Values.vllm.resourceAttributes -}}
{{- include "vllm.guardAttribute" (dict "key" $key "where" "vllm.resourceAttributes") -}}
{{- if not (has $key $ours) -}}
{{- $all = append $all (printf "%s=%s" $key (include "app.text" $value | urlquery | replace "+" "%20")) -}}
{{- end -}}
{{- end -}}
{{- with include "vllm.onlyModel" . -}}
{{- $all = append $all (printf "gen_ai.request.model=%s" (urlquery . | replace "+" "%20")) -}}
{{- end -}}
{{- $all = concat $all (list "k8s.pod.name=$(POD_NAME)" "k8s.namespace.name=$(POD_NAMESPACE)" "k8s.node.name=$(NODE_NAME)" (printf "k8s.deployment.name=%s" (include "vllm.service" .)) (printf "helm.release.name=%s" .Release.Name)) -}}
{{- join "," $all -}}
{{- end -}}

{{- define "vllm.guardAttribute" -}}
{{- if eq .key "service.instance.id" -}}
{{- fail (printf "%s: service.instance.id is refused: the SDK makes one for each process, and usage is told apart by it; two processes with the same one would be billed as one" .where) -}}
{{- else if eq .key "gen_ai.request.model" -}}
{{- fail (printf "%s: gen_ai.request.model is refused: the chart sets it where vLLM serves one model under one name; with LoRA modules or several names it would be untrue of some requests" .where) -}}
{{- else if eq .key "service.name" -}}
{{- fail (printf "%s: service.name is refused: set env.OTEL_SERVICE_NAME, which stands over it" .where) -}}
{{- end -}}
{{- end -}}

{{/* Seconds from the signal to the end: sleep, requests in flight, their spans, and a margin. */}}
{{- define "vllm.grace" -}}
{{- $s := .Values.vllm.shutdown -}}
{{- add (int64 $s.preStopSeconds) (int64 $s.timeoutSeconds) (int64 $s.flushSeconds) 10 -}}
{{- end -}}

{{/* The environment of vLLM; of a name that comes twice, the last counts: ours can be set by the user, within the guards, but for what is made of Secrets and the Pod's fields. */}}
{{- define "vllm.env" -}}
{{- $ours := dict
  "OTEL_SERVICE_NAME" (include "vllm.service" .)
  "OTEL_TRACES_SAMPLER" "always_on"
  "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" "http/protobuf"
  "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" "60"
  "OTEL_BSP_MAX_QUEUE_SIZE" "65536"
  "OTEL_BSP_SCHEDULE_DELAY" "500"
-}}
{{- if include "vllm.python" . -}}
{{- $ours = merge $ours (include "vllm.pythonEnv" . | fromYaml) -}}
{{- end -}}
{{- if and .Values.vllm.cache.enabled (not .Values.simulator.enabled) -}}
{{- $_ := set $ours "HF_HOME" "/cache/huggingface" -}}
{{- end -}}
{{- if .Values.vllm.nonroot -}}
{{- /* Libraries write below the home directory, and root's is not theirs. */ -}}
{{- $_ := set $ours "HOME" "/home/vllm" -}}
{{- end -}}
{{- $given := omit (.Values.env | default dict) "HUGGING_FACE_HUB_TOKEN" "HF_TOKEN" "OTEL_RESOURCE_ATTRIBUTES" -}}
{{- $extra := omit (.Values.vllm.extraEnv | default dict) "OTEL_RESOURCE_ATTRIBUTES" -}}
{{- range list $ours $given $extra }}
{{- include "app.extraEnv" (dict "values" (dict "extraEnv" .)) }}
{{- end }}
{{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "NODE_NAME" "spec.nodeName" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
{{- end }}
# After the variables that it is made of.
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "vllm.resourceAttributes" . | quote }}
{{- if not .Values.simulator.enabled }}
{{- include "vllm.tokenEnv" . }}
{{- include "vllm.apiKeyEnv" . }}
{{- end }}
{{- end -}}

{{/* The Hugging Face token under both names that libraries read. */}}
{{- define "vllm.tokenEnv" }}
{{- $secret := .Values.huggingface.existingSecret -}}
{{- $key := .Values.huggingface.key -}}
{{- if include "vllm.token" . -}}
{{- $secret = printf "%s-huggingface" (include "vllm.service" .) -}}
{{- $key = "token" -}}
{{- end -}}
{{- if $secret }}
{{- range list "HF_TOKEN" "HUGGING_FACE_HUB_TOKEN" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "vllm.apiKeyEnv" }}
{{- $k := .Values.vllm.apiKey -}}
{{- if and $k.value $k.existingSecret -}}
{{- fail "vllm.apiKey.value and vllm.apiKey.existingSecret are both set: which key is meant? Keep one" -}}
{{- end -}}
{{- if or $k.value $k.existingSecret }}
- name: VLLM_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $k.existingSecret | default (printf "%s-api-key" (include "vllm.service" .)) }}
      key: {{ ternary $k.key "api-key" (ne $k.existingSecret "") }}
{{- end }}
{{- end -}}
