"""The page of an experiment: before the first, under way, ended, and where something is missing or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial import discovery
from perennial.commands import show
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.stages import experiment as stage
from perennial.stages import rollback
from perennial.testing import small_dataset
from perennial.views.experiment import ExperimentView, experiment_view
from perennial.views.ledger import ledger_view
from perennial.views.model import model_view
from perennial.views.models import models

from ..stages.test_experiment import Trial


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A champion, and a version that may be tried."""
    trial = Trial(tmp_path)
    monkeypatch.setattr(discovery, "_models", lambda: ({trial.name: trial.world.spec}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    monkeypatch.setattr(stage.discovery, "dataset", lambda name: small_dataset())
    return trial


def view_of(trial: Trial, began: int | None = None) -> ExperimentView:
    view = experiment_view(trial.world.store, trial.name, began=began)
    assert ExperimentView.model_validate_json(view.model_dump_json()) == view
    return view


def test_before_the_first_it_says_how_one_begins(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """SE-09: and nothing else."""
    view = view_of(trial)
    assert (view.state, view.live, view.plan, view.past) == ("none", False, None, ())
    show.run(Settings.from_environment({}), trial.world.store, what="experiment", name=trial.name)
    assert "perennial experiment start --help" in capsys.readouterr().out
    with pytest.raises(UnknownName, match="No experiment of small_delays began with entry 7"):
        view_of(trial, 7)


def test_a_live_one_shows_what_units_have_shown(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """SE-09: the difference with its interval, units of each version, the split, and what counts for neither."""
    trial.begun()
    trial.ask(range(400), {1: 0.45, 2: 0.5})
    trial.ask(range(400), {1: 0.5, 2: 0.5}, by=1)
    trial.ask(range(30), {1: 0.5, 2: 0.5}, header=False)
    assert trial.look().action == "hold"
    view = view_of(trial)
    assert (view.state, view.live, view.began) == ("under way", True, 2)
    assert [(arm.role, arm.version) for arm in view.arms] == [("champion", 1), ("tried", 2)]
    assert sum(arm.units for arm in view.arms) == sum(arm.came for arm in view.arms) == 400
    look = view.looks[-1]
    assert look.low is not None
    assert look.high is not None
    assert look.low < look.difference < look.high  # type: ignore[operator]
    assert view.split.startswith("The version that is tried got ")
    assert view.split.endswith("That is as wanted, within what chance does.")
    assert [sentence.split(" ", 2)[1:] for sentence in view.left_out] == [
        ["requests", "had no unit: the champion answered them, and they are in no experiment."],
        ["requests", "were answered by another version than their unit's, which had failed: they count for neither."],
    ]
    show.run(Settings.from_environment({}), trial.world.store, what="experiment", name=trial.name)
    told = capsys.readouterr().out
    assert "experiment of version 2 with the champion, version 1: under way" in told
    assert "share of answers with score > 0.9, higher is better, by user_id" in told
    assert "at all looks together" in told
    assert "Planned: " in told


def test_an_ended_one_tells_how(trial: Trial) -> None:
    """SE-09: with who and why; the next one stands beside it."""
    trial.begun()
    trial.ask(range(1000), {1: 0.2, 2: 0.6})
    assert trial.look().verdict == "better"
    view = view_of(trial)
    assert (view.state, view.live) == ("the version that was tried won", False)
    assert "by perennial: Version 2 won: " in view.sentence
    trial.begun()
    trial.look("stop", reason="enough", actor="ada")
    view = view_of(trial)
    assert (view.state, view.began) == ("stopped by a person", 5)
    assert "by ada: ada ended it: enough" in view.sentence
    assert [(one.began, one.end) for one in view.past] == [(5, "ended"), (2, "the version that was tried won")]
    assert view_of(trial, 2).state == "the version that was tried won"


def test_one_that_a_rollback_ended_says_so(trial: Trial) -> None:
    """SE-11: the ledger knows, whatever the record's last look said."""
    trial.begun()
    rollback.go_back(trial.world.release(), "callers complain", "jo")
    view = view_of(trial)
    assert (view.state, view.live) == ("ended by a rollback", False)
    assert "by jo: callers complain" in view.sentence


def test_a_damaged_record_is_told_and_hides_nothing_else(trial: Trial) -> None:
    """SY-14: the sentence names the file; the next look begins the record anew."""
    trial.begun()
    trial.world.store.write(f"experiments/{trial.name}/00000002.json", b"{")
    view = view_of(trial)
    assert view.plan is None
    assert "experiments/small_delays/00000002.json" in view.damage[0]
    trial.look()
    assert view_of(trial).damage == ()


def test_the_list_of_models_and_the_ledger_know_it(trial: Trial) -> None:
    """SE-09: the state in a word, the version that a rollback goes back to, and each entry as a sentence."""
    trial.begun()
    row = models(trial.world.store).rows[0]
    assert (row.state, row.back_to) == ("experimenting", 1)
    assert row.sentence.startswith("Version 2 is tried beside version 1, with 50 % of the units")
    kinds = [entry.kind for entry in ledger_view(trial.world.store, trial.name).entries]
    assert kinds == ["experiment_weights", "experiment", "released", "started"]
    trial.look("stop", actor="ada")
    told = [decision.sentence for decision in model_view(trial.world.store, trial.name).decisions]
    assert told[:3] == [
        "The experiment of version 2 with the champion ended.",
        "Version 2 got 50\u00a0% of the units of the experiment.",
        "The experiment of version 2 with the champion began.",
    ]
    assert models(trial.world.store).rows[0].state == "serving"
