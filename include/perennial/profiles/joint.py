"""The joint sample: which rows are in it, and sums over it in whole numbers, by which several columns are compared together."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perennial.profiles.categories import Categories
from perennial.profiles.columns import Integers
from perennial.profiles.counts import BatchRows, BlockCounts
from perennial.profiles.hashes import stirred
from perennial.profiles.layout import BANDWIDTH, TURN, UNIT, WAVE, WAVE_UNIT, JointLayout
from perennial.profiles.numbers import Numbers
from perennial.profiles.state import LEVELS, JointState, sample_level

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

CHUNK = 1024  # rows of the sample that are summed at once
WAITING = 64 * CHUNK  # rows of the sample that wait for it at most


class JointSample:
    """The sample of rows that are seen together. As a block grows its lower levels are given up, so few of its rows are ever worked on."""

    def __init__(self, layout: JointLayout, columns: Mapping[str, Numbers | Categories]) -> None:
        self.layout, self.adder = layout, Adder(layout)
        self.by = [columns.get(name) for name in layout.sampled_by]  # a layout of fewer columns may lack one
        self.numeric = [column for name in layout.numeric if isinstance(column := columns[name], Numbers)]
        self.marks = [(columns[name], columns[name].layout.categories.index(category)) for name, category in layout.indicators]
        # The first one is where every hash begins: a row of zeros must not stay zero.
        self.begin, *self.odd = np.random.default_rng(layout.seed).integers(1 << 63, size=2 + len(self.by), dtype=np.uint64) | np.uint64(1)
        self.levels = BlockCounts(LEVELS)
        self.lowest = BlockCounts(1)  # level of the sample, as far as it is known
        self.sums = BlockCounts(LEVELS, layout.size)
        self.waiting: list[tuple[Integers, NDArray[np.int16]]] = []
        self.waited = 0  # rows that wait

    def add(self, rows: BatchRows) -> None:
        """Take those rows of a batch that are of the sample as far as it is known."""
        if not self.layout.columns:
            return
        hashes = self._hashes(rows)
        level, rest = np.zeros(len(hashes), np.int64), (hashes < 1 << 62).nonzero()[0]
        higher = [rest]  # rows of level 1 and above, of 2 and above, ...
        for number in range(1, LEVELS):
            level[rest] = number
            rest = rest[hashes.take(rest) < 1 << (62 - 2 * number)]
            higher.append(rest)
        self.levels.add_all(rows, 0)
        moved, flat = rows.of.take(higher[0]) * LEVELS, self.levels.counts.reshape(-1)
        np.subtract.at(flat, moved, 1)
        np.add.at(flat, moved + level.take(higher[0]), 1)
        lowest = sample_level(self.levels.counts[rows.runs], self.layout.rows)
        self.lowest.upto(rows.blocks)[rows.runs, 0] = lowest
        sampled = higher[least - 1] if (least := lowest.min()) else np.arange(len(level))
        of, level = rows.of.take(sampled), level.take(sampled)
        kept = (level >= self.lowest.counts[:, 0].take(of)).nonzero()[0]
        sampled, of, level = sampled.take(kept), of.take(kept), level.take(kept)
        values = np.empty((len(self.numeric) + len(self.marks), len(sampled)), np.int16)
        for number, column in enumerate(self.numeric):
            values[number] = column.cells(sampled)
        for number, (marked, place) in enumerate(self.marks, len(self.numeric)):
            values[number] = marked.codes.take(sampled) == place
        self._wait(of * LEVELS + level, values)

    def _hashes(self, rows: BatchRows) -> NDArray[np.uint64]:
        """A hash of each row's values and time, shape [rows]."""
        hashes = np.full(len(rows.of), self.begin)
        seen = [column.bits() for column in self.by if column is not None]
        if rows.times is not None:
            seen.append(rows.times.view(np.uint64))
        for bits, odd in zip(seen, self.odd, strict=False):
            mixed = bits >> np.uint64(32)  # numbers of few digits differ in their highest bits alone
            mixed ^= bits
            mixed *= odd
            hashes += mixed
        return stirred(hashes)

    def merge(self, other: JointSample, places: Integers) -> None:
        """Add what was sampled of other rows. Their blocks stand at these places here.

        Levels that were given up there are below those of the sample of all rows, which has at least as many: nothing is missing.
        """
        self.levels.merge(other.levels, places)
        self.sums.merge(other.sums, places)
        for of, values in other.waiting:
            self._wait(places[of // LEVELS] * LEVELS + of % LEVELS, values)

    def _wait(self, places: Integers, values: NDArray[np.int16]) -> None:
        """Keep rows until there are enough to add them up at once. A place is that of the block, times LEVELS, plus the row's level."""
        self.waiting.append((places, values))
        self.waited += len(places)
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
        shares = np.array(joint.shares)
        deviation = np.sqrt(shares * (1 - shares))
        self.unmarked = np.rint(-shares / deviation * UNIT)[:, None]
        self.marked = np.rint((1 - shares) / deviation * UNIT)[:, None] - self.unmarked  # more than unmarked
        self.pairs = np.triu_indices(p, 1)
        steps = np.arange(WAVE) * (2 * np.pi / WAVE)
        cos, sin = (np.rint(f(steps) * WAVE_UNIT).astype(np.int64) for f in (np.cos, np.sin))
        self.waves = (cos << 32) + sin  # both at once: sums of CHUNK rows stay below 2³¹
        # Parts of a power of two: what is added up stays exact.
        self.weights = np.rint(weights / (2 * np.pi) * TURN) / (UNIT * TURN // WAVE)
        self.rows = (np.arange(p) * self.scores.shape[1])[:, None]

    def sums(self, values: NDArray[np.int16], begins: Integers) -> Integers:
        """Sums of groups of rows, shape [groups, sums of the layout].

        Args:
            values: cells of the numeric columns, -1 for none, then indicators, 0 or 1; shape [p + k, rows], at most CHUNK rows.
            begins: first row of each group, shape [groups].
        """
        p, ends = self.p, [*begins[1:], values.shape[1]]
        z = self.scores.take(values[:p] % self.scores.shape[1] + self.rows)
        marks = values[p:].astype(np.float64)
        both = np.concatenate([z, marks])
        # Whole numbers below 2⁵³: exact in any order of addition.
        products = np.array([both[:, a:b] @ z[:, a:b].T for a, b in zip(begins, ends, strict=True)])
        squares, cross = products[:, :p], products[:, p:].transpose(0, 2, 1).reshape(len(begins), -1)
        single = np.add.reduceat(both, begins, axis=1).T
        diagonal = squares[:, np.arange(p), np.arange(p)]
        parts = [single[:, :p], diagonal, squares[:, self.pairs[0], self.pairs[1]], single[:, p:], cross]
        both[p:] = marks * self.marked + self.unmarked
        turns = both.T @ self.weights
        steps = np.floor(turns, out=turns).astype(np.int32) & np.int32(WAVE - 1)
        waves = np.add.reduceat(self.waves.take(steps), begins, axis=0)
        sin = (waves + (1 << 31)) % (1 << 32) - (1 << 31)
        sums: Integers = np.concatenate([*(part.astype(np.int64) for part in parts), (waves - sin) >> 32, sin], axis=1)
        return sums
