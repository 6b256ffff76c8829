"""`perennial status` says what runs, and what does not go on."""

from __future__ import annotations

import pytest

from perennial import cli
from perennial.commands import status
from perennial.discovery import Broken
from perennial.lineage.ledger import Ledger
from perennial.local.supervisor import Program
from perennial.store import FolderStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The store of a platform that runs."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setattr(status.stack, "state", lambda settings: {"gateway": Program("gateway", "RUNNING", 7, None)})
    monkeypatch.setattr(status.stack, "silent", lambda *given: set())
    monkeypatch.setattr(status.routes, "released", lambda store: ())
    monkeypatch.setattr(status.discovery, "broken", lambda: [Broken("dataset", "fares", "it is empty", "fares.py")])
    return FolderStore(str(tmp_path / "store"))


def test_what_is_broken_or_serves_without_its_folder_is_said(store, capsys):
    """MN-18: A person who asks need not open Airflow; a model that was taken down is no such one."""
    ledger = Ledger(store, "renamed")
    common = {"version": 3, "versions": {3: "a" * 64}, "reason": "r", "actor": "jo"}
    ledger.append("released", champion=3, weights={3: 10_000}, after_seq=None, **common)
    assert cli.main(["status"]) == 0
    said = capsys.readouterr().out
    assert "The dataset fares is broken: it is empty (fares.py)." in said
    assert "renamed still serves version 3, and perennial_models/renamed is gone" in said
    ledger.append("rolled_back", champion=None, weights={}, after_seq=0, **common)
    assert cli.main(["status"]) == 0
    assert "renamed" not in capsys.readouterr().out
