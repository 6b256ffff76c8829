"""Has the world changed? Days of a window against days of the reference, column by column, with one false-alarm rate for all.

Rows inside a day are not independent, so whole days are exchanged: the labels "reference" and "window" are permuted over
the days, every permutation gives each column's distances, and a column has drifted where its standardised distance is
beyond the largest one of all columns in 1 - alpha of the permutations (max-T, Westfall and Young 1993; the observed
labelling counts among the permuted, Phipson and Smyth 2010) and the share of rows that moved is large enough to matter.

Two distances, both from the histogram: total variation, which sees every change of shape, and for numbers the difference
of the means, which still grows where two histograms hardly overlap any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from perennial.monitoring.profile import ColumnProfile, DayProfile, Grid
from perennial.specs import MonitoringSpec

BINS = 20  # of about equal mass, for a numeric column
CATEGORIES = 40  # the most frequent ones; the others are counted together
MAX_LABELLINGS = 5000  # enumerated if there are no more, otherwise drawn
DRAWN = 1999
CALENDAR_SHARE, CALENDAR_ROWS = 0.9, 20

Floats = NDArray[np.float64]


class Bin(BaseModel):
    """A range or category of a column and its share of the rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    reference: float
    window: float


class ColumnDrift(BaseModel):
    """How far one column moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    drifted: bool
    effect: float = Field(description="Total variation distance of the two histograms, 0 to 1: the share of rows that moved.")
    usual: float = Field(description="Distance that 95 of 100 labellings of the same days stay below.")
    p_value: float = Field(description="Chance of such a distance in any column if nothing changed.")
    sentence: str
    bins: tuple[Bin, ...]


class DriftVerdict(BaseModel):
    """What the test says of a window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[ColumnDrift, ...] = Field(description="Tested columns, the farthest first.")
    skipped: dict[str, str] = Field(default_factory=dict, description="Columns that were not tested, and why.")
    reference_days: int
    window_days: int
    labellings: int = Field(description="Labellings of the days that were compared, the observed one included.")
    exact: bool = Field(description="Whether these are all there are.")
    power: str = Field(default="", description="What the test cannot see, if that must be said.")

    @property
    def drifted(self) -> tuple[str, ...]:
        """Columns that drifted, the farthest first."""
        return tuple(c.column for c in self.columns if c.drifted)


def find_drift(reference_days: list[DayProfile], current_days: list[DayProfile], spec: MonitoringSpec, seed: int) -> DriftVerdict:
    """Compare the days of a window with the days of the reference.

    Args:
        reference_days: profiles of the champion's training days.
        current_days: profiles of the window's days, counted on the same grids.
        spec: `alpha` and `min_effect` are used.
        seed: of the drawn labellings and of thinning.
    """
    rng = np.random.default_rng(seed)
    reference = [d for d in reference_days if d.rows]
    current = [d for d in current_days if d.rows]
    skipped = _untestable(reference, current)
    names = [n for n in (reference[0].columns if reference else ()) if n not in skipped]
    labels, exact = _labellings(len(reference), len(current), rng)
    verdict = DriftVerdict(
        columns=(),
        skipped=skipped,
        reference_days=len(reference),
        window_days=len(current),
        labellings=len(labels),
        exact=exact,
        power=_power(len(reference), len(current), len(labels), spec.alpha),
    )
    if not names or not reference or not current:
        return verdict
    binned = {name: _binned([d.columns[name] for d in (*reference, *current)]) for name in names}
    size = int(np.median([d.rows for d in current]))
    thinned = {name: _thinned(column.counts, len(reference), size, rng) for name, column in binned.items()}
    distances = np.stack([_distances(thinned[name], labels) for name in names])
    shifts = np.stack([_shifts(thinned[name], column.centres, labels) for name, column in binned.items()])
    standard = np.maximum(_standardised(distances), _standardised(shifts))
    largest = standard.max(axis=0)
    found = []
    for i, name in enumerate(names):
        column = binned[name]
        before, after = _shares(column.counts[: len(reference)]), _shares(column.counts[len(reference) :])
        effect = float(np.abs(after - before).sum() / 2)
        p_value = float(np.mean(largest >= standard[i, 0] - 1e-9))
        usual = float(np.quantile(distances[i], 0.95))
        drifted = p_value <= spec.alpha and effect >= spec.min_effect
        sentence = _sentence(name, column, before, after, effect=effect, usual=usual, drifted=drifted)
        shown = tuple(
            Bin(label=label, reference=round(float(b), 6), window=round(float(a), 6))
            for label, b, a in zip(column.labels, before, after, strict=True)
        )
        found.append(
            ColumnDrift(
                column=name,
                drifted=drifted,
                effect=round(effect, 6),
                usual=round(usual, 6),
                p_value=round(p_value, 6),
                sentence=sentence,
                bins=shown,
            )
        )
    return verdict.model_copy(update={"columns": tuple(sorted(found, key=lambda c: (not c.drifted, -c.effect, c.column)))})


