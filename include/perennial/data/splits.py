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
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock
from functools import cached_property
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from perennial.counted import counted
from perennial.data.labelled_rows import LabelledRows, Part
from perennial.data.labels import ALL_KNOWN, NOTHING, Coverage, UnknownByDay, UnknownLabels, coverage_of, refuse_unknown
from perennial.data.ordered_rows import OrderedRows
from perennial.data.snapshots import Snapshot, sentence_case
from perennial.engine.room import Room
from perennial.errors import TrainingRefused
from perennial.specs import DatasetSpec, ModelSpec, SplitSpec

if TYPE_CHECKING:
    import pandas

PARTS = ("test", "validation", "train")
MOST_GAPS = 3  # stretches of days that a refusal names
_LABEL = "_label"


@dataclass(frozen=True)
class Split:
    """A snapshot cut into three parts; only rows whose label is known, or all of them where a model learns without."""

    parts: dict[str, PartRows]
    bounds: dict[str, list[str]]  # part -> [first day, day after the last], ISO dates; they overlap unless the split is by time
    unknown: UnknownLabels = ALL_KNOWN  # labels since the first training day that are no class
    coverage: Coverage = NOTHING  # rows and labelled rows of each day, where labels come after their rows

    @cached_property
    def train(self) -> pandas.DataFrame:
        """The rows to train on, in memory."""
        return self.parts["train"].frame()

    @cached_property
    def validation(self) -> pandas.DataFrame:
        """The rows to validate with, in memory."""
        return self.parts["validation"].frame()

    @cached_property
    def test(self) -> pandas.DataFrame:
        """The rows to test with, in memory."""
        return self.parts["test"].frame()


def split(
    snapshot: Snapshot,
    spec: ModelSpec,
    features_module: ModuleType | Any,
    columns: Sequence[str] | None = None,
    *,
    vouched: bool = False,
    room: Room | None = None,
) -> Split:
    """Cut a snapshot into train, validation and test, without overlap: by whole days, oldest first; or as `part_of` says.

    By time, the newest day that has labelled rows is the last test day. Rows whose label is unknown (`features.label` gives NaN) are left
    out, unless the model is an anomaly model, for which every row counts. Of a split by time only the days are read that are in a part,
    and those after them.

    Args:
        snapshot: the rows.
        spec: of the model.
        features_module: has `label`.
        columns: that train and validation have, besides the event time and what the split goes by; test has the event time alone then.
            All columns, of all parts, if absent.
        vouched: whether each file that is read is held against its hash first.
        room: that the rows of a part may take in memory, and where those lie that do not fit; without one all are in memory.

    Raises:
        TrainingRefused: the snapshot has too few labelled rows, days or groups, or too many labels that are no class.
        StoredDataDamaged: a file has changed since it was written.
    """
    snapshot.days()
    rows = LabelledRows(snapshot, spec, features_module, vouched=vouched)
    coverage = rows.whole_pass(lambda: _coverage(rows)) if snapshot.labels else NOTHING
    if spec.split.by == "time":
        ends = _ends(coverage.days if spec.task == "anomaly" else coverage.labelled_days) if snapshot.labels else _labelled_ends(rows)
        if ends is None:
            raise _without_labels(rows)
        bounds = _days_of_parts(*ends, spec.split)
        cut = rows.whole_pass(lambda: _cut_by_time(rows, bounds, columns, room))
    else:
        cut = rows.whole_pass(lambda: _cut_by_hash(rows, columns, room))
        if not any(len(part) for part in cut.parts.values()):
            raise _without_labels(rows)
        bounds = cut.bounds
    parts = cut.parts
    if len(parts["train"]) < spec.split.min_train_rows or not len(parts["validation"]) or not len(parts["test"]):
        days = coverage if snapshot.labels else rows.whole_pass(lambda: _coverage(rows))
        raise TrainingRefused(_too_small(snapshot, spec, parts, bounds, days))
    if timeless := [name for name in parts if name not in bounds]:
        raise TrainingRefused(
            f"{sentence_case(snapshot.words)} has no row with an event time ({snapshot.dataset.time_column}) for "
            f"{' and '.join(timeless)}: ingest rows that have one."
        )
    # to the newest row: days of unknown labels alone count too
    unknown = refuse_unknown(spec, cut.unknown.since(bounds["train"][0].date()), snapshot.words)
    days_of_parts = {name: [first.date().isoformat(), last.date().isoformat()] for name, (first, last) in bounds.items()}
    return Split(parts, days_of_parts, unknown, coverage)


