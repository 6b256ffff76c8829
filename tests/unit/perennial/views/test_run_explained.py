"""A run explained: why it ran, on what, what came of it; of what is damaged or gone a sentence, and all else is told."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import UnknownName
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.registrations import note_registration
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_folder import read_manifest
from perennial.testing import World
from perennial.views.run_explained import Explanation, explained, explained_version
from perennial.views.run_story import RunRecord, TaskEnd

NOW = datetime.now(timezone.utc)
VERDICT = {
    "passed": False,
    "sentence": "It is worse.",
    "checks": [
        {"name": "golden", "passed": True, "sentence": "match"},
        {"name": "champion", "passed": False, "sentence": "it is worse"},
        "no check",
    ],
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def record(dag: str = "small_delays_training", **facts: Any) -> RunRecord:
    given = {"state": "success", "queued": NOW, "started": NOW - timedelta(minutes=5), "ended": NOW + timedelta(minutes=5), "by": ""}
    return RunRecord(dag=dag, run="r:1", landed=None, after=None, **(given | facts))


def told(world: World, *ends: TaskEnd, run: RunRecord | None = None, dataset: str = "", airflow: str = "") -> Explanation:
    model = "" if dataset else world.spec.name
    told = explained(world.store, run or record(), ends, model=model, dataset=dataset, airflow=airflow)
    assert Explanation.model_validate_json(told.model_dump_json()) == told
    return told


def left(task: str, state: str = "success", **result: Any) -> TaskEnd:
    return TaskEnd(task, state, {"outcome": "done", "sentence": "", "links": {}, **result})


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"by": "ada", "kind": "manual"}, ["ada started it."]),
        ({"by": "ada", "conf": {"reason": "New data."}}, ["ada started it: New data."]),
        (
            {"after": ("d_ingestion", "i"), "kind": "asset_triggered", "asset": "d"},
            ["The run i of d_ingestion started it, which announced d."],
        ),
        ({"after": ("d_ingestion", "i")}, ["The run i of d_ingestion started it."]),
        ({"landed": datetime(2026, 3, 1, 12, 7, tzinfo=timezone.utc)}, ["Files landed at 2026-03-01 12:07 UTC."]),
        ({"asset": "churn_retraining"}, ["churn_retraining was announced."]),
        ({"kind": "scheduled"}, ["Its schedule started it."]),
        ({"kind": "backfill"}, ["A backfill started it."]),
        ({"kind": "manual"}, ["It was started by hand or by a command."]),
        (
            {"kind": "scheduled", "state": "queued", "waits_for": "r:0"},
            ["Its schedule started it.", "It waits for the run r:0 of the same DAG, which is at work: one works at a time."],
        ),
        ({}, []),
    ],
)
def test_what_started_a_run_is_told(world: World, facts: dict[str, Any], why: list[str]) -> None:
    """MN-18: A person with their reason, another run, files, an asset, the clock; a run that waits says for which. Nothing is made up."""
    given = {name: value for name, value in facts.items() if name not in ("landed", "after")}
    run = RunRecord(**{**vars(record(**given)), **{name: facts[name] for name in ("landed", "after") if name in facts}})
    said = told(world, run=run)
    assert said.why == tuple(why)
    assert said.untold == (() if why else ("Airflow does not say what started it.",))


def test_a_training_says_its_cause_and_the_request_that_it_answers(world: World) -> None:
    """MN-18, MN-10: The cause in words, the retraining request with what it was made on; one that is gone is a sentence."""
    key = Inbox(world.store, world.spec.name).ask("drift", 7, {"columns": ["distance", "temp"], "windows": 3, "none": None})
    why = told(world, left("validate", cause="drift", request=key, snapshot=7)).why
    assert why[0] == "A training was asked for because of the world has changed (cause drift)."
    assert why[1].startswith("It answers the retraining request 00000007-drift of 20")
    assert why[1].endswith("UTC, made on columns distance, temp; windows 3.")
    assert "has no retraining request" in told(world, left("validate", cause="drift", request="gone")).why[1]


def test_on_what_it_worked_is_told_from_results_and_manifest(world: World) -> None:
    """MN-18, MO-16: Snapshot, code, version folder, digests of rows, code and packages, and what a person gave. Empty fields are left out,
    and those of tasks that this run did not reach."""
    digest = world.published(1)
    ends = (
        left("validate", snapshot=7, code="c0de", labels=None, joined=""),
        left("train", digest=digest, snapshot=8),
        left("evaluate", "upstream_failed", evaluation="of the run before"),
    )
    inputs = told(world, *ends, run=record(conf={"force": False, "max_epochs": 3, "long": "x" * 300})).inputs
    assert (inputs["snapshot"], inputs["model's files"], inputs["version folder"]) == ("7", "c0de", digest)
    assert inputs["dataset"]
    assert inputs["rows"] == read_manifest(world.store, world.spec.name, digest).snapshot_digest
    assert inputs["parameter max_epochs"] == "3"
    assert (len(inputs["parameter long"]), inputs["parameter long"][-2:]) == (200, " …")
    assert not {"labels, snapshot", "joined datasets", "evaluation", "parameter force"} & inputs.keys()


def test_what_the_gate_said_is_told_check_by_check_and_names_the_fault(world: World) -> None:
    """MN-18, MO-13: From its stored decision; where it ended and what to do. A decision that is damaged costs the checks alone."""
    digest = world.published(1)
    world.store.write(verdict_key(world.spec.name, digest), json.dumps(VERDICT).encode())
    refused = left("register", "failed", outcome="refused", fault="CandidateRefused")
    said = told(world, left("train", digest=digest), refused)
    assert said.checks == ("passed golden: match", "failed champion: it is worse")
    assert said.fault
    assert (said.fault.name, said.where) == ("Worse than the champion", "register")
    assert told(world, left("train", digest=digest)).checks == ()  # the gate of this run has not decided
    for damaged in (b"{", b"[]"):
        world.store.write(verdict_key(world.spec.name, digest), damaged)
        again = told(world, left("train", digest=digest), refused)
        assert (again.checks, again.fault and again.fault.name) == ((), "The gate refused the candidate")


def test_the_most_telling_task_is_where_it_ended(world: World) -> None:
    """MN-18: A decision before a crash that came of it; what was held back, where nothing failed; nothing, where all went well."""
    crash, refusal = left("alert", "failed", outcome="fault"), left("register", "failed", outcome="refused")
    assert told(world, crash, refusal).where == "register"
    held = left("validate", "skipped", outcome="skipped", fault="HeldBack")
    assert told(world, held, left("train", "skipped")).where == "validate"
    well = told(world, left("train"))
    assert (well.where, well.fault) == ("", None)


def test_what_came_of_a_version_is_told(world: World) -> None:
    """MN-18, SC-03: No release yet, one under way, promoted and serving, rolled back with the reason, undone later, retired."""

    def of(number: int) -> tuple[str, ...]:
        return told(world, left("register", version=number)).became

    world.with_champion()
    assert of(1)[-1] == "It serves 100% of the traffic now."
    assert of(1)[0].startswith("Version 1 was promoted at ")
    number = world.candidate("b" * 64)
    assert of(number) == ("Version 2 has had no release.", "It serves no traffic now.")
    world.look()
    assert of(number)[0].startswith("Version 2 is being released since ")
    assert of(number)[1] == "It serves 5% of the traffic now."
    world.until_end(errors={1: 0.002, 2: 0.4})
    assert of(number)[0].startswith("Version 2 was rolled back at ")
    assert of(number)[1] == "It serves no traffic now."
    pages = told(world, left("register", version=number), airflow="http://a").pages
    assert pages["Version"] == "http://a/perennial/models/small_delays/versions/2"
    assert pages["Release"].startswith("http://a/perennial/models/small_delays/release/")
    assert pages["Airflow run"] == "http://a/dags/small_delays_training/runs/r%3A1"


def test_a_damaged_ledger_is_a_sentence(world: World) -> None:
    """MN-18: Of the version only its number is told, and why no more."""
    world.with_champion()
    entry = next(item.key for item in world.store.list("ledger/"))
    world.store.write(entry, b"{")
    world.store.delete("views/releases/small_delays.json")
    said = told(world, left("register", version=1))
    assert said.became[0].startswith("Version 1")
    assert [sentence for sentence in said.untold if "ledger" in sentence]


def test_what_a_dataset_got_and_what_was_refused_is_told(world: World) -> None:
    """MN-18, DM-10: Rows and files that are in the table, and each refusal; of a monitoring the retraining that it asked for."""
    ingest = left("ingest", appended={"a.csv": 1000, "b.csv": 500}, refused={"c.csv": "distance is null."}, snapshot=4)
    said = told(world, ingest, run=record("d_ingestion"), dataset="d")
    assert said.became == ("1,500 rows of 2 files are in the table, snapshot 4.", "Refused: distance is null.")
    assert set(said.pages) == {"Airflow run"}
    looked = told(world, left("monitor", retraining="00000007-drift", cause="drift"))
    assert looked.became == ("It asked for a retraining: request 00000007-drift, cause drift.",)


def test_incidents_that_opened_meanwhile_are_told(world: World) -> None:
    """MN-18, MN-09: Such as a missed deadline; those of before and after are of other runs."""
    incidents = Incidents(world.store, world.spec.name)
    incidents.open("deadline", "answers", "critical", "No version serves since 12:00.")
    now = datetime.now(timezone.utc)  # which may be long after the module was loaded
    (line,) = told(world, run=record(started=now - timedelta(minutes=5), ended=now)).became
    assert line.endswith("(critical deadline): No version serves since 12:00.")
    for started, ended in ((now - timedelta(hours=2), now - timedelta(hours=1)), (now + timedelta(minutes=1), now + timedelta(hours=1))):
        assert told(world, run=record(started=started, ended=ended)).became == ()
    assert told(world, run=record(started=None)).became == ()
    assert len(told(world, run=record(started=now - timedelta(minutes=5), ended=None)).became) == 1


def test_a_folder_that_is_gone_is_a_sentence(world: World) -> None:
    """MN-18: What the results say of it is told all the same."""
    said = told(world, left("train", digest="f" * 64))
    assert said.inputs["version folder"] == "f" * 64
    assert said.untold[0].startswith("The folder of ffffffffffff is not in the store any more")


def test_a_version_is_explained_without_airflow(world: World) -> None:
    """MN-18: From the store: why it was trained, on what, what the gate said, what came of it. What only Airflow knows is said to be."""
    digest = world.published(1)
    world.with_champion(digest)
    note_registration(world.store, world.spec.name, 1, digest, {})
    world.store.write(verdict_key(world.spec.name, digest), json.dumps(VERDICT).encode())
    said = explained_version(world.store, world.spec.name, 1, "Airflow does not answer.")
    assert said.why[0].startswith("It was trained because of ")
    assert said.inputs["version folder"] == digest
    assert said.checks == ("passed golden: match", "failed champion: it is worse")
    assert said.became[-1] == "It serves 100% of the traffic now."
    assert said.untold[0] == "Airflow does not answer."
    assert "is in Airflow alone" in said.untold[1]
    world.candidate("b" * 64)  # of which the store has no receipt, since a person registered it by hand
    world.look()
    by_hand = explained_version(world.store, world.spec.name, 2, "Airflow does not answer.")
    assert (by_hand.inputs, by_hand.why, by_hand.checks) == ({"version folder": "b" * 64}, (), ())
    assert by_hand.became[0].startswith("Version 2 is being released")
    with pytest.raises(UnknownName, match="has no version 9"):
        explained_version(world.store, world.spec.name, 9, "")
