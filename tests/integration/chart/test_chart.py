"""The Helm chart, rendered by the real helm. `make chart` validates the same renderings against Kubernetes' schemas."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from perennial import discovery, options, tracing
from perennial.serving.backends import seldon_v1, seldon_v2, server_pod, written_route
from perennial.serving.route import Route
from perennial.settings import Settings
from perennial_airflow.stage_job import JOB_LABEL
from perennial_airflow.stage_pod import apply_compute, compute_of, main_container, pod_template

from ...chart.check import CHART, VALUES, CheckError, copy_without_dependencies, documents, find_helm, pod_templates, render

NOT_OURS = ("airflow", "mlflow", "seldon-core-operator", "kube-prometheus-stack", "global")
# Below these the words are Kubernetes' own.
KUBERNETES_OWN = ("resources", "container", "hard", "requests")
SEPARATE = ("--set", "namespaces.pods=stages", "--set", "namespaces.serving=served")
STAGE_FILES = {
    "stage.yaml",
    "close.yaml",
    "experiment.yaml",
    "register.yaml",
    "incident.yaml",
    "release.yaml",
    "rollback.yaml",
    "monitor.yaml",
    "server.yaml",
}


@pytest.fixture(scope="module")
def helm() -> str:
    """The program."""
    try:
        return find_helm()
    except CheckError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own part of the chart."""
    return copy_without_dependencies(tmp_path_factory.mktemp("chart"))


def rendered(helm: str, chart: Path, *options: str) -> list[dict[str, Any]]:
    """Objects of a rendering."""
    return documents(render(helm, chart, *options))


