"""Several tables in one model, through the real stages: landed, taken in, decided, trained, measured, made again and scored."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from perennial import discovery
from perennial.commands import reproduce
from perennial.data import tables
from perennial.data.snapshots import model_snapshot
from perennial.errors import TrainingRefused
from perennial.lineage.learned import learned
from perennial.lineage.version_folder import read_manifest
from perennial.options import versions
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.results import TrainResult, ValidateResult
from perennial.settings import Settings
from perennial.stages import evaluate, ingest, register, train, validate
from perennial.stages import profile as profiling
from perennial.store import FolderStore, Store
from perennial.testing import RegistryInMemory, check_model

DELIVERIES = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="deliveries", title="Deliveries", owner="tests", key=("id",), event_time="at", columns=(
    Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="depot", type="string"),
    Column(name="weight", type="float"), Column(name="late", type="int")))
"""
DEPOTS = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="depots", title="Depots", owner="tests", key=("name", "hour"), event_time="hour", rows="corrected",
    on_known_key="replace", columns=(
    Column(name="name", type="string"), Column(name="hour", type="timestamp"), Column(name="waiting", type="int"),
    Column(name="belts", type="float", nullable=True)))
"""
SPEC = """
from perennial.specs import GateSpec, JoinSpec, ModelSpec, SplitSpec
MODEL = ModelSpec(name="punctual", title="T", owner="tests", dataset="deliveries", task="binary", classes=("in_time", "late"), label="late",
    inputs=("weight", "waiting", "belts"), learner="sklearn", slices=("depot", "belts"),
    joins=(JoinSpec(dataset="depots", key=("depot",), key_there=("name",), columns=("waiting", "belts"), horizon_days={horizon}{more}),),
    split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100), gate=GateSpec(floors={{"log_loss": {floor}}}))
"""
FEATURES = """
from perennial.encoding import Encoder, Raw, numbers
def label(columns):
    return numbers(columns["late"])
def fit(columns):
    return Encoder({name: [Raw(name)] for name in ("weight", "waiting", "belts")})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
PIPELINE = """
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
def estimator(spec):
    columns = ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), ["weight", "waiting", "belts"])])
    return Pipeline([("columns", columns), ("model", LogisticRegression())])
"""
FIRST = datetime(2024, 1, 1)
DAYS, OF_A_DAY, PLACES = 20, 40, ("north", "south")
HISTORY = ', history_until="2024-02-01T12:00", history_delay_hours=1'
SETTINGS = Settings(store="unused", landing_settle_seconds=0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, datetime]:
    """When the next batch is taken in, UTC, under "now". Suites take everything."""
    clock, put = {"now": datetime(2024, 2, 1)}, tables.put_commit

    def put_then(store: Store, name: str, version: int, info: Mapping[str, Any], actions: Any) -> bool:
        when = clock["now"].replace(tzinfo=timezone.utc)
        return put(store, name, version, {**info, "timestamp": int(when.timestamp() * 1000)}, actions)

    monkeypatch.setattr(tables, "put_commit", put_then)
    monkeypatch.setattr(
        validation, "validate",
        lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, True, None, (), "reports/x/docs/x.html"),
    )  # fmt: skip
    monkeypatch.setattr(
        validation, "validate_snapshot", lambda *_, **__: SimpleNamespace(passed=True, report_key="", sentence=lambda link="": "")
    )
    monkeypatch.setattr(data_docs, "write_index", lambda *_: None)
    monkeypatch.setattr(profiling, "FIT_ROWS", 1)
    return clock


def waiting(place: int, hour: int) -> int:
    """How many wait at a depot in an hour after the first."""
    return int(50 + 40 * np.sin(hour / 7 + place))


def deliveries(first: int = 0, days: int = DAYS) -> pa.Table:
    """Deliveries that are late where many waited in the hour before."""
    rng = np.random.default_rng(first)
    hours = first * 24 + np.repeat(np.arange(days) * 24, OF_A_DAY) + rng.integers(1, 23, days * OF_A_DAY)
    place = rng.integers(0, 2, len(hours))
    late = [int(waiting(p, h - 1) + rng.normal(0, 5) > 50) for p, h in zip(place, hours, strict=True)]
    at = np.datetime64(FIRST, "us") + hours.astype("timedelta64[h]") + np.timedelta64(1, "m")
    ids = np.arange(len(hours)) + first * OF_A_DAY
    return pa.table({"id": ids, "at": at, "depot": [PLACES[p] for p in place], "weight": rng.normal(3, 1, len(hours)), "late": late})


def depots(hours: range, wrong: int = 0) -> pa.Table:
    """What waits at both depots in each of these hours, too many by `wrong`."""
    pairs = list(itertools.product(range(2), hours))
    at = pa.array([FIRST + timedelta(hours=hour) for _, hour in pairs], pa.timestamp("us"))
    return pa.table({
        "name": [PLACES[place] for place, _ in pairs], "hour": at, "waiting": [waiting(*pair) + wrong for pair in pairs],
        "belts": pa.array([None if hour % 5 == 0 else float(hour % 3) for _, hour in pairs]),
    })  # fmt: skip


def land(store: Store, dataset: str, name: str, rows: pa.Table) -> None:
    """Land a file and take it in."""
    buffer = pa.BufferOutputStream()
    pa.csv.write_csv(rows, buffer)
    store.write(f"landing/{dataset}/{name}.csv", buffer.getvalue().to_pybytes())
    result = ingest.run(SETTINGS, store, dataset)
    assert result.appended == {f"{name}.csv": rows.num_rows}, result.sentence


