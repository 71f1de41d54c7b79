{{/* Names and labels that all objects share. */}}
{{- define "hb.name" -}}
{{- if contains "hb" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-hb" .Release.Name }}{{ end }}
{{- end }}

{{- define "hb.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "hb.labels" -}}
app.kubernetes.io/name: hb
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: hb
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "hb.selector" -}}
app.kubernetes.io/name: hb
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "hb.storeUrl" -}}
{{ .Values.store.url | default (printf "redis://%s-redis:6379" (include "hb.name" .)) }}
{{- end }}

{{/* Where agents run, as a JSON list. */}}
{{- define "hb.agentNamespaces" -}}
{{ .Values.agents.namespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{/* What Pod Security `restricted` asks of a pod, and of each container. */}}
{{- define "hb.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "hb.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
