"""Permutation test on blocks: is the difference of two groups of blocks significant, if rows within a block are not independent?

A block (a day, a batch, a bundle of independent rows) goes to the window or to the reference as a whole. Every labelling of the blocks
gives each statistic a value; a statistic is standardised by its mean and spread over the labellings and compared with the largest of
its family (max-T: Westfall and Young 1993). The observed labelling is one of them (Phipson and Smyth 2010), so no p-value is below
one in the number of labellings. Nothing here but `labellings` looks at which labelling is the observed one: without drift all of
them are alike, and the false-alarm rate is exact whatever the blocks hold.

Statistics whose blocks differ by themselves much more than their rows would explain (weather) are a family apart from those that do
not, each with a share of alpha: a calm column need not stand out among the wild ones.

    >>> labels, all_there_are = labellings(reference=2, current=1, rng=np.random.default_rng(0))
    >>> labels.tolist(), all_there_are  # the observed labelling first: the last block is the window
    ([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

MAX_LABELLINGS = 5000  # enumerated if there are no more, otherwise drawn
DRAWN = 999
VOLATILE = 8.0  # times the variance between blocks that independent rows would give

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """One statistic of one finding, by labelling; the larger, the farther apart are window and reference."""

    finding: int  # index of what it speaks for
    values: Floats  # one for each labelling, the observed first
    ratio: float  # variance between blocks over that of independent rows
    floor: float = 0.0  # added to the spread it is standardised by, in its own unit
    observed: float | None = None  # compared instead of the first value: that of one member, where `values` are the largest of many


def labellings(reference: int, current: int, rng: np.random.Generator, drawn: int = DRAWN) -> tuple[Floats, bool]:
    """The labellings of blocks: which blocks count as the window (1) and which as the reference (0).

    Args:
        reference: number of the reference's blocks; they come first.
        current: number of the window's blocks.
        rng: draws labellings where there are more than `MAX_LABELLINGS`.
        drawn: how many are then drawn.

    Returns:
        One labelling a row, the observed one first; and whether these are all there are.
    """
    blocks = reference + current
    exact = comb(blocks, current) <= MAX_LABELLINGS
    labels = np.zeros((comb(blocks, current) if exact else drawn + 1, blocks))
    labels[0, reference:] = 1
    if exact:
        # The observed labelling is the last combination in lexical order: it already has the first row.
        for row, chosen in enumerate(islice(combinations(range(blocks), current), len(labels) - 1), start=1):
            labels[row, list(chosen)] = 1
    else:
        order = rng.random((drawn, blocks)).argsort(axis=1)
        np.put_along_axis(labels[1:], order[:, :current], 1, axis=1)
    return labels, exact


def shares(counts: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Share of each cell in the window and in the rest, by labelling.

    Args:
        counts: [blocks, cells].
        labels: [labellings, blocks].

    Returns:
        Two arrays [labellings, cells].
    """
    window = labels @ counts
    rest = counts.sum(axis=0) - window
    return normed(window), normed(rest)


def normed(counts: Floats) -> Floats:
    """Shares along the last axis; zeros where there is no row."""
    shares: Floats = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return shares


def chi_square(counts: Floats, labels: Floats) -> Floats:
    """Cube root of the chi-square distance of window and rest, by labelling (about normal: Wilson and Hilferty 1931)."""
    window, rest = shares(counts, labels)
    pooled = normed(counts.sum(axis=0))
    filled = pooled > 0
    root: Floats = np.cbrt((np.square((window - rest)[:, filled]) / pooled[filled]).sum(axis=1))
    return root


def mean_difference(sums: Floats, sizes: Floats, labels: Floats) -> Floats:
    """Absolute difference of the means of window and rest, by labelling; zero where one has no rows.

    Args:
        sums: [blocks] or [blocks, quantities].
        sizes: [blocks], rows behind the sums.
        labels: [labellings, blocks].
    """
    window, rows = labels @ sums, labels @ sizes
    others = sizes.sum() - rows
    if sums.ndim > 1:
        rows, others = rows[:, None], others[:, None]
    means = window / np.maximum(rows, 1) - (sums.sum(axis=0) - window) / np.maximum(others, 1)
    differences: Floats = np.abs(np.where((rows > 0) & (others > 0), means, 0.0))
    return differences


