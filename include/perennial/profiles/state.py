"""Counts of rows that add up: the states of parts of the rows, added in any order, equal the state of all rows bit for bit.

A state holds whole numbers alone: rows, nulls, rows by cell, by exact value and by category, and sums over a sample of rows that are seen
together. A row is in the sample by a hash of its own values and its time, so the sample depends neither on the order of the rows nor on how
they were divided; it stays bounded because a block of many rows keeps only the rows of a rarer hash (`JointState`).

    >>> import pyarrow as pa
    >>> from perennial.profiles import layout, scan
    >>> flights = pa.table({"carrier": ["UA", "AA", "UA"]})
    >>> cells = layout.fit_layout(flights)
    >>> def counted(batches):
    ...     counts = scan.Scan(cells)
    ...     for batch in batches:
    ...         counts.add(batch, None)
    ...     return counts.states()[0]
    >>> parts = flights.to_batches(max_chunksize=2)
    >>> counted(parts[:1]) + counted(parts[1:]) == counted(parts)
    True
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from perennial.profiles.columns import Integers
from perennial.profiles.hashes import name_hashes
from perennial.profiles.layout import ColumnLayout, JointLayout, Layout

LEVELS = 8  # of the joint sample; each next one has a quarter of the rows
UNSEEN_NAMES = 64  # of a block and column


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
        return ColumnState(self.nulls + other.nulls, self.cells + other.cells, self.exact + other.exact, lowest_names(names))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ColumnState)
            and (self.nulls, self.unseen) == (other.nulls, other.unseen)
            and np.array_equal(self.cells, other.cells)
            and np.array_equal(self.exact, other.exact)
        )

    __hash__ = None  # type: ignore[assignment]


def lowest_names(names: dict[str, int]) -> dict[str, int]:
    """Of all names of a block, those of lowest hash, with their counts.

    A name that is among the lowest of a sum is so in each part that has it: no count is lost.
    """
    if len(names) > UNSEEN_NAMES:
        hashes = name_hashes(list(names))
        lowest = sorted(zip(hashes.tolist(), names, strict=True))[:UNSEEN_NAMES]
        names = {name: names[name] for _, name in lowest}
    return dict(sorted(names.items()))


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
    """The lowest level such that no more than `bound` rows are of it or above, else the last one; shape [...] of [..., LEVELS]."""
    fitting = np.cumsum(levels[..., ::-1], axis=-1)[..., ::-1] <= bound
    fitting[..., -1] = True
    lowest: Integers = fitting.argmax(axis=-1)
    return lowest


@dataclass(frozen=True)
class State:
    """The counts of some rows, such as a day, a batch, a part of a table or a window."""

    layout: Layout
    rows: int
    columns: dict[str, ColumnState]
    joint: JointState

    @classmethod
    def zero(cls, layout: Layout) -> State:
        """The state of no rows."""
        return cls(layout, 0, {column.name: ColumnState.zero(column) for column in layout.columns}, JointState.zero(layout.joint))

    def __add__(self, other: State) -> State:
        """The counts of both together.

        Raises:
            ValueError: they were counted on different layouts.
        """
        if self.layout != other.layout:
            raise ValueError("two states can be added only if they were counted on the same layout")
        columns = {name: column + other.columns[name] for name, column in self.columns.items()}
        return State(self.layout, self.rows + other.rows, columns, self.joint + other.joint)


def sum_of(states: Iterable[State], layout: Layout) -> State:
    """The sum of all these counts."""
    return functools.reduce(State.__add__, states, State.zero(layout))
