"""Compaction: many small files of a table become one, in a commit that changes no row.

Not `DeltaTable.optimize.compact`: of deltalake 1.6.6, two that run at the same time both succeed, and every row is in the table twice
(it no longer looks for conflicts where no data change). Here the commit is put-if-absent of exactly the next version: whatever
else was committed meanwhile wins, and the compaction waits for the next append. The old files stay, since older snapshots name them.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from perennial.errors import StoredDataDamaged
from perennial.store import Store

OPERATION = "OPTIMIZE"  # Delta's word for it, in the commit
MANY = 64  # so many small files are worth a compaction
SMALL, LARGE = 16 << 20, 128 << 20  # bytes: what counts as small; the most that one compaction reads


def compact(store: Store, name: str, table: DeltaTable) -> bool:
    """Make one file of the small files of a table if there are many.

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
    with tempfile.TemporaryDirectory(prefix="perennial-compaction-") as scratch:
        write_deltalake(scratch, _reader(table, small), target_file_size=2 * LARGE)
        added = _added(Path(scratch))
        before, after = sum(rows for _, rows in small.values()), sum(json.loads(file["stats"])["numRecords"] for file in added)
        if before != after:
            raise StoredDataDamaged(
                f"{len(small)} files of the table {name} should hold {before} rows, and hold {after}: restore the table."
            )
        for file in added:
            store.upload(Path(scratch, file["path"]), f"tables/{name}/{file['path']}")
    key = f"tables/{name}/_delta_log/{table.version() + 1:020}.json"
    if store.put_if_absent(key, _commit({path: size for path, (size, _) in small.items()}, added)):
        return True
    for file in added:
        store.delete(f"tables/{name}/{file['path']}")
    return False


def _small_files(table: DeltaTable) -> dict[str, tuple[int, int]]:
    """Small files with their bytes and rows, as many as one compaction takes."""
    found: dict[str, tuple[int, int]] = {}
    total = 0
    for file in pa.table(table.get_add_actions(flatten=True)).select(["path", "size_bytes", "num_records"]).to_pylist():
        if file["size_bytes"] < SMALL and total < LARGE:
            found[file["path"]] = (file["size_bytes"], file["num_records"])
            total += file["size_bytes"]
    return found


def _reader(table: DeltaTable, paths: Collection[str]) -> pa.RecordBatchReader:
    from pyarrow.dataset import FileSystemDataset

    whole = table.to_pyarrow_dataset()
    fragments = [fragment for fragment in whole.get_fragments() if fragment.path in paths]
    return FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem).scanner().to_reader()


def _added(folder: Path) -> list[dict[str, Any]]:
    """The files that Delta wrote into an empty folder, with their statistics, as its log says."""
    lines = (folder / "_delta_log" / f"{0:020}.json").read_text().splitlines()
    return [line["add"] for line in map(json.loads, lines) if "add" in line]


def _commit(removed: dict[str, int], added: list[dict[str, Any]]) -> bytes:
    now = int(time.time() * 1000)
    info = {"timestamp": now, "operation": OPERATION, "operationParameters": {}, "engineInfo": "perennial"}
    same: dict[str, Any] = {"dataChange": False, "partitionValues": {}}
    actions: list[dict[str, Any]] = [{"commitInfo": info}]
    actions += [
        {"remove": {**same, "path": path, "size": size, "deletionTimestamp": now, "extendedFileMetadata": True}}
        for path, size in removed.items()
    ]
    actions += [{"add": {**file, "dataChange": False}} for file in added]
    return "\n".join(json.dumps(action) for action in actions).encode()
