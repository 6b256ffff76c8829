"""A model without labels goes the way of all others: trained, measured, judged by the gate, served and made again to the last bit."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from perennial import discovery
from perennial.alarms import ABOVE
from perennial.commands import reproduce
from perennial.data.snapshots import snapshot_at
from perennial.data.tables import Table
from perennial.errors import CandidateRefused, TrainingRefused
from perennial.lineage.ledger import Ledger
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_folder import fetch
from perennial.monitoring.arms import wrong_by_version
from perennial.monitoring.outcomes import collect_outcomes
from perennial.monitoring.performance import losses
from perennial.monitoring.prediction_table import collect_predictions
from perennial.monitoring.scores import score_shares, watched_scores
from perennial.registry.promotion import Check, Verdict
from perennial.served_tables import predictions_name
from perennial.serving.batch import answer
from perennial.serving.scorer import Scorer, ScoringFailed
from perennial.settings import Settings
from perennial.specs import AnomalySpec
from perennial.stages import evaluate, monitor, register, train
from perennial.stages.register import _beside_champion, model_card
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, check_model, crown, small_version
from perennial.training.checkpoints import Checkpoints
from perennial.training.learners import sklearn as learner
from perennial.training.scoring import score

DATASET = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="pumps", title="Pumps", owner="tests", key=("id",), event_time="at", columns=(
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="flow", type="float"),
    Column(name="heat", type="float"), Column(name="site", type="string"), Column(name="broken", type="int", nullable=True)))
"""
SPEC = """
from perennial.specs import AnomalySpec, ComputeSpec, GateSpec, ModelSpec, SplitSpec, TrainingSpec
MODEL = ModelSpec(name="{name}", title="Pumps", owner="tests", dataset="pumps", task="anomaly", {label}
    inputs={inputs}, learner="{learner}", slices=("site",), anomaly=AnomalySpec(budget=0.05, refits=2{limits}),
    split=SplitSpec(test_days=6, validation_days=6, min_train_rows=100), compute=ComputeSpec(cpus=1),
    training=TrainingSpec(seed={seed}, {training}),
    gate=GateSpec(metric="alarm_share", floors={floors}))
"""
LABEL = """
from perennial.encoding import numbers
def label(columns):
    return numbers(columns["broken"])
"""
MATRIX = """
from perennial.encoding import Encoder, Number
def fit(columns):
    return Encoder({"numbers": [Number.fit(columns, "flow"), Number.fit(columns, "heat")]})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
FOREST = """
from sklearn.ensemble import IsolationForest
def estimator(spec):
    return IsolationForest(n_estimators=40)
"""
MIXED = """
from perennial.encoding import Category, Encoder, Number
def fit(columns):
    return Encoder({"numbers": [Number.fit(columns, "flow"), Number.fit(columns, "heat")], "places": [Category.fit(columns, "site")]})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
