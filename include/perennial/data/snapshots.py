"""Snapshots: immutable versions of a dataset's table.

>>> from perennial import discovery
>>> from perennial.store import open_store
>>> store, orders = open_store("store"), DatasetSpec(
...     name="orders", title="Orders", owner="shop", key=["id"], event_time="at",
...     columns=[{"name": "id", "type": "int"}, {"name": "at", "type": "timestamp"}])
>>> rows = pa.table({"id": [7, 8], "at": pa.array([datetime(2024, 1, 2), datetime(2024, 1, 1)], pa.timestamp("us"))})
>>> table_of(store, orders).append(rows, "1f" * 32, key=("id",), event_time="at")
1
>>> latest_snapshot(store, orders).rows(["id"])["id"].tolist()  # by event time
[8, 7]
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from perennial import discovery
from perennial.data.added_columns import table_schema
from perennial.data.hashes import digest_by_names, digest_of
from perennial.data.joins import JoinedTable, KnownJoins
from perennial.data.label_feed import KnownLabels
from perennial.data.labels import Coverage, UnknownLabels, coverage_of, unknown_labels
from perennial.data.served_rows import OUTCOME, PREDICTION, KnownOutcomes, moment_of
from perennial.data.tables import Statistics, Table
from perennial.encoding import EXACT
from perennial.errors import TrainingRefused, UnknownName
from perennial.served_tables import outcomes_name, predictions_name
from perennial.specs import DatasetSpec, JoinSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas


LABELLED = "labelled:"  # how the digest of a snapshot with a label feed, or with outcomes, begins
JOINED = "joined:"  # and that of one with joins
JOINED_ROWS = 1 << 20  # to which labels of a feed are joined at a time


@dataclass(frozen=True)
class Snapshot:
    """One version of a dataset's table; for a model with a label feed, with the labels that it knew by a moment; for one that learns
    from outcomes, with its predictions and their outcomes by then; for one with joins, with what they bring. Immutable."""

    dataset: DatasetSpec
    version: int
    store: Store
    labels: KnownLabels | KnownOutcomes | None = None
    joins: KnownJoins | None = None

    @property
    def words(self) -> str:
        """What snapshot this is, for a sentence."""
        joined = f" joined with {self.joins.words}" if self.joins else ""
        return f"snapshot {self.version} of {self.dataset.name}{joined}" + (f" with {self.labels.words}" if self.labels else "")

    @property
    def table(self) -> Table:
        """The table that this is a version of."""
        return table_of(self.store, self.dataset)

    @property
    def digest(self) -> str:
        """Digest of the content: a hash of the SHA-256 of each of its files, as recorded when they were written
        (`refuse_damaged` reads the files). With a label feed, outcomes or joins, of the files of all tables and the moment: other labels
        are another snapshot."""
        if self.joins:
            parts: list[Any] = [replace(self, joins=None).digest, *self.joins.identity]
            return f"{JOINED}{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"
        if self.labels is None:
            return self.rows_digest
        parts = [self.rows_digest, *self.labels.identity]
        return f"{LABELLED}{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"

    @property
    def rows_digest(self) -> str:
        """Digest of the rows alone."""
        return digest_of(self.table.hashes(self.version).files.values())

    @property
    def digests(self) -> tuple[str, ...]:
        """The digest, and the digest in the old form, from before file hashes and label feeds were kept."""
        return (self.digest,) if self.labels or self.joins else (self.digest, digest_by_names(self.table.files(self.version)))

    def refuse_damaged(self, *, rows: bool = True) -> None:
        """Read every file of the snapshot once; without `rows` the table's log alone, and what labels and joins read. Raises
        StoredDataDamaged if one has changed since it was written."""
        self.table.refuse_damaged(self.version, files=rows)
        for table, version in self.labels.tables if self.labels else ():
            table.refuse_damaged(version)
        if self.joins:
            self.joins.refuse_damaged()

    def files_between(self, since: datetime | None, until: datetime | None) -> set[str]:
        """The files of the table that may have rows of these times, by their statistics: what `parts` may read."""
        column = self.dataset.time_column
        found = set()
        for file in self.table.files(self.version):
            least, most = file.get(f"min.{column}"), file.get(f"max.{column}")
            is_before = until is not None and isinstance(least, datetime) and naive(least) >= naive(until)
            # Delta keeps milliseconds: the newest row may be up to one later than it says.
            is_after = since is not None and isinstance(most, datetime) and naive(most) + timedelta(milliseconds=1) < naive(since)
            if not (is_before or is_after):
                found.add(file["path"])
        return found

    def count(self) -> int:
        """Number of rows."""
        return self.read([self.dataset.time_column]).num_rows if self.served else self.table.count(self.version)

    @property
    def served(self) -> KnownOutcomes | None:
        """The predictions that are among the rows, for a model that learns from outcomes."""
        return self.labels if isinstance(self.labels, KnownOutcomes) else None

    def rows(self, columns: Sequence[str] | None = None, since: datetime | None = None, until: datetime | None = None) -> pandas.DataFrame:
        """The snapshot's rows, sorted by event time and key, so that the same snapshot always gives the same frame.

        Args:
            columns: which columns, in this order; all, in the spec's order, with the label columns and those of joins, if absent.
            since: first event time, included.
            until: last event time, not included.

        Returns:
            One row per row of the table. Nullable integers come as floats with NaN, or where that would not
            be exact as whole numbers and None. A nullable column that the spec gained later is null.

        Raises:
            Fault: the table has not the columns and types of the spec.
        """
        wanted = self.columns if columns is None else list(columns)
        return self._sorted(self.read((*wanted, *self.order), self._between(since, until)), wanted)

    def parts(self, columns: Sequence[str], since: datetime | None = None, until: datetime | None = None) -> Iterator[pa.Table]:
        """Rows of some times as `read` gives them, part by part; those with predictions, or with what joins bring, as one part.

        Of the table only the files and row groups are read that may have such rows.
        """
        where, asked = self._between(since, until), set(columns)
        if self.served or (self.joins and asked & set(self.joins.columns)):
            yield self.read(columns, where)
            return
        labels = self.labels if isinstance(self.labels, KnownLabels) and set(self.labels.columns) & asked else None
        own = [name for name in columns if labels is None or name not in labels.columns]
        needed = dict.fromkeys((*own, *labels.spec.key, self.dataset.time_column) if labels else own)
        waiting: list[pa.RecordBatch] = []
        for batch in self.table.parts(list(needed), where, self.version):
            waiting.append(batch)
            if labels is None or sum(map(len, waiting)) >= JOINED_ROWS:  # the feed is read through for each part
                rows, waiting = pa.Table.from_batches(waiting), []
                yield labels.join(rows, self.dataset.time_column) if labels else rows
        if labels and waiting:
            yield labels.join(pa.Table.from_batches(waiting), self.dataset.time_column)

    def frame(self, rows: pa.Table) -> pandas.DataFrame:
        """Some of the rows, which `parts` gave, as they would be in a frame of all: whole numbers are floats, and truth values objects,
        where any row of the table has a null in their column."""
        own = {column.name for column in self.dataset.table_columns} - set(self.brought)
        told = [field.name for field in rows.schema if field.name in own and (_is_whole(field.type) or pa.types.is_boolean(field.type))]
        if lacking := [] if self.served else [name for name in told if name not in self._statistics]:
            self._statistics.update(self.table.statistics(lacking, self.version))
        return _frame(rows, self._statistics)

    @cached_property
    def _statistics(self) -> dict[str, Statistics]:
        """Nulls and extremes of columns of the table, as far as they were asked for."""
        return {}

    @property
    def columns(self) -> list[str]:
        """All columns of the rows, in the spec's order, with the label columns and those of joins."""
        return list(dict.fromkeys((*(column.name for column in self.dataset.table_columns), *self.brought)))

    @property
    def brought(self) -> tuple[str, ...]:
        """The columns that labels and joins bring."""
        return (*(self.labels.columns if self.labels else ()), *(self.joins.columns if self.joins else ()))

    def landed_and_labelled(self, since: datetime | None = None) -> tuple[pandas.DataFrame, pandas.DataFrame]:
        """The rows as they landed, and with the labels of the feed, if there is one, or with predictions. Sorted as by `rows`."""
        if self.served:
            begin = None if self.served.since is None else datetime.combine(self.served.since, time())
            return replace(self, labels=None, joins=None).rows(since=since, until=begin), self.rows(since=since)
        columns = [column.name for column in self.dataset.table_columns]
        landed = replace(self, labels=None, joins=None).read((*columns, *self.order), self._between(since, None))
        rows = self._sorted(landed, columns)
        if not isinstance(self.labels, KnownLabels):
            return rows, rows
        labelled = self.labels.join(landed, self.dataset.time_column)
        return rows, self._sorted(labelled, list(dict.fromkeys((*columns, *self.labels.spec.columns))))

    def span(self, column: str = "") -> tuple[datetime, datetime] | None:
        """The oldest and the newest event time, or time in another timestamp column; None if no row has one.

        From the table's statistics, where they tell.
        """
        column = column or self.dataset.time_column
        if self.served:
            bounds = pc.min_max(self.read([column])[column]).as_py()
            return None if bounds["min"] is None else (naive(bounds["min"]), naive(bounds["max"]))
        files = [
            file
            for file in self.table.files(self.version)
            if file["num_records"] and file.get(f"null_count.{column}") != file["num_records"]
        ]
        ends = [(file.get(f"min.{column}"), file.get(f"max.{column}")) for file in files]
        known = [(naive(least), naive(most)) for least, most in ends if isinstance(least, datetime) and isinstance(most, datetime)]
        if len(known) < len(files):  # Delta keeps statistics of the first 32 columns only
            bounds = pc.min_max(self.table.scan([column], version=self.version)[column]).as_py()
            known = [(naive(bounds["min"]), naive(bounds["max"]))] if bounds["min"] is not None else []
        return (min(least for least, _ in known), max(most for _, most in known)) if known else None

    def days(self) -> tuple[datetime, datetime]:
        """The oldest and the newest event time, of which whole days can be made.

        Raises:
            TrainingRefused: the snapshot has no rows, none has an event time, or one is on the last day of the calendar.
        """
        if not self.count():
            raise TrainingRefused(f"Snapshot {self.version} of {self.dataset.name} has no rows: ingest a batch first.")
        ends, name = self.span(), self.dataset.time_column
        if ends is None:
            raise TrainingRefused(
                f"{name} is null in every row of snapshot {self.version} of {self.dataset.name}, and it is the event time: land rows that "
                'have one, or let another dataset have event_time="", by which the time of landing counts.'
            )
        if ends[1].date() == date.max:
            raise TrainingRefused(
                f"Snapshot {self.version} of {self.dataset.name} has rows whose {name} is on {date.max}, after which no day follows: "
                f"take their batch out (`perennial remove-batch {self.dataset.name} FILE --reason ...`), then land it without them."
            )
        return ends

    def newest(self) -> datetime:
        """The newest event time. Raises TrainingRefused as `days` does."""
        return self.days()[1]

    def coverage(self, label: str) -> Coverage:
        """How many rows of each day have a label: a value in that column."""
        rows = self.read([self.dataset.time_column, label, *((OUTCOME,) if self.served else ())])
        known = pc.or_(rows[label].is_valid(), rows[OUTCOME].is_valid()) if self.served else rows[label].is_valid()
        return coverage_of(rows[self.dataset.time_column].to_numpy(), known.to_numpy())

    def usual_delay_days(self) -> int:
        """Days until the labels of a day are usually known: as the dataset says, or longer where its label feed shows that."""
        told = math.ceil(self.dataset.label_delay_days)
        if self.labels is None:
            return told
        if isinstance(self.labels, KnownOutcomes):
            return max(told, self.labels.usual_delay_days())
        rows = self.table.scan(list(dict.fromkeys((*self.labels.spec.key, self.dataset.time_column))), version=self.version)
        return max(told, self.labels.usual_delay_days(rows, self.dataset.time_column))

    @property
    def order(self) -> list[str]:
        """The columns by which the rows are sorted: event time and key."""
        return list(dict.fromkeys((self.dataset.time_column, *self.dataset.key_columns, *((PREDICTION,) if self.served else ()))))

    def _between(self, since: datetime | None, until: datetime | None) -> pc.Expression | None:
        field, where = pc.field(self.dataset.time_column), None
        if since is not None:
            where = field >= naive(since)
        if until is not None:
            where = (field < naive(until)) if where is None else where & (field < naive(until))
        return where

    def _sorted(self, rows: pa.Table, wanted: Sequence[str]) -> pandas.DataFrame:
        return _frame(rows.sort_by([(name, "ascending") for name in self.order]).select(wanted))

    def read(self, columns: Sequence[str], where: pc.Expression | None = None) -> pa.Table:
        """Columns of the rows, of the labels that were known of them and of what joins bring, in no particular order.

        Args:
            columns: which columns; each once.
            where: which rows, by their event time.
        """
        if self.served:
            return self.served.rows(list(dict.fromkeys(columns)), where)
        if self.joins and (joined := [name for name in columns if name in self.joins.columns]):
            others = (name for name in columns if name not in joined)
            by = list(dict.fromkeys((*others, *self.joins.needed(joined), self.dataset.time_column)))
            rows = self.joins.join(replace(self, joins=None).read(by, where), self.dataset.time_column, joined)
            return rows.select(list(dict.fromkeys(columns)))
        labels = self.labels if isinstance(self.labels, KnownLabels) and set(self.labels.columns) & set(columns) else None
        own = [name for name in columns if labels is None or name not in labels.columns]
        needed = (*own, *labels.spec.key, self.dataset.time_column) if labels else own
        rows = self.table.scan(list(dict.fromkeys(needed)), where, self.version)
        return labels.join(rows, self.dataset.time_column) if labels else rows


