{{/*
A pod template: what a stage's or a served version's pod is made from. Call with a dict:
root, part (stage, release, monitor, watch or server), image, account, token (whether the pod gets it), scratch, pod (values of
`stages` or `servers`), requests/limits (of the main container, may be empty), sideCar and templates (booleans).
*/}}
{{- define "perennial.pod" -}}
{{- $values := .root.Values -}}
apiVersion: v1
kind: Pod
metadata:
  labels:
    app.kubernetes.io/name: perennial
    app.kubernetes.io/instance: {{ .root.Release.Name }}
    app.kubernetes.io/component: {{ .part }}
    app.kubernetes.io/part-of: perennial
    {{- with .pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .pod.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ .account }}
  automountServiceAccountToken: {{ .token }}
  enableServiceLinks: false
  restartPolicy: {{ has .part (list "server" "watch") | ternary "Always" "Never" }}
  {{- with $values.images.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 50000
    runAsGroup: 50000
    fsGroup: 50000
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- $project := and $values.project.repository (ne .part "server") }}
  {{- if $project }}
  initContainers:
    - name: project
      image: {{ include "perennial.image" (list .root $values.images.gitSync) }}
      imagePullPolicy: {{ $values.images.pullPolicy }}
      args:
        - --repo={{ $values.project.repository }}
        - --ref={{ $values.project.ref }}
        - --root=/opt/perennial/projects
        - --link={{ $values.project.name }}
        - --depth=1
        - --one-time
      {{- with $values.project.secret }}
      envFrom:
        - secretRef:
            name: {{ . }}
      {{- end }}
      resources:
        {{- toYaml $values.project.resources | nindent 8 }}
      securityContext: {{- include "perennial.restricted" . | nindent 8 }}
      volumeMounts:
        - name: project
          mountPath: /opt/perennial/projects
        - name: tmp
          mountPath: /tmp
  {{- end }}
  containers:
    - name: base
      image: {{ .image }}
      imagePullPolicy: {{ $values.images.pullPolicy }}
      envFrom:
        - configMapRef:
            name: perennial-settings
        {{- with $values.secrets.store }}
        - secretRef:
            name: {{ . }}
        {{- end }}
        {{- if and $values.tracing.endpoint $values.tracing.secret }}
        - secretRef:
            name: {{ $values.tracing.secret }}
        {{- end }}
        {{- if has .part (list "stage" "release" "monitor" "watch") }}
        {{- with include "perennial.mlflowSecret" .root }}
        - secretRef:
            name: {{ . }}
        {{- end }}
        {{- end }}
      {{- if eq .part "watch" }}
      args: [watch, --figures, "9900"]
      ports:
        - {name: figures, containerPort: 9900}
      env:
        - name: PERENNIAL_HOST
          value: 0.0.0.0
        - name: PERENNIAL_WATCH_SECONDS
          value: {{ $values.watch.seconds | quote }}
      {{- end }}
      {{- if eq .part "server" }}
      env:
        - name: PERENNIAL_HOST
          value: 0.0.0.0
        {{- if $values.tracing.endpoint }}
        - name: OTEL_SERVICE_NAME
          value: {{ $values.tracing.name }}-server
        {{- end }}
      {{- end }}
      {{- if and $values.tracing.endpoint (has .part (list "stage" "release" "monitor")) }}
      env:
        - name: OTEL_SERVICE_NAME
          value: {{ $values.tracing.name }}-stage
      {{- end }}
      {{- if or .requests .limits }}
      resources:
        {{- with .requests }}
        requests:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        {{- with .limits }}
        limits:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      {{- end }}
      securityContext: {{- include "perennial.restricted" . | nindent 8 }}
      volumeMounts:
        - name: home
          mountPath: /var/lib/perennial
        - name: tmp
          mountPath: /tmp
        {{- if $project }}
        - name: project
          mountPath: /opt/perennial/projects
          readOnly: true
        {{- end }}
        {{- if .templates }}
        - name: pod-templates
          mountPath: /etc/perennial/pod-templates
          readOnly: true
        {{- end }}
    {{- if .sideCar }}
    - name: airflow-xcom-sidecar
      image: {{ include "perennial.image" (list .root $values.images.sideCar) }}
      imagePullPolicy: {{ $values.images.pullPolicy }}
      resources:
        {{- toYaml $values.stages.sideCar.resources | nindent 8 }}
      securityContext: {{- include "perennial.restricted" . | nindent 8 }}
    {{- end }}
  volumes:
    - name: home
      emptyDir:
        sizeLimit: {{ .pod.scratch }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ .pod.scratch }}
    {{- if $project }}
    - name: project
      emptyDir: {}
    {{- end }}
    {{- if .templates }}
    - name: pod-templates
      configMap:
        name: perennial-pod-templates
    {{- end }}
{{- end }}

{{- define "perennial.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Every pod template by its file name, as a map of texts in YAML; used by the ConfigMap. */}}
{{- define "perennial.podTemplates" -}}
{{- $none := dict -}}
{{- $workload := include "perennial.image" (list . .Values.images.workload) -}}
{{- $small := .Values.stages.small.resources -}}
{{- $stage := dict "root" . "part" "stage" "image" $workload "account" "perennial-stage" "token" false "pod" .Values.stages "requests" .Values.stages.requests "limits" $none "sideCar" true "templates" false -}}
{{- $register := dict "root" . "part" "stage" "image" $workload "account" "perennial-stage" "token" false "pod" .Values.stages "requests" $small.requests "limits" $small.limits "sideCar" true "templates" false -}}
{{- $release := dict "root" . "part" "release" "image" $workload "account" "perennial-release" "token" true "pod" .Values.stages "requests" $small.requests "limits" $small.limits "sideCar" true "templates" true -}}
{{- $monitor := dict "root" . "part" "monitor" "image" $workload "account" "perennial-monitor" "token" true "pod" .Values.stages "requests" .Values.stages.requests "limits" $none "sideCar" true "templates" true -}}
{{- $server := dict "root" . "part" "server" "image" (include "perennial.image" (list . .Values.images.serving)) "account" "perennial-server" "token" false "pod" .Values.servers "requests" $none "limits" $none "sideCar" false "templates" false -}}
stage.yaml: |
  {{- include "perennial.pod" $stage | nindent 2 }}
{{- if .Values.images.training.repository }}
{{- $train := dict "root" . "part" "stage" "image" (include "perennial.image" (list . .Values.images.training)) "account" "perennial-stage" "token" false "pod" .Values.stages "requests" .Values.stages.requests "limits" $none "sideCar" true "templates" false }}
train.yaml: |
  {{- include "perennial.pod" $train | nindent 2 }}
{{- end }}
close.yaml: |
  {{- include "perennial.pod" $register | nindent 2 }}
register.yaml: |
  {{- include "perennial.pod" $register | nindent 2 }}
incident.yaml: |
  {{- include "perennial.pod" $register | nindent 2 }}
release.yaml: |
  {{- include "perennial.pod" $release | nindent 2 }}
experiment.yaml: |
  {{- include "perennial.pod" $release | nindent 2 }}
rollback.yaml: |
  {{- include "perennial.pod" $release | nindent 2 }}
monitor.yaml: |
  {{- include "perennial.pod" $monitor | nindent 2 }}
server.yaml: |
  {{- include "perennial.pod" $server | nindent 2 }}
{{- end }}
