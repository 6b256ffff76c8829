"""What goes down to a stage."""

from __future__ import annotations

import pytest

from perennial.cli import _parser
from perennial.options import STAGES
from perennial.stage_command import check_arguments, stage_command


def test_empty_values_are_left_out():
    """OP-01: What a template leaves empty is not passed."""
    assert stage_command("train", {"model": "m", "snapshot": "3", "max_epochs": "", "reason": None}) == [
        "train",
        "--model=m",
        "--snapshot=3",
    ]


def test_values_may_begin_with_a_dash():
    """OP-01: A person's words cannot be taken for an option."""
    command = stage_command("rollback", {"model": "m", "reason": "--actor root"})
    assert vars(_parser().parse_args(command))["reason"] == "--actor root"


@pytest.mark.parametrize(("value", "expected"), [(True, ["--force"]), ("True", ["--force"]), (False, []), ("False", []), ("", [])])
def test_flags(value, expected):
    """OP-01: A flag is there or not, whether a template made it text or not."""
    assert stage_command("validate", {"model": "m", "force": value})[2:] == expected


def test_a_flag_must_be_true_or_false():
    """OP-01: Anything else is a mistake of the DAG file."""
    with pytest.raises(ValueError, match="must be true or false"):
        stage_command("validate", {"model": "m", "force": "maybe"})


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_line_understands_every_argument(stage):
    """OP-01: Each stage's arguments come out of the command line as they went in."""
    samples = {
        "first": "2013-01-01",
        "last": "2013-01-02",
        "cause": "data",
        "decision": "promote",
        "snapshot": 1,
        "labels": 1,
        "predictions": 1,
        "joined": "weather=3,prices=12",
        "max_epochs": 2,
        "version": 3,
        "partition": "2/4",
        "merge": 4,
        "verdict": "known",
        "silence": "drift",
        "hours": 4,
        "action": "start",
        "better": "lower",
        **dict.fromkeys(("low", "high", "share", "least", "days", "look_seconds"), 2.0),
        **dict.fromkeys(("power", "alpha"), 0.5),
    }
    arguments = {name: True if option.type is bool else samples.get(name, "x") for name, option in check_arguments(stage, ()).items()}
    parsed = vars(_parser().parse_args(stage_command(stage, arguments)))
    assert all(parsed[name] is not None for name in arguments)


def test_unknown_names_are_told():
    """OP-01: A misspelt argument or stage is found when the DAG file is parsed."""
    with pytest.raises(ValueError, match="no argument 'epochs'"):
        check_arguments("train", ["model", "epochs"])
    with pytest.raises(ValueError, match="no stage 'trian'"):
        check_arguments("trian", [])
