{{- /* What an install keeps for life: the users' passwords, the CA, the servers'
certificate. Taken from the Secrets of the release if they are there, made anew
if not. It is worked out once a rendering: everything made here is random. */ -}}
{{- define "weir.nats.state" -}}
{{- if not (hasKey .Values.nats "state") -}}
{{- $name := printf "%s-nats" (include "weir.fullname" .) -}}
{{- $ns := .Release.Namespace -}}
{{- $passwords := dict -}}
{{- range include "weir.nats.components" . | fromYamlArray -}}
{{- $kept := lookup "v1" "Secret" $ns (printf "%s-%s" $name .) -}}
{{- /* A letter first: nats-server reads what looks like a number as one. */ -}}
{{- $password := dig "data" "password" "" $kept | b64dec | default (printf "p%s" (randAlphaNum 31)) -}}
{{- $_ := set $passwords . $password -}}
{{- end -}}
{{- $dns := list $name (printf "%s.%s" $name $ns) (printf "%s.%s.svc" $name $ns) (printf "%s.%s.svc.%s" $name $ns .Values.nats.clusterDomain)
  (printf "*.%s-headless.%s.svc" $name $ns) (printf "*.%s-headless.%s.svc.%s" $name $ns .Values.nats.clusterDomain) "localhost" | concat .Values.nats.extraNames -}}
{{- $names := $dns | sortAlpha | join " " -}}
{{- $state := dict "passwords" $passwords "names" $names -}}
{{- $kept := lookup "v1" "Secret" $ns (printf "%s-tls" $name) -}}
{{- if and $kept (eq (dig "metadata" "annotations" "weir.io/names" "" $kept) $names) -}}
{{- $_ := set $state "ca" (index $kept.data "ca.crt" | b64dec) -}}
{{- $_ := set $state "crt" (index $kept.data "tls.crt" | b64dec) -}}
{{- $_ := set $state "key" (index $kept.data "tls.key" | b64dec) -}}
{{- else -}}
{{- $ca := genCA (printf "%s-ca" $name) 3650 -}}
{{- $pair := genSignedCert $name (list "127.0.0.1" "::1") $dns 3650 $ca -}}
{{- $_ := set $state "ca" $ca.Cert -}}
{{- $_ := set $state "crt" $pair.Cert -}}
{{- $_ := set $state "key" $pair.Key -}}
{{- end -}}
{{- $_ := set .Values.nats "state" $state -}}
{{- end -}}
{{- toYaml .Values.nats.state -}}
{{- end }}

{{- /* Every one has a user of NATS, and a Secret with its password. */ -}}
{{- define "weir.nats.components" -}}
[agent, enricher, aggregator, alerter, provisioner, subscriber, events, operator, gateway]
{{- end }}

{{- /* Size of a server's volume. A StatefulSet can't change it, and an uninstall
leaves the volumes and the streams on them: what is there is kept. */ -}}
{{- define "weir.nats.volume" -}}
{{- $name := printf "%s-nats" (include "weir.fullname" .) -}}
{{- $volume := (include "weir.sizes" . | fromYaml).volume -}}
{{- $ns := .Release.Namespace -}}
{{- with lookup "v1" "PersistentVolumeClaim" $ns (printf "data-%s-0" $name) -}}
{{- with .spec.resources.requests.storage -}}
{{- if regexMatch "^[0-9]+(Mi|Gi|Ti)$" . -}}{{- $volume = . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with lookup "apps/v1" "StatefulSet" $ns $name -}}
{{- $volume = (index .spec.volumeClaimTemplates 0).spec.resources.requests.storage -}}
{{- end -}}
{{- $volume -}}
{{- end }}

{{- /* The servers' configuration. Passwords come from the environment. */ -}}
{{- define "weir.nats.conf" -}}
{{- $name := printf "%s-nats" (include "weir.fullname" .) -}}
{{- $store := (include "weir.sizes" . | fromYaml).store | int64 -}}
{{- $volume := include "weir.nats.volume" . -}}
{{- $replicas := int .Values.nats.replicas -}}
server_name: $POD_NAME
host: {{ .Values.nats.listen | quote }}
port: 4222
http: {{ printf "%s:8222" (ternary (printf "[%s]" .Values.nats.listen) .Values.nats.listen (contains ":" .Values.nats.listen)) | quote }}
pid_file: "/var/run/nats/nats.pid"
# Told to stop, a server hands over what it leads and lets clients go one by one.
lame_duck_grace_period: "5s"
lame_duck_duration: "30s"

jetstream {
  store_dir: "/data"
  # A fifth of the volume is room for what NATS itself keeps. Streams never
  # shrink, so neither does this when sizing does.
  max_file_store: {{ max $store (div (mul (include "weir.bytes" $volume | int64) 4) 5) }}
  # For readers' consumers, which are kept in memory.
  max_memory_store: 268435456
  sync_interval: {{ .Values.nats.syncInterval | quote }}
}

tls {
  cert_file: "/etc/nats-tls/tls.crt"
  key_file: "/etc/nats-tls/tls.key"
  ca_file: "/etc/nats-tls/ca.crt"
  timeout: 5
}
{{- if gt $replicas 1 }}

cluster {
  name: {{ $name }}
  port: 6222
  # Clients come back through the Service, also those of a port-forward.
  no_advertise: true
  routes: [
{{- range $i := until $replicas }}
    "nats://{{ $name }}-{{ $i }}.{{ $name }}-headless.{{ $.Release.Namespace }}.svc:6222"
{{- end }}
  ]
  # Only who has a certificate of this CA is a server of the cluster, and it
  # signed no other than theirs.
  tls {
    cert_file: "/etc/nats-tls/tls.crt"
    key_file: "/etc/nats-tls/tls.key"
    ca_file: "/etc/nats-tls/ca.crt"
    verify: true
    timeout: 5
  }
}
{{- end }}

{{ .Files.Get "files/users.conf" }}
{{- end }}