def _untestable(reference: list[DayProfile], current: list[DayProfile]) -> dict[str, str]:
    skipped = {}
    for name in reference[0].columns if reference else ():
        if any(name not in day.columns for day in (*reference, *current)):
            skipped[name] = "not every day has it"
        elif _follows_the_calendar(name, reference):
            skipped[name] = "holds one value per day, another on other days: it follows the calendar and carries no distribution"
    return skipped


def _follows_the_calendar(name: str, days: list[DayProfile]) -> bool:
    seen = [day.columns[name].counts for day in days if day.rows >= CALENDAR_ROWS]
    single = [next(iter(counts)) for counts in seen if len(counts) == 1]
    return len(set(single)) > 1 and len(single) >= CALENDAR_SHARE * len(seen)


def _labellings(reference: int, current: int, rng: np.random.Generator) -> tuple[Floats, bool]:
    """Which days count as the window (1) and which do not (0), one labelling a row, the observed one first."""
    days = reference + current
    exact = comb(days, current) <= MAX_LABELLINGS
    labels = np.zeros((comb(days, current) if exact else DRAWN + 1, days))
    labels[0, reference:] = 1
    if exact:
        # The observed labelling is the last combination in lexical order: it already has the first row.
        for row, chosen in enumerate(islice(combinations(range(days), current), len(labels) - 1), start=1):
            labels[row, list(chosen)] = 1
    else:
        order = rng.random((DRAWN, days)).argsort(axis=1)
        np.put_along_axis(labels[1:], order[:, :current], 1, axis=1)
    return labels, exact


def _power(reference: int, current: int, labellings: int, alpha: float) -> str:
    if not reference or not current:
        return f"Nothing can be compared: {'the reference' if not reference else 'the window'} has no rows."
    if 1 / labellings > alpha:
        return f"Nothing can be found: with {reference} reference and {current} window days no result is rarer than {1 / labellings:.2g}. Use more reference days or longer windows."
    if current == 1:
        return f"The window is one day: only a day that stands out among all {reference} of the reference can be told from chance. Use longer windows to see smaller changes."
    return ""


@dataclass(frozen=True)
class _Binned:
    counts: Floats  # rows by day and bin; the last bin counts the missing
    labels: list[str]
    edges: list[float] | None  # lower edge of each range; None for categories
    centres: Floats | None  # mean cell number of each range; None for categories


def _binned(days: Sequence[ColumnProfile]) -> _Binned:
    """One column's counts in few bins, which depend on all days alike, so that no labelling is favoured."""
    grid = days[0].grid
    pooled: dict[str, int] = {}
    for day in days:
        for cell, n in day.counts.items():
            pooled[cell] = pooled.get(cell, 0) + n
    edges: list[float] | None = None
    centres: Floats | None = None
    if grid is None:
        labels = sorted(pooled, key=lambda c: (-pooled[c], c))[:CATEGORIES]
        kept = {cell: i for i, cell in enumerate(labels)}
        place = {cell: kept.get(cell, len(labels)) for cell in pooled}
        labels = [*labels, "all others"]
    else:
        edges, place = _equal_mass(pooled, grid)
        labels = [_range(edges, i, i + 1) for i in range(len(edges))]
        weight = np.array(list(pooled.values()), dtype=float)
        where = [place[cell] for cell in pooled]
        centres = np.bincount(where, weight * [int(cell) for cell in pooled]) / np.bincount(where, weight) if pooled else np.zeros(0)
    counts = np.zeros((len(days), len(labels) + 1))
    for row, day in enumerate(days):
        for cell, n in day.counts.items():
            counts[row, place[cell]] += n
        counts[row, -1] = day.nulls
    return _Binned(counts, [*labels, "missing"], edges, centres)


