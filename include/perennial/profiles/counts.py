"""Counts by block, for blocks that are not known before their first row comes.

>>> rows = BatchRows(columns={}, places=np.array([0, 1]), of=np.array([0, 1, 1]), runs=(), blocks=2, times=None)
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


@dataclass(frozen=True)
class BatchRows:
    """The rows of one batch, and which block each belongs to.

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


class BlockCounts:
    """Rows by block and code, shape [blocks, width], for blocks that are not known before."""

    def __init__(self, *width: int) -> None:
        self.width, self.counts = width[0], np.zeros((1, *width), np.int64)

    def add(self, rows: BatchRows, codes: Integers) -> None:
        """Count rows of these codes, shape [rows]."""
        counts = self.upto(rows.blocks)
        if rows.runs:
            for place, begin, end in rows.runs:
                counts[place] += np.bincount(codes[begin:end], minlength=self.width)
        else:
            blocks = len(rows.places)
            of_batch = np.bincount(codes + rows.of * self.width, minlength=blocks * self.width)
            counts[rows.places] += of_batch.reshape(blocks, self.width)

    def upto(self, blocks: int) -> Integers:
        """The counts, with room for so many blocks at least."""
        if (lacking := blocks - len(self.counts)) > 0:
            more = max(lacking, len(self.counts) // 4)
            self.counts = np.concatenate([self.counts, np.zeros((more, *self.counts.shape[1:]), np.int64)])
        return self.counts

    def of(self, blocks: int) -> Integers:
        """The counts of so many blocks."""
        return self.upto(blocks)[:blocks]

    def merge(self, other: BlockCounts, places: Integers) -> None:
        """Add counts of other rows. Their blocks stand at these places here, shape [blocks]."""
        if len(places):
            self.upto(int(places.max()) + 1)[places] += other.of(len(places))
