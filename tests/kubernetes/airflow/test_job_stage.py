"""A stage on several nodes of a real cluster, run by a real Airflow: what the task shows when a node breaks, and that nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from .. import cluster as rig
from ..cluster import Cluster, image, pull_policy, wait_until
from . import plain_jobs
from .small_airflow import STAGE, SlowWire, code, small_airflow

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

PROJECT = Path(__file__).parents[3]
MISSING_IMAGE = "perennial/there-is-no-such-image:0"
EACH_NODE = 'import os\nnode = int(os.environ["NODE_RANK"])\n' + STAGE
DAGS = """
from datetime import timedelta
from airflow.sdk import DAG, Param
from plain_jobs import PlainJobStage
from perennial.specs import ComputeSpec
from perennial_airflow.stage_task import param

TWO = ComputeSpec(cpus=1, memory_gb=0.3, nodes=2)
for name, stage, task in (
    ("nodes", "validate", {"retries": 2, "retry_delay": timedelta(seconds=1)}),
    ("nodes_once", "validate", {}),
    ("nodes_without_image", "rollback", {}),
):
    with DAG(dag_id=name, schedule=None, params={"do": Param("end(0, sentence='Done.')", type="string")}, max_active_runs=4):
        PlainJobStage(task_id="stage", stage=stage, arguments={"model": "probe", "reason": param("do")}, compute=TWO, **task)
with DAG(dag_id="nodes_training", schedule=None):
    PlainJobStage(
        task_id="stage", stage="train", arguments={"model": "digits", "snapshot": 18, "max_epochs": 3},
        compute=ComputeSpec(cpus=1, memory_gb=2, nodes=2),
    )
"""


@pytest.fixture(scope="module")
def home_namespace(cluster: Cluster):
    """One namespace for the tests of this file: starting Airflow takes longer than any of them."""
    with cluster.namespace("test-nodes") as name:
        yield name


@pytest.fixture(scope="module")
def store(servers: rig.Servers, home_namespace: str) -> dict[str, str]:
    """Settings of pods that really train: a store on S3 that holds 18 days of digits, each a snapshot."""
    settings = {"PERENNIAL_STORE": servers.store(home_namespace), "PERENNIAL_MLFLOW_URL": servers.mlflow_url}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "AWS_", "PYTHON"))}
    python = rig.VENVS / "workload" / "bin" / "python"
    for command in (["land", "digits", "--from=2024-01-01", "--to=2024-01-18"], ["ingest", "--dataset=digits"]):
        environment = kept | settings | servers.secrets() | {"PERENNIAL_LANDING_SETTLE_SECONDS": "0"}
        subprocess.run([python, "-m", "perennial.cli", *command], check=True, env=environment, cwd=PROJECT)
    return settings


@pytest.fixture(scope="module")
def airflow(cluster: Cluster, home_namespace: str, store: dict[str, str], servers: rig.Servers, wire: SlowWire, tmp_path_factory):
    """An Airflow with the DAGs above."""
    folder = tmp_path_factory.mktemp("airflow")
    (folder / "dags").mkdir()
    (folder / "dags" / "nodes.py").write_text(DAGS)
    shutil.copy(plain_jobs.__file__, folder / "dags")
    rig.write_templates(cluster, home_namespace, folder / "templates", store, servers.secrets())
    _change_templates(cluster, home_namespace, folder / "templates")
    settings = {"PERENNIAL_POD_TEMPLATES": str(folder / "templates"), "PERENNIAL_POD_NAMESPACE": home_namespace}
    environment = {"KUBECONFIG": str(wire.kubeconfig(folder / "kubeconfig"))}
    with small_airflow(folder / "home", folder / "dags", settings, environment) as started:
        yield started


def _change_templates(cluster: Cluster, namespace: str, folder: Path) -> None:
    """`train` gets a spec of digits that asks for two nodes; `stage` runs STAGE; `rollback` names an image that is not there."""
    asked = "    compute=ComputeSpec(cpus=1, memory_gb=2, nodes=2),\n    split="
    spec = (PROJECT / "include/perennial_models/digits/spec.py").read_text()
    spec = spec.replace("import GateSpec", "import ComputeSpec, GateSpec").replace("    split=", asked)
    cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": "stage"}, "data": {"stage.py": EACH_NODE, "spec.py": spec}})
    pod = yaml.safe_load((folder / "stage.yaml").read_text())
    container = pod["spec"]["containers"][0]
    pod["spec"]["volumes"].append({"name": "stage", "configMap": {"name": "stage"}})
    inside = "/opt/perennial/project/include/perennial_models/digits/spec.py"
    mounts = container["volumeMounts"]
    container["volumeMounts"] = [*mounts, {"name": "stage", "mountPath": inside, "subPath": "spec.py"}]
    (folder / "train.yaml").write_text(yaml.safe_dump(pod))
    container["volumeMounts"] = [*mounts, {"name": "stage", "mountPath": "/stage"}]
    container |= {"image": image("workload"), "imagePullPolicy": pull_policy(), "command": ["python3", "/stage/stage.py"]}
    (folder / "stage.yaml").write_text(yaml.safe_dump(pod))
    container["image"] = MISSING_IMAGE
    (folder / "rollback.yaml").write_text(yaml.safe_dump(pod))


@pytest.fixture
def nothing_is_left(cluster: Cluster, home_namespace: str):
    """No Job, no pod and no Service remain when a test is over."""
    yield
    wait_until(lambda: not _there(cluster, home_namespace), 120, "the end of all Jobs, pods and Services")


def _there(cluster: Cluster, namespace: str) -> list[str]:
    """Names of what there is."""
    jobs, services = cluster.batch.list_namespaced_job(namespace).items, cluster.core.list_namespaced_service(namespace).items
    return [found.metadata.name for found in [*jobs, *services, *cluster.pods(namespace)]]


def _running(cluster: Cluster, namespace: str, seconds: float = 120) -> list:
    """Both pods, once their stages run, node 0's first."""

    def found():
        pods = [p for p in cluster.pods(namespace) if not p.metadata.deletion_timestamp]
        pods = [p for p in pods if any(s.state.running for s in p.status.container_statuses or [])]
        return sorted(pods, key=lambda p: p.metadata.annotations["batch.kubernetes.io/job-completion-index"]) if len(pods) == 2 else None

    return wait_until(found, seconds, "two running stages")


