"""Counts the numbers of a column: by cell, and by value if there are few values.

>>> import pyarrow as pa
>>> from perennial.profiles.counts import batch_rows
>>> from perennial.profiles.layout import fit_layout
>>> hours = Numbers(fit_layout(pa.table({"hour": [5, 6, 6]})).columns[0])
>>> hours.add(batch_rows({"hour": pa.array([6, 6, None])}, runs=np.array([0]), lengths=np.array([3]), blocks=1))
>>> int(hours.states(1)[0].cells.sum()), hours.states(1)[0].nulls  # rows with a number, and without
(2, 1)
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perennial.profiles.columns import Floats, Integers, floats, null_places, values_in_memory
from perennial.profiles.counts import BatchRows, BlockCounts
from perennial.profiles.layout import GRID_CELLS, ColumnLayout
from perennial.profiles.state import ColumnState

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE_NUMBERS = 1 << 15  # of a column's bounds, up to which each has a place in a table
SLOT_BITS = 14  # of the table by which a listed value is found


class Numbers:
    """One numeric column. A row's code is the place of its value among the listed ones; else their number and the row's cell."""

    def __init__(self, layout: ColumnLayout) -> None:
        assert layout.grid is not None
        self.layout, self.grid, self.listed = layout, layout.grid, len(layout.values)
        self.none = self.listed + GRID_CELLS
        self.counts = BlockCounts(self.none + 1)
        self.values = np.array(layout.values)
        self.cell_of = np.concatenate([self.grid.cells_of(self.values), np.arange(GRID_CELLS), [-1]]).astype(np.int64)
        self.multiplier, self.shift, self.slots = _slots(self.values)
        # Whole numbers within the bounds are looked up; on either side stands what is none of them.
        self.first, last = math.floor(layout.grid.low), math.ceil(layout.grid.high)
        inside = np.arange(self.first, last, dtype=np.float64) if last - self.first <= WHOLE_NUMBERS else np.zeros(0)
        self.code_of = np.concatenate([[-1], self._codes(inside), [-1]]).astype(np.int64)
        self.column: pa.Array | None = None
        self.codes = np.zeros(0, np.int64)  # of the last batch

    def add(self, rows: BatchRows) -> None:
        """Count the column in a batch."""
        import pyarrow as pa

        self.column = rows.columns.get(self.layout.name)
        if self.column is None:
            self.column = pa.nulls(len(rows.of), pa.float64())
        if self.column.type == pa.int64() and len(self.code_of) > 2:
            whole = values_in_memory(self.column, np.int64)
            with np.errstate(over="ignore"):
                slots = np.subtract(whole, self.first - 1)
            self.codes = self.code_of.take(slots, mode="clip")
            if self.column.null_count:
                self.codes[null_places(self.column)] = self.none
            other = (self.codes < 0).nonzero()[0]
            if len(other):
                self.codes[other] = self._codes(whole[other].astype(np.float64))
        elif self.column.type == pa.float64() and self.column.null_count:
            numbers, nulls = values_in_memory(self.column, np.float64).copy(), null_places(self.column)
            numbers[nulls] = self.grid.low  # any number: it is not counted
            self.codes = self._codes(numbers)
            self.codes[nulls] = self.none
        else:
            self.codes = self._codes(floats(self.column))
        self.counts.add(rows, self.codes)

    def _codes(self, values: Floats) -> Integers:
        if not self.listed:
            return self.grid.cells_of(values)
        codes = self._listed(values)
        other = (self.values.take(codes, mode="clip") != values).nonzero()[0]
        if len(other):
            rest = values.take(other) + 0.0  # 0 and -0 are one value
            again = self._listed(rest)
            codes[other] = np.where(self.values.take(again) == rest, again, self.grid.cells_of(rest) + self.listed)
        return codes

    def _listed(self, values: Floats) -> Integers:
        """Place among the listed values of each one that is listed, and any place of the others."""
        slots = values.view(np.uint64) * self.multiplier
        slots >>= self.shift
        places: Integers = self.slots.take(slots.view(np.int64), mode="clip")
        return places

    def bits(self) -> NDArray[np.uint64]:
        """The last batch's numbers as they lie in memory."""
        assert self.column is not None
        return floats(self.column).view(np.uint64)

    def cells(self, places: Integers) -> Integers:
        """Cells of the rows at these places of the last batch, -1 for no value."""
        return self.cell_of.take(self.codes.take(places))

    def merge(self, other: Numbers, places: Integers) -> None:
        """Add what was counted of other rows. Their blocks stand at these places here."""
        self.counts.merge(other.counts, places)

    def states(self, blocks: int) -> list[ColumnState]:
        """The state of each block. Nothing can be counted after this."""
        counts, listed = self.counts.of(blocks), self.listed
        cells = counts[:, listed:-1]
        exact = np.column_stack([counts[:, :listed], cells.sum(axis=1)]) if listed else np.zeros((blocks, 0), np.int64)
        if listed:  # in place
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