def _equal_mass(pooled: dict[str, int], grid: Grid) -> tuple[list[float], dict[str, int]]:
    """Lower edges of neighbouring ranges of about equal mass, and the range of each cell."""
    edges: list[float] = []
    place: dict[str, int] = {}
    total, before, last = sum(pooled.values()), 0, -1
    for cell in sorted(pooled, key=int):
        if (wanted := before * BINS // total) > last:
            edges.append(grid.lower_edge(int(cell)))
            last = wanted
        place[cell] = len(edges) - 1
        before += pooled[cell]
    return edges, place


def _range(edges: list[float], first: int, end: int) -> str:
    """Name of the ranges `first` to before `end`."""
    if first == 0:
        return "any value" if end == len(edges) else f"below {edges[end]:.4g}"
    return f"from {edges[first]:.4g}" if end == len(edges) else f"{edges[first]:.4g} to {edges[end]:.4g}"


def _thinned(counts: Floats, reference: int, size: int, rng: np.random.Generator) -> Floats:
    """Reference days cut down to a window day's size: a day of few rows scatters more, and must be compared with its like."""
    thin = counts.astype(np.int64)
    for row in range(reference):
        if thin[row].sum() > size:
            thin[row] = rng.multivariate_hypergeometric(thin[row], size, method="marginals")
    return thin.astype(float)


def _distances(counts: Floats, labels: Floats) -> Floats:
    window = labels @ counts
    rest = counts.sum(axis=0) - window
    p = window / np.maximum(window.sum(axis=1, keepdims=True), 1)
    q = rest / np.maximum(rest.sum(axis=1, keepdims=True), 1)
    distances: Floats = np.abs(p - q).sum(axis=1) / 2
    return distances


def _shifts(counts: Floats, centres: Floats | None, labels: Floats) -> Floats:
    """Difference of the means in grid cells, by labelling; zero for categories."""
    if centres is None:
        return np.zeros(len(labels))
    sums, sizes = counts[:, :-1] @ centres, counts[:, :-1].sum(axis=1)
    window, rows = labels @ sums, labels @ sizes
    means = window / np.maximum(rows, 1) - (sums.sum() - window) / np.maximum(sizes.sum() - rows, 1)
    shifts: Floats = np.abs(np.where((rows > 0) & (rows < sizes.sum()), means, 0.0))
    return shifts


def _standardised(statistics: Floats) -> Floats:
    """Each row less its mean over the labellings, in its standard deviations."""
    spread = statistics.std(axis=1, keepdims=True)
    standard: Floats = np.divide(
        statistics - statistics.mean(axis=1, keepdims=True), spread, out=np.zeros_like(statistics), where=spread > 1e-12
    )
    return standard


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts.sum(axis=0) / max(counts.sum(), 1)
    return shares


def _sentence(name: str, binned: _Binned, before: Floats, after: Floats, *, effect: float, usual: float, drifted: bool) -> str:
    if effect < 1e-9:
        return f"`{name}` is as before."
    label, b, a = _most_changed(binned, before, after)
    return f"`{name}`: {label} {_percent(b)} → {_percent(a)} of rows (distance {effect:.2f}, by chance below {usual:.2f}){'' if drifted else '; no drift'}."


def _most_changed(binned: _Binned, before: Floats, after: Floats) -> tuple[str, float, float]:
    """The category, or run of neighbouring ranges, whose share changed most."""
    change = after - before
    if binned.edges is None or abs(change[-1]) >= np.abs(change[:-1]).sum() / 2:
        i = int(np.argmax(np.abs(change)))
        return binned.labels[i], float(before[i]), float(after[i])
    sums = np.concatenate([[0.0], np.cumsum(change[:-1])])
    first, end = sorted((int(np.argmin(sums)), int(np.argmax(sums))))
    return _range(binned.edges, first, end), float(before[first:end].sum()), float(after[first:end].sum())


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share < 0.1 else f"{share * 100:.0f} %"
