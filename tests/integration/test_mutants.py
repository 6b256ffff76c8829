"""`make mutants` and its part of `make check`: what it counts, what it refuses, what it leaves alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "mutants"
SOURCE = """\"\"\"A limit.\"\"\"

LIMIT = 8


def is_late(minutes: int) -> bool:
    \"\"\"Whether it is late.\"\"\"
    return minutes >= LIMIT
"""
TEST = """from perennial.lateness import is_late


def test_the_border():
    assert is_late({})
    assert not is_late(7)
"""
MODULES = """
MODULES = {"lateness": _mirrored("lateness")}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one module that decides, its test, and a commit."""
    root = tmp_path / "project"
    shutil.copytree(TOOL, root / "tests/mutants", ignore=shutil.ignore_patterns("__pycache__"))
    modules = root / "tests/mutants/modules.py"
    modules.write_text(modules.read_text().partition("MODULES = {")[0] + MODULES)
    (root / "tests/mutants/survivors.toml").write_text("")
    for path, text in (
        ("include/perennial/__init__.py", ""),
        ("include/perennial/lateness.py", SOURCE),
        ("tests/unit/perennial/test_lateness.py", TEST.format(8)),
        ("tests/conftest.py", 'import sys\n\nsys.path.insert(0, "include")\n'),
        ("pytest.ini", "[pytest]\naddopts = --import-mode=importlib\n"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root, "init", "--quiet", "--initial-branch=main")
    commit(root)
    return root


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *arguments], cwd=root, check=True)


def commit(root: Path) -> None:
    git(root, "add", "include", "tests", "pytest.ini")
    git(root, "commit", "--quiet", "--message=.")


def mutants(root: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and all that was said."""
    done = subprocess.run(
        [sys.executable, "tests/mutants/run.py", *arguments],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "PERENNIAL_HOME": str(root.parent / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_test_that_sees_both_sides_of_a_border_kills_all(project: Path) -> None:
    """Another limit, its half and its double, `>` for `>=`: all are noticed, and no file of the project is written."""
    before = sorted(project.rglob("*"))
    code, said = mutants(project)
    assert code == 0, said
    assert said.splitlines()[1].split()[:5] == ["lateness", "5", "5", "0", "100.0%"]
    assert sorted(project.rglob("*")) == before


def test_a_survivor_is_told_until_it_is_listed_with_a_reason(project: Path) -> None:
    """It is shown as a diff and handed over as an entry to fill in; a reason settles it, but too few killed are refused all the same."""
    (project / "tests/unit/perennial/test_lateness.py").write_text(TEST.format(9))
    code, said = mutants(project)
    assert code == 1
    assert "- return minutes >= LIMIT\n+ return minutes > LIMIT" in said
    assert "at least 90% must be" in said
    entries = (project.parent / "home/mutants/lateness.toml").read_text()
    listed = project / "tests/mutants/survivors.toml"
    listed.write_text(entries)
    assert "gives no reason" in mutants(project)[1]
    listed.write_text(entries.replace('reason = ""', 'reason = "eight minutes are as good as nine"'))
    code, said = mutants(project)
    assert code == 1
    assert said.splitlines()[2:] == ["lateness: 60.0% of the mutants are killed, and at least 90% must be."]
    (project / "tests/unit/perennial/test_lateness.py").write_text(TEST.format(8))
    assert "that a test now kills: take it out" in mutants(project)[1]


def test_only_lines_that_changed_are_tried_with_a_check(project: Path) -> None:
    """Nothing of an old line, all of a new one, whether it is committed or not; a first commit has none to compare with."""
    assert "knows no commit before" in mutants(project, "--changed")[1]
    source = project / "include/perennial/lateness.py"
    source.write_text(SOURCE.replace("LIMIT = 8", "LIMIT = 8.0"))
    assert "4 of 4 killed" in mutants(project, "--changed")[1]
    source.write_text(SOURCE)
    git(project, "switch", "--quiet", "--create=change")
    (project / "tests/unit/perennial/test_lateness.py").write_text(TEST.format(9))
    commit(project)
    code, said = mutants(project, "--changed")
    assert (code, said.startswith("No line that can be mutated differs")) == (0, True)
    source = project / "include/perennial/lateness.py"
    source.write_text(SOURCE.replace("LIMIT = 8", "LIMIT = 8.0"))
    code, said = mutants(project, "--changed")
    assert "3 of 4 killed" in said
    assert (code, "+ LIMIT = 9.0" in said, "minutes > LIMIT" in said) == (1, True, False)


def test_a_test_that_fails_anyway_kills_nothing(project: Path) -> None:
    """Every mutant would look killed: it is refused, with what the test said."""
    (project / "tests/unit/perennial/test_lateness.py").write_text(TEST.format(3))
    code, said = mutants(project)
    assert code == 1
    assert "assert is_late(3)" in said
    assert "fail on the module as it stands, before any mutant is tried" in said


def test_what_is_not_there_is_named(project: Path) -> None:
    """A module or a test that was moved, a list that cannot be read, a module that is no Python: a sentence, and no traceback."""
    source, test = project / "include/perennial/lateness.py", project / "tests/unit/perennial/test_lateness.py"
    listed = project / "tests/mutants/survivors.toml"
    for path, text, said in (
        (listed, "[[lateness]]\nin = ''\ndiff = ''\n", "survivors.toml cannot be read ('reason')"),
        (listed, "[[", "survivors.toml cannot be read"),
        (listed, "[[delay]]\nin = ''\ndiff = ''\nreason = ''\n", "lists mutants of delay, which is no module"),
        (source, "def is_late(:\n", "include/perennial/lateness.py is no Python: line 1"),
        (test, None, "there is no tests/unit/perennial/test_lateness.py. If it was moved"),
        (source, None, "there is no include/perennial/lateness.py. If it was moved"),
    ):
        before = path.read_text()
        path.unlink() if text is None else path.write_text(text)
        code, answer = mutants(project)
        assert (code, said in answer, "Traceback" in answer) == (1, True, False), answer
        path.write_text(before)


def test_lines_that_changed_are_found_whatever_git_is_told_to_print(project: Path) -> None:
    """`diff.mnemonicPrefix` and `diff.noprefix` are settings of many."""
    source = project / "include/perennial/lateness.py"
    source.write_text(SOURCE.replace("LIMIT = 8", "LIMIT = 8.0"))
    commit(project)
    for setting in ("diff.mnemonicPrefix", "diff.noprefix"):
        git(project, "config", setting, "true")
        assert "4 of 4 killed" in mutants(project, "--changed")[1]
