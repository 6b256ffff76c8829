"""Recalibration end to end: real logs and tables, a real MLflow, golden rows in the serving environment, the release that follows."""

from __future__ import annotations

import json
import os
import zlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from perennial import discovery, encoding
from perennial.lineage.ledger import Ledger
from perennial.lineage.trainings import kin, last_training
from perennial.lineage.version_folder import fetch, publish, read_manifest
from perennial.registry.model_registry import ModelRegistry
from perennial.serving.prediction_log import PredictionLog
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.specs import ReleaseSpec, RetrainSpec
from perennial.stages import recalibrate
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RehearsedBackend, small_manifest, small_model, small_rows, small_version
from perennial.training.scoring import score

HOME = Path(os.environ.get("PERENNIAL_HOME", Path(__file__).parents[3] / ".perennial"))
CHANGED = {
    "retrain": RetrainSpec(recalibrate_days=7, recalibrate_judged_days=5, recalibrate_alpha=0.05, recalibrate_weight=0.01),
    "release": ReleaseSpec(steps=(50, 100), min_seconds=0, min_requests=100),
}
FIRST = date(2013, 2, 1)


class House:
    """A platform without Airflow: store, registry, ledger, a rehearsed gateway."""

    def __init__(self, root: Path, mlflow_url: str, name: str) -> None:
        self.name, self.model = name, small_model(name).model_copy(update=CHANGED)
        self.store = FolderStore(str(root / "store"))
        self.settings = Settings(home=HOME, store=str(root / "store"), mlflow_url=mlflow_url, airflow_url="http://airflow")
        self.registry, self.backend = ModelRegistry(self.settings), RehearsedBackend()
        self.ledger = Ledger(self.store, self.name)
        self.folder = small_version(root / "version", model=self.name)

    def train(self) -> str:
        """A first version, trained until the end of January, registered as candidate."""
        manifest = small_manifest(self.name, run_key="a" * 24)
        digest = publish(self.store, self.name, self.folder, manifest)
        run = self.registry.record_run(manifest, {"log_loss": 0.5}, [], digest)
        version = self.registry.register(self.name, run, digest, {"compared_with": "none"}, "# Small delays")
        self.registry.set_alias(self.name, "candidate", version.number)
        self.store.write(f"reports/{self.name}/{digest}/gate.json", b"{}")
        return digest

    def release(self) -> str:
        """Looks until the release ends."""
        for _ in range(30):
            result = Release(self.model, self.settings, self.store, self.backend, self.registry).look()
            if result.action in ("promoted", "rolled_back", "ask", "nothing"):
                return result.action
            self.backend.serve(2000)
        raise AssertionError(result)

    def serve(self, day: date, version: int, folder: Path, count: int = 300) -> float:
        """Answer flights of a day; what happens has half the log-odds of the trained scores, and more late flights. Returns the
        mean loss."""
        rng = np.random.default_rng(day.toordinal())
        rows = small_rows(count, seed=day.toordinal())
        columns = encoding.columns_from_rows(rows, list(self.model.inputs))
        trained, scores = score(self.folder, columns), score(folder, columns)
        log = PredictionLog(self.store, self.name, version)
        log.record(f"{day}", rows, scores, 1.0, body_bytes=100, event_time=f"{day}T12:00:00")
        log.segments.close()
        odds = 0.5 * np.log(trained[:, 1] / trained[:, 0]) + 1.0
        happened = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(int)
        lines = [json.dumps({"id": f"{day}-{i}", "outcome": int(happened[i]), "time": f"{day}T20:00:00+00:00"}) for i in range(count)]
        self.store.write(f"outcomes/{self.name}/{day}.jsonl", "\n".join(lines).encode())
        return float(-np.log(scores[np.arange(count), happened]).mean())


@pytest.fixture
def house(tmp_path, server, monkeypatch, request):
    """A model of the test's own in the registry that all share."""
    house = House(tmp_path, server[0].mlflow_url, f"recalibrated_{zlib.crc32(request.node.name.encode()):x}")
    monkeypatch.setattr(discovery, "model", lambda name: house.model)
    return house


def test_new_labels_give_a_version_that_is_released_and_serves_better(house, tmp_path):
    """MN-10, MO-19: From the log to the ledger; MLflow has run, gate, card and tags; the training stays the last one and the weights its
    own."""
    trained = house.train()
    assert house.release() == "promoted"
    before = [house.serve(FIRST + timedelta(days=n), 1, house.folder) for n in range(13)]
    result = recalibrate.run(house.settings, house.store, house.name, run_url="http://airflow/run")
    assert (result.outcome, result.version, result.champion) == ("done", 2, 1), result.sentence
    golden = next(check for check in result.evidence["checks"] if check["name"] == "golden")
    assert golden["sentence"] == "its golden rows match in the serving environment"

    version = house.registry.version(house.name, "candidate")
    assert (version.number, version.digest, version.tags["cause"], version.tags["recalibrates"]) == (2, result.digest, "recalibration", "1")
    assert json.loads(version.tags["parents"]) == [trained]
    run = house.registry._server.get("runs/get", run_id=result.run_id)["run"]
    figures = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert figures["candidate_loss"] < figures["champion_loss"]
    assert figures["scale"] == pytest.approx(0.5, abs=0.15)
    card = house.registry._server.get("model-versions/get", name=house.name, version="2")["model_version"]["description"]
    assert "The weights of version 1, recalibrated" in card
    assert house.registry.run_tags(house.registry.version(house.name, 1).run_id)["digest"] == trained

    assert house.release() == "promoted"
    last = house.ledger.last()
    assert (last.champion, last.versions[2], house.ledger.verify()) == (2, result.digest, [])
    folder = fetch(house.store, house.name, result.digest, tmp_path / "made")
    assert Scorer(folder).replay() is None
    after = [house.serve(FIRST + timedelta(days=n), 2, folder) for n in range(13, 20)]
    assert np.mean(after) < np.mean(before) - 0.02

    assert read_manifest(house.store, house.name, result.digest).run_key == "a" * 24
    assert last_training(house.store, house.name)[0] == trained
    assert kin(house.store, house.name, last.versions, 2) == {1, 2}


def test_looking_again_makes_nothing_more(house):
    """MN-10: Not while it waits, not on the same labels, and not where the scores fit already."""
    house.train()
    house.release()
    for n in range(13):
        house.serve(FIRST + timedelta(days=n), 1, house.folder)
    made = recalibrate.run(house.settings, house.store, house.name)
    assert made.outcome == "done", made.sentence
    assert recalibrate.run(house.settings, house.store, house.name).version == made.version  # it is told again until it is released
    assert house.release() == "promoted"
    again = recalibrate.run(house.settings, house.store, house.name)
    assert (again.outcome, again.version) == ("skipped", None)
    assert "is left as it is" in again.sentence
    assert "No label of" in recalibrate.run(house.settings, house.store, house.name).sentence
    assert [version.number for version in house.registry.versions(house.name)] == [1, 2]
