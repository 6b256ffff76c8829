"""A newcomer with three public tables: the commands of the README, and those that they print, end with versions that serve from a project.

One of the tables is in a database: its rows do not land by hand. On the platform of `digits` (conftest.py), after the tests that need it
as it was. At the end the platform is upgraded; the project is not.
"""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas
import psycopg
import pytest
import sqlalchemy
from tests.newcomer import Newcomer, tables
from tests.upgraded import LATER, environments_of, later_checkout

from perennial.local import stack
from perennial.local.postgres import address, socket_folder
from perennial.registry.model_registry import ModelRegistry
from perennial.testing import wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is what a newcomer asks with: apt-get install curl"),
]
IN_DATABASE = "sugar"
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
    give_source(newcomer.project / "include/perennial_datasets" / f"{IN_DATABASE}.py")
    newcomer.does(next(iter(commands.values()))[3])
    for name, (*_, land, _) in commands.items():
        if name != IN_DATABASE:
            newcomer.does(land)
    return commands


def give_source(file: Path) -> None:
    """What a person writes into the spec of a dataset whose rows are in a database."""
    text = file.read_text()
    text = text.replace("from perennial.specs import ", "from perennial.specs import SqlSource, ")
    file.write_text(text.replace("DatasetSpec(\n", f'DatasetSpec(\n    source=SqlSource(connection="lab", table="{IN_DATABASE}"),\n', 1))


@pytest.fixture(scope="module")
def collected(digits, commands, tmp_path_factory):
    """The table is in a database that Airflow has a connection to; the run that read it, and when it was asked for."""
    with psycopg.connect(address(digits.settings, "postgres"), autocommit=True) as server:
        server.execute("create database lab")
    rows = tables(tmp_path_factory.mktemp("rows"))[IN_DATABASE].file
    database = sqlalchemy.create_engine(address(digits.settings, "lab", "psycopg"))
    pandas.read_parquet(rows).to_sql(IN_DATABASE, database, index=False)
    database.dispose()
    connection = {"connection_id": "lab", "conn_type": "postgres", "login": "postgres", "schema": "lab"}
    digits.api._ask("POST", "/connections", json={**connection, "host": str(socket_folder(digits.settings))})
    asked = time.monotonic()
    return digits.api.wait(digits.api.trigger(f"{IN_DATABASE}_ingestion"), 600), asked


@pytest.fixture(scope="module")
def answers(newcomer, commands, collected):
    """What each version answers to the request that the trial of its table wrote."""
    found = {IN_DATABASE: newcomer.asks_until_answered(commands[IN_DATABASE][-1], 900)}
    print(f"{(time.monotonic() - collected[1]) / 60:.1f} minutes from a table of a database to a version that answers")
    return found | {name: newcomer.asks_until_answered(curl, 900) for name, (*_, curl) in commands.items()}


def test_rows_of_a_database_land_by_themselves(answers, collected, digits):
    """DM-01, SC-05: By a connection of Airflow's, in the task before the files are taken; once they are in, another run finds
    nothing."""
    run, _ = collected
    assert run.state == "success"
    result = digits.api.result(run, "collect")
    assert (result["rows"], result["files"]) == (442, [f"{IN_DATABASE}-00000001.parquet"])
    assert "connections.json" not in "".join(digits.api.log(run, "collect"))
    again = digits.api.wait(digits.api.trigger(f"{IN_DATABASE}_ingestion"), 300)
    assert digits.api.tasks(again)["collect"] == "skipped"
    assert digits.api.result(again, "collect")["outcome"] == "skipped"
    assert len(list(digits.store.list(f"receipts/{IN_DATABASE}"))) == 1


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
