"""What was stored before formats changed still opens: stores and registries that earlier code wrote, and what the code of now writes."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from perennial import discovery
from perennial.data.receipts import receipts
from perennial.data.snapshots import latest_snapshot, snapshot_at
from perennial.data.tables import Table
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.monitoring.report.numbers import decoded
from perennial.profiles.store import ProfileStore
from perennial.registry.model_registry import ModelRegistry
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages import validate
from perennial.store import FolderStore
from perennial.testing import mlflow_server
from perennial.training.scoring import score

from ..fixtures import make_stored

pytestmark = pytest.mark.timeout(1200)  # two trainings, a registry and a dozen validations, where the machine has others to run

FIXTURES = Path(__file__).parents[1] / "fixtures"
NOW = "as it is written now"
STORED = [*sorted(file.name for file in FIXTURES.glob("stored-*.tar.xz")), NOW]
# What a file that brings no facts of its own holds.
FACTS: dict[str, Any] = {
    "stored-0.1.0.tar.xz": {
        "versions_of_the_table": 16,
        "rows": 1600,
        "newest": "2024-01-16T01:39:00",
        "receipts": {"appended": 16, "refused": 1},
        "ledger": ["started", "released", "started", "weights", "weights", "weights", "promoted"],
        "champion": 2,
        "last_good": 1,
        "predictions": 1200,
        "prediction_ids": 300,
        "outcomes": 150,
        "profiled_rows": 1600,
        "incidents": [["drift", "p21", "known", "jo"]],
        "removed": [],
        "reports": ["reports/digits/windows/2024-01-15_2024-01-17/report.json"],
    }
}


@dataclass(frozen=True)
class Stored:
    """A store and a registry as some state of the project left them, and what must be found in them."""

    folder: Path
    store: FolderStore
    facts: dict[str, Any]

    @property
    def spec(self) -> ModelSpec:
        """The model as it was then."""
        return ModelSpec.model_validate(self.facts["spec"]) if "spec" in self.facts else discovery.model("digits")

    @property
    def champion(self) -> str:
        """Digest of the version that has all traffic."""
        last = Ledger(self.store, "digits").last()
        assert last is not None
        return last.versions[last.champion]


@pytest.fixture(scope="module", params=STORED)
def stored(request, tmp_path_factory):
    """Each of them, unpacked once."""
    folder = tmp_path_factory.mktemp("stored")
    if request.param == NOW:
        make_stored.make(folder)
    else:
        with tarfile.open(FIXTURES / request.param) as file:
            file.extractall(folder, filter="data")
    noted = folder / "facts.json"
    facts = json.loads(noted.read_text()) if noted.is_file() else FACTS[request.param]
    return Stored(folder, FolderStore(str(folder / "store")), facts)


def test_a_table_its_snapshots_and_receipts_open(stored):
    """DM-06: every row of the newest and of an older snapshot, and what became of each file."""
    digits, facts = discovery.dataset("digits"), stored.facts
    newest = latest_snapshot(stored.store, digits)
    assert (newest.version, newest.count(), len(newest.rows())) == (facts["versions_of_the_table"], facts["rows"], facts["rows"])
    assert newest.newest() == datetime.fromisoformat(facts["newest"])
    for entry in Ledger(stored.store, "digits").entries():
        trained = read_manifest(stored.store, "digits", entry.versions[entry.version])
        assert 0 < snapshot_at(stored.store, digits, trained.snapshot).count() <= facts["rows"]
    outcomes = [receipt.outcome for receipt in receipts(stored.store, "digits")]
    assert {outcome: outcomes.count(outcome) for outcome in set(outcomes)} == facts["receipts"]


def test_an_older_snapshot_has_the_rows_that_it_had(stored):
    """DM-06: a hundred images a day, as 0.1.0 took them in, and as many a day as each of the others did."""
    digits, batches = discovery.dataset("digits"), Table(stored.store, "digits").batches()
    rows_of_a_day = {batch.rows for batch in batches}
    assert len(rows_of_a_day) == 1
    (rows,) = rows_of_a_day
    assert snapshot_at(stored.store, digits, 4).count() == 4 * rows
    if stored.facts["rows"] == 1600:
        assert snapshot_at(stored.store, digits, 14).count() == 1400
    assert [batch.label for batch in batches if batch.removed] == stored.facts["removed"]


def test_the_ledger_holds_and_says_who_served(stored):
    """SC-03: the chain is whole, and its last entry is the promotion of version 2."""
    ledger = Ledger(stored.store, "digits")
    assert ledger.verify() == []
    assert [entry.kind for entry in ledger.entries()] == stored.facts["ledger"]
    last = ledger.last()
    assert (last.kind, last.champion, last.last_good) == ("promoted", stored.facts["champion"], stored.facts["last_good"])


def test_no_training_follows_from_a_newer_program(stored, monkeypatch):
    """MO-19: the snapshot that the last version was trained on is known as the same one, whatever names its content now."""
    trained, spec = read_manifest(stored.store, "digits", stored.champion), stored.spec
    monkeypatch.setattr(discovery, "model", lambda _: spec)
    monkeypatch.setattr(validate, "code_digest", lambda _: trained.code_digest)
    monkeypatch.setattr(validate, "lock_digest", lambda: trained.lock_digest)
    result = validate.run(Settings(home=stored.folder, store=stored.store.root), stored.store, "digits")
    assert result.outcome == "skipped", result.sentence
    assert "othing new" in result.sentence


def test_version_folders_are_as_they_were_sealed_and_score(stored, tmp_path):
    """MO-17: each file has the digest that its manifest names, and the newest version scores a row."""
    last = Ledger(stored.store, "digits").last()
    for digest in last.versions.values():
        manifest = read_manifest(stored.store, "digits", digest)
        assert manifest.dataset == "digits"
        version = fetch(stored.store, "digits", digest, tmp_path / digest)
    rows = latest_snapshot(stored.store, discovery.dataset("digits")).rows().tail(50)
    scores = score(version, {name: rows[name].to_numpy() for name in discovery.model("digits").inputs})
    chance = 0.1
    assert (scores.argmax(axis=1) == rows["digit"]).mean() > (0.8 if stored.facts["rows"] == 1600 else 2 * chance)


def test_predictions_outcomes_and_profiles_open(stored):
    """SE-13, MN-03: what was answered, what became of it, and what was counted."""
    predictions = Table(stored.store, "digits_predictions").scan()
    assert predictions.num_rows == stored.facts["predictions"]
    assert pc.count_distinct(predictions["prediction_id"]).as_py() == stored.facts["prediction_ids"]
    assert Table(stored.store, "digits_outcomes").scan().num_rows == stored.facts["outcomes"]
    kept = ProfileStore(stored.store, "digits")
    assert kept.layout() is not None
    assert int(kept.read().rows().sum()) == stored.facts["profiled_rows"]
    assert Watch.load(stored.store, "digits", 2).champion == 1


def test_reports_of_windows_open(stored):
    """MN-03: each says of which window and model it is."""
    reports = [decoded(stored.store.read(key), key) for key in stored.facts["reports"]]
    assert reports
    assert {report.model for report in reports} == {"digits"}


def test_incidents_open(stored):
    """MN-11: with the verdict that a person gave."""
    incidents = Incidents(stored.store, "digits").all()
    assert [[incident.kind, incident.key, incident.verdict, incident.by] for incident in incidents] == stored.facts["incidents"]


def test_the_registry_opens(stored):
    """MO-11: versions, roles and content addresses are those of the ledger."""
    shutil.copy(stored.folder / "registry.db", stored.folder / "mlflow.db")
    with mlflow_server(stored.folder) as settings:
        versions = ModelRegistry(settings).versions("digits")
    assert {version.number: version.digest for version in versions} == Ledger(stored.store, "digits").last().versions
    assert {alias for version in versions for alias in version.aliases} == {"champion", "last_good"}
