"""Has the world changed? Blocks of a window against blocks of the reference, with one false-alarm rate for everything that is looked at.

A block is a day, or a bundle of independent rows. Rows inside a day are not independent, so whole blocks are exchanged (`permutation.py`):
a finding is significant where its statistic stands out among all of its family in no more than alpha of the labellings. It is *drift*
if, besides, its effect is more than tiny, and it *alarms* if the effect is large enough to act on; every kind has its own unit and limits:

| kind | statistics | effect, and the gate below which it is no drift (`alarm_...` says from where on it alarms) |
| --- | --- | --- |
| shift | chi-square of about equal-mass bins, of exact values (or the grid's cells) and of categories; normal scores and their squares; values of which the rest has none | share of rows that moved: Kolmogorov distance beyond `tolerance_sd`, or total variation of categories (`min_shift`) |
| predictions | the same, of scores and predicted classes | the same (`min_predictions`) |
| nulls | difference of the shares of missing values | that difference (`min_nulls`) |
| new category | rows of a category that the rest has not at all | its share of rows (`min_new_category`) |
| correlation | difference of the correlation inside the blocks of two rank-normalised columns, or of one with a frequent category; sum of squares over all pairs | that difference, of the pairs that changed most (`min_correlation`) |
| joint | squared distance of the means of random Fourier features (Rahimi and Recht 2007) | maximum mean discrepancy beyond chance (`min_joint`) |

A column that is gone or has another type never gets here: ingestion refuses such a file, a server such a request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from perennial.monitoring import permutation
from perennial.monitoring.permutation import Floats, Statistic, normed
from perennial.profiles.layout import normal_quantile
from perennial.specs import MonitoringSpec

if TYPE_CHECKING:
    from perennial.profiles.profile import Profile

BINS = 20  # of about equal mass, for a numeric column
CATEGORIES = 40  # the most frequent ones; the others are counted together
LEAST_EXPECTED = 5  # rows of a window in a bin by itself; rarer categories and values are counted together
ALONE_ROWS = 1.0  # spread, in rows of the window, below which rows of new categories or values are not thought to scatter
RESAMPLES = 200  # bootstraps of the blocks behind every interval
PAIRS = 5  # correlations told at most, of stable and of volatile pairs each
UNEQUAL = 1.5  # a reference block of so many times a window block's rows is cut down to its size
FAR_OUT = 0.001  # share of the rows at either end that do not stretch the standard deviation
CALENDAR_SHARE, CALENDAR_ROWS = 0.9, 20

TOGETHER = "all columns"  # name of what the joint finding is about

Kind = Literal["shift", "predictions", "nulls", "new category", "correlation", "joint"]


class Bin(BaseModel):
    """One bar of a finding's plot: a range or category and its share of the rows, or a correlation or distance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    reference: float
    window: float


class ColumnDrift(BaseModel):
    """One finding: how far one column, one pair of columns or all together moved, in one respect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(description="Column, two columns of a correlation joined by ' and ', or 'all columns'.")
    kind: Kind = Field(default="shift", description="In which respect.")
    drifted: bool = Field(description="Whether it is significant and its effect beyond the kind's gate.")
    alarms: bool = Field(default=False, description="Whether it drifted so far that it is worth an alarm, and a retraining once it lasts.")
    effect: float = Field(description="How far it moved, in the kind's unit: see the module.")
    low: float | None = Field(
        default=None, description="Lower end of the effect's 95 % interval (bootstrap over blocks); none if the window is a single block."
    )
    high: float | None = Field(default=None, description="Upper end.")
    usual: float = Field(description="Effect that 95 of 100 labellings of the same blocks stay below.")
    p_value: float = Field(description="Chance that anything looked at would stand out as much if nothing changed.")
    family: str = Field(default="", description="Statistics it was judged among: stable or volatile between blocks, or all.")
    sentence: str
    bins: tuple[Bin, ...]


class DriftVerdict(BaseModel):
    """What the test says of a window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[ColumnDrift, ...] = Field(description="Findings, those that drifted first, then by p-value.")
    skipped: dict[str, str] = Field(default_factory=dict, description="What was not tested, and why.")
    reference_days: int = Field(description="Blocks of the reference that have rows.")
    window_days: int = Field(description="Blocks of the window that have rows.")
    labellings: int = Field(description="Labellings of the blocks that were compared, the observed one included.")
    exact: bool = Field(description="Whether these are all there are.")
    p_value: float = Field(default=1.0, description="Smallest p-value: the chance of the whole result if nothing changed.")
    significant: bool = Field(default=False, description="Whether it is at most alpha, however small the effects.")
    power: str = Field(default="", description="What the test cannot see, if that must be said.")

    @property
    def drifted(self) -> tuple[str, ...]:
        """What drifted, each name once, the surest first."""
        return tuple(dict.fromkeys(c.column for c in self.columns if c.drifted))

    @property
    def alarming(self) -> tuple[str, ...]:
        """What drifted so far that it alarms, each name once, the surest first."""
        return tuple(dict.fromkeys(c.column for c in self.columns if c.alarms))