@pytest.mark.usefixtures("nothing_is_left")
def test_two_pods_train_one_model(airflow, servers, home_namespace):
    """MO-05, SY-09: Real training by DDP: node 0's epochs are in the log, its result in XCom, and one version is in the store."""
    run = airflow.run("nodes_training")
    state = airflow.ended(run, "stage", 600)
    log = airflow.log(run, "stage")
    print("\n".join(f"{level} {text}" for level, text in log))
    assert state == "success"
    result = airflow.api.result(run, "stage")
    assert result["epochs"] == 3
    assert len(result["digest"]) == 64
    assert [text.split(":")[0] for _, text in log if text.startswith("Epoch ")] == [f"Epoch {n} of at most 3" for n in (1, 2, 3)]
    assert ("INFO", result["sentence"]) in log


@pytest.mark.usefixtures("nothing_is_left")
def test_the_pods_find_one_another(airflow):
    """MO-05: Each pod knows its number and reaches node 0 by name; the log is node 0's, while it runs, and no other's."""
    run = airflow.run(
        "nodes",
        do=code("""
            say(f"node {node}")
            address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
            if node == 0:
                with socket.create_server(("", address[1])) as server:
                    with server.accept()[0] as caller:
                        say("heard " + caller.recv(99).decode(), "WARNING")
                time.sleep(15)
                end(0, "Met.", sentence="Met.", snapshot=5)
            while True:
                try:
                    with socket.create_connection(address) as other:
                        other.sendall(f"node {node}".encode())
                    break
                except OSError:
                    time.sleep(0.2)
        """),
    )
    wait_until(lambda: ("WARNING", "heard node 1") in airflow.log(run, "stage"), 150, "the line, while the stage runs")
    assert airflow.state(run, "stage") == "deferred"
    assert airflow.ended(run, "stage") == "success"
    log = airflow.log(run, "stage")
    assert [log.count(("INFO", text)) for text in ("node 0", "node 1", "Met.")] == [1, 0, 1]
    assert airflow.api.result(run, "stage")["snapshot"] == 5


@pytest.mark.usefixtures("nothing_is_left")
def test_a_refusal_is_not_tried_again(airflow):
    """DE-15: Exit 2: the task fails at once, with the stage's own sentence."""
    run = airflow.run("nodes", do="end(2, 'Nothing to train on.', outcome='refused', sentence='Nothing to train on.')")
    assert airflow.ended(run, "stage") == "failed"
    assert airflow.tries(run, "stage") == 1
    assert airflow.sentence(run, "stage") == "Nothing to train on."


@pytest.mark.usefixtures("nothing_is_left")
def test_want_of_memory_of_one_node_is_named(airflow):
    """MN-18, MO-23: The other node's complaint is not taken for the cause; the broken node's last lines are in the log."""
    run = airflow.run(
        "nodes_once",
        do=code("""
            say(f"node {node}")
            if node == 1:
                held = bytearray(2_000_000_000)
            time.sleep(2)
            lost = "This process of probe's training lost another node."
            end(1, lost, outcome="fault", sentence=lost)
        """),
    )
    assert airflow.ended(run, "stage") == "failed"
    said = airflow.sentence(run, "stage")
    assert said.startswith("Node 1 of 2, counted from 0: The stage validate was ended for want of memory")
    assert "300M" in said
    assert any("node 1" in text for level, text in airflow.log(run, "stage") if level == "WARNING")


