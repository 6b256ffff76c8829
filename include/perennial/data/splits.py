"""The split of a snapshot into rows to train on, to validate and to test.

>>> from datetime import datetime
>>> import pyarrow as pa
>>> from perennial.data.snapshots import table_of
>>> from perennial.specs import DatasetSpec
>>> from perennial.store import open_store
>>> store, orders = open_store("store"), DatasetSpec(
...     name="orders", title="Orders", owner="shop", key=["id"], event_time="at",
...     columns=[{"name": "id", "type": "int"}, {"name": "at", "type": "timestamp"}])
>>> model = ModelSpec(name="sums", title="Sums", owner="shop", dataset="orders", task="regression", inputs=["at"], label="id",
...     gate={"metric": "rmse", "floors": {}}, split={"test_days": 1, "validation_days": 1, "min_train_rows": 1})
>>> days = [datetime(2024, 1, day) for day in (1, 2, 3, 4)]
>>> rows = pa.table({"id": range(4), "at": pa.array(days, pa.timestamp("us"))})
>>> version = table_of(store, orders).append(rows, "1f" * 32, key=("id",))
>>> class features:
...     label = staticmethod(lambda columns: columns["id"].astype(float))
>>> split(Snapshot(orders, version, store), model, features).bounds["test"]
['2024-01-04', '2024-01-05']
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

from perennial.data.labels import ALL_KNOWN, NOTHING, Coverage, UnknownLabels, coverage_of, refuse_unknown
from perennial.data.snapshots import Snapshot, label_of, sentence_case, unknown_of
from perennial.errors import TrainingRefused
from perennial.specs import ModelSpec

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Split:
    """A snapshot cut by whole days of event time; only rows whose label is known."""

    train: pandas.DataFrame
    validation: pandas.DataFrame
    test: pandas.DataFrame
    bounds: dict[str, list[str]]  # part -> [first day, day after the last], ISO dates
    unknown: UnknownLabels = ALL_KNOWN  # labels since the first training day that are no class
    coverage: Coverage = NOTHING  # rows and labelled rows of each day


def split(snapshot: Snapshot, spec: ModelSpec, features_module: ModuleType | Any) -> Split:
    """Cut a snapshot into train, validation and test: by whole days, oldest first, without overlap.

    The newest day that has labelled rows is the last test day. Rows whose label is unknown (`features.label` gives NaN) are left out.

    Raises:
        TrainingRefused: the snapshot has too few labelled rows or days, or too many labels that are no class.
    """
    cut, event_time = spec.split, snapshot.dataset.time_column
    every = snapshot.rows()
    label = label_of(every, features_module)
    known = label == label  # noqa: PLR0124  NaN alone differs from itself
    rows, coverage = every[known].reset_index(drop=True), coverage_of(every[event_time].to_numpy(), known)
    if rows.empty:
        refuse_unknown(spec, unknown_of(spec, every, label), snapshot.words)
        raise TrainingRefused(
            f"{sentence_case(snapshot.words)} has no row with a known {spec.label}: "
            f"ingest {'labels' if snapshot.labels else 'batches that have outcomes'}."
        )
    days = rows[event_time].dt.normalize()
    end = days.max().to_pydatetime() + timedelta(days=1)
    test = end - timedelta(days=cut.test_days)
    validation = test - timedelta(days=cut.validation_days)
    begin = days.min().to_pydatetime() if cut.train_days is None else validation - timedelta(days=cut.train_days)
    bounds = {"train": (min(begin, validation), validation), "validation": (validation, test), "test": (test, end)}
    parts = {name: rows[(days >= first) & (days < last)].reset_index(drop=True) for name, (first, last) in bounds.items()}
    if len(parts["train"]) < cut.min_train_rows or not len(parts["validation"]) or not len(parts["test"]):
        counts = ", ".join(f"{len(part)} rows for {name}" for name, part in parts.items())
        raise TrainingRefused(
            f"{sentence_case(snapshot.words)} is too small for {spec.name}: {counts}; "
            f"it needs {cut.min_train_rows} for train before "
            f"{cut.validation_days} days for validation and {cut.test_days} for test. Ingest older or newer days, "
            f"or change split in the spec.{f' {coverage.sentence()}' if snapshot.labels else ''}"
        )
    used = (every[event_time] >= bounds["train"][0]).to_numpy()  # to the newest row: days of unknown labels alone count too
    unknown = refuse_unknown(spec, unknown_of(spec, every[used], label[used]), snapshot.words)
    days_of_parts = {name: [first.date().isoformat(), last.date().isoformat()] for name, (first, last) in bounds.items()}
    return Split(**parts, bounds=days_of_parts, unknown=unknown, coverage=coverage)