def of_kind(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Objects of one kind, by namespace and name."""
    return {f"{d['metadata'].get('namespace', '')}/{d['metadata']['name']}": d for d in found if d["kind"] == kind}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("settings.stroe=s3://x", "settings: Additional property stroe is not allowed"),
        ("setings.store=s3://x", "Additional property setings is not allowed"),
        ("settings.store=/a/folder", "settings.store: Does not match pattern"),
        ("settings.seldonDialect=v3", 'settings.seldonDialect must be one of the following: "v1", "v2"'),
        ("settings.serving=local", 'settings.serving must be one of the following: "seldon", "kserve"'),
        ("settings.gateway=public", "settings.gateway: Does not match pattern"),
        ("settings.gatewayUrl=", "settings.gatewayUrl: Does not match pattern"),
        ("quota.enabled=yes", "quota.enabled: Invalid type. Expected: boolean, given: string"),
        ("images.workload.tag=1 0", "images.workload.tag: Does not match pattern"),
        ("images.workload.digest=sha256:12", "images.workload.digest: Does not match pattern"),
        ("images.pullPolicy=Sometimes", "images.pullPolicy must be one of the following"),
        ("stages.scratch=20 Gi", "stages.scratch"),
        ("networkPolicies.store.ports={https}", "networkPolicies.store.ports.0: Invalid type. Expected: integer, given: string"),
        ("monitoring.rules.errorShare=5", "monitoring.rules.errorShare: Must be less than or equal to 1"),
        ("airflow.enabled=on", "airflow.enabled: Invalid type. Expected: boolean, given: string"),
        ("serviceAccounts.trainer.annotations.a=b", "serviceAccounts: Additional property trainer is not allowed"),
    ],
)
def test_a_mistyped_value_is_refused(helm: str, chart: Path, given: str, said: str) -> None:
    """DE-07, SY-26: The sentence names the value and what is wrong with it; nothing is installed."""
    with pytest.raises(CheckError) as refused:
        render(helm, chart, "--set", given)
    assert said in re.sub(r"\(root\):? ?", "", str(refused.value))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["mlflow.enabled=false"], "settings.mlflowUrl is empty and mlflow.enabled is false"),
        (["kube-prometheus-stack.enabled=false"], "settings.prometheusUrl is empty and kube-prometheus-stack.enabled is false"),
        (["namespaces.create=true"], "namespaces.create is true, but namespaces.pods and namespaces.serving are empty"),
        (["settings.serving=kserve"], "settings.serving is kserve and settings.ingress is own"),
        (["settings.ingress=gateway-api"], "settings.ingress is gateway-api and settings.gateway is empty"),
        (
            ["settings.ingress=gateway-api", "settings.gateway=infra/public", "settings.seldonDialect=v2"],
            "settings.ingress is gateway-api and settings.seldonDialect is v2",
        ),
        (["quota.enabled=true"], "name a namespace of their own in namespaces.pods"),
        (["limitRange.enabled=true"], "name a namespace of their own in namespaces.pods"),
        (["externalSecrets.enabled=true"], "externalSecrets.storeRef.name is empty"),
        (["externalSecrets.enabled=true", "externalSecrets.storeRef.name=vault"], "externalSecrets.secrets is empty"),
        (["images.tag=2.0.0"], "images.tag is 2.0.0 and airflow.images.airflow.tag is 0.1.0: DAGs and stages must come from one build"),
    ],
)
def test_values_that_contradict_each_other_are_refused(helm: str, chart: Path, given: list[str], said: str) -> None:
    """DE-07: What no schema can see is said in one sentence as well."""
    with pytest.raises(CheckError, match=re.escape(said)):
        render(helm, chart, *(word for pair in given for word in ("--set", pair)))


def _commented(text: str) -> Iterator[tuple[str, bool]]:
    """Dotted name of every value of a YAML text, and whether a comment stands above it."""
    path: list[tuple[int, str]] = []
    above = ""
    for line in text.splitlines():
        key = re.match(r"( *)([\w.-]+):(?:\s|$)", line)
        if key:
            indent = len(key[1])
            path = [*(entry for entry in path if entry[0] < indent), (indent, key[2])]
            yield ".".join(name for _, name in path), above.strip().startswith("#")
        above = line


def _names(schema: dict[str, Any], node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted name of every value that the schema knows, but for those that it still takes and nothing reads."""
    while "$ref" in node or "allOf" in node:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node["allOf"][0]
    for name, inner in node.get("properties", {}).items():
        if (prefix or name not in NOT_OURS) and not inner.get("deprecated"):
            yield prefix + name
            if name not in KUBERNETES_OWN:
                yield from _names(schema, inner, f"{prefix}{name}.")


def test_every_value_is_explained_and_has_a_schema() -> None:
    """DE-07: values.yaml holds every value that the schema knows, each with its meaning above it, and no other."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = set(_names(schema, schema))
    explained = dict(_commented((CHART / "values.yaml").read_text()))
    assert not sorted(name for name in known if not explained.get(name))
    ours = {name for name in explained if name.split(".")[0] not in NOT_OURS}
    below_known = {name for name in ours if any(name.startswith(f"{other}.") for other in known) and name not in known}
    assert not sorted(ours - known - below_known)


def test_values_that_went_away_stop_nothing(helm: str, chart: Path) -> None:
    """DE-07: A file of values from a release that had a reports server is still taken, and changes nothing."""
    earlier = {"settings.reportsUrl": "https://reports.example.com", "reports.enabled": "true", "reports.replicas": "2"}
    earlier |= {"serviceAccounts.reports.annotations.a": "b"}
    given = [word for name, value in earlier.items() for word in ("--set", f"{name}={value}")]
    assert rendered(helm, chart, *given) == rendered(helm, chart)


def test_stages_have_the_login_of_the_mlflow_that_they_use(helm: str, chart: Path) -> None:
    """SC-04: That of the release's own by itself, another where one is named, and none where MLflow is elsewhere and asks for none."""
    elsewhere = ("--set", "mlflow.enabled=false", "--set", "settings.mlflowUrl=https://mlflow.example.com")
    for given, secrets in (
        ((), {"perennial-mlflow-login"}),
        (("--set", "mlflow.auth.enabled=false"), set()),
        (elsewhere, set()),
        ((*elsewhere, "--set", "secrets.mlflow=theirs"), {"theirs"}),
    ):
        maps = [d for d in rendered(helm, chart, *given) if d["kind"] == "ConfigMap" and "stage.yaml" in (d.get("data") or {})]
        assert maps
        for document in maps:
            pod = yaml.safe_load(document["data"]["stage.yaml"])
            named = {source["secretRef"]["name"] for source in pod["spec"]["containers"][0]["envFrom"] if "secretRef" in source}
            assert named - {"perennial-store"} == secrets
            served = (
                yaml.safe_load(document["data"]["server.yaml"]) if "server.yaml" in document["data"] else {"spec": {"containers": [{}]}}
            )
            assert "mlflow" not in str(served["spec"]["containers"][0].get("envFrom"))


def test_values_files_explain_what_they_change() -> None:
    """DE-07: Every part of values-dev.yaml and values-prod.yaml, and of the other charts in values.yaml, says why it is there."""
    for file in VALUES:
        bare = [name for name, explained in _commented((CHART / file).read_text()) if "." not in name and not explained]
        assert not bare, f"{file}: {bare}"


@pytest.mark.parametrize("values", VALUES)
def test_settings_are_ones_that_the_library_knows(helm: str, chart: Path, values: str) -> None:
    """DE-07: Every pod gets the same settings, and Perennial accepts them."""
    found = rendered(helm, chart, "--values", str(CHART / values))
    maps = [d for d in found if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "perennial-settings"]
    assert all(d["data"] == maps[0]["data"] for d in maps)
    settings = Settings.from_environment(maps[0]["data"])
    assert (settings.runtime, settings.serving) == ("pod", "seldon")
    assert settings.pod_templates == "/etc/perennial/pod-templates"
    assert {settings.pod_namespace, settings.serving_namespace, "perennial"} == {d["metadata"]["namespace"] for d in maps}


def test_each_account_has_exactly_its_rights(helm: str, chart: Path) -> None:
    """SC-01: Airflow runs pods, releases change what Seldon serves, monitoring looks; stages and served versions may do nothing."""
    found = rendered(helm, chart, *SEPARATE)
    assert not of_kind(found, "ClusterRole")
    assert not of_kind(found, "ClusterRoleBinding")
    accounts = of_kind(found, "ServiceAccount")
    assert {name: d["automountServiceAccountToken"] for name, d in accounts.items()} == {
        "perennial/perennial-airflow": True,
        "stages/perennial-stage": False,
        "stages/perennial-release": False,
        "stages/perennial-monitor": False,
        "served/perennial-server": False,
    }
    rights: dict[str, dict[str, set[str]]] = {}
    for name, binding in of_kind(found, "RoleBinding").items():
        role = of_kind(found, "Role")[f"{binding['metadata']['namespace']}/{binding['roleRef']['name']}"]
        assert len(binding["subjects"]) == 1
        holder = "{namespace}/{name}".format(**binding["subjects"][0])
        assert holder in accounts
        for rule in role["rules"]:
            for resource in rule["resources"]:
                where = name.partition("/")[0]
                rights.setdefault(holder, {})[f"{where}: {resource}.{rule['apiGroups'][0]}".rstrip(".")] = set(rule["verbs"])
    looking = {"get", "list"}
    assert rights == {
        "perennial/perennial-airflow": {
            "stages: pods": {"create", "delete", "watch"} | looking,
            "stages: pods/log": {"get"},
            "stages: pods/exec": {"create", "get"},
            "stages: events": {"list"},
            "stages: secrets": {"create"},
            "stages: jobs.batch": {"create", "get", "delete"},
            "stages: services": {"create", "get", "delete"},
        },
        "stages/perennial-release": {
            "served: seldondeployments.machinelearning.seldon.io": {"create", "update", "delete"} | looking,
            "served: deployments.apps": looking,
            "served: pods": looking,
            "served: pods/log": {"get"},
        },
        "stages/perennial-monitor": {
            "served: seldondeployments.machinelearning.seldon.io": looking,
            "served: deployments.apps": looking,
            "served: pods": looking,
        },
    }


def test_the_second_dialect_has_rights_on_its_own_kinds(helm: str, chart: Path) -> None:
    """SC-01: With Seldon Core 2 a release changes Models and Experiments, no SeldonDeployments; a Server with our runtime takes them."""
    found = rendered(helm, chart, *SEPARATE, "--set", "settings.seldonDialect=v2")
    role = of_kind(found, "Role")["served/perennial-release"]
    assert role["rules"][0]["apiGroups"] == ["mlops.seldon.io"]
    assert role["rules"][0]["resources"] == ["models", "experiments"]
    server = of_kind(found, "Server")["served/perennial"]
    (container,) = server["spec"]["podSpec"]["containers"]
    assert (server["spec"]["serverConfig"], container["name"], container["image"]) == ("mlserver", "mlserver", "perennial/mlserver:0.1.0")
    assert server["spec"]["extraCapabilities"] == [seldon_v2.CAPABILITY]
    assert container["envFrom"] == [{"configMapRef": {"name": "perennial-settings"}}, {"secretRef": {"name": "perennial-store"}}]
    assert "Server" not in {document["kind"] for document in rendered(helm, chart)}


def test_kserve_behind_a_gateway_has_rights_on_its_own_kinds(helm: str, chart: Path) -> None:
    """SY-13, SE-08: A release changes InferenceServices and HTTPRoutes, no SeldonDeployments; monitoring looks at them; settings say so."""
    given = ("settings.serving=kserve", "settings.ingress=gateway-api", "settings.gateway=infra/public")
    found = rendered(helm, chart, *SEPARATE, *(word for pair in given for word in ("--set", pair)))
    roles = of_kind(found, "Role")
    kinds = [(["serving.kserve.io"], ["inferenceservices"]), (["gateway.networking.k8s.io"], ["httproutes"])]
    for name, verbs in (("release", ["create", "get", "list", "update", "delete"]), ("monitor", ["get", "list"])):
        rules = roles[f"served/perennial-{name}"]["rules"]
        assert [(rule["apiGroups"], rule["resources"]) for rule in rules[:2]] == kinds
        assert [rule["verbs"] for rule in rules[:2]] == [verbs, verbs]
        assert "seldondeployments" not in json.dumps(rules)
    data = of_kind(found, "ConfigMap")["served/perennial-settings"]["data"]
    settings = Settings.from_environment({key: value for key, value in data.items() if key.startswith("PERENNIAL_")})
    assert (settings.serving, settings.ingress, settings.gateway) == ("kserve", "gateway-api", "infra/public")


@pytest.mark.parametrize("values", VALUES)
def test_every_pod_is_as_restricted_as_can_be(helm: str, chart: Path, values: str) -> None:
    """SC-01, OP-07: The Pod Security Standard `restricted`, and a root file system that nobody writes to."""
    found = rendered(helm, chart, "--values", str(CHART / values))
    pods = [pod for d in found if d["kind"] == "ConfigMap" for pod in pod_templates(d).values()]
    pods += [*of_kind(found, "Pod").values(), *(d["spec"]["template"] for d in of_kind(found, "Deployment").values())]
    assert len(pods) > len(STAGE_FILES)
    for pod in pods:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 50000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] == (spec["serviceAccountName"] in ("perennial-release", "perennial-monitor"))
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {next(iter(set(volume) - {"name"})) for volume in spec["volumes"]} <= {"emptyDir", "configMap"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert not context["allowPrivilegeEscalation"]
            assert context["readOnlyRootFilesystem"]
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_each_stage_finds_its_template(helm: str, chart: Path) -> None:
    """DE-07, OP-04: Airflow and the pods of releases see the same files; the side-car is in those of stages alone; a GPU image is for
    training."""
    found = rendered(helm, chart, *SEPARATE, "--set", "images.training.repository=perennial/workload,images.training.tag=0.1.0-cuda")
    maps = {name: d for name, d in of_kind(found, "ConfigMap").items() if name.endswith("/perennial-pod-templates")}
    assert set(maps) == {"perennial/perennial-pod-templates", "stages/perennial-pod-templates"}
    templates = [pod_templates(d) for d in maps.values()]
    assert templates[0] == templates[1]
    assert set(templates[0]) == STAGE_FILES | {"train.yaml"}
    for name, pod in templates[0].items():
        containers = pod["spec"]["containers"]
        assert [c["name"] for c in containers] == (["base"] if name == "server.yaml" else ["base", "airflow-xcom-sidecar"])
        assert containers[0]["image"] == {
            "server.yaml": "perennial/serving:0.1.0",
            "train.yaml": "perennial/workload:0.1.0-cuda",
        }.get(name, "perennial/workload:0.1.0")
        has_folder = "pod-templates" in [m["name"] for m in containers[0]["volumeMounts"]]
        assert has_folder == (name in ("release.yaml", "experiment.yaml", "rollback.yaml", "monitor.yaml"))
        assert ("resources" in containers[0]) == (
            name in ("close.yaml", "register.yaml", "incident.yaml", "release.yaml", "experiment.yaml", "rollback.yaml")
        ), "a spec says the others'"


def _as_files(found: list[dict[str, Any]], folder: Path) -> Settings:
    """The pod templates of a rendering as Airflow and releases find them, and the settings that lead there."""
    maps = of_kind(found, "ConfigMap")
    for name, text in maps["perennial/perennial-pod-templates"]["data"].items():
        (folder / name).write_text(text)
    said = maps["perennial/perennial-settings"]["data"] | {"PERENNIAL_POD_TEMPLATES": str(folder)}
    return Settings.from_environment({name: value for name, value in said.items() if name.startswith("PERENNIAL_")})


@pytest.mark.parametrize("stage", options.STAGES)
def test_stages_take_the_templates(helm: str, chart: Path, tmp_path: Path, stage: str) -> None:
    """OP-04, MO-23: What a spec allows becomes the pod's limits; stages that no spec speaks of have limits of their own."""
    settings = _as_files(rendered(helm, chart, "--set", "stages.requests.cpu=100m"), tmp_path)
    pod = yaml.safe_load(pod_template(settings, stage).read_text())
    spec = discovery.dataset("flights") if stage == "ingest" else discovery.model("flight_delays")
    if compute := compute_of(spec, stage):
        apply_compute(pod, compute)
    resources = main_container(pod)["resources"]
    assert {"cpu", "memory"} <= set(resources["limits"])
    assert (resources["requests"]["cpu"] == "100m") == (compute is not None)


def test_served_versions_take_their_template(helm: str, chart: Path, tmp_path: Path) -> None:
    """SE-15: The Seldon backend makes its pods from the chart's server.yaml; walls and monitoring find them by what it writes."""
    found = rendered(helm, chart)
    template = server_pod.read_template(_as_files(found, tmp_path))
    served = seldon_v1.render(discovery.model("flight_delays"), Route({1: 10_000}, digests={1: "0" * 64}), "perennial", template)
    predictor = served["spec"]["predictors"][0]
    spec = predictor["componentSpecs"][0]["spec"]
    assert spec["serviceAccountName"] == "perennial-server"
    assert not spec["automountServiceAccountToken"]
    container = spec["containers"][0]
    assert container["image"] == "perennial/serving:0.1.0"
    assert container["envFrom"] == [{"configMapRef": {"name": "perennial-settings"}}, {"secretRef": {"name": "perennial-store"}}]
    monitor = of_kind(found, "PodMonitor")["perennial/perennial-served-versions"]["spec"]
    wall = of_kind(found, "NetworkPolicy")["perennial/perennial-servers"]["spec"]
    assert monitor["podMetricsEndpoints"][0]["portNumber"] == container["ports"][0]["containerPort"]
    assert container["ports"][0]["containerPort"] in [allowed["port"] for allowed in wall["ingress"][0]["ports"]]
    for selector in (monitor["selector"], wall["podSelector"]):
        assert [term["key"] for term in selector["matchExpressions"]] == [written_route.MODEL]
        assert written_route.MODEL in predictor["labels"]


def test_pods_of_one_training_may_talk_to_one_another(helm: str, chart: Path) -> None:
    """MO-05: The wall around them opens by the label that trainings on several nodes have."""
    wall = of_kind(rendered(helm, chart), "NetworkPolicy")["perennial/perennial-training"]["spec"]
    selector = {"matchExpressions": [{"key": JOB_LABEL, "operator": "Exists"}]}
    assert wall["podSelector"] == selector
    assert wall["ingress"] == [{"from": [{"podSelector": selector}]}]
    assert wall["egress"] == [{"to": [{"podSelector": selector}]}]


@pytest.mark.parametrize("values", VALUES)
def test_no_secret_is_held(helm: str, chart: Path, values: str) -> None:
    """SC-04: Secrets are named, never made; no variable of a pod holds one."""
    found = rendered(helm, chart, "--values", str(CHART / values))
    assert not of_kind(found, "Secret")
    for d in found:
        pods = pod_templates(d).values() if d["kind"] == "ConfigMap" else [d] if d["kind"] == "Pod" else []
        for pod in pods:
            for container in pod["spec"]["containers"]:
                assert {entry["name"] for entry in container.get("env", [])} <= {"PERENNIAL_HOST"}
                kinds = [next(iter(source)) for source in container.get("envFrom", [])]
                assert set(kinds) <= {"configMapRef", "secretRef"}
        if d["kind"] == "ConfigMap":
            assert not [name for name in d["data"] if re.search("KEY|SECRET|PASSWORD|TOKEN", name)]


def test_accounts_may_carry_the_rights_on_the_store(helm: str, chart: Path) -> None:
    """DM-09, SC-04: Without a Secret of the store no pod names one: the cloud gives the rights to the service accounts."""
    annotation = "serviceAccounts.stage.annotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::1:role/stage"
    found = rendered(helm, chart, "--set", "secrets.store=,mlflow.auth.enabled=false", "--set", annotation)
    assert of_kind(found, "ServiceAccount")["perennial/perennial-stage"]["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/stage"
    }
    templates = pod_templates(of_kind(found, "ConfigMap")["perennial/perennial-pod-templates"])
    for pod in templates.values():
        assert pod["spec"]["containers"][0]["envFrom"] == [{"configMapRef": {"name": "perennial-settings"}}]


def test_external_secrets_are_made_where_they_are_needed(helm: str, chart: Path) -> None:
    """SC-04: The store's in all three namespaces, Airflow's beside Airflow alone, MLflow's login also beside stages; each says where it
    comes from."""
    found = rendered(helm, chart, "--values", str(CHART / "values-prod.yaml"))
    assert set(of_kind(found, "ExternalSecret")) == {
        "perennial/perennial-airflow",
        "perennial/perennial-mlflow",
        "perennial/perennial-mlflow-login",
        "perennial-stages/perennial-mlflow-login",
        "perennial/perennial-store",
        "perennial-stages/perennial-store",
        "perennial-serving/perennial-store",
    }
    data = of_kind(found, "ExternalSecret")["perennial-stages/perennial-store"]["spec"]["data"]
    assert data[0] == {"secretKey": "AWS_ACCESS_KEY_ID", "remoteRef": {"key": "perennial/store", "property": "access-key-id"}}


def test_walls_close_what_is_ours_and_leave_the_rest(helm: str, chart: Path) -> None:
    """SC-01: A namespace of our own is closed whole; in the release's, Airflow and MLflow are left alone."""
    together = of_kind(rendered(helm, chart), "NetworkPolicy")
    assert together["perennial/perennial-deny"]["spec"]["podSelector"] != {}
    apart = of_kind(rendered(helm, chart, *SEPARATE), "NetworkPolicy")
    assert [apart[f"{namespace}/perennial-deny"]["spec"]["podSelector"] for namespace in ("stages", "served")] == [{}, {}]
    for policies in (together, apart):
        for name, policy in policies.items():
            if name.endswith("-deny"):
                assert not {"ingress", "egress"} & set(policy["spec"])


def test_every_dashboard_is_given_to_grafana(helm: str, chart: Path, tmp_path: Path) -> None:
    """MN-15, SY-22: A JSON file in dashboards/ becomes a ConfigMap that Grafana's side-car finds, byte for byte."""
    copy = shutil.copytree(chart, tmp_path / "chart")
    text = json.dumps({"title": "One more", "panels": [{"expr": 'sum(x{a="{{ b }}"})'}]}, indent=2)
    (copy / "dashboards").mkdir(exist_ok=True)
    (copy / "dashboards/one_more.json").write_text(text + "\n")
    found = of_kind(rendered(helm, copy), "ConfigMap")
    ours = found["perennial/perennial-dashboard-one-more"]
    assert ours["data"] == {"one_more.json": text}
    assert ours["metadata"]["labels"]["grafana_dashboard"] == "1"
    files = sorted((CHART / "dashboards").glob("*.json"))
    assert len([name for name in found if "perennial-dashboard-" in name]) == len(files) + 1


def test_each_dependency_is_pinned_and_can_be_left_out(helm: str, tmp_path: Path) -> None:
    """SC-08, DE-07: One exact version each; its own switch decides whether it is installed, and ours takes its values along."""
    copy = shutil.copytree(CHART, tmp_path / "chart", ignore=shutil.ignore_patterns("charts"))
    dependencies = yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]
    for dependency in dependencies:
        assert re.fullmatch(r"\d+\.\d+\.\d+", dependency["version"])
        stand_in = copy / "charts" / dependency["name"]
        (stand_in / "templates").mkdir(parents=True)
        (stand_in / "Chart.yaml").write_text(
            yaml.safe_dump({"apiVersion": "v2", "name": dependency["name"], "version": dependency["version"]})
        )
        values = "{{ .Values | toJson | quote }}"
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: from-{dependency['name']}}}\ndata: {{values: {values}}}\n"
        (stand_in / "templates" / "map.yaml").write_text(text)
    names = {f"from-{dependency['name']}" for dependency in dependencies}
    urls = "settings.mlflowUrl=http://mlflow,settings.prometheusUrl=http://prometheus"

    def installed(*options: str) -> dict[str, dict[str, Any]]:
        maps = [d for d in rendered(helm, copy, "--set", urls, *options) if d["kind"] == "ConfigMap"]
        return {d["metadata"]["name"]: d for d in maps if d["metadata"]["name"] in names}

    assert set(installed()) == names
    for name in names:
        assert set(installed("--set", f"{name.removeprefix('from-')}.enabled=false")) == names - {name}
    airflow = json.loads(installed()["from-airflow"]["data"]["values"])
    assert airflow["scheduler"]["serviceAccount"] == {"create": False, "name": "perennial-airflow"}
    assert airflow["triggerer"]["serviceAccount"] == airflow["scheduler"]["serviceAccount"]
    assert not airflow["allowPodLaunching"]


