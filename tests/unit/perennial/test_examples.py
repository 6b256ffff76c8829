"""The examples at the top of the modules of `perennial` can be pasted: Python behind `>>>`, commands behind `$`."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest

import perennial
from perennial import cli

COMMAND = r"^ *\$ perennial (.*)$"
ROOT = Path(perennial.__file__).parent
WITH_EXAMPLES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if re.search(r"^ *>>> ", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_an_example_does_what_it_shows(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line runs, in an empty folder, and prints what stands below it."""
    monkeypatch.chdir(tmp_path)
    parts = ("perennial", *path.with_suffix("").parts)
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    shown = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert shown.attempted
    assert shown.failed == 0


DOCUMENTS = sorted(path.name for path in (ROOT.parents[1] / "docs").glob("*.md") if re.search(r"^ *>>> ", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_an_example_of_a_page_does_what_it_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page works through runs from its top to its end."""
    monkeypatch.chdir(tmp_path)
    page = str(ROOT.parents[1] / "docs" / name)
    shown = doctest.testfile(page, module_relative=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, encoding="utf-8")
    assert shown.attempted
    assert shown.failed == 0


WITH_COMMANDS = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if re.search(COMMAND, path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=str)
def test_a_command_that_is_shown_is_one(path: Path) -> None:
    """The command exists, and has the arguments that are shown, and all that it needs."""
    lines = re.findall(COMMAND, (ROOT / path).read_text(), re.MULTILINE)
    for line in lines:
        assert cli._parser().parse_args(shlex.split(line, comments=True)).module == line.split()[0]


def test_every_stage_and_command_shows_how_it_is_given() -> None:
    """Its module begins with a line that can be pasted."""
    modules = [path.relative_to(ROOT) for room in ("stages", "commands") for path in (ROOT / room).glob("[!_]*.py")]
    assert not [str(path) for path in modules if path not in WITH_COMMANDS]
