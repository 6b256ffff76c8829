"""What the DAG files promise."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, PartitionedAssetTimetable
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from perennial import discovery
from perennial.score_datasets import with_scores
from perennial.specs import Column, DatasetSpec, LabelSpec, ReleaseSpec, RetrainSpec, ScoringSpec, SqlSource
from perennial.stage_command import stage_command
from perennial_airflow.dag_listing import listing
from perennial_airflow.operators.ask_person import AskPerson
from perennial_airflow.stage_end import StageRefused

from ...parsing import MOST_CALLS, parsed
from ..lateness import lateness

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlalchemy"),
]

DAGS = Path(__file__).parents[3] / "dags"
FILES = sorted(DAGS.glob("*.py"))


def _dataset(name="trips", **more):
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="late", type="bool"))
    return DatasetSpec(name=name, title="Trips", owner="ada", columns=columns, key=("id",), event_time="at", **more)


def _model(name="lateness", mode="automatic"):
    return lateness(
        name=name, release=ReleaseSpec(mode=mode), retrain=RetrainSpec(schedule="15 3 * * *", recalibrate_schedule="45 4 * * *")
    )


def _parsed(path=DAGS):
    bag = DagBag(str(path), bundle_path=DAGS)
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture
def dags(monkeypatch):
    """The DAGs of one dataset and three models, one for each mode of release."""
    monkeypatch.setenv("PERENNIAL_AIRFLOW_URL", "http://airflow.test")
    monkeypatch.setattr(discovery, "datasets", lambda: {"trips": _dataset()})
    models = {mode: _model(mode, mode) for mode in ("automatic", "approval", "manual")}
    monkeypatch.setattr(discovery, "models", lambda: models)
    return _parsed()


def _sequence(dag):
    return [task.task_id for task in dag.topological_sort()]


def _context(params, run_type="manual", user="ada", try_number=1, **results):
    """What templates see."""

    def xcom_pull(task_ids):
        return results.get(task_ids)

    return {
        "params": params,
        "dag_run": SimpleNamespace(run_type=run_type, triggering_user_name=user),
        "dag": SimpleNamespace(dag_id="d"),
        "run_id": "manual__1 2",
        "ti": SimpleNamespace(xcom_pull=xcom_pull, try_number=try_number),
    }


def _command(task, **keywords):
    """The argument list that a task would run with, after its templates were filled in."""
    task.render_template_fields(_context(**keywords), task.dag.get_template_env())
    return stage_command(task.stage, task.arguments)


def test_there_is_a_dag_for_everything(dags):
    """OP-01, SY-01, SY-12: One looks at all specs, one tells of what serves, one sends reviews; ingestion and profiling per dataset; per
    model one of every other kind."""
    kinds = ("training", "recalibration", "release", "monitoring", "scoring", "incidents", "rollback", "experiment")
    assert set(dags) == {"perennial_specs", "perennial_service", "perennial_reviews", "trips_ingestion", "trips_profiling"} | {
        f"{m}_{k}" for m in ("automatic", "approval", "manual") for k in kinds
    }


def test_the_project_s_own_dags_parse(monkeypatch):
    """DE-01, MO-25: Every dataset and model of this project has its DAGs, examples once they are switched on, and they can be stored by
    Airflow."""
    monkeypatch.setenv("PERENNIAL_EXAMPLES", "bad_news,hourly_delays")
    dags = _parsed()
    assert {"bad_news_training", "hourly_delays_training", "airport_hours_ingestion"} <= set(dags)
    assert {f"{name}_ingestion" for name in discovery.datasets()} | {f"{name}_training" for name in discovery.models()} <= set(dags)
    for dag in dags.values():
        DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


@pytest.mark.parametrize("dag_id", ["lateness_training", "trips_ingestion", "trips_profiling", "perennial_specs"])
def test_a_task_s_process_makes_only_its_own_dag(dags, monkeypatch, dag_id):
    """OP-05: Airflow parses a DAG file once more in the process of each task: there, what it costs does not grow with the number of
    models."""
    del dags
    monkeypatch.setattr(discovery, "models", lambda: {name: _model(name) for name in ("lateness", "other", "third")})
    monkeypatch.setattr(discovery, "datasets", lambda: {name: _dataset(name) for name in ("trips", "others")})
    file = DAGS / f"{dag_id.rpartition('_')[2]}.py"
    assert set(_parsed(file)) > {dag_id} or dag_id == "perennial_specs"
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)  # as Airflow's task runner does
    assert set(_parsed(file)) == {dag_id}


def test_parsing_twice_gives_the_same(dags):
    """DE-01: Otherwise Airflow would make a new version of the DAG at every parse."""
    again = _parsed()
    for name, dag in dags.items():
        one, two = (json.dumps(DagSerialization.serialize_dag(d), sort_keys=True, default=str) for d in (dag, again[name]))
        assert one == two


@pytest.fixture
def two_broken(monkeypatch, tmp_path):
    """A dataset and a model that are broken, beside two sound datasets with a sound model each."""
    import perennial_datasets
    import perennial_models

    for package, texts in (
        (perennial_datasets, {"extra_bad.py": "import sys\nsys.exit(1)  # <img src=x>"}),
        (perennial_models, {"extra_late/__init__.py": "", "extra_late/spec.py": "MODEL = ("}),
    ):
        top = tmp_path / package.__name__
        for name, text in texts.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(top)])
    yield
    sys.modules.pop("perennial_models.extra_late", None)


def test_a_broken_spec_stops_itself_alone(two_broken):
    """DE-01, OP-08: All DAGs of the others are there and no file has an import error; each broken one has a DAG that says what is wrong,
    and where."""
    dags = _parsed()
    kinds = ("training", "recalibration", "release", "monitoring", "scoring", "incidents", "rollback", "experiment")
    sound = {f"{m}_{k}" for m in ("digits", "flight_delays") for k in kinds} | {
        f"{d}_{k}" for d in ("digits", "flights") for k in ("ingestion", "profiling")
    }
    assert set(dags) == {"perennial_specs", "perennial_service", "perennial_reviews", "extra_bad_broken", "extra_late_broken"} | sound
    told = {
        "extra_bad_broken": "perennial_datasets/extra_bad.py, line 2",
        "extra_late_broken": "perennial_models/extra_late/spec.py, line 1",
    }
    for name, place in told.items():
        dag = dags[name]
        assert "broken" in dag.tags
        assert f"({place})" in dag.doc_md
        assert place in dag.description
        assert dag.schedule is None
        with pytest.raises(StageRefused, match=place):
            dag.get_task("say_broken").execute({})
        DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


def test_a_broken_spec_is_in_no_documentation(two_broken):
    """Its DAG is gone once it is mended."""
    assert not [dag for file in listing(DAGS) for dag in file["dags"] if dag["id"].endswith("_broken")]


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("automatic_incidents", ["ask_verdict", "record_verdict"]),
    ],
)
def test_tasks_stand_in_one_line(dags, name, tasks):
    """OP-01: Sentence names, one after the other."""
    assert _sequence(dags[name]) == tasks
    for before, after in pairwise(tasks):
        assert dags[name].get_task(before).downstream_task_ids == {after}


@pytest.mark.parametrize(
    ("name", "tasks", "watched"),
    [
        ("trips_ingestion", ["wait_for_files", "ingest", "tell_refused"], ["ingest"]),
        ("automatic_release", ["move_traffic", "ask_person", "settle"], ["move_traffic", "settle"]),
        ("approval_release", ["may_start", "move_traffic", "ask_person", "settle"], ["move_traffic", "settle"]),
        ("manual_release", ["may_start", "move_traffic", "ask_person", "settle"], ["move_traffic", "settle"]),
        ("automatic_monitoring", ["monitor", "request_retraining"], ["monitor"]),
        ("automatic_training", ["validate", "train", "evaluate", "register"], ["validate", "train", "evaluate", "register"]),
        ("automatic_recalibration", ["recalibrate"], ["recalibrate"]),
        ("automatic_rollback", ["rollback"], ["rollback"]),
        ("automatic_experiment", ["run_experiment"], ["run_experiment"]),
        ("automatic_scoring", ["plan", "share_out", "score_part", "merge"], ["plan", "score_part", "merge"]),
        ("trips_profiling", ["plan", "share_out", "profile_part", "merge"], ["plan", "profile_part", "merge"]),
    ],
)
def test_alerts_stand_beside_the_line(dags, name, tasks, watched):
    """MN-09: All other tasks stand one after the other. The alert follows the tasks it looks at also where they failed, and nothing waits
    for it."""
    dag = dags[name]
    beside = {"alert", "close_run"}
    assert [task for task in _sequence(dag) if task not in beside] == tasks
    for before, after in pairwise(tasks):
        assert dag.get_task(before).downstream_task_ids - beside == {after}
    alert = dag.get_task("alert")
    assert (alert.upstream_task_ids, alert.downstream_task_ids) == (set(watched), set())
    rule = {"monitoring": "all_done", "ingestion": "none_skipped"}.get(name.rsplit("_", 1)[1], "all_done_setup_success")
    assert (list(alert.found_by), alert.trigger_rule) == (watched, rule)


def test_a_source_is_looked_at_before_the_files(monkeypatch):
    """DM-01, OP-01: By its own times and by hand, in the same DAG; what it says counts for the run and for alerts. Where it does not say
    when, nobody but a person starts it."""
    for every in ("*/10 * * * *", None):
        source = SqlSource(connection="shop", table="trips", cursor="id", every=every)
        monkeypatch.setattr(discovery, "datasets", lambda source=source: {"trips": _dataset(source=source)})
        dag = _parsed(DAGS / "ingestion.py")["trips_ingestion"]
        collect, wait = dag.get_task("collect"), dag.get_task("wait_for_files")
        assert [task for task in _sequence(dag) if task != "alert"] == ["collect", "wait_for_files", "ingest", "tell_refused"]
        assert (collect.connection, wait.trigger_rule) == ("shop", "none_failed")
        assert list(dag.get_task("alert").found_by) == ["collect", "ingest"]
        assert _command(collect, params={"wait_seconds": 5}) == ["collect", "--dataset=trips", "--run=manual__1 2"]
        assert collect.seconds == "5"
        assert "`collect`" in dag.doc_md
        assert isinstance(dag.timetable, AssetOrTimeSchedule) == bool(every)
        if every:
            assert dag.timetable.timetable == CronTriggerTimetable(every, timezone="UTC")


@pytest.mark.parametrize(
    ("name", "last"), [("trips_ingestion", "tell_refused"), ("automatic_release", "settle"), ("automatic_monitoring", "request_retraining")]
)
def test_telling_people_makes_no_failed_run_green(dags, name, last):
    """MN-09, DE-15: By Airflow's own rule: the last task of the line counts for the run, whether or not an alert comes after it."""
    instance = namedtuple("instance", ["task_id", "state"])
    tasks = [instance(task, "failed") for task in _sequence(dags[name])]
    assert last in {ti.task_id for ti in DagRun._tis_for_dagrun_state(None, dag=dags[name], tis=tasks)}


