"""Tasks that tell of incidents and ask what they were."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from airflow.sdk.execution_time.context import OutletEventAccessors

from perennial import discovery
from perennial.incidents.incidents import REFUSED_FILES, Incident, Incidents
from perennial.lineage import trainings
from perennial.specs import Column, DatasetSpec, GateSpec
from perennial.store import FolderStore
from perennial_airflow import assets, sightings
from perennial_airflow.operators import tell_incidents
from perennial_airflow.operators.ask_verdict import AskVerdict, body
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.sightings import Over, Seen
from perennial_airflow.stage_end import StageFault, StageRefused

from ..lateness import lateness

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")

DONE = {"outcome": "done", "sentence": "Fine.", "links": {}}
FAULT = {"outcome": "fault", "sentence": "MLflow does not answer.", "links": {"Report": "http://r.test"}}


class TaskInstance:
    """What a task knows of its run: result and state of the tasks that it looks at."""

    dag_id, run_id = "lateness_monitoring", "run-1"

    def __init__(self, result=None, state="success", **others) -> None:
        self.results, self.state = {"monitor": result, "ingest": result, **others}, state

    def xcom_pull(self, task_ids, map_indexes=None):
        """Hand out the result."""
        return self.results[task_ids] if map_indexes is None else self.results[task_ids][map_indexes]

    def get_task_states(self, dag_id, task_ids, run_ids):
        """Hand out the state; of a task in parts that of each."""
        if not isinstance(self.state, dict):
            return {run_ids[0]: {task_ids[0]: self.state}}
        return {run_ids[0]: {name: state for name, state in self.state.items() if name.startswith(task_ids[0])}}


@pytest.fixture
def sent(monkeypatch):
    """The channels of a test: a list takes all that is told."""
    taken = []
    channel = SimpleNamespace(
        name="list", least="warning", data_only=False, send=lambda notice: taken.append((notice.incident.id, notice.news))
    )
    monkeypatch.setattr(tell_incidents, "channels", lambda *_: [channel])
    return taken


@pytest.fixture
def store(home, monkeypatch):
    """The store of a test, and two models that learn from the dataset `trips`."""
    models = {name: lateness(name=name) for name in ("lateness", "delays")}
    monkeypatch.setattr(discovery, "models", lambda: {**models, "other": lateness(name="other", dataset="fares")})
    return FolderStore(str(home / "store"))


def _trips():
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    return DatasetSpec(name="trips", title="Trips", owner="ada", columns=columns, key=("id",), event_time="at")


def _alert(ti, spec=None, sight=sightings.in_monitoring):
    """Run the task; the ids whose events it makes, and what it answers."""
    task = TellIncidents(task_id="alert", spec=spec or lateness(), found_by={"monitor": sight})
    events = OutletEventAccessors()
    answer = task.execute({"ti": ti, "outlet_events": events})
    return sorted(id for outlet in task.outlets for id in events[outlet].partition_keys), answer


def test_what_the_stage_found_is_told_and_asked_about(store, sent, task_log):
    """MN-09, MN-11: From the log, whatever the result says; the event carries each incident as a partition, so that each gets a run of its
    own."""
    found = Incidents(store, "lateness")
    found.open("drift", "a", "warning", "A drifted.")
    found.open("drift", "b", "info", "B moved a little.")
    assert _alert(TaskInstance(DONE)) == (["0001-drift"], {"failures": []})
    assert sent == [("0001-drift", "opened")]
    found.ask("0001-drift", "run-9")
    found.resolve("0001-drift", "Over.")
    assert _alert(TaskInstance(DONE)) == ([], {"failures": []})
    assert sent[1:] == [("0001-drift", "resolved")]


def test_what_the_watch_found_is_told_for_every_model(store, sent, task_log):
    """MN-09, SE-10: One task tells of the incidents of all models, and asks about each as its own model's."""
    for model in ("lateness", "other"):
        Incidents(store, model).open("release", "version 2", "critical", f"Version 2 of {model} was rolled back.")
    task, events = TellIncidents(task_id="alert", found_by={}), OutletEventAccessors()
    task.execute({"ti": TaskInstance(), "outlet_events": events})
    assert sent == [("0001-release", "opened")] * 2
    asked = {outlet.name: events[outlet].partition_keys for outlet in task.outlets}
    assert asked == {"lateness_incident": {"0001-release"}, "other_incident": {"0001-release"}}


