"""What a model's joins find: values of other tables, as they were known at the moment of a row.

A joined row counts for a row of the same key if it happened by the row's moment, was known by then, had not been replaced or deleted yet,
and is not older than the horizon. Of these the newest counts; of one event time the one that was known last, then the one that came last,
then the last by the joined table's own key. So what a row finds never changes when more comes: whatever comes later is known later.

`JoinSpec` declares it, this module alone says what it means: training, evaluation, scores in batches and the export for servers ask it.
DuckDB does it, and what does not fit into memory goes to disk.

>>> day = [datetime(2024, 1, n) for n in range(1, 6)]
>>> facts = pa.table({"_k0": ["a", "a", "a"], "_t": day[:3], "_known": [day[0], day[3], day[2]], "_gone": pa.nulls(3, pa.timestamp("us")),
...     "_version": [1, 3, 2], "_r0": [1, 2, 3], "price": [10, 20, 30]})
>>> rows = pa.table({"item": ["a", "a", "b"], "at": [day[1], day[4], day[4]]})
>>> found = as_of(rows, "at", facts, ["item"], timedelta(days=10))  # the second was known too late, and is older than the third then
>>> facts["price"].take(found).to_pylist()
[10, 30, None]
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from perennial.clock import zone
from perennial.data.added_columns import table_schema
from perennial.data.commits import log_key, missing
from perennial.data.merging import BATCH
from perennial.data.past_rows import came, left_rows, refuse_damaged_past
from perennial.errors import StoredDataDamaged
from perennial.specs import JoinSpec

if TYPE_CHECKING:
    import duckdb
    from pyarrow.dataset import Dataset

    from perennial.data.snapshots import Snapshot
    from perennial.data.tables import Table

MEMORY = "1GB"  # of a join; what exceeds it goes to disk
GROUP_ROWS = 1 << 15  # of a Parquet file that are read together


@dataclass(frozen=True)
class FoundRows:
    """How many rows a join found something for, and why it found nothing for the others."""

    join: JoinSpec
    rows: int
    found: int
    too_old: int  # what has their key is older than the horizon
    too_late: int  # what has their key and is not too old became known after their moment

    @property
    def sentence(self) -> str:
        """A sentence on it."""
        reasons = ((self.too_late, "known too late"), (self.too_old, "too old"), (self._unknown, "without a row of its key by then"))
        others = ", ".join(f"{count:,} {why}" for count, why in reasons if count)
        share = self.found / self.rows if self.rows else 0.0
        return f"{share:.1%} of the rows find a row of {self.join.dataset}{f' ({others})' if others else ''}."

    @property
    def _unknown(self) -> int:
        return self.rows - self.found - self.too_old - self.too_late


@dataclass(frozen=True)
class JoinedTable:
    """A join, with the version of the table that it reads."""

    spec: JoinSpec
    source: Snapshot

    @property
    def identity(self) -> str:
        """What tells what the join may find from anything else: how it joins, and all that its table ever had up to that version. Each
        commit has the hash of the one before it, so the newest one's stands for all."""
        table = self.source.table
        try:
            log = hashlib.sha256(table.store.read(log_key(table.name, self.source.version))).hexdigest()
        except KeyError:
            raise StoredDataDamaged(missing(table.name, self.source.version)) from None
        return hashlib.sha256(json.dumps([self.spec.model_dump(mode="json"), self.source.rows_digest, log]).encode()).hexdigest()

    @property
    def horizon(self) -> timedelta:
        """How old a joined row may be."""
        return timedelta(days=self.spec.horizon_days)

    def shows_more(self, since: int, until: datetime) -> bool:
        """Whether what came into the table after a version may change what rows find whose moment is not after `until`, wall time.

        What becomes known later changes nothing of the past; a batch that was taken out does, and what was known before it came.
        """
        table, local = self.source.table, zone(self.source.dataset.time_zone)
        arrivals = {label: made for label, (number, made) in came(table, self.source.version).items() if number > since}
        latest = max(until, self.spec.history_until or until)
        if any(batch.removed and since < batch.removed.version <= self.source.version for batch in table.batches()):
            return True
        if not self.spec.known_at:
            return any(wall(made, local) <= latest for made in arrivals.values())
        if not arrivals:
            return False
        known = table.scan([self.spec.known_at], pc.field(BATCH).isin(list(arrivals)), self.source.version)[self.spec.known_at]
        earliest = pc.min(known).as_py()
        return earliest is not None and earliest <= until

    def find(self, connection: duckdb.DuckDBPyConnection, number: int, columns: Sequence[str]) -> pa.Schema:
        """Make the table `found<number>` of what each row of the table `rows` finds, `_place` and these columns; returns their types.

        Args:
            connection: its table `rows` has `_place`, the key in the columns of the model's dataset, and the moment `_moment`.
            number: of the join.
            columns: that it is to bring, as the model calls them.
        """
        wanted = {self.spec.prefix + name: name for name in self.spec.columns if self.spec.prefix + name in columns}
        load_facts(connection, self, wanted)
        keys = ", ".join(f"{_quoted(here)} as _k{place}" for place, here in enumerate(self.spec.key))
        connection.execute(f"create view asked as select _place, {keys}, _moment from rows")
        _find(connection, len(self.spec.key), self.horizon)
        connection.execute(f"create table found{number} as select _place, {_listed(wanted)} from found left join facts on _best = _number")
        for what in ("view asked", "table found", "table facts"):
            connection.execute(f"drop {what}")
        schema = table_schema(self.source.dataset)
        return pa.schema([pa.field(name, schema.field(there).type) for name, there in wanted.items()])


