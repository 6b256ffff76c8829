"""What the rows of a day looked like, as a state that adds up: states of parts of the rows, added in any order, equal bit for bit the state
of all of them. So a day is profiled once, when it lands, and a window, a reference or a table over many machines is a sum.

A state holds whole numbers alone: rows, nulls, rows by cell, by exact value and by category, and sums over a sample of rows that are seen
together. A row is in the sample by a hash of its own values and its time, so the sample depends neither on the order of the rows nor on how
they were divided; it stays bounded because a block of many rows keeps only the rows of a rarer hash (`JointState`).

Rows are read once, batch by batch, as Arrow decodes them, and NumPy counts a batch column by column: a number costs three nanoseconds, a
category two. (DuckDB counts one block of all rows as cheaply, but needs twice as long for a state of each day.)
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from perennial.profiles.layout import (
    BANDWIDTH,
    GRID_CELLS,
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
    floats,
    held,
    integers,
    kind_of,
    strings,
    valid,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset
    from threadpoolctl import ThreadpoolController

LEVELS = 8  # of the joint sample; each next one has a quarter of the rows
UNSEEN_NAMES = 64  # of a block and column
BATCH = 1 << 15  # rows that are read at once
RUNS = 8  # of rows of the same block in a batch, up to which each is counted by itself
CHUNK = 1024  # rows of the sample that are summed at once
WAITING = 64 * CHUNK  # rows of the sample that wait for it at most
WHOLE_NUMBERS = 1 << 15  # of a column's bounds, up to which each has a place in a table
SLOT_BITS = 14  # of the table by which a listed value is found
BASE = np.uint64(0x100000001B3)  # of names' hashes
INVERSE = np.uint64(pow(0x100000001B3, -1, 1 << 64))
EPOCH = date(1970, 1, 1)
_DAYS = (date.min - EPOCH).days, (date.max - EPOCH).days
_BLOCK = "perennial label"  # name of a column that no dataset has

Label = TypeVar("Label", default=date)  # what names a block: a day, or whatever else the rows are divided by


@dataclass(frozen=True, eq=False)
class ColumnState:
    """Counts of one column.

    Attributes:
        nulls: rows without a finite value: null, NaN or infinite.
        cells: rows by cell, shape [cells of the column's layout]; the last one of a column with known categories counts all others.
        exact: rows by value, shape [values + 1], the last one for all others; empty where the layout lists no values.
        unseen: rows by name of categories that the layout does not know: the UNSEEN_NAMES names whose hash is lowest.
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
    """Of all names of a block, those of lowest hash. A name that is among the lowest of a sum is so in each part that has it: no count is lost."""
    if len(names) > UNSEEN_NAMES:
        hashes = name_hashes(list(names))
        lowest = sorted(zip(hashes.tolist(), names, strict=True))[:UNSEEN_NAMES]
        names = {name: names[name] for _, name in lowest}
    return dict(sorted(names.items()))


def name_hashes(names: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each name, shape [n]: its bytes as the digits of a number to an odd base, modulo 2⁶⁴, stirred. It changes with no library.

    The digits of all names stand in one row; what lies between two borders is a difference of two sums.
    """
    texts = [name.encode() for name in names]
    digits = np.frombuffer(b"".join(texts), np.uint8).astype(np.uint64) + np.uint64(1)
    borders = np.cumsum([0, *map(len, texts)])
    powers = np.cumprod(np.full(len(digits), BASE))
    sums = np.concatenate([[np.uint64(0)], np.cumsum(digits * powers)])
    back = np.cumprod(np.concatenate([[np.uint64(1)], np.full(len(digits), INVERSE)]))
    return stirred((sums[borders[1:]] - sums[borders[:-1]]) * back[borders[:-1]])


def stirred(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers whose highest bits depend on all of theirs, in place (the finaliser of MurmurHash3, public domain)."""
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        numbers ^= numbers >> np.uint64(33)
        numbers *= factor
    numbers ^= numbers >> np.uint64(33)
    return numbers


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
        return int(sample_level(self.levels, self.bound))

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
        by_level[: int(sample_level(levels, self.bound))] = 0
        return JointState(levels, by_level, self.bound)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, JointState)
            and self.bound == other.bound
            and np.array_equal(self.levels, other.levels)
            and np.array_equal(self.by_level, other.by_level)
        )

    __hash__ = None  # type: ignore[assignment]


