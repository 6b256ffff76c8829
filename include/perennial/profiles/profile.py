"""Profiles: the counts of each day's rows, and the passes that make them.

A day is profiled once, when it lands; a window, a reference or a table over many machines is a sum.

    >>> import pyarrow as pa
    >>> from perennial.profiles.layout import fit_layout
    >>> from perennial.profiles.profile import profile
    >>> rows = pa.table({"day": pa.array([15887, 15887, 15888], pa.date32()), "carrier": ["UA", "AA", "UA"]})
    >>> by_day = profile(rows, fit_layout(rows, ["carrier"]), day="day")
    >>> {day.isoformat(): state.rows for day, state in by_day.blocks.items()}
    {'2013-07-01': 2, '2013-07-02': 1}
    >>> by_day.layout.column("carrier").categories, by_day.cells("carrier").tolist()  # the last cell counts all other names
    (('UA', 'AA'), [[1, 1, 0], [1, 0, 0]])
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
from typing_extensions import TypeVar

from perennial.engine.in_process import run
from perennial.profiles.columns import Floats, Integers, integers
from perennial.profiles.layout import UNIT, WAVE_UNIT, Layout
from perennial.profiles.scan import EPOCH, Scan, block_of, group_and_day
from perennial.profiles.state import JointState, State, sum_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

_BLOCK = "perennial label"  # name of a column that no dataset has

Label = TypeVar("Label", default=date)  # what names a block: a day, or whatever else the rows are divided by


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
    """Means over the joint sample of each block.

    Families: `mean` and `square` of normal scores z, `product` of two of them, `share` of indicators, `cross` of a score and an indicator
    standardised by its share at the fit, `cos` and `sin` of random frequencies.

    Attributes:
        rows: rows of each block's sample, shape [blocks].
        families: by name.
    """

    rows: Integers
    families: dict[str, Family]


@dataclass(frozen=True)
class Profile(Generic[Label]):
    """The counts of each block of rows. Blocks are days unless another label is named.

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
        """The profile reduced to these columns, all measures of a column included. Counts over several columns stay if they concern
        only these."""
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
        """Means over the joint samples."""
        joint = self.layout.joint
        rows = np.array([state.joint.rows for state in self.blocks.values()], np.int64)
        sums = self._stacked([state.joint.sums for state in self.blocks.values()], joint.size)
        means = sums / np.maximum(rows, 1)[:, None]
        shares = np.array(joint.shares)
        by_family, begin = {}, 0
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
            by_family[family] = Family(names, part)
        return JointMeans(rows, by_family)

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


@functools.lru_cache(maxsize=64)
def _narrowed(layout: Layout, columns: tuple[str, ...]) -> tuple[Layout, Integers]:
    """A layout of fewer columns, and the numbers of the joint sums that it keeps."""
    joint = layout.joint
    columns = tuple(c.name for c in layout.columns if c.name in columns or c.source in columns)
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


@dataclass(frozen=True)
class ByDay:
    """The pass that counts rows by day.

    Attributes:
        layout: how rows are counted.
        day: a date or timestamp column (UTC). Rows without it belong to no day.
    """

    layout: Layout
    day: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""
        return (*self.layout.sources, self.day)

    def empty(self) -> Scan:
        """The state of no rows."""
        return Scan(self.layout)

    def add(self, state: Scan, batch: pa.RecordBatch) -> Scan:
        """Count one more batch."""
        state.add_times(batch, batch[self.day])
        return state

    def merge(self, state: Scan, other: Scan) -> Scan:
        """Add the counts of other rows."""
        state.merge(other)
        return state

    def finish(self, state: Scan) -> Profile:
        """The days that have rows, in order."""
        return Profile(self.layout, {EPOCH + timedelta(days=number): counted for number, counted in state.states().items()})


