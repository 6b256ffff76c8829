"""What was stored before formats changed still opens: a store and a registry that an earlier code wrote."""

import shutil
import tarfile
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest

from perennial import discovery
from perennial.data.receipts import receipts
from perennial.data.snapshots import latest_snapshot, snapshot_at
from perennial.data.tables import Table
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.profiles.store import ProfileStore
from perennial.registry.model_registry import ModelRegistry
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.stages import validate
from perennial.store import FolderStore
from perennial.testing import mlflow_server
from perennial.training.scoring import score

STORED = Path(__file__).parents[1] / "fixtures" / "stored-0.1.0.tar.xz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The store and the registry's database, unpacked."""
    place = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED) as file:
        file.extractall(place, filter="data")
    return place


@pytest.fixture(scope="module")
def store(folder):
    """The store."""
    return FolderStore(str(folder / "store"))


def test_a_table_its_snapshots_and_receipts_open(store):
    """DM-06: every row of the newest and of an older snapshot, and what became of each file."""
    digits = discovery.dataset("digits")
    newest = latest_snapshot(store, digits)
    assert (newest.version, newest.count(), len(newest.rows())) == (16, 1600, 1600)
    assert snapshot_at(store, digits, 14).count() == 1400
    assert newest.newest() == datetime(2024, 1, 16, 1, 39)
    outcomes = [receipt.outcome for receipt in receipts(store, "digits")]
    assert (outcomes.count("appended"), len(outcomes)) == (16, 17)


def test_the_ledger_holds_and_says_who_served(store):
    """SC-03: the chain is whole, and its last entry is the promotion of version 2."""
    ledger = Ledger(store, "digits")
    assert ledger.verify() == []
    kinds = ["started", "released", "started", "weights", "weights", "weights", "promoted"]
    assert [entry.kind for entry in ledger.entries()] == kinds
    last = ledger.last()
    assert (last.kind, last.champion, last.last_good) == ("promoted", 2, 1)


def test_no_training_follows_from_a_newer_program(store, folder, monkeypatch):
    """MO-19: the snapshot that the last version was trained on is known as the same one, whatever names its content now."""
    last = Ledger(store, "digits").last()
    trained = read_manifest(store, "digits", last.versions[last.champion])
    monkeypatch.setattr(validate, "code_digest", lambda _: trained.code_digest)
    monkeypatch.setattr(validate, "lock_digest", lambda: trained.lock_digest)
    result = validate.run(Settings(home=folder, store=store.root), store, "digits")
    assert result.outcome == "skipped", result.sentence
    assert "othing new" in result.sentence


def test_version_folders_are_as_they_were_sealed_and_score(store, tmp_path):
    """MO-17: each file has the digest that its manifest names, and the newest version scores a row."""
    last = Ledger(store, "digits").last()
    for digest in last.versions.values():
        manifest = read_manifest(store, "digits", digest)
        assert manifest.dataset == "digits"
        version = fetch(store, "digits", digest, tmp_path / digest)
    rows = latest_snapshot(store, discovery.dataset("digits")).rows().tail(50)
    scores = score(version, {name: rows[name].to_numpy() for name in discovery.model("digits").inputs})
    assert (scores.argmax(axis=1) == rows["digit"]).mean() > 0.8


def test_predictions_outcomes_and_profiles_open(store):
    """SE-13, MN-03: what was answered, what became of it, and what was counted."""
    predictions = Table(store, "digits_predictions").scan()
    assert predictions.num_rows >= 200
    assert pc.count_distinct(predictions["prediction_id"]).as_py() >= 200
    assert Table(store, "digits_outcomes").scan().num_rows == 150
    kept = ProfileStore(store, "digits")
    assert kept.layout() is not None
    assert int(kept.read().rows().sum()) == 1600
    assert Watch.load(store, "digits", 2).champion == 1


def test_incidents_open(store):
    """MN-11: with the verdict that a person gave."""
    (incident,) = Incidents(store, "digits").all()
    assert (incident.kind, incident.key, incident.verdict, incident.by) == ("drift", "p21", "known", "jo")


def test_the_registry_opens(folder, store):
    """MO-11: versions, roles and content addresses are those of the ledger."""
    shutil.copy(folder / "registry.db", folder / "mlflow.db")
    with mlflow_server(folder) as settings:
        versions = ModelRegistry(settings).versions("digits")
    assert {version.number: version.digest for version in versions} == Ledger(store, "digits").last().versions
    assert {alias for version in versions for alias in version.aliases} == {"champion", "last_good"}
