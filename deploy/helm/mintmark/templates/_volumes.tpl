{{/* Secrets that are files: name of the volume -> {secret, items}. Files keep their names whatever the entries are called. */}}
{{- define "mintmark.secretFiles" -}}
{{- $v := .Values -}}
{{- $f := dict -}}
{{- with $v.signing -}}
{{- if .existingSecret -}}
{{- $_ := set $f "signing" (dict "secret" .existingSecret "items" (dict "chain.pem" .chainKey "key.pem" .privateKeyKey "trust-anchors.pem" .trustAnchorsKey)) -}}
{{- end -}}
{{- end -}}
{{- with $v.access -}}
{{- if .existingSecret -}}
{{- $_ := set $f "access" (dict "secret" .existingSecret "items" (dict .key .key)) -}}
{{- end -}}
{{- end -}}
{{- with $v.grpc.tls -}}
{{- if .existingSecret -}}
{{- $items := dict "tls.crt" .certificateKey "tls.key" .privateKeyKey -}}
{{- if .clientCaKey -}}
{{- $_ := set $items "client-ca.crt" .clientCaKey -}}
{{- end -}}
{{- $_ := set $f "grpc" (dict "secret" .existingSecret "items" $items) -}}
{{- end -}}
{{- end -}}
{{- with $v.storage.linkKey -}}
{{- if .existingSecret -}}
{{- $_ := set $f "link" (dict "secret" .existingSecret "items" (dict "link-key" .key)) -}}
{{- end -}}
{{- end -}}
{{- toJson $f -}}
{{- end -}}

{{- define "mintmark.volumes" -}}
{{- $v := .Values -}}
- name: state
  {{- if $v.state.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-state" (include "mintmark.fullname" .)) $v.state.persistence.existingClaim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ $v.state.sizeLimit }}
  {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ $v.scratch.tmpSizeLimit }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ $v.scratch.shmSizeLimit }}
{{- if eq $v.model.source "claim" }}
- name: model
  persistentVolumeClaim:
    claimName: {{ $v.model.claim.name }}
    readOnly: true
{{- else if eq $v.model.source "cache" }}
- name: model
  persistentVolumeClaim:
    claimName: {{ include "mintmark.fullname" . }}-model
{{- else if eq $v.model.source "image" }}
- name: model
  image:
    reference: {{ $v.model.image.reference }}
    pullPolicy: {{ $v.model.image.pullPolicy }}
{{- end }}
{{- range $name, $files := include "mintmark.secretFiles" . | fromJson }}
- name: {{ $name }}
  secret:
    secretName: {{ $files.secret }}
    # 0440: the volumes' group reads, which is this pod's alone.
    defaultMode: 288
    items:
      {{- range $path, $key := $files.items }}
      - key: {{ $key }}
        path: {{ $path }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "mintmark.volumeMounts" -}}
- name: state
  mountPath: /var/lib/mintmark
- name: tmp
  mountPath: /tmp
- name: shm
  mountPath: /dev/shm
{{- if ne .Values.model.source "embedded" }}
- name: model
  mountPath: /models
  readOnly: {{ ne .Values.model.source "cache" }}
{{- end }}
{{- range $name, $files := include "mintmark.secretFiles" . | fromJson }}
# A whole folder: single files would not follow when the Secret changes.
- name: {{ $name }}
  mountPath: /run/mintmark/{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "mintmark.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.security.runAsUser }}
runAsGroup: {{ .Values.security.runAsGroup }}
fsGroup: {{ .Values.security.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mintmark.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: {{ .Values.security.runAsUser }}
runAsGroup: {{ .Values.security.runAsGroup }}
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}
