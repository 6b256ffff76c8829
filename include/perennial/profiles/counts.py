"""Counts by block, for blocks that are not known before their first row comes.

>>> rows = batch_rows({}, runs=np.array([0, 1]), lengths=np.array([1, 2]), blocks=2)  # a row of block 0, two of block 1
>>> counts = BlockCounts(3)  # codes 0, 1 and 2
>>> counts.add(rows, np.array([2, 0, 0]))
>>> counts.upto(2).tolist()
[[0, 0, 1], [2, 0, 0]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perennial.profiles.columns import Integers

if TYPE_CHECKING:
    import pyarrow as pa

RUNS = 8  # of rows of the same block in a batch, up to which each is counted by itself


@dataclass(frozen=True)
class BatchRows:
    """The rows of one batch, and which block each belongs to.

    Attributes:
        columns: those that can be counted.
        of: block of each row, shape [rows].
        runs: block of each run of rows of the same block, shape [runs].
        lengths: rows of each run, shape [runs].
        few: block, first row and end of each run; empty where there are many.
        blocks: number of blocks that are known.
        times: of each row, microseconds since 1970, shape [rows], where they are known.
    """

    columns: Mapping[str, pa.Array]
    of: Integers
    runs: Integers
    lengths: Integers
    few: Sequence[tuple[int, int, int]]
    blocks: int
    times: Integers | None


def batch_rows(
    columns: Mapping[str, pa.Array], *, runs: Integers, lengths: Integers, blocks: int, times: Integers | None = None
) -> BatchRows:
    """The rows of one batch. Arguments are attributes of `BatchRows`."""
    ends, few = np.cumsum(lengths), list[tuple[int, int, int]]()
    if len(runs) <= RUNS:
        few = list(zip(runs.tolist(), (ends - lengths).tolist(), ends.tolist(), strict=True))
    return BatchRows(columns, np.repeat(runs, lengths), runs, lengths, few, blocks, times)


class BlockCounts:
    """Rows by block and code, shape [blocks, width], for blocks that are not known before."""

    def __init__(self, *width: int) -> None:
        self.width, self.counts = width[0], np.zeros((1, *width), np.int64)

    def add(self, rows: BatchRows, codes: Integers) -> None:
        """Count rows of these codes, shape [rows]."""
        counts = self.upto(rows.blocks)
        if rows.few:
            for block, begin, end in rows.few:
                np.add.at(counts[block], codes[begin:end], 1)
        else:
            np.add.at(counts.reshape(-1), rows.of * self.width + codes, 1)

    def add_all(self, rows: BatchRows, code: int) -> None:
        """Count all rows as of this code."""
        np.add.at(self.upto(rows.blocks)[:, code], rows.runs, rows.lengths)

    def upto(self, blocks: int) -> Integers:
        """The counts, with room for so many blocks at least."""
        if (lacking := blocks - len(self.counts)) > 0:
            more = max(lacking, len(self.counts))  # of these, what is not counted in takes no memory
            self.counts = np.concatenate([self.counts, np.zeros((more, *self.counts.shape[1:]), np.int64)])
        return self.counts

    def of(self, blocks: int) -> Integers:
        """The counts of so many blocks."""
        return self.upto(blocks)[:blocks]

    def merge(self, other: BlockCounts, places: Integers) -> None:
        """Add counts of other rows. Their blocks stand at these places here, shape [blocks]."""
        if len(places):
            self.upto(int(places.max()) + 1)[places] += other.of(len(places))