@dataclass
class Grouped:
    """What was counted of rows by group and day: one scan for all, in which each group has a number.

    Attributes:
        groups: numbers of the groups by name, from 0 in the order in which they came.
        scan: the counts.
    """

    groups: dict[str, int]
    scan: Scan

    def numbers(self, names: pa.Array) -> Integers:
        """The number of the group that each row belongs to by a column of texts, shape [rows]; -1 for none."""
        import pyarrow as pa

        encoded = names.cast(pa.string()).dictionary_encode()
        known = [self.groups.setdefault(name, len(self.groups)) for name in encoded.dictionary.to_pylist()]
        return np.array([*known, -1], np.int64).take(integers(encoded.indices, len(known)))


@dataclass(frozen=True)
class ByGroupAndDay:
    """The pass that counts rows by day, those of each value of a column of texts apart: as `ByDay` would each of them.

    Attributes:
        by_day: how the rows of each group are counted.
        group: column of texts; rows without one are not counted.
    """

    by_day: ByDay
    group: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""
        return (*self.by_day.columns, self.group)

    def empty(self) -> Grouped:
        """The state of no rows."""
        return Grouped({}, self.by_day.empty())

    def add(self, state: Grouped, batch: pa.RecordBatch) -> Grouped:
        """Count one more batch."""
        numbers = state.numbers(batch[self.group])
        state.scan.add_times(batch, batch[self.by_day.day], numbers)
        return state

    def merge(self, state: Grouped, other: Grouped) -> Grouped:
        """Add the counts of other rows."""
        numbers = [state.groups.setdefault(name, len(state.groups)) for name in other.groups]
        blocks = np.array([group_and_day(block) for block in other.scan.places], np.int64).reshape(-1, 2).T
        state.scan.merge(other.scan, block_of(np.array(numbers, np.int64).take(blocks[0]), blocks[1]).tolist())
        return state

    def finish(self, state: Grouped) -> dict[str, Profile]:
        """The days of each group that has rows."""
        names = list(state.groups)
        days: dict[str, dict[date, State]] = {name: {} for name in names}
        for block, counted in state.scan.states().items():
            group, number = group_and_day(block)
            days[names[group]][EPOCH + timedelta(days=number)] = counted
        return {name: Profile(self.by_day.layout, blocks) for name, blocks in days.items()}


@dataclass(frozen=True)
class ByBlock(Generic[Label]):
    """The pass that counts rows by blocks that are numbered.

    Attributes:
        layout: how rows are counted.
        labels: of the blocks, by number.
        number: column with the number of each row's block; all rows are of block 0 if absent.
    """

    layout: Layout
    labels: Sequence[Label]
    number: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""
        return self.layout.sources if self.number is None else (*self.layout.sources, self.number)

    def empty(self) -> Scan:
        """The state of no rows."""
        return Scan(self.layout)

    def add(self, state: Scan, batch: pa.RecordBatch) -> Scan:
        """Count one more batch."""
        state.add(batch, None if self.number is None else integers(batch[self.number]))
        return state

    def merge(self, state: Scan, other: Scan) -> Scan:
        """Add the counts of other rows."""
        state.merge(other)
        return state

    def finish(self, state: Scan) -> Profile[Label]:
        """The blocks that have rows, by label in order of their numbers."""
        return Profile(self.layout, {self.labels[number]: counted for number, counted in state.states().items()})


def profile(
    rows: pa.Table | pyarrow.dataset.Dataset | Sequence[Path],
    layout: Layout,
    *,
    day: str | None = None,
    blocks: int | str | Sequence[Any] | None = None,
) -> Profile[Any]:
    """Count rows by block, in this process.

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
    if day is None and not (isinstance(blocks, int) and blocks == 1):
        assert blocks is not None
        labelled, labels = _labelled(rows, blocks, layout.joint.seed)
        return run(ByBlock(layout, labels, _BLOCK), labelled)
    work: ByDay | ByBlock[int] = ByBlock(layout, [0]) if day is None else ByDay(layout, day)
    return run(work, *rows) if isinstance(rows, Sequence) else run(work, rows)


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