def test_without_news_there_is_no_event(store, sent, task_log):
    """MN-09: One without a partition would wake nobody, and clutter the asset."""
    task = TellIncidents(task_id="alert", spec=lateness(), found_by={"monitor": sightings.in_monitoring})
    assert task.outlets == [assets.incident(lateness())]
    task.execute({"ti": TaskInstance(DONE), "outlet_events": OutletEventAccessors()})
    assert task.outlets == []


def test_a_failing_channel_does_not_fail_the_task(store, monkeypatch, task_log):
    """MN-09: Its sentence is the task's answer and in the log; the incident is asked about all the same."""

    def send(notice):
        raise ZeroDivisionError

    monkeypatch.setattr(tell_incidents, "channels", lambda *_: [SimpleNamespace(name="list", least="info", data_only=False, send=send)])
    monkeypatch.setattr(type(task_log), "exception", type(task_log).error, raising=False)
    Incidents(store, "lateness").open("drift", "a", "warning", "A drifted.")
    waiting, answer = _alert(TaskInstance(DONE))
    assert waiting == ["0001-drift"]
    assert answer["failures"] == ["The channel list broke (ZeroDivisionError): the log of the task shows where."]
    assert [level for level, _ in task_log.lines][-2:] == ["ERROR", "ERROR"]


def test_no_channel_is_said(store, task_log, monkeypatch):
    """MN-09: So that silence is not taken for peace."""
    monkeypatch.setattr(tell_incidents, "channels", lambda *_: [])
    _alert(TaskInstance(DONE))
    assert "Lateness has no channel: its incidents are kept, and nobody is told." in task_log.lines[-1][1]


@pytest.mark.parametrize(
    ("ti", "opens"),
    [
        (TaskInstance(DONE), []),
        (TaskInstance({**DONE, "outcome": "skipped"}), []),
        (TaskInstance(FAULT), ["MLflow does not answer."]),
        (
            TaskInstance(None, "failed"),
            ["The task monitor of lateness_monitoring was ended before it had a result; its log shows how far it came."],
        ),
        (TaskInstance(None, "skipped"), []),
        (TaskInstance(None, "upstream_failed"), []),
    ],
)
def test_a_model_that_nobody_looks_at_is_an_incident(store, sent, task_log, ti, opens):
    """MN-09: A look that broke, or was killed before it had a result; not one that was not wanted."""
    _alert(ti)
    assert [i.sentence for i in Incidents(store, "lateness").open_ones()] == opens
    assert len(sent) == len(opens)
    _alert(TaskInstance(DONE))
    assert Incidents(store, "lateness").open_ones() == []
    assert len(sent) == 2 * len(opens)


def test_a_store_that_does_not_answer_is_tried_again(home, monkeypatch, task_log):
    """DE-22: It is the only thing that fails the task."""
    (home / "store").write_text("a file")
    with pytest.raises(StageFault, match="is a file"):
        _alert(TaskInstance(DONE))