def sample_level(levels: Integers, bound: int) -> Integers:
    """The lowest level such that no more than `bound` rows are of it or above, the last one if there is none; shape [...] of [..., LEVELS]."""
    fitting = np.cumsum(levels[..., ::-1], axis=-1)[..., ::-1] <= bound
    fitting[..., -1] = True
    found: Integers = fitting.argmax(axis=-1)
    return found


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
class Profile(Generic[Label]):
    """What the rows of each block looked like. Blocks are days unless something else is named as the label.

    Attributes:
        layout: how they were counted.
        blocks: state of each block by its label, in order of the labels.
    """

    layout: Layout
    blocks: dict[Label, State]

    def select(self: Profile[date], first: date | None = None, last: date | None = None) -> Profile[date]:
        """The days from `first` to `last`, both included."""
        days = {d: s for d, s in self.blocks.items() if (first is None or d >= first) and (last is None or d <= last)}
        return Profile(self.layout, days)

    def only(self, columns: Sequence[str]) -> Profile[Label]:
        """The same with these columns alone. What is said of columns together stays where it concerns none but them."""
        layout, kept = _narrowed(self.layout, tuple(columns))
        blocks = {
            label: State(
                layout,
                s.rows,
                {name: s.columns[name] for name in layout.names},
                JointState(s.joint.levels, s.joint.by_level[:, kept], s.joint.bound),
            )
            for label, s in self.blocks.items()
        }
        return Profile(layout, blocks)

    def merged(self) -> State:
        """The state of all rows."""
        return sum_of(self.blocks.values(), self.layout)

    def __add__(self, other: Profile[Label]) -> Profile[Label]:
        """The blocks of both; blocks of the same label are added."""
        return added((self, other), self.layout)

    def rows(self) -> Integers:
        """Rows of each block, shape [blocks]."""
        return np.array([state.rows for state in self.blocks.values()], np.int64)

    def nulls(self, name: str) -> Integers:
        """Rows of each block without a finite value, shape [blocks]."""
        return np.array([state.columns[name].nulls for state in self.blocks.values()], np.int64)

    def cells(self, name: str) -> Integers:
        """Rows by block and cell, shape [blocks, cells]."""
        return self._stacked([s.columns[name].cells for s in self.blocks.values()], self.layout.column(name).cells)

    def exact(self, name: str) -> Integers:
        """Rows by block and exact value, shape [blocks, values + 1], the last for all others; [blocks, 0] without listed values."""
        values = self.layout.column(name).values
        return self._stacked([s.columns[name].exact for s in self.blocks.values()], len(values) + 1 if values else 0)

    def unseen(self, name: str) -> dict[str, Integers]:
        """Rows of each block, shape [blocks], by name of the categories that the layout does not know and whose names were kept."""
        counts = [s.columns[name].unseen for s in self.blocks.values()]
        return {n: np.array([c.get(n, 0) for c in counts], np.int64) for n in sorted({n for c in counts for n in c})}

    def joint(self) -> JointMeans:
        """What the joint samples show."""
        joint = self.layout.joint
        rows = np.array([state.joint.rows for state in self.blocks.values()], np.int64)
        sums = self._stacked([state.joint.sums for state in self.blocks.values()], joint.size)
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


def added(profiles: Iterable[Profile[Label]], layout: Layout) -> Profile[Label]:
    """The sum of profiles: blocks of the same label are added, and all stand in order of their labels."""
    blocks: dict[Label, State] = {}
    for profile in profiles:
        for label, state in profile.blocks.items():
            blocks[label] = blocks[label] + state if label in blocks else state
    return Profile(layout, {label: blocks[label] for label in _in_order(blocks)})


def _in_order(labels: Iterable[Any]) -> list[Any]:
    return sorted(labels)


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
) -> Profile[Any]:
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
    np.empty(31 << 17)  # freed at once: then malloc keeps 62 MB for the next batch instead of handing pages back and fetching new ones
    scan, labels, block = _Scan(layout), None, day
    if isinstance(blocks, int) and blocks == 1:
        labels = [0]
    elif blocks is not None:
        rows, labels = _labelled(rows, blocks, layout.joint.seed)
        block = _BLOCK
    for batch in _batches(rows, [*layout.names, block]):
        if day:
            scan.add_times(batch, batch[day])
        else:
            scan.add(batch, None if block is None else batch[block])
    return scan.profile(labels)


