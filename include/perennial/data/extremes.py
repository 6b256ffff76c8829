"""What no profile holds exactly: by batch the smallest and largest value of each number and time, how many are zero, and how two columns
compare in all rows.

    >>> import pyarrow as pa
    >>> from perennial.engine.in_process import run
    >>> rows = pa.table({"_batch": ["a", "a", "b"], "km": [0.0, 5.0, None], "miles": [0.0, 3.0, 1.0]})
    >>> extremes = run(ExtremesByBatch(("km", "miles"), (("miles", "km"),)), rows)
    >>> extremes.batches["a"]["km"]
    Extremes(known=2, low=0.0, high=5.0, zeros=1)
    >>> extremes.pairs["miles", "km"]  # rows with both, those in which miles is larger, and equal
    Comparison(rows=2, larger=0, smaller=1, equal=1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perennial.data.merging import BATCH

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Extremes:
    """Of one column of one batch; times stay times. Without a value `low` and `high` are None."""

    known: int = 0
    low: Any = None
    high: Any = None
    zeros: int = 0

    def __add__(self, other: Extremes) -> Extremes:
        lows, highs = ([end for end in ends if end is not None] for ends in ((self.low, other.low), (self.high, other.high)))
        return Extremes(self.known + other.known, min(lows, default=None), max(highs, default=None), self.zeros + other.zeros)


@dataclass(frozen=True)
class Comparison:
    """Rows that have a value in both of two columns, and those of them in which the first is larger, smaller, or equal."""

    rows: int = 0
    larger: int = 0
    smaller: int = 0
    equal: int = 0

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(self.rows + other.rows, self.larger + other.larger, self.smaller + other.smaller, self.equal + other.equal)


@dataclass
class RowExtremes:
    """What the pass has seen.

    Attributes:
        batches: extremes by batch and column.
        rows: number of rows by batch.
        pairs: how pairs of columns compare in all rows.
    """

    batches: dict[str, dict[str, Extremes]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    pairs: dict[tuple[str, str], Comparison] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtremesByBatch:
    """The pass.

    Attributes:
        numbers_and_times: columns whose extremes are wanted.
        pairs: columns that are compared, both numbers or both times.
    """

    numbers_and_times: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> Sequence[str]:
        """Columns that are read."""
        return (*self.numbers_and_times, BATCH)

    def empty(self) -> RowExtremes:
        """The state of no rows."""
        return RowExtremes()

    def add(self, state: RowExtremes, batch: pa.RecordBatch) -> RowExtremes:
        """Look at one more batch of rows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        seen = RowExtremes()
        labels = batch[BATCH].cast(pa.string()).dictionary_encode()
        for place, label in enumerate(labels.dictionary.to_pylist()):
            own = batch if len(labels.dictionary) == 1 and not labels.null_count else batch.filter(pc.equal(labels.indices, place))
            seen.rows[label] = own.num_rows
            seen.batches[label] = {name: _extremes(own[name]) for name in self.numbers_and_times if name in own.schema.names}
        for first, second in self.pairs:
            if {first, second} <= set(batch.schema.names):
                seen.pairs[first, second] = _compared(batch[first], batch[second])
        return self.merge(state, seen)

    def merge(self, state: RowExtremes, other: RowExtremes) -> RowExtremes:
        """Add what was seen of other rows."""
        for label, columns in other.batches.items():
            own = state.batches.setdefault(label, {})
            for name, extremes in columns.items():
                own[name] = own.get(name, Extremes()) + extremes
            state.rows[label] = state.rows.get(label, 0) + other.rows[label]
        for pair, comparison in other.pairs.items():
            state.pairs[pair] = state.pairs.get(pair, Comparison()) + comparison
        return state

    def finish(self, state: RowExtremes) -> RowExtremes:
        """All that was seen."""
        return state


def _extremes(column: pa.Array) -> Extremes:
    import pyarrow as pa
    import pyarrow.compute as pc

    number = not pa.types.is_temporal(column.type)
    if pa.types.is_floating(column.type):
        column = column.filter(pc.is_finite(column))
    known = len(column) - column.null_count
    if not known:
        return Extremes()
    ends = pc.min_max(column)
    zeros = pc.sum(pc.equal(column, 0)).as_py() if number else 0
    return Extremes(known, ends["min"].as_py(), ends["max"].as_py(), zeros)


def _compared(first: pa.Array, second: pa.Array) -> Comparison:
    import pyarrow.compute as pc

    larger, equal = pc.greater(first, second), pc.equal(first, second)
    rows = len(larger) - larger.null_count
    counts = [pc.sum(marks).as_py() or 0 for marks in (larger, equal)]
    return Comparison(rows, counts[0], rows - sum(counts), counts[1])
