{{/* A request accepted at the very end of the lame duck may still take its whole time. */}}
{{- define "mintmark.gracePeriod" -}}
{{- $timeout := include "mintmark.text" .Values.settings.engine.request_timeout_s | float64 | ceil | int -}}
{{- add (int .Values.drain.lameDuckSeconds) $timeout (int .Values.drain.marginSeconds) -}}
{{- end -}}

{{- define "mintmark.strategy" -}}
{{- $v := .Values -}}
{{- $isOneNode := or $v.state.persistence.enabled (and (eq $v.model.source "cache") (ne $v.model.cache.accessMode "ReadWriteMany")) -}}
{{- if $v.rollout.strategy -}}
{{ toYaml $v.rollout.strategy }}
{{- else if $isOneNode -}}
# The new pod could not mount the volume, or would write the old one's ledger: first the old one goes.
type: Recreate
{{- else if and $v.gpu.enabled (eq (int $v.gpu.spare) 0) -}}
# With every GPU taken, a surge pod would be Pending for ever and the rollout with it.
type: RollingUpdate
rollingUpdate:
  maxSurge: 0
  maxUnavailable: 1
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: {{ ternary (int $v.gpu.spare) 1 $v.gpu.enabled }}
  maxUnavailable: 0
{{- end -}}
{{- end -}}

{{- define "mintmark.topologySpread" -}}
{{- $v := .Values -}}
{{- $own := list
  (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway")
  (dict "maxSkew" 1 "topologyKey" "topology.kubernetes.io/zone" "whenUnsatisfiable" "ScheduleAnyway")
-}}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "mintmark.selector" . | fromYaml)) "matchLabelKeys" (list "pod-template-hash") -}}
{{- range default $own $v.topologySpread.constraints }}
- {{ merge (dict) . $selector | toYaml | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{- define "mintmark.resources" -}}
{{- $device := dict -}}
{{- if .Values.gpu.enabled -}}
{{- $_ := set $device .Values.gpu.resource 1 -}}
{{- end -}}
{{- with .Values.resources.requests -}}
requests:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{- with merge $device (default (dict) .Values.resources.limits) -}}
limits:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}