def profiles(rows: pa.Table | pyarrow.dataset.Dataset, layout: Layout, *, day: str, by: str) -> dict[str, Profile]:
    """Count rows by day, those of each value of a column of texts apart: as `profile` would each of them, in one pass.

    Args:
        rows: a table or a dataset, which is read batch by batch.
        layout: how rows are counted.
        day: a date or timestamp column (UTC).
        by: column of texts; rows without one are not counted.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    scans: dict[str, _Scan] = {}
    for batch in _batches(rows, [*layout.names, day, by]):
        named = batch[by].cast(pa.string()).dictionary_encode()
        for place, name in enumerate(named.dictionary.to_pylist()):
            some = batch.filter(pc.equal(named.indices, place))
            scans.setdefault(name, _Scan(layout)).add_times(some, some[day])
    return {name: scan.profile(None) for name, scan in scans.items()}


def _batches(rows: Any, wanted: Sequence[str | None]) -> Iterator[pa.RecordBatch]:
    """The wanted columns of some rows as far as they are there, batch by batch, small ones put together."""
    import pyarrow as pa

    few: list[pa.RecordBatch] = []
    waiting = 0
    for batch in _read(rows, wanted):
        if few and (batch.schema != few[0].schema or waiting >= BATCH // 2):
            yield pa.concat_batches(few) if len(few) > 1 else few[0]
            few, waiting = [], 0
        few.append(batch)
        waiting += len(batch)
    if few:
        yield pa.concat_batches(few) if len(few) > 1 else few[0]


def _read(rows: Any, wanted: Sequence[str | None]) -> Iterator[pa.RecordBatch]:
    if isinstance(rows, Sequence):
        import pyarrow.parquet as pq

        for path in rows:
            # Categories stay numbers of a dictionary: each name is looked at once for each group of rows, not for each row.
            footer = pq.read_metadata(path)
            some = [name for name in footer.schema.to_arrow_schema().names if name in wanted]
            file = pq.ParquetFile(path, metadata=footer, read_dictionary=some, pre_buffer=False)
            for group in range(file.num_row_groups):  # a reader over all of them keeps the whole file in memory
                yield from file.iter_batches(BATCH, row_groups=[group], columns=some, use_threads=False)
        return
    some = [name for name in rows.schema.names if name in wanted]
    if hasattr(rows, "num_rows"):
        yield from rows.select(some).to_batches(BATCH)
    else:
        yield from rows.to_batches(columns=some, batch_size=BATCH, batch_readahead=1, fragment_readahead=1, use_threads=False)


class _Scan:
    """One pass over some rows, batch by batch."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.places: dict[Any, int] = {}  # of the blocks, by label as it was found
        self.rows = _Counts(1)
        self.schema: pa.Schema | None = None  # of the last batch
        self.known: dict[str, int] = {}
        self.columns = {c.name: _Numbers(c) if c.kind == "numeric" else _Categories(c) for c in layout.columns}
        self.joint = _Joint(layout.joint, self.columns)

    def add_times(self, batch: pa.RecordBatch, when: pa.Array) -> None:
        """Count a batch by the days of its rows' times or dates (UTC). A row without a time, or in no year from 1 to 9999, belongs to none."""
        import pyarrow as pa

        times = when.cast(pa.timestamp("us"), safe=False)
        days = times.cast(pa.date32()).cast(pa.int32())
        numbers = integers(days, _DAYS[1] + 1)
        known = (numbers >= _DAYS[0]) & (numbers <= _DAYS[1])
        if not known.all():
            some = pa.array(known)
            batch, times, days = batch.filter(some), times.filter(some), days.filter(some)
        self.add(batch, days, times.cast(pa.int64()))

    def add(self, batch: pa.RecordBatch, blocks: pa.Array | None, times: pa.Array | None = None) -> None:
        """Count a batch; `blocks` are numbers of each row's block. Without them all are of block 0. `times` tell rows of the same values apart."""
        if not batch.num_rows:
            return
        if self.schema is None or not batch.schema.equals(self.schema):
            self.schema, self.known = batch.schema, self._known(batch.schema)
        columns = {name: batch.column(place) for name, place in self.known.items()}
        numbers = integers(blocks) if blocks is not None else np.zeros(batch.num_rows, np.int32)
        borders = [0, *((numbers[1:] != numbers[:-1]).nonzero()[0] + 1).tolist(), len(numbers)]
        if in_order := blocks is None or len(borders) <= RUNS + 1:  # rows that come in order need no grouping
            labels, of = numbers[borders[:-1]], np.repeat(np.arange(len(borders) - 1), np.diff(borders))
        else:
            encoded = blocks.dictionary_encode()
            labels, of = integers(encoded.dictionary), integers(encoded.indices).astype(np.int64)
        places = [self.places.setdefault(label, len(self.places)) for label in labels.tolist()]
        runs = list(zip(places, borders[:-1], borders[1:], strict=True)) if in_order else []
        rows = _Rows(columns, np.array(places), of, runs, len(self.places), None if times is None else held(times, np.int64))
        self.rows.add(rows, np.zeros(len(of), np.int64))
        for column in self.columns.values():
            column.add(rows)
        self.joint.add(rows)

    def _known(self, schema: pa.Schema) -> dict[str, int]:
        """The columns of the layout that can be counted, by their number."""
        found = {}
        for place, (name, given) in enumerate(zip(schema.names, schema.types, strict=True)):
            if name in self.columns and (kind := kind_of(given)) is not None:
                if kind != (wanted := self.layout.column(name).kind):
                    raise ValueError(f"the column {name} is counted as {wanted} and now is {kind}")
                found[name] = place
        return found

    def profile(self, labels: Sequence[Any] | None) -> Profile[Any]:
        """What was counted; `labels` names the blocks by number, else they are days since 1970."""
        blocks = len(self.places)
        rows, joint = self.rows.of(blocks), self.joint.states(blocks)
        columns = {name: column.states(blocks) for name, column in self.columns.items()}
        states = {}
        for number, place in sorted(self.places.items()):
            label = EPOCH + timedelta(days=number) if labels is None else labels[number]
            by_column = {name: found[place] for name, found in columns.items()}
            states[label] = State(self.layout, int(rows[place, 0]), by_column, joint[place])
        return Profile(self.layout, states)


