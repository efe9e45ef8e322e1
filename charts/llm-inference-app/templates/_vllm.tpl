{{/*
What vLLM is told so that its usage can be billed, and the refusal of values
that would break it. A guard's sentence says what would be lost.
*/}}

{{- define "vllm.service" -}}{{ include "app.name" (dict "root" . "component" "vllm") }}{{- end -}}

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
{{- $runtimeLora := get .Values.env "VLLM_ALLOW_RUNTIME_LORA_UPDATING" | default (get .Values.vllm.extraEnv "VLLM_ALLOW_RUNTIME_LORA_UPDATING") -}}
{{- if and (eq (len $names) 1) (not .Values.vllm.lora.modules) (not $runtimeLora) (not (has "--enable-lora" $args)) (not (has "--lora-modules" $args)) -}}
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
  "--grpc" "vLLM's gRPC server makes no llm_request spans, and nothing it does would be billed"
-}}
{{- range $arg := include "vllm.argNames" . | fromJsonArray -}}
{{- range $name, $reason := $why -}}
{{- /* argparse takes an unambiguous beginning for the whole: --disable-log-st */ -}}
{{- if or (eq $arg $name) (and (ge (len $arg) 12) (hasPrefix $arg $name)) -}}
{{- fail (printf "vllm.extraArgs: %s is refused: %s" $name $reason) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The billing variables, and what is said when one is set to break billing. */}}
{{- define "vllm.guardEnv" -}}
{{- range $where := list "env" "vllm.extraEnv" -}}
{{- range $name, $given := ternary $.Values.env $.Values.vllm.extraEnv (eq $where "env") -}}
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
{{- if and (eq $name "OTEL_TRACES_SAMPLER") (ne $value "always_on") -}}
{{- $no = "must be always_on: any other sampler leaves requests without a span, and they would not be billed" -}}
{{- else if and (eq $name "OTEL_SDK_DISABLED") (eq (lower $value) "true") -}}
{{- $no = "must not be true: vLLM would send no spans, and nothing would be billed" -}}
{{- else if and (eq $name "OTEL_SERVICE_NAME") (eq $value "") -}}
{{- $no = "must not be empty: engines could not be told apart on the bill" -}}
{{- else if and (has $name (list "OTEL_EXPORTER_OTLP_PROTOCOL" "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")) (ne $value "http/protobuf") -}}
{{- $no = "must be http/protobuf: the endpoint that vLLM is given speaks nothing else, and no span would arrive" -}}
{{- else if has $name (list "OTEL_EXPORTER_OTLP_ENDPOINT" "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") -}}
{{- $no = "is refused: spans would go elsewhere than to the Collector, and not be billed; to use a Collector of your own, set collector.enabled=false and collector.external.tracesEndpoint" -}}
{{- else if and (has $name (list "OTEL_EXPORTER_OTLP_TIMEOUT" "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")) (lt (float64 $value) 60.0) -}}
{{- $no = "must be at least 60 (seconds): while the Collector restarts, spans are sent again for so long and dropped after it" -}}
{{- else if and (eq $name "OTEL_BSP_MAX_QUEUE_SIZE") (lt (int64 $value) 65536) -}}
{{- $no = "must be at least 65536: the SDK drops, without a word, what does not fit into its queue" -}}
{{- else if and (eq $name "OTEL_BSP_SCHEDULE_DELAY") (or (gt (int64 $value) 500) (lt (int64 $value) 1)) -}}
{{- $no = "must be 1 to 500 (milliseconds): so much usage is in memory only, and is lost when the process is killed" -}}
{{- else if and (eq $name "OTEL_BSP_MAX_EXPORT_BATCH_SIZE") (or (gt (int64 $value) 4096) (lt (int64 $value) 1)) -}}
{{- $no = "must be 1 to 4096: larger requests could be more than the Collector takes" -}}
{{- else if and (regexMatch "^OTEL_(SPAN_)?(ATTRIBUTE|EVENT|LINK)_(COUNT|VALUE_LENGTH)_LIMIT$" $name) (ne $value "") (lt (int64 $value) 128) -}}
{{- $no = "must be at least 128, or not set: the token counts are attributes, and a limit cuts them off" -}}
{{- else if and (eq $name "OTEL_PROPAGATORS") (not (has "tracecontext" (splitList "," $value))) -}}
{{- $no = "must contain tracecontext: the caller's trace and the signed customer come by it" -}}
{{- else if and (eq $name "VLLM_USE_RUST_FRONTEND") (not (has (lower $value) (list "" "0" "false"))) -}}
{{- $no = "is refused: vLLM's Rust frontend makes no llm_request spans, and nothing it does would be billed" -}}
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
{{- $token := get .Values.env "HUGGING_FACE_HUB_TOKEN" | default (get .Values.env "HF_TOKEN") -}}
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
{{- $given := get .Values.vllm.extraEnv "OTEL_RESOURCE_ATTRIBUTES" | default (get .Values.env "OTEL_RESOURCE_ATTRIBUTES") | default "" -}}
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
{{- if and .Values.vllm.instrumentation.enabled (not .Values.simulator.enabled) -}}
{{- $ours = merge $ours (include "vllm.instrumentationEnv" . | fromYaml) -}}
{{- end -}}
{{- if and .Values.vllm.cache.enabled (not .Values.simulator.enabled) -}}
{{- $_ := set $ours "HF_HOME" "/cache/huggingface" -}}
{{- end -}}
{{- if .Values.vllm.nonroot -}}
{{- /* Libraries write below the home directory, and root's is not theirs. */ -}}
{{- $_ := set $ours "HOME" "/home/vllm" -}}
{{- end -}}
{{- $given := omit .Values.env "HUGGING_FACE_HUB_TOKEN" "HF_TOKEN" "OTEL_RESOURCE_ATTRIBUTES" -}}
{{- $extra := omit .Values.vllm.extraEnv "OTEL_RESOURCE_ATTRIBUTES" -}}
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