def only_in_window(counts: Floats, labels: Floats) -> Floats:
    """Largest share of the window's rows that one cell has which the rest has not at all, by labelling."""
    filled = counts > 0
    blocks = filled.sum(axis=0)
    once = np.diag(
        np.where(filled & (blocks == 1), counts, 0.0).max(axis=1, initial=0.0)
    )  # of cells in a single block the largest alone counts
    several = counts[:, (blocks > 1) & (blocks <= labels[0].sum())]
    chosen = np.column_stack([once[:, once.any(axis=0)], several]).astype(np.float32)
    if not chosen.shape[1]:
        return np.zeros(len(labels))
    alone = labels.astype(np.float32) @ (chosen > 0).astype(np.float32) == (chosen > 0).sum(axis=0)
    largest: Floats = (alone * chosen.sum(axis=0)).max(axis=1) / np.maximum(labels @ _rows(counts), 1)
    return largest


def _rows(counts: Floats) -> Floats:
    rows: Floats = counts.sum(axis=1)
    return rows


def between_blocks(counts: Floats) -> float:
    """How many times as much blocks differ as independent rows would: mean over the blocks of chi-square per degree of freedom.

    Over all blocks alike, so that the labelling does not decide to which family a column belongs. A change large enough to make its
    column volatile stands out among the volatile ones too.
    """
    expected = _rows(counts)[:, None] * normed(counts.sum(axis=0))
    filled = expected.sum(axis=0) > 0
    freedom = max(int(filled.sum()) - 1, 1)
    chi = (np.square(counts - expected)[:, filled] / np.maximum(expected[:, filled], 1e-9)).sum(axis=1)
    return float(chi[_rows(counts) > 0].mean() / freedom) if counts.sum() else 0.0


def standardised(statistic: Statistic) -> tuple[Floats, float]:
    """A statistic less its mean over the labellings, in its standard deviations; and the same of what was observed."""
    values = statistic.values
    spread = values.std() + statistic.floor
    if spread < 1e-12:
        return np.zeros_like(values), 0.0
    standard: Floats = (values - values.mean()) / spread
    return standard, float(standard[0] if statistic.observed is None else (statistic.observed - values.mean()) / spread)


@dataclass(frozen=True)
class Significance:
    """P-value of each finding, the family it was judged in, and the smallest of all."""

    p_values: Floats
    families: tuple[str, ...]


def max_t(statistics: Sequence[Statistic], findings: int) -> Significance:
    """P-value of every finding: chance that without any drift a statistic of its family would stand out as much.

    With two families each p-value is doubled (a half of alpha each), so that the smallest of all holds alpha by itself. Where the
    labellings are too few for that (a half of alpha of 5 % needs more than 40) one family is made of all.

    Args:
        statistics: all of them, over the same labellings.
        findings: how many findings they speak for.
    """
    if not statistics:
        return Significance(np.ones(findings), ("",) * findings)
    both = [standardised(s) for s in statistics]
    standard, observed = np.stack([b[0] for b in both]), [b[1] for b in both]
    volatile = np.array([s.ratio >= VOLATILE for s in statistics])
    few = standard.shape[1] < 100
    groups = {"all": np.ones(len(statistics), dtype=bool)} if few else {"stable": ~volatile, "volatile": volatile}
    groups = {name: members for name, members in groups.items() if members.any()}
    p_values, families = np.ones(findings), [""] * findings
    for name, members in groups.items():
        largest = standard[members].max(axis=0)
        for i in np.flatnonzero(members).tolist():
            p = min(1.0, len(groups) * float(np.mean(largest >= observed[i] - 1e-9)))
            finding = statistics[i].finding
            if not families[finding] or p < p_values[finding]:
                p_values[finding], families[finding] = p, name
    return Significance(p_values, tuple(families))