@dataclass(frozen=True)
class _Rows:
    """A batch.

    Attributes:
        columns: those that can be counted.
        places: of the blocks that it has rows of, shape [blocks].
        of: which of these each row belongs to, shape [rows].
        runs: block, first row and end of each run of rows of the same block; empty where they are mixed.
        blocks: number of blocks that are known.
        times: of each row, microseconds since 1970, shape [rows], where they are known.
    """

    columns: Mapping[str, pa.Array]
    places: Integers
    of: Integers
    runs: Sequence[tuple[int, int, int]]
    blocks: int
    times: Integers | None


class _Counts:
    """Rows by block and code, shape [blocks, width], for blocks that are not known before."""

    def __init__(self, *width: int) -> None:
        self.width, self.counts = width[0], np.zeros((1, *width), np.int64)

    def add(self, rows: _Rows, codes: Integers) -> None:
        """Count rows of these codes, shape [rows]."""
        counts = self.upto(rows.blocks)
        if rows.runs:
            for place, begin, end in rows.runs:
                counts[place] += np.bincount(codes[begin:end], minlength=self.width)
        else:
            blocks = len(rows.places)
            found = np.bincount(codes + rows.of * self.width, minlength=blocks * self.width)
            counts[rows.places] += found.reshape(blocks, self.width)

    def upto(self, blocks: int) -> Integers:
        """The counts, with room for so many blocks at least."""
        if (lacking := blocks - len(self.counts)) > 0:
            more = max(lacking, len(self.counts) // 4)
            self.counts = np.concatenate([self.counts, np.zeros((more, *self.counts.shape[1:]), np.int64)])
        return self.counts

    def of(self, blocks: int) -> Integers:
        """The counts of so many blocks."""
        return self.upto(blocks)[:blocks]


class _Numbers:
    """One numeric column. A row's code is the place of its value among the listed ones; else their number and the row's cell."""

    def __init__(self, layout: ColumnLayout) -> None:
        assert layout.grid is not None
        self.layout, self.grid, self.listed = layout, layout.grid, len(layout.values)
        self.none = self.listed + GRID_CELLS
        self.counts = _Counts(self.none + 1)
        self.values = np.array(layout.values)
        self.cell_of = np.concatenate([self.grid.cells_of(self.values), np.arange(GRID_CELLS), [-1]]).astype(np.int64)
        self.multiplier, self.shift, self.slots = _slots(self.values)
        # Whole numbers within the bounds are looked up; on either side stands what is none of them.
        self.first, last = math.floor(layout.grid.low), math.ceil(layout.grid.high)
        inside = np.arange(self.first, last, dtype=np.float64) if last - self.first <= WHOLE_NUMBERS else np.zeros(0)
        self.code_of = np.concatenate([[-1], self._codes(inside), [-1]]).astype(np.int64)
        self.column: pa.Array | None = None
        self.codes = np.zeros(0, np.int64)  # of the last batch

    def add(self, rows: _Rows) -> None:
        import pyarrow as pa

        self.column = rows.columns.get(self.layout.name, pa.nulls(len(rows.of), pa.float64()))
        if self.column.type == pa.int64() and len(self.code_of) > 2:
            with np.errstate(over="ignore"):
                slots = np.subtract(held(self.column, np.int64), self.first - 1)
            self.codes = self.code_of.take(slots, mode="clip")
            if self.column.null_count:
                np.putmask(self.codes, ~valid(self.column), self.none)
            other = (self.codes < 0).nonzero()[0]
            if len(other):
                self.codes[other] = self._codes(held(self.column, np.int64)[other].astype(np.float64))
        else:
            self.codes = self._codes(floats(self.column))
        self.counts.add(rows, self.codes)

    def _codes(self, values: Floats) -> Integers:
        if not self.listed:
            return self.grid.cells_of(values)
        slots = (values + 0.0).view(np.uint64)  # 0 and -0 are one value
        slots *= self.multiplier
        slots >>= self.shift
        codes: Integers = self.slots.take(slots.view(np.int64), mode="clip")
        other = (self.values.take(codes, mode="clip") != values).nonzero()[0]
        if len(other):
            codes[other] = self.grid.cells_of(values[other]) + self.listed
        return codes

    def bits(self) -> NDArray[np.uint64]:
        """The last batch's numbers as they lie in memory."""
        assert self.column is not None
        return floats(self.column).view(np.uint64)

    def cells(self, some: Integers) -> Integers:
        """Cells of some rows of the last batch, -1 for no value."""
        return self.cell_of[self.codes[some]]

    def states(self, blocks: int) -> list[ColumnState]:
        """The state of each block."""
        counts, listed = self.counts.of(blocks), self.listed
        cells = counts[:, listed:-1]
        exact = np.column_stack([counts[:, :listed], cells.sum(axis=1)]) if listed else np.zeros((blocks, 0), np.int64)
        if listed:  # in place: nothing is counted after this
            np.add.at(cells.T, self.cell_of[:listed], counts[:, :listed].T)
        return [ColumnState(n, c, e) for n, c, e in zip(counts[:, -1].tolist(), cells, exact, strict=True)]


def _slots(values: Floats) -> tuple[np.uint64, np.uint64, Integers]:
    """A table of places of numbers [n] by the highest bits of a multiple of their own bits, of which no two are the same."""
    rng, bits = np.random.default_rng(0), values.view(np.uint64)
    for attempt in itertools.count():
        size = min(SLOT_BITS + attempt // 64, 64)
        multiplier, shift = rng.integers(1 << 63, dtype=np.uint64) | np.uint64(1), np.uint64(64 - size)
        slots = (bits * multiplier) >> shift
        if len(np.unique(slots)) == len(values):
            table = np.zeros(1 << size if len(values) else 0, np.int64)
            table[slots] = np.arange(len(values))
            return multiplier, shift, table
    raise AssertionError


class _Categories:
    """One column of categories. A row's code is the place of its category, or the cell of its hash; one more for none."""

    def __init__(self, layout: ColumnLayout) -> None:
        self.layout, self.none = layout, layout.cells
        self.known = strings(layout.categories)
        self.counts = _Counts(layout.cells + 1)
        self.unseen: dict[int, dict[str, int]] = {}
        self.dictionary: pa.Array | None = None
        self.code_of = self.codes = np.zeros(0, np.int64)

    def add(self, rows: _Rows) -> None:
        import pyarrow as pa

        column = rows.columns.get(self.layout.name)
        if column is None:
            self.codes = np.full(len(rows.of), self.none)
            self.counts.add(rows, self.codes)
            return
        if not pa.types.is_dictionary(column.type):
            column = (column.cast(pa.string()) if pa.types.is_string_view(column.type) else column).dictionary_encode()
        if self.dictionary is None or not column.dictionary.equals(self.dictionary):
            self.dictionary = column.dictionary
            self.code_of = np.append(self._codes(self.dictionary.cast(pa.string())), self.none)
        indices = integers(column.indices, len(self.dictionary))
        self.codes = self.code_of.take(indices, mode="clip")
        self.counts.add(rows, self.codes)
        if not self.layout.hashed:
            later = (self.codes == self.none - 1).nonzero()[0]
            if len(later):
                self._name(rows, later, indices[later])

    def _codes(self, names: pa.Array) -> Integers:
        """Code of each name of a dictionary, one of which may be null."""
        import pyarrow.compute as pc

        if self.layout.hashed:
            hashes = name_hashes([name or "" for name in names.to_pylist()])
            found = (hashes % np.uint64(HASH_CELLS)).astype(np.int64)
        else:
            found = integers(pc.index_in(names, self.known), self.none - 1).astype(np.int64)
        if names.null_count:
            found[[name is None for name in names.to_pylist()]] = self.none
        return found

    def _name(self, rows: _Rows, later: Integers, indices: NDArray[np.int32]) -> None:
        """Count categories that the layout does not know by name."""
        import pyarrow as pa

        assert self.dictionary is not None
        keys, counts = np.unique(rows.of[later] * len(self.dictionary) + indices, return_counts=True)
        blocks, numbers = np.divmod(keys, len(self.dictionary))
        texts = (
            self.dictionary.take(pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)]))
            .cast(pa.string())
            .to_pylist()
        )
        for block, name, n in zip(rows.places[blocks].tolist(), texts, counts.tolist(), strict=True):
            names = self.unseen.setdefault(block, {})
            names[name] = names.get(name, 0) + n
        for block in set(rows.places[blocks].tolist()):
            self.unseen[block] = _lowest(self.unseen[block])

    def bits(self) -> NDArray[np.uint64]:
        return self.codes.view(np.uint64)

    def states(self, blocks: int) -> list[ColumnState]:
        """The state of each block."""
        counts, none = self.counts.of(blocks), np.zeros(0, np.int64)
        return [ColumnState(int(c[-1]), c[:-1], none, self.unseen.get(place, {})) for place, c in enumerate(counts)]


