"""A training from a notebook: here by the stages, or by the DAG."""

from __future__ import annotations

import re

import pandas
import pytest

import perennial
from perennial.client import airflow
from perennial.client.connection import Connection
from perennial.errors import Refused, UnknownName
from perennial.local.airflow_api import Run
from perennial.results import EvaluateResult, RegisterResult, ReleaseResult, Result, TrainResult, ValidateResult

from .conftest import answer, as_json

KEY = "reports/digits/ab/evaluation.json"
METRICS = {"accuracy": 0.97, "log_loss": 0.1}
TEST = {"candidate": {"metrics": METRICS, "intervals": {"accuracy": [0.96, 0.98]}}, "rule": {"metrics": {"accuracy": 0.1, "log_loss": 2.3}}}
CHECKS = [{"name": "floor", "passed": True, "sentence": "it is <good>", "least": 0.85}]


@pytest.fixture
def loop(stages, store):
    """Stages of a training that goes well."""
    validated = answer(ValidateResult, snapshot=18, cause="manual", code="c0de", sentence="Training starts on snapshot 18 of digits.")
    trained = answer(
        TrainResult, digest="ab", run_id="r1", metrics=METRICS, sentence="Candidate ab trained.", links={"MLflow run": "http://r"}
    )
    stages.play("validate", validated)
    stages.play("train", trained, says="echo '06:00:00 INFO Epoch 1 of at most 3.'")
    stages.play("evaluate", answer(EvaluateResult, digest="ab", run_id="r1", evaluation=KEY, metrics=METRICS))
    stages.play(
        "register", answer(RegisterResult, version=4, run_id="r1", evidence={"checks": CHECKS}, sentence="Version 4 is registered.")
    )
    store.write(KEY, as_json({"parts": {"test": TEST}}))
    return stages


def given(command: list[str]) -> dict[str, str]:
    """The options of a stage's call, without the file of its result."""
    return dict(option.removeprefix("--").split("=", 1) for option in command[1:] if "=" in option and not option.startswith("--result"))


def test_the_stages_of_the_dag_run_one_after_the_other(loop, capsys):
    """SY-18: Each with what the one before decided: snapshot, cause, the code that the run began with; lines come as it trains."""
    candidate = perennial.train("digits", reason="tried", max_epochs=3)
    assert capsys.readouterr().out == "Training starts on snapshot 18 of digits.\nEpoch 1 of at most 3.\n"
    judged = candidate.register()
    assert [command[0] for command in loop.asked] == ["validate", "train", "evaluate", "register"]
    validate, train, evaluate, register = map(given, loop.asked)
    assert "--force" in loop.asked[0]
    assert (validate["cause"], validate["reason"]) == ("manual", "tried")
    asked = {"model": "digits", "snapshot": "18", "cause": "manual", "code": "c0de", "max-epochs": "3", "reason": "tried"}
    assert asked.items() <= train.items()
    assert evaluate == {"model": "digits", "digest": "ab", "run-id": "r1", "code": "c0de"}
    assert register == {**evaluate, "evaluation": KEY}
    assert (judged.version, candidate.metrics) == (4, METRICS)


def test_a_candidate_is_measured_and_judged_once(loop):
    """Asking again shows the same, and runs no stage."""
    candidate = perennial.train("digits")
    candidate.evaluate()
    candidate.register()
    candidate.register()
    assert [command[0] for command in loop.asked] == ["validate", "train", "evaluate", "register"]


def test_figures_are_frames_and_pages(loop):
    """Metrics with intervals beside the rule's; checks of the gate; text of a check is text."""
    candidate = perennial.train("digits")
    frame = candidate.evaluate().frame
    assert frame.loc["accuracy", ["candidate", "low", "high", "rule"]].tolist() == [0.97, 0.96, 0.98, 0.1]
    assert pandas.isna(frame.loc["log_loss", "low"])
    judged = candidate.register()
    assert judged.frame.to_dict("records") == [{"name": "floor", "passed": True, "sentence": "it is <good>"}]
    assert "<good>" not in judged._repr_html_()
    assert '<a href="http://r">MLflow run</a>' in candidate._repr_html_()
    assert (repr(candidate), repr(judged)) == ("Candidate ab trained.", "Version 4 is registered.")
    assert "0.9700" in repr(candidate.evaluate())


def test_the_gates_no_is_its_sentence(loop):
    """As an error, so that the cells below do not go on with it."""
    loop.play("register", Result(outcome="refused", sentence="Candidate ab is refused: accuracy is 0.2."), 2)
    with pytest.raises(Refused, match=r"accuracy is 0\.2"):
        perennial.train("digits").register()