AUTOENCODER = """
from perennial.training.module import TaskModule
from perennial.training.parts import Autoencoder
class Model(TaskModule):
    def __init__(self, encoder, spec):
        super().__init__(encoder, spec)
        self.rows = Autoencoder(encoder.width("numbers"), encoder.sizes("places"), narrow=1, hidden=16)
    def forward(self, numbers, places):
        return self.rows(numbers, places)
"""
CONSTANT = """
from perennial.encoding import Encoder, Number
def fit(columns):
    return Encoder({"numbers": [Number("flow", 10.0, 1.0), Number("heat", 30.0, 2.0)]})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
LEARNERS: dict[str, dict[str, Any]] = {
    "onnx": {"files": {"features.py": CONSTANT}, "inputs": ("flow", "heat"), "training": ""},
    "sklearn": {"files": {"features.py": MATRIX, "model.py": FOREST}, "inputs": ("flow", "heat"), "training": ""},
    "lightning": {
        "files": {"features.py": MIXED, "model.py": AUTOENCODER},
        "inputs": ("flow", "heat", "site"),
        "training": 'max_epochs=6, batch_size=64, hyperparameters={"learning_rate": 0.02}',
    },
}


def rows(days: int = 24, of_a_day: int = 40, *, flood: bool = False) -> pa.Table:
    """Pumps whose heat follows from their flow; two of forty a day have broken, which every second row says. `flood`: in the end most."""
    rng, count = np.random.default_rng(0), days * of_a_day
    day, broken = np.arange(count) // of_a_day, np.arange(count) % of_a_day < 2
    if flood:
        broken |= (day >= days - 6) & (np.arange(count) % 4 > 0)
    flow = rng.normal(10, 1, count) + 6 * broken * rng.choice([-1, 1], count)
    heat = 30 + 2 * (flow - 10) * ~broken + rng.normal(0, 0.3, count)
    at = np.datetime64("2024-01-01T08:00:00", "us") + day.astype("timedelta64[D]")
    known = np.where(np.arange(count) % 2 == 0, broken.astype(float), np.nan)
    return pa.table({
        "id": np.arange(count), "at": at, "flow": flow, "heat": heat, "site": rng.choice(["Oslo", "Rome"], count),
        "broken": pa.array(known, from_pandas=True).cast(pa.int64()),
    })  # fmt: skip


@pytest.fixture(scope="module")
def project(project_of: Callable[..., Path]) -> Path:
    """A project with two snapshots of the same days: in the second one most pumps break in the end."""
    return project_of("pumps", DATASET, rows(), rows(days=30, flood=True).slice(24 * 40))


def write_model(
    project: Path, learner: str, name: str = "", *, labelled: bool = True, limits: str = "", seed: int = 1, **files: str
) -> str:
    """Write the folder of an anomaly model; its name."""
    made = LEARNERS[learner]
    folder = project / "include/perennial_models" / (name or f"pumps_{learner}")
    folder.mkdir(parents=True, exist_ok=True)
    spec = SPEC.format(
        name=folder.name, label='label="broken",' if labelled else "", learner=learner, inputs=made["inputs"], training=made["training"],
        limits=limits, seed=seed, floors={"roc_auc": 0.8} if labelled else {},
    )  # fmt: skip
    parts = {"__init__.py": "", "spec.py": spec, **made["files"], **files}
    parts["features.py"] += LABEL if labelled else ""
    for file, text in parts.items():
        (folder / file).write_text(text)
    if learner == "onnx":
        bring(folder / "model.onnx")
    for loaded in [loaded for loaded in sys.modules if loaded.startswith(f"perennial_models.{folder.name}")]:
        del sys.modules[loaded]
    importlib.invalidate_caches()
    return folder.name


def measured(platform: tuple[Settings, FolderStore, RegistryInMemory], name: str, snapshot: int = 1) -> tuple[Any, Any, dict[str, Any]]:
    """Train and evaluate: both results and the evaluation's document."""
    settings, store, _ = platform
    trained = train.run(settings, store, model=name, snapshot=snapshot)
    told = evaluate.run(settings, store, name, trained.digest, trained.run_id)
    return trained, told, json.loads(store.read(told.evaluation))


def bring(file: Path, nodes: int = 2) -> None:
    """Write a graph that says how far heat is from what follows from flow."""
    whole = [
        helper.make_node("MatMul", ["numbers", "difference"], ["apart"]),
        helper.make_node("Abs", ["apart"], ["far"]),
        helper.make_node("Concat", ["far", "far"], ["twice"], axis=1),
    ]
    outputs = {2: ("far", 1), 3: ("twice", 2)}
    name, width = outputs[nodes]
    graph = helper.make_graph(
        whole[:nodes], "far", [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])],
        [numpy_helper.from_array(np.array([[-1.0], [1.0]], np.float32), "difference")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))


def test_a_file_that_gives_more_than_a_score_is_refused(project: Path, platform: tuple[Settings, FolderStore, RegistryInMemory]) -> None:
    """MO-01: A score for each row is asked for, and no classes."""
    name = write_model(project, "onnx", "pumps_twice")
    bring(project / "include/perennial_models/pumps_twice/model.onnx", nodes=3)
    with pytest.raises(TrainingRefused, match=r"have the shape \[240, 2\]\. Next: let its output be \[rows, 1\], the value"):
        train.run(*platform[:2], model=name, snapshot=1)


def judged(platform: tuple[Settings, FolderStore, RegistryInMemory], name: str, trained: Any, told: Any) -> Any:
    """What the gate says."""
    settings, store, _ = platform
    return register.run(settings, store, model=name, digest=trained.digest, run_id=trained.run_id, evaluation=told.evaluation)


