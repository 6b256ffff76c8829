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

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from perennial.data.added_columns import table_schema
from perennial.data.hashes import digest_by_names, digest_of
from perennial.data.labels import UnknownLabels, unknown_labels
from perennial.data.tables import Table
from perennial.encoding import whole_numbers
from perennial.errors import TrainingRefused, UnknownName
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas


@dataclass(frozen=True)
class Snapshot:
    """One version of a dataset's table; immutable."""

    dataset: DatasetSpec
    version: int
    store: Store

    @property
    def table(self) -> Table:
        """The table that this is a version of."""
        return table_of(self.store, self.dataset)

    @property
    def digest(self) -> str:
        """Digest of the content: a hash of the SHA-256 of each of its files, as recorded when they were written
        (`refuse_damaged` reads the files)."""
        return digest_of(self.table.hashes(self.version).files.values())

    @property
    def digests(self) -> tuple[str, str]:
        """The digest, and the digest in the old form, from before file hashes were kept."""
        return self.digest, digest_by_names(self.table.files(self.version))

    def refuse_damaged(self) -> None:
        """Read every file of the snapshot once. Raises StoredDataDamaged if one has changed since it was written."""
        self.table.refuse_damaged(self.version)

    def count(self) -> int:
        """Number of rows."""
        return self.table.count(self.version)

    def rows(self, columns: Sequence[str] | None = None, since: datetime | None = None, until: datetime | None = None) -> pandas.DataFrame:
        """The snapshot's rows, sorted by event time and key, so that the same snapshot always gives the same frame.

        Args:
            columns: which columns, in this order; all, in the spec's order, if absent.
            since: first event time, included.
            until: last event time, not included.

        Returns:
            One row per row of the table. Nullable integers come as floats with NaN, or where that would not
            be exact as whole numbers and None. A nullable column that the spec gained later is null.

        Raises:
            Fault: the table has not the columns and types of the spec.
        """
        wanted = [c.name for c in self.dataset.table_columns] if columns is None else list(columns)
        order = list(dict.fromkeys((self.dataset.time_column, *self.dataset.key_columns)))
        field, where = pc.field(self.dataset.time_column), None
        if since is not None:
            where = field >= naive(since)
        if until is not None:
            where = (field < naive(until)) if where is None else where & (field < naive(until))
        selected = self.table.scan(list(dict.fromkeys((*wanted, *order))), where, self.version)
        return _frame(selected.sort_by([(name, "ascending") for name in order]).select(wanted))

    def newest(self) -> datetime:
        """The newest event time.

        Raises:
            TrainingRefused: the snapshot has no rows.
        """
        files = [file for file in self.table.files(self.version) if file["num_records"]]
        if not files:
            raise TrainingRefused(f"Snapshot {self.version} of {self.dataset.name} has no rows: ingest a batch first.")
        known = [end for end in (file.get(f"max.{self.dataset.time_column}") for file in files) if isinstance(end, datetime)]
        if len(known) < len(files):  # Delta keeps statistics of the first 32 columns only
            times = self.table.scan([self.dataset.time_column], version=self.version)
            known = [pc.max(times[self.dataset.time_column]).as_py()]
        return naive(max(known))


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


def label_of(rows: pandas.DataFrame, features_module: ModuleType | Any) -> np.ndarray:
    """The labels of rows, by the model's `features.label`: float64 [rows], NaN where the label is not known."""
    import numpy as np

    return np.asarray(features_module.label({name: rows[name].to_numpy() for name in rows.columns}), dtype=float)


def unknown_of(spec: ModelSpec, rows: pandas.DataFrame, label: np.ndarray) -> UnknownLabels:
    """The label values that are not a class, given the labels that `label_of` made of the rows."""
    return unknown_labels(spec, rows[spec.label].to_numpy() if spec.label in rows.columns else None, label)


def _frame(rows: pa.Table) -> pandas.DataFrame:
    frame = rows.to_pandas()
    for name, values in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_integer(values.type) and values.null_count:
            frame[name] = whole_numbers(values.to_pylist())
    return frame


def naive(when: datetime) -> datetime:
    """Event times have no zone; a time with one is taken at its UTC reading."""
    return when.astimezone(timezone.utc).replace(tzinfo=None) if when.tzinfo else when