@pytest.mark.usefixtures("nothing_is_left")
def test_an_image_that_is_not_there_is_named(airflow):
    """MN-18: It fails early, with the image's name and what the registry said."""
    began = time.monotonic()
    run = airflow.run("nodes_without_image")
    assert airflow.ended(run, "stage") == "failed"
    assert time.monotonic() - began < 120
    said = airflow.sentence(run, "stage")
    assert MISSING_IMAGE in said
    assert "cannot be pulled" in said


@pytest.mark.usefixtures("nothing_is_left")
def test_an_exhausted_quota_is_named(airflow, cluster, home_namespace):
    """MO-23: No pod can be made: the sentence has the quota's name."""
    quota = {"metadata": {"name": "gpu-team"}, "spec": {"hard": {"limits.memory": "100M"}}}
    cluster.core.create_namespaced_resource_quota(home_namespace, quota)
    try:
        run = airflow.run("nodes_once")
        assert airflow.ended(run, "stage") == "failed"
    finally:
        cluster.core.delete_namespaced_resource_quota("gpu-team", home_namespace)
    said = airflow.sentence(run, "stage")
    assert said.startswith(f"The quota of the namespace {home_namespace} has no room for the stage validate")
    assert "exceeded quota: gpu-team" in said


@pytest.mark.usefixtures("nothing_is_left")
def test_a_deleted_pod_starts_the_training_again(airflow, cluster, home_namespace):
    """DE-22: One node cannot come back alone: the try ends with a sentence that names it, and the next one starts all nodes."""
    run = airflow.run("nodes", do="say('begun'); time.sleep(20 if node == 0 else 60); end(0, sentence='Done.')")
    _, second = _running(cluster, home_namespace)
    cluster.core.delete_namespaced_pod(second.metadata.name, home_namespace, grace_period_seconds=1)
    assert airflow.ended(run, "stage") == "success"
    said = airflow.sentence(run, "stage", 1)
    assert said.startswith("Node 1 of 2, counted from 0: ")
    assert "was deleted while the stage validate ran in it" in said
    assert airflow.tries(run, "stage") == 2


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("how", ["marked", "cleared"])
def test_a_person_ends_the_task_and_its_nodes(airflow, cluster, home_namespace, how):
    """DE-15: Marked failed: Job, pods and Service go. Cleared: they go, and all nodes start again."""
    run = airflow.run("nodes", do="say('begun'); time.sleep(30); end(0, sentence='Done.')")
    first, _ = _running(cluster, home_namespace)
    if how == "marked":
        airflow.set_state(run, "stage", "failed")
        wait_until(lambda: not _there(cluster, home_namespace), 60, "the end of it all")
        assert airflow.state(run, "stage") == "failed"
        return
    airflow.clear(run, "stage")
    wait_until(lambda: first.metadata.uid not in {p.metadata.uid for p in cluster.pods(home_namespace)}, 60, "the end of the first pod")
    assert airflow.ended(run, "stage") == "success"


@pytest.mark.usefixtures("nothing_is_left")
def test_a_killed_worker_leaves_the_job_to_the_next_try(airflow, cluster, home_namespace, wire):
    """DE-22: kill -9 of the task and its supervisor just after they had the Job made: the next try watches the same pods to their end."""
    wire.delay = 1.5
    try:
        run = airflow.run("nodes", do="say('begun'); time.sleep(60); end(0, sentence='Done.', snapshot=3)")
        wait_until(lambda: len(cluster.pods(home_namespace)) == 2, 120, "two pods")
        killed = [process.pid for process in airflow.processes_of_tasks()]
        for process in airflow.processes_of_tasks():
            process.kill()
    finally:
        wire.delay = 0.0
    assert killed
    pods = {pod.metadata.uid for pod in cluster.pods(home_namespace)}
    assert airflow.ended(run, "stage", 400) == "success"
    assert airflow.tries(run, "stage") == 2
    log = airflow.log(run, "stage")
    assert any("which an earlier try started" in text for _, text in log)
    assert log.count(("INFO", "begun")) == 1
    assert airflow.api.result(run, "stage")["snapshot"] == 3
    started = cluster.started(home_namespace)
    assert len(pods) == 2
    assert len(started) == len(set(started))


@pytest.mark.usefixtures("nothing_is_left")
def test_a_killed_triggerer_leaves_the_job_to_the_next(airflow, cluster, home_namespace):
    """DE-22: Another triggerer watches it to its end, in the same try."""
    run = airflow.run("nodes", do="say('begun'); time.sleep(45); end(0, sentence='Done.')")
    _running(cluster, home_namespace)
    airflow.kill_triggerer()
    airflow.start_triggerer()
    assert airflow.ended(run, "stage", 400) == "success"
    assert airflow.tries(run, "stage") == 1
