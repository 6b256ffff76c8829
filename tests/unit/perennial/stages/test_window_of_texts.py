"""A window of requests with texts and lists is judged by what is measured of them, against the rows that the version learnt from."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa

from perennial.data.readers import schema
from perennial.monitoring.windows import Window
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec, MonitoringSpec
from perennial.stages._window import Judge
from perennial.store import FolderStore

SHOP = DatasetSpec(
    name="shop", title="Shop", owner="tests", key=("id",), event_time="at",
    columns=(
        Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="note", type="text", nullable=True),
        Column(name="prices", type="list", of="float"), Column(name="pieces", type="int"), Column(name="late", type="float"),
    ),
)  # fmt: skip
MODEL = ModelSpec(
    name="late", title="Late", owner="tests", dataset="shop", task="regression", label="late", inputs=("note", "prices", "pieces"),
    gate=GateSpec(metric="rmse", floors={}), monitoring=MonitoringSpec(anomaly_detector="univariate_max"),
)  # fmt: skip
WORDS = ["the", "parcel", "came", "late", "again", "and", "nobody", "told", "us", "why"]
BEGIN, EACH = datetime(2026, 1, 1, 12), 40


def rows_of(days: int, first: datetime, rng: np.random.Generator, words: int = 4, missing: float = 0.0) -> pa.Table:
    made = [
        {
            "id": place,
            "at": first + timedelta(days=place // EACH),
            "note": None if rng.random() < missing else " ".join(rng.choice(WORDS, rng.integers(words, words + 4))),
            "prices": rng.normal(5, 1, rng.integers(1, 5)).tolist(),
            "pieces": int(rng.integers(1, 9)),
        }
        for place in range(days * EACH)
    ]
    return pa.Table.from_pylist(made, schema(SHOP))


def judged(tmp_path: Path, served: pa.Table) -> tuple[Any, Any]:
    """The verdict and the anomalies of served rows, by a version that learnt from thirty days."""
    learnt = rows_of(30, BEGIN, np.random.default_rng(1))
    layout = fit_layout(learnt, [*MODEL.inputs], types={column.name: column.type for column in SHOP.columns})
    references = SimpleNamespace(
        spec=MODEL, dataset=SHOP, store=FolderStore(str(tmp_path)), as_of=lambda version: MODEL, layout=lambda: layout,
        profile=lambda version: profile(learnt, layout, day="at"), scores=lambda version: "it has no scores",
        readers=lambda columns, versions: list(versions), sampled=lambda version, columns: learnt.select(columns),
    )  # fmt: skip
    logged = served.select(["at", *MODEL.inputs]).rename_columns(["event_time", *(f"input_{name}" for name in MODEL.inputs)])
    logged = logged.append_column("model_version", pa.array([1] * served.num_rows, pa.int64()))
    logged = logged.append_column("prediction_id", pa.array([f"p-{place}" for place in range(served.num_rows)]))
    first = datetime(2026, 3, 1, tzinfo=timezone.utc)
    judge = Judge(cast(Any, references))
    return judge.judge(Window(first, first + timedelta(days=3)), logged), judge.anomalies(1, logged, 0)


def test_longer_texts_that_are_often_missing_are_drift_told_once(tmp_path: Path) -> None:
    """MN-01: Words and characters rise; that texts are missing is one finding and one broken feed; lists and numbers stay quiet."""
    served = rows_of(3, datetime(2026, 3, 1, 12), np.random.default_rng(2), words=8, missing=0.3)
    told, _ = judged(tmp_path, served)
    drifted = {(finding.kind, finding.column) for finding in told.verdict.columns if finding.drifted}
    assert {("shift", "note[words]"), ("shift", "note[characters]"), ("nulls", "note[characters]")} <= drifted
    assert not [column for kind, column in drifted if kind in ("shift", "nulls") and not column.startswith("note[")]
    assert [kind for kind, _ in drifted].count("nulls") == 1
    assert [one.key for one in told.breaks if one.key.startswith("missing")] == ["missing values of note[characters]"]


def test_a_window_as_before_is_quiet_and_a_strange_request_is_named_by_its_measure(tmp_path: Path) -> None:
    """MN-01: Texts are never the same twice and that is no drift; a list of five hundred numbers is an anomaly, by its length."""
    served = rows_of(3, datetime(2026, 3, 1, 12), np.random.default_rng(3))
    told, _ = judged(tmp_path / "quiet", served)
    assert not [finding.sentence for finding in told.verdict.columns if finding.drifted]
    long = served.to_pylist()
    long[7]["prices"] = [5.0] * 500
    _, anomalies = judged(tmp_path / "strange", pa.Table.from_pylist(long, served.schema))
    (strangest, *_) = [one for one in anomalies.shown if one.prediction_id == "p-7"]
    assert strangest.columns == ("prices[length]",)
