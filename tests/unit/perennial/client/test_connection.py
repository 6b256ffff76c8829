"""Which home and store a notebook works on."""

from __future__ import annotations

from pathlib import Path

import pytest

import perennial
from perennial import client
from perennial.client import connection
from perennial.errors import SettingMissing

CHECKOUT = Path(perennial.__file__).resolve().parents[2]


def test_every_name_of_the_client_is_a_name_of_the_package():
    """`import perennial` offers what the client has, and says so to whoever lists its names."""
    assert sorted(perennial.__all__) == sorted(client.__all__)
    assert set(client.__all__) <= set(dir(perennial))
    assert perennial.train is client.train
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        perennial.trian  # noqa: B018 - the attribute is what is asked for


def test_a_notebook_finds_the_home_of_its_checkout(monkeypatch, tmp_path):
    """Wherever the notebook lies, and whatever folder it runs in."""
    for name in ("PERENNIAL_HOME", "PERENNIAL_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connection, "_named", None)
    monkeypatch.chdir(tmp_path)
    assert connection.connection().settings.home == CHECKOUT / ".perennial"
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "another"))
    assert connection.connection().settings.store == str(tmp_path / "another/store")


def test_a_home_that_is_named_brings_its_own_store(monkeypatch, tmp_path):
    """Not that of the environment, which belongs to another home; a store that is named wins."""
    monkeypatch.setenv("PERENNIAL_STORE", str(tmp_path / "of the environment"))
    assert perennial.connect(home=tmp_path / "demo").settings.store == str(tmp_path / "demo/store")
    assert perennial.connect(home=tmp_path / "demo", store=tmp_path / "given").settings.store == str(tmp_path / "given")
    assert perennial.connect().settings.store == str(tmp_path / "of the environment")


def test_a_setting_that_is_none_is_refused():
    """With the sentence that commands give."""
    with pytest.raises(SettingMissing, match="PERENNIAL_MLFLOW is no setting"):
        perennial.connect(mlflow="http://127.0.0.1:5000")


def test_airflow_is_asked_only_by_somebody(tmp_path):
    """A home without a platform has no password; nothing is made up, and no file is written."""
    here = perennial.connect(home=tmp_path)
    with pytest.raises(SettingMissing, match="airflow_login"):
        here.airflow()
    assert list(tmp_path.iterdir()) == []
    assert perennial.connect(home=tmp_path, airflow_url="http://airflow:1", airflow_login=("ann", "pw")).airflow().url == "http://airflow:1"
    assert "pw" not in repr(perennial.connect(home=tmp_path, airflow_login=("ann", "pw")))
