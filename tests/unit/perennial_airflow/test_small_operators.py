"""Tasks that tell, ask and announce."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, Asset, RetryAction
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from airflow.sdk.execution_time.context import OutletEventAccessors

from perennial import discovery
from perennial.incidents import news
from perennial.incidents.incidents import Incidents, awaits_verdict
from perennial.lineage.ledger import Ledger
from perennial.specs import ReleaseSpec
from perennial.store import FolderStore
from perennial_airflow.notifiers.notice import Notice
from perennial_airflow.operators.announce_retraining import AnnounceRetraining
from perennial_airflow.operators.ask_person import AskMayStart, AskPromoteOrRollBack, OnlyByHand
from perennial_airflow.operators.share_out import ShareOut
from perennial_airflow.operators.tell_incidents import questions
from perennial_airflow.operators.tell_refused import TellRefused
from perennial_airflow.sightings import in_question
from perennial_airflow.stage_end import StageFault, StageRefused

from ..lateness import lateness

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")


def test_refused_files_fail_the_run(task_log, task_instance):
    """DM-10: Every refused file has its sentence in the log; the last line counts them and says what to do."""
    result = {
        "appended": {"1.csv": 10},
        "duplicates": ["2.csv"],
        "refused": {"3.csv": "Suite flights refused batch 3.csv: distance is null in 3 of 9 rows."},
    }
    with pytest.raises(StageRefused, match=r"1 of 3 files were refused and lie in quarantine: 3\.csv"):
        TellRefused(task_id="tell", ingested_by="ingest").execute({"ti": task_instance(ingest=result)})
    assert ("ERROR", "Suite flights refused batch 3.csv: distance is null in 3 of 9 rows.") in task_log.lines


def test_what_to_do_is_said_once(task_log, task_instance):
    """DM-10: The sentence of a single refused file may say it already."""
    result = {"appended": {"1.csv": 10}, "duplicates": [], "refused": {"2.csv": "2.csv: km is 'far'. Correct the file and land it again."}}
    with pytest.raises(StageRefused, match=r"km is 'far'\. Correct the file and land it again\.$"):
        TellRefused(task_id="tell", ingested_by="ingest").execute({"ti": task_instance(ingest=result)})


def test_refused_rows_fail_the_run(task_log, task_instance):
    """DM-10: The other rows of their files are in; the sentence counts the refused ones by file."""
    result = {"appended": {"1.csv": 10}, "duplicates": [], "refused": {}, "refused_rows": {"1.csv": 3}}
    with pytest.raises(StageRefused, match=r"^Rows were refused one by one and lie in quarantine with the reasons: 3 of 1\.csv\. Correct"):
        TellRefused(task_id="tell", ingested_by="ingest").execute({"ti": task_instance(ingest=result)})


def test_no_refused_file_is_a_success(task_log, task_instance):
    """DE-15: Green when all files are in."""
    TellRefused(task_id="tell", ingested_by="ingest").execute(
        {"ti": task_instance(ingest={"appended": {"1.csv": 10}, "duplicates": [], "refused": {}})}
    )
    assert task_log.lines[-1] == ("INFO", "No file was refused.")


def test_a_retraining_request_is_announced(task_log, task_instance):
    """MN-10: The event carries why."""
    asset = Asset("m_retraining", uri="perennial://retraining/m")
    events = OutletEventAccessors()
    found = {"retraining": "abc", "cause": "drift"}
    AnnounceRetraining(task_id="r", found_by="monitor", outlets=[asset]).execute(
        {"ti": task_instance(monitor=found), "outlet_events": events}
    )
    assert events[asset].extra == {"cause": "drift", "request": "abc"}


def test_no_request_is_skipped(task_log, task_instance):
    """MN-10: And a skipped task makes no event."""
    with pytest.raises(AirflowSkipException):
        AnnounceRetraining(task_id="r", found_by="monitor").execute({"ti": task_instance(monitor={"retraining": None, "cause": None})})


TI = SimpleNamespace(dag_id="m_release", run_id="manual 1", task_id="may_start")


def _ask(unsettled, before_start="False"):
    return AskPromoteOrRollBack(
        task_id="ask_person", model="m", version="7", unsettled=unsettled, before_start=before_start, title="Delays", body="evidence"
    )


def _answer(option):
    """What Airflow hands over when ada has answered."""
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(timezone.utc),
        "responded_by_user": {"id": "1", "name": "ada"},
    }


def test_nobody_is_asked_when_the_evidence_settled_it(task_log):
    """DE-02: The task is skipped."""
    with pytest.raises(AirflowSkipException):
        _ask("False").execute({})


def test_a_person_is_asked(home, task_log, monkeypatch):
    """DE-02, OP-10: Two answers; the task waits without a worker."""
    asked = {}
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: asked.update(details))
    with pytest.raises(TaskAwaitingInput):
        _ask("True").execute({"task_instance": SimpleNamespace(id="1"), "ti": TI})
    assert asked["options"] == ["Promote", "Roll back"]


@pytest.mark.parametrize(
    ("before_start", "option", "decision"),
    [("False", "Promote", "promote"), ("False", "Roll back", "roll_back"), ("True", "Approve", ""), ("True", "Reject", "roll_back")],
)
def test_both_answers_are_passed_on(task_log, before_start, option, decision):
    """DE-02: What to do, and who said so; neither answer skips the next task. A yes before the start promotes nothing: the evidence decides
    then."""
    assert _ask("True", before_start).execute_complete({}, _answer(option)) == {"decision": decision, "actor": "ada"}


def _registered(*versions, said="Version {} is better."):
    """The context of a run that these registrations started."""
    events = [SimpleNamespace(extra={"version": number, "sentence": said.format(number)}) for number in versions]
    return {"task_instance": SimpleNamespace(id="1"), "ti": TI, "triggering_asset_events": {Asset("m_candidate"): events}}


def _may_start(version="", again="False"):
    return AskMayStart(task_id="may_start", model="m", version=version, again=again, title="Lateness", steps="Steps: 5, 100 percent.")


@pytest.mark.parametrize(
    ("named", "registered", "asked_about", "said"),
    [("", (7,), 7, "Version 7 is better.\n\n"), ("", (7, 9, 8), 9, "Version 9 is better.\n\n"), ("4", (7,), 4, ""), ("4", (), 4, "")],
)
def test_a_person_is_asked_about_one_version(home, task_log, monkeypatch, named, registered, asked_about, said):
    """DE-02: That which a person named, or the newest whose registration started the run, with what the gate said of it."""
    asked = {}
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: asked.update(details))
    with pytest.raises(TaskAwaitingInput):
        _may_start(named).execute(_registered(*registered))
    assert asked["options"] == ["Approve", "Reject"]
    assert asked["subject"] == f"May version {asked_about} of Lateness take traffic?"
    assert asked["body"] == f"{said}Steps: 5, 100 percent."


def test_what_the_gate_says_is_no_markdown(home, task_log, monkeypatch):
    """SC-01: It may name an input or a value: no picture is fetched from elsewhere, no link looks like one of ours."""
    asked = {}
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: asked.update(details))
    with pytest.raises(TaskAwaitingInput):
        _may_start().execute(_registered(7, said="![x](http://stranger.example) <b> [approve](http://stranger.example)"))
    assert asked["body"].startswith(r"\!\[x\](http://stranger.example) \<b\> \[approve\](http://stranger.example)")


@pytest.mark.parametrize("kind", ["rejected", "rolled_back", "promoted"])
def test_nobody_is_asked_about_what_is_decided(home, task_log, monkeypatch, kind):
    """DE-02: An event that comes twice; who says so is asked all the same, and so is who has another version or one whose release is under
    way."""
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: None)
    ledger = Ledger(FolderStore(str(home / "store")), "m")
    told = {"champion": None, "weights": {}, "versions": {7: "a" * 64}, "reason": "ada said so.", "actor": "ada"}
    ledger.append("started", version=7, after_seq=None, **told)
    with pytest.raises(TaskAwaitingInput):
        _may_start().execute(_registered(7))
    ledger.append(kind, version=7, after_seq=0, **told)
    with pytest.raises(
        AirflowSkipException, match=rf"Version 7 of m was {kind.replace('_', ' ')} on .*: ada said so\. Nobody is asked again"
    ):
        _may_start().execute(_registered(7))
    for task, version in ((_may_start(again="True"), 7), (_may_start(), 8)):
        with pytest.raises(TaskAwaitingInput):
            task.execute(_registered(version))


def test_a_store_that_does_not_answer_asks_nobody(home, task_log):
    """DE-02: One sentence, and tried again."""
    (home / "store").write_text("a file")
    with pytest.raises(StageFault, match="is a file"):
        _may_start().execute(_registered(7))


def test_a_yes_needs_a_version(task_log):
    """DE-02: A run by hand names one: else the yes would be for whatever is registered by the time it is given. Not tried again."""
    with pytest.raises(StageRefused, match="Version") as refused:
        _may_start().execute({"triggering_asset_events": {}})
    assert _may_start().retry_policy.evaluate(refused.value, 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize(("option", "decision"), [("Approve", ""), ("Reject", "roll_back")])
def test_an_approval_is_for_one_version(task_log, option, decision):
    """DE-02, SC-03: A no is passed on as well, so that it is written down; the ledger names the person, not the machine."""
    answer = _may_start().execute_complete(_registered(7), _answer(option))
    assert answer == {"version": 7, "decision": decision, "actor": "ada"}


@pytest.mark.parametrize("make", [_may_start, lambda: _ask("True")], ids=["may_start", "ask_person"])
def test_a_question_has_no_time_limit(make):
    """DE-02: A limit that a site or a DAG sets for all tasks would end it, as Airflow takes one for the other: here it does not count."""
    with DAG("d", default_args={"execution_timeout": timedelta(hours=1)}):
        task = make()
    assert (task.execution_timeout, task.response_timeout) == (None, None)
    assert task.defaults is None  # what Airflow would answer in a person's place


TIME_TO_LOOK = {"error": "The Human-in-the-loop response timeout has passed without a response.", "error_type": "timeout"}


def _waits(call):
    """The question as Airflow keeps it while it waits."""
    with pytest.raises(TaskAwaitingInput) as waits:
        call()
    return waits.value


def _ledger(home, *kinds):
    """The ledger of `m` with these entries on version 7 after that with which the question was asked."""
    ledger = Ledger(FolderStore(str(home / "store")), "m")
    for kind in kinds:
        last = ledger.last()
        told = {"champion": 6, "weights": {}, "versions": {6: "b" * 64, 7: "a" * 64, 8: "c" * 64}, "reason": "By hand.", "actor": "jo"}
        ledger.append(kind, version=8 if kind == "rejected" else 7, after_seq=last.seq if last else None, **told)


def test_a_question_that_a_command_answered_ends_by_itself(home, task_log, monkeypatch):
    """DE-02: later candidates go on. Until then it sleeps again, longer with its age, also where the store is away for a while."""
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: None)
    task, run = _may_start(), _registered(7)
    asked = _waits(lambda: task.execute(run))
    assert asked.timeout == timedelta(minutes=1)
    still = _waits(lambda: task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs))
    assert still.kwargs == asked.kwargs
    old = {**asked.kwargs, "since": asked.kwargs["since"] - 3000}
    assert timedelta(minutes=4) < _waits(lambda: task.execute_complete(run, TIME_TO_LOOK, **old)).timeout < timedelta(minutes=6)
    with monkeypatch.context() as away:
        (home / "a file").write_text("")
        away.setenv("PERENNIAL_STORE", str(home / "a file"))
        assert _waits(lambda: task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs)).kwargs == asked.kwargs
    _ledger(home, "rejected")  # of another version
    assert _waits(lambda: task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs)).kwargs == asked.kwargs
    _ledger(home, "started")
    assert task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs) == {"version": 7, "decision": "", "actor": "jo"}
    _ledger(home, "rolled_back")
    with pytest.raises(AirflowSkipException, match=r"jo decided elsewhere: version 7 of m was rolled back since .* Nobody needs to answer"):
        task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs)
    assert task.execute_complete(run, _answer("Approve"), **asked.kwargs)["actor"] == "ada"


def test_a_question_is_told_reminded_and_over_with_the_answer(home, task_log, monkeypatch):
    """MN-09, DE-02: On the model's channels at once, with the page that answers it; a second time as critical once nobody has answered for
    the spec's hours; both are over with the answer. It is no alarm, and nobody is asked what it was."""
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: None)
    monkeypatch.setattr(discovery, "models", lambda: {"m": lateness(name="m", release=ReleaseSpec(mode="approval", remind_hours=2))})
    store, task, run = FolderStore(str(home / "store")), _may_start(), _registered(7)
    asked = _waits(lambda: task.execute(run))
    told = news.newest(store)
    assert told
    incidents = Incidents(store, "m")
    (waiting,) = incidents.open_ones()
    assert (waiting.kind, waiting.key, waiting.severity, waiting.is_alarm) == ("release", "question about version 7", "warning", False)
    assert waiting.sentence == "May version 7 of Lateness take traffic? Approve or Reject: nothing moves until somebody answers."
    assert waiting.links["Answer"].endswith("/dags/m_release/runs/manual%201/tasks/may_start/required_actions")
    for hours, messages in ((1.9, 1), (2.1, 2), (3, 2)):
        woken = {**asked.kwargs, "since": asked.kwargs["since"] - 3600 * hours}
        _waits(lambda woken=woken: _may_start().execute_complete(run, TIME_TO_LOOK, **woken))
        assert len(incidents.open_ones()) == messages
    reminder = incidents.open_ones()[1]
    assert (reminder.severity, reminder.is_alarm) == ("critical", False)
    assert reminder.sentence == f"Nobody has answered yet. {waiting.sentence}"
    assert not any(awaits_verdict(one, datetime.now(timezone.utc)) for one in incidents.all())
    assert incidents.alarm_rate(datetime.now(timezone.utc)).alarms == 0
    assert all(sort.judged for sort in incidents.listing().counts())
    _may_start().execute_complete(run, _answer("Approve"), **asked.kwargs)
    assert incidents.open_ones() == []
    assert news.newest(store) != told