def table_of(store: Store, dataset: DatasetSpec) -> Table:
    """The table of a dataset, with the columns of its spec."""
    return Table(store, dataset.name, table_schema(dataset))


def latest_snapshot(store: Store, dataset: DatasetSpec) -> Snapshot | None:
    """The newest snapshot; None while nothing has been ingested (a table is made empty, a moment before its first batch)."""
    version = Table(store, dataset.name).version()
    return None if not version else Snapshot(dataset, version, store)


def snapshot_at(store: Store, dataset: DatasetSpec, version: int) -> Snapshot:
    """The snapshot with that version.

    Raises:
        UnknownName: the table has no such version.
    """
    newest = Table(store, dataset.name).version()
    if not newest or not 1 <= version <= newest:
        known = f"has the snapshots 1 to {newest}" if newest else "has no snapshot yet: ingest a batch first"
        raise UnknownName(f"There is no snapshot {version} of {dataset.name}: it {known}.")
    return Snapshot(dataset, version, store)


def model_snapshot(
    store: Store,
    spec: ModelSpec,
    version: int | None = None,
    labels: int | None = None,
    predictions: int | None = None,
    joined: Mapping[str, int] | None = None,
) -> Snapshot | None:
    """The snapshot that a model learns from: of its dataset, with the labels of its feed, if it has one, as of the snapshot; or with its
    predictions and their outcomes; and with what its joins bring.

    The moment of a feed is the newest time in both tables: the newest event time, or the newest time at which a label became known. That
    of outcomes is when the newest of the two table versions was made. It depends on the table versions alone, so the same versions give
    the same snapshot at any time.

    Args:
        store: has the tables.
        spec: of the model.
        version: of the dataset's table; the newest if absent.
        labels: version of the label feed's table, or of the table of outcomes (0: none); the newest if absent.
        predictions: version of the table of predictions (0: none), for a model that learns from outcomes; the newest if absent.
        joined: version of the table of each joined dataset; the newest where it is not named.

    Returns:
        None while the dataset, the label feed or a joined dataset has no snapshot.

    Raises:
        UnknownName: there is no such version.
    """
    dataset = discovery.dataset(spec.dataset)
    source = latest_snapshot(store, dataset) if version is None else snapshot_at(store, dataset, version)
    if source is not None and spec.joins:
        source = joined_with(source, spec.joins, joined or {})
    if source is not None and spec.learns_from_outcomes:
        versions = {predictions_name(spec.name): predictions, outcomes_name(spec.name): labels}
        known = [_version_of(Table(store, name), asked) for name, asked in versions.items()]
        return with_outcomes(source, spec.name, known[0], known[1], since=spec.served_since)
    if source is None or spec.feed is None:
        return source
    told = discovery.dataset(spec.feed.dataset)
    feed = latest_snapshot(store, told) if labels is None else snapshot_at(store, told, labels)
    if feed is None:
        return None
    spans = (source.span(), feed.span(spec.feed.known_at))
    times = [ends[1] for ends in spans if ends]
    return replace(source, labels=KnownLabels(spec.feed, feed, max(times), dataset.label_delay_days)) if times else source


