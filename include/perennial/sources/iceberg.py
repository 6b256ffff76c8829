"""Tables of Iceberg that somebody else writes: the rows of one snapshot, then what is appended.

Files that a snapshot only writes anew (a compaction) bring nothing. A snapshot that changes or removes rows cannot be read by its changes:
it is refused with a sentence, and the table can be read whole again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError, RESTError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, ancestors_of

from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources.columns import Columns
from perennial.sources.interface import Look, Piece, Tally, said
from perennial.specs import IcebergSource


def pieces(look: Look) -> Iterator[Piece]:
    """The rows of the newest snapshot at the first look, then those that were appended since.

    Raises:
        SettingMissing: the catalog cannot be opened.
        SourceRefused: there is no such table, it lacks columns of the spec, or rows of it were changed since the last look.
        SourceUnreachable: the catalog or the files do not answer.
    """
    source = cast(IcebergSource, look.dataset.source)
    with _sentences(look, source):
        table = _table(look, source)
        columns = Columns.of(look, f"The table {source.table}", [field.name for field in table.schema().fields])
        newest = table.current_snapshot()
        before = (look.watermark or {}).get("snapshot")
        if newest is None or newest.snapshot_id == before:
            return
        if before is None:
            reader = table.scan(snapshot_id=newest.snapshot_id, selected_fields=tuple(columns.names)).to_arrow_batch_reader()
        else:
            _refuse_changes(look, source, table, int(before))
            scan = table.incremental_append_scan(from_snapshot_id_exclusive=int(before), selected_fields=tuple(columns.names))
            reader = scan.to_arrow_batch_reader()
        files: list[tuple[str, Path]] = []
        landed = 0
        for batch in reader:
            if batch.num_rows:
                rows = columns.of_file(pa.Table.from_batches([batch]))
                files += columns.write(rows, source.table.rsplit(".", 1)[-1])
                landed += batch.num_rows
        yield Piece({"snapshot": newest.snapshot_id}, tuple(files), Tally(landed=landed))


def _table(look: Look, source: IcebergSource) -> Table:
    try:
        return load_catalog("source", **_properties(look, source)).load_table(source.table)
    except (NoSuchTableError, NoSuchNamespaceError):
        raise SourceRefused(
            f"The catalog of {look.dataset.name} has no table {source.table}: correct its source, or give the user the right to see it."
        ) from None
    except (ImportError, ValueError) as error:
        raise SettingMissing(
            f"The catalog {source.connection or source.catalog} cannot be opened ({said(error)}): correct its address, or the `extra` of "
            "the connection, which has the settings of pyiceberg."
        ) from None


def _properties(look: Look, source: IcebergSource) -> dict[str, str]:
    """What pyiceberg is told of the catalog."""
    if look.connection is None:
        kind = "rest" if urlsplit(source.catalog).scheme in ("http", "https") else "sql"
        return {"type": kind, "uri": source.catalog}
    given = {"uri": look.connection.url.get_secret_value() or look.connection.host}
    if look.connection.login:
        given["credential"] = f"{look.connection.login}:{look.connection.password.get_secret_value()}"
    elif token := look.connection.password.get_secret_value():
        given["token"] = token
    return {**given, **{name: str(value) for name, value in look.connection.extra.items()}}


def _refuse_changes(look: Look, source: IcebergSource, table: Table, before: int) -> None:
    """Raises SourceRefused where rows were changed or removed since a snapshot, or that is no ancestor of the table any more."""
    again = (
        f"Read it whole again: perennial collect --dataset {look.dataset.name} --anew; with rows='corrected' those that are in and have "
        "not changed are left alone."
    )
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        if snapshot.snapshot_id == before:
            return
        operation = snapshot.summary.operation if snapshot.summary else None
        if operation not in (Operation.APPEND, Operation.REPLACE):
            raise SourceRefused(
                f"The snapshot {snapshot.snapshot_id} of {source.table} changed or removed rows "
                f"({operation.value if operation else 'unknown'}), "
                f"and Iceberg does not tell which. {again}"
            )
    raise SourceRefused(f"The snapshot {before} of {source.table}, up to which it was read, is gone from its history. {again}")


@contextmanager
def _sentences(look: Look, source: IcebergSource) -> Iterator[None]:
    """What pyiceberg says, as a sentence of ours."""
    try:
        yield
    except (OSError, RESTError) as error:
        raise SourceUnreachable(
            f"The table {source.table} of {look.dataset.name} cannot be read: {said(error)}. What was read is safe; check the catalog and "
            "the connection, and run it again."
        ) from error