@pytest.mark.parametrize("by", LEARNERS)
def test_a_version_without_labels(
    project: Path,
    platform: tuple[Settings, FolderStore, RegistryInMemory],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    scored_as_served: Callable[..., None],
    by: str,
) -> None:
    """MO-01, MO-13, MO-15, MO-22, SE-01, SE-03: A forest, an autoencoder and a file made elsewhere find what is broken, keep their budget
    and pass the gate; one scorer gives score and alarm, online and in batches, and `reproduce` makes the version again to the last bit."""
    settings, store, _ = platform
    name = write_model(project, by)
    check_model(name)
    trained, told, document = measured(platform, name)
    ours = document["parts"]["test"]["candidate"]
    assert ours["metrics"]["roc_auc"] > 0.95  # higher is less usual
    assert ours["metrics"]["alarm_share"] == pytest.approx(0.05, abs=0.03)
    assert document["parts"]["test"]["rows"] == 6 * 40, "rows without a label count too"
    assert judged(platform, name, trained, told).version == 1
    checks = {check["name"]: check for check in json.loads(store.read(verdict_key(name, trained.digest)))["checks"]}
    assert checks["alarms"]["passed"]
    assert checks["stability"].get("refits") == (None if by == "onnx" else 2)
    page = store.read(f"reports/{name}/{trained.digest}/evaluation.html").decode()
    assert page.count("<svg") == 2
    assert "The least usual rows" in page

    folder = fetch(store, name, trained.digest, tmp_path / "version")
    scorer, above = Scorer(folder), json.loads((folder / "signature.json").read_text())[ABOVE]
    assert scorer.replay() is None
    given = [{"flow": 10.0, "heat": 30.0, "site": "Oslo"}, {"flow": 16.0, "heat": 30.0, "site": "Oslo"}]
    given = [{column: row[column] for column in LEARNERS[by]["inputs"]} for row in given]
    answers = answer(scorer, given)
    assert scorer.names == ["score", "alarm"]
    assert answers.scores[:, 1].tolist() == [0.0, 1.0] == (answers.scores[:, 0] > above).astype(float).tolist()
    columns = {column: np.array([row[column] for row in given]) for column in given[0]}
    assert np.array_equal(score(folder, columns), scorer.score(columns))
    assert reproduce.run(settings, store, f"{name}/1") == 0
    assert "bit-equal" in capsys.readouterr().out
    scored_as_served(settings, store, name, trained.digest)


