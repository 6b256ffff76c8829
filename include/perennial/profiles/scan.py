"""Counts rows by block as they come, batch by batch.

Rows are read once, as Arrow decodes them, and NumPy counts a batch column by column: a number costs three nanoseconds, a category two.
(DuckDB counts one block of all rows as cheaply, but needs twice as long for a state of each day.)

    >>> import pyarrow as pa
    >>> from perennial.profiles.layout import fit_layout
    >>> flights = pa.table({"carrier": ["UA", "AA", "UA"]})
    >>> scan = Scan(fit_layout(flights))
    >>> scan.add_times(flights.to_batches()[0], pa.array([date(1970, 1, 1), date(1970, 1, 1), date(1970, 1, 2)]))
    >>> {day: state.rows for day, state in scan.states().items()}  # days since 1970
    {0: 2, 1: 1}
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perennial.profiles.categories import Categories
from perennial.profiles.columns import Integers, integers, values_in_memory
from perennial.profiles.counts import BlockCounts, batch_rows
from perennial.profiles.joint import JointSample
from perennial.profiles.layout import Layout, kind_of, measures_of
from perennial.profiles.numbers import Numbers
from perennial.profiles.state import State

if TYPE_CHECKING:
    import pyarrow as pa

EPOCH = date(1970, 1, 1)
_DAYS = (date.min - EPOCH).days, (date.max - EPOCH).days
_BITS = 22  # that number the days of these years


def block_of(groups: Integers, days: NDArray[np.integer[Any]]) -> Integers:
    """The number of the block of each group, from 0, and day since 1970: that of the group stands in the higher digits."""
    return (groups << _BITS) + (days - _DAYS[0])


def group_and_day(block: int) -> tuple[int, int]:
    """The group and the day of a block."""
    return block >> _BITS, block % (1 << _BITS) + _DAYS[0]


class Scan:
    """Counts rows by block, batch by batch.

    Args:
        layout: how rows are counted.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.places: dict[int, int] = {}  # of the blocks, by number, in the order in which they came
        self.rows = BlockCounts(1)
        self.schema: pa.Schema | None = None  # of the last batch
        self.known: dict[str, int] = {}
        self.columns = {c.name: Numbers(c) if c.kind == "numeric" else Categories(c) for c in layout.columns}
        self.measured = layout.measured
        self.joint = JointSample(layout.joint, self.columns)

    @property
    def memory(self) -> int:
        """Bytes that the counts take; of a new scan, those of one block."""
        counted = [self.rows, *(column.counts for column in self.columns.values()), self.joint.levels, self.joint.sums]
        return sum(counts.counts.nbytes for counts in counted)

    def add_times(self, batch: pa.RecordBatch, when: pa.Array, groups: Integers | None = None) -> None:
        """Count a batch by the days of its rows' times or dates (UTC).

        Args:
            batch: its rows.
            when: their times. A row without one, or in no year from 1 to 9999, is not counted.
            groups: number of each row's group, shape [rows]: rows of different groups are counted apart, those of group -1 not at all.
        """
        import pyarrow as pa

        times = when.cast(pa.timestamp("us"), safe=False)
        days = times.cast(pa.date32()).cast(pa.int32())
        numbers = integers(days, _DAYS[1] + 1)
        known = (numbers >= _DAYS[0]) & (numbers <= _DAYS[1])
        blocks: NDArray[np.integer[Any]] = numbers
        if groups is not None:
            known &= groups >= 0
            blocks = block_of(groups, numbers)
        if not known.all():
            of_a_day = pa.array(known)
            batch, times, blocks = batch.filter(of_a_day), times.filter(of_a_day), blocks[known]
        self.add(batch, blocks, times.cast(pa.int64()))

    def add(self, batch: pa.RecordBatch, blocks: NDArray[np.integer[Any]] | None, times: pa.Array | None = None) -> None:
        """Count a batch.

        Args:
            batch: its rows.
            blocks: number of each row's block, shape [rows]; all are of block 0 if absent.
            times: of each row, microseconds since 1970, which tell rows of the same values apart.

        Raises:
            ValueError: a column has another kind than in the layout.
        """
        if not batch.num_rows:
            return
        if self.schema is None or not batch.schema.equals(self.schema):
            self.schema, self.known = batch.schema, self._known(batch.schema)
        columns = {name: batch.column(place) for name, place in self.known.items()} | self._measured(batch)
        if blocks is None:
            blocks = np.zeros(batch.num_rows, np.int64)
        begins = np.concatenate([[0], (blocks[1:] != blocks[:-1]).nonzero()[0] + 1])
        rows = batch_rows(
            columns,
            runs=np.array([self.places.setdefault(number, len(self.places)) for number in blocks[begins].tolist()], np.int64),
            lengths=np.diff(begins, append=len(blocks)),
            blocks=len(self.places),
            times=None if times is None else values_in_memory(times, np.int64),
        )
        self.rows.add_all(rows, 0)
        for column in self.columns.values():
            column.add(rows)
        self.joint.add(rows)

    def _measured(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The measures of the batch's columns that are no scalars, by name of the layout's column."""
        measures: dict[str, pa.Array] = {}
        for source, columns in self.measured.items():
            if source in batch.schema.names:
                measures |= measures_of(batch[source], columns)
        return measures

    def _known(self, schema: pa.Schema) -> dict[str, int]:
        """The columns of the layout that can be counted, by their number."""
        countable = {}
        for place, (name, given) in enumerate(zip(schema.names, schema.types, strict=True)):
            if name in self.columns and (kind := kind_of(given)) is not None:
                if kind != (wanted := self.layout.column(name).kind):
                    raise ValueError(f"the column {name} is counted as {wanted} and now is {kind}")
                countable[name] = place
        return countable

    def merge(self, other: Scan, blocks: Iterable[int] | None = None) -> None:
        """Add what another one counted, of other rows, on the same layout.

        Args:
            other: it is left as it is.
            blocks: numbers of its blocks here; those that they have there if absent.

        Raises:
            ValueError: it was counted on another layout.
        """
        if self.layout != other.layout:
            raise ValueError("two states can be added only if they were counted on the same layout")
        places = np.array(
            [self.places.setdefault(number, len(self.places)) for number in (other.places if blocks is None else blocks)], np.int64
        )
        self.rows.merge(other.rows, places)
        for own, column in zip(self.columns.values(), other.columns.values(), strict=True):
            own.merge(column, places)  # type: ignore[arg-type]  # both are of the same column of the layout
        self.joint.merge(other.joint, places)

    def states(self) -> dict[int, State]:
        """The counts, by number of the block, in order. Nothing can be counted after this."""
        blocks = len(self.places)
        rows, joint = self.rows.of(blocks), self.joint.states(blocks)
        columns = {name: column.states(blocks) for name, column in self.columns.items()}
        return {
            number: State(self.layout, int(rows[place, 0]), {name: states[place] for name, states in columns.items()}, joint[place])
            for number, place in sorted(self.places.items())
        }