def test_house_rules(dags):
    """DE-22, SC-09: One run at a time unless people are waited for, no runs of the past, an owner, tags, faults retried with growing
    pauses, a longest time, a manual without holes."""
    for name, dag in dags.items():
        kind = name.rsplit("_", 1)[1]
        assert dag.max_active_runs == {"incidents": 1000, "experiment": 4}.get(kind, 1), (
            "one looks at an experiment while others may stop it"
        )
        assert dag.catchup is False
        assert {"perennial", kind, name.removesuffix(f"_{kind}")} == dag.tags
        assert dag.owner == {
            "specs": "perennial",
            "service": "perennial",
            "reviews": "perennial",
            "ingestion": "ada",
            "profiling": "ada",
        }.get(kind, "grace")
        assert dag.description
        assert not set("{}") & set(dag.doc_md)
        for task in dag.tasks:
            assert task.retries >= 2
            assert task.retry_exponential_backoff > 1
            assert (task.execution_timeout is None) == isinstance(task, AskPerson), "what waits for a person waits; nothing else does"
            assert f"`{task.task_id}`" in dag.doc_md


def test_params_explain_themselves_and_are_safe(dags):
    """DE-16: Every Param has a type, a title and a description; started without any, nothing dangerous happens."""
    for dag in dags.values():
        for name, param in dag.params.items():
            found = dag.params.get_param(name)
            assert found.schema["type"]
            assert found.schema["title"]
            assert found.description.endswith(".")
            assert param is not True
    training = dags["automatic_training"].params
    assert set(training) == {"reason", "snapshot", "max_epochs", "force"}
    assert training["force"] is False
    assert dags["automatic_release"].params["again"] is False


