"""The note of a run: a refusal, a rollback and a crash are told apart at first sight, and nothing of a person's is lost."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select

from perennial.views.run_story import AGAINST, NOTE, TaskEnd, Verdict, noted, sentence_of, verdict, word_of
from perennial_airflow import run_records
from perennial_airflow.run_notes import RunNotes

from .airflow_runs import Runs, left

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")
REFUSED = {
    "ingest": ("success", left("done", "0 taken, 1 refused.")),
    "tell_refused": ("failed", {"outcome": "refused", "sentence": "1 of 1."}),
}
GATE = {
    "train": ("success", left("done", "Trained.")),
    "register": ("failed", left("refused", "The candidate\nis worse.")),
    "alert": ("success", None),
}
ROLLED_BACK = {
    "move_traffic": ("failed", left("refused", "Version 3 errs.", action="rolled_back")),
    "ask_person": ("upstream_failed", None),
    "settle": ("upstream_failed", None),
    "alert": ("success", None),
}
BY_HAND = {
    "move_traffic": ("success", left("done", "Ask.", action="ask")),
    "settle": ("success", left("done", "Back.", action="rolled_back")),
}
CRASHED = {"validate": ("success", left("done", "Go.")), "train": ("failed", None), "evaluate": ("upstream_failed", None)}
FAULT = {"train": ("failed", left("fault", "No memory."))}
BOTH = {"register": ("failed", left("refused", "Worse.")), "alert": ("failed", {"outcome": "fault", "sentence": "No store."})}
FINE = {"monitor": ("success", left("done", "Nothing drifted."))}
NOTHING_NEW = {"validate": ("skipped", left("skipped", "Nothing new.")), "train": ("skipped", left("done", "Of the try before."))}


def _ended(runs: Runs, dag: str, run: str, *, well: bool = False, detached: bool = False) -> None:
    """Call the listener as the scheduler does: with the run of a session that it has open, which it commits later; or with one of none."""
    from airflow.models.dagrun import DagRun

    with runs.sessions() as session:
        dag_run = session.scalar(select(DagRun).where(DagRun.dag_id == dag, DagRun.run_id == run))
        if detached:
            session.expunge(dag_run)
        (RunNotes().on_dag_run_success if well else RunNotes().on_dag_run_failed)(dag_run, "")
        session.commit()


@pytest.mark.parametrize(
    ("tasks", "note"),
    [
        (REFUSED, "Refused: 1 of 1."),
        (GATE, "Refused: The candidate is worse."),
        (ROLLED_BACK, "Rolled back: Version 3 errs."),
        (BY_HAND, "Rolled back: Back."),
        (CRASHED, "Fault: The task train was ended before it had a result; its log shows how far it came."),
        (FAULT, "Fault: No memory."),
        (BOTH, "Refused: Worse."),
        (FINE, None),
        (NOTHING_NEW, None),
    ],
)
def test_a_run_says_why_it_came_to_no_good_end(runs: Runs, tasks: Any, note: str | None) -> None:
    """DE-15: A decision is told from a crash by its first word; the decision, where there is one of each; runs that went well have none."""
    runs.add("churn_training", "r", tasks)
    _ended(runs, "churn_training", "r", well=note is None or tasks is BY_HAND)
    assert runs.note("churn_training", "r") == note


def test_a_note_of_a_person_stays_and_a_run_tried_again_has_one_sentence(runs: Runs) -> None:
    """DE-15: The sentence comes after a person's words, once; once the run went well it is gone, and they are not."""
    runs.add("churn_training", "r", GATE, note="Please.\n\nTwice.")
    for _ in range(2):
        _ended(runs, "churn_training", "r")
        assert runs.note("churn_training", "r") == "Please.\n\nTwice.\n\nRefused: The candidate is worse."
    runs.add("churn_training", "s", {**FINE}, note="Please.\n\nTwice.\n\nRefused: The candidate is worse.")
    _ended(runs, "churn_training", "s", well=True)
    assert runs.note("churn_training", "s") == "Please.\n\nTwice."
    runs.add("churn_training", "t", FINE, note="Fault: No memory.")
    _ended(runs, "churn_training", "t", well=True)
    assert not runs.note("churn_training", "t")


def test_a_run_that_is_tried_in_one_process_has_its_note_too(runs: Runs) -> None:
    """DE-15: `airflow dags test` hands over a run of no session."""
    runs.add("churn_training", "r", GATE)
    _ended(runs, "churn_training", "r", detached=True)
    assert runs.note("churn_training", "r") == "Refused: The candidate is worse."


def test_other_peoples_dags_are_left_alone(runs: Runs) -> None:
    """DE-15: A team's own DAG gets no note, whatever its tasks leave."""
    runs.add("their_etl", "r", GATE, tag="theirs", note="Mine.")
    _ended(runs, "their_etl", "r")
    assert runs.note("their_etl", "r") == "Mine."


def test_an_error_harms_no_scheduler(runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """DE-15: It is logged, with the run; what else the scheduler has changed is committed."""

    def breaks(*_: object) -> None:
        raise ValueError("no such table")

    runs.add("churn_training", "r", GATE)
    monkeypatch.setattr(run_records, "ends", breaks)
    with caplog.at_level(logging.ERROR, logger="perennial_airflow.run_notes"):
        _ended(runs, "churn_training", "r")
    assert "The run r of churn_training has no note" in caplog.text
    assert "no such table" in caplog.text
    assert runs.note("churn_training", "r") is None


@given(st.text(max_size=1200), st.sampled_from(AGAINST), st.text(max_size=3000))
@example("Please.\n", "Refused", "Worse.")
def test_a_note_fits_and_keeps_what_was_there(before: str, word: Any, sentence: str) -> None:
    """DE-15: Whatever a person wrote and a stage said: Airflow can store it, no word of the person is lost, and twice is as once."""
    said = Verdict(word, " ".join(sentence.split()), "t")
    if before.split("\n\n")[-1].startswith(tuple(f"{each}: " for each in AGAINST)):
        return
    after = noted(before, said)
    assert after is not None
    assert after.startswith(before)
    assert len(after) <= max(NOTE, len(before))
    if len(before) <= NOTE - 50:
        assert f"{word}: " in after
        assert noted(after, said) == after
        assert noted(after, None) == (before or None)


def test_words_and_sentences_of_tasks() -> None:
    """DE-15: How far a task is, and that one which did not run again in a cleared run says nothing of before."""
    states = {
        "running": "Running",
        "deferred": "Running",
        "up_for_retry": "Running",
        None: "Waiting",
        "scheduled": "Waiting",
        "removed": "Not reached",
    }
    assert {state: word_of(TaskEnd("t", state)) for state in states} == states
    assert sentence_of(TaskEnd("t", "skipped", left("done", "Before."))) == ""
    assert sentence_of(TaskEnd("t", "upstream_failed", left("done", "Before."))) == ""
    assert sentence_of(TaskEnd("t", "failed", left("done", "Before."), part=3)).startswith("The task t 3 was ended")
    assert word_of(TaskEnd("t", "success", left("done", "No.", action="rejected"))) == "Rejected"
    assert verdict([]) is None
