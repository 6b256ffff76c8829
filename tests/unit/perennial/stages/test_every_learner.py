"""Every learner gives the same kind of version: trained, exported, measured, judged by the gate, served and made again to the last bit."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import reproduce
from perennial.data.snapshots import snapshot_at
from perennial.data.tables import Table
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.stages import evaluate, register, train
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, check_model
from perennial.training.evaluation import resampled
from perennial.training.recalibration import Recalibration, recalibrate
from perennial.training.scoring import score

LEARNERS = ("lightning", "boosted")
DATASET = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="learnt", title="Learnt", owner="tests", key=("id",), event_time="at", columns=(
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="size", type="float", nullable=True),
    Column(name="age", type="float"), Column(name="city", type="string"), Column(name="late", type="int"),
    Column(name="paid", type="float")))
"""
SPEC = """
from perennial.specs import GateSpec, ModelSpec, SplitSpec, TrainingSpec
MODEL = ModelSpec(name="by_{learner}_{task}", title="T", owner="tests", dataset="learnt", task="{task}", classes={classes}, label="{label}",
    inputs=("size", "age", "city"), learner="{learner}", slices=("city",),
    split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100), training=TrainingSpec({training}),
    gate=GateSpec(metric="{metric}", floors={{"{metric}": {floor}}}))
"""
FEATURES = """
from perennial.encoding import Category, Encoder, Number, numbers
def label(columns):
    return numbers(columns["{label}"])
def fit(columns):
    return Encoder({{"numbers": [Number.fit(columns, "size", nulls=True), Number.fit(columns, "age")],
                     "places": [Category.fit(columns, "city")]}})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
NETWORK = """
import torch
from perennial.training.module import TaskModule
class Model(TaskModule):
    def __init__(self, encoder, spec):
        super().__init__(encoder, spec)
        self.places = torch.nn.Embedding(encoder.sizes("places")[0], 2)
        self.layers = torch.nn.Linear(encoder.width("numbers") + 2, len(spec.classes) or 1)
    def forward(self, numbers, places):
        return self.layers(torch.cat([numbers, self.places(places[:, 0])], dim=1))
"""
FILES = {"lightning": {"model.py": NETWORK}, "boosted": {}}
TRAINING = {
    "lightning": "max_epochs=3, batch_size=64",
    "boosted": 'max_epochs=20, hyperparameters={"num_leaves": 7, "min_data_in_leaf": 5}',
}


class Registry(RegistryInMemory):
    """A registry that records runs too."""

    def record_run(self, manifest: Any, metrics: Any, history: Any, digest: str, *, facts: Any) -> str:
        """The run's name."""
        return f"run-{manifest.run_key}"


def rows(days: int = 20, of_a_day: int = 40) -> pa.Table:
    """Rows whose labels follow from size and city, with noise."""
    rng, count = np.random.default_rng(0), days * of_a_day
    size, city = rng.normal(10, 3, count), rng.choice(["Oslo", "Rome", "Lima"], count)
    signal = size - 10 + 4 * (city == "Rome") + rng.normal(0, 1, count)
    at = np.datetime64("2024-01-01T08:00:00", "us") + (np.arange(count) // of_a_day).astype("timedelta64[D]")
    size[::9] = np.nan
    return pa.table({
        "id": np.arange(count), "at": at, "size": pa.array(size, from_pandas=True), "age": rng.normal(40, 9, count), "city": city,
        "late": (signal > 1).astype(np.int64), "paid": 1000 + 50 * signal,
    })  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a dataset of twenty days, and a model by each learner."""
    root = tmp_path_factory.mktemp("learners")
    (root / "include/perennial_datasets").mkdir(parents=True)
    (root / "include/perennial_datasets/learnt.py").write_text(DATASET)
    with discovery.also_in(root):
        Table(FolderStore(str(root / "store")), "learnt").append(rows(), "first")
        yield root


def write_model(project: Path, learner: str, task: str = "binary", **files: str) -> str:
    """Write the folder of a model by a learner; its name."""
    folder = project / f"include/perennial_models/by_{learner}_{task}"
    folder.mkdir(parents=True, exist_ok=True)
    of_numbers = task == "regression"
    named = {
        "learner": learner,
        "task": task,
        "classes": () if of_numbers else ("on_time", "late"),
        "label": "paid" if of_numbers else "late",
    }
    named |= {"metric": "rmse" if of_numbers else "log_loss", "floor": 2000 if of_numbers else 0.69, "training": TRAINING[learner]}
    parts = {"__init__.py": "", "spec.py": SPEC.format(**named), "features.py": FEATURES.format(**named), **FILES[learner], **files}
    for name, text in parts.items():
        (folder / name).write_text(text)
    for name in [name for name in sys.modules if name.startswith(f"perennial_models.{folder.name}")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return folder.name


@pytest.fixture
def platform(project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, FolderStore, Registry]:
    """Settings, store and registry of the project."""
    registry = Registry()
    for stage in (train, evaluate, register, reproduce):
        monkeypatch.setattr(stage, "ModelRegistry", lambda _: registry)
    monkeypatch.setattr(evaluate, "resampled", partial(resampled, resamples=20))
    monkeypatch.setattr(train, "facts_of", lambda *_: None)
    return Settings(home=project / "home", store=str(project / "store")), FolderStore(str(project / "store")), registry


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_version_by_any_learner(
    project: Path,
    platform: tuple[Settings, FolderStore, Registry],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    learner: str,
    task: str,
) -> None:
    """MO-01, MO-02, MO-13, MO-15, MO-22, SE-01: One stage trains it, the gate passes it, serving gives the scores of training, it can be
    recalibrated, and `reproduce` makes it again to the last bit."""
    settings, store, registry = platform
    name = write_model(project, learner, task)
    check_model(name)
    trained = train.run(settings, store, model=name, snapshot=1)
    assert read_manifest(store, name, trained.digest).parameters.get("learner", "lightning") == learner
    measured = evaluate.run(settings, store, name, trained.digest, trained.run_id)
    passed = register.run(settings, store, model=name, digest=trained.digest, run_id=trained.run_id, evaluation=measured.evaluation)
    assert registry.version(name, "candidate").number == passed.version == 1
    folder = fetch(store, name, trained.digest, tmp_path / "version")
    assert {file.name for file in folder.iterdir()} == {
        "model.onnx", "encoder.json", "signature.json", "golden.json", "features.py", "manifest.json", "training.json"
    }  # fmt: skip
    assert Scorer(folder).replay() is None
    assert reproduce.run(settings, store, f"{name}/1") == 0
    assert "bit-equal" in capsys.readouterr().out
    table = snapshot_at(store, discovery.dataset("learnt"), 1).rows()
    columns = {column: table[column].to_numpy() for column in ("size", "age", "city")}
    before, change = score(folder, columns), Recalibration(task, 0.5, (0.0, 0.3) if task == "binary" else (7.0,))
    recalibrate(folder, change, {"fitted_days": ["2024-01-01", "2024-01-02"]})
    assert score(folder, columns) == pytest.approx(change.apply(before), rel=1e-5)
