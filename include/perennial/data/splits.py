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

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

from perennial.counted import counted
from perennial.data.labels import ALL_KNOWN, NOTHING, Coverage, UnknownLabels, coverage_of, refuse_unknown
from perennial.data.snapshots import Snapshot, label_of, sentence_case, unknown_of
from perennial.errors import TrainingRefused
from perennial.specs import DatasetSpec, ModelSpec, SplitSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas

PARTS = ("test", "validation", "train")
MOST_GAPS = 3  # stretches of days that a refusal names


@dataclass(frozen=True)
class Split:
    """A snapshot cut into three parts; only rows whose label is known, or all of them where a model learns without."""

    train: pandas.DataFrame
    validation: pandas.DataFrame
    test: pandas.DataFrame
    bounds: dict[str, list[str]]  # part -> [first day, day after the last], ISO dates; they overlap unless the split is by time
    unknown: UnknownLabels = ALL_KNOWN  # labels since the first training day that are no class
    coverage: Coverage = NOTHING  # rows and labelled rows of each day


def split(snapshot: Snapshot, spec: ModelSpec, features_module: ModuleType | Any) -> Split:
    """Cut a snapshot into train, validation and test, without overlap: by whole days, oldest first; or as `part_of` says.

    By time, the newest day that has labelled rows is the last test day. Rows whose label is unknown (`features.label` gives NaN) are left
    out, unless the model is an anomaly model, for which every row counts.

    Raises:
        TrainingRefused: the snapshot has too few labelled rows, days or groups, or too many labels that are no class.
    """
    time = snapshot.dataset.time_column
    snapshot.days()
    every = snapshot.rows()
    label = label_of(every, features_module, spec)
    known = label == label  # noqa: PLR0124  NaN alone differs from itself
    counts = known | (spec.task == "anomaly")
    rows, coverage = every[counts].reset_index(drop=True), coverage_of(every[time].to_numpy(), known)
    if rows.empty:
        refuse_unknown(spec, unknown_of(spec, every, label), snapshot.words)
        raise TrainingRefused(
            f"{sentence_case(snapshot.words)} has no row with a known {spec.label}: "
            f"{' '.join(snapshot.labels.kind) if snapshot.labels else 'ingest batches that have outcomes'}."
        )
    if spec.split.by == "time":
        bounds = _days_of_parts(rows[time], spec.split)
        parts = {name: rows[(rows[time] >= first) & (rows[time] < end)].reset_index(drop=True) for name, (first, end) in bounds.items()}
    else:
        place = part_of(rows, spec.split, snapshot.dataset)
        parts = {name: rows[place == name].reset_index(drop=True) for name in ("train", "validation", "test")}
        bounds = {name: _span(part[time]) for name, part in parts.items() if part[time].notna().any()}
    if len(parts["train"]) < spec.split.min_train_rows or not len(parts["validation"]) or not len(parts["test"]):
        raise TrainingRefused(_too_small(snapshot, spec, parts, bounds, coverage))
    if timeless := [name for name in parts if name not in bounds]:
        raise TrainingRefused(
            f"{sentence_case(snapshot.words)} has no row with an event time ({time}) for {' and '.join(timeless)}: "
            "ingest rows that have one."
        )
    # to the newest row: days of unknown labels alone count too
    used = (every[time] >= bounds["train"][0]).to_numpy()
    unknown = refuse_unknown(spec, unknown_of(spec, every[used], label[used]), snapshot.words)
    days_of_parts = {name: [first.date().isoformat(), last.date().isoformat()] for name, (first, last) in bounds.items()}
    return Split(**parts, bounds=days_of_parts, unknown=unknown, coverage=coverage)


def part_of(rows: pandas.DataFrame, cut: SplitSpec, dataset: DatasetSpec) -> np.ndarray:
    """The part of each row, `train`, `validation` or `test`, by a hash of its group, or of its key if the split is random.

    It depends on that value and on the split's seed and shares alone: a row keeps its part whatever other rows come, and a group is never
    in two parts. Shares are of groups, so that those of rows differ where groups do.

    Args:
        rows: with the columns that `columns_of_split` names.
        cut: by group or random.
        dataset: names the key, and knows the columns' types.
    """
    import numpy as np

    places, values = groups_of(rows, columns_of_split(cut, dataset))
    fractions = [_fraction(cut.seed, value) for value in values]
    parts = np.searchsorted([cut.test_share, cut.test_share + cut.validation_share], fractions, "right")
    named: np.ndarray = np.array(PARTS)[parts[places]]
    return named


