{{/* Name that all objects of the release begin with. */}}
{{- define "tsagg.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Name of a cluster-wide object: two releases of one name in two namespaces must not meet. Takes (list ROOT SUFFIX). */}}
{{- define "tsagg.clusterName" -}}
{{- $root := index . 0 -}}
{{ include "tsagg.fullname" $root }}-{{ index . 1 }}.{{ $root.Release.Namespace }}
{{- end -}}

{{/* What finds the pods of one part, for ever: a Deployment's selector cannot change. Takes (list ROOT COMPONENT). */}}
{{- define "tsagg.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of every object. Takes (list ROOT COMPONENT). */}}
{{- define "tsagg.labels" -}}
{{- $root := index . 0 -}}
{{ include "tsagg.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Full name of an image. Takes (list ROOT IMAGE). */}}
{{- define "tsagg.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.image.registry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}

{{/* Pod Security `restricted`: the pod's part. The image names its numeric user, so that a platform may choose another. */}}
{{- define "tsagg.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Pod Security `restricted`: the container's part. */}}
{{- define "tsagg.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
