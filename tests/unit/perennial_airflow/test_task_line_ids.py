"""Ids in the lines of tasks and stages, where lines are for a central log."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
from structlog.contextvars import clear_contextvars, get_contextvars

from perennial.log_lines import JsonLines
from perennial_airflow.stage_log import StageLog
from perennial_airflow.stage_pod import give_run
from perennial_airflow.task_line_ids import TaskLineIds

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def _no_ids(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRACEPARENT", raising=False)
    clear_contextvars()
    yield
    clear_contextvars()


def _task(**task: object) -> SimpleNamespace:
    return SimpleNamespace(dag_id="churn_training", run_id="manual__1", task_id="train", try_number=2, task=SimpleNamespace(**task))


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ({"stage": "train", "arguments": {"model": "churn", "dataset": "", "snapshot": 3}}, {"stage": "train", "model": "churn"}),
        ({"stage": "ingest", "arguments": {"dataset": "calls"}}, {"stage": "ingest", "dataset": "calls"}),
        ({"stage": "score", "arguments": "a template"}, {"stage": "score"}),
        ({}, {}),
    ],
)
def test_every_line_of_a_task_has_its_ids(monkeypatch: pytest.MonkeyPatch, task: dict[str, object], more: dict[str, object]) -> None:
    """MN-12: What Airflow writes as objects has dag, run, task, try, and stage and model where it has any; in text form nothing changes."""
    TaskLineIds().on_task_instance_running(None, _task(**task))
    assert get_contextvars() == {}
    monkeypatch.setenv("PERENNIAL_LOG_FORMAT", "json")
    TaskLineIds().on_task_instance_running(None, _task(**task))
    assert get_contextvars() == {"dag": "churn_training", "run": "manual__1", "task": "train", "try": 2, **more}


def test_a_task_within_a_trace_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-12: Trace and span of the task's environment are in its lines, by OpenTelemetry's names."""
    monkeypatch.setenv("PERENNIAL_LOG_FORMAT", "json")
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    TaskLineIds().on_task_instance_running(None, _task())
    assert get_contextvars().items() >= {"trace_id": TRACE, "span_id": SPAN}.items()


def test_a_task_runs_whatever_its_lines_lack(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """MN-12: A task instance of another form is told in the log, and nothing is raised."""
    monkeypatch.setenv("PERENNIAL_LOG_FORMAT", "json")
    TaskLineIds().on_task_instance_running(None, object())
    assert "The lines of this task have no ids" in caplog.text


def test_lines_of_json_are_told_at_their_level_and_the_sentence_waits() -> None:
    """MN-12, DE-15: The task's log has each message once, with its traceback; the sentence is kept for the task to tell, as in text."""
    told: list[tuple[int, str]] = []
    log = StageLog(SimpleNamespace(log=lambda level, form, said: told.append((level, form % said))))
    broken = logging.LogRecord("x", logging.ERROR, "", 0, "It broke.", (), None)
    broken.exc_text, broken.exc_info = None, (ValueError, ValueError("no"), None)
    for record in (logging.LogRecord("x", logging.WARNING, "", 0, "Slow.", (), None), broken):
        log.take(JsonLines().format(record))
    log.take("a library's own line")
    log.take(json.dumps({"schema": 1, "level": "ERROR", "message": "Worse.", "outcome": "refused"}))
    assert told == [(logging.WARNING, "Slow."), (logging.ERROR, "It broke.\nValueError: no"), (logging.ERROR, "a library's own line")]
    assert log.last == "Worse."
    log.take(json.dumps({"schema": 1, "level": "LOUD", "message": "More."}))
    assert told[3:] == [(logging.ERROR, "Worse."), (logging.INFO, "More.")]


def test_a_pod_is_told_its_run_as_a_process_is() -> None:
    """MN-12: The variables of run and trace are added to those of the template, or take their place; none is made up."""
    container = {"name": "main", "env": [{"name": "A", "value": "1"}, {"name": "AIRFLOW_CTX_TRY_NUMBER", "value": "1"}]}
    give_run(container, {"AIRFLOW_CTX_TRY_NUMBER": "2", "AIRFLOW_CTX_DAG_RUN_ID": "r", "TRACEPARENT": "", "OTHER": "x"})
    assert container["env"] == [
        {"name": "A", "value": "1"},
        {"name": "AIRFLOW_CTX_DAG_RUN_ID", "value": "r"},
        {"name": "AIRFLOW_CTX_TRY_NUMBER", "value": "2"},
    ]
    untouched: dict[str, object] = {"name": "main"}
    give_run(untouched, {})
    assert untouched == {"name": "main"}
