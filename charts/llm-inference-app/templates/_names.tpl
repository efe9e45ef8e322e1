{{/*
Names, labels and images. Each component is called <release>-<component>; vLLM
alone keeps the name that the proof of concept gave it.
*/}}

{{/* app.name of (dict "root" $ "component" "collector") */}}
{{- define "app.name" -}}
{{- $release := .root.Release.Name -}}
{{- if gt (len $release) 40 -}}
{{- fail (printf "the release name %q has %d characters: with 41 or more, the names of its Pods would be longer than Kubernetes allows; choose a shorter one" $release (len $release)) -}}
{{- else if or (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $release)) (not (kindIs "string" (fromYaml (printf "name: %s" $release)).name)) -}}
{{- fail (printf "the release name %q cannot begin the names of Services and stand in labels: choose one of small letters, digits and -, that begins with a letter and is no word of YAML, such as yes or true" $release) -}}
{{- end -}}
{{- if eq .component "vllm" -}}
{{ .root.Release.Name }}-llm-inference-app
{{- else -}}
{{ .root.Release.Name }}-{{ .component }}
{{- end -}}
{{- end -}}

{{/* What a Service or a workload selects by: never changes over the life of a release. */}}
{{- define "app.selector" -}}
app.kubernetes.io/name: llm-inference-app
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "app.labels" -}}
{{ include "app.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: llm-inference-app
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "app.metadata" -}}
name: {{ include "app.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "app.labels" . | nindent 2 }}
{{- end -}}

{{/* Labels of a Pod, the user's among them (app.guardPart). No version: it would restart all Pods at each upgrade. */}}
{{- define "app.podLabels" -}}
{{- $own := include "app.selector" . | fromYaml -}}
{{- toYaml (merge $own (.values.podLabels | default dict)) -}}
{{- end -}}

{{/* By which Prometheus finds a Pod, and at which port. The user's annotations stand over them, the checksums over both. */}}
{{- define "app.scrape" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ . | quote }}
prometheus.io/path: /metrics
{{- end -}}

{{/* app.image of (dict "root" $ "image" .Values.vllm.image) */}}
{{- define "app.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- $tag := .image.tag | default .root.Chart.AppVersion -}}
{{ $registry }}/{{ .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end -}}

{{- define "app.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "string" . }}{{ . }}{{ else }}{{ .name }}{{ end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* A number as YAML has it: Helm reads 65536 as 65536.0 and would print 65536 or 6.5536e+04. */}}
{{- define "app.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* A quantity of Kubernetes ("10Gi") in bytes. */}}
{{- define "app.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $text := include "app.text" . -}}
{{- $number := regexFind "^[0-9]+" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- if or (eq $number "") (not (hasKey $units $unit)) -}}
{{- fail (printf "%q is no size that this chart can reckon with: write a whole number with Mi, Gi or Ti, such as 10Gi" $text) -}}
{{- end -}}
{{- mul (int64 $number) (int64 (get $units $unit)) -}}
{{- end -}}
