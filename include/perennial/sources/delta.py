"""Tables of Delta Lake that somebody else writes: the rows of one version, then what each commit adds, changes and removes.

What commits did is read from the table's own log (its change data feed where that is on). A commit that writes rows anew without changing
them, such as a compaction, brings nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from perennial.counted import counted
from perennial.errors import SourceRefused, SourceUnreachable
from perennial.sources.columns import Columns, without_views
from perennial.sources.connections import Connection
from perennial.sources.interface import Look, Piece, Tally, said
from perennial.specs import DeltaSource

_KIND, _COMMIT = "_change_type", "_commit_version"
_COMES, _GOES = ("insert", "update_postimage"), ("delete", "update_preimage")


def pieces(look: Look) -> Iterator[Piece]:
    """The files of the newest version at the first look, then a piece for each commit that changed rows.

    Raises:
        SourceRefused: there is no such table, it lacks columns of the spec, or commits that were not read are gone.
        SourceUnreachable: where it lies does not answer.
    """
    source = cast(DeltaSource, look.dataset.source)
    with _sentences(look, source):
        table = DeltaTable(source.url, storage_options=storage_options(look.connection))
        columns = Columns.of(look, f"The table {source.url}", [field.name for field in table.schema().fields])
        mark = look.watermark or {"version": table.version(), "read": 0}
        version, read = int(mark["version"]), mark.get("read")
        if read is not None:
            yield from _whole(look, table if version == table.version() else _as_of(source, look, version), columns, int(read))
        if version < table.version():
            yield from _changes(look, source, table, columns, version)


def storage_options(connection: Connection | None) -> dict[str, str]:
    """What `deltalake` is told to reach a table; the AWS_*, GOOGLE_* and AZURE_* variables say it where there is no connection."""
    if connection is None:
        return {}
    extra = {
        name: str(value) for name, value in connection.extra.items() if name not in ("endpoint_url", "region_name", "aws_session_token")
    }
    given = {
        "AWS_ACCESS_KEY_ID": connection.login,
        "AWS_SECRET_ACCESS_KEY": connection.password.get_secret_value(),
        "AWS_SESSION_TOKEN": connection.extra.get("aws_session_token"),
        "AWS_ENDPOINT_URL": connection.extra.get("endpoint_url"),
        "AWS_REGION": connection.extra.get("region_name"),
        "AWS_ALLOW_HTTP": "true" if str(connection.extra.get("endpoint_url", "")).startswith("http://") else None,
    }
    return {name: str(value) for name, value in given.items() if value} | extra


def _as_of(source: DeltaSource, look: Look, version: int) -> DeltaTable:
    return DeltaTable(source.url, version=version, storage_options=storage_options(look.connection))


def _whole(look: Look, table: DeltaTable, columns: Columns, read: int) -> Iterator[Piece]:
    """The rows of one version, file by file in order of their paths; `read` files were read before."""
    fragments = sorted(table.to_pyarrow_dataset().get_fragments(), key=lambda fragment: str(fragment.path))
    for number, fragment in enumerate(fragments[read:], start=read + 1):
        rows = columns.of_file(fragment.to_table(columns=columns.names, schema=table.to_pyarrow_dataset().schema))
        last = number == len(fragments)
        mark = {"version": table.version(), **({} if last else {"read": number})}
        yield Piece(mark, columns.write(rows, look.dataset.name), Tally(landed=rows.num_rows))
    if not fragments:
        yield Piece({"version": table.version()})


def _changes(look: Look, source: DeltaSource, table: DeltaTable, columns: Columns, version: int) -> Iterator[Piece]:
    try:
        changes = pa.table(table.load_cdf(starting_version=version + 1, ending_version=table.version()).read_all())
    except DeltaError as error:
        raise SourceRefused(
            f"The commits of {source.url} after version {version} cannot be read ({said(error)}): they were removed, or the table was made "
            f"anew. Read it from its beginning: perennial collect --dataset {look.dataset.name} --anew"
        ) from None
    changes = without_views(changes)
    for commit in range(version + 1, table.version() + 1):
        of_commit = changes.filter(pa.compute.equal(changes[_COMMIT], commit))
        if not of_commit.num_rows:
            continue
        came, gone, changed = _net(columns.of_file(of_commit.select(columns.names)), of_commit[_KIND].to_pylist(), columns.keys)
        deleted = columns.tombstones(gone)
        if gone.num_rows and deleted is None:
            look.notes.append(
                f"version {commit} removed {counted(gone.num_rows, 'row')}, which stay here: a dataset with `deleted` would remove them too"
            )
        files = columns.write(came, look.dataset.name) + (columns.write(deleted, f"{look.dataset.name}-deleted") if deleted else ())
        if files:
            landed = came.num_rows + (deleted.num_rows if deleted else 0)
            yield Piece({"version": commit}, files, Tally(landed=landed, changed=changed))
    yield Piece({"version": table.version()})


def _net(rows: pa.Table, kinds: Sequence[str], keys: Sequence[str]) -> tuple[pa.Table, pa.Table, int]:
    """What a commit brought, what it removed for good, and how many of those it brought have a key that it removed: a row that was written
    anew as it was is none of them."""
    values = list(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
    hashed = [repr(row) for row in values]
    goes = Counter(row for row, kind in zip(hashed, kinds, strict=True) if kind in _GOES)
    comes = Counter(row for row, kind in zip(hashed, kinds, strict=True) if kind in _COMES)
    both = goes & comes
    places = [rows.column_names.index(key) for key in keys]

    def of(kind: tuple[str, ...], left: Counter[str]) -> list[int]:
        chosen = []
        for number, row in enumerate(hashed):
            if kinds[number] in kind:
                if left[row]:
                    left[row] -= 1
                else:
                    chosen.append(number)
        return chosen

    came, went = of(_COMES, both.copy()), of(_GOES, both.copy())
    new = {tuple(values[number][place] for place in places) for number in came}
    old = {tuple(values[number][place] for place in places) for number in went}
    gone = [number for number in went if not places or tuple(values[number][place] for place in places) not in new]
    return rows.take(pa.array(came, pa.int64())), rows.take(pa.array(gone, pa.int64())), len(new & old) if places else 0


@contextmanager
def _sentences(look: Look, source: DeltaSource) -> Iterator[None]:
    """What `deltalake` says, as a sentence of ours."""
    try:
        yield
    except TableNotFoundError as error:
        raise SourceRefused(
            f"There is no Delta table at {source.url} ({said(error)}): correct the source of {look.dataset.name}, or give the user "
            "the right to read it."
        ) from None
    except (OSError, DeltaError) as error:
        raise SourceUnreachable(
            f"The table {source.url} of {look.dataset.name} cannot be read: {said(error)}. What was read is safe; check where it lies and "
            "the connection, and run it again."
        ) from error