def test_a_question_of_a_run_that_ended_otherwise_is_over(home, task_log):
    """MN-09: Such as one that a person marked as failed: no channel goes on believing that it waits; what else is open stays."""
    store = FolderStore(str(home / "store"))
    incidents = Incidents(store, "m")
    in_question("7", "May it?", "http://airflow.test/answer").note(incidents)
    incidents.open("release", "version 6", "warning", "Version 6 was rolled back.")
    for over in questions(store, lateness(name="m")):
        over.note(incidents)
    assert [one.key for one in incidents.open_ones()] == ["version 6"]
    notice = Notice("m", "Lateness", incidents.get("1"), "opened")
    assert "Answer it at the link" in notice.text()
    assert "--verdict" not in notice.text()


def test_a_question_that_is_decided_elsewhere_is_told_as_over(home, task_log, monkeypatch):
    """DE-02: Also where nothing is left to be done; a store that is away asks all the same."""
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: None)
    task, run = _may_start(), _registered(7)
    asked = _waits(lambda: task.execute(run))
    incidents = Incidents(FolderStore(str(home / "store")), "m")
    assert len(incidents.open_ones()) == 1
    _ledger(home, "started", "rolled_back")
    with pytest.raises(AirflowSkipException):
        task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs)
    (over,) = incidents.all()
    assert "jo decided elsewhere" in over.resolution


