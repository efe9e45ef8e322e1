{{/* Keys of producers: what the Collector shows and tollkeeper accepts, out of one Secret. */}}
{{- define "tollkeeper.keysSecret" -}}
{{ .Values.tollkeeper.keys.existingSecret | default (printf "%s-keys" (include "app.name" (dict "root" . "component" "tollkeeper"))) }}
{{- end -}}

{{/* Changes when a Secret of the chart's does: Pods read it only when they start. */}}
{{- define "app.secretsChecksum" -}}
{{- sha256sum (toJson (list .Values.tollkeeper.keys .Values.clickhouse.auth)) -}}
{{- end -}}

{{/* tollkeeper.yaml: what the chart sets, what fits the mode, and over that the user's. */}}
{{- define "tollkeeper.config" -}}
{{- include "tollkeeper.guardConfig" . -}}
{{- $service := include "vllm.serviceName" . -}}
{{- $config := dict
  "ingest" (dict "on_bad_credential" "retry" "max_body_bytes" 67108864)
-}}
{{- if eq .Values.mode "demo" -}}
{{- $_ := set $config "attribution" (dict "resource" (list (dict "match" (dict "service.name" $service) "customer" "demo"))) -}}
{{- end -}}
{{- $config = mergeOverwrite $config (deepCopy .Values.tollkeeper.config) -}}
{{- $_ := set $config.ingest "max_body_bytes" (int64 $config.ingest.max_body_bytes) -}}
{{- $_ := set $config.ingest "keys" (list (dict "name" "collector" "files" (list "/secrets/keys/current" "/secrets/keys/previous"))) -}}
{{- $_ := set $config "api" (mergeOverwrite (deepCopy ($config.api | default dict)) (dict "admin_token_file" "/secrets/keys/admin")) -}}
{{- $_ := set $config "data" "/var/lib/tollkeeper/data" -}}
{{- $_ := set $config "signing_key" (ternary "/secrets/signing/signing.key" "/var/lib/tollkeeper/keys/signing.key" (ne .Values.tollkeeper.signingKey.existingSecret "")) -}}
{{- $_ := set $config "listen" (dict "otlp_grpc" "0.0.0.0:4317" "otlp_http" "0.0.0.0:4318" "api" "0.0.0.0:8080") -}}
{{- if include "tollkeeper.prices" . -}}
{{- $_ := set $config "prices" "/etc/tollkeeper/prices.yaml" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "tollkeeper.guardConfig" -}}
{{- $c := .Values.tollkeeper.config -}}
{{- range $key := list "data" "listen" "signing_key" "prices" -}}
{{- if hasKey $c $key -}}
{{- fail (printf "tollkeeper.config.%s is refused: the chart sets it, and its volumes, Services and probes depend on it%s" $key (ternary "; use tollkeeper.prices" "" (eq $key "prices"))) -}}
{{- end -}}
{{- end -}}
{{- $ingest := $c.ingest | default dict -}}
{{- if hasKey $ingest "keys" -}}
{{- fail "tollkeeper.config.ingest.keys is refused: the Collector and tollkeeper take their key from one Secret; use tollkeeper.keys" -}}
{{- end -}}
{{- if hasKey ($c.api | default dict) "admin_token_file" -}}
{{- fail "tollkeeper.config.api.admin_token_file is refused: the token is the key `admin` of one Secret with the others; use tollkeeper.keys" -}}
{{- end -}}
{{- if hasKey $ingest "auth" -}}
{{- fail "tollkeeper.config.ingest.auth is refused: anybody in the cluster could put usage on a bill" -}}
{{- end -}}
{{- if eq ($ingest.on_bad_credential | default "retry") "reject" -}}
{{- fail "tollkeeper.config.ingest.on_bad_credential=reject is refused: a Collector throws away what is answered with 401, so usage would be lost while its key is wrong" -}}
{{- end -}}
{{- $largest := int64 (include "app.bytes" .Values.collector.maxRequestSize) -}}
{{- $max := int64 ($ingest.max_body_bytes | default 67108864) -}}
{{- if lt $max (mul 4 $largest) -}}
{{- fail (printf "tollkeeper takes requests of up to %d bytes, less than four times the Collector's largest (collector.maxRequestSize, %d): one that is refused as too large is thrown away. Raise tollkeeper.config.ingest.max_body_bytes, or lower collector.maxRequestSize" $max $largest) -}}
{{- end -}}
{{- end -}}

{{/* prices.yaml: the user's, in demo mode else one that makes cents of a few tokens. */}}
{{- define "tollkeeper.prices" -}}
{{- if .Values.tollkeeper.prices -}}
{{- toYaml .Values.tollkeeper.prices -}}
{{- else if eq .Values.mode "demo" -}}
currency: USD
prices:
  {{- range include "vllm.servedNames" . | fromJsonArray }}
  - model: {{ . | quote }}
    from: "2026-01-01"
    per: 1000
    input_tokens: "2.00"
    output_tokens: "6.00"
  {{- end }}
{{- end -}}
{{- end -}}