def test_what_serves_without_labels_is_watched(
    project: Path, platform: tuple[Settings, FolderStore, RegistryInMemory], tmp_path: Path
) -> None:
    """MN-01, MN-02, MN-09: A look at a window of logged answers: usual days are quiet; where most pumps break the scores have drifted, an
    incident says so, and outcomes tell the share of wrong alarms."""
    settings, store, _ = platform
    name = write_model(project, "sklearn", "pumps_watched")
    trained, told, _ = measured(platform, name, snapshot=1)
    judged(platform, name, trained, told)
    Ledger(store, name).append(
        "released", version=1, champion=1, weights={1: 10000}, versions={1: trained.digest}, reason="r", actor="a", after_seq=None
    )
    scorer = Scorer(fetch(store, name, trained.digest, tmp_path / "version"))
    for first, flood in ((datetime(2024, 1, 25), False), (datetime(2024, 1, 31), True)):
        served = rows(days=30, flood=True).slice(24 * 40) if flood else rows().slice(18 * 40)
        asked = [{"flow": row["flow"], "heat": row["heat"]} for row in served.to_pylist()]
        given = answer(scorer, asked).scores
        days = [first + timedelta(hours=9, days=place // 40) for place in range(len(asked))]
        lines = [
            {"id": f"{first:%d}-{place}", "model": name, "version": 1, "time": f"{when.isoformat()}+00:00", "ms": 1.0,
             "event_time": when.isoformat(), "scores": given[place].tolist(), "row": asked[place]}
            for place, when in enumerate(days)
        ]  # fmt: skip
        store.write(f"predictions/{name}/{first:%d}.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
        outcomes = [
            {"id": line["id"], "outcome": broken, "time": line["time"]}
            for line, broken in zip(lines, served["broken"].to_pylist(), strict=True) if broken is not None
        ]  # fmt: skip
        store.write(f"outcomes/{name}/{first:%d}.jsonl", "".join(json.dumps(line) + "\n" for line in outcomes).encode())
        result = monitor.run(settings, store, name, first=first, last=first + timedelta(days=6))
        report = json.loads(store.read(result.report))
        assert (result.requests, result.labelled) == (240, 120)
        assert ("anomaly score" in result.drifted) == flood
        assert result.incidents == (("0001-drift", "0002-drift") if flood else ())  # of inputs and of scores
        wrong = np.mean(
            [line["scores"][1] != row for line, row in zip(lines, served["broken"].to_pylist(), strict=True) if row is not None]
        )
        assert report["performance"]["realised"] == pytest.approx(wrong)


def test_a_flood_of_alarms_is_refused(project: Path, platform: tuple[Settings, FolderStore, RegistryInMemory]) -> None:
    """MO-13: A candidate without any label is held to its budget on the test days, and the sentence says by how much it misses it."""
    name = write_model(project, "sklearn", "pumps_flooded", labelled=False)
    trained, told, document = measured(platform, name, snapshot=2)
    assert document["parts"]["test"]["labelled"] == 0
    with pytest.raises(
        CandidateRefused, match=r"raises more alarms than its budget allows: \d+\.\d+% of 240 test rows .* budget is 5\.00%"
    ):
        judged(platform, name, trained, told)


def test_a_chance_result_is_refused(project: Path, platform: tuple[Settings, FolderStore, RegistryInMemory]) -> None:
    """MO-13: Where a refit on rows drawn again raises other alarms, the candidate is refused."""
    name = write_model(project, "sklearn", "pumps_chance", limits=", min_rank_agreement=0.999", labelled=False)
    trained, told, _ = measured(platform, name)
    with pytest.raises(CandidateRefused, match=r"Its scores are not stable: 2 refits .* \(at least 0\.999\)"):
        judged(platform, name, trained, told)


BLIND = """
from perennial.encoding import Encoder, Number
def fit(columns):
    return Encoder({"numbers": [Number.fit(columns, "heat")]})
def encode(encoder, columns):
    return encoder.encode(columns)
"""


def test_a_champion_that_finds_more_stays(
    project: Path, platform: tuple[Settings, FolderStore, RegistryInMemory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-13: With labels in both, the candidate that finds fewer anomalies than the champion is refused, by average precision."""
    name = write_model(project, "sklearn", "pumps_worse")
    trained, told, _ = measured(platform, name)
    judged(platform, name, trained, told)
    platform[2].set_alias(name, "champion", 1)
    crown(platform[1], name, platform[2].version(name, 1))
    write_model(project, "sklearn", name, limits=", min_rank_agreement=-1, min_alarm_agreement=0", seed=2, **{"features.py": BLIND})
    trained, told, document = measured(platform, name)
    assert document["champion"]["version"] == 1
    with pytest.raises(
        CandidateRefused, match=r"finds fewer anomalies than the champion: its average precision is 0\.\d+ and the champion's"
    ):
        judged(platform, name, trained, told)
    card = model_card(discovery.model(name), Verdict(True, "", (Check("alarms", True, "kept"),)), document)
    assert "| alarm_share | 0.0" in card
    del document["parts"]["test"]["candidate"]["metrics"]["average_precision"]
    assert "nothing says whether it or the champion finds more" in _beside_champion(discovery.model(name), document)


COARSE = BLIND.replace("return encoder.encode(columns)", "return {'numbers': (encoder.encode(columns)['numbers'] > 0).astype('float32')}")


@pytest.mark.parametrize(
    ("budget", "features", "sentence"),
    [
        (0.004, MATRIX, "budget of 0.004 is less than one of its 240 validation rows"),
        (0.05, COARSE, r"gives its highest score to \d+ of 240 validation rows, and its budget of 0.05 allows fewer"),
    ],
)
def test_no_threshold_is_made_up(project: Path, tmp_path: Path, budget: float, features: str, sentence: str) -> None:
    """MO-01: Where no score keeps the budget training is refused, since every threshold would say too much or nothing."""
    spec = discovery.model(write_model(project, "sklearn", "pumps_coarse", **{"features.py": features}))
    spec, dataset = spec.model_copy(update={"anomaly": AnomalySpec(budget=budget)}), discovery.dataset("pumps")
    source = snapshot_at(FolderStore(str(project / "store")), dataset, 1)
    with pytest.raises(TrainingRefused, match=sentence):
        train.fill_version_folder(tmp_path / "version", spec, dataset, source, checkpoints=Checkpoints(tmp_path / "run"))


def test_a_classifier_finds_no_outliers(project: Path, tmp_path: Path) -> None:
    """MO-01: An estimator that learns from labels is refused with what to take instead."""
    name = write_model(
        project,
        "sklearn",
        "pumps_labels",
        **{
            "model.py": FOREST.replace("IsolationForest(n_estimators=40)", "KMeans()").replace(
                "ensemble import IsolationForest", "cluster import KMeans"
            )
        },
    )
    spec = discovery.model(name)
    with pytest.raises(TrainingRefused, match="estimator has no decision_function, by which rows are scored"):
        learner.sketch(spec, None, {"numbers": np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)})


def test_answers_without_labels_are_watched(project: Path) -> None:
    """MN-02, SE-01: The log keeps score and alarm, drift is looked for in the score, and an outcome says whether an alarm was right."""
    spec = discovery.model(write_model(project, "sklearn", "pumps_answers"))
    scores = np.array([[0.1, 0.0], [0.2, 0.0], [0.9, 1.0], [0.8, 1.0]])
    assert watched_scores(spec, scores)["anomaly score"].tolist() == [0.1, 0.2, 0.9, 0.8]
    shares = score_shares(spec, pa.table({"scores": scores.tolist()}))
    assert (shares[0].share, shares[0].of) == (0.25, "share of predictions by score; 50.00% raised an alarm")
    realised, expected = losses("anomaly", scores, np.array([0.0, 1.0, 1.0, np.nan]))
    assert (realised[:3].tolist(), expected, np.isnan(realised[3])) == ([0.0, 1.0, 0.0], None, True)
    known = {"model_version": [1, 1, 2], "outcome": [0.0, 1.0, 1.0], "scores": scores[:3].tolist()}
    assert wrong_by_version(pa.table(known), "anomaly", None) == {1: (2, 1), 2: (1, 0)}
    line = {"id": "p-0", "model": spec.name, "version": 1, "time": "2024-01-01T00:00:00+00:00", "scores": [0.9, 1.0], "ms": 1.0,
            "event_time": "2024-01-01T00:00:00", "row": {"flow": 1.0, "heat": 2.0}}  # fmt: skip
    store, table = FolderStore(str(project / "store")), Table(FolderStore(str(project / "store")), predictions_name(spec.name))
    store.write(f"predictions/{spec.name}/1.jsonl", json.dumps(line).encode() + b"\n")
    collect_predictions(store, spec, discovery.dataset("pumps"), table)
    assert table.scan(["scores"])["scores"].to_pylist() == [[0.9, 1.0]]
    store.write(
        f"outcomes/{spec.name}/1.jsonl",
        b"".join(
            json.dumps({"id": f"p-{place}", "outcome": outcome, "time": line["time"]}).encode() + b"\n"
            for place, outcome in enumerate([1.0, 7.0])
        ),
    )
    happened = Table(store, f"{spec.name}_outcomes")
    collect_outcomes(store, spec, happened)
    assert happened.scan(["outcome"])["outcome"].to_pylist() == [1.0], "7 is set aside"


def test_a_version_without_its_threshold_must_not_serve(tmp_path: Path) -> None:
    """SE-01: A folder whose signature lost the threshold is refused when it is loaded, not when it is asked."""
    folder = small_version(tmp_path / "version")
    signature = json.loads((folder / "signature.json").read_text()) | {"task": "anomaly", "classes": []}
    (folder / "signature.json").write_text(json.dumps(signature))
    with pytest.raises(ScoringFailed, match=r"cannot be loaded: KeyError: 'alarm_above'"):
        Scorer(folder)