def write_model(project: Path, *, horizon: float = 0.5, more: str = HISTORY, floor: float = 0.6) -> None:
    """Write the folder of the model."""
    folder = project / "include/perennial_models/punctual"
    folder.mkdir(parents=True, exist_ok=True)
    spec = SPEC.format(horizon=horizon, more=more, floor=floor)
    for name, text in {"__init__.py": "", "spec.py": spec, "features.py": FEATURES, "model.py": PIPELINE}.items():
        (folder / name).write_text(text)
    for name in [name for name in sys.modules if name.startswith("perennial_models.punctual")]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def project(project_of: Callable[..., Path], tmp_path: Path) -> Path:
    """A project with two datasets and a model that joins them, and a history that was taken in at once, on 1 February."""
    root = project_of("deliveries", DELIVERIES)
    (root / "include/perennial_datasets/depots.py").write_text(DEPOTS)
    write_model(root)
    store = FolderStore(str(root / "store"))
    land(store, "deliveries", "january", deliveries())
    land(store, "depots", "january", depots(range(DAYS * 24)))
    return root


Platform = tuple[Settings, FolderStore, RegistryInMemory]


@pytest.fixture
def decide(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ValidateResult]:
    """`decide(cause)`: what `validate` comes to."""
    settings, store, registry = platform
    monkeypatch.setattr(validate, "ModelRegistry", lambda _: registry)

    def decide(cause: Any = "data", **given: Any) -> ValidateResult:
        return validate.run(settings, store, "punctual", cause=cause, run_url="http://airflow/run", **given)

    return decide


def trained(platform: Platform, decided: ValidateResult) -> TrainResult:
    """What training makes of a decision, judged by the gate."""
    settings, store, _ = platform
    assert decided.snapshot is not None
    assert decided.joined is not None
    result = train.run(settings, store, model="punctual", snapshot=decided.snapshot, joined=versions(decided.joined))
    measured = evaluate.run(settings, store, "punctual", result.digest, result.run_id)
    register.run(settings, store, model="punctual", digest=result.digest, run_id=result.run_id, evaluation=measured.evaluation)
    return result


def test_a_model_of_two_tables_from_landing_to_proof(
    platform: Platform,
    decide: Callable[..., ValidateResult],
    capsys: pytest.CaptureFixture[str],
    clock: dict[str, datetime],
    tmp_path: Path,
) -> None:
    """DM-13, MO-01, MO-13, MO-15: Decided on, trained on what its rows knew, measured by slices that a join brings, passed by the gate, and
    made again to the last bit after the joined table was corrected. Later joined rows alone start nothing, new rows of its own do."""
    settings, store, _ = platform
    check_model("punctual")
    decided = decide()
    assert (decided.outcome, decided.snapshot, decided.joined) == ("done", 1, "depots=1")
    assert "100.0% of the rows find a row of depots." in decided.sentence
    result = trained(platform, decided)
    manifest = read_manifest(store, "punctual", result.digest)
    assert [(used.join.dataset, used.snapshot) for used in manifest.joined] == [("depots", 1)]
    assert result.metrics["log_loss"] < 0.45  # a coin has 0.69, and weight tells nothing
    signature = discovery.dataset_of(discovery.model("punctual"))
    assert [column.name for column in signature.columns][-2:] == ["waiting", "belts"]
    known = learned(store, "punctual", {})[0]
    assert (known.read_of("depots"), known.read_of("deliveries"), known.datasets) == (1, 1, ("deliveries", "depots"))

    clock["now"] = datetime(2024, 2, 3)
    land(store, "depots", "corrected", depots(range(DAYS * 24), wrong=30))
    assert reproduce.run(settings, store, "punctual/1") == 0
    assert "bit-equal" in capsys.readouterr().out
    assert "Nothing new since" in decide("schedule").sentence
    clock["now"] = datetime(2024, 2, 4)
    land(store, "deliveries", "february", deliveries(DAYS, 9))
    again = decide("manual")
    assert (again.outcome, again.snapshot, again.joined) == ("done", 2, "depots=2")
    source = model_snapshot(store, discovery.model("punctual"))
    before = model_snapshot(store, discovery.model("punctual"), 2, joined={"depots": 1})
    assert source is not None
    assert before is not None
    assert source.rows(["waiting"]).equals(before.rows(["waiting"]))  # no row of January knew of the correction


def test_a_history_that_nobody_declared_trains_nothing(platform: Platform, project: Path, decide: Callable[..., ValidateResult]) -> None:
    """DM-13: All joined rows landed after the rows: the refusal says so, and what to declare."""
    write_model(project, more="")
    with pytest.raises(
        TrainingRefused, match=r"0\.0% of the rows find a row of depots \(8.. known too late.*history_until, and history_delay"
    ):
        decide()


def test_a_champion_with_another_join_is_measured_by_its_own(
    platform: Platform, project: Path, decide: Callable[..., ValidateResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-13, MO-05: The candidate's join reads what the champion's does not; each is measured on what its own join finds."""
    settings, store, registry = platform
    first = trained(platform, decide())
    registry.set_alias("punctual", "champion", 1)
    monkeypatch.setattr(evaluate._agreement, "require", lambda *_: None)
    write_model(project, more=HISTORY.replace("hours=1", "hours=3"))
    decided = decide("manual", force=True)
    second = train.run(settings, store, model="punctual", snapshot=1)
    evaluate.run(settings, store, "punctual", second.digest, second.run_id)
    document = json.loads(store.read(f"reports/punctual/{second.digest}/evaluation.json"))
    alone = json.loads(store.read(f"reports/punctual/{first.digest}/evaluation.json"))
    assert decided.outcome == "done"
    assert document["parts"]["test"]["champion"]["metrics"] == alone["parts"]["test"]["candidate"]["metrics"]
    assert document["parts"]["test"]["candidate"]["metrics"] != alone["parts"]["test"]["candidate"]["metrics"]