def joined_with(own: Snapshot, joins: Sequence[JoinSpec], versions: Mapping[str, int]) -> Snapshot | None:
    """A snapshot with what joins bring; None while a joined dataset has no snapshot.

    Args:
        own: the rows.
        joins: which.
        versions: of the joined datasets' tables; the newest where one is not named.

    Raises:
        UnknownName: there is no such dataset or version.
    """
    sources: dict[str, Snapshot] = {}
    for name in dict.fromkeys(join.dataset for join in joins):
        dataset = discovery.dataset(name)
        found = snapshot_at(own.store, dataset, versions[name]) if name in versions else latest_snapshot(own.store, dataset)
        if found is None:
            return None
        sources[name] = found
    return replace(own, joins=KnownJoins(tuple(JoinedTable(join, sources[join.dataset]) for join in joins))) if joins else own


def with_outcomes(own: Snapshot, model: str, predictions: int, outcomes: int, *, since: date | None) -> Snapshot:
    """The rows of a dataset with a model's predictions and the outcomes that were known of them.

    Args:
        own: the dataset's rows.
        model: name of the model.
        predictions: version of the table of its predictions; 0 for none.
        outcomes: version of the table of its outcomes; 0 for none.
        since: first day whose rows are predictions; if None, the key tells them from the dataset's rows.
    """
    known = KnownOutcomes(model, own, predictions, outcomes, datetime.min, own.dataset.label_delay_days, since)
    return replace(own, labels=replace(known, known_by=moment_of(own, known.tables)))


