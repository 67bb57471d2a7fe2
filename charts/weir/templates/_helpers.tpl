{{- /* Name of the install: the release's, with "weir" in it. */ -}}
{{- define "weir.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-weir" .Release.Name) (contains "weir" .Release.Name) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- /* (dict "root" $ "component" "agent"): labels that select its pods. */ -}}
{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "weir.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "weir.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Where pods go: (dict "priorityClassName" … "nodeSelector" … "tolerations" …). */ -}}
{{- define "weir.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Bytes of a quantity in Mi or Gi, as a number. */ -}}
{{- define "weir.bytes" -}}
{{- $n := regexFind "^[0-9]+" . | int64 -}}
{{- if hasSuffix "Ti" . }}{{ mul $n 1099511627776 }}{{ else if hasSuffix "Gi" . }}{{ mul $n 1073741824 }}{{ else }}{{ mul $n 1048576 }}{{ end -}}
{{- end }}

{{- /* GOMEMLIMIT: nine tenths of the limit, so that the collector works harder before the kernel kills. */ -}}
{{- define "weir.memoryLimit" -}}
{{- with dig "limits" "memory" "" . }}
- name: GOMEMLIMIT
  value: {{ div (mul (include "weir.bytes" . | int64) 9) 10 | quote }}
{{- end }}
{{- end }}

{{- /* Of a container that needs nothing: (dict) */ -}}
{{- define "weir.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "weir.unprivilegedPod" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* The environment of a client of NATS: (dict "root" $ "component" "agent"). */ -}}
{{- define "weir.natsEnv" -}}
{{- $ := .root -}}
{{- if $.Values.nats.enabled -}}
- name: WEIR_SERVER
  valueFrom:
    secretKeyRef:
      name: {{ include "weir.fullname" $ }}-nats-{{ .component }}
      key: server
- name: WEIR_TLS_CA
  value: /etc/weir/nats/ca.crt
{{- else -}}
- name: WEIR_SERVER
  value: {{ $.Values.nats.external.url | quote }}
- name: WEIR_CREDS
  value: /etc/weir/nats/{{ .component }}.creds
- name: WEIR_INBOX_PREFIX
  value: _INBOX_{{ .component }}
{{- if $.Values.nats.external.caSecret }}
- name: WEIR_TLS_CA
  value: /etc/weir/nats/ca.crt
{{- end }}
{{- end }}
- name: WEIR_NATS_WAIT
  value: 5m
{{- end }}

{{- define "weir.natsMount" -}}
- name: nats
  mountPath: /etc/weir/nats
  readOnly: true
{{- end }}

{{- define "weir.natsVolume" -}}
{{- $ := .root -}}
- name: nats
  projected:
    sources:
{{- if $.Values.nats.enabled }}
      - secret:
          name: {{ include "weir.fullname" $ }}-nats-{{ .component }}
          items: [{key: ca.crt, path: ca.crt}]
{{- else }}
      - secret:
          name: {{ $.Values.nats.external.credentialsSecret | quote }}
          items: [{key: {{ .component }}.creds, path: {{ .component }}.creds}]
{{- with $.Values.nats.external.caSecret }}
      - secret:
          name: {{ . | quote }}
          items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{- /* Changes when the component's user or the CA does: pods read them at the start. */ -}}
{{- define "weir.natsChecksum" -}}
{{- if and .root.Values.nats.enabled .root.Values.nats.createSecrets -}}
{{- $state := include "weir.nats.state" .root | fromYaml -}}
checksum/nats-user: {{ printf "%s %s" (index $state.passwords .component) $state.ca | sha256sum | trunc 16 | quote }}
{{- else -}}
checksum/nats-user: {{ toYaml .root.Values.nats.external | sha256sum | trunc 16 | quote }}
{{- end -}}
{{- end }}

{{- /* Pods of one component on as many nodes and zones as there are. */ -}}
{{- define "weir.spread" -}}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "weir.selector" $ | nindent 8 }}
{{- if ne $.component "nats" }}
    # Not counting the pods that a rollout replaces. Kubernetes 1.27; ignored before.
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{- /* Probes of a service's port. */ -}}
{{- define "weir.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  failureThreshold: 3
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 180
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
{{- end }}

{{- /* Sizes in bytes: raw, enriched, latency, rollup, history, all that the server must hold, volume. */ -}}
{{- define "weir.sizes" -}}
{{- $s := .Values.sizing -}}
{{- $events := mul 2 (int64 $s.requestsPerSecond) -}}
{{- $nodes := int64 $s.nodes -}}
{{- $raw := int64 $s.rawBytes | default (mul 7200 (add (mul $events 34) (mul $nodes 10240))) -}}
{{- $enriched := int64 $s.enrichedBytes | default (mul 14400 (add (mul $events 50) (mul $nodes 12288))) -}}
{{- $latency := int64 $s.latencyBytes | default (mul 3000000 (int64 $s.series)) -}}
{{- $rollup := int64 $s.rollupBytes | default (mul 1000000 (int64 $s.series)) -}}
{{- $history := int64 $s.historyBytes | default (mul 250000 (int64 $s.series)) -}}
{{- $store := add $raw $enriched $latency $rollup $history 536870912 -}}
{{- $volume := printf "%dGi" (div (add (div (mul $store 5) 4) 1073741823) 1073741824) -}}
{{- $want := .Values.nats.volume.size | default $volume -}}
{{- if lt (include "weir.bytes" $want | int64) $store -}}
{{- fail (printf "nats.volume.size %s is less than the streams need (%d bytes): make it larger, or sizing smaller" $want $store) -}}
{{- end -}}
raw: {{ $raw }}
enriched: {{ $enriched }}
latency: {{ $latency }}
rollup: {{ $rollup }}
history: {{ $history }}
store: {{ $store }}
volume: {{ $want }}
{{- end }}

{{- /* What a schema can't say. */ -}}
{{- define "weir.check" -}}
{{- with .Values.nats -}}
{{- if not .enabled -}}
{{- if not .external.url -}}
{{- fail "nats.enabled is false: say where your NATS is with nats.external.url" -}}
{{- end -}}
{{- if not .external.credentialsSecret -}}
{{- fail "nats.enabled is false: name the Secret of the users' credentials files with nats.external.credentialsSecret" -}}
{{- end -}}
{{- else if or .external.url .external.credentialsSecret .external.caSecret -}}
{{- fail "nats.external is set, and nats.enabled is true: set nats.enabled to false to use your own NATS" -}}
{{- end -}}
{{- end -}}
{{- $profile := .Values.agent.seccompProfile -}}
{{- if ne (eq $profile.type "Localhost") (hasKey $profile "localhostProfile") -}}
{{- fail "agent.seccompProfile: localhostProfile goes with type Localhost, and with no other" -}}
{{- end -}}
{{- end }}

{{- /* A label selector as kubectl takes it: "a=b,c in (d,e),!f". */ -}}
{{- define "weir.selectorText" -}}
{{- $terms := list -}}
{{- range $key, $value := .matchLabels -}}
{{- $terms = append $terms (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- range .matchExpressions -}}
{{- $form := get (dict "In" "%s in (%s)" "NotIn" "%s notin (%s)" "Exists" "%s%s" "DoesNotExist" "!%s%s") .operator -}}
{{- $terms = append $terms (printf $form .key (join "," .values)) -}}
{{- end -}}
{{- join "," $terms -}}
{{- end }}