def labels_of_part(
    snapshot: Snapshot, spec: ModelSpec, features_module: ModuleType | Any, cut: SplitSpec, name: str, days: tuple[datetime, datetime]
) -> np.ndarray:
    """Labels of the rows of one part that a split made, float64 [rows], NaN where they are not known, sorted by event time and key.

    Args:
        snapshot: which was split.
        spec: of the model.
        features_module: has `label`.
        cut: how it was split.
        name: of the part.
        days: its first day and the day after its last.
    """
    rows, by = LabelledRows(snapshot, spec, features_module), columns_of_split(cut, snapshot.dataset)

    def collected() -> PartRows:
        found = PartRows(snapshot, ())
        for part in rows.read([*found.kept, *by], *days):
            is_in_it = (
                part_of(snapshot.frame(part.rows.select(by)), cut, snapshot.dataset) == name if by else np.full(len(part.labels), True)
            )
            found.add(part, is_in_it)
        return found

    return rows.whole_pass(collected).labels()


class PartRows:
    """The rows of one part of a split, sorted by event time and key, with their labels."""

    def __init__(self, snapshot: Snapshot, columns: Sequence[str], room: Room | None = None, what: str = "rows") -> None:
        self.snapshot, self.columns = snapshot, list(dict.fromkeys(columns))
        self.kept = list(dict.fromkeys((*self.columns, *snapshot.order)))
        self._rows = OrderedRows(snapshot.order, room, what)

    def add(self, part: Part, chosen: np.ndarray) -> None:
        """Take the rows of a part that are chosen, [rows] of truth values."""
        rows = part.rows.select(self.kept).append_column(_LABEL, pa.array(part.labels))
        self._rows.add(rows if chosen.all() else rows.filter(pa.array(chosen)))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def in_memory(self) -> bool:
        """Whether all rows are."""
        return self._rows.in_memory

    def frame(self, columns: Sequence[str] | None = None) -> pandas.DataFrame:
        """All rows, with these columns or all."""
        return self.snapshot.frame(self._rows.table().select(self.columns if columns is None else columns))

    def frames(self, columns: Sequence[str]) -> Iterator[pandas.DataFrame]:
        """All rows, a piece at a time where they are not in memory."""
        return (self.snapshot.frame(piece.select(columns)) for piece in self._rows.pieces())

    def labels(self) -> np.ndarray:
        """Their labels, float64 [rows]."""
        return np.concatenate([piece[_LABEL].to_numpy() for piece in self._rows.pieces()])

    def times(self) -> np.ndarray:
        """Their event times, datetime64 [rows]."""
        name = self.snapshot.dataset.time_column
        return np.concatenate([piece[name].to_numpy() for piece in self._rows.pieces()])


@dataclass(frozen=True)
class _Cut:
    """The parts of a split, and what was counted meanwhile."""

    parts: dict[str, PartRows]
    bounds: dict[str, tuple[datetime, datetime]]
    unknown: UnknownByDay


def _collected(rows: LabelledRows, columns: Sequence[str] | None, room: Room | None) -> dict[str, PartRows]:
    """The parts of a split, empty as yet, with the columns that they are to have."""
    snapshot, time = rows.snapshot, rows.snapshot.dataset.time_column
    wanted = snapshot.columns if columns is None else [*columns, time, *rows.spec.split.group]
    of_test = snapshot.columns if columns is None else [time]
    return {
        "train": PartRows(snapshot, wanted, room, f"rows to train {rows.spec.name} on"),
        "validation": PartRows(snapshot, wanted),
        "test": PartRows(snapshot, of_test, room, f"rows to test {rows.spec.name} with"),
    }


def _cut_by_time(
    rows: LabelledRows, bounds: Mapping[str, tuple[datetime, datetime]], columns: Sequence[str] | None, room: Room | None
) -> _Cut:
    """The rows of each part, which is some days."""
    parts, unknown, is_anomaly = _collected(rows, columns, room), UnknownByDay(), rows.spec.task == "anomaly"
    for name, (first, end) in bounds.items():
        for part in rows.read(parts[name].kept, first, end):
            parts[name].add(part, is_anomaly | ~np.isnan(part.labels))
            unknown += rows.unknown(part)
    for part in rows.read((), bounds["test"][1]):
        unknown += rows.unknown(part)
    return _Cut(parts, dict(bounds), unknown)


def _cut_by_hash(rows: LabelledRows, columns: Sequence[str] | None, room: Room | None) -> _Cut:
    """The rows of each part, as `part_of` says."""
    parts, unknown, is_anomaly = _collected(rows, columns, room), UnknownByDay(), rows.spec.task == "anomaly"
    snapshot, cut = rows.snapshot, rows.spec.split
    by = columns_of_split(cut, snapshot.dataset)
    ends: dict[str, list[np.datetime64]] = {name: [] for name in parts}
    for part in rows.read([name for name in dict.fromkeys((*parts["train"].kept, *parts["test"].kept, *by))]):
        known = is_anomaly | ~np.isnan(part.labels)
        places = part_of(snapshot.frame(part.rows.select(by)), cut, snapshot.dataset)
        for name, collected in parts.items():
            chosen = known & (places == name)
            collected.add(part, chosen)
            times = part.times[chosen]
            if len(times := times[~np.isnat(times)]):
                ends[name] += [times.min(), times.max()]
        unknown += rows.unknown(part)
    return _Cut(parts, {name: _span(times) for name, times in ends.items() if times}, unknown)