def test_bad_data_is_not_trained_on(loop):
    """The stage `validate` decides, as in the DAG."""
    loop.play("validate", Result(outcome="refused", sentence="digits has too few rows."), 2)
    with pytest.raises(Refused, match="too few rows"):
        perennial.train("digits")
    assert [command[0] for command in loop.asked] == ["validate"]
    with pytest.raises(UnknownName, match="no model 'digit'"):
        perennial.train("digit")


def test_a_look_at_a_release_is_the_stages(loop):
    """As the person that runs the notebook."""
    loop.play("release", answer(ReleaseResult, action="promoted", sentence="Version 4 serves all traffic."))
    assert repr(perennial.release("digits", 4)) == "Version 4 serves all traffic."
    assert given(loop.asked[-1])["version"] == "4"
    assert given(loop.asked[-1])["actor"] != "perennial"


class PlayedAirflow:
    """Airflow's API with one run, whose stages end one at each look; the one that is named `fails`."""

    def __init__(self, results: dict[str, Result], fails: str = "") -> None:
        self.results, self.fails, self.looks, self.triggered = results, fails, 0, {}

    def trigger(self, dag, **parameters):
        self.triggered = {"dag": dag, **parameters}
        return Run(dag, "r", "queued", "http://airflow/r", 0)

    def run(self, dag, run_id):
        self.looks += 1
        ended = self.looks > len(airflow.STAGES) or self._failed()
        return Run(dag, run_id, "failed" if self._failed() else "success" if ended else "running", "http://airflow/r", 0)

    def tasks(self, run):
        states = {}
        for place, stage in enumerate(airflow.STAGES, start=1):
            done = place < self.looks
            states[stage] = ("failed" if stage == self.fails else "success") if done else "running" if place == self.looks else None
            if states[stage] == "failed":
                break
        return states

    def note(self, run):
        return f"{self.fails} said no." if self.fails else ""

    def result(self, run, task):
        stopped = self.fails and airflow.STAGES.index(task) >= airflow.STAGES.index(self.fails)
        return None if stopped else self.results[task].model_dump()

    def _failed(self):
        return bool(self.fails) and self.looks > airflow.STAGES.index(self.fails) + 1


@pytest.fixture
def in_airflow(monkeypatch, store):
    """`in_airflow(fails="register")`: an Airflow whose training of digits goes so far."""
    monkeypatch.setattr(airflow, "LOOK_SECONDS", 0)
    store.write(KEY, as_json({"parts": {"test": TEST}}))
    results = {
        "validate": answer(ValidateResult, snapshot=18, code="c0de"),
        "train": answer(TrainResult, digest="ab", run_id="r1", metrics=METRICS),
        "evaluate": answer(EvaluateResult, digest="ab", run_id="r1", evaluation=KEY, metrics=METRICS),
        "register": answer(RegisterResult, version=4, run_id="r1", sentence="Version 4 is registered."),
    }

    def play(fails: str = "") -> PlayedAirflow:
        api = PlayedAirflow(results, fails)
        monkeypatch.setattr(Connection, "airflow", lambda self: api)
        return api

    return play


def test_the_dag_trains_where_airflow_runs_its_stages(in_airflow, capsys):
    """SY-04: It is started by hand, whatever is new, with what was asked; the candidate that comes back is measured and registered."""
    api = in_airflow()
    candidate = perennial.train("digits", reason="tried", where="airflow")
    assert api.triggered == {"dag": "digits_training", "force": True, "reason": "tried"}
    said = capsys.readouterr().out
    assert re.findall("^(.*): running$", said, re.MULTILINE) == list(airflow.STAGES)
    assert "Started digits_training: http://airflow/r" in said
    assert candidate.evaluate().frame.loc["accuracy", "candidate"] == METRICS["accuracy"]
    assert candidate.register().version == 4


def test_a_candidate_that_the_gate_refused_there_comes_back(in_airflow, loop, capsys):
    """What the run came to is said; the gate's no is repeated by whoever asks it again."""
    in_airflow("register")
    candidate = perennial.train("digits", where="airflow")
    assert "register said no." in capsys.readouterr().out
    loop.play("register", Result(outcome="refused", sentence="Candidate ab is refused."), 2)
    with pytest.raises(Refused, match="is refused"):
        candidate.register()
    assert [command[0] for command in loop.asked] == ["register"]


def test_a_run_without_a_candidate_is_its_note(in_airflow):
    """No candidate is made up."""
    in_airflow("train")
    with pytest.raises(Refused, match=r"train said no\."):
        perennial.train("digits", where="airflow")