@dataclass(frozen=True)
class KnownJoins:
    """The joins of a model, each with the version of its table."""

    joined: tuple[JoinedTable, ...]

    @property
    def words(self) -> str:
        """What they read, for a sentence."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items())

    @property
    def versions(self) -> dict[str, int]:
        """The version of each joined dataset's table."""
        return {one.spec.dataset: one.source.version for one in self.joined}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that they bring."""
        return tuple(name for one in self.joined for name in one.spec.names)

    @property
    def tables(self) -> tuple[tuple[Table, int], ...]:
        """Each table that they read once, with its version."""
        return tuple({one.spec.dataset: (one.source.table, one.source.version) for one in self.joined}.values())

    @property
    def identity(self) -> list[str]:
        """What tells what they may find from anything else."""
        return [one.identity for one in self.joined]

    def refuse_damaged(self) -> None:
        """Read every file of the joined tables once, those with rows that were replaced or deleted too. Raises StoredDataDamaged."""
        for table, version in self.tables:
            table.refuse_damaged(version)
            refuse_damaged_past(table, version)

    def needed(self, columns: Sequence[str]) -> list[str]:
        """The columns of the model's dataset by which these columns are found."""
        return list(dict.fromkeys(name for one in self._of(columns) for name in one.spec.key))

    def join(self, rows: pa.Table, event_time: str, columns: Sequence[str]) -> pa.Table:
        """The rows, in their order, with those of these columns that joins bring; null where no joined row counts."""
        with _connection() as connection:
            asked = rows.select(list(dict.fromkeys([*self.needed(columns), event_time])))
            asked = asked.append_column("_place", pa.array(np.arange(rows.num_rows)))
            connection.register("given", asked)
            connection.execute(f"create table rows as select *, {_quoted(event_time)} as _moment from given")
            connection.unregister("given")
            for number, one in enumerate(self._of(columns)):
                schema = one.find(connection, number, columns)
                found = connection.sql(f"select {_listed(schema.names)} from found{number} order by _place").to_arrow_table()
                for field in schema:
                    rows = rows.append_column(field.name, found[field.name].cast(field.type))
        return rows

    def found(self, rows: pa.Table, event_time: str) -> list[FoundRows]:
        """How many of the rows each join finds something for, and why not for the others."""
        counts = []
        for one in self.joined:
            with _connection() as connection:
                load_facts(connection, one, {})
                named = [*(rows[name] for name in one.spec.key), rows[event_time], pa.array(np.arange(rows.num_rows))]
                keys = _names("_k", len(one.spec.key))
                connection.register("given", pa.table(named, names=[*keys, "_moment", "_place"]))
                connection.execute("create table asked as select * from given")
                _find(connection, len(keys), one.horizon)
                same = " and ".join(f"asked.{key} = facts.{key}" for key in keys)
                counted = connection.execute(
                    f"""with happened as (
                        select _place, _t >= {_oldest(one.horizon)} as _young from asked asof join facts on {same} and _moment >= _t
                    )
                    select count(_best), count(*) filter (_best is null and not _young), count(*) filter (_best is null and _young)
                    from found left join happened using (_place)"""
                ).fetchall()[0]
                counts.append(FoundRows(one.spec, rows.num_rows, *counted))
        return counts

    def write(self, rows: Dataset, where: str, event_time: str, schema: pa.Schema, order: Sequence[str], path: Path) -> None:
        """Write rows with what they find as Parquet: the columns of the schema, in that order of rows. Memory holds no more than MEMORY.

        Args:
            rows: of the model's dataset.
            where: which of them, a condition of DuckDB's; all if empty.
            event_time: their moment.
            schema: of the file: columns of the rows and of the joins.
            order: columns by which the rows are put in order.
            path: where the file is written.
        """
        own = [name for name in dict.fromkeys([*schema.names, *order, *self.needed(schema.names), event_time]) if name not in self.columns]
        with _connection() as connection, pq.ParquetWriter(path, schema) as writer:
            connection.register("given", rows)
            connection.execute(
                f"create table rows as select row_number() over () as _place, {_listed(own)}, {_quoted(event_time)} as _moment "
                f"from given {f'where {where}' if where else ''}"
            )
            connection.unregister("given")
            joined = ""
            for number, one in enumerate(self._of(schema.names)):
                one.find(connection, number, schema.names)
                joined += f" join found{number} using (_place)"
            relation = connection.sql(f"select {_listed(schema.names)} from rows{joined} order by {_listed(order)}")
            for batch in relation.to_arrow_reader(GROUP_ROWS):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))

    def _of(self, columns: Sequence[str]) -> list[JoinedTable]:
        return [one for one in self.joined if set(one.spec.names) & set(columns)]


