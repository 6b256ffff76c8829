"""`perennial add model --learner`: what is written for each learner trains as it is, on a table, a text, lists, pictures and arrays."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pandas
import pytest
from onnx import TensorProto, helper, numpy_helper

import perennial_datasets
import perennial_models
from perennial import discovery
from perennial.commands import add
from perennial.data.added_columns import with_added_columns
from perennial.data.landing import folder, listing
from perennial.data.readers import read_batch
from perennial.data.snapshots import latest_snapshot, table_of
from perennial.errors import TrainingRefused, UnknownName
from perennial.quality import suites
from perennial.settings import Settings
from perennial.specs import ComputeSpec, ModelSpec
from perennial.stages import train
from perennial.store import FolderStore
from perennial.testing import check_model
from perennial.training.checkpoints import Checkpoints
from perennial.training.scoring import score

SETTINGS = Settings(store="unused")
ROWS = 400
LEARNERS = ("boosted", "sklearn", "onnx")


def table() -> pandas.DataFrame:
    """Rows of twenty days whose labels follow from the hour, a number and a word."""
    rng = np.random.default_rng(1)
    at = pandas.Timestamp("2024-03-01") + pandas.to_timedelta(np.sort(rng.integers(0, 20 * 86400, ROWS)), unit="s")
    size, channel = rng.integers(1, 20, ROWS), rng.choice(["web", "shop", "phone"], ROWS)
    late = rng.random(ROWS) < np.where(at.hour >= 12, 0.9, 0.1)
    return pandas.DataFrame({
        "order": np.arange(ROWS) + 10_000, "at": at, "size": size, "net weight": np.where(rng.random(ROWS) < 0.1, np.nan, size / 3 + 1),
        "channel": channel, "total": (4000 + 150.0 * size + 700 * (channel == "web") + rng.normal(0, 120, ROWS)).round(2),
        "late": np.where(late, "late", "on time"), "kind": np.where(size > 12, "large", np.where(channel == "web", "sent", "fetched")),
    })  # fmt: skip


def prose() -> pandas.DataFrame:
    """Rows with a text and two lists that say what the label is."""
    rng = np.random.default_rng(2)
    bad = rng.random(ROWS) < 0.5
    filler = rng.choice(["the", "box", "came", "on", "monday", "again", "there"], (ROWS, 5))
    review = [f"{' '.join(some)} {'awful and broken' if is_bad else 'lovely and quick'}" for some, is_bad in zip(filler, bad, strict=True)]
    return pandas.DataFrame({
        "row": np.arange(ROWS) + 500, "review": review, "sizes": [rng.normal(3 * b, 1, 3).round(2).tolist() for b in bad],
        "tags": [["red", "old"] if b else ["new"] for b in bad], "mood": np.where(bad, "bad", "good"),
    })  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout to which things are added."""
    for package in (perennial_datasets, perennial_models):
        monkeypatch.setattr(package, "__path__", [str(tmp_path / "include" / package.__name__), *package.__path__])
    (tmp_path / "great_expectations").mkdir()
    monkeypatch.setattr(suites, "folder", lambda: tmp_path / "great_expectations")
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith(("perennial_models.bought", "perennial_datasets.bought"))]:
        del sys.modules[name]


def add_dataset(project: Path, sample: Path) -> FolderStore:
    """A dataset after a sample, which is then in its table."""
    store = FolderStore(str(project / "store"))
    add.run(SETTINGS, store, "dataset", "bought", sample=sample, project=project)
    importlib.invalidate_caches()
    dataset = discovery.dataset("bought")
    store.upload(sample, f"{folder('bought')}/{sample.name}")
    (landed,) = listing(store, "bought")
    table_of(store, dataset).append(with_added_columns(read_batch(sample, dataset), dataset, landed, 0), "a" * 64)
    return store


def add_model(project: Path, store: FolderStore, learner: str, label: str) -> ModelSpec:
    """A model of the dataset by a learner."""
    name = f"bought_{label}_{learner}"
    add.run(SETTINGS, store, "model", name, dataset="bought", label=label, learner=learner, project=project)
    importlib.invalidate_caches()
    return discovery.model(name)


def bring(spec: ModelSpec, folder: Path) -> None:
    """Write a linear model of the first tensor that the model card names; the card says its kind and width too."""
    name, width = re.search(r"inputs are `(\w+)` float32 \[rows, (\d+)\]", (folder / "README.md").read_text()).groups()
    outputs = max(1, len(spec.classes))
    weights = np.zeros((int(width), outputs), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "w"], ["product"]), helper.make_node("Add", ["product", "b"], ["scores"])], "linear",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", int(width)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", outputs])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.linspace(0.5, 1, outputs).astype(np.float32), "b")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "model.onnx"))


