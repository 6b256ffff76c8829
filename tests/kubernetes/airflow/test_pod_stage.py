"""Stages as pods of a real cluster, run by a real Airflow: what a task shows when something breaks, and that no pod is left."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value

from perennial.local.airflow_api import ENDED

from ..cluster import Cluster, image, pull_policy, wait_until
from .small_airflow import STAGE, SlowWire, SmallAirflow, code, small_airflow

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

# A command that ends a node's kubelet when called with `stop` and starts it again with `start`. Taken away at once: it is no setting.
KUBELET = os.environ.pop("PERENNIAL_TEST_KUBELET", "")
SECRET = "not-for-any-log-c0ffee"
MISSING_IMAGE = "perennial/there-is-no-such-image:0"
DAGS = """
from datetime import timedelta
from airflow.sdk import DAG, Param
from perennial.specs import ComputeSpec, GateSpec, ModelSpec
from perennial_airflow.stage_task import param, stage_task

def model(**compute):
    return ModelSpec(
        name="probe", title="Probe", owner="ada", dataset="trips", task="binary", inputs=("id",), label="late", classes=("no", "yes"),
        gate=GateSpec(floors={"roc_auc": 0.6}), compute=ComputeSpec(cpus=1, memory_gb=0.3, **compute),
    )

PARAMS = {"do": Param("end(0, sentence='Done.')", type="string")}
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}
for name, stage, task, compute in (
    ("probe", "validate", {}, {}),
    ("probe_once", "validate", {"retries": 0}, {}),
    ("probe_without_image", "train", {"retries": 0}, {}),
    ("probe_without_node", "validate", {"retries": 0, "schedule_timeout_seconds": 10}, {"node_selector": {"perennial/no-such": "node"}}),
):
    with DAG(dag_id=name, schedule=None, params=PARAMS, default_args=RETRIES, max_active_runs=4):
        given = {"snapshot": 1} if stage == "train" else {}
        stage_task(stage, model(**compute), task={"task_id": "stage", **task}, reason=param("do"), **given)