def newest_values(joined: JoinedTable, columns: Sequence[str], now: datetime) -> Iterator[pa.RecordBatch]:
    """The rows that a row of now or later would find, by key: the newest that has happened, and those that are yet to happen.

    Args:
        joined: its horizon does not count.
        columns: of the joined table, besides its key.
        now: wall time of the dataset's zone.

    Yields:
        The key, `_time` and the columns, as the joined table calls them; one row for each key and time.
    """
    spec = joined.spec
    keys = _names("_k", len(spec.key))
    with _connection() as connection:
        load_facts(connection, joined, {f"_c{place}": name for place, name in enumerate(columns)})
        called = ", ".join(
            [*(f"{own} as {_quoted(there)}" for own, (_, there) in zip(keys, spec.key_pairs, strict=True)), "_t as _time"]
            + [f"_c{place} as {_quoted(name)}" for place, name in enumerate(columns) if name not in [there for _, there in spec.key_pairs]]
        )
        by = ", ".join(keys)
        relation = connection.sql(
            f"""with known as (select * from facts where _gone is null and _known <= $now
                qualify row_number() over (partition by {by}, _t order by _number desc) = 1),
            ends as (select *, max(_t) filter (_t <= $now) over (partition by {by}) as _newest from known)
            select {called} from ends where _newest is null or _t >= _newest order by {by}, _t""",
            params={"now": now},
        )
        yield from relation.to_arrow_reader(GROUP_ROWS)


