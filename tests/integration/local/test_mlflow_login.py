"""MLflow as `perennial up` starts it, with its database, and nothing else of the platform."""

from __future__ import annotations

import base64
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import psutil
import psycopg
import pytest

from perennial.local import postgres, stack
from perennial.local.supervisor import Supervisor
from perennial.registry.mlflow_server import MlflowServer
from perennial.registry.model_registry import ModelRegistry
from perennial.settings import Settings
from perennial.store import open_store, private_folder
from perennial.testing import wait_until

pytestmark = pytest.mark.slow
# What the login keeps beside MLflow's other tables.
OF_THE_LOGIN = ("users", "roles", "role_permissions", "user_role_assignments", "alembic_version_auth")


@pytest.fixture(scope="module")
def settings(make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    """A home in which PostgreSQL and MLflow run."""
    found = make_settings()
    before = os.umask(0o077)  # as the command line does
    private_folder(found.home)
    Supervisor(found).start()
    postgres.initialise(found)
    run(found, postgres.NAME)
    postgres.create_databases(found)
    run(found, "mlflow")
    yield found
    stack.stop(found)
    os.umask(before)


def run(settings: Settings, name: str) -> None:
    """Start one program of the platform and wait until it answers."""
    part = stack._parts(settings, open_store(settings.store))[name]
    stack._add(Supervisor(settings), part)
    wait_until(part.ready, 280, name)


def status(settings: Settings, login: str) -> int:
    """The status of an answer to a question with this user and password."""
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    search = f"{settings.mlflow_url}/api/2.0/mlflow/experiments/search"
    request = urllib.request.Request(search, b'{"max_results": 1}', {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_mlflow_asks_for_its_password(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """SC-01, SC-04: Without it nothing is read or changed; with it stages and commands are let in, whatever login for another server
    somebody's shell has. It lies in its own file and in the program's definition alone, and in no command line."""
    for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(variable, "of another server")
    password = settings.mlflow_password.read_text()
    assert ModelRegistry(settings).versions("nothing") == []
    logins = ("", "admin:wrong", f"nobody:{password}", f"admin:{password}")
    assert [status(settings, login) for login in logins] == [401, 401, 401, 200]
    assert stack._get(f"{settings.mlflow_url}/health") == b"OK"
    written = [path for path in settings.home.rglob("*") if path.is_file() and not {"venvs", postgres.NAME} & set(path.parts)]
    holding = {path.relative_to(settings.home).as_posix() for path in written if password.encode() in path.read_bytes()}
    assert holding <= {"secrets/mlflow-password", "supervisor/programs/mlflow.json", "supervisor/programs/mlflow.sh"}
    assert [path for path in written if path.stat().st_mode & 0o077 and not path.is_socket()] == []
    arguments = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [argument for argument in arguments if password in argument]


def test_a_home_of_an_earlier_release_gets_a_login(settings: Settings) -> None:
    """DM-11: Its database knows no users: at its next start MLflow asks for the password and has every run that it had."""
    MlflowServer(settings).post("experiments/create", name="kept")
    Supervisor(settings).remove_program("mlflow")
    with psycopg.connect(postgres.address(settings, "mlflow"), autocommit=True) as connection:
        tables = {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        assert set(OF_THE_LOGIN) - tables == set()
        gone = {*OF_THE_LOGIN, *(name for name in tables if name.endswith("_permissions"))}
        connection.execute(f"DROP TABLE {', '.join(sorted(gone))} CASCADE")
    run(settings, "mlflow")
    found = MlflowServer(settings).get("experiments/get-by-name", experiment_name="kept")
    assert found["experiment"]["name"] == "kept"
    assert status(settings, "") == 401
