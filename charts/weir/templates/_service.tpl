{{- /* Deployment and disruption budget of a service: (dict "root" $ "component"
"enricher" "port" 7072 "values" .Values.enricher "env" "yaml" "account" "name or empty"
"user" "of NATS, the component if empty" "mounts" "yaml" "volumes" "yaml" "annotations" "yaml"). */ -}}
{{- define "weir.service" -}}
{{- $name := printf "%s-%s" (include "weir.fullname" .root) .component -}}
{{- $who := dict "root" .root "component" .component -}}
{{- $user := dict "root" .root "component" (.user | default .component) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels: {{- include "weir.labels" $who | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "weir.selector" $who | nindent 6 }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels: {{- include "weir.labels" $who | nindent 4 }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels: {{- include "weir.selector" $who | nindent 6 }}
  template:
    metadata:
      labels: {{- include "weir.labels" $who | nindent 8 }}
      annotations:
        {{- include "weir.natsChecksum" $user | nindent 8 }}
        {{- with .annotations }}
        {{- . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "weir.pullSecrets" .root | nindent 6 }}
      {{- with .account }}
      serviceAccountName: {{ . }}
      {{- end }}
      automountServiceAccountToken: {{ not (empty .account) }}
      enableServiceLinks: false
      securityContext: {{- include "weir.unprivilegedPod" . | nindent 8 }}
      {{- include "weir.placement" .values | nindent 6 }}
      {{- include "weir.spread" $who | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "weir.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [{{ .component }}]
          env:
            - name: WEIR_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
            - name: WEIR_HTTP
              value: ":{{ .port }}"
            - name: WEIR_LOG_LEVEL
              value: {{ .root.Values.logLevel }}
            {{- with .env }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- include "weir.natsEnv" $user | nindent 12 }}
            {{- include "weir.memoryLimit" .values.resources | nindent 12 }}
          ports:
            - {name: http, containerPort: {{ .port }}}
          {{- include "weir.probes" . | nindent 10 }}
          securityContext: {{- include "weir.unprivileged" . | nindent 12 }}
          resources: {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            {{- include "weir.natsMount" . | nindent 12 }}
            {{- with .mounts }}
            {{- . | nindent 12 }}
            {{- end }}
      volumes:
        {{- include "weir.natsVolume" $user | nindent 8 }}
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
{{- end }}
