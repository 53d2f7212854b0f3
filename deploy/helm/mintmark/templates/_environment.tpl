{{/* A value as the text of a variable. Numbers of values.yaml are floats: 33554432 is not 3.3e+07. */}}
{{- define "mintmark.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- printf "%.0f" . -}}
{{- else if or (kindIs "slice" .) (kindIs "map" .) -}}
{{- toJson . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* Where the model is, as the setting wants it; nothing for the embedded one. */}}
{{- define "mintmark.modelPath" -}}
{{- if eq .Values.model.source "cache" -}}
{{- .Values.model.cache.hubId -}}
{{- else if ne .Values.model.source "embedded" -}}
{{- printf "/models/%s" .Values.model.folder | trimSuffix "/" -}}
{{- end -}}
{{- end -}}

{{/* Plain variables: what the chart derives, then the settings. A map, so that each is set once. */}}
{{- define "mintmark.variables" -}}
{{- $v := .Values -}}
{{- $state := "/var/lib/mintmark" -}}
{{- $e := dict
  "BENTOML_DO_NOT_TRACK" "true"
  "BENTOML_HOME" (printf "%s/bentoml" $state)
  "HOME" $state
  "MINTMARK_SERVER__HOST" "0.0.0.0"
  "MINTMARK_SERVER__HTTP_PORT" (include "mintmark.text" $v.ports.http)
  "MINTMARK_SERVER__GRPC_PORT" (include "mintmark.text" $v.ports.grpc)
  "MINTMARK_SERVER__ADMIN_PORT" (include "mintmark.text" $v.ports.admin)
  "MINTMARK_SERVER__STATE_DIR" $state
  "MINTMARK_SERVER__LAME_DUCK_S" (include "mintmark.text" $v.drain.lameDuckSeconds)
  "MINTMARK_SERVER__STARTUP_BUDGET_S" (include "mintmark.text" $v.probes.startup.budgetSeconds)
  "MINTMARK_MODEL__DEVICE" (ternary "cuda" "cpu" $v.gpu.enabled)
  "MINTMARK_STORAGE__KIND" $v.storage.kind
-}}
{{- with include "mintmark.modelPath" . -}}
{{- $_ := set $e "MINTMARK_MODEL__PATH" . -}}
{{- end -}}
{{- if eq $v.model.source "cache" -}}
{{- $_ := set $e "HF_HOME" "/models" -}}
{{- $_ := set $e "MINTMARK_MODEL__ALLOW_DOWNLOAD" "true" -}}
{{- with $v.model.cache.revision -}}
{{- $_ := set $e "MINTMARK_MODEL__HUB_REVISION" . -}}
{{- end -}}
{{- end -}}
{{- if $v.signing.existingSecret -}}
{{- $_ := set $e "MINTMARK_PROVENANCE__CERTIFICATE_CHAIN_PATH" "/run/mintmark/signing/chain.pem" -}}
{{- $_ := set $e "MINTMARK_PROVENANCE__PRIVATE_KEY_PATH" "/run/mintmark/signing/key.pem" -}}
{{- $_ := set $e "MINTMARK_PROVENANCE__TRUST_ANCHORS_PATH" "/run/mintmark/signing/trust-anchors.pem" -}}
{{- else if $v.ledger.existingSecret -}}
{{- /* One replica, and development or an explicit wish: anything else has been refused. */ -}}
{{- $_ := set $e "MINTMARK_PROVENANCE__ALLOW_DEVELOPMENT_CA_ON_POSTGRESQL" "true" -}}
{{- end -}}
{{- if $v.access.existingSecret -}}
{{- $_ := set $e "MINTMARK_ACCESS__KEYS_FILE" (printf "/run/mintmark/access/%s" $v.access.key) -}}
{{- else -}}
{{- $_ := set $e "MINTMARK_ACCESS__ALLOW_OPEN" "true" -}}
{{- end -}}
{{- if $v.grpc.tls.existingSecret -}}
{{- $_ := set $e "MINTMARK_RPC__CERTIFICATE_PATH" "/run/mintmark/grpc/tls.crt" -}}
{{- $_ := set $e "MINTMARK_RPC__PRIVATE_KEY_PATH" "/run/mintmark/grpc/tls.key" -}}
{{- end -}}
{{- if $v.grpc.tls.clientCaKey -}}
{{- $_ := set $e "MINTMARK_RPC__CLIENT_CA_PATH" "/run/mintmark/grpc/client-ca.crt" -}}
{{- $_ := set $e "MINTMARK_RPC__REQUIRE_CLIENT_CERTIFICATE" "true" -}}
{{- end -}}
{{- if $v.storage.publicBaseUrl -}}
{{- $_ := set $e "MINTMARK_STORAGE__PUBLIC_BASE_URL" $v.storage.publicBaseUrl -}}
{{- end -}}
{{- if $v.storage.linkKey.existingSecret -}}
{{- $_ := set $e "MINTMARK_STORAGE__LINK_KEY_PATH" "/run/mintmark/link/link-key" -}}
{{- end -}}
{{- if eq $v.storage.kind "s3" -}}
{{- $_ := set $e "MINTMARK_STORAGE__S3_BUCKET" $v.storage.s3.bucket -}}
{{- $_ := set $e "MINTMARK_STORAGE__S3_PREFIX" $v.storage.s3.prefix -}}
{{- with $v.storage.s3.region -}}
{{- $_ := set $e "MINTMARK_STORAGE__S3_REGION" . -}}
{{- end -}}
{{- with $v.storage.s3.endpointUrl -}}
{{- $_ := set $e "MINTMARK_STORAGE__S3_ENDPOINT_URL" . -}}
{{- end -}}
{{- end -}}
{{- with $v.tracing.endpoint -}}
{{- $_ := set $e "MINTMARK_TELEMETRY__OTLP_ENDPOINT" . -}}
{{- end -}}
{{- range $section, $fields := $v.settings -}}
{{- range $field, $value := $fields -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $e (printf "MINTMARK_%s__%s" (upper $section) (upper $field)) (include "mintmark.text" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $e -}}
{{- end -}}

{{- define "mintmark.environment" -}}
{{- $v := .Values -}}
{{- range $name, $value := include "mintmark.variables" . | fromJson }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- if and (not (dig "model" "num_threads" "" $v.settings)) (dig "requests" "cpu" "" $v.resources) }}
# Otherwise one thread for each of the node's cores, however few of them are this pod's.
- name: MINTMARK_MODEL__NUM_THREADS
  valueFrom:
    resourceFieldRef:
      resource: requests.cpu
      divisor: "1"
{{- end }}
{{- with $v.ledger.existingSecret }}
- name: MINTMARK_LEDGER__URL
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $v.ledger.urlKey }}
{{- end }}
{{- with $v.tracing.headersSecret }}
- name: MINTMARK_TELEMETRY__OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $v.tracing.headersKey }}
{{- end }}
{{- if and (eq $v.model.source "cache") $v.model.cache.tokenSecret }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ $v.model.cache.tokenSecret }}
      key: {{ $v.model.cache.tokenKey }}
{{- end }}
{{- if and (eq $v.storage.kind "s3") $v.storage.s3.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ $v.storage.s3.existingSecret }}
      key: {{ $v.storage.s3.accessKeyIdKey }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $v.storage.s3.existingSecret }}
      key: {{ $v.storage.s3.secretAccessKeyKey }}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