def test_refused_files_are_told_to_every_model_that_learns_from_them(store, sent, task_log):
    """MN-09: Each model's people; the others hear nothing, and no event is made: there is no outlet."""
    refused = {**DONE, "refused": {"7.csv": "Suite trips refused batch 7.csv.", "3.csv": "No header."}, "appended": {"4.csv": 9}}
    assert _alert(TaskInstance(refused), _trips(), sightings.in_ingestion)[0] == []
    for model, count in (("lateness", 1), ("delays", 1), ("other", 0)):
        found = Incidents(store, model).all()
        assert [(i.kind, i.key, i.severity) for i in found] == [("data quality", REFUSED_FILES, "warning")] * count
    assert found == []
    assert (
        Incidents(store, "delays").all()[0].sentence
        == "2 files were refused and lie in quarantine: 3.csv, 7.csv. Suite trips refused batch 7.csv."
    )
    assert len(sent) == 2
    more = {**DONE, "refused": {"9.csv": "No header."}, "appended": {}}
    for _ in range(2):  # the second is a retry
        _alert(TaskInstance(more), _trips(), sightings.in_ingestion)
    [found] = Incidents(store, "delays").open_ones()
    assert found.sentence.endswith(" Since then 1 more: 9.csv.")
    assert found.evidence["files"] == 3
    assert len(sent) == 2, "it is not told again"
    _alert(TaskInstance({**DONE, "refused": {}, "appended": {"5.csv": 9}}), _trips(), sightings.in_ingestion)
    assert Incidents(store, "lateness").open_ones() == []


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, []),
        (FAULT, [Seen("service", "ingestion", "critical", FAULT["sentence"], FAULT["links"])]),
        ({**DONE, "refused": {}, "appended": {}}, [Over("service", "ingestion", "Ingestion works again.")]),
        (
            {**DONE, "refused": {}, "appended": {"a": 1}},
            [
                Over("service", "ingestion", "Ingestion works again."),
                Over("data quality", REFUSED_FILES, "The next files were taken, none was refused."),
            ],
        ),
    ],
)
def test_what_an_ingestion_says(result, expected):
    """MN-09: Refused files are over once files were taken and none refused: a run without any says nothing."""
    assert sightings.in_ingestion(result) == expected


RELEASE = {**DONE, "action": "hold", "version": 7, "evidence": {"requests": 9}}
WORKS = Over("service", "release", "Release works again.")
ASKS = {**RELEASE, "action": "ask"}


def _alert_of_release(move_traffic, settle, state="success"):
    task = TellIncidents(task_id="alert", spec=lateness(), found_by=dict.fromkeys(("move_traffic", "settle"), sightings.in_release))
    task.execute({"ti": TaskInstance(state=state, move_traffic=move_traffic, settle=settle), "outlet_events": OutletEventAccessors()})


@pytest.mark.parametrize(
    ("settle", "state", "key", "severity"),
    [
        ({**RELEASE, "action": "rolled_back", "sentence": "ada decided against it."}, "success", "version 7", "warning"),
        ({**FAULT, "sentence": "The gateway does not answer."}, "failed", "release", "critical"),
        (None, "failed", "release", "critical"),
    ],
)
def test_what_came_of_a_persons_decision_is_told(store, sent, task_log, settle, state, key, severity):
    """MN-09: A rollback, traffic that could not be moved, and a task that was killed: once, however often it is told of."""
    for _ in range(2):  # the second is a try after one that was killed behind its notes
        _alert_of_release(ASKS, settle, state)
    assert [(i.key, i.severity) for i in Incidents(store, "lateness").all()] == [(key, severity)]
    assert [news for _, news in sent] == ["opened"]


def test_what_a_persons_decision_ends_is_told(store, sent, task_log):
    """MN-09: The candidate that a person promotes ends what was told of the one before it: once."""
    Incidents(store, "lateness").open("release", "version 6", "warning", "6 was worse.")
    _alert_of_release(RELEASE, None, "skipped")
    for _ in range(2):
        _alert_of_release(ASKS, {**RELEASE, "action": "promoted", "sentence": "ada decided for it."})
    assert Incidents(store, "lateness").open_ones() == []
    assert [news for _, news in sent] == ["opened", "resolved"]


@pytest.mark.parametrize("state", ["skipped", "upstream_failed"])
def test_what_a_task_said_before_the_run_was_cleared_is_not_told_again(store, sent, task_log, state):
    """MN-09: Its result is still there, though it has not run this time."""
    _alert_of_release({**FAULT, "action": "nothing"}, FAULT, state)
    assert (Incidents(store, "lateness").all(), sent) == ([], [])


