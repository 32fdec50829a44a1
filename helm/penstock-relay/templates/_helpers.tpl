{{- define "penstock-relay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: a StatefulSet puts its name and a hash of 10 into a label of 63. */}}
{{- define "penstock-relay.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Never more than these two: a selector cannot be changed later. */}}
{{- define "penstock-relay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "penstock-relay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "penstock-relay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "penstock-relay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: relay
app.kubernetes.io/part-of: penstock
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "penstock-relay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "penstock-relay.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "penstock-relay.claimName" -}}
{{- default (include "penstock-relay.fullname" .) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "penstock-relay.image" -}}
{{- $registry := default .Values.image.registry (.Values.global).imageRegistry -}}
{{- $name := ternary .Values.image.repository (printf "%s/%s" $registry .Values.image.repository) (empty $registry) -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* relay.toml. Apart from its ConfigMap, so that only the text itself decides whether a new pod is needed. */}}
{{- define "penstock-relay.config" -}}
public_url = {{ .Values.publicUrl | toRawJson }}
listen = "0.0.0.0:8080"
tunnel_url = {{ .Values.tunnelUrl | toRawJson }}
tunnel_listen = "0.0.0.0:8443"
ops_listen = "0.0.0.0:9090"
state_dir = "/var/lib/penstock-relay"
log_level = {{ .Values.logLevel | toRawJson }}
{{- if .Values.masterKey.existingSecret }}
master_key_file = {{ printf "/etc/penstock-relay-secrets/master/%s" .Values.masterKey.key | toRawJson }}
{{- end }}
{{- if .Values.ca.existingSecret }}
ca_cert_file = {{ printf "/etc/penstock-relay-secrets/ca/%s" .Values.ca.certificate | toRawJson }}
ca_key_file = {{ printf "/etc/penstock-relay-secrets/ca/%s" .Values.ca.privateKey | toRawJson }}
{{- end }}
{{- with .Values.trustedProxies }}
trusted_proxies = {{ toRawJson . }}
{{- end }}
{{- /* Plain settings before all tables: after the first table they would be part of it. */}}
{{- range $name, $value := .Values.settings }}
{{- if not (or (kindIs "map" $value) (and (kindIs "slice" $value) (not (empty $value)) (kindIs "map" (first $value)))) }}
{{ $name }} = {{ $value | toRawJson }}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{- if kindIs "map" $value }}

{{ dict $name $value | toToml | trim }}
{{- else if and (kindIs "slice" $value) (not (empty $value)) (kindIs "map" (first $value)) }}

{{ dict $name $value | toToml | trim }}
{{- end }}
{{- end }}
{{- with .Values.callers.egress }}

[callers]
egress = {{ toRawJson . }}
{{- end }}
{{- end -}}

{{- define "penstock-relay.publicHost" -}}
{{- (urlParse .Values.publicUrl).host | regexFind "^(\\[[^]]*\\]|[^:]*)" -}}
{{- end -}}

{{/*
What no schema can say: values that are wrong together, or that are missing and have no honest default. Each text
says what to do.
*/}}
{{- define "penstock-relay.validate" -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "\n\nreplicaCount is %d, but this version of the relay runs as one replica: its records are in SQLite, and a second relay would not find the links of the first.\nSet replicaCount to 1.\n" (int .Values.replicaCount)) -}}
{{- end -}}
{{- if not .Values.publicUrl -}}
{{- fail "\n\npublicUrl is not set: it is what users paste into their assistant.\nSet it, for example: --set publicUrl=https://mcp.example.com\n" -}}
{{- end -}}
{{- if not (regexMatch "^https://[^/?#@]+$" .Values.publicUrl) -}}
{{- fail (printf "\n\npublicUrl is %q, but it must be https:// with a host and nothing after it: callers' tokens travel to it.\nSet it, for example: --set publicUrl=https://mcp.example.com\n" .Values.publicUrl) -}}
{{- end -}}
{{- if not .Values.tunnelUrl -}}
{{- fail "\n\ntunnelUrl is not set: it is what agents dial, and it goes into every join string.\nSet it, for example: --set tunnelUrl=wss://tunnel.example.com:443\n" -}}
{{- end -}}
{{- if not (regexMatch "^wss://[^/?#@:]+:[0-9]+$|^wss://\\[[0-9a-fA-F:.]+\\]:[0-9]+$" .Values.tunnelUrl) -}}
{{- fail (printf "\n\ntunnelUrl is %q, but it must be wss:// with a host and a port, and nothing after them.\nSet it, for example: --set tunnelUrl=wss://tunnel.example.com:443\n" .Values.tunnelUrl) -}}
{{- end -}}
{{- if not .Values.image.repository -}}
{{- fail "\n\nimage.repository is not set, and no image is published with this version.\nBuild one (docker build -f relay/Dockerfile -t REGISTRY/penstock-relay .), push it, and set image.repository=REGISTRY/penstock-relay\n" -}}
{{- end -}}
{{- $public := trimPrefix "https://" .Values.publicUrl -}}
{{- if not (regexMatch ":[0-9]+$" $public) -}}{{- $public = printf "%s:443" $public -}}{{- end -}}
{{- if and .Values.ingress.enabled (eq (lower $public) (lower (trimPrefix "wss://" .Values.tunnelUrl))) -}}
{{- fail (printf "\n\npublicUrl and tunnelUrl are both %s, but an Ingress ends TLS and the tunnel must reach the relay unopened.\nGive the tunnel a host or a port of its own, for example: --set tunnelUrl=wss://tunnel.example.com:443\n" $public) -}}
{{- end -}}
{{- if and .Values.callers.egress (not .Values.trustedProxies) -}}
{{- fail "\n\ncallers.egress is set, but trustedProxies is not: the relay would take the address of every caller for that of what stands in front of it.\nSet trustedProxies, for example: --set 'trustedProxies={10.244.0.0/16}'\n" -}}
{{- end -}}
{{- range $name := list "public_url" "listen" "tunnel_url" "tunnel_listen" "ops_listen" "state_dir" "log_level" "master_key_file" "ca_cert_file" "ca_key_file" "trusted_proxies" "callers" "database_url" -}}
{{- if hasKey $.Values.settings $name -}}
{{- fail (printf "\n\nsettings.%s is set, but this chart decides it.\nRemove it: README.md has the value to set instead, if there is one.\n" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tunnelService.loadBalancerSourceRanges (ne .Values.tunnelService.type "LoadBalancer") -}}
{{- fail (printf "\n\ntunnelService.loadBalancerSourceRanges has no effect on a Service of type %s: everybody could connect.\nUse networkPolicy.tunnelFrom, or tunnelService.type=LoadBalancer\n" .Values.tunnelService.type) -}}
{{- end -}}
{{- if and .Values.tunnelService.nodePort (eq .Values.tunnelService.type "ClusterIP") -}}
{{- fail "\n\ntunnelService.nodePort is set, but a Service of type ClusterIP has no node port.\nUnset it, or set tunnelService.type to NodePort or LoadBalancer\n" -}}
{{- end -}}
{{- end -}}

{{/*
The relay lets calls finish for 5 s once it is told to stop, then closes its listeners, which takes a few seconds at most;
the rest is slack for a busy node. Not a value: a shorter time would cut answers off, a longer one gains nothing.
*/}}
{{- define "penstock-relay.graceSeconds" -}}
{{- $calls := 5 -}}
{{- $listeners := 5 -}}
{{- $slack := 20 -}}
{{- add $calls $listeners $slack -}}
{{- end -}}