@dataclass(frozen=True)
class Column:
    """Counts of one column, by block: those of the reference first, then those of the window."""

    name: str
    counts: Floats  # [blocks, cells]
    nulls: Floats  # [blocks]
    labels: Sequence[str] = ()  # name of each cell of a category
    edges: Floats | None = None  # [cells], lower edge of each cell of a number, the first minus infinity
    centres: Floats | None = None  # [cells], a value inside each
    exact: Floats | None = None  # [blocks, values + 1], the last counts all other values
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Joint:
    """Means over a sample of each block's rows: of quantities (rank-normalised columns, frequent categories), of pairs of them, of all."""

    rows: Floats  # [blocks]
    names: Sequence[str]  # of the quantities
    means: Floats  # [blocks, quantities]
    squares: Floats  # [blocks, quantities]
    first: NDArray[np.intp]  # [pairs], quantities of each pair
    second: NDArray[np.intp]
    products: Floats  # [blocks, pairs]
    fourier: Floats  # [blocks, features]: cosines and sines

    def covariances(self) -> Floats:
        """Covariance of each pair inside each block, [blocks, pairs]."""
        covariances: Floats = self.products - self.means[:, self.first] * self.means[:, self.second]
        return covariances

    def correlations(self, weights: Floats, pairs: NDArray[np.intp]) -> Floats:
        """Correlation of some pairs inside the blocks, by weights of the blocks: [rows, blocks] -> [rows, pairs]; zero where one does not vary.

        Deviations are those from the block's own mean: what days have in common with each other by themselves would drown the rest.
        """
        weights = weights * self.rows
        weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)
        spread = np.sqrt(np.maximum(weights @ (self.squares - self.means * self.means), 0))
        both = spread[:, self.first[pairs]] * spread[:, self.second[pairs]]
        apart = weights @ self.covariances()[:, pairs]
        r: Floats = np.divide(apart, both, out=np.zeros_like(apart), where=both > 1e-6)
        return r


@dataclass
class _Finding:
    """What is reported of one thing that was looked at."""

    column: str
    kind: Kind
    effect: Callable[[Floats, Floats], Floats]  # of weights of the reference's and of the window's blocks, [rows, blocks] each -> [rows]
    describe: Callable[[], tuple[str, tuple[Bin, ...]]]


def find_drift(
    reference: Profile,
    current: Profile,
    spec: MonitoringSpec,
    seed: int,
    *,
    predictions: Collection[str] = (),
    resamples: int = RESAMPLES,
) -> DriftVerdict:
    """Compare the blocks of a window with the blocks of the reference.

    Args:
        reference: profile of the champion's training days, or of bundles of independent rows.
        current: profile of the window, counted on the same layout.
        spec: `alpha`, the gates and `tolerance_sd` are used.
        seed: of the drawn labellings, of thinning and of the intervals.
        predictions: columns that are scores or predicted classes.
        resamples: bootstraps behind each interval; 0 leaves intervals out, and is faster.

    Raises:
        ValueError: the two were not counted on the same layout.
    """
    cells = [{column.name: column for column in side.layout.columns} for side in (reference, current)]
    if different := sorted(name for name in cells[0].keys() | cells[1].keys() if cells[0].get(name) != cells[1].get(name)):
        raise ValueError(f"Reference and window do not count {', '.join(different)} on the same cells: profile both with the same layout.")
    before, after = _with_rows(reference), _with_rows(current)
    columns, skipped = _columns(before, after)
    return compare(
        columns,
        _joint(before, after),
        reference=len(before.blocks),
        spec=spec,
        seed=seed,
        predictions=predictions,
        since=_since(after),
        skipped=skipped,
        window=len(after.blocks),
        resamples=resamples,
    )


