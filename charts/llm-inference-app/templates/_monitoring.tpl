{{/* The groups of a file in rules/, without the alerts that are switched off. A list, as `groups:` has it. */}}
{{- define "monitoring.groups" -}}
{{- $groups := list -}}
{{- range (fromYaml (.root.Files.Get .file)).groups -}}
{{- $rules := list -}}
{{- range .rules -}}
{{- if not (has .alert $.root.Values.monitoring.alerts.disabled) }}{{ $rules = append $rules . }}{{ end -}}
{{- end -}}
{{- if $rules }}{{ $groups = append $groups (dict "name" .name "rules" $rules) }}{{ end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end -}}

{{/* A misspelt name would leave somebody awake. */}}
{{- define "monitoring.checkAlerts" -}}
{{- $known := list -}}
{{- range $file, $_ := .Files.Glob "rules/*.yaml" -}}
{{- range (fromYaml ($.Files.Get $file)).groups -}}
{{- range .rules }}{{ $known = append $known .alert }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range .Values.monitoring.alerts.disabled -}}
{{- if not (has . $known) -}}
{{- fail (printf "monitoring.alerts.disabled: there is no alert %q; there are %s" . (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* monitoring.needs of (dict "root" $ "kind" "ServiceMonitor" "value" "monitoring.serviceMonitor.enabled") */}}
{{- define "monitoring.needs" -}}
{{- $api := printf "monitoring.coreos.com/v1/%s" .kind -}}
{{- if not (.root.Capabilities.APIVersions.Has $api) -}}
{{- fail (printf "%s is true, but this cluster knows no %s (monitoring.coreos.com/v1): install the Prometheus operator first, or leave it false, since the chart's own Prometheus needs none. `helm template` has no cluster to ask: add --api-versions %s" .value .kind $api) -}}
{{- end -}}
{{- end -}}

{{- define "monitoring.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "app.labels" (dict "root" .root "component" "monitoring") | nindent 2 }}
  {{- range $key, $value := .labels }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
{{- end -}}

{{/* Which Pods, and how an operator's Prometheus names their series: as the rules have them. */}}
{{- define "monitoring.selector" -}}
podTargetLabels:
  - app.kubernetes.io/name
  - app.kubernetes.io/instance
  - app.kubernetes.io/component
selector:
  matchLabels:
    app.kubernetes.io/name: llm-inference-app
    app.kubernetes.io/instance: {{ .root.Release.Name }}
  matchExpressions:
    - key: app.kubernetes.io/component
      operator: In
      values:
        {{- toYaml .components | nindent 8 }}
{{- end -}}

{{- define "monitoring.endpoint" -}}
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- end -}}