def test_a_release_that_did_not_run_says_nothing(store, sent, task_log):
    """MN-09: Skipped, or waiting for a person who must start it."""
    _alert_of_release(None, None, "skipped")
    _alert_of_release({**RELEASE, "action": "rejected"}, None, "skipped")
    assert (Incidents(store, "lateness").all(), sent) == ([], [])


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, []),
        (RELEASE, [WORKS]),
        ({**RELEASE, "outcome": "skipped", "action": "nothing"}, [WORKS]),
        ({**RELEASE, "action": "promoted", "sentence": "7 serves."}, [WORKS, Over("release", None, "7 serves.")]),
        (
            {**RELEASE, "outcome": "refused", "action": "rolled_back", "sentence": "7 was worse."},
            [WORKS, Seen("release", "version 7", "warning", "7 was worse.", {"requests": 9})],
        ),
        (
            {"outcome": "refused", "sentence": "No candidate.", "links": {}},
            [WORKS, Seen("release", "refused", "info", "No candidate.", {})],
        ),
        (FAULT, [Seen("service", "release", "critical", FAULT["sentence"], FAULT["links"])]),
    ],
)
def test_what_a_release_says(result, expected):
    """MN-09: A candidate that was rolled back is an alarm until another is promoted; one that may not be released merely informs."""
    assert sightings.in_release(result) == expected


REFUSED = {**DONE, "outcome": "refused", "sentence": "It is worse."}
FAILED = {"Report": "http://r.test", "Airflow run": "http://127.0.0.1:8080/dags/lateness_monitoring/runs/run-1"}


def _alert_of_training(ti):
    found_by = {"train": sightings.in_stage("train"), "register": sightings.in_gate}
    TellIncidents(task_id="alert", spec=lateness(), found_by=found_by).execute({"ti": ti, "outlet_events": OutletEventAccessors()})


@pytest.mark.parametrize(
    ("train", "state", "sentence"),
    [
        (FAULT, "failed", FAULT["sentence"]),
        (None, "failed", "The task train of lateness_monitoring was ended before it had a result; its log shows how far it came."),
        (REFUSED, "failed", REFUSED["sentence"]),
    ],
)
def test_a_training_that_failed_is_told_once_until_one_works(store, sent, task_log, train, state, sentence):
    """MN-09, DE-15: One that broke, one whose worker was killed, one that was refused: with the way to its run; the next success ends
    it."""
    for _ in range(2):
        states = {"train": state, "register": "upstream_failed"}
        _alert_of_training(TaskInstance(state=states, train=train, register=None))
    (incident,) = Incidents(store, "lateness").all()
    assert (incident.kind, incident.key, incident.severity, incident.sentence) == ("pipeline", "train", "warning", sentence)
    assert incident.links["Airflow run"] == FAILED["Airflow run"]
    assert [news for _, news in sent] == ["opened"]
    _alert_of_training(TaskInstance(state={"train": "skipped", "register": "skipped"}, train=None, register=None))
    assert Incidents(store, "lateness").open_ones() != []
    _alert_of_training(TaskInstance(state={"train": "success", "register": "success"}, train=DONE, register=DONE))
    assert Incidents(store, "lateness").open_ones() == []
    assert [news for _, news in sent] == ["opened", "resolved"]


def test_candidates_that_are_refused_one_after_the_other_are_told(store, sent, task_log, monkeypatch):
    """MN-09, MO-13: As many as the spec says; with what the gate said of the newest, once, and the end once one passes."""
    refused = []
    monkeypatch.setattr(trainings, "refused_in_a_row", lambda store, model, most: (len(refused[-most:]), "It is worse."))
    spec = lateness(gate=GateSpec(floors={}, told_refusals=2))
    monkeypatch.setattr(discovery, "model", lambda name: spec)

    def look():
        task = TellIncidents(task_id="alert", spec=spec, found_by={}, looks=[tell_incidents.refusals])
        task.execute({"ti": TaskInstance(DONE), "outlet_events": OutletEventAccessors()})

    for opened in (0, 0, 1, 1):
        look()
        assert len(Incidents(store, "lateness").open_ones()) == opened
        refused.append("no")
    (incident,) = Incidents(store, "lateness").all()
    assert (incident.kind, incident.key, incident.severity) == ("pipeline", "refused in a row", "warning")
    assert incident.sentence == (
        "The gate refused the last 2 candidates one after the other; the champion serves and grows older. The newest: It is worse."
    )
    refused[:] = ["no"]
    look()
    assert Incidents(store, "lateness").open_ones() != [], "fewer than are told, and none has passed"
    refused.clear()
    look()
    assert Incidents(store, "lateness").open_ones() == []
    assert [news for _, news in sent] == ["opened", "resolved"]


