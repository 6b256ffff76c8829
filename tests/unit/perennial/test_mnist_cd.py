"""The page that lists the parts of a usual continuous-deployment example: what it names is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from perennial import cli

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "mnist-cd.md"
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.read_text().splitlines()
    if line.startswith("|") and "`" in line
]
CHEAP = ("land", "show", "rollback")  # take seconds and need no server


def code(cell: str) -> str:
    (found,) = re.findall(r"`([^`]+)`", cell)
    return found


def test_the_page_has_every_part_of_such_a_project() -> None:
    """SY-11: Data, network, training, tests, requirements, image, deployment, CI file and what to read."""
    parts = " ".join(part for part, _, _ in ROWS)
    for part in ("data/", "models/", "src/data.py", "src/model.py", "src/train.py", "src/utils.py", "tests/", "requirements.txt"):
        assert f"`{part}`" in parts
    for part in ("README.md", "build_and_push.sh", "deploy.sh", "cloudbuild.yaml"):
        assert f"`{part}`" in parts


@pytest.mark.parametrize(("part", "file", "command"), ROWS)
def test_a_part_is_there_and_its_command_is_one(part: str, file: str, command: str) -> None:
    """SY-11: The file exists; `perennial` takes the arguments, or the Makefile has the target and reads the variables."""
    assert (ROOT / code(file)).is_file()
    program, *arguments = shlex.split(code(command))
    if program == "perennial":
        cli._parser().parse_args(arguments)  # ends the test where it takes no such arguments
    elif program == "make":
        makefile, (target, *variables) = (ROOT / "Makefile").read_text(), arguments
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE)
        assert all(f"$({variable.partition('=')[0]})" in makefile for variable in variables)
    else:
        assert (program, (ROOT / arguments[0]).is_file()) == ("bash", True)


def test_the_cheap_commands_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """SY-11: In the order of the page: images land, and where nothing was trained yet a sentence says so."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    said: dict[str, str] = {}
    for _, _, command in ROWS:
        program, *arguments = shlex.split(code(command))
        if program == "perennial" and arguments[0] in CHEAP:
            cli.main(arguments)
            told = capsys.readouterr()
            said[" ".join(arguments)] = told.out + told.err
            assert "Traceback" not in said[" ".join(arguments)]
    assert len(said) == 5
    assert "Landed 12 files of digits with 1,200 rows" in said["land digits --from 2024-01-01 --to 2024-01-12"]
    assert "digits" in said["show models"]
    assert "digits" in said["rollback --model digits"]
