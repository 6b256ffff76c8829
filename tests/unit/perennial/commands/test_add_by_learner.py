"""`perennial add model --learner`: what is written for each learner trains as it is, on a table, a text, lists, pictures and arrays, and
without a label (`--task anomaly`)."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import onnx
import pandas
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import roc_auc_score

from perennial import discovery
from perennial.commands import add
from perennial.data.added_columns import with_added_columns
from perennial.data.landing import folder, listing
from perennial.data.readers import read_batch
from perennial.data.snapshots import latest_snapshot, table_of
from perennial.errors import TrainingRefused, UnknownName
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


def pumps() -> pandas.DataFrame:
    """Rows of twenty days whose heat follows from their flow, but for one in twenty, which is broken."""
    rng, count = np.random.default_rng(3), 2 * ROWS
    broken = np.arange(count) % 20 == 0
    flow = rng.normal(10, 1, count) + 6 * broken * rng.choice([-1, 1], count)
    return pandas.DataFrame({
        "pump": np.arange(count) + 900, "at": pandas.Timestamp("2024-03-01 08:00") + pandas.to_timedelta(np.arange(count) // 40, unit="D"),
        "flow": flow.round(3), "heat": (30 + 2 * (flow - 10) * ~broken + rng.normal(0, 0.3, count)).round(3),
        "site": rng.choice(["Oslo", "Rome"], count),
        "note": [f"seen by {first} and later by {second} too" for first, second in rng.integers(0, 99, (count, 2))],
        "state": np.where(broken, "broken", "runs"),
    })  # fmt: skip


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


def add_model(project: Path, store: FolderStore, learner: str, label: str | None, task: str | None = None) -> ModelSpec:
    """A model of the dataset by a learner."""
    name = f"bought_{label or task}_{learner}"
    add.run(SETTINGS, store, "model", name, dataset="bought", label=label, task=task, learner=learner, project=project)
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


def trained(project: Path, store: FolderStore, spec: ModelSpec) -> tuple[pandas.DataFrame, np.ndarray]:
    """Train a version; all rows, and what it makes of them."""
    source = latest_snapshot(store, discovery.dataset("bought"))
    assert source
    version = project / "versions" / spec.name
    spec = spec.model_copy(update={"compute": ComputeSpec(cpus=1)})  # threads that wait for each other are slow beside other tests
    if spec.anomaly:
        spec = spec.model_copy(update={"anomaly": spec.anomaly.model_copy(update={"refits": 2})})
    train.fill_version_folder(version, spec, discovery.dataset("bought"), source, checkpoints=Checkpoints(project / "runs" / spec.name))
    rows = source.rows()
    return rows, score(version, {name: rows[name].to_numpy() for name in spec.inputs})


def lost_of(project: Path, store: FolderStore, spec: ModelSpec) -> float:
    """Train a version, and its loss on all rows: log loss, or rmse of a regression."""
    rows, given = trained(project, store, spec)
    wanted = discovery.model_part(spec.name, "features").label({name: rows[name].to_numpy() for name in rows.columns})
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


@pytest.mark.parametrize(
    ("learner", "label"), [("lightning", None), ("lightning", "state"), ("sklearn", None), ("sklearn", "state"), ("onnx", None)]
)
def test_a_model_without_a_label_trains_as_it_is(
    project: Path, learner: str, label: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """MO-01: `--task anomaly` writes an autoencoder, a forest or what reads a file. It keeps every promise and its budget, and finds what
    is unusual; a label is no input and measures it, where there is one."""
    sample = pumps() if label else pumps().drop(columns="state")
    sample.to_csv(project / "bought.csv", index=False)
    store = add_dataset(project, project / "bought.csv")
    capsys.readouterr()
    spec = add_model(project, store, learner, label, "anomaly")
    said, own = capsys.readouterr().out, project / "include/perennial_models" / spec.name
    assert (spec.task, spec.label, spec.learner) == ("anomaly", label or "", learner)
    assert spec.inputs == ("at", "flow", "heat", "site")
    assert "left out: note: its words would drown all other columns" in said
    assert spec.anomaly
    budget = 0.05 if label else 0.042  # as many as the label names, or five of 120 validation rows
    assert spec.anomaly.budget == budget
    assert f"budget: {budget} of the rows may raise an alarm" in said
    assert ("an input all the same: flow: suspicious: it alone tells 100 % of state" in said) == bool(label)
    assert spec.gate.floors == ({"roc_auc": 0.5} if label else {})
    assert ("label: a row was an anomaly where state is broken, and none where it is runs" in said) == bool(label)
    if learner == "onnx":
        assert "its output is `scores` float32 [rows, 1], higher where a row is less usual" in (own / "README.md").read_text()
        bring(spec, own)
    check_model(spec.name)
    if learner != "onnx":
        rows, given = trained(project, store, spec)
        assert given[:, 1].mean() == pytest.approx(0.05, abs=0.03)
        assert roc_auc_score(pumps()["state"] == "broken", given[rows["pump"].argsort(), 0]) > 0.9
    if label:
        measured = discovery.model_part(spec.name, "features").label({"state": np.array(["runs", "broken", None], dtype=object)})
        np.testing.assert_array_equal(measured, [0.0, 1.0, np.nan])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"learner": "boosted"}, "--learner boosted learns from labels, and an anomaly model has none: take lightning, sklearn or onnx"),
        ({"labels": "bought"}, "An anomaly model learns from rows without labels: leave out --labels"),
        ({"dataset": None}, r"Say what the model learns from: --dataset NAME\."),
        ({"label": "note"}, r"note is a column of type text"),
        ({"label": "flow"}, r"flow has \d+ values in .*, and whether a row is an anomaly is one of two"),
    ],
)
def test_what_an_anomaly_model_cannot_be_made_of_is_said(project: Path, asked: dict[str, str], words: str) -> None:
    """MO-01: One sentence, and nothing is written."""
    pumps().to_csv(project / "bought.csv", index=False)
    store = add_dataset(project, project / "bought.csv")
    with pytest.raises(UnknownName, match=words):
        add.run(SETTINGS, store, "model", "bought_odd", project=project, **{"dataset": "bought", "task": "anomaly", **asked})
    assert not (project / "include/perennial_models/bought_odd").exists()


def test_words_alone_are_nothing_for_an_autoencoder(project: Path) -> None:
    """MO-01: It needs a number; the sentence says what takes words."""
    pumps()[["pump", "site"]].assign(kind=np.arange(2 * ROWS) % 3).astype({"kind": str}).replace(
        {"kind": {"0": "a", "1": "b", "2": "c"}}
    ).to_csv(project / "bought.csv", index=False)
    store = add_dataset(project, project / "bought.csv")
    with pytest.raises(UnknownName, match=r"site, kind of bought hold words alone, .*: --learner sklearn takes them"):
        add_model(project, store, "lightning", None, "anomaly")
    check_model(add_model(project, store, "sklearn", None, "anomaly").name)


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