def _version_of(table: Table, asked: int | None) -> int:
    """The version of a table that is asked for, or the newest; 0 while it has no rows. Raises UnknownName if there is no such version."""
    newest = table.version() or 0
    if asked is not None and not 0 <= asked <= newest:
        known = f"has the versions 1 to {newest}" if newest else "has no rows yet"
        raise UnknownName(f"There is no version {asked} of the table {table.name}: it {known}.")
    return newest if asked is None else asked


def empty_dataset(store: Store, spec: ModelSpec) -> str:
    """Name of the dataset for want of which a model has no snapshot: its own, its label feed, or one that it joins."""
    return next((name for name in spec.datasets if latest_snapshot(store, discovery.dataset(name)) is None), spec.dataset)


def sentence_case(words: str) -> str:
    """The words with a capital first letter."""
    return words[:1].upper() + words[1:]


def label_of(rows: pandas.DataFrame, features_module: ModuleType | Any, spec: ModelSpec) -> np.ndarray:
    """The labels of rows: float64 [rows], NaN where the label is not known.

    A row of the dataset has that of the model's `features.label`, a prediction its outcome, where it is a class or a finite number. For an
    anomaly model it is 1 or 0, and known of no row where the spec names none.
    """
    import numpy as np

    if spec.task == "anomaly":
        if not spec.label:
            return np.full(len(rows), np.nan)
        label = np.asarray(features_module.label({name: rows[name].to_numpy() for name in rows.columns}), dtype=float)
        return np.where(np.isin(label, (0.0, 1.0)), label, np.nan)
    if OUTCOME not in rows.columns:
        return np.asarray(features_module.label({name: rows[name].to_numpy() for name in rows.columns}), dtype=float)
    served = rows[PREDICTION].notna().to_numpy()
    label = rows[OUTCOME].to_numpy(dtype=float, copy=True)
    label[~(np.isin(label, np.arange(len(spec.classes))) if spec.classes else np.isfinite(label))] = np.nan
    if not served.all():
        own = rows[~served].drop(columns=[PREDICTION, OUTCOME])
        label[~served] = features_module.label({name: own[name].to_numpy() for name in own.columns})
    return np.asarray(label)


