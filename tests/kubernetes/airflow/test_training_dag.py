"""The ingestion and the training of flights under the real scheduler: every stage in a pod, the store on S3."""

from __future__ import annotations

import base64
import re
import urllib.request

import pytest

from perennial.local import mlflow_program
from perennial.local.airflow_api import Run
from perennial.testing_s3 import S3Server

from ..cluster import wait_until
from .conftest import Platform

pytestmark = pytest.mark.timeout(2700)
DAYS = 28
TRAINING = ("validate", "train", "evaluate", "register")


def test_landed_files_become_a_registered_version(platform: Platform, first_version: Run) -> None:
    """DM-16, OP-01, SY-08: Files on S3 wake the ingestion, its snapshot the training, and the gate registers version 1: nobody starts a
    run."""
    ingestion, taken = platform.run_with("flights_ingestion", "ingest", 60, outcome="done")
    assert len(taken["appended"]) == DAYS
    assert not taken["refused"]
    results = {task: platform.api.result(first_version, task) or {} for task in TRAINING}
    assert {task: result["outcome"] for task, result in results.items()} == dict.fromkeys(TRAINING, "done")
    assert results["validate"]["snapshot"] == taken["snapshot"]
    assert results["validate"]["rows"] == sum(taken["appended"].values())
    assert re.fullmatch("[0-9a-f]{64}", results["train"]["digest"])
    assert results["register"]["version"] == 1
    assert platform.api.tasks(ingestion)["tell_refused"] in ("success", "skipped")
    assert set(platform.api.tasks(first_version).values()) == {"success"}


def test_every_stage_ran_in_a_pod_of_its_own(platform: Platform, first_version: Run) -> None:
    """OP-01: The events of the namespace name one pod for each stage, and each pod's name says what it ran."""
    for stage in TRAINING:
        (pod,) = platform.pods_of(stage)[:1]
        assert pod.startswith(f"perennial-flight-delays-{stage}-")
        assert any(pod in line for line in platform.api.log(first_version, stage)), f"the log of {stage} does not name its pod"
    assert platform.pods_of("ingest")[0].startswith("perennial-flights-ingest-")


def test_the_logs_are_the_stages_own(platform: Platform, first_version: Run, s3: S3Server) -> None:
    """SC-04: The task's log holds the command, the lines of the stage and its sentence; no secret is in it."""
    for stage in TRAINING:
        lines = platform.api.log(first_version, stage)
        sentence = (platform.api.result(first_version, stage) or {})["sentence"]
        assert any(f"perennial {stage} --model=flight_delays" in line for line in lines)
        assert any(sentence in line for line in lines)
        assert not [line for line in lines if s3.owner.secret_key in line]
    learnt = platform.api.log(first_version, "train")
    assert any(re.search(r"flight_delays: \d+ rows to train on", line) for line in learnt)
    assert any(re.search(r"[Ee]poch \d+", line) for line in learnt)


def test_the_links_of_the_results_open(platform: Platform, first_version: Run) -> None:
    """MN-18: What a pod wrote can be read in a browser: the evaluation page and the MLflow run."""
    links = (platform.api.result(first_version, "register") or {})["links"]
    assert set(links) >= {"Evaluation", "MLflow run"}
    for address in links.values():
        assert address.startswith((platform.settings.report_url("reports/"), platform.settings.mlflow_url))
        of_mlflow = base64.b64encode(":".join(mlflow_program.login(platform.settings)).encode()).decode()
        is_report = address.startswith(platform.settings.airflow_url)
        login = f"Bearer {platform.api.token()}" if is_report else f"Basic {of_mlflow}"
        request = urllib.request.Request(address, headers={"Authorization": login})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as page:
            assert page.status == 200


def test_no_pod_of_a_stage_is_left(platform: Platform, first_version: Run) -> None:
    """OP-10: A stage's pod goes once its result is taken."""
    assert first_version.state == "success"
    wait_until(
        lambda: (
            not [pod.metadata.name for pod in platform.cluster.pods(platform.namespace) if "perennial/task" in (pod.metadata.labels or {})]
        ),
        120,
        "the removal of the pods",
    )


def test_a_training_whose_pod_is_deleted_goes_on_from_its_checkpoint(platform: Platform, first_version: Run) -> None:
    """DE-22: The checkpoint is in the store: the pod of the next try, maybe on another node, begins after the last finished epoch."""
    run = platform.api.trigger("flight_delays_training", force=True, max_epochs=13)

    def begun() -> str | None:
        if platform.api.tasks(run).get("train") != "deferred":
            return None
        epochs = [line for line in platform.api.log(run, "train") if re.search(r"Epoch [3-9] of at most 13", line)]
        pods = platform.cluster.pods(platform.namespace, "task_id=train") if epochs else []
        return str(pods[0].metadata.name) if pods else None

    def ended() -> str | None:
        state = platform.api.tasks(run)["train"]
        return state if state in ("success", "failed") else None

    pod = platform.api.until(begun, "the third epoch", 600)
    platform.cluster.core.delete_namespaced_pod(pod, platform.namespace, grace_period_seconds=0)
    state = platform.api.until(ended, "the end of the training", 900)
    log = platform.api.log(run, "train")
    assert state == "success", log
    assert any(re.search(r"Going on after epoch ([3-9]|1\d) of a training that was interrupted", line) for line in log)
    assert not any("Epoch 1 of at most 13" in line for line in log)
    assert platform.cluster.started(platform.namespace).count(pod) == 2
