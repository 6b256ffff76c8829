"""What ended a task is named where its stage could not say so itself: a killed process, a pod without memory, a limit of time."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.timeout import timeout

from perennial.views.run_faults import fault_of
from perennial.views.run_story import TaskEnd
from perennial_airflow.operators.look_at_specs import SayBroken
from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.operators.tell_refused import TellRefused
from perennial_airflow.stage_end import StageEnded
from perennial_airflow.stage_pod import ending_of, not_created

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")


def named(task: str, left: dict[str, Any]) -> str:
    """The name of what ended a task."""
    fault = fault_of(TaskEnd(task, "failed", left))
    assert fault
    return fault.name


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "Killed from outside"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "Ended from outside"),
        ("while True: time.sleep(0.01)", "It took too long"),
        ("end(3)", "It broke"),
        ("end(2, 'No such argument.')", "Training may not start"),
        ('end(1, sentence="No memory.", outcome="fault", fault="MemoryError")', "Out of memory"),
    ],
)
def test_a_stage_that_was_ended_is_named(stages: Any, task_log: Any, body: str, name: str) -> None:
    """MN-18: A real child that is killed, ended, too slow, or dies without a word; and one that says itself what it was."""
    stages.do(body)
    pushed: dict[str, Any] = {}
    context: Any = {"ti": SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))}
    limit = timedelta(seconds=2)
    stage = ProcessStage(task_id="validate", stage="validate", arguments={"model": "m"}, execution_timeout=limit)
    with pytest.raises(StageEnded), timeout(limit.total_seconds() if "while" in body else 60):
        stage.execute(context)
    assert named("validate", pushed["return_value"]) == name


def _pod(**state: Any) -> dict[str, Any]:
    status = {"phase": "Failed", "containerStatuses": [{"name": "base", "image": "i", "state": state}]}
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "base"}]}, "status": status}


@pytest.mark.parametrize(
    ("ending", "name"),
    [
        (lambda: ending_of(_pod(terminated={"reason": "OOMKilled", "exitCode": 137}), [], "train"), "Out of memory"),
        (lambda: ending_of(_pod(terminated={"reason": "Error", "exitCode": 137}), [], "train"), "Ended from outside"),
        (lambda: ending_of(None, [], "train", name="p", gone=True), "Ended from outside"),
        (lambda: ending_of({**_pod(), "status": {"phase": "Pending"}}, [], "train"), "Its pod could not start"),
        (lambda: not_created("train", "p", "n", 404, "no namespace"), "Its pod could not start"),
        (lambda: not_created("train", "p", "n", 403, "exceeded quota"), "Its pod could not start"),
        (lambda: not_created("train", "p", "n", 403, "no right"), "Its pod could not start"),
        (lambda: not_created("train", "p", "n", 500, "no answer"), "Its pod could not start"),
    ],
)
def test_what_ended_a_pod_is_named(ending: Any, name: str) -> None:
    """MN-18: As the cluster says it: want of memory, an eviction, a pod that never began."""
    assert named("train", ending()) == name


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (SayBroken(task_id="say_broken", sentence="churn: no syntax in spec.py, line 3."), "A broken spec"),
        (TellRefused(task_id="tell_refused", ingested_by="ingest"), "Broken batch"),
    ],
)
def test_a_task_without_a_stage_is_named(task: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-18: A broken spec, and files that were refused while others were taken: by what the real tasks leave for the run's page."""
    pushed: dict[str, Any] = {}
    result = {"refused": {"a.csv": "distance is null in 2 of 5 rows."}, "appended": {}, "duplicates": ()}
    ti = SimpleNamespace(xcom_pull=lambda **_: result, xcom_push=lambda key, value: pushed.update({key: value}))
    monkeypatch.setattr("perennial_airflow.stage_end.get_current_context", lambda: {"ti": ti})
    with pytest.raises(StageEnded):
        task.execute({"ti": ti})
    assert named(task.task_id, pushed["ended"]) == name
