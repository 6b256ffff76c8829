"""Commits of our own to a Delta table: Delta writes the files into a scratch folder, their bytes are hashed there, and the commit is
put-if-absent of exactly the next version. Whoever looks meanwhile sees the version before or the version after."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from perennial.errors import StoredDataDamaged
from perennial.store import Store

if TYPE_CHECKING:
    from pyarrow.dataset import Scanner

FACT = "perennial.sha256"  # of a commit: JSON, the SHA-256 of each file that it adds
PREVIOUS = "perennial.previous"  # of a commit: the SHA-256 of the commit before it


def written(
    folder: Path, table: DeltaTable, rows: pa.Table | pa.RecordBatchReader | None, **options: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], list[tuple[dict[str, Any], str]]]:
    """Write rows into an empty folder as the files of a table.

    Args:
        folder: where.
        table: whose columns and settings they follow. Columns that it lacks are added to it.
        rows: what the files hold; no file is written if it is None.
        options: further ones for `write_deltalake`.

    Returns:
        What Delta tells of the commit; its actions that change the table's columns, if any; each file as the log names it, with its
        SHA-256.
    """
    if rows is None:
        return {"timestamp": int(time.time() * 1000), "operationParameters": {}, "engineInfo": "perennial"}, [], []
    metadata = table.metadata()
    by = list(metadata.partition_columns)
    DeltaTable.create(folder, table.schema(), partition_by=by or None, configuration=dict(metadata.configuration))
    write_deltalake(folder, rows, mode="append", schema_mode="merge", **options)
    # Bytes, since a text in it may have U+2028, at which a text's lines would end.
    lines = [json.loads(line) for line in (folder / "_delta_log" / f"{1:020}.json").read_bytes().splitlines()]
    info: dict[str, Any] = next(line["commitInfo"] for line in lines if "commitInfo" in line)
    changes = [line for line in lines if "protocol" in line]
    own = {"id": str(metadata.id), "name": metadata.name, "description": metadata.description, "createdTime": metadata.created_time}
    changes += [{"metaData": line["metaData"] | own} for line in lines if "metaData" in line]
    return info, changes, [(line["add"], _sha256(folder / line["add"]["path"])) for line in lines if "add" in line]


def rows_of(table: DeltaTable, paths: Collection[str], where: pc.Expression | None = None, columns: list[str] | None = None) -> pa.Table:
    """The rows of the named files of an opened table version; with all columns if none are named."""
    return scanner_of(table, paths, where, columns).to_table()


def scanner_of(table: DeltaTable, paths: Collection[str], where: pc.Expression | None = None, columns: list[str] | None = None) -> Scanner:
    """The same rows as `rows_of`, to be read piece by piece."""
    from pyarrow.dataset import FileSystemDataset

    whole = table.to_pyarrow_dataset()
    fragments = [fragment for fragment in whole.get_fragments() if fragment.path in paths]
    return FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem).scanner(columns=columns, filter=where)


def removals(files: Iterable[Mapping[str, Any]], *, changes_data: bool) -> list[dict[str, Any]]:
    """Delta `remove` actions for files, each given with its `path`, its `size_bytes` and, if it is in one, its partition.

    Their bytes stay, since older snapshots name them.
    """
    now = int(time.time() * 1000)
    same = {"dataChange": changes_data, "deletionTimestamp": now, "extendedFileMetadata": True}
    return [
        {"remove": {**same, "path": file["path"], "size": file["size_bytes"], "partitionValues": _partition_of(file)}} for file in files
    ]


def _partition_of(file: Mapping[str, Any]) -> dict[str, str]:
    """The values of the columns by which a file lies in folders, as the log writes them."""
    return {name.removeprefix("partition."): str(value) for name, value in file.items() if name.startswith("partition.")}


def log_key(name: str, version: int) -> str:
    """Store key of the commit that made a version of a table."""
    return f"tables/{name}/_delta_log/{version:020}.json"


def commit_info(store: Store, name: str, version: int) -> dict[str, Any]:
    """What the commit that made a version of a table tells of itself; empty if it is missing or cannot be read.

    Not `DeltaTable.history`: it numbers its entries without the commits that were made since the table was opened, and has them.
    """
    try:
        lines = store.read(log_key(name, version)).splitlines()
        return next((action["commitInfo"] for action in map(json.loads, lines) if "commitInfo" in action), {})
    except (KeyError, ValueError):
        return {}


def last_key(name: str) -> str:
    """Store key of the hash of a table's newest commit."""
    return f"tables/{name}/_sha256/last.json"


def missing(name: str, version: int) -> str:
    """The error message for a commit that existed and is missing now."""
    return f"Commit {version} of the table {name} is missing: restore {log_key(name, version)} from a backup."


def put_commit(store: Store, name: str, version: int, info: Mapping[str, Any], actions: Iterable[Mapping[str, Any]]) -> bool:
    """Make a version of a table, with the hash of the commit before it; False if another commit took that version.

    Args:
        store: where the table is.
        name: of the table.
        version: the next one.
        info: what is told of the commit.
        actions: what it does.

    Raises:
        StoredDataDamaged: this version, or a later one, was there and is gone: another in its place would hide that.
    """
    _refuse_lost_end(store, name, version)
    try:
        before = {PREVIOUS: hashlib.sha256(store.read(log_key(name, version - 1))).hexdigest()}
    except KeyError:
        before = {}  # `read_log` tells that it is missing
    data = "\n".join(json.dumps(action) for action in ({"commitInfo": {**info, **before}}, *actions)).encode()
    if not store.put_if_absent(log_key(name, version), data):
        return False
    store.write(last_key(name), json.dumps({"version": version, "sha256": hashlib.sha256(data).hexdigest()}).encode())
    return True


def _refuse_lost_end(store: Store, name: str, version: int) -> None:
    try:
        last = json.loads(store.read(last_key(name)))["version"]
    except (KeyError, ValueError, TypeError):  # written before hashes were kept, or damaged: the next commit writes it anew
        return
    if isinstance(last, int) and last >= version and not store.exists(log_key(name, last)):
        raise StoredDataDamaged(
            f"{missing(name, last)} If none has it, delete {last_key(name)}, and land its rows again under another name."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