"""


@pytest.fixture(scope="module")
def home_namespace(cluster: Cluster):
    """One namespace for the tests of this file: starting Airflow takes longer than any of them."""
    with cluster.namespace("test-stages") as name:
        yield name


@pytest.fixture(scope="module")
def airflow(cluster: Cluster, home_namespace: str, wire: SlowWire, tmp_path_factory: pytest.TempPathFactory):
    """An Airflow with the DAGs above."""
    folder = tmp_path_factory.mktemp("airflow")
    (folder / "dags").mkdir()
    (folder / "dags" / "probes.py").write_text(DAGS)
    _write_templates(cluster, home_namespace, folder / "templates")
    settings = {"PERENNIAL_POD_TEMPLATES": str(folder / "templates"), "PERENNIAL_POD_NAMESPACE": home_namespace}
    environment = {"KUBECONFIG": str(wire.kubeconfig(folder / "kubeconfig"))}
    with small_airflow(folder / "home", folder / "dags", settings, environment) as started:
        yield started


def _write_templates(cluster: Cluster, namespace: str, folder: Path) -> None:
    """Templates whose pods run STAGE; the one of `train` names an image that is not there."""
    folder.mkdir()
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "stage"}, "data": {"stage.py": STAGE}})
    cluster.core.create_namespaced_secret(namespace, {"metadata": {"name": "keys"}, "stringData": {"STORE_KEY": SECRET}})
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 50000, "runAsNonRoot": True},
            "containers": [
                {
                    "name": "base",
                    "image": image("workload"),
                    "imagePullPolicy": pull_policy(),
                    "command": ["python3", "/stage/stage.py"],
                    "envFrom": [{"secretRef": {"name": "keys"}}],
                    "securityContext": {
                        "readOnlyRootFilesystem": True,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
                    "volumeMounts": [{"name": "stage", "mountPath": "/stage"}],
                }
            ],
            "volumes": [{"name": "stage", "configMap": {"name": "stage"}}],
        },
    }
    (folder / "stage.yaml").write_text(yaml.safe_dump(pod))
    pod["spec"]["containers"][0] |= {"image": MISSING_IMAGE}
    (folder / "train.yaml").write_text(yaml.safe_dump(pod))


@pytest.fixture
def start(airflow: SmallAirflow, cluster: Cluster, home_namespace: str):
    """Starts a run, as `start(dag, **parameters)`. When the test is over, no pod of its runs remains."""
    begun = []

    def start(dag, **parameters):
        begun.append(airflow.run(dag, **parameters))
        return begun[-1]

    yield start
    for run in begun:
        if airflow.api.run(run.dag, run.id).state not in ENDED:  # the test has failed: the next one finds an idle Airflow
            airflow.set_state(run, "stage", "failed")
    for run in begun:
        wait_until(lambda run=run: not _pods(cluster, home_namespace, run), 120, "the end of all pods")


def _pods(cluster: Cluster, namespace: str, run):
    return cluster.pods(namespace, f"run_id={make_safe_label_value(run.id)}")


def _running_pod(cluster: Cluster, namespace: str, run, seconds: float = 240):
    def running():
        for pod in _pods(cluster, namespace, run):
            for status in pod.status.container_statuses or []:
                if status.name == "base" and status.state.running:
                    return pod
        return None

    return wait_until(running, seconds, "a running stage")


def test_a_stage_in_a_pod(airflow, cluster, home_namespace, start):
    """OP-01, SC-04: Its lines are in the log at their levels, once each, while it runs; its result in XCom; nothing secret anywhere."""
    run = start(
        "probe",
        do=code("""
            say("first")
            time.sleep(40)
            say("second", "WARNING")
            say("key has %d letters" % len(os.environ["STORE_KEY"]))
            print("Validated.")
            end(0, sentence="Validated.", snapshot=7)
        """),
    )
    pod = _running_pod(cluster, home_namespace, run)
    wait_until(lambda: ("INFO", "first") in airflow.log(run, "stage"), 40, "the first line, while the stage runs")
    assert airflow.state(run, "stage") == "deferred"
    assert airflow.ended(run, "stage") == "success"
    log = airflow.log(run, "stage")
    print("\n".join(f"{level} {text}" for level, text in log))
    for line in (("INFO", "first"), ("WARNING", "second"), ("INFO", f"key has {len(SECRET)} letters"), ("INFO", "Validated.")):
        assert log.count(line) == 1, line
    assert airflow.api.result(run, "stage")["snapshot"] == 7
    assert pod.spec.containers[0].args[0] == "validate"
    assert pod.spec.containers[0].resources.limits == {"cpu": "1", "memory": "300M"}
    assert SECRET not in str(log) + airflow.rendered(run, "stage") + str(pod)
    assert "arguments" in airflow.rendered(run, "stage")


def test_a_refusal_is_not_tried_again(airflow, start):
    """DE-15: Exit 2: the task fails at once, with the stage's own sentence."""
    run = start("probe", do="end(2, 'There is nothing to train on.', outcome='refused', sentence='There is nothing to train on.')")
    assert airflow.ended(run, "stage") == "failed"
    assert airflow.tries(run, "stage") == 1
    assert airflow.sentence(run, "stage") == "There is nothing to train on."


def test_nothing_to_do_is_skipped(airflow, start):
    """DE-15: A skipped result is honoured."""
    run = start("probe", do="end(0, outcome='skipped', sentence='Nothing new since version 12.')")
    assert airflow.ended(run, "stage") == "skipped"


def test_a_fault_is_tried_again(airflow, cluster, home_namespace, start):
    """DE-22: Each try has a pod of its own: the stage goes on from what it stored."""
    run = start("probe", do="end(1, outcome='fault', sentence='MLflow does not answer.')")
    assert airflow.ended(run, "stage") == "failed"
    assert airflow.tries(run, "stage") == 3
    assert airflow.sentence(run, "stage") == "MLflow does not answer."