@pytest.mark.parametrize(("name", "value"), [("snapshot", "newest"), ("max_epochs", 0), ("force", "yes"), ("reason", 5)])
def test_params_refuse_what_has_the_wrong_type(dags, name, value):
    """DE-16: A mistake is found when the run is asked for."""
    params = dags["automatic_training"].params
    with pytest.raises(ParamValidationError):
        params[name] = value


def test_labels_that_come_later_wake_training(monkeypatch):
    """DM-03, OP-02: A new snapshot of the label feed, as one of the rows; train is told which labels validate decided on."""
    monkeypatch.setenv("PERENNIAL_AIRFLOW_URL", "http://airflow.test")
    labels = LabelSpec(dataset="verdicts", key=("id",), columns=("late",), known_at="at")
    monkeypatch.setattr(discovery, "models", lambda: {"lateness": _model().model_copy(update={"labels": labels})})
    dag = _parsed(DAGS / "training.py")["lateness_training"]
    woken_by = dag.timetable.asset_condition.objects
    assert sorted(asset.name for asset in woken_by) == ["lateness_retraining", "trips_snapshot", "verdicts_snapshot"]
    decided = {"snapshot": 3, "labels": 2, "cause": "data", "code": "c0de"}
    command = _command(dag.get_task("train"), params=NONE_SET, validate=decided)
    assert command[:4] == ["train", "--model=lateness", "--snapshot=3", "--labels=2"]


