"""A newcomer with three public tables: the commands of the README, and those that they print, end with versions that serve from a project.

On the platform of `digits` (conftest.py), after the tests that need it as it was. At the end the platform is upgraded; the project is not.
"""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.newcomer import Newcomer, tables
from tests.upgraded import LATER, environments_of, later_checkout

from perennial.local import stack
from perennial.registry.model_registry import ModelRegistry
from perennial.testing import wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is what a newcomer asks with: apt-get install curl"),
]
TASKS = {"tumours": "binary", "sugar": "regression", "wine": "multiclass"}


@pytest.fixture(scope="module")
def newcomer(digits, tmp_path_factory):
    return Newcomer(digits.settings, tmp_path_factory.mktemp("newcomer") / "my-models")


@pytest.fixture(scope="module")
def commands(newcomer, tmp_path_factory):
    """What the trial of each table says comes next, all of which but the question has been done, in order."""
    files = tables(tmp_path_factory.mktemp("files"))
    with ThreadPoolExecutor(2) as both:
        commands = dict(zip(files, (said[1] for said in both.map(newcomer.tries, files.values())), strict=True))
    for new, export, take_in, _, _, _ in commands.values():  # for the second table the project is there already
        newcomer.does(new)
        newcomer.does(export)
        newcomer.does(take_in)
    newcomer.does(next(iter(commands.values()))[3])
    for *_, land, _ in commands.values():
        newcomer.does(land)
    return commands


@pytest.fixture(scope="module")
def answers(newcomer, commands):
    """What each version answers to the request that the trial of its table wrote."""
    return {name: newcomer.asks_until_answered(curl, 900) for name, (*_, curl) in commands.items()}


@pytest.mark.parametrize("name", TASKS)
def test_a_table_becomes_a_served_version_by_the_commands_alone(answers, digits, name):
    """MO-25, DM-16: Two classes, a number, and three classes with a column that names rows; no time, in three forms of file. Its gate let
    the version in, and it is the champion."""
    names, scores = (answers[name]["data"][field] for field in ("names", "ndarray"))
    classes = {"binary": 2, "regression": 1, "multiclass": 3}[TASKS[name]]
    assert len(names) == classes
    assert len(scores) == 5
    assert all(len(row) == classes for row in scores)
    if classes > 1:
        assert [sum(row) for row in scores] == pytest.approx([1.0] * 5, abs=1e-4)
    assert answers[name]["meta"]["tags"]["model"] == name
    registry = ModelRegistry(digits.settings)  # which is told of it once it has the traffic
    assert wait_until(lambda: registry.version(name, "champion"), 300, f"the champion of {name}").number == 1


def test_a_project_s_own_dags_run_with_its_operators(answers, digits):
    """DE-01, DE-09: Airflow shows them beside the platform's, and a run of one imports the operator from the project."""
    run = digits.api.trigger("my_models_names")
    assert digits.api.wait(run, 300).state == "success"
    log = "\n".join(digits.api.log(run, "name_models"))
    assert "sugar" in log
    assert digits.api.import_errors() == []


def test_the_platform_is_upgraded_and_the_project_stays_as_it_is(answers, commands, newcomer, digits, tmp_path):
    """OP-08, DE-09: Another checkout takes over: what served answers the same, what is stored opens, and nothing in the project changed."""
    git = ["git", "-C", str(newcomer.project), "-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "Three tables."], check=True)
    checkout = later_checkout(tmp_path)
    venvs: Path = digits.settings.home / "venvs"
    later = environments_of(checkout, venvs.resolve(), tmp_path / "venvs")
    newcomer.does("perennial down")
    venvs.unlink()
    venvs.symlink_to(later)
    perennial = venvs / "workload/bin/perennial"
    newcomer.does(f"{perennial} up")
    try:
        assert LATER in digits.api.until(lambda: described(digits, "sugar_rollback"), "the manual of the later version", 300)
        for name, (*_, curl) in commands.items():
            again = newcomer.asks_until_answered(curl, 300)
            assert again["data"] == answers[name]["data"]
            assert again["meta"]["tags"] == answers[name]["meta"]["tags"]
        for question in ("verify", "ledger verify", "show versions sugar", "show lineage sugar"):
            newcomer.does(f"{perennial} {question}")
        repeated = newcomer.does(f"{perennial} reproduce wine/1")  # by the code of the project, under the later platform
        assert "is bit-equal" in repeated
        assert "Not the same as then" not in repeated
        changed = subprocess.run([*git, "status", "--porcelain"], check=True, capture_output=True, text=True).stdout
        assert changed == ""
    finally:
        stack.stop(digits.settings)


def described(digits, dag):
    """The manual of a DAG if it is the later version's."""
    manual = digits.api._ask("GET", f"/dags/{dag}/details")["doc_md"]
    return manual if LATER in manual else None
