from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from perennial.errors import Fault, ServiceUnreachable, SettingMissing
from perennial.local import postgres
from perennial.settings import Settings


def settings(home: Path, url: str = "") -> Settings:
    return Settings.from_environment({"PERENNIAL_HOME": str(home), "PERENNIAL_POSTGRES_URL": url})


def test_the_own_server_is_reached_over_its_socket():
    """SC-01: No port is open and no password needed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # a socket's path is short
        address = postgres.address(settings(Path(home)), "airflow", "psycopg")
    assert address == f"postgresql+psycopg://postgres:@/airflow?host={home}/run"


def test_an_outside_server_keeps_its_user_and_options(tmp_path):
    """OP-05: One setting moves the databases elsewhere."""
    found = postgres.address(settings(tmp_path, "postgresql://ada:secret@db:5433?sslmode=require"), "mlflow", "psycopg")
    assert found == "postgresql+psycopg://ada:secret@db:5433/mlflow?sslmode=require"


@pytest.mark.parametrize("url", ["mysql://db", "postgresql://", "postgresql://db/airflow", "db:5432"])
def test_a_malformed_address_is_said_in_one_sentence(tmp_path, url):
    """DE-09: Two databases are needed, so the address names none."""
    with pytest.raises(SettingMissing, match="postgresql://user:password@host:port"):
        postgres.address(settings(tmp_path, url), "airflow")


def test_a_server_that_does_not_answer_is_said_in_one_sentence(tmp_path):
    """DE-09: It names the setting to check."""
    with pytest.raises(ServiceUnreachable, match="PERENNIAL_POSTGRES_URL"):
        postgres.create_databases(settings(tmp_path, "postgresql://ada:secret@127.0.0.1:1"))


def test_missing_binaries_point_to_set_up(tmp_path):
    """DE-09: Before `make setup` there is no PostgreSQL."""
    with pytest.raises(Fault, match="make setup"):
        postgres.command(settings(tmp_path))


def test_root_becomes_nobody(tmp_path, monkeypatch):
    """SC-01: PostgreSQL refuses root; a user's own server runs as the user."""
    monkeypatch.setattr(postgres, "binaries", lambda settings: Path("/pg"))
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 0)
    assert postgres.command(settings(tmp_path))[:2] == ["setpriv", "--reuid=nobody"]
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 1000)
    assert postgres.command(settings(tmp_path))[0] == "/pg/postgres"
