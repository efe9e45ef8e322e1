{{/*
A Secret that values name and that is not there, or lacks a key, keeps Pods from
starting with a message that is hard to find. So it is asked for while there is a
cluster to ask: one whose namespace is already there.
*/}}
{{- define "app.guardSecrets" -}}
{{- $forbidden := ternary "[$<>&]" "[$]" .Values.clickhouse.enabled -}}
{{- include "app.guardText" (dict "where" "clickhouse.auth.password" "text" .Values.clickhouse.auth.password "forbidden" $forbidden) -}}
{{- if and .Values.clickhouse.enabled (not .Values.clickhouse.auth.existingSecret) (not .Values.clickhouse.auth.password) -}}
{{- fail "clickhouse.auth.password is empty, and clickhouse.auth.existingSecret too: without a password the image of ClickHouse lets nobody in. Set one of them" -}}
{{- end -}}
{{- $keys := .Values.tollkeeper.keys -}}
{{- if not $keys.existingSecret -}}
{{- range $name := list "current" "admin" -}}
{{- if not (get $keys $name) -}}
{{- fail (printf "tollkeeper.keys.%s is empty, and tollkeeper.keys.existingSecret too: tollkeeper takes no usage without keys. Set one of them" $name) -}}
{{- end -}}
{{- end -}}
{{- if has $keys.admin (list $keys.current $keys.previous) -}}
{{- fail "tollkeeper.keys.admin is a key of the Collector's too: whoever can read that could change prices and invoices; choose another" -}}
{{- end -}}
{{- end -}}
{{- range $name := list "current" "previous" "admin" -}}
{{- include "app.guardText" (dict "where" (printf "tollkeeper.keys.%s" $name) "text" (get $keys $name) "forbidden" "[$\\s]") -}}
{{- end -}}
{{- /* Every namespace has this ConfigMap, and who installs the chart may read ConfigMaps. */ -}}
{{- if lookup "v1" "ConfigMap" .Release.Namespace "kube-root-ca.crt" -}}
{{- $v := .Values -}}
{{- $clickhouse := include "clickhouse.used" . -}}
{{- range list
  (list "huggingface.existingSecret" $v.huggingface.existingSecret $v.huggingface.key)
  (list "vllm.apiKey.existingSecret" $v.vllm.apiKey.existingSecret $v.vllm.apiKey.key)
  (list "clickhouse.auth.existingSecret" (ternary $v.clickhouse.auth.existingSecret "" (ne $clickhouse "")) $v.clickhouse.auth.key)
  (list "tollkeeper.keys.existingSecret" $v.tollkeeper.keys.existingSecret "current")
  (list "tollkeeper.keys.existingSecret" $v.tollkeeper.keys.existingSecret "admin")
  (list "tollkeeper.signingKey.existingSecret" $v.tollkeeper.signingKey.existingSecret "signing.key")
-}}
{{- $path := index . 0 -}}
{{- $name := index . 1 -}}
{{- $key := index . 2 -}}
{{- if $name -}}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace $name -}}
{{- if not $secret -}}
{{- fail (printf "%s names the Secret %q, and there is none in the namespace %s: kubectl -n %s create secret generic %s --from-literal=%s=…" $path $name $.Release.Namespace $.Release.Namespace $name $key) -}}
{{- end -}}
{{- if eq $path "clickhouse.auth.existingSecret" -}}
{{- include "app.guardText" (dict "where" (printf "%s: its key %s" $path $key) "text" (get ($secret.data | default dict) $key | b64dec) "forbidden" $forbidden) -}}
{{- else if eq $key "current" -}}
{{- include "app.guardText" (dict "where" (printf "%s: its key %s" $path $key) "text" (get ($secret.data | default dict) $key | b64dec) "forbidden" "[$\\s]") -}}
{{- end -}}
{{- if not (get ($secret.data | default dict) $key) -}}
{{- fail (printf "%s names the Secret %q, which has no key %q, or an empty one; it has %s" $path $name $key (keys ($secret.data | default dict) | sortAlpha | join ", " | default "none")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Collector takes $ for a reference to a variable, and ClickHouse's image writes its password into XML as it is: both would refuse it without saying why. */}}
{{- define "app.guardText" -}}
{{- if regexMatch .forbidden .text -}}
{{- fail (printf "%s must not contain $%s: choose another" .where (ternary ", <, > or &: ClickHouse's image puts it into XML, and the Collector takes $ for a reference" (ternary ", which the Collector takes for a reference, or blanks" ", which the Collector takes for a reference" (contains "s" .forbidden)) (contains "<" .forbidden))) -}}
{{- end -}}
{{- end -}}