def compare(
    columns: Sequence[Column],
    joint: Joint | None,
    *,
    reference: int,
    spec: MonitoringSpec,
    seed: int,
    predictions: Collection[str] = (),
    since: str = "",
    skipped: dict[str, str] | None = None,
    window: int | None = None,
    resamples: int = RESAMPLES,
) -> DriftVerdict:
    """The same on plain arrays.

    Args:
        columns: counts of each column.
        joint: means over pairs of columns and over all of them; none if they are not compared.
        reference: number of blocks of the reference; they come first in all arrays.
        spec: `alpha`, the gates and `tolerance_sd` are used.
        seed: of everything drawn.
        predictions: columns that are scores or predicted classes.
        since: end of a sentence that says when the window begins.
        skipped: what is not tested, and why.
        window: number of blocks of the window, if there is no column to tell it.
        resamples: bootstraps behind each interval; none is made if 0.
    """
    rng = np.random.default_rng(seed)
    blocks = len(columns[0].counts) if columns else reference + (window or 0)
    current = blocks - reference
    labels, exact = permutation.labellings(reference, current, rng) if reference and current else (np.zeros((1, blocks)), True)
    skipped = dict(skipped or {})
    power = _power(reference, current, len(labels), spec.alpha)
    verdict = DriftVerdict(
        columns=(),
        skipped=skipped,
        reference_days=reference,
        window_days=current,
        labellings=len(labels),
        exact=exact,
        power=power,
    )
    if not columns or not reference or not current:
        return verdict
    asked: list[tuple[_Finding, list[Statistic]]] = []
    for column in columns:
        watched = _Watched(column, _thinned(column, reference, rng), labels, reference, spec, since, column.name in predictions)
        asked += watched.findings()
    if joint is not None and (why := _too_unequal(joint.rows, reference)):
        skipped[TOGETHER] = why
    elif joint is not None:
        asked += _joint_findings(joint, labels, since)
    findings = [finding for finding, _ in asked]
    statistics = [replace(s, finding=number) for number, (_, found) in enumerate(asked) for s in found]
    judged = permutation.max_t(statistics, len(findings))
    told = [
        _told(finding, float(p), family, spec, reference, labels, resamples, np.random.default_rng([seed, i]))
        for i, (finding, p, family) in enumerate(zip(findings, judged.p_values, judged.families, strict=True))
    ]
    smallest = min((f.p_value for f in told), default=1.0)
    return verdict.model_copy(
        update={
            "columns": in_order(_worth_telling(told)),
            "skipped": skipped,
            "p_value": smallest,
            "significant": smallest <= spec.alpha,
        }
    )


def in_order(findings: Iterable[ColumnDrift]) -> tuple[ColumnDrift, ...]:
    """What drifted first, of that what alarms, then by p-value and effect."""
    return tuple(sorted(findings, key=lambda f: (not f.drifted, not f.alarms, f.p_value, -f.effect, f.column, f.kind)))