def test_train_is_told_which_predictions_validate_decided_on(monkeypatch):
    """DM-03, OP-02: A model that learns from outcomes is woken by its dataset and by the night; both versions are passed on."""
    monkeypatch.setenv("PERENNIAL_AIRFLOW_URL", "http://airflow.test")
    served = {"labels": "outcomes", "served_since": date(2026, 1, 1)}
    monkeypatch.setattr(discovery, "models", lambda: {"lateness": _model().model_copy(update=served)})
    dag = _parsed(DAGS / "training.py")["lateness_training"]
    assert sorted(asset.name for asset in dag.timetable.asset_condition.objects) == ["lateness_retraining", "trips_snapshot"]
    decided = {"snapshot": 3, "labels": 2, "predictions": 7, "cause": "data", "code": "c0de"}
    command = _command(dag.get_task("train"), params=NONE_SET, validate=decided)
    assert command[:5] == ["train", "--model=lateness", "--snapshot=3", "--labels=2", "--predictions=7"]


def test_what_wakes_a_dag(dags):
    """DM-16, OP-02: Files wake ingestion; night, snapshots and requests wake training; a candidate wakes release; each incident a run of
    its own; nothing wakes rollback."""
    training = dags["automatic_training"].timetable
    assert isinstance(dags["automatic_training"].schedule, AssetOrTimeSchedule)
    assert training.timetable == CronTriggerTimetable("15 3 * * *", timezone="UTC", run_immediately=True)
    assert sorted(asset.name for asset in training.asset_condition.objects) == ["automatic_retraining", "trips_snapshot"]
    watched = dags["trips_ingestion"].timetable.asset_condition.objects
    assert [asset.name for asset in watched] == ["trips_landing"]
    assert watched[0].watchers[0].trigger.serialize() == (
        "perennial_airflow.triggers.landing.LandingTrigger",
        {"dataset": "trips", "until": None},
    )
    assert [asset.name for asset in dags["automatic_release"].timetable.asset_condition.objects] == ["automatic_candidate"]
    incidents = dags["automatic_incidents"].timetable
    assert isinstance(incidents, PartitionedAssetTimetable)
    assert incidents.asset_condition.name == "automatic_incident"
    assert dags["automatic_recalibration"].timetable == CronTriggerTimetable("45 4 * * *", timezone="UTC")
    assert dags["automatic_rollback"].schedule is None


def test_scores_wake_the_dataset_that_has_them_as_rows(monkeypatch):
    """DM-13, OP-02: The scoring announces them once they are written, if it scored any; then the snapshot wakes the model that reads it. No
    file is waited for. A scoring that nobody reads announces nothing."""
    monkeypatch.setenv("PERENNIAL_AIRFLOW_URL", "http://airflow.test")
    scores = with_scores(DatasetSpec(name="late_scores", title="Scores", owner="ada", scores_of="lateness"), _model(), _dataset())
    monkeypatch.setattr(discovery, "datasets", lambda: {"trips": _dataset(), "late_scores": scores})
    reader = _model("reader").model_copy(update={"dataset": "late_scores"})
    monkeypatch.setattr(discovery, "models", lambda: {"lateness": _model(), "reader": reader})
    dag = _parsed(DAGS / "ingestion.py")["late_scores_ingestion"]
    assert [asset.name for asset in dag.timetable.asset_condition.objects] == ["lateness_scores"]
    assert _sequence(dag) == ["ingest", "alert"]
    assert _command(dag.get_task("ingest"), params={}, try_number=2)[:4] == [
        "ingest",
        "--dataset=late_scores",
        "--run=manual__1 2",
        "--retry",
    ]
    assert [asset.name for asset in dag.get_task("ingest").outlets] == ["late_scores_snapshot"]
    scoring = _parsed(DAGS / "scoring.py")
    merge = scoring["lateness_scoring"].get_task("merge")
    assert [asset.name for asset in merge.outlets] == ["lateness_scores"]
    assert merge.announces({"version": 3, "rows": 7}) == {"version": 3, "rows": 7}
    assert merge.announces({"version": 3, "rows": 0}) is None
    assert scoring["reader_scoring"].get_task("merge").outlets == []
    woken_by = _parsed(DAGS / "training.py")["reader_training"].timetable.asset_condition.objects
    assert sorted(asset.name for asset in woken_by) == ["late_scores_snapshot", "reader_retraining"]


