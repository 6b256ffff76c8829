"""Reads the JSON lines that servers log. A line that cannot be read affects no other line and is returned with the reason.

Whatever wrote them: an older release, a server that was killed while it wrote, or somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perennial.profiles.layout import quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

Sql = Callable[[str, str], str]  # makes SQL of the SQL of a field's text and of its JSON type
AT_ONCE_BYTES = 16 << 20  # of lines in memory


@dataclass(frozen=True)
class Piece:
    """Lines of one file, read from some line on."""

    place: int  # of the file among those that are read
    data: bytes
    line: int = 1  # number of its first line in the file


@dataclass(frozen=True)
class Damage:
    """A line that cannot be read."""

    place: int  # of its file
    line: int  # from 1
    fault: str
    text: str


@dataclass(frozen=True)
class LineField:
    """One column made of a field of JSON lines."""

    name: str
    path: str  # JSON pointer
    kinds: tuple[str, ...]  # DuckDB's names of the JSON types that it may have
    value: Sql  # the column, null where the text does not fit
    fault: str  # what it is where it does not fit
    required: bool = False


def in_pointer(name: str) -> str:
    """A name as a JSON pointer writes it."""
    return name.replace("~", "~0").replace("/", "~1")


def read_lines(pieces: Iterable[Piece], fields: Sequence[LineField]) -> tuple[pa.Table, list[Damage]]:
    """Read JSON lines.

    Args:
        pieces: of files; only a few are held at a time.
        fields: the columns.

    Returns:
        A row for each line whose fields all fit, with the columns of `fields` and `line`, its place among all; and the other lines, with
        their text and what is wrong with the first field that does not fit.
    """
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    query = _query(fields)
    tables, damaged = [], []
    begun = 0
    for group in _groups(pieces):
        rows, unread = _read_group(connection, query, group, begun)
        tables.append(rows)
        damaged += unread
        begun += rows.num_rows + len(unread)
    return pa.concat_tables(tables), damaged


def _query(fields: Sequence[LineField]) -> str:
    paths = ", ".join(_quoted(field.path) for field in fields)
    columns, faults = [], []
    for place, field in enumerate(fields, start=1):
        text, kind = f"v[{place}]", f"k[{place}]"
        kinds = ", ".join(map(_quoted, field.kinds))
        columns.append(f"case when {kind} in ({kinds}) then {field.value(text, kind)} end as {quoted(field.name)}")
        given = f"coalesce({kind}, 'NULL') <> 'NULL'"
        called = field.path.removeprefix("/row/").removeprefix("/").replace("~1", "/").replace("~0", "~")
        faults.append(f"when {given} and {quoted(field.name)} is null then {_quoted(f'{called} is {field.fault}')}")
        if field.required:
            faults.append(f"when {quoted(field.name)} is null then {_quoted(f'it has no {called}')}")
    return f"""
        with read as (select line, try(json_extract_string(text, [{paths}])) v, try(json_type(text, [{paths}])) k from lines),
             typed as (select line, v, k, {", ".join(columns)} from read)
        select * exclude (v, k), case when v is null then 'it is no JSON' {" ".join(faults)} end as fault from typed
    """  # noqa: S608 - names come from the spec and are quoted


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """The pieces, as many together as may be in memory; one empty group if there are none."""
    group, size = list[Piece](), 0
    for piece in pieces:
        if group and size + len(piece.data) > AT_ONCE_BYTES:
            yield group
            group, size = [], 0
        group.append(piece)
        size += len(piece.data)
    yield group


def _read_group(connection: duckdb.DuckDBPyConnection, query: str, pieces: Sequence[Piece], begun: int) -> tuple[pa.Table, list[Damage]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    places: list[tuple[int, int]] = []
    raw: list[bytes] = []
    for piece in pieces:
        for number, line in enumerate(piece.data.split(b"\n"), start=piece.line):
            if line.strip():
                places.append((piece.place, number))
                raw.append(line)
    texts = pa.array([_decoded(line) for line in raw], pa.string())
    lines = pa.table({"line": pa.array(range(begun, begun + len(raw)), pa.int64()), "text": texts})
    connection.register("lines", pa.Table.from_batches(lines.to_batches(max_chunksize=16_384), lines.schema))
    parsed: pa.Table = connection.sql(query).to_arrow_table()
    connection.unregister("lines")
    wrong = parsed.filter(pc.is_valid(parsed["fault"])).select(["line", "fault"]).sort_by("line").to_pylist()
    damaged = []
    for item in wrong:
        (place, number), line = places[item["line"] - begun], raw[item["line"] - begun]
        damaged.append(Damage(place, number, item["fault"], line.decode("utf-8", "backslashreplace")))
    return parsed.filter(pc.is_null(parsed["fault"])).drop_columns(["fault"]), damaged


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None