def load_facts(connection: duckdb.DuckDBPyConnection, joined: JoinedTable, columns: dict[str, str]) -> None:
    """Make the table `facts` of all rows that a joined table has or had: its key `_k0`..., event time `_t`, `_known` since when, `_gone`
    when they left (null: they are there), the `_version` that they came with, the table's own key `_r0`..., and further columns.

    Args:
        connection: where.
        joined: the join and the version of its table.
        columns: further ones, each as it is to be called and as the table calls it.

    Raises:
        StoredDataDamaged: rows of the table are of no batch that its commits tell.
    """
    spec, dataset, table, version = joined.spec, joined.source.dataset, joined.source.table, joined.source.version
    when, local = dataset.time_column, zone(dataset.time_zone)
    names = [*(there for _, there in spec.key_pairs), when, *([spec.known_at] if spec.known_at else []), *columns.values()]
    names = list(dict.fromkeys((*names, *dataset.key_columns)))
    connection.execute("create table came (_label varchar, _version bigint, _came timestamp)")
    for label, (number, made) in came(table, version).items():
        connection.execute("insert into came values (?, ?, ?)", [label, number, wall(made, local)])
    connection.register("present", table.dataset(version))
    connection.execute(f"create table landed as select {_listed([*names, BATCH])}, null::timestamp as _gone from present")
    connection.unregister("present")
    unknown = connection.execute(f"select count(*) from landed anti join came on {BATCH} = _label").fetchall()[0][0]
    if unknown:
        raise StoredDataDamaged(
            f"{unknown:,} rows of the table {table.name} are of no batch that its commits tell, so that nobody knows since when they were "
            "known: land these rows again under another dataset's name."
        )
    for _, made, rows in left_rows(table, version, names, dataset.key_columns):
        connection.register("left_rows", rows)
        connection.execute(f"insert into landed select {_listed([*names, BATCH])}, ? from left_rows", [wall(made, local)])
        connection.unregister("left_rows")
    until = spec.history_until or datetime.min
    usual = f"{_quoted(when)} + to_microseconds({round(spec.history_delay_hours * 3600e6)})"
    known = _quoted(spec.known_at) if spec.known_at else f"case when _came <= $until then least(_came, {usual}) else _came end"
    connection.execute(
        f"""create table facts as select
            {", ".join(f"{_quoted(there)} as _k{place}" for place, (_, there) in enumerate(spec.key_pairs))},
            {_quoted(when)} as _t, {known} as _known, _gone, _version,
            {", ".join(f"{_quoted(name)} as _r{place}" for place, name in enumerate(dataset.key_columns))}
            {"".join(f", {_quoted(name)} as {_quoted(called)}" for called, name in columns.items())}
        from landed join came on {BATCH} = _label where _gone is null or _gone > $until""",
        {"until": until},
    )
    connection.execute("drop table landed")
    connection.execute("drop table came")
    _number(connection, len(spec.key), len(dataset.key_columns))


def as_of(rows: pa.Table, event_time: str, facts: pa.Table, key: Sequence[str], horizon: timedelta) -> pa.Array:
    """The places of the facts that rows find, null where none counts.

    Args:
        rows: with the key and the moment.
        event_time: the column that has the moment.
        facts: `_k0`..., `_t`, `_known`, `_gone`, `_version`, `_r0`...: see `load_facts`.
        key: columns of the rows.
        horizon: how old a fact may be.
    """
    own = sum(name.startswith("_r") for name in facts.column_names)
    with _connection() as connection:
        connection.register("given", facts.append_column("_fact", pa.array(np.arange(facts.num_rows))))
        connection.execute("create table facts as select * from given")
        _number(connection, len(key), own)
        asked = pa.table([*(rows[name] for name in key), rows[event_time]], names=[*_names("_k", len(key)), "_moment"])
        connection.register("asked", asked.append_column("_place", pa.array(np.arange(rows.num_rows))))
        _find(connection, len(key), horizon)
        found = connection.sql("select _fact from found left join facts on _best = _number order by _place").to_arrow_table()
        return found["_fact"].combine_chunks()