def test_a_candidate_that_the_gate_refused_is_noted_and_alarms_nobody(store, sent, task_log):
    """MN-09, MO-13: A decision and no crash: for the record, until a candidate is registered; the stages before it worked."""
    states = {"train": "success", "register": "failed"}
    _alert_of_training(TaskInstance(state=states, train=DONE, register=REFUSED))
    (incident,) = Incidents(store, "lateness").open_ones()
    assert (incident.kind, incident.key, incident.severity) == ("pipeline", "refused candidate", "info")
    assert sent == []
    _alert_of_training(TaskInstance(state=dict.fromkeys(states, "success"), train=DONE, register=DONE))
    assert Incidents(store, "lateness").open_ones() == []


def test_a_part_of_a_count_that_failed_is_told_to_all_who_learn_from_it(store, sent, task_log):
    """MN-09, DE-15: Parts run side by side: the first that failed says why."""
    task = TellIncidents(task_id="alert", spec=_trips(), found_by={"profile_part": sightings.in_stage("profile")})
    states = {"profile_part_0": "success", "profile_part_1": "failed", "profile_part_10": "failed", "profile_part_2": "success"}
    parts = {0: DONE, 1: FAULT, 2: DONE, 10: REFUSED}
    task.execute({"ti": TaskInstance(state=states, profile_part=parts), "outlet_events": OutletEventAccessors()})
    for model, count in (("lateness", 1), ("delays", 1), ("other", 0)):
        told = [(i.kind, i.key, i.sentence) for i in Incidents(store, model).open_ones()]
        assert told == [("pipeline", "profile", FAULT["sentence"])] * count
    task.execute(
        {
            "ti": TaskInstance(state=dict.fromkeys(states, "success"), profile_part=dict.fromkeys(parts, DONE)),
            "outlet_events": OutletEventAccessors(),
        }
    )
    assert Incidents(store, "delays").open_ones() == []


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, []),
        (FAULT, [Seen("service", "rollback", "critical", FAULT["sentence"], FAULT["links"])]),
        (REFUSED, [Seen("service", "rollback", "critical", REFUSED["sentence"], {})]),
        (DONE, [Over("service", "rollback", "Rollback works again.")]),
    ],
)
def test_what_a_rollback_says(result, expected):
    """MN-09: Whoever wanted to go back had a reason: that it did not come true is critical, however it ended."""
    assert sightings.in_rollback(result) == expected


def test_over_ends_what_it_names(store):
    """MN-09: One key, or every one of a kind; nothing else."""
    found = Incidents(store, "lateness")
    for kind, key in (("release", "version 7"), ("release", "version 8"), ("service", "release"), ("service", "monitoring")):
        found.open(kind, key, "warning", "seen")
    Over("service", "release", "It works.").note(found, {})
    assert [i.key for i in found.open_ones()] == ["version 7", "version 8", "monitoring"]
    Over("release", None, "9 serves.").note(found, {})
    assert [i.key for i in found.open_ones()] == ["monitoring"]


@pytest.fixture
def asked(monkeypatch):
    """What a person is shown."""
    shown = {}
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **details: shown.update(details))
    return shown


def _ask(incident="0001-drift", again="False", run="run-1"):
    task = AskVerdict(task_id="ask_verdict", model="lateness", incident=incident, again=again)
    task.execute({"ti": SimpleNamespace(run_id=run), "task_instance": SimpleNamespace(id="1")})


def test_a_person_is_asked_with_the_evidence(store, asked, task_log):
    """MN-11: Three answers and a note; the sentence, the figures, the report and the runbook before their eyes. The task waits without a
    worker."""
    Incidents(store, "lateness").open("drift", "a", "warning", "A drifted.", {"Report": "http://r.test/w", "share": 0.19})
    with pytest.raises(TaskAwaitingInput):
        _ask()
    assert asked["options"] == ["Real", "False alarm", "Known"]
    assert asked["subject"] == "Lateness: drift incident 0001-drift: what was it?"
    assert list(asked["params"]) == ["note"]
    for part in ("A drifted.", "[Report](<http://r.test/w>)", '"share": 0.19', "docs/runbook.md#drift", "So far: 1.0 alarms a month"):
        assert part in asked["body"]


