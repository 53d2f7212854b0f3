{{/* Yields "yes" if there may be more than one replica. */}}
{{- define "mintmark.isMany" -}}
{{- if or (ne .Values.autoscaling.by "none") (gt (int .Values.replicas) 1) -}}yes{{- end -}}
{{- end -}}

{{/* What the form of single values cannot say. Every problem is one sentence; all are shown at once. */}}
{{- define "mintmark.refuse" -}}
{{- $problems := concat (include "mintmark.unsafe" . | fromJsonArray) (include "mintmark.incomplete" . | fromJsonArray) (include "mintmark.contradictory" . | fromJsonArray) -}}
{{- if $problems -}}
{{- fail (printf "\n%s" (join "\n" $problems)) -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.unsafe" -}}
{{- $v := .Values -}}
{{- $many := include "mintmark.isMany" . -}}
{{- $isProduction := eq $v.profile "production" -}}
{{- $p := list -}}
{{- if and $isProduction (not $v.signing.existingSecret) (not $v.signing.allowDevelopmentAuthority) -}}
{{- $p = append $p "Production pictures need a certificate: set signing.existingSecret, or profile to development, or signing.allowDevelopmentAuthority." -}}
{{- end -}}
{{- if and $many (not $v.signing.existingSecret) -}}
{{- $p = append $p "Several replicas must sign with one key: set signing.existingSecret." -}}
{{- end -}}
{{- if and (not $v.access.existingSecret) (not $v.access.allowOpen) -}}
{{- $p = append $p "Everybody in the cluster could call a service without API keys: set access.existingSecret, or access.allowOpen if that is meant." -}}
{{- end -}}
{{- if and $many (not $v.ledger.existingSecret) -}}
{{- $p = append $p "An SQLite ledger serves one replica: set ledger.existingSecret to a database's URL, or replicas to 1 without autoscaling." -}}
{{- end -}}
{{- if and $isProduction (not $v.ledger.existingSecret) (not $v.state.persistence.enabled) -}}
{{- $p = append $p "The ledger would be lost with the pod: set ledger.existingSecret or state.persistence.enabled." -}}
{{- end -}}
{{- if and $isProduction (eq $v.model.source "cache") (not $v.model.cache.revision) -}}
{{- $p = append $p "A hub's model can change under its name: pin model.cache.revision." -}}
{{- end -}}
{{- toJson $p -}}
{{- end -}}

{{- define "mintmark.incomplete" -}}
{{- $v := .Values -}}
{{- $p := list -}}
{{- if not (dig "engine" "request_timeout_s" "" $v.settings) -}}
{{- $p = append $p "settings.engine.request_timeout_s must have a value: the grace period follows from it." -}}
{{- end -}}
{{- if and (eq $v.model.source "claim") (not $v.model.claim.name) -}}
{{- $p = append $p "model.source claim needs model.claim.name." -}}
{{- end -}}
{{- if and (eq $v.model.source "image") (not $v.model.image.reference) -}}
{{- $p = append $p "model.source image needs model.image.reference." -}}
{{- end -}}
{{- if and (eq $v.model.source "cache") (not $v.model.cache.hubId) -}}
{{- $p = append $p "model.source cache needs model.cache.hubId." -}}
{{- end -}}
{{- if and (eq $v.storage.kind "s3") (not $v.storage.s3.bucket) -}}
{{- $p = append $p "storage.kind s3 needs storage.s3.bucket." -}}
{{- end -}}
{{- if and (eq $v.storage.kind "s3") (not $v.storage.s3.existingSecret) (not $v.serviceAccount.annotations) -}}
{{- $p = append $p "storage.kind s3 needs credentials: set storage.s3.existingSecret, or serviceAccount.annotations for a role." -}}
{{- end -}}
{{- if and (eq $v.autoscaling.by "keda") (not $v.autoscaling.prometheus.serverAddress) -}}
{{- $p = append $p "autoscaling.by keda needs autoscaling.prometheus.serverAddress." -}}
{{- end -}}
{{- if and $v.grpc.tls.clientCaKey (not $v.grpc.tls.existingSecret) -}}
{{- $p = append $p "grpc.tls.clientCaKey needs grpc.tls.existingSecret: without TLS no client shows a certificate." -}}
{{- end -}}
{{- if and $v.tracing.headersSecret (not $v.tracing.endpoint) -}}
{{- $p = append $p "tracing.headersSecret needs tracing.endpoint." -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- $p = append $p "ingress.enabled needs ingress.host." -}}
{{- end -}}
{{- range $kind := list "http" "grpc" -}}
{{- $route := index $v.gateway $kind -}}
{{- if and $route.enabled (not $route.parentRefs) -}}
{{- $p = append $p (printf "gateway.%s.enabled needs gateway.%s.parentRefs." $kind $kind) -}}
{{- end -}}
{{- end -}}
{{- toJson $p -}}
{{- end -}}

{{- define "mintmark.contradictory" -}}
{{- $v := .Values -}}
{{- $many := include "mintmark.isMany" . -}}
{{- $p := list -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- $p = append $p "autoscaling.minReplicas is above autoscaling.maxReplicas." -}}
{{- end -}}
{{- if and $many $v.state.persistence.enabled -}}
{{- $p = append $p "state.persistence is one volume for one replica: with a database and a shared signing key it is not needed." -}}
{{- end -}}
{{- if and $many (eq $v.storage.kind "folder") -}}
{{- $p = append $p "storage.kind folder keeps pictures in one replica, and links reach any: use s3." -}}
{{- end -}}
{{- if and $many (eq $v.model.source "cache") (ne $v.model.cache.accessMode "ReadWriteMany") -}}
{{- $p = append $p "Several replicas need a model cache that several nodes can mount: set model.cache.accessMode to ReadWriteMany." -}}
{{- end -}}
{{- if and (eq $v.model.source "image") (not (semverCompare ">=1.33.0-0" .Capabilities.KubeVersion.Version)) -}}
{{- $p = append $p (printf "model.source image needs Kubernetes 1.33; this is %s." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $v.gateway.grpc.enabled $v.grpc.tls.existingSecret -}}
{{- $p = append $p "gateway.grpc speaks plain text to the pods: leave grpc.tls.existingSecret empty, or gateway.grpc disabled." -}}
{{- end -}}
{{- if ne (len (uniq (list (int $v.ports.http) (int $v.ports.grpc) (int $v.ports.admin)))) 3 -}}
{{- $p = append $p "ports.http, ports.grpc and ports.admin must differ." -}}
{{- end -}}
{{- toJson $p -}}
{{- end -}}
