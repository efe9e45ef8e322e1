{{- define "prometheus.selector" -}}
app.kubernetes.io/name: prometheus
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: prometheus
{{- end -}}

{{- define "prometheus.labels" -}}
{{ include "prometheus.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: llm-inference-app
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "prometheus.metadata" -}}
name: {{ .Release.Name }}-prometheus
namespace: {{ .Release.Namespace }}
labels:
  {{- include "prometheus.labels" . | nindent 2 }}
{{- end -}}

{{- define "prometheus.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (printf "%s-prometheus" .Release.Name) }}
{{- end -}}

{{- define "prometheus.image" -}}
{{- $registry := (.Values.global).imageRegistry | default .Values.image.registry -}}
{{ $registry }}/{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end -}}

{{/* What Prometheus would not start with, or what would fill its volume. */}}
{{- define "prometheus.checkValues" -}}
{{- $ms := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $length := dict -}}
{{- range $key := list "interval" "timeout" -}}
{{- $text := get $.Values.scrape $key -}}
{{- $number := regexFind "^[0-9]+" $text -}}
{{- $_ := set $length $key (mul (int64 $number) (int64 (get $ms (trimPrefix $number $text)))) -}}
{{- end -}}
{{- if gt $length.timeout $length.interval -}}
{{- fail (printf "prometheus.scrape.timeout is %s, longer than prometheus.scrape.interval (%s), and Prometheus would not start: make it shorter" .Values.scrape.timeout .Values.scrape.interval) -}}
{{- end -}}
{{- if .Values.retention.size -}}
{{- $bytes := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "MB" 1048576 "GB" 1073741824 "TB" 1099511627776 -}}
{{- $size := dict -}}
{{- range $key, $text := dict "retention" .Values.retention.size "volume" .Values.persistence.size -}}
{{- $number := regexFind "^[0-9]+" $text -}}
{{- $_ := set $size $key (mul (int64 $number) (int64 (get $bytes (trimPrefix $number $text)))) -}}
{{- end -}}
{{- if ge $size.retention $size.volume -}}
{{- fail (printf "prometheus.retention.size is %s, and the volume has %s (prometheus.persistence.size): it would be full before anything is dropped. Leave a fifth of it free" .Values.retention.size .Values.persistence.size) -}}
{{- end -}}
{{- end -}}
{{- range $label, $_ := include "prometheus.selector" . | fromYaml -}}
{{- if hasKey ($.Values.podLabels | default dict) $label -}}
{{- fail (printf "prometheus.podLabels: %s is refused: the Service and the workload find their Pods by it" $label) -}}
{{- end -}}
{{- end -}}
{{- $names := list "config" "rules" "data" -}}
{{- range .Values.extraVolumes -}}
{{- if has .name $names -}}
{{- fail (printf "prometheus.extraVolumes: the name %q is taken, by the chart or by another one of the list: choose another" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $paths := list "/etc/prometheus/prometheus.yml" "/etc/prometheus/rules" "/prometheus" -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $names) -}}
{{- fail (printf "prometheus.extraVolumeMounts: there is no volume %q: add it to prometheus.extraVolumes" .name) -}}
{{- else if has .mountPath $paths -}}
{{- fail (printf "prometheus.extraVolumeMounts: %s is taken: choose another path" .mountPath) -}}
{{- end -}}
{{- $paths = append $paths .mountPath -}}
{{- end -}}
{{- end -}}

{{/* A secret in a ConfigMap is one no more. */}}
{{- define "prometheus.checkRemoteWrite" -}}
{{- range $i, $w := .Values.remoteWrite }}
{{- $inline := or $w.bearer_token (($w.basic_auth).password) (($w.authorization).credentials) (($w.oauth2).client_secret) (($w.sigv4).secret_key) }}
{{- if $inline }}
{{- fail (printf "prometheus.remoteWrite[%d] holds a secret, and would lie in a ConfigMap that many can read: put it into a Secret, mount that with prometheus.extraVolumes and extraVolumeMounts, and name the file (password_file, credentials_file, client_secret_file)" $i) }}
{{- end }}
{{- end }}
{{- end -}}