def test_want_of_memory_is_named(airflow, start):
    """MN-18, MO-23: The kernel ended it: the sentence says how much it may use."""
    run = start("probe_once", do="say('filling'); held = bytearray(2_000_000_000)")
    assert airflow.ended(run, "stage") == "failed"
    said = airflow.sentence(run, "stage")
    assert "want of memory" in said
    assert "300M" in said


def test_an_image_that_is_not_there_is_named(airflow, start):
    """MN-18: It fails early, with the image's name and what the registry said."""
    began = time.monotonic()
    run = start("probe_without_image")
    assert airflow.ended(run, "stage") == "failed"
    assert time.monotonic() - began < 240
    said = airflow.sentence(run, "stage")
    assert MISSING_IMAGE in said
    assert "cannot be pulled" in said


def test_no_room_is_named(airflow, start):
    """MN-18, MO-23: What the scheduler says, after the time that the task gives it."""
    run = start("probe_without_node")
    assert airflow.ended(run, "stage") == "failed"
    said = airflow.sentence(run, "stage")
    assert said.startswith("No node can take the pod")
    assert "0/" in said


def test_an_exhausted_quota_is_named(airflow, cluster, home_namespace, start):
    """MN-18, MO-23: The pod cannot be made: the sentence has the quota's name and figures."""
    quota = {"metadata": {"name": "gpu-team"}, "spec": {"hard": {"limits.memory": "100M"}}}
    cluster.core.create_namespaced_resource_quota(home_namespace, quota)
    try:
        run = start("probe_once")
        assert airflow.ended(run, "stage") == "failed"
    finally:
        cluster.core.delete_namespaced_resource_quota("gpu-team", home_namespace)
    said = airflow.sentence(run, "stage")
    assert said.startswith(f"The quota of the namespace {home_namespace} has no room for the stage validate")
    assert "exceeded quota: gpu-team" in said


def test_a_deleted_pod_is_made_again(airflow, cluster, home_namespace, start):
    """DE-22: The try ends with a sentence that says so; the next one starts the stage again."""
    run = start("probe", do="say('begun'); time.sleep(20); end(0, sentence='Done.')")
    first = _running_pod(cluster, home_namespace, run)
    cluster.core.delete_namespaced_pod(first.metadata.name, home_namespace, grace_period_seconds=2)
    assert airflow.ended(run, "stage") == "success"
    assert "was deleted while the stage validate ran in it" in airflow.sentence(run, "stage", 1)
    assert airflow.tries(run, "stage") == 2


@pytest.mark.parametrize("how", ["marked", "cleared"])
def test_a_person_ends_the_task_and_its_pod(airflow, cluster, home_namespace, how, start):
    """DE-15: Marked failed: the pod goes. Cleared: it goes, and the stage starts in a new one."""
    run = start("probe", do="say('begun'); time.sleep(25); end(0, sentence='Done.')")
    first = _running_pod(cluster, home_namespace, run)
    if how == "marked":
        airflow.set_state(run, "stage", "failed")
        wait_until(lambda: not _pods(cluster, home_namespace, run), 120, "the end of the pod")
        assert airflow.state(run, "stage") == "failed"
        return
    airflow.clear(run, "stage")
    wait_until(
        lambda: first.metadata.uid not in {p.metadata.uid for p in _pods(cluster, home_namespace, run)}, 120, "the end of the first pod"
    )
    second = _running_pod(cluster, home_namespace, run)
    assert second.metadata.name == first.metadata.name
    assert airflow.ended(run, "stage") == "success"


def test_a_killed_worker_leaves_the_pod_to_the_next_try(airflow, cluster, home_namespace, wire, start):
    """DE-22: kill -9 of the task and its supervisor just after they had the pod made: the next try watches the same pod to its end."""
    wire.delay = 1.5
    try:
        run = start("probe", do="say('begun'); time.sleep(60); end(0, sentence='Done.', snapshot=3)")
        first = wait_until(lambda: next(iter(_pods(cluster, home_namespace, run)), None), 240, "a pod")
        killed = [process.pid for process in airflow.processes_of_tasks()]
        for process in airflow.processes_of_tasks():
            process.kill()
    finally:
        wire.delay = 0.0
    assert killed
    assert airflow.ended(run, "stage", 400) == "success"
    assert airflow.tries(run, "stage") == 2
    log = airflow.log(run, "stage")
    assert ("INFO", f"It goes on in the pod {first.metadata.name}, which an earlier try started.") in log
    assert log.count(("INFO", "begun")) == 1
    assert airflow.api.result(run, "stage")["snapshot"] == 3
    assert cluster.started(home_namespace).count(first.metadata.name) == 1


