{{/*
What the chart adds to vLLM's Python: small files, found by PYTHONPATH and their
entry points, in any image.
*/}}

{{- define "vllm.python" -}}
{{- if and (or .Values.vllm.exporter.patient .Values.vllm.instrumentation.enabled) (not .Values.simulator.enabled) }}true{{ end -}}
{{- end -}}

{{- define "vllm.pythonEnv" -}}
PYTHONPATH: /opt/tollkeeper
{{- if .Values.vllm.exporter.patient }}
# It names what makes the exporter's HTTP session, credentials or not (opentelemetry-python 1.37 on; others do not read it).
OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER: patient
{{- end }}
{{- if .Values.vllm.instrumentation.enabled }}
{{ include "vllm.instrumentationEnv" . }}
{{- end }}
{{- end -}}

{{/*
vLLM under opentelemetry-instrument: a server span for each request, in the
caller's trace. The instrumentation has no variable that leaves out its span per
SSE chunk, so a distribution of ours hands it the argument.
*/}}

{{- define "vllm.instrumentationEnv" -}}
OTEL_PYTHON_DISTRO: llm
OTEL_TRACES_EXPORTER: otlp_proto_http
OTEL_METRICS_EXPORTER: none
OTEL_LOGS_EXPORTER: none
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: {{ include "vllm.tracesEndpoint" . }}
# One regular expression for the path's end, or /v1/health_check would match too.
OTEL_PYTHON_FASTAPI_EXCLUDED_URLS: "/health$,/metrics$,/metrics/$"
# By name: authorization is not among them, and is masked if it ever were.
OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST: X-Request-Id
OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS: authorization,cookie,set-cookie,.*key.*,.*token.*
{{- end -}}