def lost_of(project: Path, store: FolderStore, spec: ModelSpec) -> float:
    """Train a version, and its loss on all rows: log loss, or rmse of a regression."""
    source = latest_snapshot(store, discovery.dataset("bought"))
    assert source
    version = project / "versions" / spec.name
    spec = spec.model_copy(update={"compute": ComputeSpec(cpus=1)})  # threads that wait for each other are slow beside other tests
    train.fill_version_folder(version, spec, discovery.dataset("bought"), source, checkpoints=Checkpoints(project / "runs" / spec.name))
    rows = source.rows()
    columns = {name: rows[name].to_numpy() for name in rows.columns}
    wanted = discovery.model_part(spec.name, "features").label(columns)
    given = score(version, {name: columns[name] for name in spec.inputs})
    if spec.task == "regression":
        return float(np.sqrt(np.mean((given[:, 0] - wanted) ** 2)))
    return float(-np.log(given[np.arange(len(wanted)), wanted.astype(int)]).mean())


@pytest.mark.parametrize("label", ["late", "kind", "total"])
@pytest.mark.parametrize("learner", LEARNERS)
def test_what_is_written_for_a_learner_trains_as_it_is(project: Path, learner: str, label: str, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-01, MO-02: Two classes, more and a regression; it keeps every promise and is better than the simplest rule. A file of ONNX is
    asked for by name, place and inputs, and refused while it is not there."""
    table().to_csv(project / "bought.csv", index=False)
    store = add_dataset(project, project / "bought.csv")
    capsys.readouterr()
    spec = add_model(project, store, learner, label)
    assert (spec.learner, spec.label) == (learner, label)
    own = project / "include/perennial_models" / spec.name
    assert (own / "model.py").exists() == (learner == "sklearn")
    said = capsys.readouterr().out
    if learner == "onnx":
        assert f"Put model.onnx into include/perennial_models/{spec.name}/" in said
        assert "Its inputs are `numbers` float32 [rows, " in said
        with pytest.raises(TrainingRefused, match=r"model\.onnx is not in its folder\. Next: put it there"):
            lost_of(project, store, spec)
        bring(spec, own)
    check_model(spec.name)
    floor = next(iter(spec.gate.floors.values()))
    lost = lost_of(project, store, spec)
    assert np.isfinite(lost) if learner == "onnx" else lost < 0.7 * floor


@pytest.mark.parametrize("learner", LEARNERS)
def test_texts_and_lists_are_read_by_every_learner(project: Path, learner: str) -> None:
    """DM-13, MO-01: Of a text how often each word comes, of a list its elements: trees and estimators take them as columns."""
    prose().to_json(project / "bought.jsonl", orient="records", lines=True)
    store = add_dataset(project, project / "bought.jsonl")
    spec = add_model(project, store, learner, "mood")
    assert spec.inputs == ("review", "sizes", "tags")
    if learner == "onnx":
        assert "`text_0` int64 [rows, 256]" in (project / "include/perennial_models/bought_mood_onnx/README.md").read_text()
        return
    check_model(spec.name)
    assert lost_of(project, store, spec) < 0.2


@pytest.mark.parametrize(("side", "refused"), [(4, ""), (100, "heat holds 10,000 numbers, and boosted takes each as a column of its own")])
def test_an_array_is_read_as_columns_as_far_as_that_goes(project: Path, side: int, refused: str) -> None:
    """MO-01: A small array is columns of trees; for a large one a sentence says which learner reads it."""
    rng = np.random.default_rng(0)
    kind = np.arange(60) % 2
    heat = rng.normal(size=(60, side, side)).astype(np.float32) + 2 * kind[:, None, None]
    np.savez(project / "bought.npz", heat=heat, kind=kind, id=np.arange(60) + 500)
    store = add_dataset(project, project / "bought.npz")
    if refused:
        with pytest.raises(UnknownName, match=f"{refused}.* --learner lightning has layers for it"):
            add_model(project, store, "boosted", "kind")
        return
    for learner in ("boosted", "sklearn"):
        spec = add_model(project, store, learner, "kind")
        check_model(spec.name)
        assert lost_of(project, store, spec) < 0.3
