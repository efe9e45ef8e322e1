{{/*
vLLM under opentelemetry-instrument: a server span for each request, in the
caller's trace. The instrumentation has no variable that leaves out its span per
SSE chunk, so a distribution of ours, three small files, hands it the argument.
*/}}

{{- define "vllm.instrumentationEnv" -}}
PYTHONPATH: /opt/instrumentation
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