def test_a_model_that_is_added_after_its_data_trains_at_once(dags):
    """DM-16: The first run of its training does not wait for the night or for rows; the one after it does."""
    now = datetime.now(timezone.utc)
    anytime = TimeRestriction(earliest=None, latest=None, catchup=False)
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dags["automatic_training"])).timetable  # as the scheduler has it
    first = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=anytime)
    assert now - timedelta(days=1) < first.run_after <= now
    second = timetable.next_dagrun_info(last_automated_data_interval=first.data_interval, restriction=anytime)
    assert second.run_after > now


def test_what_a_dag_announces(dags):
    """DM-16, MN-19: The other end of each wire."""
    ends = {
        ("trips_ingestion", "ingest"): "trips_snapshot",
        ("automatic_training", "register"): "automatic_candidate",
        ("automatic_recalibration", "recalibrate"): "automatic_candidate",
        ("automatic_monitoring", "request_retraining"): "automatic_retraining",
        ("automatic_monitoring", "alert"): "automatic_incident",
        ("automatic_release", "alert"): "automatic_incident",
        ("automatic_release", "settle"): "automatic_candidate",
    }
    for (dag, task), asset in ends.items():
        assert [outlet.name for outlet in dags[dag].get_task(task).outlets] == [asset]
    assert dags["trips_ingestion"].get_task("alert").outlets == []


@pytest.mark.parametrize(
    ("action", "event"), [("ask", {"version": 3, "sentence": "Too few requests."}), ("promoted", None), ("rolled_back", None)]
)
def test_a_release_that_comes_to_another_question_wakes_the_next_run(dags, action, event):
    """DE-02: What a person let begin may end open: nobody would be asked about it in the run whose question is answered."""
    settle = dags["automatic_release"].get_task("settle")
    assert settle.announces({"action": action, "version": 3, "sentence": "Too few requests."}) == event


NONE_SET = {"reason": "", "snapshot": None, "max_epochs": None, "force": False}


@pytest.mark.parametrize(("run_type", "cause"), [("manual", "manual"), ("scheduled", "schedule"), ("asset_triggered", "data")])
def test_validate_is_told_who_asked(dags, run_type, cause):
    """MO-19: A person, the night or an event; what was not set is not passed."""
    found = _command(dags["automatic_training"].get_task("validate"), params=NONE_SET, run_type=run_type)
    assert found == ["validate", "--model=automatic", f"--cause={cause}", "--run-url=http://airflow.test/dags/d/runs/manual__1%202"]


def test_ingest_is_told_whether_a_try_came_before(dags):
    """DE-22: Only a retry asks what its run did already: the first try need not read every receipt."""
    first = _command(dags["trips_ingestion"].get_task("ingest"), params={})
    assert first == ["ingest", "--dataset=trips", "--run=manual__1 2"]


def test_a_retried_ingest_is_told_so(dags):
    """DE-22: Its result, and so its event, is that of the whole run."""
    again = _command(dags["trips_ingestion"].get_task("ingest"), params={}, try_number=2)
    assert again == ["ingest", "--dataset=trips", "--run=manual__1 2", "--retry"]


def test_a_training_that_was_killed_is_recorded_as_such(dags):
    """DE-15: Only after a training that failed, whatever ended it; and what is red stays red."""
    task = dags["automatic_training"].get_task("close_run")
    assert (task.stage, task.upstream_task_ids, task.trigger_rule) == ("close", {"train"}, "all_failed")
    assert "/dags/{{ dag.dag_id }}/runs/{{ run_id | urlencode }}" in task.arguments["run_url"]


def test_train_is_told_what_validate_decided(dags):
    """DE-16, MO-19: Snapshot, cause and request come from the result, a person's wishes from the Params."""
    decided = {"snapshot": 0, "cause": "drift", "request": None, "code": "c0de"}
    found = _command(
        dags["automatic_training"].get_task("train"), params={**NONE_SET, "max_epochs": 3, "reason": "it's due"}, validate=decided
    )
    assert found[:7] == [
        "train",
        "--model=automatic",
        "--snapshot=0",
        "--cause=drift",
        "--code=c0de",
        "--max-epochs=3",
        "--reason=it's due",
    ]


def test_register_is_told_what_was_measured(dags):
    """MO-13: A digest of digits alone stays text."""
    results = {
        "validate": {"code": "c0de"},
        "train": {"digest": "0123456789", "run_id": "9e5"},
        "evaluate": {"evaluation": "reports/m/e.json"},
    }
    found = _command(dags["automatic_training"].get_task("evaluate"), params=NONE_SET, **results)
    assert found == ["evaluate", "--model=automatic", "--digest=0123456789", "--run-id=9e5", "--code=c0de"]
    found = _command(dags["automatic_training"].get_task("register"), params=NONE_SET, **results)
    assert found == ["register", "--model=automatic", "--digest=0123456789", "--run-id=9e5", "--code=c0de", "--evaluation=reports/m/e.json"]


