"""Compaction: many small files of a table become one, in a commit that changes no row.

Not `DeltaTable.optimize.compact`: of deltalake 1.6.6, two that run at the same time both succeed, and every row is in the table twice
(it no longer looks for conflicts where no data change). Here the commit is put-if-absent of exactly the next version: whatever
else was committed meanwhile wins, and the compaction waits for the next append. The old files stay, since older snapshots name them.

    >>> from perennial.data.tables import Table
    >>> from perennial.store import open_store
    >>> store = open_store("store")
    >>> version = Table(store, "rides").append(pa.table({"km": [4.2]}), "1f" * 32)
    >>> compact(store, "rides", DeltaTable("store/tables/rides"))  # one small file is not many
    False
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from perennial.data.commits import FACT, put_commit, removals, scanner_of, written
from perennial.data.hashes import hashes, refuse_damaged
from perennial.errors import StoredDataDamaged
from perennial.store import Store

OPERATION = "OPTIMIZE"  # Delta's word for it, in the commit
MANY = 64  # so many small files are worth a compaction
SMALL, LARGE = 16 << 20, 128 << 20  # bytes: what counts as small; the most that one compaction reads


def compact(store: Store, name: str, table: DeltaTable) -> bool:
    """Merge the small files of a table into one, if there are at least `MANY` of them.

    Args:
        store: where the table is.
        name: of the table.
        table: the version that is compacted.

    Returns:
        Whether the next version of the table is the compacted one.
    """
    small = _small_files(table)
    if len(small) < MANY:
        return False
    refuse_damaged(store, name, {path: hashed for path, hashed in hashes(store, name, table).files.items() if path in small})
    with tempfile.TemporaryDirectory(prefix="perennial-compaction-") as scratch:
        _, _, added = written(Path(scratch), table, _reader(table, small), target_file_size=2 * LARGE)
        before, after = (
            sum(file["num_records"] for file in small.values()),
            sum(json.loads(file["stats"])["numRecords"] for file, _ in added),
        )
        if before != after:
            raise StoredDataDamaged(
                f"{len(small)} files of the table {name} should hold {before} rows, and hold {after}: restore the table."
            )
        for file, _ in added:
            store.upload(Path(scratch, file["path"]), f"tables/{name}/{file['path']}")
    info = {"timestamp": int(time.time() * 1000), "operation": OPERATION, "operationParameters": {}, "engineInfo": "perennial"}
    info[FACT] = json.dumps({file["path"]: hashed for file, hashed in added})
    actions = removals(small.values(), changes_data=False)
    actions += [{"add": {**file, "dataChange": False}} for file, _ in added]
    if put_commit(store, name, table.version() + 1, info, actions):
        return True
    for file, _ in added:
        store.delete(f"tables/{name}/{file['path']}")
    return False


def _small_files(table: DeltaTable) -> dict[str, dict[str, Any]]:
    """The small files that one compaction merges: size in bytes and number of rows by path."""
    small_files: dict[str, dict[str, Any]] = {}
    total = 0
    for file in pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"]).to_pylist():
        if file["size_bytes"] < SMALL and total < LARGE:
            small_files[file["path"]] = file
            total += file["size_bytes"]
    return small_files


def _reader(table: DeltaTable, paths: Collection[str]) -> pa.RecordBatchReader:
    return scanner_of(table, paths).to_reader()
