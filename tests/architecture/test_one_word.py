"""A stage is one word: task, command, file, result and test have it."""

from __future__ import annotations

import keyword
from pathlib import Path

import pytest

from perennial import options, results

ROOT = Path(__file__).parents[2]
# They answer what a release answers: where the traffic is now.
RESULTS = {"rollback": "ReleaseResult", "experiment": "ReleaseResult"}


@pytest.mark.parametrize("stage", options.STAGES)
def test_a_stage_has_its_word_everywhere(stage: str) -> None:
    """A person who knows the word finds every file."""
    source = ROOT / "include/perennial/stages" / f"{stage}.py"
    result = RESULTS.get(stage, f"{stage.capitalize()}Result")
    assert source.exists()
    assert hasattr(results, result)
    assert f"-> {result}:" in source.read_text(), f"{source} answers with another class than {result}"
    assert (ROOT / "tests/unit/perennial/stages" / f"test_{stage}.py").exists()
    assert any(f'"{stage}"' in file.read_text() for file in (ROOT / "dags").glob("*.py")), f"no DAG has the task {stage}"


def test_there_is_no_stage_file_without_a_stage() -> None:
    """Every file in stages/ is a command."""
    files = {f.stem for f in (ROOT / "include/perennial/stages").glob("*.py") if not f.stem.startswith("_")}
    assert files == set(options.STAGES)


@pytest.mark.parametrize("command", options.COMMANDS)
def test_a_command_has_a_file(command: str) -> None:
    """`perennial <command>` is `commands/<command>.py`; a word of Python has a line below it, `commands/try_.py`."""
    stem = f"{command}_" if keyword.iskeyword(command) else command.replace("-", "_")
    assert (ROOT / "include/perennial/commands" / f"{stem}.py").exists()