@pytest.mark.parametrize(("kind", "decision"), [("promoted", "promote"), ("rolled_back", "roll_back"), ("weights", "")])
def test_a_release_that_a_command_decided_is_settled(home, task_log, monkeypatch, kind, decision):
    """DE-02: The next task finds it come true and tells of it; where the ledger has gone on since, there is nothing left to do."""
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: None)
    _ledger(home, "started", "paused")
    task, run = _ask("True"), {"task_instance": SimpleNamespace(id="1"), "ti": TI}
    asked = _waits(lambda: task.execute(run))
    assert _waits(lambda: task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs)).kwargs == asked.kwargs
    _ledger(home, kind)
    assert task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs) == {"decision": decision, "actor": "jo"}
    if kind != "weights":
        _ledger(home, "rejected")
        with pytest.raises(AirflowSkipException, match="Nobody needs to answer any more"):
            task.execute_complete(run, TIME_TO_LOOK, **asked.kwargs)


@pytest.mark.parametrize("run_type", ["asset_triggered", "scheduled"])
def test_only_a_person_may_start(task_log, run_type):
    """DE-02: An event does not; the sentence says who must act."""
    task = OnlyByHand(task_id="may_start", sentence="ada must trigger the DAG.")
    with pytest.raises(AirflowSkipException, match="ada must trigger"):
        task.execute({"dag_run": SimpleNamespace(run_type=run_type)})
    assert task.execute({"dag_run": SimpleNamespace(run_type="manual")}) is None


def test_work_is_shared_out(task_log, task_instance):
    """DE-22: Every part once, of the version that was planned, with what all parts have in common."""
    task = ShareOut(task_id="share_out", planned_by="plan", parts="3", arguments={"dataset": "trips"})
    found = task.execute({"ti": task_instance(plan={"version": 7})})
    assert found == [{"dataset": "trips", "version": 7, "partition": f"{part}/3"} for part in (1, 2, 3)]
    assert task_log.lines[-1] == ("INFO", "Version 7 is counted in 3 parts.")
