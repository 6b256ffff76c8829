"""Effect sizes of drift: how far something moved, what is usual, and the confidence interval.

Every effect is a function of two weightings of the blocks, so that labellings and bootstraps ask it alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from perennial.monitoring.drift.blocks import Column
from perennial.monitoring.permutation import Floats, normed

Effect = Callable[[Floats, Floats], Floats]  # of weights of the reference's and of the window's blocks, [rows, blocks] each -> [rows]

FAR_OUT = 0.001  # share of the rows at either end that do not stretch the standard deviation
USUAL = 0.95  # share of labellings whose effect is usual
INTERVAL = (0.025, 0.975)  # quantiles of the bootstrap: an interval of 95 %


def moved_categories(counts: Floats) -> Effect:
    """Share of rows that went from some categories to others (total variation), of counts [blocks, bins]."""

    def moved(before: Floats, after: Floats) -> Floats:
        share: Floats = np.abs(normed(after @ counts) - normed(before @ counts)).sum(axis=1) / 2
        return share

    return moved


def moved_numbers(column: Column, reference: int, tolerance_sd: float) -> Effect:
    """Largest share of rows that crossed some value by more than the tolerance (Kolmogorov distance beyond it)."""
    assert column.edges is not None
    edges = column.edges[1:]
    at_least_before = edges - tolerance_sd * spread_of(column, reference)
    earlier = np.searchsorted(edges, at_least_before, side="right") - 1  # edge at least the tolerance before
    known = earlier >= 0

    def moved(before: Floats, after: Floats) -> Floats:
        p, q = normed(before @ column.counts), normed(after @ column.counts)
        below_p, below_q = np.cumsum(p, axis=1)[:, :-1], np.cumsum(q, axis=1)[:, :-1]  # shares below the edges 1, 2, ...
        up = below_p[:, earlier[known]] - below_q[:, known]
        down = below_q[:, earlier[known]] - below_p[:, known]
        share: Floats = np.maximum(np.maximum(up, down).max(axis=1, initial=0.0), 0.0)
        return share

    return moved


def spread_of(column: Column, reference: int) -> float:
    """Standard deviation of a number on the reference.

    Its thousandth parts at both ends count as if they were no farther out: one of them may be a fill value.
    """
    assert column.centres is not None
    p = normed(column.counts[:reference].sum(axis=0))
    below = np.cumsum(p)
    low, high = (column.centres[min(int(np.searchsorted(below, share)), len(p) - 1)] for share in (FAR_OUT, 1 - FAR_OUT))
    centres = np.clip(column.centres, low, high)
    return float(np.sqrt(p @ np.square(centres - p @ centres)))


def moved_nulls(column: Column) -> Effect:
    """Difference of the shares of missing values."""
    rows = column.counts.sum(axis=1) + column.nulls

    def share(weights: Floats) -> Floats:
        of_rows: Floats = (weights @ column.nulls) / np.maximum(weights @ rows, 1)
        return of_rows

    return lambda before, after: np.abs(share(after) - share(before))


def new_share(column: Column, reference: int) -> Effect:
    """Share of rows of the largest category that the reference has not."""
    new = is_new(column, reference)

    def share(before: Floats, after: Floats) -> Floats:
        counts = after @ column.counts
        largest: Floats = np.where(new, counts, 0.0).max(axis=1) / np.maximum(counts.sum(axis=1), 1)
        return largest

    return share


def is_new(column: Column, reference: int) -> NDArray[np.bool_]:
    """Cells of a column that the reference leaves empty."""
    new: NDArray[np.bool_] = column.counts[:reference].sum(axis=0) == 0
    return new


def usual_effect(effect: Effect, labels: Floats, resamples: int, rng: np.random.Generator) -> float:
    """Effect that 95 of 100 labellings stay below, from so many labellings at most."""
    drawn = labels[rng.choice(len(labels), min(len(labels), resamples), replace=False)]
    return float(np.quantile(effect(1 - drawn, drawn), USUAL))


def interval_of(
    effect: Effect, observed: float, reference: int, blocks: int, resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Interval of 95 % around an observed effect, by drawing the blocks of either side with replacement."""
    current = blocks - reference
    drawn = np.zeros((2, resamples, blocks))
    drawn[0, :, :reference] = rng.multinomial(reference, np.full(reference, 1 / reference), resamples)
    drawn[1, :, reference:] = rng.multinomial(current, np.full(current, 1 / current), resamples)
    # Basic bootstrap: a distance of resampled blocks is larger than that of the blocks themselves, and must be reflected.
    lower, upper = np.quantile(effect(drawn[0], drawn[1]), INTERVAL)
    return max(2 * observed - float(upper), 0.0), max(2 * observed - float(lower), observed)
