{{/*
What all Pods of the chart share: where they run, how little they may do, and
the proxy and authorities of the site.
Each takes (dict "root" $ "component" "collector" "values" .Values.collector).
*/}}

{{- define "app.podSpec" -}}
automountServiceAccountToken: false
# The variables that Kubernetes makes of Services (VLLM_…_PORT) would be read as settings.
enableServiceLinks: false
{{- include "app.pullSecrets" .root }}
{{- with .root.Values.global.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" }}
{{- with get $.values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Fits pod-security.kubernetes.io/enforce=restricted. */}}
{{- define "app.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .uid }}
  fsGroup: {{ .uid }}
  # A large volume is not walked through at each start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "app.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: {{ .readOnly }}
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* A list of variables, each name once: the last one wins. Kubernetes refuses a name that comes twice. */}}
{{- define "app.env" -}}
{{- $last := list -}}
{{- $seen := dict -}}
{{- range reverse (fromYamlArray .) -}}
{{- if not (hasKey $seen .name) -}}
{{- $_ := set $seen .name true -}}
{{- $last = prepend $last . -}}
{{- end -}}
{{- end -}}
env:
  {{- toYaml $last | nindent 2 }}
{{- end -}}

{{/* The proxy, which must not stand between our own parts, and the site's authorities. */}}
{{- define "app.siteEnv" -}}
{{- $proxy := .root.Values.global.proxy -}}
{{- if or $proxy.http $proxy.https }}
{{- $own := list "localhost" "127.0.0.1" ".svc" ".cluster.local" -}}
{{- range list "vllm" "collector" "clickhouse" "tollkeeper" "prometheus" }}
{{- $own = append $own (include "app.name" (dict "root" $.root "component" .)) }}
{{- end }}
{{- $no := join "," (concat $own (compact (splitList "," ($proxy.no | default "")))) }}
{{- range $name, $value := dict "HTTP_PROXY" $proxy.http "HTTPS_PROXY" $proxy.https "NO_PROXY" $no }}
{{- if $value }}
- name: {{ $name }}
  value: {{ $value | quote }}
- name: {{ lower $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if .root.Values.global.caBundle.configMap }}
- name: SSL_CERT_FILE
  value: /etc/site-ca/ca.crt
- name: REQUESTS_CA_BUNDLE
  value: /etc/site-ca/ca.crt
{{- end }}
{{- end -}}

{{/* The user's variables of one component, as a map or with valueFrom. */}}
{{- define "app.extraEnv" -}}
{{- range $name, $value := .values.extraEnv }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $name | quote }}
  {{- if kindIs "map" $value }}
  {{- toYaml $value | nindent 2 }}
  {{- else }}
  value: {{ include "app.text" $value | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "app.mounts" -}}
{{- if .root.Values.global.caBundle.configMap }}
- name: site-ca
  mountPath: /etc/site-ca
  readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "app.volumes" -}}
{{- with .root.Values.global.caBundle.configMap }}
- name: site-ca
  configMap:
    name: {{ . }}
    items:
      - key: {{ $.root.Values.global.caBundle.key }}
        path: ca.crt
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "app.resources" -}}
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A StatefulSet's claim. Its size is fixed once it is made: Kubernetes refuses a change with a long text that helps nobody. */}}
{{- define "app.claim" -}}
{{- $name := include "app.name" . -}}
{{- $p := .values.persistence -}}
{{- $there := lookup "apps/v1" "StatefulSet" .root.Release.Namespace $name -}}
{{- range (($there.spec).volumeClaimTemplates) }}
{{- $size := ((.spec.resources).requests).storage -}}
{{- if and (eq .metadata.name "data") (ne (include "app.bytes" $size) (include "app.bytes" $p.size)) }}
{{- fail (printf "%s.persistence.size is %s, but the StatefulSet %s was made with %s, and Kubernetes lets nobody change that. To grow it: enlarge the claims (kubectl -n %s patch pvc data-%s-0 -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}', where the storage class allows it), delete the StatefulSet alone (kubectl -n %s delete statefulset %s --cascade=orphan), then upgrade again. Nothing is lost: the Pods and their volumes stay. To shrink it, restore a backup into a new release." $.component $p.size $name $size $.root.Release.Namespace $name $p.size $.root.Release.Namespace $name) }}
{{- end }}
{{- end }}
volumeClaimTemplates:
  - metadata:
      name: data
      labels:
        {{- include "app.selector" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $p.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ $p.size }}
{{- end -}}
