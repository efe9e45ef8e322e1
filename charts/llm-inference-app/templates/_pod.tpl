{{/*
What all Pods of the chart share: where they run, how little they may do, and
the proxy and authorities of the site.
Each takes (dict "root" $ "component" "collector" "values" .Values.collector).
*/}}

{{- define "app.podSpec" -}}
{{- include "app.guardPart" . -}}
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

{{/* What cannot be given to a part, since it is the chart's, with a sentence that says what to do. */}}
{{- define "app.guardPart" -}}
{{- $part := .component -}}
{{- $where := ternary "clickhouse.schemaJob" $part (eq $part "schema") -}}
{{- range $label, $_ := include "app.selector" . | fromYaml -}}
{{- if hasKey ($.values.podLabels | default dict) $label -}}
{{- fail (printf "%s.podLabels: %s is refused: Services and workloads find their Pods by it" $where $label) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .values.extraEnv -}}
{{- include "app.guardProxy" (dict "where" (printf "%s.extraEnv" $where) "name" $name) -}}
{{- if and (has $part (list "clickhouse" "schema")) (has $name (list "CLICKHOUSE_PASSWORD" "CLICKHOUSE_USER" "CLICKHOUSE_DB")) -}}
{{- fail (printf "%s.extraEnv.%s is refused: the other parts use what clickhouse.auth says; set it there" $where $name) -}}
{{- else if and (eq $part "tollkeeper") (or (eq $name "PATH") (hasPrefix "TOLLKEEPER_" $name)) -}}
{{- fail (printf "tollkeeper.extraEnv.%s is refused: it would stand over what the chart sets, unseen; use tollkeeper.config" $name) -}}
{{- end -}}
{{- end -}}
{{- range .values.extraArgs -}}
{{- $flag := regexReplaceAll "^--?([^=]*).*$" (include "app.text" .) "${1}" -}}
{{- if and (eq $part "collector") (has $flag (list "config" "set")) -}}
{{- fail (printf "collector.extraArgs: %s is refused: the chart could not see whether usage is still kept and delivered. To use a Collector of your own, set collector.enabled=false and collector.external.tracesEndpoint" .) -}}
{{- else if and (eq $part "tollkeeper") (has $flag (list "data" "config" "api" "otlp-grpc" "otlp-http")) -}}
{{- fail (printf "tollkeeper.extraArgs: %s is refused: the chart sets it, and its volumes, Services and probes depend on it; use tollkeeper.config" .) -}}
{{- end -}}
{{- end -}}
{{- include "app.guardVolumes" (dict "where" $where "values" .values "own" (get (include "app.ownVolumes" .root | fromYaml) $part) "closed" (eq $part "collector")) -}}
{{- end -}}

{{/* Where each part has its volumes. */}}
{{- define "app.ownVolumes" -}}
vllm: {shm: /dev/shm, tmp: /tmp, home: /home/vllm, python: /opt/tollkeeper, site-ca: /etc/site-ca{{ if and .Values.vllm.cache.enabled (not .Values.simulator.enabled) }}, cache: /cache{{ end }}}
collector: {config: /etc/otelcol, data: /var/lib/otelcol, site-ca: /etc/site-ca}
clickhouse: {config: /etc/clickhouse-server/config.d/server.xml, data: /var/lib/clickhouse, site-ca: /etc/site-ca}
schema: {site-ca: /etc/site-ca}
test: {}
tollkeeper: {config: /etc/tollkeeper, keys: /secrets/keys, signing: /secrets/signing, data: /var/lib/tollkeeper, tmp: /tmp, site-ca: /etc/site-ca}
{{- end -}}

{{/* app.guardVolumes of (dict "where" "vllm" "values" .Values.vllm "own" (dict "tmp" "/tmp") "closed" false): below the paths of a closed part nothing may be put. */}}
{{- define "app.guardVolumes" -}}
{{- $names := keys .own -}}
{{- range .values.extraVolumes -}}
{{- if has .name $names -}}
{{- fail (printf "%s.extraVolumes: the name %q is taken, by the chart or by another one of the list: choose another" $.where .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $paths := list -}}
{{- range .values.extraVolumeMounts -}}
{{- $mount := . -}}
{{- if not (has .name $names) -}}
{{- fail (printf "%s.extraVolumeMounts: there is no volume %q: add it to %s.extraVolumes" $.where .name $.where) -}}
{{- end -}}
{{- range concat (values $.own) $paths -}}
{{- if or (eq $mount.mountPath .) (and $.closed (not (has . $paths)) (hasPrefix (printf "%s/" .) $mount.mountPath)) -}}
{{- fail (printf "%s.extraVolumeMounts: %s is refused: %s is taken, and what the chart has there would be hidden; choose another path" $.where $mount.mountPath .) -}}
{{- end -}}
{{- end -}}
{{- $paths = append $paths .mountPath -}}
{{- end -}}
{{- end -}}

{{/* A proxy must not stand between our own parts. */}}
{{- define "app.guardProxy" -}}
{{- if has (upper .name) (list "HTTP_PROXY" "HTTPS_PROXY" "ALL_PROXY" "NO_PROXY") -}}
{{- fail (printf "%s.%s is refused: spans would go by a proxy that does not know the release's Services, and be lost; use global.proxy, which leaves them out" .where .name) -}}
{{- end -}}
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