@pytest.mark.parametrize(("decision", "told"), [("", []), ("roll_back", ["--decision=roll_back"])])
def test_release_names_the_person(dags, decision, told):
    """SC-03: Who started, approved or rejected it stands in the ledger, and for which version; an event is nobody."""
    params = {"version": None, "again": False}
    by_event = _command(dags["automatic_release"].get_task("move_traffic"), params=params, run_type="asset_triggered", user=None)
    assert by_event == ["release", "--model=automatic", "--actor=perennial"]
    by_hand = _command(dags["manual_release"].get_task("move_traffic"), params={"version": 7, "again": True})
    assert by_hand == ["release", "--model=manual", "--version=7", "--actor=ada", "--again"]
    approved = _command(
        dags["approval_release"].get_task("move_traffic"),
        params=params,
        user=None,
        may_start={"version": 7, "decision": decision, "actor": "grace"},
    )
    assert approved == ["release", "--model=approval", "--version=7", *told, "--actor=grace"]
    looked, answer = {"version": 7, "action": "ask"}, {"decision": "roll_back", "actor": "grace"}
    settled = _command(dags["automatic_release"].get_task("settle"), params=params, move_traffic=looked, ask_person=answer)
    assert settled == ["release", "--model=automatic", "--version=7", "--decision=roll_back", "--actor=grace"]


@pytest.mark.parametrize(
    ("params", "asked"), [({"version": None, "again": False}, ("", "False")), ({"version": 7, "again": True}, ("7", "True"))]
)
def test_a_person_is_asked_about_the_version_that_was_named(dags, params, asked):
    """DE-02: Or about the one whose registration started the run."""
    task = dags["approval_release"].get_task("may_start")
    task.render_template_fields(_context(params), task.dag.get_template_env())
    assert (task.version, task.again) == asked


@pytest.mark.parametrize(("action", "unsettled"), [("ask", "True"), ("promoted", "False")])
def test_a_person_sees_the_evidence(dags, action, unsettled):
    """DE-02: Only an open question is asked, with sentence and figures."""
    task = dags["automatic_release"].get_task("ask_person")
    looked = {"action": action, "sentence": "Too few requests.", "evidence": {"requests": 12}}
    task.render_template_fields(_context({}, move_traffic=looked), task.dag.get_template_env())
    assert task.unsettled == unsettled
    assert "Too few requests." in task.body
    assert '"requests": 12' in task.body


def test_monitoring_takes_a_window(dags):
    """OP-02: None by schedule; by hand any."""
    task = dags["automatic_monitoring"].get_task("monitor")
    assert _command(task, params={"from": "2013-06-01T00:00:00Z", "to": None}) == [
        "monitor",
        "--model=automatic",
        "--from=2013-06-01T00:00:00Z",
    ]


@pytest.mark.parametrize(
    ("named", "partition", "asked"),
    [(None, "0003-drift", ("0003-drift", "False")), ("4", None, ("4", "True")), ("4", "0003-drift", ("4", "True"))],
)
def test_a_run_asks_about_one_incident(dags, named, partition, asked):
    """MN-11: That of the event, or the one a person names; who names one may judge it again."""
    task = dags["automatic_incidents"].get_task("ask_verdict")
    context = _context({"incident": named, "verdict": None, "reason": None, "silence_hours": None})
    context["dag_run"].partition_key = partition
    task.render_template_fields(context, task.dag.get_template_env())
    assert (task.incident, task.again) == asked


def test_a_verdict_is_recorded_in_the_persons_name(dags):
    """MN-11: With their words, whatever they hold."""
    answer = {"id": "0003-drift", "verdict": "false alarm", "by": "grace", "note": "--it's {{ a }} holiday"}
    found = _command(dags["automatic_incidents"].get_task("record_verdict"), params={"incident": None}, ask_verdict=answer)
    assert found == [
        "incident",
        "--model=automatic",
        "--id=0003-drift",
        "--verdict=false alarm",
        "--by=grace",
        "--note=--it's {{ a }} holiday",
        "--unless-judged",
    ]
    silenced = {"id": "0003-drift", "silence": "its kind", "hours": "4.0", "by": "grace", "note": "a move"}
    found = _command(dags["approval_incidents"].get_task("record_verdict"), params={"incident": "3"}, ask_verdict=silenced)
    assert found[2:] == ["--id=0003-drift", "--silence=its kind", "--hours=4.0", "--by=grace", "--note=a move"]
    by_hand = _command(dags["manual_incidents"].get_task("record_verdict"), params={"incident": "3"}, ask_verdict=answer)
    assert "--unless-judged" not in by_hand  # who asked by hand overrules