def wall(made: datetime, local: tzinfo) -> datetime:
    """Since which wall time a moment lies in the past for sure: in an hour that comes twice in autumn, after both.

    >>> from zoneinfo import ZoneInfo
    >>> wall(datetime.fromisoformat("2024-11-03T06:30:00+00:00"), ZoneInfo("America/New_York")).isoformat()  # 01:30 for the second time
    '2024-11-03T02:30:00'
    """
    here = made.astimezone(local)
    return here.replace(tzinfo=None) + (made - here.replace(fold=0).astimezone(made.tzinfo))


def _number(connection: duckdb.DuckDBPyConnection, keys: int, own: int) -> None:
    """Give each fact a number, larger for one that counts before another where both count, and say whether it counts for good: it is
    there, or a row of the same key that is no older was known when it left. Facts that can never count go."""
    key, row = _names("_k", keys), _names("_r", own)
    same = " and ".join(f"lead({name}) over later = {name}" for name in key)
    connection.execute(
        f"""create table numbered as select *,
            row_number() over (order by _t, _known, _version, {", ".join(f"{name} nulls first" for name in row)}) as _number,
            _gone is null or coalesce(
                {same} and lead(_t) over later >= _t and greatest(lead(_t) over later, lead(_known) over later) <= _gone, false
            ) as _followed
        from facts where {" and ".join(f"{name} is not null" for name in (*key, "_t", "_known"))} and (_gone is null or _gone > _known)
        window later as (partition by {", ".join(row)} order by _version)"""
    )
    connection.execute("drop table facts")
    connection.execute(
        f"""create table facts as select * exclude (_followed),
            bool_and(_followed) over (partition by {", ".join(row)} order by _version rows between current row and unbounded following)
                as _lasts
        from numbered"""
    )
    connection.execute("drop table numbered")


def _find(connection: duckdb.DuckDBPyConnection, keys: int, horizon: timedelta) -> None:
    """Make the table `found`: `_place` of each row of `asked` and the number of the fact that counts for it, `_best`."""
    names, oldest = _names("_k", keys), _oldest(horizon)
    key, same = ", ".join(names), " and ".join(f"asked.{name} = other.{name}" for name in names)
    # A fact that lasts stands until another beats it: of those that are known at a moment the largest number so far.
    connection.execute(
        f"""create table standing as select distinct {key}, greatest(_t, _known) as _since,
            max(_number) over (partition by {key} order by greatest(_t, _known)) as _best from facts where _lasts"""
    )
    connection.execute(
        f"""create table found as
        with stood as (select _place, _moment, other._best from asked asof left join standing other on {same} and _moment >= _since),
        left_since as (select _place, max(_number) as _best from asked join facts other on {same}
            and not _lasts and _t <= _moment and _t >= {oldest} and _known <= _moment and _gone > _moment group by _place),
        newest as (select _place, _moment, greatest(stood._best, left_since._best) as _best from stood left join left_since using (_place))
        select _place, case when _t >= {oldest} then _best end as _best from newest left join facts on _best = _number"""
    )
    connection.execute("drop table standing")


def _oldest(horizon: timedelta) -> str:
    """The oldest event time that counts, as DuckDB says it."""
    return f"_moment - to_microseconds({horizon // timedelta(microseconds=1)})"


@contextlib.contextmanager
def _connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own, which goes to disk with what exceeds MEMORY."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="perennial-join-") as scratch:
        connection = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": scratch, "preserve_insertion_order": "false"})
        try:
            connection.execute("set TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{place}" for place in range(count)]


def _listed(names: Any) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
