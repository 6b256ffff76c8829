"""The pod that a task sends to the cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from airflow.sdk.exceptions import TaskDeferred
from kubernetes import client

from perennial.specs import ComputeSpec
from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.operators.release_stage import ReleaseStage
from perennial_airflow.stage_end import StageFault
from perennial_airflow.stage_task import stage_task

from ..lateness import lateness

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TEMPLATE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"labels": {"team": "ml"}},
    "spec": {
        "serviceAccountName": "perennial-stage",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsUser": 50000},
        "containers": [
            {
                "name": "base",
                "image": "registry/workload:1",
                "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "keys"}}],
                "securityContext": {"readOnlyRootFilesystem": True},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
"""


def _model(**compute):
    return lateness(compute=ComputeSpec(cpus=2, memory_gb=4, **compute))


@pytest.fixture
def templates(tmp_path, monkeypatch):
    """A folder with one template, named by the settings; a cluster that is never asked."""
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(TEMPLATE))
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    monkeypatch.setenv("PERENNIAL_RUNTIME", "pod")
    monkeypatch.setenv("PERENNIAL_POD_TEMPLATES", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_POD_NAMESPACE", "stages")
    # The client reads KUBECONFIG once, when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    return tmp_path


def _context(run_id="r1", try_number=1):
    ti = SimpleNamespace(dag_id="d", task_id="train", map_index=-1, try_number=try_number, max_tries=2)
    return {"ti": ti, "run_id": run_id, "dag": SimpleNamespace()}


def _task(stage="train", spec=None, **arguments):
    return stage_task(stage, spec or _model(), **arguments)


def test_the_setting_chooses_the_operator(templates, monkeypatch):
    """OP-01: Pods or child processes; a release is looked at in either."""
    from perennial_airflow.operators.pod_stage import PodReleaseStage, PodStage

    assert type(_task(snapshot=1)) is PodStage
    assert type(_task("release")) is PodReleaseStage
    monkeypatch.setenv("PERENNIAL_RUNTIME", "process")
    assert type(_task(snapshot=1)) is ProcessStage
    assert type(_task("release")) is ReleaseStage


def test_the_pod_is_the_template_with_the_stage_s_arguments(templates):
    """OP-07, OP-04: Entry point, account, secrets by reference and volumes are the template's; resources the spec's."""
    pod = _task(snapshot=3, spec=_model(gpus=1, queue="night")).manifest(_context())
    base, side_car = pod["spec"]["containers"]
    assert "command" not in base
    assert base["args"] == ["train", "--model=lateness", "--snapshot=3", "--result=/airflow/xcom/return.json"]
    assert base["image"] == "registry/workload:1"
    assert base["envFrom"] == TEMPLATE["spec"]["containers"][0]["envFrom"]
    assert "env" not in base
    assert base["resources"]["limits"] == {"cpu": "2", "memory": "4000M", "nvidia.com/gpu": "1"}
    assert {"name": "xcom", "mountPath": "/airflow/xcom"} in base["volumeMounts"]
    assert side_car["name"] == "airflow-xcom-sidecar"
    assert pod["spec"]["serviceAccountName"] == "perennial-stage"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["metadata"]["namespace"] == "stages"
    assert pod["metadata"]["name"].startswith("perennial-lateness-train-")
    assert {"team": "ml", "kueue.x-k8s.io/queue-name": "night", "dag_id": "d"}.items() <= pod["metadata"]["labels"].items()


def test_every_try_means_the_same_pod(templates):
    """DE-22: Another run or other inputs mean another; how often it was tried is no input."""

    def names(context, **arguments):
        found = _task(**arguments).manifest(context)["metadata"]
        return found["name"], found["labels"]["perennial/task"]

    first = names(_context(), snapshot=3)
    assert names(_context(try_number=2), snapshot=3) == first
    other_inputs = names(_context(), snapshot=4)
    assert other_inputs[0] != first[0]
    assert other_inputs[1] == first[1]
    assert names(_context("r2"), snapshot=3)[1] != first[1]


def test_a_retried_ingestion_means_the_same_pod(templates):
    """DE-22: Its arguments say that it is retried."""
    from perennial.specs import Column, DatasetSpec

    dataset = DatasetSpec(
        name="trips", title="Trips", owner="ada", columns=(Column(name="at", type="timestamp"),), key=("at",), event_time="at"
    )
    one, two = (_task("ingest", dataset, run="r", retry=flag).manifest(_context()) for flag in ("False", "True"))
    assert one["metadata"]["name"] == two["metadata"]["name"]
    assert two["spec"]["containers"][0]["args"][-2] == "--retry"


def test_each_look_has_a_pod_of_its_own(templates):
    """DE-22: A new try, which cannot know how many looks there were, takes the one that runs."""
    first, second = _task("release"), _task("release")
    second._looks = 1
    name = first.manifest(_context())["metadata"]["name"]
    assert second.manifest(_context())["metadata"]["name"] != name
    assert first._is_ours("another", name, _context())
    assert not second._is_ours("another", name, _context())


def test_looks_are_counted_across_waits(templates, monkeypatch):
    """DE-22: Each part of a look runs in a process of its own: the count goes with it, else a look could meet the pod of the one before."""
    from perennial_airflow.operators.pod_stage import PodReleaseStage

    names = []
    pod = client.V1Pod(metadata=client.V1ObjectMeta(name="p", namespace="n", uid="u"))
    monkeypatch.setattr(
        PodReleaseStage, "_find_or_start", lambda task, context: names.append(task.manifest(context)["metadata"]["name"]) or pod
    )
    monkeypatch.setattr(PodReleaseStage, "_remove", lambda *_, **__: None)
    context = _context()
    context["ti"].xcom_push = lambda **_: None
    held = {"outcome": "done", "action": "hold", "sentence": "Held.", "links": {}, "look_again_seconds": 1, "version": 7}
    step, kwargs = "execute", {}
    for _ in range(3):
        with pytest.raises(TaskDeferred) as watched:
            getattr(_task("release"), step)(context, **kwargs)
        assert watched.value.method_name == "trigger_reentry"
        with pytest.raises(TaskDeferred) as waited:
            _task("release").trigger_reentry(context, {"ending": held, "last": ""}, **watched.value.kwargs)
        step, kwargs = waited.value.method_name, {**waited.value.kwargs, "event": None}
    assert len(set(names)) == 3


def test_only_arguments_are_rendered(templates):
    """SC-04: The page Rendered Templates shows neither environment nor template."""
    assert tuple(_task(snapshot=1).template_fields) == ("arguments",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: [", "is no YAML"),
        ("kind: Deployment", "is no manifest of a Pod"),
        ("kind: Pod\nspec: {containers: [{name: main}]}", "must be named 'base'"),
    ],
)
def test_a_wrong_template_ends_the_task_with_a_sentence(templates, task_instance, text, expected):
    """DE-15: It names the file and what is wrong."""
    (templates / "stage.yaml").write_text(text)
    ti = task_instance()
    ti.dag_id, ti.task_id, ti.map_index = "d", "train", -1
    with pytest.raises(StageFault, match=expected):
        _task(snapshot=1).execute({"ti": ti, "run_id": "r", "dag": SimpleNamespace()})


def _state(code=None, side_car=True):
    base = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
    return {
        "status": {
            "containerStatuses": [
                {"name": "base", "state": base},
                {"name": "airflow-xcom-sidecar", "state": {"running": {}} if side_car else {"terminated": {}}},
            ]
        }
    }


@pytest.mark.parametrize(
    ("pod", "usable"),
    [
        (_state(), True),
        ({"status": {"phase": "Pending"}}, True),
        (_state(0), True),
        (_state(2), True),
        (_state(1), False),
        (_state(137), False),
        (_state(0, side_car=False), False),
        ({"status": {"phase": "Failed"}}, False),
    ],
)
def test_which_pods_of_earlier_tries_are_used(templates, pod, usable):
    """DE-22: One that works, or has a result that need not be worked out again."""
    from perennial_airflow.operators.pod_stage import _is_usable

    assert _is_usable(pod) is usable


@pytest.mark.parametrize(("runtime", "loaded"), [("process", False), ("pod", True)])
def test_the_provider_is_loaded_only_for_pods(templates, runtime, loaded):
    """OP-10: Whoever runs stages as processes does not wait for it at each parse."""
    program = (
        "import sys; from perennial_airflow import stage_task; from perennial import discovery;"
        "stage_task.stage_task('train', next(iter(discovery.models().values())), snapshot=1);"
        "print('kubernetes' in sys.modules)"
    )
    environment = {**os.environ, "PERENNIAL_RUNTIME": runtime}
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == str(loaded)


@pytest.mark.parametrize(("nodes", "kind"), [(1, "pod"), (2, "Job")])
def test_a_cluster_that_does_not_answer_is_a_sentence(templates, task_instance, nodes, kind):
    """DE-15: One node or several: no traceback, and what runs is left to the next try."""
    (templates / "kubeconfig").write_text(KUBECONFIG.replace("https://127.0.0.1:1", "http://127.0.0.1:1"))
    ti = task_instance()
    ti.dag_id, ti.task_id, ti.map_index = "d", "train", -1
    with pytest.raises(StageFault, match=rf"The cluster does not answer Airflow .* A {kind} that runs is left alone"):
        _task(snapshot=1, spec=_model(nodes=nodes)).execute({"ti": ti, "run_id": "r", "dag": SimpleNamespace()})
