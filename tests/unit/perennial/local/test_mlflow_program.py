"""MLflow is started behind a login whose password only its own file and definition hold."""

from __future__ import annotations

import base64
import configparser
from pathlib import Path

import pytest

from perennial.errors import SettingMissing
from perennial.local import mlflow_program
from perennial.registry.mlflow_server import MlflowServer
from perennial.settings import Settings

ELSEWHERE = "https://mlflow.example.com"


def settings(home: Path, **given: str) -> Settings:
    return Settings.from_environment({"PERENNIAL_HOME": str(home), **{f"PERENNIAL_{name.upper()}": value for name, value in given.items()}})


def basic(login: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def test_the_password_is_generated_and_no_argument_has_it(tmp_path: Path) -> None:
    """SC-04: It is made once, for its owner; the server gets it, and the database's address, in its environment."""
    here = settings(tmp_path, postgres_url="postgresql://ada:planted@db")
    user, password = mlflow_program.login(here)
    assert (user, len(password) >= 16) == ("admin", True)
    assert mlflow_program.login(here) == (user, password)
    assert here.mlflow_password.stat().st_mode & 0o777 == 0o600
    (tmp_path / "venvs/workload/bin").mkdir(parents=True)
    (tmp_path / "venvs/workload/bin/python").touch()
    assert not {"planted", password} & set(" ".join(mlflow_program.command(here)).split())
    given = mlflow_program.environment(here)
    assert given["MLFLOW_AUTH_ADMIN_PASSWORD"] == password
    assert given["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://ada:planted@db/mlflow"
    assert len(given["MLFLOW_FLASK_SERVER_SECRET_KEY"]) >= 32


def test_the_server_reads_what_is_written_for_it(tmp_path: Path) -> None:
    """SC-04: An address with percent signs arrives as it is, a right password is remembered for a while, and only the owner reads it."""
    database = "postgresql+psycopg://postgres:@/mlflow?host=%2Frun%2Fa"
    file = mlflow_program.write_configuration(tmp_path / "mlflow", database)
    assert file.stat().st_mode & 0o777 == 0o600
    parser = configparser.ConfigParser()
    parser.read(file)
    assert parser["mlflow"]["database_uri"] == database
    assert parser.getint("mlflow", "auth_cache_ttl_seconds") > 0
    assert "password" not in file.read_text()


@pytest.mark.parametrize(
    ("given", "file", "environment", "sent"),
    [
        ({}, None, {}, {}),
        ({}, None, {"TOKEN": "abc"}, basic("admin:own")),  # the platform's own server: what a shell has is for another one
        ({"mlflow_url": ELSEWHERE}, None, {}, {}),  # our own password goes to no other server
        ({"mlflow_url": ELSEWHERE}, None, {"TOKEN": "abc"}, {"Authorization": "Bearer abc"}),
        ({"mlflow_url": ELSEWHERE}, None, {"USERNAME": "jo", "PASSWORD": "p"}, basic("jo:p")),
        ({"mlflow_url": ELSEWHERE}, "jo:p:q\n", {"TOKEN": "abc"}, basic("jo:p:q")),
        ({"mlflow_url": ELSEWHERE}, "a-token\n", {}, {"Authorization": "Bearer a-token"}),
        ({}, "jo:p", {}, basic("jo:p")),
    ],
)
def test_each_server_gets_its_own_login(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    file: str | None,
    environment: dict[str, str],
    sent: dict[str, str],
) -> None:
    """SC-04: The file that is named counts before all; the platform's own server is asked with its own password, another one with what
    MLflow's variables say."""
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    if sent != {} or given:
        mlflow_program.login(settings(tmp_path))
        settings(tmp_path).mlflow_password.write_text("own")
    if file is not None:
        (tmp_path / "login").write_text(file)
        given = {**given, "mlflow_login": str(tmp_path / "login")}
    assert MlflowServer(settings(tmp_path, **given))._login == sent


def test_a_login_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """SC-04: It names the setting and the file, and never what the file holds."""
    with pytest.raises(SettingMissing, match=r"PERENNIAL_MLFLOW_LOGIN is .*/absent, which cannot be read"):
        MlflowServer(settings(tmp_path, mlflow_login=str(tmp_path / "absent")))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingMissing, match="it is no text"):
        MlflowServer(settings(tmp_path, mlflow_login=str(tmp_path / "bytes")))