class _Joint:
    """The sample of rows that are seen together. As a block grows its lower levels are given up, so few of its rows are ever worked on."""

    def __init__(self, layout: JointLayout, columns: Mapping[str, _Numbers | _Categories]) -> None:
        self.layout, self.adder = layout, Adder(layout)
        self.by = [columns.get(name) for name in layout.sampled_by]  # a layout of fewer columns may lack one
        self.numeric = [column for name in layout.numeric if isinstance(column := columns[name], _Numbers)]
        self.marks = [(columns[name], columns[name].layout.categories.index(category)) for name, category in layout.indicators]
        # The first one is where every hash begins: a row of zeros must not stay zero.
        self.begin, *self.odd = np.random.default_rng(layout.seed).integers(1 << 63, size=2 + len(self.by), dtype=np.uint64) | np.uint64(1)
        self.levels = _Counts(LEVELS)
        self.sums = _Counts(LEVELS, layout.size)
        self.waiting: list[tuple[Integers, NDArray[np.int16]]] = []
        self.waited = 0  # rows that wait

    def add(self, rows: _Rows) -> None:
        """Take those rows of a batch that are of the sample as far as it is known."""
        if not self.layout.columns:
            return
        hashes = np.full(len(rows.of), self.begin)
        seen = [column.bits() for column in self.by if column is not None]
        if rows.times is not None:
            seen.append(rows.times.view(np.uint64))
        for bits, odd in zip(seen, self.odd, strict=False):
            mixed = bits >> np.uint64(32)  # numbers of few digits differ in their highest bits alone
            mixed ^= bits
            mixed *= odd
            hashes += mixed
        hashes = stirred(hashes)
        level, rest = np.zeros(len(hashes), np.int64), (hashes < 1 << 62).nonzero()[0]
        for number in range(1, LEVELS):
            level[rest] = number
            rest = rest[hashes[rest] < 1 << (62 - 2 * number)]
        self.levels.add(rows, level)
        lowest = sample_level(self.levels.counts[rows.places], self.layout.rows)
        some = (level >= lowest.min()).nonzero()[0]
        some = some[level[some] >= lowest[rows.of[some]]]
        values = [*(column.cells(some) for column in self.numeric), *(column.codes[some] == place for column, place in self.marks)]
        self.waiting.append((rows.places[rows.of[some]] * LEVELS + level[some], np.array(values, np.int16)))
        self.waited += len(some)
        if self.waited >= WAITING:
            self._sum()

    def _sum(self) -> None:
        """Add up the rows that wait, less those that are no longer of the sample."""
        place, values = np.concatenate([p for p, _ in self.waiting]), np.concatenate([v for _, v in self.waiting], axis=1)
        self.waiting, self.waited = [], 0
        lowest = sample_level(self.levels.counts, self.layout.rows)
        order = np.argsort(place, kind="stable")
        order = order[place[order] % LEVELS >= lowest[place[order] // LEVELS]]
        place, values = place[order], values[:, order]
        flat = self.sums.upto(len(lowest)).reshape(-1, self.layout.size)
        with _threads().limit(limits=1, user_api="blas"):  # for matrices this small a second thread waits more than it works
            for first in range(0, len(place), CHUNK):
                mine = place[first : first + CHUNK]
                begins = np.flatnonzero(np.concatenate([[True], mine[1:] != mine[:-1]]))
                flat[mine[begins]] += self.adder.sums(values[:, first : first + CHUNK], begins)

    def states(self, blocks: int) -> list[JointState]:
        """The state of each block."""
        if self.waiting:
            self._sum()
        levels, sums = self.levels.of(blocks), self.sums.of(blocks)
        for place, lowest in enumerate(sample_level(levels, self.layout.rows)):
            sums[place, :lowest] = 0
        return [JointState(levels[place], sums[place], self.layout.rows) for place in range(blocks)]


@functools.cache
def _threads() -> ThreadpoolController:
    """Finds the libraries that have threads, once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


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
        cos, sin = (np.rint(f(steps) * WAVE_UNIT).astype(np.int64) for f in (np.cos, np.sin))
        self.waves = (cos << 32) + sin  # both at once: sums of CHUNK rows stay below 2³¹
        self.shift = (UNIT * TURN).bit_length() - 1 - (WAVE.bit_length() - 1)

    def sums(self, values: NDArray[np.int16], begins: Integers) -> Integers:
        """Sums of groups of rows, shape [groups, sums of the layout].

        Args:
            values: cells of the numeric columns, -1 for none, then indicators, 0 or 1; shape [p + k, rows], at most CHUNK rows.
            begins: first row of each group, shape [groups].
        """
        p, ends = self.p, [*begins[1:], values.shape[1]]
        z = self.scores[np.arange(p)[:, None], values[:p]]
        marks = values[p:].astype(np.float64)
        both = np.concatenate([z, marks])
        # Whole numbers below 2⁵³: exact in any order of addition.
        products = np.array([both[:, a:b] @ z[:, a:b].T for a, b in zip(begins, ends, strict=True)])
        squares, cross = products[:, :p], products[:, p:].transpose(0, 2, 1).reshape(len(begins), -1)
        single = np.add.reduceat(both, begins, axis=1).T
        diagonal = squares[:, np.arange(p), np.arange(p)]
        parts = [single[:, :p], diagonal, squares[:, self.pairs[0], self.pairs[1]], single[:, p:], cross]
        both[p:] = np.where(marks > 0, self.marked[:, None], self.unmarked[:, None])
        turns = (both.T @ self.weights).astype(np.int64)
        turns >>= self.shift
        turns &= WAVE - 1
        waves = np.add.reduceat(self.waves.take(turns), begins, axis=0)
        sin = (waves + (1 << 31)) % (1 << 32) - (1 << 31)
        found: Integers = np.concatenate([*(part.astype(np.int64) for part in parts), (waves - sin) >> 32, sin], axis=1)
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
