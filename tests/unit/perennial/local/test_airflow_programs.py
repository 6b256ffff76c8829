from __future__ import annotations

import json

import pytest

from perennial.errors import Fault
from perennial.local import airflow_programs, postgres
from perennial.settings import Settings


@pytest.fixture
def home(tmp_path):
    """A home whose airflow writes down each call, and whose database is there."""
    program = tmp_path / "venvs/airflow/bin/airflow"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n[ ! -e {tmp_path}/broken ]\n')
    program.chmod(0o755)
    (tmp_path / "logs").mkdir()
    (tmp_path / "postgres/data").mkdir(parents=True)
    (tmp_path / "postgres/data/PG_VERSION").write_text("18")
    return tmp_path


def settings(home, **given):
    return Settings.from_environment({"PERENNIAL_HOME": str(home), **given})


def calls(home):
    return (home / "calls").read_text().splitlines()


def test_the_own_database_is_brought_up_to_date_once(home):
    """DE-09: A second start does not pay for what was seen to be done."""
    airflow_programs.migrate(settings(home))
    airflow_programs.migrate(settings(home))
    assert calls(home) == ["db migrate"]


def test_a_database_made_anew_is_brought_up_to_date_again(home):
    """OP-08: Whoever removes the data folder gets an empty platform, not a broken one."""
    airflow_programs.migrate(settings(home))
    version = postgres.data_folder(settings(home)) / "PG_VERSION"
    version.unlink()
    version.write_text("18")
    airflow_programs.migrate(settings(home))
    assert len(calls(home)) == 2


def test_an_outside_database_is_looked_at_each_time(home):
    """OP-08: Nobody tells us when it was restored from a backup."""
    outside = settings(home, PERENNIAL_POSTGRES_URL="postgresql://ada@db")
    airflow_programs.migrate(outside)
    airflow_programs.migrate(outside)
    assert len(calls(home)) == 2


def test_a_migration_that_fails_is_said_and_tried_again(home):
    """DE-09, MN-18: The sentence names the log."""
    (home / "broken").touch()
    with pytest.raises(Fault, match=r"airflow-migrate\.log"):
        airflow_programs.migrate(settings(home))
    (home / "broken").unlink()
    airflow_programs.migrate(settings(home))
    assert len(calls(home)) == 2


def test_connections_for_alerts_are_handed_on(home, monkeypatch):
    """MN-09, SC-04, SY-30: Perennial's own, where they are set; nothing else of another Airflow's environment."""
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_SMTP", "smtp://ada:pw@mail.test")
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_WEBHOOK", "")
    monkeypatch.setenv("AIRFLOW_CONN_PERENNIAL_ON_CALL", "https://events.test/?form=pagerduty")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "http://other.test")
    given = airflow_programs.environment(settings(home, PERENNIAL_ALERT_MAIL_TO="a@b.c"))
    handed_on = {name: value for name, value in given.items() if name.startswith("AIRFLOW_CONN_")}
    assert handed_on == {
        "AIRFLOW_CONN_PERENNIAL_SMTP": "smtp://ada:pw@mail.test",
        "AIRFLOW_CONN_PERENNIAL_ON_CALL": "https://events.test/?form=pagerduty",
    }
    assert given["PERENNIAL_ALERT_MAIL_TO"] == "a@b.c"


def test_each_project_has_a_bundle_of_dag_files(home):
    """DE-09: Beside that of Perennial, under the name that Airflow would give to it."""
    name = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
    for folder in ("ours/dags", "theirs/dags", "without/include"):
        (home / folder).mkdir(parents=True)
    given = airflow_programs.environment(settings(home, PERENNIAL_PROJECT=f"{home}/ours,{home}/without,{home}/theirs"))
    assert [(bundle["name"], bundle["kwargs"]) for bundle in json.loads(given[name])] == [
        ("dags-folder", {}),
        ("project-ours", {"path": str(home / "ours/dags")}),
        ("project-theirs", {"path": str(home / "theirs/dags")}),
    ]
    alone = json.loads(airflow_programs.environment(settings(home))[name])
    assert [(bundle["name"], bundle["kwargs"]) for bundle in alone] == [("dags-folder", {})]