def _labelled_ends(rows: LabelledRows) -> tuple[datetime, datetime] | None:
    """The first and the last day that has rows whose label is known, or any rows where a model learns without; None if none has.

    Read from the newest day backwards, as far as needed, each time twice as many days; and from the oldest forwards, where the training
    has no first day.
    """
    snapshot, cut = rows.snapshot, rows.spec.split
    oldest, newest = (datetime.combine(end, clock.min) for end in snapshot.days())
    if rows.spec.task == "anomaly":
        return oldest, newest
    last = rows.whole_pass(lambda: _first_labelled(rows, _stretches(oldest, newest, backwards=True), last=True))
    if last is None:
        return None
    if cut.train_days is not None:
        return oldest, last
    first = rows.whole_pass(lambda: _first_labelled(rows, _stretches(oldest, last, backwards=False), last=False))
    return first or oldest, last


def _stretches(oldest: datetime, newest: datetime, *, backwards: bool) -> Iterator[tuple[datetime, datetime]]:
    """Days from one end to the other, first day and day after the last: one, then each time twice as many."""
    days = (newest - oldest).days + 1
    done, many = 0, 1
    while done < days:
        until = min(done + many, days)
        near, far = timedelta(days=done), timedelta(days=until)
        yield (newest + timedelta(days=1) - far, newest + timedelta(days=1) - near) if backwards else (oldest + near, oldest + far)
        done, many = until, 2 * many


def _first_labelled(rows: LabelledRows, stretches: Iterable[tuple[datetime, datetime]], *, last: bool) -> datetime | None:
    """The last day, or the first, that has labelled rows in the first of some stretches that has any; None if none has."""
    for since, until in stretches:
        known = [part.times[~np.isnan(part.labels)] for part in rows.read((), since, until)]
        if any(len(times) for times in known):
            days = np.concatenate(known).astype("datetime64[D]")
            return datetime.combine((days.max() if last else days.min()).item(), clock.min)
    return None


def _ends(days: Collection[date]) -> tuple[datetime, datetime] | None:
    return (datetime.combine(min(days), clock.min), datetime.combine(max(days), clock.min)) if days else None


def _coverage(rows: LabelledRows) -> Coverage:
    """Rows and labelled rows of each day of the snapshot."""
    counts = Counter[date](), Counter[date]()
    for part in rows.read():
        for day, of in coverage_of(part.times, ~np.isnan(part.labels)).days.items():
            for count, more in zip(counts, of, strict=True):
                count[day] += more
    return Coverage({day: (counts[0][day], counts[1][day]) for day in sorted(counts[0])})


def _without_labels(rows: LabelledRows) -> TrainingRefused:
    """Why no row can train: no label is known. Raises TrainingRefused where the labels are no classes."""
    spec, snapshot = rows.spec, rows.snapshot

    def unknown() -> UnknownByDay:
        return sum((rows.unknown(part) for part in rows.read()), UnknownByDay())

    refuse_unknown(spec, rows.whole_pass(unknown).since(), snapshot.words)
    return TrainingRefused(
        f"{sentence_case(snapshot.words)} has no row with a known {spec.label}: "
        f"{' '.join(snapshot.labels.kind) if snapshot.labels else 'ingest batches that have outcomes'}."
    )


def part_of(rows: pandas.DataFrame, cut: SplitSpec, dataset: DatasetSpec) -> np.ndarray:
    """The part of each row, `train`, `validation` or `test`, by a hash of its group, or of its key if the split is random.

    It depends on that value and on the split's seed and shares alone: a row keeps its part whatever other rows come, and a group is never
    in two parts. Shares are of groups, so that those of rows differ where groups do.

    Args:
        rows: with the columns that `columns_of_split` names.
        cut: by group or random.
        dataset: names the key, and knows the columns' types.
    """
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


def _days_of_parts(first: datetime, last: datetime, cut: SplitSpec) -> dict[str, tuple[datetime, datetime]]:
    """First day of each part and the day after its last, of a split by time.

    Args:
        first: day that has labelled rows, if the training has no first day of its own.
        last: day that has labelled rows.
        cut: how many days each part has.
    """
    end = last + timedelta(days=1)
    test = end - timedelta(days=cut.test_days)
    validation = test - timedelta(days=cut.validation_days)
    begin = first if cut.train_days is None else validation - timedelta(days=cut.train_days)
    return {"train": (min(begin, validation), validation), "validation": (validation, test), "test": (test, end)}


def _span(times: Sequence[np.datetime64]) -> tuple[datetime, datetime]:
    """The first day and the day after the last."""
    first, last = (datetime.combine(end.astype("datetime64[D]").item(), clock.min) for end in (min(times), max(times)))
    return first, last + timedelta(days=1)


def _too_small(
    snapshot: Snapshot,
    spec: ModelSpec,
    parts: Mapping[str, Sized],
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
    parts: Mapping[str, Sized], bounds: Mapping[str, tuple[datetime, datetime]], coverage: Coverage, cut: SplitSpec
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
