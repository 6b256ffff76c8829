{{/* Labels of every object; call with (list . "component"). */}}
{{- define "perennial.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: perennial
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/part-of: perennial
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "perennial.podNamespace" -}}
{{- .Values.namespaces.pods | default .Release.Namespace -}}
{{- end }}

{{- define "perennial.servingNamespace" -}}
{{- .Values.namespaces.serving | default .Release.Namespace -}}
{{- end }}

{{/* The release's namespace, that of pods and that of served versions, each once; a JSON list. */}}
{{- define "perennial.namespaces" -}}
{{- list .Release.Namespace (include "perennial.podNamespace" .) (include "perennial.servingNamespace" .) | uniq | toJson -}}
{{- end }}

{{/* An image's reference; call with (list . .Values.images.workload). */}}
{{- define "perennial.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Values.images.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- define "perennial.mlflowUrl" -}}
{{- if .Values.settings.mlflowUrl -}}
{{- .Values.settings.mlflowUrl -}}
{{- else if .Values.mlflow.enabled -}}
{{- printf "http://%s.%s:%v" .Values.mlflow.fullnameOverride .Release.Namespace .Values.mlflow.service.port -}}
{{- else -}}
{{- fail "settings.mlflowUrl is empty and mlflow.enabled is false: name the MLflow server, or let this release install one." -}}
{{- end -}}
{{- end }}

{{- define "perennial.mlflowSecret" -}}
{{- $auth := .Values.mlflow.auth | default dict -}}
{{- if .Values.secrets.mlflow -}}
{{- .Values.secrets.mlflow -}}
{{- else if and .Values.mlflow.enabled $auth.enabled -}}
{{- $auth.existingAdminSecret.name -}}
{{- end -}}
{{- end }}

{{- define "perennial.prometheusUrl" -}}
{{- $stack := index .Values "kube-prometheus-stack" -}}
{{- if .Values.settings.prometheusUrl -}}
{{- .Values.settings.prometheusUrl -}}
{{- else if $stack.enabled -}}
{{- printf "http://%s-prometheus.%s:9090" $stack.fullnameOverride .Release.Namespace -}}
{{- else -}}
{{- fail "settings.prometheusUrl is empty and kube-prometheus-stack.enabled is false: a release reads its evidence from Prometheus. Name one that scrapes served versions, or let this release install one." -}}
{{- end -}}
{{- end }}

{{/* The kinds by which versions are served and share traffic, as `kinds`: a group and its resources each. */}}
{{- define "perennial.servedKinds" -}}
{{- $kinds := list -}}
{{- if eq .Values.settings.serving "kserve" -}}
{{- $kinds = append $kinds (dict "group" "serving.kserve.io" "resources" (list "inferenceservices")) -}}
{{- else if eq .Values.settings.seldonDialect "v1" -}}
{{- $kinds = append $kinds (dict "group" "machinelearning.seldon.io" "resources" (list "seldondeployments")) -}}
{{- else -}}
{{- $kinds = append $kinds (dict "group" "mlops.seldon.io" "resources" (list "models" "experiments")) -}}
{{- end -}}
{{- if eq .Values.settings.ingress "gateway-api" -}}
{{- $kinds = append $kinds (dict "group" "gateway.networking.k8s.io" "resources" (list "httproutes")) -}}
{{- end -}}
{{- dict "kinds" $kinds | toJson -}}
{{- end }}

{{/* What serves versions, for a person. */}}
{{- define "perennial.servedBy" -}}
{{- if eq .Values.settings.serving "kserve" }}KServe{{ else }}Seldon Core {{ .Values.settings.seldonDialect }}{{ end -}}
{{- if eq .Values.settings.ingress "gateway-api" }} behind the Gateway {{ .Values.settings.gateway }}{{ end -}}
{{- end }}

{{/* What is wrong between values, beyond what the schema can say. */}}
{{- define "perennial.check" -}}
{{- $gateway := eq .Values.settings.ingress "gateway-api" -}}
{{- if and (eq .Values.settings.serving "kserve") (not $gateway) -}}
{{- fail "settings.serving is kserve and settings.ingress is own: by itself KServe keeps no version warm, copies no requests and has no weight below a percent. Set settings.ingress to gateway-api and name the Gateway in settings.gateway." -}}
{{- end -}}
{{- if and $gateway (not .Values.settings.gateway) -}}
{{- fail "settings.ingress is gateway-api and settings.gateway is empty: name the Gateway that routes are attached to, as namespace/name." -}}
{{- end -}}
{{- if and $gateway (eq .Values.settings.serving "seldon") (eq .Values.settings.seldonDialect "v2") -}}
{{- fail "settings.ingress is gateway-api and settings.seldonDialect is v2: Seldon Core 2 has exact weights and a gateway of its own. Set settings.ingress to own." -}}
{{- end -}}
{{- $pods := include "perennial.podNamespace" . -}}
{{- if and .Values.namespaces.create (eq $pods .Release.Namespace) (eq (include "perennial.servingNamespace" .) .Release.Namespace) -}}
{{- fail "namespaces.create is true, but namespaces.pods and namespaces.serving are empty: name them, or let helm create the release's own namespace with --create-namespace." -}}
{{- end -}}
{{- if and .Values.quota.enabled (eq $pods .Release.Namespace) -}}
{{- fail "quota.enabled is true, but stages run in the release's namespace, so that the quota would hold Airflow too: name a namespace of their own in namespaces.pods." -}}
{{- end -}}
{{- if and .Values.limitRange.enabled (eq $pods .Release.Namespace) -}}
{{- fail "limitRange.enabled is true, but stages run in the release's namespace, so that it would hold Airflow too: name a namespace of their own in namespaces.pods." -}}
{{- end -}}
{{- if .Values.externalSecrets.enabled -}}
{{- if not .Values.externalSecrets.storeRef.name -}}
{{- fail "externalSecrets.enabled is true, but externalSecrets.storeRef.name is empty: name the SecretStore or ClusterSecretStore to read from." -}}
{{- end -}}
{{- if not .Values.externalSecrets.secrets -}}
{{- fail "externalSecrets.enabled is true, but externalSecrets.secrets is empty: say which Secrets to make." -}}
{{- end -}}
{{- end -}}
{{- if .Values.airflow.enabled -}}
{{- $ours := .Values.images.tag | default .Chart.AppVersion -}}
{{- $theirs := .Values.airflow.images.airflow.tag | toString -}}
{{- if and (not .Values.airflow.images.airflow.digest) (ne $ours $theirs) -}}
{{- fail (printf "images.tag is %s and airflow.images.airflow.tag is %s: DAGs and stages must come from one build. Set both to the same tag." $ours $theirs) -}}
{{- end -}}
{{- end -}}
{{- end }}
