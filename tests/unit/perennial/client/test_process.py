"""A stage as a child process of a notebook."""

from __future__ import annotations

import os

import pytest

import perennial
from perennial.client.process import log_message, run_command, run_stage
from perennial.errors import Fault, Refused
from perennial.results import Result, TrainResult

from .conftest import answer


def test_lines_come_while_it_runs_and_the_result_at_the_end(connected, stages):
    """SY-18: What a stage logs is told without its time; what libraries print is not; its result is the stage's own."""
    stages.play("train", answer(TrainResult, digest="ab"), says="echo '06:00:00 INFO Epoch 1 of at most 9.'; echo noise; echo It is done.")
    told: list[str] = []
    result = run_stage(connected.settings, "train", TrainResult, told.append, model="digits", snapshot=3, reason="", max_epochs=None)
    assert (told, result.digest) == (["Epoch 1 of at most 9."], "ab")
    ((*arguments, _),) = stages.asked
    assert arguments == ["train", "--model=digits", "--snapshot=3"]


@pytest.mark.parametrize(
    ("outcome", "code", "error"), [("refused", 2, Refused), ("fault", 1, Fault)], ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_refusal_is_an_error_with_the_stages_sentence(connected, stages, outcome, code, error):
    """And with its links."""
    stages.play("train", Result(outcome=outcome, sentence="Too few rows.", links={"Page": "http://page"}), code)
    with pytest.raises(error, match=r"^Too few rows\.$") as refused:
        run_stage(connected.settings, "train", TrainResult, model="digits")
    assert refused.value.links == {"Page": "http://page"}


def test_a_stage_that_leaves_no_result_says_why(connected, stages):
    """By its last line, or by the signal that ended it."""
    stages.play("train", code=2, says="echo usage; echo 'train: --snapshot is missing'")
    with pytest.raises(Refused, match="--snapshot is missing"):
        run_stage(connected.settings, "train", TrainResult, model="digits")
    stages.play("train", says="kill -9 $$")
    with pytest.raises(Fault, match="ended by SIGKILL, perhaps for want of memory"):
        run_stage(connected.settings, "train", TrainResult, model="digits")


def test_the_stop_button_ends_the_stage(connected, stages):
    """Nothing trains on that nobody waits for."""
    stages.play("train", says='echo "06:00:00 INFO $$"; exec sleep 60')
    pids = []

    def stop(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(connected.settings, "train", TrainResult, stop, model="digits")
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_stage_has_the_settings_and_nothing_of_the_notebook(connected, stages, monkeypatch):
    """A notebook's way to draw, and its packages, are not in the workload environment."""
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("PYTHONPATH", "/of/the/notebook")
    stages.play("outcomes", says="echo 3 outcomes taken in.")
    assert run_command(connected.settings, "outcomes", "digits", "file.csv") == "3 outcomes taken in."
    assert not {"MPLBACKEND", "PYTHONPATH"} & set(stages.environment)
    assert stages.environment["PERENNIAL_STORE"] == connected.settings.store


def test_without_an_environment_it_says_how_to_make_one(tmp_path):
    """No traceback of a missing file."""
    with pytest.raises(Fault, match="make setup"):
        run_stage(perennial.connect(home=tmp_path).settings, "train", TrainResult, model="digits")


@pytest.mark.parametrize(
    ("line", "message"),
    [("06:00:00 INFO a", "a"), ("06:00:00 WARNING a", "WARNING: a"), ("06:00:00 DEBUG a", ""), ("a", ""), ("06:00 INFO a", "")],
)
def test_what_a_log_line_says(line, message):
    """Its message, with its level if somebody should look."""
    assert log_message(line) == message


def test_a_notebook_shows_an_error_as_its_sentence():
    """IPython asks an error for what it shows: no way through the code."""
    assert Refused("No.", {"Page": "http://page"})._render_traceback_() == ["No.", "Page: http://page"]
