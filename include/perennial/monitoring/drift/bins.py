"""Cells put together so that each holds enough rows to be compared: ranges of about equal mass, frequent categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perennial.monitoring.drift.blocks import Column
from perennial.monitoring.permutation import Floats

BINS = 20  # of about equal mass, for a numeric column
CATEGORIES = 40  # the most frequent ones; the others are counted together
LEAST_EXPECTED = 5  # rows of a window in a bin by itself; rarer categories and values are counted together


@dataclass(frozen=True)
class Binned:
    """To which bin each cell of a column belongs."""

    place: NDArray[np.intp]  # bin of each cell
    labels: list[str]
    edges: list[float] | None  # lower edge of each range; None for categories

    def fold(self, counts: Floats) -> Floats:
        """Counts of the cells -> counts of the bins, [blocks, bins]."""
        folded: Floats = counts @ (self.place[:, None] == np.arange(len(self.labels))).astype(float)
        return folded

    def most_changed(self, before: Floats, after: Floats) -> tuple[str, float, float]:
        """The category, or run of neighbouring ranges, whose share changed most: its name, and its share before and after."""
        change = after - before
        if self.edges is None:
            i = int(np.argmax(np.abs(change)))
            return self.labels[i], float(before[i]), float(after[i])
        sums = np.concatenate([[0.0], np.cumsum(change)])
        first, end = sorted((int(np.argmin(sums)), int(np.argmax(sums))))
        return range_name(self.edges, first, end), float(before[first:end].sum()), float(after[first:end].sum())


def binned(column: Column, labels: Floats) -> Binned:
    """Frequent categories, or ranges of about equal mass, of a column."""
    return _categories(column, labels) if column.edges is None else _ranges(column)


def folded_rare(counts: Floats, labels: Floats) -> Floats:
    """Counts of exact values or cells, with those together of which a window holds few."""
    enough = _enough(counts, labels)
    return np.column_stack([counts[:, enough], counts[:, ~enough].sum(axis=1)])


def range_name(edges: Sequence[float], first: int, end: int) -> str:
    """Name of the ranges `first` to before `end`."""
    if first == 0:
        return "any value" if end == len(edges) else f"below {edges[end]:.4g}"
    return f"from {edges[first]:.4g}" if end == len(edges) else f"{edges[first]:.4g} to {edges[end]:.4g}"


def _enough(counts: Floats, labels: Floats) -> NDArray[np.bool_]:
    """Cells of which a window is expected to hold enough rows by themselves."""
    enough: NDArray[np.bool_] = counts.sum(axis=0) * labels[0].mean() >= LEAST_EXPECTED
    return enough


def _categories(column: Column, labels: Floats) -> Binned:
    """The most frequent categories, the others together; by all blocks alike, so that no labelling is favoured."""
    enough = _enough(column.counts, labels)
    order = np.argsort(-column.counts.sum(axis=0), kind="stable")
    kept = [i for i in order[:CATEGORIES] if enough[i]]
    place = np.full(len(enough), len(kept))
    place[kept] = np.arange(len(kept))
    return Binned(place, [*(column.labels[i] for i in kept), "all others"], None)


def _ranges(column: Column) -> Binned:
    """Neighbouring ranges of about equal mass."""
    assert column.edges is not None
    pooled = column.counts.sum(axis=0)
    before = np.concatenate([[0.0], np.cumsum(pooled)[:-1]])
    wanted = np.floor(before * BINS / max(pooled.sum(), 1))
    filled = pooled > 0
    opens = np.zeros(len(pooled), dtype=bool)
    opens[filled] = np.diff(wanted[filled], prepend=-1) > 0
    place = np.maximum(np.cumsum(opens) - 1, 0)
    edges = [float(e) for e in column.edges[opens]] or [float("-inf")]
    return Binned(place, [range_name(edges, i, i + 1) for i in range(len(edges))], edges)
