"""A Delta table whose partitions are each written whole: to write one again puts its new files in the place of its old ones.

All in one commit, so that whoever looks sees the partition before or after. Files of other partitions are not touched, and older versions
of the table keep the old files.

    >>> import datetime, tempfile
    >>> import pyarrow as pa
    >>> from perennial.store import open_store
    >>> schema = pa.schema([("ride", pa.string()), ("day", pa.date32())])
    >>> table = PartitionedTable(open_store(tempfile.mkdtemp()), "rides_scores", schema, ("day",))
    >>> day = {"day": datetime.date(2026, 3, 2)}
    >>> rows = [pa.table({"ride": ["r1", "r2"], "day": [day["day"]] * 2}, schema).to_batches()[0]]
    >>> table.replace(day, rows), table.replace(day, rows[:1]), table.count()
    (1, 2, 2)
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from perennial.data.commits import FACT, put_commit, removals, written
from perennial.data.tables import ORDER, Table, attempts
from perennial.store import Store


class PartitionedTable(Table):
    """One Delta table below `tables/` that is written by whole partitions.

    Args:
        store: where it is.
        name: of the table.
        schema: of its rows.
        by: the columns whose values make a partition, in the order of its folders.
    """

    def __init__(self, store: Store, name: str, schema: pa.Schema, by: Sequence[str]) -> None:
        super().__init__(store, name)
        self.schema, self.by = schema, tuple(by)

    def partitions(self) -> list[dict[str, Any]]:
        """The partitions that have rows, by the values of their columns."""
        seen = {tuple(file[f"partition.{name}"] for name in self.by) for file in self.files()}
        return [dict(zip(self.by, values, strict=True)) for values in sorted(seen)]

    def replace(self, partition: Mapping[str, Any], rows: Iterable[pa.RecordBatch], facts: Mapping[str, str] | None = None) -> int:
        """Put rows in the place of all rows of a partition.

        Args:
            partition: a value for each of its columns.
            rows: all rows that it is to have, read once, batch by batch; none empties it.
            facts: who and why: for the commit.

        Returns:
            The version of the table that has them.

        Raises:
            Fault: a column has another type in the table; or others wrote to the table again and again.
            StoreUnreachable: the store does not take it.
        """
        table = self._open() or self._create(self.schema)
        self._refuse_other_types(table, self.schema, "was to be written")
        with self._sentences(), tempfile.TemporaryDirectory(prefix="perennial-partition-") as scratch:
            batches = iter(rows)
            first = next((batch for batch in batches if batch.num_rows), None)
            reader = None if first is None else pa.RecordBatchReader.from_batches(self.schema, itertools.chain([first], batches))
            info, changes, added = written(Path(scratch), table, reader)
            for file, _ in added:
                self.store.upload(Path(scratch, file["path"]), f"tables/{self.name}/{file['path']}")
            told = {f"perennial.{name}": text for name, text in (facts or {}).items()}
            info |= {"operation": "REPLACE", **told, FACT: json.dumps({file["path"]: hashed for file, hashed in added})}
            for _ in attempts():
                table = self._open() or table
                gone = _in(table, partition)
                if not gone and not added:
                    return self._version(table)
                version = table.version() + 1
                actions: list[dict[str, Any]] = [{"txn": {"appId": ORDER, "version": version}}, *changes]
                actions += [*removals(gone, changes_data=True), *({"add": file} for file, _ in added)]
                if put_commit(self.store, self.name, version, info, actions):
                    return version
        raise self._contended()


def _in(table: DeltaTable | None, partition: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a partition in an opened version of the table."""
    every = [] if table is None else pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return [file for file in every if all(file[f"partition.{name}"] == value for name, value in partition.items())]
