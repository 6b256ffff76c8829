"""Tables and views of databases, read by SQLAlchemy: by a column that grows, or whole.

Rows come in the order of the cursor, so that each piece has a watermark of its own: the largest value of the cursor in it. Values are
written in the types of the dataset's columns where they fit exactly; what does not fit is left for the reader of landed files, which
refuses it with its row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from perennial.counted import counted
from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.sources.columns import wanted
from perennial.sources.connections import Connection
from perennial.sources.cursors import as_text, as_value
from perennial.sources.interface import Look, Piece, Tally, said
from perennial.sources.overlap import Overlap, Sifted
from perennial.specs import Column, SqlSource

# What Airflow calls a kind of database, and the driver that SQLAlchemy is told, where their names differ.
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mssql": "mssql+pymssql"}
CURSOR = "_cursor"  # what the cursor is called among the selected columns: it may be no column of the dataset
_AT_ONCE = 10_000  # rows that the driver holds at a time
_SMALLEST = -(2**63)  # whole number of any database


def pieces(look: Look) -> Iterator[Piece]:
    """The rows that are new or have changed, in files of at most `file_rows` rows.

    Raises:
        SettingMissing: the address of the database is malformed, or its driver is not installed.
        SourceRefused: the table is not there or is not as the spec says.
        SourceUnreachable: the database does not answer.
    """
    source = cast(SqlSource, look.dataset.source)
    engine = _engine(source, look.connection)
    try:
        with _sentences(look.dataset.name, source, engine), engine.connect() as connection:
            yield from _Reading(look, source, connection).pieces()
    finally:
        engine.dispose()


def write_sample(source: SqlSource, connection: Connection | None, path: Path, most: int) -> None:
    """Write some rows of a table, with all of its columns, as a Parquet file: those with the largest values of the cursor, if it has one.

    Raises:
        SettingMissing: the address of the database is malformed, or its driver is not installed.
        SourceRefused: there is no such table or cursor, it may not be read, or it has no rows.
        SourceUnreachable: the database does not answer.
    """
    engine = _engine(source, connection)
    try:
        with _sentences(source.table, source, engine), engine.connect() as connected:
            table = _reflected(source, connected, source.table)
            if source.cursor and source.cursor not in table.c:
                raise SourceRefused(
                    f"The table {source.table} has no column {source.cursor}, the cursor; it has {', '.join(table.c.keys())}."
                )
            query = sa.select(table).limit(most)
            rows = connected.execute(query.order_by(table.c[source.cursor].desc()) if source.cursor else query).all()
    finally:
        engine.dispose()
    if not rows:
        raise SourceRefused(
            f"The table {source.table} has no rows, and a dataset is described after some: wait for the first, or give a file."
        )
    pq.write_table(pa.table({name: _guessed([row[place] for row in rows]) for place, name in enumerate(table.c.keys())}), path)


def _guessed(values: list[Any]) -> pa.Array:
    """Values of a column of which no dataset says what they are."""
    if any(isinstance(value, Decimal) for value in values):
        whole = all(value is None or value == int(value) for value in values)
        return (_whole_numbers if whole else _numbers)(values)
    for kind in (_times, _of_any_kind):
        try:
            return kind(values)
        except (TypeError, ValueError, OverflowError, ArithmeticError, pa.ArrowException):
            continue
    return _texts(values)


class _Reading:
    """The reading of one table during one look."""

    def __init__(self, look: Look, source: SqlSource, connection: sa.Connection) -> None:
        self.look, self.source, self.connection = look, source, connection
        self.table = _reflected(source, connection, look.dataset.name)
        self.keys = tuple(look.field(name) for name in look.dataset.key)
        self.columns = self._columns()
        self.cursor_name = CURSOR + "_" * sum(name.rstrip("_") == CURSOR for name in self.columns)
        self.overlap = Overlap.read(look.memory) if look.memory else Overlap()
        self.known = (look.watermark or {}).get("columns")
        self.largest = as_value((look.watermark or {}).get("cursor"))
        self.repeated = 0  # rows since the last piece

    def pieces(self) -> Iterator[Piece]:
        """One for each file that lands."""
        self._tell_columns()
        if not self.source.cursor:
            yield from self._whole()
            return
        cursor = self.table.c[self.source.cursor]
        self._count_nulls(cursor)
        with self._of_its_type():
            last = self.connection.execute(sa.select(sa.func.max(cursor))).scalar()
        if last is None:
            return
        self._refuse_cursors([last] if self.largest is None else [self.largest, last])
        if self.largest is not None and not isinstance(last, str) and last < self.largest:
            self.look.notes.append(
                f"the largest {self.source.cursor} of {self.source.table} is {last} now, and was {self.largest} when it was read: if the "
                f"table was made anew, read it from its beginning (perennial collect --dataset {self.look.dataset.name} --anew)"
            )
        stored = self._stored(last)
        query = sa.select(*self.columns.values(), cursor.label(self.cursor_name)).where(cursor.is_not(None))
        begin = self._begin(self.largest, cursor)
        if begin is not None:
            first = _as_stored(begin, stored)
            query = query.where(cursor > first if self.source.range_start == "open" and self.largest is not None else cursor >= first)
        query = query.where(cursor < stored if self.source.range_end == "open" else cursor <= stored)
        for rows in self._parts(query.order_by(cursor, *(self.table.c[key] for key in self.keys if key in self.table.c))):
            yield from self._piece(rows, [row[-1] for row in rows])

    def _whole(self) -> Iterator[Piece]:
        """All rows; what has not changed since the last look does not land again."""
        for rows in self._parts(sa.select(*self.columns.values())):
            yield from self._piece(rows, [None] * len(rows))

    def _parts(self, query: sa.Select[Any]) -> Iterator[Sequence[sa.Row[Any]]]:
        result = self.connection.execution_options(stream_results=True, max_row_buffer=_AT_ONCE).execute(query)
        parts = result.partitions(self.source.file_rows)
        try:
            while True:
                with self._of_its_type():
                    rows = next(parts, None)
                if not rows:
                    return
                yield rows
        finally:
            with suppress(sa.exc.DBAPIError):  # of a server that is gone
                result.close()

    @contextmanager
    def _of_its_type(self) -> Iterator[None]:
        """Around what asks for values: SQLite keeps anything in a column of any type."""
        try:
            yield
        except (TypeError, ValueError, OverflowError) as error:
            raise SourceRefused(
                f"The table {self.source.table} has a value that is not of its column's type ({error}): what follows was not read. "
                "Correct it, or read a view that leaves it out."
            ) from None

    def _refuse_cursors(self, values: Sequence[Any]) -> None:
        """Raises SourceRefused where values of the cursor are none that grow, or cannot be compared with each other."""
        kinds = {_kind(value) for value in values}
        if unknown := sorted(kind for kind in kinds if not kind.startswith("a ")):
            raise SourceRefused(
                f"The cursor {self.source.cursor} of {self.source.table} is of the type {', '.join(unknown)}, which cannot be one: name a "
                "column with numbers, times or texts, or read a view that has it as one of these."
            )
        if len(kinds) > 1:
            raise SourceRefused(
                f"The cursor {self.source.cursor} of {self.source.table} has values of several types, which have no order, or is of "
                f"another type than when it was read: {', '.join(sorted(kinds))}. Correct them, or if the column is another now, read "
                f"the table from its beginning: perennial collect --dataset {self.look.dataset.name} --anew"
            )

    def _stored(self, last: Any) -> Any:
        """The largest value of the cursor as the database compares it: SQLite has times as texts, each writer in a form of its own."""
        if self.connection.dialect.name != "sqlite" or not isinstance(last, datetime):
            return last
        cursor = self.table.c[self.source.cursor]
        return sa.literal(self.connection.execute(sa.select(sa.type_coerce(sa.func.max(cursor), sa.String))).scalar(), sa.String)

    def _piece(self, rows: Sequence[sa.Row[Any]], cursors: list[Any]) -> Iterator[Piece]:
        if self.source.cursor:
            self._refuse_cursors(cursors)
        table = self._as_table(rows)
        hashed = table.append_column(self.cursor_name, pa.array([None if c is None else as_text(c) for c in cursors], pa.string()))
        sifted = self.overlap.sift(hashed, self.keys)
        largest = cursors[-1]
        since = None if largest is None else self._begin(largest, self.table.c[self.source.cursor])
        if self.source.range_start == "closed":
            self.overlap.keep(sifted, cursors, since)
        moved, self.largest = largest != self.largest, largest
        self.repeated += sifted.repeated
        if not any(sifted.fresh) and not moved:
            return
        memory = None
        if len(self.overlap):
            memory = self.look.scratch / "memory.parquet"
            self.overlap.write(memory)
        files, tally = self._files(table, sifted)
        watermark = {"cursor": None if largest is None else as_text(largest), "columns": sorted(self.table.c.keys())}
        yield Piece(watermark=watermark, files=files, tally=tally, memory=memory)

    def _files(self, table: pa.Table, sifted: Sifted) -> tuple[tuple[tuple[str, Path], ...], Tally]:
        """The files of fresh rows. Where no row of the dataset may change, changed rows are a file of their own: refused without others."""
        apart = self.look.dataset.rows == "final"
        changed = pa.array(sifted.changed, pa.bool_())
        new = [f and not (c and apart) for f, c in zip(sifted.fresh, sifted.changed, strict=True)]
        files: list[tuple[str, Path]] = []
        for name, chosen in ((self.source.table, pa.array(new, pa.bool_())), (f"{self.source.table}-changed", changed if apart else None)):
            if chosen is None or not (rows := table.filter(chosen)).num_rows:
                continue
            path = self.look.scratch / f"{len(files)}.parquet"
            pq.write_table(rows, path)
            files.append((f"{_plain(name)}.parquet", path))
        repeated, self.repeated = self.repeated, 0
        return tuple(files), Tally(landed=sum(sifted.fresh), repeated=repeated, changed=sum(sifted.changed))

    def _as_table(self, rows: Sequence[sa.Row[Any]]) -> pa.Table:
        types = {self.look.field(column.name): column for column in self.look.dataset.columns}
        return pa.table({name: _as_arrow([row[place] for row in rows], types.get(name)) for place, name in enumerate(self.columns)})

    # -- the table -----------------------------------------------------------------------------------------------

    def _columns(self) -> dict[str, sa.ColumnElement[Any]]:
        """What is selected, by the name that it gets in the file."""
        there = self.table.c
        if self.source.cursor and self.source.cursor not in there:
            raise SourceRefused(
                f"The table {self.source.table} has no column {self.source.cursor}, the cursor; it has {', '.join(there.keys())}. Correct "
                f"the source of {self.look.dataset.name}."
            )
        return {name: there[name] for name in wanted(self.look, f"The table {self.source.table}", there.keys())}

    def _tell_columns(self) -> None:
        if self.known is not None and (new := sorted(set(self.table.c.keys()) - set(self.known))):
            self.look.notes.append(f"{self.source.table} has new columns, which the spec does not name and nobody reads: {', '.join(new)}")

    def _count_nulls(self, cursor: sa.ColumnElement[Any]) -> None:
        nulls = self.connection.execute(sa.select(sa.func.count()).select_from(self.table).where(cursor.is_(None))).scalar() or 0
        if not nulls:
            return
        said = f"{counted(nulls, 'row')} of {self.source.table} {'has' if nulls == 1 else 'have'} no {self.source.cursor}"
        if self.source.null_cursors == "refuse":
            raise SourceRefused(
                f"{said}, so that nobody could tell them as new. Give them one, or write null_cursors='leave_out' into the source."
            )
        self.look.notes.append(f"{said} and {'was' if nulls == 1 else 'were'} left out")

    def _begin(self, largest: Any, cursor: sa.ColumnElement[Any]) -> Any:
        """The value of the cursor from which is read after a largest one; None: from the beginning."""
        if largest is None:
            return _first(self.source.since, cursor.type) if self.source.since else None
        if not self.source.lag:
            return largest
        if isinstance(largest, str):
            raise SourceRefused(
                f"The source of {self.look.dataset.name} has a lag, and its cursor {self.source.cursor} is a text, from which "
                "nothing can be subtracted. Leave the lag out, or take a time or a number as the cursor."
            )
        return _before(largest, self.source.lag)


def _reflected(source: SqlSource, connection: sa.Connection, dataset: str) -> sa.Table:
    """The table as the database describes it. Raises SourceRefused where there is none of its name."""
    reading: dict[str, Any] = {"autoload_with": connection, "resolve_fks": False}  # tables that it refers to may be missing
    try:
        return sa.Table(source.table, sa.MetaData(), schema=source.namespace or None, **reading)
    except sa.exc.NoSuchTableError:
        names = sorted(sa.inspect(connection).get_table_names(schema=source.namespace or None))
        raise SourceRefused(
            f"The database of {dataset} has no table or view {source.table}{f' in {source.namespace}' if source.namespace else ''}: it has "
            f"{', '.join(names[:10]) or 'none'}{' …' if len(names) > 10 else ''}. Correct its name, or give the user the right to see it."
        ) from None


def _first(since: str, kind: sa.types.TypeEngine[Any]) -> Any:
    """The value that `since` of a spec stands for in a column of that type."""
    try:
        python = kind.python_type
        value = python.fromisoformat(since) if python in (datetime, date) else python(since)
        if _kind(value) == "NaN":
            raise ValueError("nothing is larger")
        if isinstance(value, datetime) and value.tzinfo and not getattr(kind, "timezone", False):
            raise ValueError("it has an offset, and the column has times without one")
    except (NotImplementedError, ValueError, ArithmeticError) as error:
        raise SourceRefused(f"since={since!r} of the source is no value of a column of the type {kind} ({error}).") from None
    return value


def _before(largest: Any, lag: float) -> Any:
    """What lies a lag before a value of the cursor; None where nothing can: it is before all values."""
    try:
        if isinstance(largest, datetime):
            return largest - timedelta(seconds=lag)
        if isinstance(largest, date):
            return largest - timedelta(days=-(-lag // 86400))
    except OverflowError:
        return None
    if isinstance(largest, float):
        return largest - lag
    before = largest - (int(lag) if lag == int(lag) else Decimal(str(lag)))
    return before if isinstance(largest, Decimal) or before >= _SMALLEST else None


def _as_stored(value: Any, last: Any) -> Any:
    """A value of the cursor as the database compares it with the largest one: the shortest form of a time is smaller than all others."""
    if not isinstance(last, sa.BindParameter):
        return value
    text = value.isoformat("T" if "T" in str(last.value) else " ")
    return sa.literal(text.rstrip("0") if value.microsecond and not value.tzinfo else text, sa.String)


def _kind(value: Any) -> str:
    """What a value of a cursor is, begun with `a `; the name of its type where no cursor is of it. Of one kind all have an order."""
    if isinstance(value, datetime):
        return "a time with an offset" if value.tzinfo else "a time without an offset"
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return "NaN" if math.isnan(value) else "a number"
    return {date: "a date", str: "a text"}.get(type(value), type(value).__name__)


def _engine(source: SqlSource, connection: Connection | None) -> sa.Engine:
    try:
        address = _address(source, connection)
        file = address.database or ""
        if address.get_backend_name() == "sqlite" and not file.startswith("file:") and not Path(file).is_file():  # it would be made
            raise SourceRefused(f"There is no file {file}, the database in {_where(source)}: correct its path.")
        return sa.create_engine(address, poolclass=sa.NullPool)
    except (ImportError, sa.exc.NoSuchModuleError) as error:
        raise SettingMissing(
            f"The driver of the database in {_where(source)} is not installed ({error}): add it to the requirements of the workload "
            "environment, or name another driver in the address, such as postgresql+psycopg."
        ) from None
    except (sa.exc.ArgumentError, ValueError) as error:  # it may quote the address, with its password
        raise SettingMissing(
            f"The address of the database in {_where(source)} is none that SQLAlchemy reads ({type(error).__name__}): "
            "write it like postgresql+psycopg://user:password@host:port/database."
        ) from None


def _address(source: SqlSource, connection: Connection | None) -> sa.URL:
    if connection is None:
        return sa.make_url(source.url)
    if address := connection.url.get_secret_value():
        url = sa.make_url(address)
        return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    query: Mapping[str, str] = {key: str(value) for key, value in connection.extra.items() if isinstance(value, (str, int, float))}
    kind = connection.type or "postgres"
    return sa.URL.create(
        DRIVERS.get(kind, kind),
        username=connection.login or None,
        password=connection.password.get_secret_value() or None,
        host=connection.host or None,
        port=connection.port,
        database=connection.database or None,
        query=query,
    )


def _where(source: SqlSource) -> str:
    return f"the connection {source.connection}" if source.connection else "url of the source"


@contextmanager
def _sentences(dataset: str, source: SqlSource, engine: sa.Engine) -> Iterator[None]:
    """What a database says, as a sentence of ours."""
    place = engine.url.set(query={}).render_as_string(hide_password=True)  # parameters may be secrets, too
    try:
        yield
    except sa.exc.DBAPIError as error:
        why = said(cast(Exception, error.orig))
        undecoded = "decode" in why.lower()  # SQLite's word for a text that is no UTF-8: trying again does not help
        if error.connection_invalidated or (not undecoded and isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError))):
            raise SourceUnreachable(
                f"The database of {dataset} at {place} cannot be read: {why}. "
                f"What was read before is safe; check the server and {_where(source)}, and run it again."
            ) from error
        raise SourceRefused(
            f"The database of {dataset} at {place} refuses to be read: {why}. Give the user the right, or correct the source; values that "
            "cannot be read may be left out by a view."
        ) from error


def _as_arrow(values: list[Any], column: Column | None) -> pa.Array:
    """Values of a database as a column of a file, exactly; where they do not fit, as texts, with which the reader can name the row."""
    kind = column.type if column else ""
    try:
        return _EXACT.get(kind, _of_any_kind)(values)
    except (TypeError, ValueError, OverflowError, ArithmeticError, pa.ArrowException):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _whole_numbers(values: list[Any]) -> pa.Array:
    return pa.array([None if v is None else v if isinstance(v, str) else _as_whole(v) for v in values], pa.int64())


def _as_whole(value: Any) -> int:
    if value != (whole := int(value)):
        raise ValueError(value)
    return whole


def _numbers(values: list[Any]) -> pa.Array:
    return pa.array([None if v is None else v if isinstance(v, str) else float(v) for v in values], pa.float64())


def _texts(values: list[Any]) -> pa.Array:
    return pa.array([None if v is None else _text(v) for v in values], pa.string())


def _times(values: list[Any]) -> pa.Array:
    known = [v for v in values if v is not None]
    if any(not isinstance(v, date) for v in known):
        raise TypeError
    if all(not isinstance(v, datetime) for v in known):
        return pa.array(values, pa.date32())
    if all(isinstance(v, datetime) and v.tzinfo for v in known):
        return pa.array([None if v is None else v.astimezone(timezone.utc) for v in values], pa.timestamp("us", tz="UTC"))
    if any(isinstance(v, datetime) and v.tzinfo for v in known):
        raise TypeError
    return pa.array(values, pa.timestamp("us"))


def _truths(values: list[Any]) -> pa.Array:
    if any(v not in (None, 0, 1) for v in values):
        raise ValueError
    return pa.array([None if v is None else bool(v) for v in values], pa.bool_())


def _of_any_kind(values: list[Any]) -> pa.Array:
    return pa.array(values)


_EXACT = {"int": _whole_numbers, "float": _numbers, "string": _texts, "timestamp": _times, "bool": _truths}


def _text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    return value.isoformat() if isinstance(value, date) else str(value)


def _plain(name: str) -> str:
    """A name that a file may have in any store."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in name) or "rows"