def test_a_result_that_nobody_took_is_taken_by_the_next_try(airflow, cluster, home_namespace, wire, start):
    """DE-22: The task was killed between the stage's end and the reading of its result: the stage does not run again."""
    run = start("probe", do="say('begun'); time.sleep(8); end(0, sentence='Done.', snapshot=4)")
    first = _running_pod(cluster, home_namespace, run)
    wire.delay = 1.5
    try:
        wait_until(lambda: airflow.state(run, "stage") == "running", 60, "the task to go on")
        wait_until(airflow.processes_of_tasks, 30, "its process")
        time.sleep(1)
        for process in airflow.processes_of_tasks():
            process.kill()
    finally:
        wire.delay = 0.0
    assert airflow.ended(run, "stage", 400) == "success"
    assert airflow.tries(run, "stage") == 2
    assert airflow.api.result(run, "stage")["snapshot"] == 4
    assert cluster.started(home_namespace).count(first.metadata.name) == 1


def test_a_killed_triggerer_leaves_the_pod_to_the_next(airflow, cluster, home_namespace, start):
    """DE-22: Another triggerer watches it to its end, in the same try."""
    run = start("probe", do="say('begun'); time.sleep(40); end(0, sentence='Done.')")
    first = _running_pod(cluster, home_namespace, run)
    airflow.kill_triggerer()
    airflow.start_triggerer()
    assert airflow.ended(run, "stage", 400) == "success"
    assert airflow.tries(run, "stage") == 1
    assert cluster.started(home_namespace).count(first.metadata.name) == 1


@pytest.mark.skipif(not KUBELET, reason="PERENNIAL_TEST_KUBELET names no command that stops and starts a node's kubelet")
def test_a_node_without_its_kubelet_for_a_minute(airflow, cluster, home_namespace, start):
    """DE-22: The stage runs on, its pod is left alone, and the task ends well: what was printed meanwhile is in the log, once."""
    run = start("probe", do="for i in range(60): say(f'second {2 * i}'); time.sleep(2)\nend(0, sentence='Done.', snapshot=5)")
    first = _running_pod(cluster, home_namespace, run)
    subprocess.run([*shlex.split(KUBELET), "stop"], check=True)
    try:
        time.sleep(60)
    finally:
        subprocess.run([*shlex.split(KUBELET), "start"], check=True)
    assert airflow.ended(run, "stage", 400) == "success"
    assert airflow.tries(run, "stage") == 1
    log = airflow.log(run, "stage")
    print("\n".join(f"{level} {text}" for level, text in log if level != "INFO"))
    assert [text for _, text in log if text.startswith("second ")] == [f"second {2 * i}" for i in range(60)]
    assert airflow.api.result(run, "stage")["snapshot"] == 5
    assert cluster.started(home_namespace).count(first.metadata.name) == 1


def test_a_pod_that_the_template_makes_wrong_is_told(airflow, cluster, home_namespace, start):
    """MN-18: A secret that is not there: its name is in the log while the pod waits; a person ends the task."""
    cluster.core.delete_namespaced_secret("keys", home_namespace)
    try:
        run = start("probe")
        wait_until(lambda: any('secret "keys" not found' in text for _, text in airflow.log(run, "stage")), 90, "the reason in the log")
        airflow.set_state(run, "stage", "failed")
        wait_until(lambda: not _pods(cluster, home_namespace, run), 120, "the end of the pod")
    finally:
        cluster.core.create_namespaced_secret(home_namespace, {"metadata": {"name": "keys"}, "stringData": {"STORE_KEY": SECRET}})
