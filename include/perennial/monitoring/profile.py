"""What the rows of a day looked like, as a state that adds up: states of parts of the rows, added in any order, equal bit for bit the state
of all of them. So a day is profiled once, when it lands, and a window, a reference or a table over many machines is a sum.

A state holds whole numbers alone: rows, nulls, rows by cell, by exact value and by category, and sums over a sample of rows that are seen
together. A row is in the sample by a hash of its own values, so the sample depends neither on the order of the rows nor on how they were
divided; it stays bounded because a block of many rows keeps only the rows of a rarer hash (`JointState`).

DuckDB does the scan: one query per column, which decodes that column alone.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.monitoring.layout import (
    BANDWIDTH,
    HASH_CELLS,
    TURN,
    UNIT,
    WAVE,
    WAVE_UNIT,
    ColumnLayout,
    Floats,
    Integers,
    JointLayout,
    Layout,
    cell_expression,
    kind_of,
    quoted,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

LEVELS = 8  # of the joint sample; each next one has a quarter of the rows
UNSEEN_NAMES = 64  # of a block and column
MEMORY = "192MB"  # DuckDB's own; what does not fit goes through files
CHUNK = 4096  # rows that are summed at once
EPOCH = date(1970, 1, 1)
SMALL = 100_000  # rows of a table for which a second thread costs more than it gains
_BLOCK = "perennial label"  # name of a column that no dataset has

Block = date | str | int


@dataclass(frozen=True, eq=False)
class ColumnState:
    """Counts of one column.

    Attributes:
        nulls: rows without a finite value: null, NaN or infinite.
        cells: rows by cell, shape [cells of the column's layout]; the last one of a column with known categories counts all others.
        exact: rows by value, shape [values + 1], the last one for all others; empty where the layout lists no values.
        unseen: rows by name of categories that the layout does not know: the UNSEEN_NAMES names whose MD5 is lowest.
    """

    nulls: int
    cells: Integers
    exact: Integers
    unseen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def zero(cls, layout: ColumnLayout) -> ColumnState:
        """The state of no rows."""
        return cls(0, np.zeros(layout.cells, np.int64), np.zeros(len(layout.values) + 1 if layout.values else 0, np.int64))

    def __add__(self, other: ColumnState) -> ColumnState:
        names = dict(self.unseen)
        for name, n in other.unseen.items():
            names[name] = names.get(name, 0) + n
        return ColumnState(self.nulls + other.nulls, self.cells + other.cells, self.exact + other.exact, _lowest(names))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ColumnState)
            and (self.nulls, self.unseen) == (other.nulls, other.unseen)
            and np.array_equal(self.cells, other.cells)
            and np.array_equal(self.exact, other.exact)
        )

    __hash__ = None  # type: ignore[assignment]


def _lowest(names: dict[str, int]) -> dict[str, int]:
    """Of all names of a block, those of lowest MD5. A name that is among the lowest of a sum is so in each part that has it: no count is lost."""
    order = sorted(names, key=lambda name: hashlib.md5(name.encode(), usedforsecurity=False).hexdigest())
    return {name: names[name] for name in sorted(order[:UNSEEN_NAMES])}


@dataclass(frozen=True, eq=False)
class JointState:
    """Sums over a sample of rows that are seen together.

    Every row has a level by a hash of its values: of 4 rows 3 are of level 0, of the others 3 in 4 of level 1, and so on. The sample is
    the rows of the lowest level and above that keep it within the layout's bound. The sums of each level stay apart, so that adding a
    state of many rows can give up the lower ones: nothing has to be counted again.

    Attributes:
        levels: rows of the block by level, shape [LEVELS].
        by_level: sums by level, shape [LEVELS, sums of the layout] in the order of `JointLayout.families`, fixed point: means and
            indicators in 1/1024, squares and products in 1/1024², cosines and sines in 2⁻²⁰.
        bound: rows of the sample at most.
    """

    levels: Integers
    by_level: Integers
    bound: int

    @classmethod
    def zero(cls, layout: JointLayout) -> JointState:
        """The state of no rows."""
        return cls(np.zeros(LEVELS, np.int64), np.zeros((LEVELS, layout.size), np.int64), layout.rows)

    @property
    def level(self) -> int:
        """Rows of this level and above are in the sample."""
        return sample_level(self.levels, self.bound)

    @property
    def rows(self) -> int:
        """Rows in the sample."""
        return int(self.levels[self.level :].sum())

    @property
    def sums(self) -> Integers:
        """Sums over the sample, shape [sums of the layout]."""
        total: Integers = self.by_level.sum(axis=0)
        return total

    def __add__(self, other: JointState) -> JointState:
        levels, by_level = self.levels + other.levels, self.by_level + other.by_level
        by_level[: sample_level(levels, self.bound)] = 0
        return JointState(levels, by_level, self.bound)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, JointState)
            and self.bound == other.bound
            and np.array_equal(self.levels, other.levels)
            and np.array_equal(self.by_level, other.by_level)
        )

    __hash__ = None  # type: ignore[assignment]


def sample_level(levels: Integers, bound: int) -> int:
    """The lowest level such that no more than `bound` rows are of it or above; the last one if there is none."""
    rows = np.cumsum(levels[::-1])[::-1]
    fitting = np.flatnonzero(rows <= bound)
    return int(fitting[0]) if len(fitting) else LEVELS - 1


@dataclass(frozen=True)
class State:
    """Counts of some rows: of a day, a batch, a part of a table, a window."""

    layout: Layout
    rows: int
    columns: dict[str, ColumnState]
    joint: JointState

    @classmethod
    def zero(cls, layout: Layout) -> State:
        """The state of no rows."""
        return cls(layout, 0, {column.name: ColumnState.zero(column) for column in layout.columns}, JointState.zero(layout.joint))

    def __add__(self, other: State) -> State:
        """The state of both rows together.

        Raises:
            ValueError: they were counted on different layouts.
        """
        if self.layout != other.layout:
            raise ValueError("two states can be added only if they were counted on the same layout")
        columns = {name: column + other.columns[name] for name, column in self.columns.items()}
        return State(self.layout, self.rows + other.rows, columns, self.joint + other.joint)


@dataclass(frozen=True)
class Family:
    """Means of one kind over the joint samples.

    Attributes:
        names: pairs of columns (or a column and `column=category`); the second is empty where there is one.
        means: shape [blocks, names]; zero for a block without rows.
    """

    names: tuple[tuple[str, str], ...]
    means: Floats


@dataclass(frozen=True)
class JointMeans:
    """What the joint samples of some blocks show. Families: `mean` and `square` of normal scores z, `product` of two of them, `share` of
    indicators, `cross` of a score and an indicator standardised by its share at the fit, `cos` and `sin` of random frequencies.

    Attributes:
        rows: rows of each block's sample, shape [blocks].
        families: by name.
    """

    rows: Integers
    families: dict[str, Family]


@dataclass(frozen=True)
class Profile:
    """States of blocks of rows, in order of their labels: of days, or of any other division."""

    layout: Layout
    days: dict[Any, State]

    def select(self, first: date | None = None, last: date | None = None) -> Profile:
        """The days from `first` to `last`, both included."""
        return Profile(self.layout, {d: s for d, s in self.days.items() if (first is None or d >= first) and (last is None or d <= last)})

    def only(self, columns: Sequence[str]) -> Profile:
        """The same with these columns alone. What is said of columns together stays where it concerns none but them."""
        layout, kept = _narrowed(self.layout, tuple(columns))
        days = {
            label: State(
                layout,
                s.rows,
                {name: s.columns[name] for name in layout.names},
                JointState(s.joint.levels, s.joint.by_level[:, kept], s.joint.bound),
            )
            for label, s in self.days.items()
        }
        return Profile(layout, days)

    def merged(self) -> State:
        """The state of all rows."""
        return sum_of(self.days.values(), self.layout)

    def __add__(self, other: Profile) -> Profile:
        """The blocks of both; blocks of the same label are added."""
        return added((self, other), self.layout)

    def rows(self) -> Integers:
        """Rows of each block, shape [blocks]."""
        return np.array([state.rows for state in self.days.values()], np.int64)

    def nulls(self, name: str) -> Integers:
        """Rows of each block without a finite value, shape [blocks]."""
        return np.array([state.columns[name].nulls for state in self.days.values()], np.int64)

    def cells(self, name: str) -> Integers:
        """Rows by block and cell, shape [blocks, cells]."""
        return self._stacked([s.columns[name].cells for s in self.days.values()], self.layout.column(name).cells)

    def exact(self, name: str) -> Integers:
        """Rows by block and exact value, shape [blocks, values + 1], the last for all others; [blocks, 0] without listed values."""
        values = self.layout.column(name).values
        return self._stacked([s.columns[name].exact for s in self.days.values()], len(values) + 1 if values else 0)

    def unseen(self, name: str) -> dict[str, Integers]:
        """Rows of each block, shape [blocks], by name of the categories that the layout does not know and whose names were kept."""
        counts = [s.columns[name].unseen for s in self.days.values()]
        return {n: np.array([c.get(n, 0) for c in counts], np.int64) for n in sorted({n for c in counts for n in c})}

    def joint(self) -> JointMeans:
        """What the joint samples show."""
        joint = self.layout.joint
        rows = np.array([state.joint.rows for state in self.days.values()], np.int64)
        sums = self._stacked([state.joint.sums for state in self.days.values()], joint.size)
        means = sums / np.maximum(rows, 1)[:, None]
        shares = np.array(joint.shares)
        found, begin = {}, 0
        for family, names in joint.families.items():
            part = means[:, begin : begin + len(names)]
            begin += len(names)
            if family == "cross" and names:
                # Kept as the sum of z where the indicator is set; c is (indicator - share) / sqrt(share (1 - share)).
                z = means[:, : len(joint.numeric)] / UNIT
                c = (part / UNIT).reshape(len(means), len(joint.numeric), len(shares)) - z[:, :, None] * shares
                part = (c / np.sqrt(shares * (1 - shares))).reshape(len(means), -1)
            else:
                part = part / {"mean": UNIT, "square": UNIT**2, "product": UNIT**2, "share": 1, "cross": 1}.get(family, WAVE_UNIT)
            found[family] = Family(names, part)
        return JointMeans(rows, found)

    def _stacked(self, arrays: Sequence[Integers], width: int) -> Integers:
        return np.stack(arrays) if arrays else np.zeros((0, width), np.int64)


def added(profiles: Iterable[Profile], layout: Layout) -> Profile:
    """The sum of profiles, blocks in order."""
    days: dict[Any, State] = {}
    for profile in profiles:
        for label, state in profile.days.items():
            days[label] = days[label] + state if label in days else state
    return Profile(layout, dict(sorted(days.items())))


def sum_of(states: Iterable[State], layout: Layout) -> State:
    """The state of all rows of some states."""
    return functools.reduce(State.__add__, states, State.zero(layout))


@functools.lru_cache(maxsize=64)
def _narrowed(layout: Layout, columns: tuple[str, ...]) -> tuple[Layout, Integers]:
    """A layout of fewer columns, and the numbers of the joint sums that it keeps."""
    joint = layout.joint
    whole = set(joint.columns) <= set(columns)
    numeric = [i for i, name in enumerate(joint.numeric) if name in columns]
    marks = [i for i, (name, _) in enumerate(joint.indicators) if name in columns]
    narrow = joint.model_copy(
        update={
            "numeric": tuple(joint.numeric[i] for i in numeric),
            "scores": tuple(joint.scores[i] for i in numeric),
            "indicators": tuple(joint.indicators[i] for i in marks),
            "shares": tuple(joint.shares[i] for i in marks),
            "frequencies": joint.frequencies if whole else 0,
        }
    )
    kept = [joint.places[key] for key in narrow.places]
    fewer = layout.model_copy(update={"columns": tuple(c for c in layout.columns if c.name in columns), "joint": narrow})
    return fewer, np.array(kept, np.int64)


def profile(
    rows: pa.Table | pyarrow.dataset.Dataset | Sequence[Path],
    layout: Layout,
    *,
    day: str | None = None,
    blocks: int | str | Sequence[Any] | None = None,
) -> Profile:
    """Count rows by block.

    Args:
        rows: a table, or a dataset or Parquet files that are read column by column. A column of the layout that they lack counts as null.
        layout: how rows are counted.
        day: a date or timestamp column (UTC): each of its days is a block. Rows without it belong to none.
        blocks: for a table, instead of `day`: a column or one label per row that name its block, or a number of blocks to which rows are
            dealt at random by their place (for rows that are independent of each other). 1 takes all rows of files too as one block.

    Returns:
        A state for each block that has rows.

    Raises:
        ValueError: neither or both of `day` and `blocks` are given, or a column has another kind than in the layout.
    """
    if (day is None) == (blocks is None):
        raise ValueError("give either a day column or blocks")
    scan = _Scan(rows, layout, day, blocks)
    try:
        return scan.profile()
    finally:
        scan.connection.close()


class _Scan:
    """One pass over some rows."""

    def __init__(self, rows: Any, layout: Layout, day: str | None, blocks: int | str | Sequence[Any] | None) -> None:
        import duckdb

        self.layout = layout
        self.connection = duckdb.connect(config={"preserve_insertion_order": False, "memory_limit": MEMORY})
        self.connection.execute("set TimeZone = 'UTC'")
        self.labels: list[Any] | None = None
        if isinstance(blocks, int) and blocks == 1:
            self.block, self.labels = "0", [0]
        elif blocks is not None:
            rows, self.labels = _labelled(rows, blocks, layout.joint.seed)
            self.block = quoted(_BLOCK)
        schema = self._register(rows)
        if getattr(rows, "num_rows", SMALL) < SMALL:
            self.connection.execute("set threads = 1")
        self.known = {c.name: kind_of(schema.field(c.name).type) for c in layout.columns if c.name in schema.names}
        for name, kind in self.known.items():
            if kind is not None and kind != (wanted := layout.column(name).kind):
                raise ValueError(f"the column {name} is counted as {wanted} and now is {kind}")
        if day is not None:
            when = quoted(day)
            self.block = f"{when}::date"  # in the session's zone, UTC; its number is worked out for groups, not for rows

    def _register(self, rows: Any) -> pa.Schema:
        if isinstance(rows, Sequence):
            paths = ", ".join("'" + str(path).replace("'", "''") + "'" for path in rows)
            self.connection.execute(f"create temp view given as select * from read_parquet([{paths}], union_by_name = true)")  # noqa: S608
            return self.connection.sql("select * from given limit 0").to_arrow_table().schema
        self.connection.register("given", rows)
        return rows.schema

    def profile(self) -> Profile:
        counted = self._numbers(f"select {self.block} b, count(*) n from given where {self.block} is not null group by 1 order by 1")  # noqa: S608
        self.blocks, self.rows = counted["b"].astype(np.int64), counted["n"].astype(np.int64)
        columns: dict[str, list[ColumnState]] = {}
        for column in self.layout.columns:
            if self.known.get(column.name) is None:
                columns[column.name] = [self._all_null(column, int(n)) for n in self.rows]
            else:
                columns[column.name] = self._number(column) if column.kind == "numeric" else self._category(column)
        joint = self._joint()
        states = {
            self._label(int(b)): State(self.layout, int(n), {name: states[i] for name, states in columns.items()}, joint[i])
            for i, (b, n) in enumerate(zip(self.blocks, self.rows, strict=True))
        }
        return Profile(self.layout, states)

    def _label(self, block: int) -> Block:
        return EPOCH + timedelta(days=block) if self.labels is None else self.labels[block]

    def _all_null(self, column: ColumnLayout, rows: int) -> ColumnState:
        zero = ColumnState.zero(column)
        return ColumnState(rows, zero.cells, zero.exact)

    def _numbers(self, query: str) -> dict[str, Any]:
        """What a query finds, by column; blocks as numbers, for a day since 1970."""
        found = self.connection.execute(query).fetchnumpy()
        if found["b"].dtype.kind == "M":
            found["b"] = found["b"].astype("datetime64[D]").astype(np.int64)
        return found

    def _places(self, found: dict[str, Any]) -> Integers:
        places: Integers = np.searchsorted(self.blocks, found["b"])
        return places

    def _number(self, column: ColumnLayout) -> list[ColumnState]:
        assert column.grid is not None
        listed, cell = len(column.values), f"coalesce({cell_expression('v', column.grid)}, -1)"
        if column.few or listed:  # few groups: cells are worked out for each of them, not for each row
            inner = f"(select b, raw::double v, n from (select {self.block} b, {quoted(column.name)} raw, count(*) n from given where {self.block} is not null group by 1, 2))"  # noqa: S608
            if listed:
                self._tell("listed", column.values, "double")
                inner = f"(select b, v, n, coalesce(place, {listed}) e from {inner} left join listed on listed.name = v)"  # noqa: S608
            found = self._numbers(f"select b, {cell} c, {'e' if listed else '0'} e, sum(n)::bigint n from {inner} group by 1, 2, 3")  # noqa: S608
        else:
            inner = f"(select {self.block} b, {quoted(column.name)}::double v from given where {self.block} is not null)"  # noqa: S608
            found = self._numbers(f"select b, {cell} c, count(*) n from {inner} group by 1, 2")  # noqa: S608
        place = self._places(found)
        cells = np.zeros((len(self.blocks), column.cells + 1), np.int64)  # the last one: no finite value
        np.add.at(cells, (place, found["c"]), found["n"])
        exact = np.zeros((len(self.blocks), listed + 1 if listed else 0), np.int64)
        if listed:
            finite = found["c"] >= 0
            np.add.at(exact, (place[finite], found["e"][finite]), found["n"][finite])
        return [ColumnState(int(c[-1]), c[:-1], e) for c, e in zip(cells, exact, strict=True)]

    def _category(self, column: ColumnLayout) -> list[ColumnState]:
        v, cells = quoted(column.name), np.zeros((len(self.blocks), column.cells + 1), np.int64)
        names: list[dict[str, int]] = [{} for _ in self.blocks]
        grouped = f"(select {self.block} b, {v}::varchar v, count(*) n from given where {self.block} is not null group by 1, 2)"  # noqa: S608
        if column.hashed:
            # MD5, not DuckDB's own hash: that one may change with its version, and all categories would seem to.
            query = f"select {self.block} b, coalesce((md5_number_lower({v}::varchar) % {HASH_CELLS})::int, -1) c, count(*) n from given where {self.block} is not null group by 1, 2"  # noqa: S608
        else:
            self._tell("listed", column.categories, "varchar")
            query = f"select b, case when v is null then -1 else coalesce(place, {len(column.categories)}) end c, sum(n)::bigint n from {grouped} left join listed on listed.name = v group by 1, 2"  # noqa: S608
        found = self._numbers(query)
        cells[self._places(found), found["c"]] = found["n"]
        if not column.hashed and cells[:, -2].any():
            query = f"select b, v, n from {grouped} anti join listed on listed.name = v where v is not null qualify row_number() over (partition by b order by md5(v)) <= {UNSEEN_NAMES}"  # noqa: S608
            found = self._numbers(query)
            for place, name, n in zip(self._places(found), found["v"].tolist(), found["n"].tolist(), strict=True):
                names[place][name] = n
        empty = np.zeros(0, np.int64)
        return [ColumnState(int(c[-1]), c[:-1], empty, dict(sorted(n.items()))) for c, n in zip(cells, names, strict=True)]

    def _tell(self, table: str, names: Sequence[Any], kind: str) -> None:
        """Make a table of known values and their places."""
        import pyarrow as pa

        types = {"double": pa.float64(), "varchar": pa.string()}
        self.connection.register(table, pa.table({"name": pa.array(names, types[kind]), "place": np.arange(len(names), dtype=np.int32)}))

    def _joint(self) -> list[JointState]:
        joint = self.layout.joint
        if not joint.columns:
            return [JointState.zero(joint) for _ in self.blocks]
        kinds = {name: "double" if self.layout.column(name).kind == "numeric" else "varchar" for name in joint.sampled_by}
        by = [f"{quoted(name) if self.known.get(name) else 'null'}::{kind}" for name, kind in kinds.items()]
        # One hash for the same values, whatever their type: the level is half the number of zero bits at its end.
        h = f"(hash({', '.join(by)}) | {1 << (2 * LEVELS - 2)})"
        level = f"(bit_count(xor({h}, {h} - 1)) - 1) // 2"
        query = f"select {self.block} b, ({level})::tinyint l, count(*) n from given where {self.block} is not null group by 1, 2"  # noqa: S608
        found = self._numbers(query)
        levels = np.zeros((len(self.blocks), LEVELS), np.int64)
        levels[self._places(found), found["l"]] = found["n"]
        lowest = np.array([sample_level(counts, joint.rows) for counts in levels], np.int64)
        sums = np.zeros((len(self.blocks), LEVELS, joint.size), np.int64)
        if len(self.blocks):
            self._sum(joint, sums, h, level, lowest)
        return [JointState(levels[i], sums[i], joint.rows) for i in range(len(self.blocks))]

    def _sum(self, joint: JointLayout, sums: Integers, h: str, level: str, lowest: Integers) -> None:
        import pyarrow as pa
        from threadpoolctl import threadpool_limits

        mask = 4 ** int(lowest.min()) - 1  # of most rows nothing but the hash is worked out
        blocks = self.blocks if self.labels is not None else self.blocks.astype("datetime64[D]")
        # No name here may be one that a column has.
        block, of = quoted("perennial block"), quoted("perennial level")
        self.connection.register("lowest", pa.table({"perennial block": blocks, "perennial lowest": lowest}))
        columns = [*(self._cell(name) for name in joint.numeric), *(self._mark(*mark) for mark in joint.indicators)]
        named = ", ".join(f"{expression} x{i}" for i, expression in enumerate(columns))
        query = f"""
            select g.{block} b, {of} l, {named} from (select *, {self.block} {block}, ({level})::tinyint {of} from given where {h} & {mask} = 0) g
            join lowest on lowest."perennial block" = g.{block} where {of} >= lowest."perennial lowest"
        """  # noqa: S608
        found = self._numbers(query)
        place = self._places(found) * LEVELS + found["l"]
        order = np.argsort(place, kind="stable")
        place = place[order]
        values = np.stack([found[f"x{i}"] for i in range(len(columns))])[:, order]
        begins = np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
        flat, adder = sums.reshape(-1, joint.size), Adder(joint)
        with threadpool_limits(1, "blas"):  # for matrices this small a second thread waits more than it works
            for begin, end in zip(begins, [*begins[1:], len(place)], strict=True):
                for first in range(begin, end, CHUNK):
                    flat[place[begin]] += adder.sums(values[:, first : min(first + CHUNK, end)])

    def _cell(self, name: str) -> str:
        grid = self.layout.column(name).grid
        assert grid is not None
        return f"coalesce({cell_expression(f'{quoted(name)}::double', grid)}, -1)" if self.known.get(name) else "(-1)::smallint"

    def _mark(self, name: str, category: str) -> str:
        literal = "'" + category.replace("'", "''") + "'"
        return f"coalesce({quoted(name)}::varchar = {literal}, false)::smallint" if self.known.get(name) else "0::smallint"


class Adder:
    """Sums of rows that are seen together, in whole numbers throughout: the order of the rows changes nothing."""

    def __init__(self, joint: JointLayout) -> None:
        p, k = len(joint.numeric), len(joint.indicators)
        self.p, self.size = p, joint.size
        listed = [[*scores, 0] for scores in joint.scores]  # no value: 0, at place -1
        self.scores = np.array(listed, np.float64) if listed else np.zeros((0, 1))
        weights = np.random.default_rng(joint.seed).normal(size=(p + k, joint.frequencies)) * BANDWIDTH / np.sqrt(max(p, 1))
        self.weights = np.rint(weights / (2 * np.pi) * TURN)
        shares = np.array(joint.shares)
        deviation = np.sqrt(shares * (1 - shares))
        self.marked, self.unmarked = np.rint((1 - shares) / deviation * UNIT), np.rint(-shares / deviation * UNIT)
        self.pairs = np.triu_indices(p, 1)
        steps = np.arange(WAVE) * (2 * np.pi / WAVE)
        self.cos, self.sin = (np.rint(f(steps) * WAVE_UNIT).astype(np.int64) for f in (np.cos, np.sin))
        self.shift = (UNIT * TURN).bit_length() - 1 - (WAVE.bit_length() - 1)

    def sums(self, values: Integers) -> Integers:
        """Sums of some rows, shape [sums of the layout].

        Args:
            values: cells of the numeric columns, -1 for none, then indicators, 0 or 1; shape [p + k, rows].
        """
        p = self.p
        z = self.scores[np.arange(p)[:, None], values[:p]]
        marks = values[p:].astype(np.float64)
        both = np.concatenate([z, marks])
        products = both @ z.T  # whole numbers below 2⁵³: exact in any order of addition
        squares, cross = products[:p], products[p:].T
        parts = [z.sum(axis=1), np.diag(squares), squares[self.pairs], marks.sum(axis=1), cross.ravel()]
        both[p:] = np.where(marks > 0, self.marked[:, None], self.unmarked[:, None])
        turns = (both.T @ self.weights).astype(np.int64)
        turns >>= self.shift
        turns &= WAVE - 1
        waves = [self.cos.take(turns).sum(axis=0), self.sin.take(turns).sum(axis=0)]
        found: Integers = np.concatenate([*(part.astype(np.int64) for part in parts), *waves])
        return found


def _labelled(rows: pa.Table, blocks: int | str | Sequence[Any], seed: int) -> tuple[pa.Table, list[Any]]:
    """A table with the number of each row's block, and the labels of the blocks in order."""
    if isinstance(blocks, int):
        given: Any = np.random.default_rng(seed).permutation(rows.num_rows) % blocks
    elif isinstance(blocks, str):
        given = rows[blocks].to_numpy()
    else:
        given = np.asarray(blocks)
    labels, numbers = np.unique(given, return_inverse=True)
    return rows.append_column(_BLOCK, [numbers.astype(np.int32)]), labels.tolist()