def test_a_recalibration_is_announced_only_with_a_version(dags):
    """DE-03: Where nothing was registered no release is woken; the run's page goes on record."""
    task = dags["automatic_recalibration"].get_task("recalibrate")
    assert task.announces({"version": 7, "sentence": "Better."}) == {"version": 7, "sentence": "Better."}
    assert task.announces({"version": None, "sentence": "Nothing."}) is None
    assert _command(task, params={}) == ["recalibrate", "--model=automatic", "--run-url=http://airflow.test/dags/d/runs/manual__1%202"]


def test_profiling_shares_a_table_out(dags):
    """DE-22: Every part is a task of its own with its own command; how many is the run's choice; what is added is what was planned."""
    dag = dags["trips_profiling"]
    assert _command(dag.get_task("plan"), params={"parts": 2, "version": None}) == ["profile", "--dataset=trips", "--plan"]
    share_out = dag.get_task("share_out")
    context = _context({"parts": 2}, plan={"version": 7})
    share_out.render_template_fields(context, dag.get_template_env())
    parts = share_out.execute(context)
    commands = [
        ["profile", "--dataset=trips", "--version=7", "--partition=1/2"],
        ["profile", "--dataset=trips", "--version=7", "--partition=2/2"],
    ]
    assert [stage_command("profile", part) for part in parts] == commands
    mapped = dag.get_task("profile_part")
    assert mapped.is_mapped
    assert mapped.upstream_task_ids == {"share_out"}
    merge = _command(dag.get_task("merge"), params={"parts": 2, "version": None}, plan={"version": 7})
    assert merge == ["profile", "--dataset=trips", "--version=7", "--merge=2"]


@pytest.mark.parametrize("runtime", ["process", "pod"])
def test_parts_run_wherever_stages_run(monkeypatch, tmp_path, runtime):
    """DE-22: The mapped task unmaps to the operator of the runtime, with the part's arguments and the dataset's compute."""
    (tmp_path / "stage.yaml").write_text("kind: Pod")
    monkeypatch.setenv("PERENNIAL_RUNTIME", runtime)
    monkeypatch.setenv("PERENNIAL_POD_TEMPLATES", str(tmp_path))
    monkeypatch.setattr(discovery, "datasets", lambda: {"trips": _dataset()})
    mapped = _parsed(DAGS / "profiling.py")["trips_profiling"].get_task("profile_part")
    arguments = {"dataset": "trips", "version": 7, "partition": "2/4"}
    task = mapped.unmap({"arguments": arguments})
    assert type(task).__name__ == {"process": "ProcessStage", "pod": "PodStage"}[runtime]
    assert (task.task_id, task.stage, task.arguments) == ("profile_part", "profile", arguments)
    if runtime == "pod":
        assert task.compute == _dataset().compute


ASKED = dict.fromkeys(("from", "to", "version", "snapshot", "file", "query"))


def test_scoring_shares_rows_out(dags):
    """SE-03: What is planned once is scored in parts, each a task of its own, and written as the run."""
    dag = dags["automatic_scoring"]
    asked = {**ASKED, "from": "2024-01-01", "to": "2024-01-03", "version": 2, "query": "select * from trips where late = 'x y'", "parts": 2}
    command = ["score", "--model=automatic", "--version=2", "--from=2024-01-01", "--to=2024-01-03"]
    assert _command(dag.get_task("plan"), params=asked) == [*command, "--query=select * from trips where late = 'x y'", "--plan"]
    share_out = dag.get_task("share_out")
    context = _context({"parts": 2}, plan={"plan": "1f2e", "version": 2})
    share_out.render_template_fields(context, dag.get_template_env())
    commands = [["score", "--model=automatic", "--planned=1f2e", f"--partition={part}/2"] for part in (1, 2)]
    assert [stage_command("score", part) for part in share_out.execute(context)] == commands
    merge = _command(dag.get_task("merge"), params={**ASKED, "parts": 2}, plan={"plan": "1f2e"})
    assert merge == ["score", "--model=automatic", "--run=manual__1 2", "--planned=1f2e", "--merge=2"]


@pytest.mark.parametrize(
    ("scoring", "clock", "wakes"),
    [
        (ScoringSpec(), None, set()),
        (ScoringSpec(schedule="5 4 * * *"), "5 4 * * *", set()),
        (ScoringSpec(on_new_snapshot=True), None, {"trips_snapshot"}),
        (ScoringSpec(schedule="5 4 * * *", on_new_snapshot=True), "5 4 * * *", {"trips_snapshot"}),
    ],
)
def test_when_rows_are_scored(monkeypatch, scoring, clock, wakes):
    """SE-03: By hand always; by the clock, and on a new snapshot, where the spec says so."""
    monkeypatch.setattr(discovery, "datasets", lambda: {"trips": _dataset()})
    monkeypatch.setattr(discovery, "models", lambda: {"automatic": _model("automatic").model_copy(update={"scoring": scoring})})
    timetable = _parsed(DAGS / "scoring.py")["automatic_scoring"].timetable
    assert getattr(getattr(timetable, "timetable", timetable), "expression", None) == clock
    woken_by = getattr(timetable, "asset_condition", None)
    assert {asset.name for asset in getattr(woken_by, "objects", [])} == wakes