def unknown_of(spec: ModelSpec, rows: pandas.DataFrame, label: np.ndarray) -> UnknownLabels:
    """The label values that are not a class, given the labels that `label_of` made of the rows."""
    return unknown_labels(spec, label_values(spec, rows), label)


def label_values(spec: ModelSpec, rows: pandas.DataFrame) -> np.ndarray | None:
    """What the label column has, of a prediction its outcome; None where the rows have no column of that name."""
    own = rows[spec.label] if spec.label in rows.columns else None
    if OUTCOME in rows.columns:
        own = rows[OUTCOME].astype(object).where(rows[PREDICTION].notna(), None if own is None else own.astype(object))
    return None if own is None else own.to_numpy()


def _frame(rows: pa.Table, whole: Mapping[str, Statistics] | None = None) -> pandas.DataFrame:
    """Rows as a frame; `whole` tells of columns what all rows have, of which these are some."""
    import numpy as np

    frame = rows.to_pandas()
    for name, values in zip(rows.column_names, rows.columns, strict=True):
        told = (whole or {}).get(name, Statistics(0))
        if not values.null_count and not told.nulls:
            continue
        if _is_whole(values.type):
            ends = (*pc.min_max(values).as_py().values(), told.least, told.most)
            if all(abs(end) <= EXACT for end in ends if end is not None):
                frame[name] = values.cast(pa.float64()).to_numpy()
            else:
                frame[name] = np.array([*values.to_pylist(), None], dtype=object)[:-1]
        elif pa.types.is_boolean(values.type):
            frame[name] = frame[name].astype(object)
    return frame


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def naive(when: datetime) -> datetime:
    """Event times have no zone; a time with one is taken at its UTC reading."""
    return when.astimezone(timezone.utc).replace(tzinfo=None) if when.tzinfo else when
