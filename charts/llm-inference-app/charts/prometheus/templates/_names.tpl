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

{{/* A secret in a ConfigMap is one no more. */}}
{{- define "prometheus.checkRemoteWrite" -}}
{{- range $i, $w := .Values.remoteWrite }}
{{- $inline := or $w.bearer_token (($w.basic_auth).password) (($w.authorization).credentials) (($w.oauth2).client_secret) (($w.sigv4).secret_key) }}
{{- if $inline }}
{{- fail (printf "prometheus.remoteWrite[%d] holds a secret, and would lie in a ConfigMap that many can read: put it into a Secret, mount that with prometheus.extraVolumes and extraVolumeMounts, and name the file (password_file, credentials_file, client_secret_file)" $i) }}
{{- end }}
{{- end }}
{{- end -}}