def test_a_file_to_score_is_one_of_the_store(dags):
    """SE-03, SC-01: Who may start a run names a key below landing/ or scoring/, not any file of the machine that works."""
    file = dags["automatic_scoring"].params.get_param("file")
    for key in ("scoring/june.csv", "landing/trips/of june.csv"):
        assert file.resolve(key) == key
    for path in ("/etc/passwd", "scoring/../models/x", "models/trips/x", "../x"):
        with pytest.raises(ParamValidationError):
            file.resolve(path)


def test_an_experiment_takes_what_was_asked_for(dags):
    """SE-09: What is empty is left to the stage; the run's name is passed, so that a try that starts anew begins no second experiment."""
    dag = dags["automatic_experiment"]
    params = {name: dag.params.get_param(name).resolve() for name in dag.params}
    asked = {"versions": "7,8", "metric": "score > 0.9", "unit": "user_id", "least": 0.02}
    found = _command(dag.get_task("run_experiment"), params={**params, **asked})
    assert found == [
        "experiment", "start", "--model=automatic", "--versions=7,8", "--metric=score > 0.9", "--unit=user_id", "--least=0.02",
        "--power=0.8", "--days=28", "--run=manual__1 2", "--actor=ada",
    ]  # fmt: skip
    with pytest.raises(ParamValidationError):
        dag.params.get_param("versions").resolve("7 and 8")


def test_rollback_takes_a_reason(dags):
    """SE-11: It stands in the ledger with the person's name."""
    found = _command(dags["automatic_rollback"].get_task("rollback"), params={"version": None, "reason": "wrong fares"})
    assert found == ["rollback", "--model=automatic", "--reason=wrong fares", "--actor=ada"]


def test_rollback_takes_the_version_that_a_button_named(dags):
    """SE-11: A press goes back to what stood on the button, whatever has happened since."""
    found = _command(dags["automatic_rollback"].get_task("rollback"), params={"version": 1, "reason": "wrong fares"})
    assert "--version=1" in found


def test_a_runtime_that_is_not_there_is_told(monkeypatch):
    """DE-09: The import error is a sentence."""
    monkeypatch.setenv("PERENNIAL_RUNTIME", "pod")
    bag = DagBag(str(DAGS / "rollback.py"), bundle_path=DAGS)
    assert "PERENNIAL_RUNTIME is pod" in next(iter(bag.import_errors.values()))


HEAVY = {
    "torch", "lightning", "pytorch_lightning", "mlflow", "great_expectations", "pandas", "numpy", "pyarrow", "deltalake", "duckdb", "boto3",
}  # fmt: skip


@pytest.fixture(scope="module")
def light():
    """The DAG files, parsed where stages run as processes."""
    return parsed(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_parsing_is_light(light, file):
    """OP-10: Every task parses its DAG file again: so few calls that they take less than 0.3 s of CPU, and nothing heavy."""
    assert not light[file].packages & HEAVY
    assert light[file].calls < MOST_CALLS


PODS = [path for path in FILES if path.stem in ("training", "release")]


@pytest.fixture(scope="module")
def for_pods(tmp_path_factory):
    """Two of them, parsed where stages run as pods."""
    templates = tmp_path_factory.mktemp("templates")
    (templates / "stage.yaml").write_text("kind: Pod")
    provider = "import airflow.providers.cncf.kubernetes.operators.pod"
    return parsed(PODS, provider, PERENNIAL_RUNTIME="pod", PERENNIAL_POD_TEMPLATES=str(templates))


@pytest.mark.parametrize("file", PODS, ids=lambda path: path.stem)
def test_parsing_for_pods_costs_the_provider_and_no_more(for_pods, file):
    """OP-10: Where stages run as pods, the Kubernetes provider is loaded; beside it, parsing stays as light."""
    assert not for_pods[file].packages & HEAVY
    assert for_pods[file].calls < MOST_CALLS


def test_nothing_else_lies_in_the_folder():
    """OP-01: Airflow parses every file there: helpers belong below plugins/."""
    assert {path.name for path in DAGS.iterdir() if path.name != "__pycache__"} == {
        f"{kind}.py"
        for kind in (
            "ingestion",
            "profiling",
            "training",
            "recalibration",
            "release",
            "monitoring",
            "scoring",
            "incidents",
            "rollback",
            "experiment",
            "service",
            "specs",
            "reviews",
        )
    }