def test_an_incident_that_is_over_is_judged_as_well(store, asked, task_log):
    """MN-11: The person sees that it is over."""
    found = Incidents(store, "lateness")
    found.open("drift", "a", "warning", "A drifted.")
    found.resolve("1", "Like before.")
    with pytest.raises(TaskAwaitingInput):
        _ask()
    assert "Like before." in asked["body"]


def test_one_run_asks(store, asked, task_log):
    """MN-11: An event that comes twice asks once; the same run may ask again after a restart; who is asked by hand is asked in any case."""
    found = Incidents(store, "lateness")
    found.open("drift", "a", "warning", "A drifted.")
    for run in ("run-1", "run-1"):
        with pytest.raises(TaskAwaitingInput):
            _ask(run=run)
    with pytest.raises(AirflowSkipException, match="The run run-1 asks about 0001-drift already"):
        _ask(run="run-2")
    found.verdict("1", "known", "ada")
    with pytest.raises(AirflowSkipException, match="ada judged 0001-drift already: known"):
        _ask(run="run-1")
    with pytest.raises(TaskAwaitingInput):
        _ask("1", again="True", run="run-3")


@pytest.mark.parametrize("again", ["True", "False"])
def test_an_unknown_incident_is_refused(store, asked, task_log, again):
    """MN-11: Not tried again; the sentence names the command that lists them."""
    with pytest.raises(StageRefused, match=r"no incident '9'.*perennial incidents") as refused:
        _ask("9", again=again)
    policy = AskVerdict(task_id="ask_verdict", model="lateness", incident="9", again=again).retry_policy
    assert policy.evaluate(refused.value, 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize(("option", "verdict"), [("Real", "real"), ("False alarm", "false alarm"), ("Known", "known")])
@pytest.mark.parametrize(("given", "note"), [({"note": "A holiday."}, "A holiday."), ({"note": ""}, ""), ({}, "")])
def test_the_answer_is_passed_on(store, task_log, option, verdict, given, note):
    """MN-11: What, by whom and why."""
    event = {
        "chosen_options": [option],
        "params_input": given,
        "responded_at": datetime.now(timezone.utc),
        "responded_by_user": {"id": "1", "name": "ada"},
    }
    Incidents(store, "lateness").open("drift", "a", "warning", "A drifted.")
    task = AskVerdict(task_id="ask_verdict", model="lateness", incident="0001-drift", again="False")
    assert task.execute_complete({}, event) == {"id": "0001-drift", "verdict": verdict, "by": "ada", "note": note}


def test_an_answer_needs_no_store(home, task_log):
    """MN-11: A try that failed on it would ask the person anew: recording is the next task's matter, which is tried again."""
    (home / "store").write_text("a file")
    task = AskVerdict(task_id="ask_verdict", model="lateness", incident="0001-drift", again="False")
    event = {"chosen_options": ["Real"], "params_input": {}, "responded_at": datetime.now(timezone.utc), "responded_by_user": None}
    assert task.execute_complete({}, event) == {"id": "0001-drift", "verdict": "real", "by": "unknown", "note": ""}


def test_a_run_that_was_started_with_a_verdict_asks_nobody(store, asked, task_log):
    """MN-11: A button of the console says what it was, who said so and why: that is the answer, also about one that was judged before."""
    found = Incidents(store, "lateness")
    found.open("drift", "a", "warning", "A drifted.")
    found.verdict("1", "real", "jo")
    given = {"verdict": "false alarm", "by": "ada", "note": "A holiday."}
    task = AskVerdict(task_id="ask_verdict", model="lateness", incident="1", again="True", **given)
    assert set(given) <= set(task.template_fields)
    assert task.execute({}) == {"id": "0001-drift", **given}
    assert asked == {}
    with pytest.raises(StageRefused, match="no incident '9'"):
        AskVerdict(task_id="ask_verdict", model="lateness", incident="9", again="True", **given).execute({})


def test_a_store_that_does_not_answer_asks_nobody(home, asked, task_log):
    """MN-11: One sentence, and tried again."""
    (home / "store").write_text("a file")
    with pytest.raises(StageFault, match="is a file"):
        _ask()
    assert asked == {}
    assert task_log.lines[-1][0] == "ERROR"


def test_a_run_that_silences_asks_nobody(store, asked, task_log):
    """MN-09: Its task gives on which kind, for how long, who wants it and why."""
    given = {"silence_hours": "4.0", "by": "ada", "note": "The source moves.", "again": "True"}
    Incidents(store, "lateness").open("drift", "a", "warning", "A drifted.")
    task = AskVerdict(task_id="ask_verdict", model="lateness", incident="1", **given)
    said = {"id": "0001-drift", "by": "ada", "note": "The source moves.", "silence": "its kind", "hours": "4.0"}
    assert task.execute({}) == said


def test_a_verdict_by_the_command_ends_the_question(store, asked, task_log):
    """MN-11: It is skipped with who was faster; asked by hand about one that was judged before, it waits for another verdict."""
    found = Incidents(store, "lateness")
    found.open("drift", "a", "warning", "A drifted.")
    event = {"error": "The time has passed.", "error_type": "timeout"}
    task = AskVerdict(task_id="ask_verdict", model="lateness", incident="0001-drift", again="False")
    with pytest.raises(TaskAwaitingInput) as waits:
        task.execute({"ti": SimpleNamespace(run_id="run-1"), "task_instance": SimpleNamespace(id="1")})
    with pytest.raises(TaskAwaitingInput):
        task.execute_complete({}, event, **waits.value.kwargs)
    found.verdict("1", "known", "jo")
    with pytest.raises(AirflowSkipException, match="jo judged 0001-drift elsewhere: known"):
        task.execute_complete({}, event, **waits.value.kwargs)
    by_hand = AskVerdict(task_id="ask_verdict", model="lateness", incident="1", again="True")
    with pytest.raises(TaskAwaitingInput) as waits:
        by_hand.execute({"ti": SimpleNamespace(run_id="run-2"), "task_instance": SimpleNamespace(id="2")})
    with pytest.raises(TaskAwaitingInput):
        by_hand.execute_complete({}, event, **waits.value.kwargs)


HOSTILE = "![x](http://eve.test/p) <img src=x> **b**\n\n# h {{ conn.a.password }} ```"


def test_what_callers_sent_is_no_markdown():
    """SC-01: No picture is loaded from elsewhere, no tag and no heading is shown; figures cannot leave their block."""
    incident = Incident(
        id="0001-drift",
        kind="drift",
        key="k",
        severity="warning",
        sentence=HOSTILE,
        evidence={HOSTILE: HOSTILE, "Report": "http://r.test/>)<x"},
        opened=datetime(2026, 3, 1, tzinfo=timezone.utc),
    )
    shown = body(incident, "", "1 a month")
    prose = [line for line in shown.split("\n") if not line.startswith("    ")]
    assert r"\!\[x\](http://eve.test/p) \<img src=x\> \*\*b\*\* \# h" in prose[0]
    assert "\\`\\`\\`" in prose[0]
    assert not [line for line in prose if line.startswith(("#", "`"))]
    assert "[Report](<http://r.test/%3E)%3Cx>)" in shown
    assert json.dumps(HOSTILE, ensure_ascii=False) in shown


def test_columns_are_shown_as_code():
    """MN-11: What our own sentences put between backticks stands there as it is written."""
    incident = Incident(
        id="0001-drift",
        kind="drift",
        key="k",
        severity="warning",
        sentence="`dep_hour`: 12 % -> 19 %, `a_b` too.",
        evidence={},
        opened=datetime(2026, 3, 1, tzinfo=timezone.utc),
    )
    assert r"`dep_hour`: 12 % -\> 19 %, `a_b` too." in body(incident, "", "1 a month")


def test_the_body_is_no_template():
    """SC-01: Airflow renders only what the DAG file says."""
    assert tuple(AskVerdict.template_fields) == ("incident", "again", "verdict", "by", "note", "silence_hours")
    assert not TellIncidents.template_fields


def test_an_unknown_model_is_named(store, sent, task_log):
    """MN-11: Its folder may have gone since the DAG was parsed."""
    with pytest.raises(StageFault, match="no model 'gone'"):
        _alert(TaskInstance(DONE), lateness(name="gone"))
