from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from perennial.local.container import Logs, StatusServer, environment, name_of
from perennial.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home in which nothing runs."""
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "home")})


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[tuple[Path, io.StringIO, Logs]]:
    """A folder with one log that was written by an earlier container."""
    (tmp_path / "envoy.log").write_text("old\n")
    out = io.StringIO()
    return tmp_path, out, Logs(tmp_path, out)


def test_the_command_gets_what_supervisord_keeps_back() -> None:
    """OP-07: Airflow's, the platform's and Python's variables reach the command; supervisord's own and the rest do not."""
    given = environment({"AIRFLOW__CORE__X": "1", "PERENNIAL_HOME": "/h", "PYTHONUNBUFFERED": "1", "SUPERVISOR_X": "1", "PATH": "/bin"})
    assert json.loads(given.pop("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"))[0]["name"] == "dags-folder"
    assert given == {"AIRFLOW__CORE__X": "1", "PERENNIAL_HOME": "/h", "PYTHONUNBUFFERED": "1", "SPT_NOENV": "1"}


def test_airflow_is_told_of_the_dag_files_of_projects(tmp_path: Path) -> None:
    """OP-07, DE-09: The variable that names projects is enough; what somebody told Airflow stays."""
    (tmp_path / "ours" / "dags").mkdir(parents=True)
    outer = {"PERENNIAL_PROJECT": f"{tmp_path}/ours"}
    name = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
    assert [bundle["name"] for bundle in json.loads(environment(outer)[name])] == ["dags-folder", "project-ours"]
    assert environment({**outer, name: "[]"})[name] == "[]"
    assert [bundle["name"] for bundle in json.loads(environment({})[name])] == ["dags-folder"]


def test_a_command_is_named_after_its_words() -> None:
    """The scheduler is called the same as on one machine, wherever its program lies and with whatever options."""
    assert name_of(["/opt/bin/airflow", "scheduler", "--skip-serve-logs"]) == "airflow-scheduler"
    assert name_of(["bash", "-c", "echo 1; exec sleep 300"]) == "bash"


def test_only_what_is_new_is_shown(logs: tuple[Path, io.StringIO, Logs]) -> None:
    """OP-07: What an earlier container wrote is not shown again; each line stands behind its program's name."""
    folder, out, found = logs
    with (folder / "envoy.log").open("a") as file:
        file.write("new\n")
    found.show()
    assert out.getvalue() == "envoy | new\n"


def test_a_line_is_shown_once_it_is_whole(logs: tuple[Path, io.StringIO, Logs]) -> None:
    """OP-07: A program that is in the middle of a line does not have it cut in two."""
    folder, out, found = logs
    (folder / "serving.log").write_text("first\nsec")
    found.show()
    assert out.getvalue() == "serving | first\n"
    with (folder / "serving.log").open("a") as file:
        file.write("ond\n")
    found.show()
    assert out.getvalue() == "serving | first\nserving | second\n"


def test_a_log_that_began_anew_is_shown_from_its_start(logs: tuple[Path, io.StringIO, Logs]) -> None:
    """OP-07: supervisord renames a log that is full and begins another."""
    folder, out, found = logs
    (folder / "envoy.log").rename(folder / "envoy.log.1")
    (folder / "envoy.log").write_text("begins\n")
    found.show()
    assert out.getvalue() == "envoy | begins\n"


def test_a_machine_without_supervisor_is_not_well(settings: Settings) -> None:
    """OP-08: The health check says why, with a status that every checker takes for a failure."""
    server = StatusServer(("127.0.0.1", 0), settings)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/health", timeout=60)
        with refused.value as answer:
            assert answer.code == 503
            assert b"does not run" in answer.read()
    finally:
        server.shutdown()
        server.server_close()