def columns_of_split(cut: SplitSpec, dataset: DatasetSpec) -> tuple[str, ...]:
    """The columns whose values decide a row's part; none if it is its time."""
    return {"time": (), "group": cut.group, "random": dataset.key_columns}[cut.by]


def groups_of(rows: pandas.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """The number of each row's group, int [rows], and each group's values; a missing value is a value like any other."""
    places = rows.groupby(list(names), dropna=False, sort=False).ngroup().to_numpy()
    first = rows[list(names)].drop_duplicates()  # in the order in which groups come, as they are numbered
    return places, list(first.itertuples(index=False, name=None))


def _fraction(seed: int, values: tuple[Any, ...]) -> float:
    """A number in [0, 1) that these values always have."""
    hashed = hashlib.sha256(json.dumps([seed, [_plain(value) for value in values]]).encode()).digest()
    return int.from_bytes(hashed[:6], "big") / 2**48


def _plain(value: Any) -> str | int | float | bool | None:
    """A value as JSON can carry it, in the same way whether or not others of its column are missing: then whole numbers are floats."""
    if value is None or value != value:  # noqa: PLR0124  NaN and NaT alone differ from themselves
        return None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    plain: str | int | float | bool = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and plain.is_integer():
        return int(plain)
    return plain


def _days_of_parts(times: pandas.Series, cut: SplitSpec) -> dict[str, tuple[datetime, datetime]]:
    """First day of each part and the day after its last, of a split by time."""
    first, end = _span(times)
    test = end - timedelta(days=cut.test_days)
    validation = test - timedelta(days=cut.validation_days)
    begin = first if cut.train_days is None else validation - timedelta(days=cut.train_days)
    return {"train": (min(begin, validation), validation), "validation": (validation, test), "test": (test, end)}


def _span(times: pandas.Series) -> tuple[datetime, datetime]:
    """The first day and the day after the last."""
    first, last = times.min().normalize().to_pydatetime(), times.max().normalize().to_pydatetime()
    return first, last + timedelta(days=1)


def _too_small(
    snapshot: Snapshot,
    spec: ModelSpec,
    parts: Mapping[str, pandas.DataFrame],
    bounds: Mapping[str, tuple[datetime, datetime]],
    coverage: Coverage,
) -> str:
    cut, counts = spec.split, ", ".join(f"{counted(len(part), 'row')} for {name}" for name, part in parts.items())
    wanted, advice = {
        "time": (
            f"for train before {counted(cut.validation_days, 'day')} for validation and {cut.test_days} for test",
            "Ingest older or newer days, or change split in the spec.",
        ),
        "group": (
            f"for train, and some {', '.join(cut.group)} for each part",
            "Ingest more, or change split in the spec: a share of few groups may be none.",
        ),
        "random": ("for train, and some for each part", "Ingest more, or change split in the spec."),
    }[cut.by]
    what, those = sentence_case(snapshot.words), f" {coverage.sentence()}" if snapshot.labels else ""
    if cut.by == "time" and spec.task != "anomaly" and (gaps := _gaps(parts, bounds, coverage, cut)):
        return (
            f"{what} has gaps: no row of {_listed(gaps)} has a known {spec.label}, so {spec.name} has {counts}; "
            f"it needs {cut.min_train_rows} {wanted}. Ingest these days, or change split in the spec.{those}"
        )
    return f"{what} is too small for {spec.name}: {counts}; it needs {cut.min_train_rows} {wanted}. {advice}{those}"


def _gaps(
    parts: Mapping[str, pandas.DataFrame], bounds: Mapping[str, tuple[datetime, datetime]], coverage: Coverage, cut: SplitSpec
) -> list[tuple[date, date]]:
    """First and last day of each stretch without labelled rows in the parts that have too few of them."""
    short = [name for name, part in parts.items() if len(part) < (cut.min_train_rows if name == "train" else 1)]
    known = coverage.labelled_days
    stretches = [(before + timedelta(days=1), after - timedelta(days=1)) for before, after in pairwise(known) if (after - before).days > 1]
    return [
        (first, last)
        for first, last in stretches
        if any(bounds[name][0].date() <= last and first < bounds[name][1].date() for name in short)
    ]


def _listed(stretches: Sequence[tuple[date, date]]) -> str:
    """The days of some stretches, as part of a sentence: the newest ones, which the parts for test and validation lack."""
    newest = [str(first) if first == last else f"{first} to {last}" for first, last in stretches[-MOST_GAPS:]]
    earlier = len(stretches) - MOST_GAPS
    return ", ".join(newest) + (f" and {counted(earlier, 'earlier stretch', 'earlier stretches')} of days" if earlier > 0 else "")