def _self_check(store: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PERENNIAL_")} | {"PERENNIAL_STORE": store, **settings}
    program = [sys.executable, str(CHART / "files/self_check.py"), "--seconds=2", *arguments]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=False)


def test_the_self_check_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """DE-09: It writes, reads and removes one object."""
    done = _self_check(str(tmp_path / "store"), "--only", "store")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok      store")
    assert not [file for file in (tmp_path / "store").rglob("*") if file.is_file()]


def test_the_self_check_says_what_does_not_answer(tmp_path: Path) -> None:
    """DE-09: One line for each; the others are asked all the same."""
    closed = "http://127.0.0.1:1"
    done = _self_check(
        str(tmp_path), "--only", "prometheus", "mlflow", "store", PERENNIAL_PROMETHEUS_URL=closed, PERENNIAL_MLFLOW_URL=closed
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["FAILED", "prometheus:"], ["FAILED", "mlflow:"], ["ok", "store:"]]
    assert "correct PERENNIAL_PROMETHEUS_URL" in lines[0]


def test_yaml_in_the_chart_has_no_surprises() -> None:
    """DE-07: Every values file is a mapping without a key twice: YAML takes the last one silently."""

    class Strict(yaml.SafeLoader):
        """Refuses a key that is there already."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"twice in {node.start_mark}: {sorted(k for k in keys if keys.count(k) > 1)}"
            return super().construct_mapping(node, deep)

    for file in VALUES:
        assert isinstance(yaml.load((CHART / file).read_text(), Strict), dict)  # a safe loader's child


def test_a_project_is_fetched_by_every_pod_of_a_stage(helm: str, chart: Path) -> None:
    """DE-06, DE-07: Before the stage begins, by git-sync, at the place that the settings name; a served version carries its own files and
    fetches none. Without a repository nothing of it is there."""
    given = ("--values", str(CHART / "values-project.yaml"), "--set", "project.secret=git-login", "--set", "watch.enabled=true")
    found = rendered(helm, chart, *given)
    maps = of_kind(found, "ConfigMap")
    assert maps["perennial/perennial-settings"]["data"]["PERENNIAL_PROJECT"] == "/opt/perennial/projects/my-models"
    templates = pod_templates(maps["perennial/perennial-pod-templates"])
    watch = of_kind(found, "Deployment")["perennial/perennial-watch"]["spec"]["template"]
    for name, pod in {**templates, "watch": watch}.items():
        fetching = pod["spec"].get("initContainers", [])
        mounted = [m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "project"]
        if name == "server.yaml":
            assert (fetching, mounted) == ([], [])
            continue
        (container,) = fetching
        assert {"--repo=https://git.example.org/team/my-models.git", "--ref=main", "--link=my-models", "--one-time"} <= set(
            container["args"]
        )
        assert container["envFrom"] == [{"secretRef": {"name": "git-login"}}]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert mounted == [{"name": "project", "mountPath": "/opt/perennial/projects", "readOnly": True}]
        assert {"name": "project", "emptyDir": {}} in pod["spec"]["volumes"]
    plain = rendered(helm, chart)
    assert "projects" not in json.dumps([one for one in plain if one["kind"] in ("ConfigMap", "Deployment")])
    ports = [rule.get("ports") for rule in of_kind(found, "NetworkPolicy")["perennial/perennial-stages"]["spec"]["egress"]]
    assert len(ports) == len(of_kind(plain, "NetworkPolicy")["perennial/perennial-stages"]["spec"]["egress"]) + 1


def test_airflow_and_stages_fetch_the_same_project() -> None:
    """DE-07: In the file of values that shows how, every component of Airflow that reads specs fetches what stages fetch, to the same
    place, and has the pod templates that it had."""
    values = yaml.safe_load((CHART / "values-project.yaml").read_text())
    project, airflow = values["project"], values["airflow"]
    usual = yaml.safe_load((CHART / "values.yaml").read_text())
    image = f"{usual['images']['gitSync']['repository']}:{usual['images']['gitSync']['tag']}"
    for part in ("volumes", "volumeMounts"):
        assert airflow[part][0] == usual["airflow"][part][0]
    for component in ("scheduler", "dagProcessor", "triggerer", "apiServer"):
        (first,), (kept,) = airflow[component]["extraInitContainers"], airflow[component]["extraContainers"]
        assert "--one-time" in first["args"]
        assert "--one-time" not in kept["args"]
        for container in (first, kept):
            named = {f"--repo={project['repository']}", f"--ref={project['ref']}", f"--link={project['name']}"}
            assert named <= set(container["args"])
            assert container["image"] == image
            assert container["volumeMounts"] == [{"name": "project", "mountPath": "/opt/perennial/projects"}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("project.repository=my-models", "project.repository: Does not match pattern"),
        ("project.ref=--upload-pack=x", "project.ref: Does not match pattern"),
        ("project.name=../x", "project.name: Does not match pattern"),
        ("project.branch=main", "project: Additional property branch is not allowed"),
    ],
)
def test_a_mistyped_project_is_refused(helm: str, chart: Path, given: str, said: str) -> None:
    """DE-07: Before anything is installed."""
    with pytest.raises(CheckError) as refused:
        render(helm, chart, "--set", given)
    assert said in re.sub(r"\(root\):? ?", "", str(refused.value))


def test_spans_go_where_the_values_say(helm: str, chart: Path) -> None:
    """MN-13, SY-24: One address switches on Airflow, stages and served versions, each with a name of its own; a key comes from a Secret,
    and the receiver can be reached. Without it nothing is said of spans."""
    assert "OTEL" not in render(helm, chart)
    given = {
        "endpoint": "http://collector.monitoring:4318",
        "name": "shop",
        "share": "0.1",
        "secret": "spans",
        "pageUrl": "http://t/{trace_id}",
    }
    found = rendered(helm, chart, *(part for name, value in given.items() for part in ("--set-json", f"tracing.{name}={_as_json(value)}")))
    data = of_kind(found, "ConfigMap")["perennial/perennial-settings"]["data"]
    said = {name: value for name, value in data.items() if name.startswith(("OTEL_", "AIRFLOW__TRACES__", "PERENNIAL_TRACE"))}
    assert said == {
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "AIRFLOW__TRACES__TASK_RUNNER_FLUSH_TIMEOUT_MILLISECONDS": "3000",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.monitoring:4318",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        "OTEL_SERVICE_NAME": "shop-airflow",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
        "PERENNIAL_TRACE_URL": "http://t/{trace_id}",
    }
    receiver = tracing.receiver(data)
    assert receiver is not None
    assert (receiver.url, receiver.share) == ("http://collector.monitoring:4318/v1/traces", 0.1)
    templates = yaml_texts(of_kind(found, "ConfigMap")["perennial/perennial-pod-templates"]["data"])
    names = {file: variables_of(pod).get("OTEL_SERVICE_NAME") for file, pod in templates.items()}
    assert names == {file: "shop-server" if file == "server.yaml" else "shop-stage" for file in STAGE_FILES}
    assert all({"secretRef": {"name": "spans"}} in pod["spec"]["containers"][0]["envFrom"] for pod in templates.values())
    reached = [policy for policy in of_kind(found, "NetworkPolicy").values() if "{'port': 4318, 'protocol': 'TCP'}" in str(policy)]
    assert sorted(policy["metadata"]["name"] for policy in reached) == ["perennial-servers", "perennial-stages"]


def variables_of(pod: dict[str, Any]) -> dict[str, Any]:
    """What a template says of the environment of its container."""
    return {variable["name"]: variable["value"] for variable in pod["spec"]["containers"][0].get("env", [])}


def yaml_texts(data: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The documents of a ConfigMap."""
    return {name: yaml.safe_load(text) for name, text in data.items()}


def _as_json(value: str) -> str:
    return value if value.replace(".", "").isdigit() else json.dumps(value)
