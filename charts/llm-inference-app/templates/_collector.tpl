{{/* The Collector's queues, each in bytes, and what they may take of its volume. */}}

{{- define "collector.queueBytes" -}}
{{- include "app.bytes" (get .Values.collector.queues .queue) -}}
{{- end -}}

{{/* Half of the volume is left for what bbolt does not give back at once, and for its copy while it is compacted. */}}
{{- define "collector.guardQueues" -}}
{{- $largest := int64 (include "app.bytes" .Values.collector.maxRequestSize) -}}
{{- if lt $largest 16777216 -}}
{{- fail (printf "collector.maxRequestSize is %s: a request of vLLM's may have 16Mi, and one that is refused as too large is thrown away, with its usage. Make it 16Mi or more" .Values.collector.maxRequestSize) -}}
{{- end -}}
{{- $sum := 0 -}}
{{- range $name, $size := .Values.collector.queues -}}
{{- if and (ne $name "clickhouse") (lt (int64 (include "app.bytes" $size)) $largest) -}}
{{- fail (printf "collector.queues.%s is %s, less than the largest request (collector.maxRequestSize, %s), which would not fit into it and be refused for ever, with its usage: make it larger" $name $size $.Values.collector.maxRequestSize) -}}
{{- end -}}
{{- $sum = add $sum (int64 (include "app.bytes" $size)) -}}
{{- end -}}
{{- $half := div (int64 (include "app.bytes" .Values.collector.persistence.size)) 2 -}}
{{- if gt $sum $half -}}
{{- fail (printf "collector.queues come to %d bytes, more than half of collector.persistence.size (%d): a full queue and its compaction would fill the volume, and billing would stop. Make the queues smaller or the volume larger" $sum $half) -}}
{{- end -}}
{{- end -}}

{{/* Where otel_traces is. */}}
{{- define "clickhouse.endpoint" -}}
{{- if .Values.clickhouse.enabled -}}
http://{{ include "app.name" (dict "root" . "component" "clickhouse") }}:8123
{{- else -}}
{{ .Values.clickhouse.external.endpoint }}
{{- end -}}
{{- end -}}

{{- define "clickhouse.used" -}}
{{- if or .Values.clickhouse.enabled .Values.clickhouse.external.endpoint }}true{{ end -}}
{{- end -}}

{{- define "clickhouse.secretName" -}}
{{ .Values.clickhouse.auth.existingSecret | default (include "app.name" (dict "root" . "component" "clickhouse")) }}
{{- end -}}

{{- define "clickhouse.passwordRef" -}}
secretKeyRef:
  name: {{ include "clickhouse.secretName" . }}
  key: {{ ternary .Values.clickhouse.auth.key "password" (ne .Values.clickhouse.auth.existingSecret "") }}
{{- end -}}

{{- define "collector.config" -}}
{{- $c := .Values.collector -}}
{{- $clickhouse := include "clickhouse.used" . -}}
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
  # A queue for each exporter, on disk before the sender is answered.
  file_storage/tollkeeper:
    {{- include "collector.storage" (dict "name" "tollkeeper") | nindent 4 }}
  {{- if $clickhouse }}
  file_storage/clickhouse:
    {{- include "collector.storage" (dict "name" "clickhouse") | nindent 4 }}
  file_storage/handoff:
    {{- include "collector.storage" (dict "name" "handoff") | nindent 4 }}
  {{- end }}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317
        max_recv_msg_size_mib: {{ div (int64 (include "app.bytes" $c.maxRequestSize)) 1048576 }}
      http:
        endpoint: 0.0.0.0:4318
        max_request_body_size: {{ include "app.bytes" $c.maxRequestSize }}
  {{- if $clickhouse }}
  # What the handoff below sends to this process itself.
  otlp/handoff:
    protocols:
      grpc:
        endpoint: 127.0.0.1:14317
        max_recv_msg_size_mib: {{ add 1 (div (int64 (include "app.bytes" $c.maxRequestSize)) 1048576) }}
  {{- end }}
processors:
  memory_limiter:
    check_interval: 1s
    limit_percentage: 75
    spike_limit_percentage: 20
  # No batch processor: it answers the sender before anything is on disk.
exporters:
  otlp_http/tollkeeper:
    endpoint: http://{{ include "app.name" (dict "root" . "component" "tollkeeper") }}:4318
    headers:
      authorization: Bearer ${env:TOLLKEEPER_KEY}
    timeout: 30s
    {{- include "collector.delivery" (dict "root" . "name" "tollkeeper") | nindent 4 }}
  {{- if $clickhouse }}
  # A full queue refuses the whole request, also what the other exporter has
  # taken. So ClickHouse's queue stands behind this one, which never waits for
  # ClickHouse: what that queue refuses is dropped here, for ClickHouse alone.
  otlp_grpc/handoff:
    endpoint: 127.0.0.1:14317
    tls:
      insecure: true
    # At the start exporters run before receivers: what waits on disk would be
    # refused and dropped.
    wait_for_ready: true
    # At the end receivers stop first, and what is on its way waits so long in vain.
    timeout: 5s
    retry_on_failure:
      enabled: false
    sending_queue:
      storage: file_storage/handoff
      sizer: bytes
      queue_size: {{ include "collector.queueBytes" (dict "Values" .Values "queue" "handoff") }}
      num_consumers: 4
  clickhouse:
    # Over HTTP: its answers to a wrong password or a missing table are clear.
    endpoint: {{ include "clickhouse.endpoint" . | quote }}
    database: {{ .Values.clickhouse.auth.database | quote }}
    username: {{ .Values.clickhouse.auth.username | quote }}
    password: ${env:CLICKHOUSE_PASSWORD}
    traces_table_name: otel_traces
    # With it an absent ClickHouse would end this process at its start, and
    # billing with it. A Job makes the table.
    create_schema: false
    async_insert: true
    connection_params:
      # The answer means: it is in the table.
      wait_for_async_insert: "1"
    timeout: 30s
    {{- include "collector.delivery" (dict "root" . "name" "clickhouse") | nindent 4 }}
  {{- end }}
service:
  extensions: [health_check, file_storage/tollkeeper{{ if $clickhouse }}, file_storage/clickhouse, file_storage/handoff{{ end }}]
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter]
      exporters: [otlp_http/tollkeeper{{ if $clickhouse }}, otlp_grpc/handoff{{ end }}]
    {{- if $clickhouse }}
    traces/clickhouse:
      receivers: [otlp/handoff]
      exporters: [clickhouse]
    {{- end }}
  telemetry:
    metrics:
      level: normal
      readers:
        - pull:
            exporter:
              prometheus:
                host: 0.0.0.0
                port: 8888
{{- end -}}

{{- define "collector.storage" -}}
directory: /var/lib/otelcol/{{ .name }}
create_directory: true
# A database that a torn disk left unreadable is set aside (….backup), so that
# what comes now is not lost with it.
recreate: true
fsync: true
timeout: 10s
compaction:
  directory: /var/lib/otelcol/{{ .name }}/compaction
  on_start: true
  on_rebound: true
  cleanup_on_start: true
{{- end -}}

{{/* Retry for ever, from a queue on disk. */}}
{{- define "collector.delivery" -}}
retry_on_failure:
  enabled: true
  initial_interval: 1s
  max_interval: 30s
  max_elapsed_time: 0s
sending_queue:
  storage: file_storage/{{ .name }}
  sizer: bytes
  queue_size: {{ include "collector.queueBytes" (dict "Values" .root.Values "queue" .name) }}
  num_consumers: {{ ternary 10 4 (eq .name "tollkeeper") }}
{{- end -}}
