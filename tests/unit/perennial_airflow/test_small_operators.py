"""Tasks that tell, ask and announce."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from airflow.sdk.execution_time.context import OutletEventAccessors

from perennial_airflow.operators.announce_retraining import AnnounceRetraining
from perennial_airflow.operators.ask_person import AskMayStart, AskPromoteOrRollBack, OnlyByHand
from perennial_airflow.operators.share_out import ShareOut
from perennial_airflow.operators.tell_refused import TellRefused
from perennial_airflow.stage_end import StageRefused

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")


def test_refused_files_fail_the_run(task_log, task_instance):
    """Every refused file has its sentence in the log; the last line counts them and says what to do."""
    result = {
        "appended": {"1.csv": 10},
        "duplicates": ["2.csv"],
        "refused": {"3.csv": "Suite flights refused batch 3.csv: distance is null in 3 of 9 rows."},
    }
    with pytest.raises(StageRefused, match=r"1 of 3 files were refused and lie in quarantine: 3\.csv"):
        TellRefused(task_id="tell", ingested_by="ingest").execute({"ti": task_instance(ingest=result)})
    assert ("ERROR", "Suite flights refused batch 3.csv: distance is null in 3 of 9 rows.") in task_log.lines


def test_no_refused_file_is_a_success(task_log, task_instance):
    """Green when all files are in."""
    TellRefused(task_id="tell", ingested_by="ingest").execute(
        {"ti": task_instance(ingest={"appended": {"1.csv": 10}, "duplicates": [], "refused": {}})}
    )
    assert task_log.lines[-1] == ("INFO", "No file was refused.")


def test_a_retraining_request_is_announced(task_log, task_instance):
    """The event carries why."""
    asset = Asset("m_retraining", uri="perennial://retraining/m")
    events = OutletEventAccessors()
    found = {"retraining": "abc", "cause": "drift"}
    AnnounceRetraining(task_id="r", found_by="monitor", outlets=[asset]).execute(
        {"ti": task_instance(monitor=found), "outlet_events": events}
    )
    assert events[asset].extra == {"cause": "drift", "request": "abc"}


def test_no_request_is_skipped(task_log, task_instance):
    """And a skipped task makes no event."""
    with pytest.raises(AirflowSkipException):
        AnnounceRetraining(task_id="r", found_by="monitor").execute({"ti": task_instance(monitor={"retraining": None, "cause": None})})


def _ask(unsettled):
    return AskPromoteOrRollBack(task_id="ask_person", unsettled=unsettled, subject="Promote?", body="evidence")


def test_nobody_is_asked_when_the_evidence_settled_it(task_log):
    """The task is skipped."""
    with pytest.raises(AirflowSkipException):
        _ask("False").execute({})


def test_a_person_is_asked(task_log, monkeypatch):
    """Two answers; the task waits without a worker."""
    asked = {}
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: asked.update(details))
    with pytest.raises(TaskAwaitingInput):
        _ask("True").execute({"task_instance": SimpleNamespace(id="1")})
    assert asked["options"] == ["Promote", "Roll back"]


@pytest.mark.parametrize(("option", "decision"), [("Promote", "promote"), ("Roll back", "roll_back")])
def test_both_answers_are_passed_on(task_log, option, decision):
    """What to do, and who said so; neither answer skips the next task."""
    event = {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(timezone.utc),
        "responded_by_user": {"id": "1", "name": "ada"},
    }
    assert _ask("True").execute_complete({}, event) == {"decision": decision, "actor": "ada"}


def test_an_approval_says_who_gave_it(task_log):
    """The ledger names the person, not the machine."""
    event = {
        "chosen_options": ["Approve"],
        "params_input": {},
        "responded_at": datetime.now(timezone.utc),
        "responded_by_user": {"id": "1", "name": "ada"},
    }
    assert AskMayStart(task_id="may_start", subject="May it?").execute_complete({}, event) == {"actor": "ada"}


@pytest.mark.parametrize("run_type", ["asset_triggered", "scheduled"])
def test_only_a_person_may_start(task_log, run_type):
    """An event does not; the sentence says who must act."""
    task = OnlyByHand(task_id="may_start", sentence="ada must trigger the DAG.")
    with pytest.raises(AirflowSkipException, match="ada must trigger"):
        task.execute({"dag_run": SimpleNamespace(run_type=run_type)})
    assert task.execute({"dag_run": SimpleNamespace(run_type="manual")}) is None


def test_work_is_shared_out(task_log, task_instance):
    """Every part once, of the version that was planned, with what all parts have in common."""
    task = ShareOut(task_id="share_out", planned_by="plan", parts="3", arguments={"dataset": "trips"})
    found = task.execute({"ti": task_instance(plan={"version": 7})})
    assert found == [{"dataset": "trips", "version": 7, "partition": f"{part}/3"} for part in (1, 2, 3)]
    assert task_log.lines[-1] == ("INFO", "Version 7 is counted in 3 parts.")