def _worth_telling(findings: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """All but the pairs of columns that did not change: of these the first."""
    pairs = [f for f in findings if f.kind == "correlation"]
    first = min(pairs, key=lambda f: (not f.drifted, f.p_value, -f.effect), default=None)
    return [f for f in findings if f.kind != "correlation" or f.drifted or f is first]


def _told(
    finding: _Finding,
    p_value: float,
    family: str,
    spec: MonitoringSpec,
    reference: int,
    labels: Floats,
    resamples: int,
    rng: np.random.Generator,
) -> ColumnDrift:
    blocks = labels.shape[1]
    current = blocks - reference
    effect = float(finding.effect(*_observed(labels))[0])
    usual = 0.0
    if resamples:
        some = labels[rng.choice(len(labels), min(len(labels), resamples), replace=False)]
        usual = float(np.quantile(finding.effect(1 - some, some), 0.95))
    low = high = None
    if resamples and current > 1:
        drawn = np.zeros((2, resamples, blocks))
        drawn[0, :, :reference] = rng.multinomial(reference, np.full(reference, 1 / reference), resamples)
        drawn[1, :, reference:] = rng.multinomial(current, np.full(current, 1 / current), resamples)
        # Basic bootstrap: a distance of resampled blocks is larger than that of the blocks themselves, and must be reflected.
        lower, upper = np.quantile(finding.effect(drawn[0], drawn[1]), (0.025, 0.975))
        low, high = max(2 * effect - float(upper), 0.0), max(2 * effect - float(lower), effect)
    gate, alarm = _limits(spec, finding.kind)
    drifted = p_value <= spec.alpha and effect >= gate and effect > 0
    sentence, bins = finding.describe()
    return ColumnDrift(
        column=finding.column,
        kind=finding.kind,
        drifted=drifted,
        alarms=drifted and effect >= alarm,
        effect=round(effect, 6),
        low=None if low is None else round(low, 6),
        high=None if high is None else round(high, 6),
        usual=round(usual, 6),
        p_value=round(p_value, 6),
        family=family,
        sentence=f"{sentence}{'' if drifted else '; no drift'}.",
        bins=bins,
    )


def _limits(spec: MonitoringSpec, kind: Kind) -> tuple[float, float]:
    """Effects from which on a significant finding of a kind is drift, and alarms."""
    limits: dict[Kind, tuple[float, float]] = {
        "shift": (spec.min_shift, spec.alarm_shift),
        "predictions": (spec.min_predictions, spec.alarm_shift),
        "nulls": (spec.min_nulls, spec.alarm_nulls),
        "new category": (spec.min_new_category, spec.alarm_new_category),
        "correlation": (spec.min_correlation, spec.alarm_correlation),
        "joint": (spec.min_joint, spec.alarm_joint),
    }
    return limits[kind]


def _observed(labels: Floats) -> tuple[Floats, Floats]:
    """Weights [1, blocks] of the reference's and of the window's blocks: the observed labelling comes first."""
    return 1 - labels[:1], labels[:1]


# ---- one column


@dataclass
class _Watched:
    """One column and all that is asked of it."""

    column: Column
    thinned: Column
    labels: Floats
    reference: int
    spec: MonitoringSpec
    since: str
    predicted: bool
    binned: _Binned = field(init=False)

    def __post_init__(self) -> None:
        self.binned = _categories(self.column, self.labels) if self.column.edges is None else _ranges(self.column)

    def findings(self) -> list[tuple[_Finding, list[Statistic]]]:
        """What is asked, each with its statistics."""
        found = []
        if self.column.counts.sum():
            kind: Kind = "predictions" if self.predicted else "shift"
            moved = self._moved_categories if self.column.edges is None else self._moved_numbers
            found.append((_Finding(self.column.name, kind, moved, self._shift), self._shift_statistics()))
        if self.column.nulls.any():
            found.append((_Finding(self.column.name, "nulls", self._moved_nulls, self._nulls), self._null_statistics()))
        if self.column.edges is None and self.column.labels and self._lonely().any():
            found.append((_Finding(self.column.name, "new category", self._new_share, self._new), self._new_statistics()))
        return found

    def _shift_statistics(self) -> list[Statistic]:
        counts = self.thinned.counts
        binned = self.binned.fold(counts)
        ratio = permutation.between_blocks(binned)
        found = [Statistic(0, permutation.chi_square(binned, self.labels), ratio)]
        if self.column.edges is not None:
            pooled = counts.sum(axis=0)
            rank = (np.cumsum(pooled) - pooled / 2) / max(pooled.sum(), 1)
            scores = normal_quantile(np.clip(rank, 1e-4, 1 - 1e-4))
            rows = counts.sum(axis=1)
            for weight in (scores, scores**2):
                found.append(Statistic(0, permutation.mean_difference(counts @ weight, rows, self.labels), ratio))
            fine = _folded(counts if self.thinned.exact is None else self.thinned.exact, self.labels)
            ratio = max(ratio, permutation.between_blocks(fine))  # many cells with few rows each hide what the few bins show
            found.append(Statistic(0, permutation.chi_square(fine, self.labels), ratio))
            if self.thinned.exact is not None:
                found.append(self._alone(self.thinned.exact, ratio))
        return found

    def _alone(self, counts: Floats, ratio: float) -> Statistic:
        rows = counts.sum() * self.labels[0].mean()
        return Statistic(0, permutation.only_in_window(counts, self.labels), ratio, ALONE_ROWS / max(rows, 1))

    def _null_statistics(self) -> list[Statistic]:
        both = np.stack([self.thinned.nulls, self.thinned.counts.sum(axis=1)], axis=1)
        rows = both.sum(axis=1)
        return [Statistic(0, permutation.mean_difference(self.thinned.nulls, rows, self.labels), permutation.between_blocks(both))]

    def _new_statistics(self) -> list[Statistic]:
        return [self._alone(self.thinned.counts, permutation.between_blocks(self.binned.fold(self.thinned.counts)))]

    def _lonely(self) -> NDArray[np.bool_]:
        """Categories that lie in no more blocks than the window has: those that a labelling can make new."""
        held = (self.column.counts > 0).sum(axis=0)
        alone: NDArray[np.bool_] = (held > 0) & (held <= self.labels[0].sum())
        return alone

    def _moved_categories(self, before: Floats, after: Floats) -> Floats:
        counts = self.binned.fold(self.column.counts)
        moved: Floats = np.abs(normed(after @ counts) - normed(before @ counts)).sum(axis=1) / 2
        return moved

    def _moved_numbers(self, before: Floats, after: Floats) -> Floats:
        """Largest share of rows that crossed some value by more than the tolerance (Kolmogorov distance beyond it)."""
        assert self.column.edges is not None
        p, q = normed(before @ self.column.counts), normed(after @ self.column.counts)
        below_p, below_q = np.cumsum(p, axis=1)[:, :-1], np.cumsum(q, axis=1)[:, :-1]  # shares below the edges 1, 2, ...
        edges = self.column.edges[1:]
        earlier = (
            np.searchsorted(edges, edges - self.spec.tolerance_sd * self._spread(), side="right") - 1
        )  # edge at least the tolerance before
        known = earlier >= 0
        up = below_p[:, earlier[known]] - below_q[:, known]
        down = below_q[:, earlier[known]] - below_p[:, known]
        moved: Floats = np.maximum(np.maximum(up, down).max(axis=1, initial=0.0), 0.0)
        return moved

    def _spread(self) -> float:
        """Standard deviation of the reference; its thousandth parts at both ends count as if they were no farther out: one may be a fill value."""
        assert self.column.centres is not None
        p = normed(self.column.counts[: self.reference].sum(axis=0))
        below = np.cumsum(p)
        low, high = (self.column.centres[min(int(np.searchsorted(below, share)), len(p) - 1)] for share in (FAR_OUT, 1 - FAR_OUT))
        centres = np.clip(self.column.centres, low, high)
        return float(np.sqrt(p @ np.square(centres - p @ centres)))

    def _moved_nulls(self, before: Floats, after: Floats) -> Floats:
        rows = self.column.counts.sum(axis=1) + self.column.nulls
        return np.abs(_ratio(after, self.column.nulls, rows) - _ratio(before, self.column.nulls, rows))

    def _new_share(self, before: Floats, after: Floats) -> Floats:
        """Share of rows of the largest category that the reference has not."""
        counts = after @ self.column.counts
        share: Floats = np.where(self._is_new(), counts, 0.0).max(axis=1) / np.maximum(counts.sum(axis=1), 1)
        return share

    def _is_new(self) -> NDArray[np.bool_]:
        new: NDArray[np.bool_] = self.column.counts[: self.reference].sum(axis=0) == 0
        return new

    def _sides(self, counts: Floats) -> tuple[Floats, Floats]:
        return normed(counts[: self.reference].sum(axis=0)), normed(counts[self.reference :].sum(axis=0))

    def _shift(self) -> tuple[str, tuple[Bin, ...]]:
        before, after = self._sides(self.binned.fold(self.column.counts))
        bins = _bins(self.binned.labels, before, after)
        if self.column.exact is not None and (told := self._other_values()):
            return told, bins
        label, b, a = _most_changed(self.binned, before, after)
        return f"`{self.column.name}`: {label}: {_percent(b)} → {_percent(a)} of rows{self.since}", bins

    def _other_values(self) -> str:
        """Sentence on values that the layout does not know, if more rows came to them than moved otherwise."""
        assert self.column.exact is not None
        before, after = self._sides(self.column.exact)
        rise = after[-1] - before[-1]
        if rise < np.abs(after - before).sum() / 4 or rise <= 0:
            return ""
        return f"`{self.column.name}`: values that are none of the {len(self.column.values)} known: {_percent(float(before[-1]))} → {_percent(float(after[-1]))} of rows{self.since}"

    def _nulls(self) -> tuple[str, tuple[Bin, ...]]:
        both = np.stack([self.column.nulls, self.column.counts.sum(axis=1)], axis=1)
        before, after = self._sides(both)
        sentence = f"`{self.column.name}`: missing {_percent(float(before[0]))} → {_percent(float(after[0]))} of rows{self.since}"
        return sentence, _bins(["missing", "present"], before, after)

    def _new(self) -> tuple[str, tuple[Bin, ...]]:
        _, after = self._sides(self.column.counts)
        new = np.where(self._is_new(), after, 0.0)
        order = [i for i in np.argsort(-new, kind="stable")[:CATEGORIES] if new[i] > 0]
        bins = tuple(Bin(label=self.column.labels[i], reference=0.0, window=round(float(new[i]), 6)) for i in order)
        if not order:
            return f"`{self.column.name}`: no new category{self.since}", ()
        more = f" and {len(order) - 1} more" if len(order) > 1 else ""
        return (
            f"`{self.column.name}`: new category {self.column.labels[order[0]]}: 0.0 % → {_percent(float(new[order[0]]))} of rows{more}{self.since}",
            bins,
        )


@dataclass(frozen=True)
class _Binned:
    place: NDArray[np.intp]  # bin of each cell
    labels: list[str]
    edges: list[float] | None  # lower edge of each range; None for categories

    def fold(self, counts: Floats) -> Floats:
        """Counts of the cells -> counts of the bins, [blocks, bins]."""
        folded: Floats = counts @ (self.place[:, None] == np.arange(len(self.labels))).astype(float)
        return folded


def _categories(column: Column, labels: Floats) -> _Binned:
    """The most frequent categories, the others together; by all blocks alike, so that no labelling is favoured."""
    pooled = column.counts.sum(axis=0)
    order = np.argsort(-pooled, kind="stable")
    enough = pooled * labels[0].mean() >= LEAST_EXPECTED
    kept = [i for i in order[:CATEGORIES] if enough[i]]
    place = np.full(len(pooled), len(kept))
    place[kept] = np.arange(len(kept))
    return _Binned(place, [*(column.labels[i] for i in kept), "all others"], None)


def _folded(counts: Floats, labels: Floats) -> Floats:
    """Exact values or cells, those together of which a window holds few."""
    pooled = counts.sum(axis=0)
    enough = pooled * labels[0].mean() >= LEAST_EXPECTED
    return np.column_stack([counts[:, enough], counts[:, ~enough].sum(axis=1)])


def _ranges(column: Column) -> _Binned:
    """Neighbouring ranges of about equal mass."""
    assert column.edges is not None
    pooled = column.counts.sum(axis=0)
    before = np.concatenate([[0.0], np.cumsum(pooled)[:-1]])
    wanted = np.floor(before * BINS / max(pooled.sum(), 1))
    held = pooled > 0
    opens = np.zeros(len(pooled), dtype=bool)
    opens[held] = np.diff(wanted[held], prepend=-1) > 0
    place = np.maximum(np.cumsum(opens) - 1, 0)
    edges = [float(e) for e in column.edges[opens]] or [float("-inf")]
    return _Binned(place, [_range(edges, i, i + 1) for i in range(len(edges))], edges)


def _thinned(column: Column, reference: int, rng: np.random.Generator) -> Column:
    """Reference blocks cut down to a window block's size: a block of few rows scatters more, and must be compared with its like."""
    rows = column.counts.sum(axis=1) + column.nulls
    size = float(np.median(rows[reference:]))  # the column's own: not every version that answered may have it
    large = [i for i in range(reference) if rows[i] > UNEQUAL * size]
    if not large:
        return column
    counts, nulls = column.counts.copy(), column.nulls.copy()
    exact = None if column.exact is None else column.exact.copy()
    for i in large:
        kept = max(int(size), 1)
        cells = np.append(counts[i], nulls[i]).astype(np.int64)
        drawn = rng.multivariate_hypergeometric(cells, kept, method="marginals")
        counts[i], nulls[i] = drawn[:-1], drawn[-1]
        if exact is not None:
            exact[i] = rng.multivariate_hypergeometric(exact[i].astype(np.int64), int(drawn[:-1].sum()), method="marginals")
    return Column(column.name, counts, nulls, column.labels, column.edges, column.centres, exact, column.values)


# ---- columns together


def _joint_findings(joint: Joint, labels: Floats, since: str) -> list[tuple[_Finding, list[Statistic]]]:
    found = _correlation_findings(joint, labels, since) if len(joint.first) else []
    if not joint.fourier.shape[1]:
        return found
    rows = joint.rows
    sums = joint.fourier * rows[:, None]
    distance = permutation.mean_difference(sums, rows, labels)
    squared = np.square(distance).sum(axis=1) * 2 / joint.fourier.shape[1]
    pooled = sums.sum(axis=0) / rows.sum()
    spread = np.square(joint.fourier - pooled).sum(axis=1) * rows / max(float((1 - np.square(pooled)).sum() / 2), 1e-9)
    chance = float(squared.mean())

    def discrepancy(before: Floats, after: Floats) -> Floats:
        apart = (after @ sums) / (after @ rows)[:, None] - (before @ sums) / (before @ rows)[:, None]
        distance: Floats = np.sqrt(np.maximum(np.square(apart).sum(axis=1) * 2 / sums.shape[1] - chance, 0.0))
        return distance

    def described() -> tuple[str, tuple[Bin, ...]]:
        effect = float(discrepancy(*_observed(labels))[0])
        usual = float(np.sqrt(max(float(np.quantile(squared, 0.95)) - chance, 0.0)))
        bins = (Bin(label="distance, by chance up to", reference=round(usual, 6), window=round(effect, 6)),)
        return f"All columns together: combinations of values are {effect:.2g} apart{since}", bins

    whole = _Finding(TOGETHER, "joint", discrepancy, described)
    return [(whole, [Statistic(0, np.cbrt(squared), float(spread.mean()))]), *found]


def _correlation_findings(joint: Joint, labels: Floats, since: str) -> list[tuple[_Finding, list[Statistic]]]:
    """The pairs that stand out most. All stable pairs count as one statistic, the largest of them, and all volatile ones as another."""
    every = np.arange(len(joint.first))
    differences = joint.correlations(labels, every) - joint.correlations(1 - labels, every)
    spread = differences.std(axis=0)
    scaled = np.abs(np.divide(differences, spread, out=np.zeros_like(differences), where=spread > 1e-9))
    weights = joint.rows / joint.rows.sum()
    covariances, variances = joint.covariances(), weights @ (joint.squares - joint.means * joint.means)
    apart = np.square(covariances - weights @ covariances) * joint.rows[:, None]
    between = apart.mean(axis=0) / np.maximum(variances[joint.first] * variances[joint.second], 1e-6)  # as if both were normal
    found = []
    for group in (between < permutation.VOLATILE, between >= permutation.VOLATILE):
        members = np.flatnonzero(group)
        if not len(members):
            continue
        ratio = float(between[members].mean())
        largest, overall = scaled[:, members].max(axis=1), np.cbrt(np.square(scaled[:, members]).mean(axis=1))
        for rank, i in enumerate(members[np.argsort(-scaled[0, members], kind="stable")[:PAIRS]]):
            statistics = [Statistic(0, largest, ratio, observed=float(scaled[0, i]))]
            if rank == 0:
                statistics.append(Statistic(0, overall, ratio))
            found.append((_correlation(joint, np.array([i]), labels, since), statistics))
    return found


def _correlation(joint: Joint, pair: NDArray[np.intp], labels: Floats, since: str) -> _Finding:
    a, b = joint.names[joint.first[pair[0]]], joint.names[joint.second[pair[0]]]

    def effect(before: Floats, after: Floats) -> Floats:
        return np.abs(joint.correlations(after, pair) - joint.correlations(before, pair))[:, 0]

    def described() -> tuple[str, tuple[Bin, ...]]:
        r, s = (float(joint.correlations(side, pair)[0, 0]) for side in _observed(labels))
        bins = (Bin(label="correlation", reference=round(r, 6), window=round(s, 6)),)
        return f"`{a}` and `{b}`: correlation {r:.2f} → {s:.2f}{since}", bins

    return _Finding(f"{a} and {b}", "correlation", effect, described)


def _too_unequal(rows: Floats, reference: int) -> str:
    """Why the joint samples cannot be compared, if they cannot: they are means, and cannot be thinned."""
    if not rows.all():
        return "some blocks have too few different rows for a sample of them, so correlations and all columns together are not compared"
    before, after = np.median(rows[:reference]), np.median(rows[reference:])
    if after * UNEQUAL < before:
        return f"a block of the window has {after:.0f} sampled rows, one of the reference {before:.0f}: they scatter differently, so correlations and all columns together are not compared"
    return ""


# ---- small things


def _power(reference: int, current: int, labellings: int, alpha: float) -> str:
    if not reference or not current:
        return f"Nothing can be compared: {'the reference' if not reference else 'the window'} has no rows."
    if 1 / labellings > alpha:
        return f"Nothing can be found: with {reference} reference and {current} window days no result is rarer than {1 / labellings:.2g}. Use more reference days or longer windows."
    if current == 1:
        return f"The window is one day: only a day that stands out among all {reference} of the reference can be told from chance. Use longer windows to see smaller changes."
    return ""


def _range(edges: Sequence[float], first: int, end: int) -> str:
    """Name of the ranges `first` to before `end`."""
    if first == 0:
        return "any value" if end == len(edges) else f"below {edges[end]:.4g}"
    return f"from {edges[first]:.4g}" if end == len(edges) else f"{edges[first]:.4g} to {edges[end]:.4g}"


def _most_changed(binned: _Binned, before: Floats, after: Floats) -> tuple[str, float, float]:
    """The category, or run of neighbouring ranges, whose share changed most."""
    change = after - before
    if binned.edges is None:
        i = int(np.argmax(np.abs(change)))
        return binned.labels[i], float(before[i]), float(after[i])
    sums = np.concatenate([[0.0], np.cumsum(change)])
    first, end = sorted((int(np.argmin(sums)), int(np.argmax(sums))))
    return _range(binned.edges, first, end), float(before[first:end].sum()), float(after[first:end].sum())


def _bins(labels: Sequence[str], before: Floats, after: Floats) -> tuple[Bin, ...]:
    return tuple(
        Bin(label=label, reference=round(float(b), 6), window=round(float(a), 6)) for label, b, a in zip(labels, before, after, strict=True)
    )


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share < 0.1 else f"{share * 100:.0f} %"


def _ratio(weights: Floats, part: Floats, whole: Floats) -> Floats:
    ratio: Floats = (weights @ part) / np.maximum(weights @ whole, 1)
    return ratio


# ---- from profiles to arrays


def _with_rows(profile: Profile) -> Profile:
    return replace(profile, blocks={key: state for key, state in profile.blocks.items() if state.rows})


def _since(window: Profile) -> str:
    first = next(iter(window.blocks), None)
    return f" since {first.day} {first:%B}" if isinstance(first, date) else ""


def _columns(reference: Profile, window: Profile) -> tuple[list[Column], dict[str, str]]:
    columns, skipped = [], {}
    for layout in reference.layout.columns:
        name = layout.name
        if not reference.blocks:
            continue
        if _follows_the_calendar(reference, name):
            skipped[name] = "holds one value per day, another on other days: it follows the calendar and carries no distribution"
            continue
        counts = _stacked(reference.cells(name), window.cells(name))
        nulls = np.concatenate([reference.nulls(name), window.nulls(name)]).astype(float)
        if layout.grid is not None:
            exact = _stacked(reference.exact(name), window.exact(name)) if layout.values else None
            columns.append(
                Column(
                    name, counts, nulls, edges=layout.grid.edges()[:-1], centres=layout.grid.centres(), exact=exact, values=layout.values
                )
            )
        elif layout.hashed:
            columns.append(Column(name, counts, nulls, [f"bucket {i}" for i in range(counts.shape[1])]))
        else:
            unseen = _unseen(reference, window, name)
            rest = counts[:, -1] - sum(unseen.values(), np.zeros(len(counts)))
            counts = np.column_stack([counts[:, :-1], *unseen.values(), rest])
            columns.append(Column(name, counts, nulls, [*layout.categories, *unseen, "other categories"]))
    return columns, skipped


def _follows_the_calendar(reference: Profile, name: str) -> bool:
    counts = reference.cells(name)[reference.rows() >= CALENDAR_ROWS]
    single = counts[(counts > 0).sum(axis=1) == 1]
    return len(set(single.argmax(axis=1).tolist())) > 1 and len(single) >= CALENDAR_SHARE * len(counts)


def _stacked(before: NDArray[np.int64], after: NDArray[np.int64]) -> Floats:
    return np.concatenate([before, after]).astype(float)


def _unseen(reference: Profile, window: Profile, name: str) -> dict[str, Floats]:
    before, after = reference.unseen(name), window.unseen(name)
    sizes = len(reference.blocks), len(window.blocks)
    return {
        category: np.concatenate([before.get(category, np.zeros(sizes[0])), after.get(category, np.zeros(sizes[1]))]).astype(float)
        for category in sorted({*before, *after})
    }


def _joint(reference: Profile, window: Profile) -> Joint | None:
    """Moments of pairs and Fourier means; of columns that both have been counted with."""
    if reference.layout.joint != window.layout.joint or not reference.layout.joint.size or not reference.blocks or not window.blocks:
        return None
    before, after = reference.joint(), window.joint()
    means = {name: np.concatenate([before.families[name].means, after.families[name].means]) for name in before.families}
    layout = reference.layout.joint
    p, shares = len(layout.numeric), np.array(layout.shares)
    spread = np.sqrt(shares * (1 - shares))
    z, zz, c = means["mean"], means["square"], (means["share"] - shares) / spread
    cc = 1 + c * (1 - 2 * shares) / spread  # mean square of an indicator standardised by its share at the fit
    first, second = np.triu_indices(p, 1)
    return Joint(
        rows=np.concatenate([before.rows, after.rows]).astype(float),
        names=[*layout.numeric, *(f"{column}={category}" for column, category in layout.indicators)],
        means=np.column_stack([z, c]),
        squares=np.column_stack([zz, cc]),
        first=np.concatenate([first, np.repeat(np.arange(p), len(shares))]),
        second=np.concatenate([second, p + np.tile(np.arange(len(shares)), p)]),
        products=np.column_stack([means["product"], means["cross"]]),
        fourier=np.column_stack([means["cos"], means["sin"]]),
    )
