"""The drift test's questions about one column: have its values moved, are more of them missing, are there new categories?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perennial.monitoring import permutation
from perennial.monitoring.drift import effects, words
from perennial.monitoring.drift.bins import CATEGORIES, Binned, binned, folded_rare
from perennial.monitoring.drift.blocks import Column
from perennial.monitoring.drift.question import Described, Question
from perennial.monitoring.permutation import Floats, Statistic, normed
from perennial.monitoring.verdict import Bin
from perennial.profiles.layout import normal_quantile
from perennial.specs import DriftKind, MonitoringSpec

ALONE_ROWS = 1.0  # spread, in rows of the window, below which rows of new categories or values are not thought to scatter


@dataclass
class WatchedColumn:
    """One column, with all questions of the drift test about it."""

    column: Column
    thinned: Column  # the same with the reference's blocks cut down to the size of the window's: for statistics
    labels: Floats
    reference: int  # number of the reference's blocks
    spec: MonitoringSpec
    since: str
    predicted: bool  # whether it is a score or a predicted class
    binned: Binned = field(init=False)

    def __post_init__(self) -> None:
        self.binned = binned(self.column, self.labels)

    def questions(self) -> list[Question]:
        """The questions about this column, each with its statistics."""
        column, asked = self.column, []
        if column.counts.sum():
            kind: DriftKind = "predictions" if self.predicted else "shift"
            moved = (
                effects.moved_categories(self.binned.fold(column.counts))
                if column.edges is None
                else effects.moved_numbers(column, self.reference, self.spec.tolerance_sd)
            )
            asked.append(Question(column.name, kind, moved, self._shift, self._shift_statistics()))
        if column.nulls.any():
            asked.append(Question(column.name, "nulls", effects.moved_nulls(column), self._nulls, self._null_statistics()))
        if column.edges is None and column.labels and self._lonely().any():
            new = effects.new_share(column, self.reference)
            asked.append(Question(column.name, "new category", new, self._new, self._new_statistics()))
        return asked

    def _shift_statistics(self) -> list[Statistic]:
        counts = self.thinned.counts
        in_bins = self.binned.fold(counts)
        ratio = permutation.between_blocks(in_bins)
        statistics = [Statistic(0, permutation.chi_square(in_bins, self.labels), ratio)]
        if self.column.edges is not None:
            pooled = counts.sum(axis=0)
            rank = (np.cumsum(pooled) - pooled / 2) / max(pooled.sum(), 1)
            scores = normal_quantile(np.clip(rank, 1e-4, 1 - 1e-4))
            rows = counts.sum(axis=1)
            for weight in (scores, scores**2):
                statistics.append(Statistic(0, permutation.mean_difference(counts @ weight, rows, self.labels), ratio))
            fine = folded_rare(counts if self.thinned.exact is None else self.thinned.exact, self.labels)
            ratio = max(ratio, permutation.between_blocks(fine))  # many cells with few rows each hide what the few bins show
            statistics.append(Statistic(0, permutation.chi_square(fine, self.labels), ratio))
            if self.thinned.exact is not None:
                statistics.append(self._alone(self.thinned.exact, ratio))
        return statistics

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
        blocks = (self.column.counts > 0).sum(axis=0)
        alone: NDArray[np.bool_] = (blocks > 0) & (blocks <= self.labels[0].sum())
        return alone

    def _sides(self, counts: Floats) -> tuple[Floats, Floats]:
        """Shares on the reference and in the window."""
        return normed(counts[: self.reference].sum(axis=0)), normed(counts[self.reference :].sum(axis=0))

    def _shift(self) -> Described:
        before, after = self._sides(self.binned.fold(self.column.counts))
        bins = _bins(self.binned.labels, before, after)
        if self.column.exact is not None and (sentence := self._other_values(self.column.exact)):
            return sentence, bins
        return f"{words.shifted(self.column.name, *self.binned.most_changed(before, after))}{self.since}", bins

    def _other_values(self, exact: Floats) -> str:
        """Sentence on values that the layout does not know, if more rows came to them than moved otherwise."""
        before, after = self._sides(exact)
        rise = after[-1] - before[-1]
        if rise < np.abs(after - before).sum() / 4 or rise <= 0:
            return ""
        return f"{words.other_values(self.column.name, len(self.column.values), float(before[-1]), float(after[-1]))}{self.since}"

    def _nulls(self) -> Described:
        both = np.stack([self.column.nulls, self.column.counts.sum(axis=1)], axis=1)
        before, after = self._sides(both)
        sentence = words.missing(self.column.name, float(before[0]), float(after[0]))
        return f"{sentence}{self.since}", _bins(["missing", "present"], before, after)

    def _new(self) -> Described:
        _, after = self._sides(self.column.counts)
        new = np.where(effects.is_new(self.column, self.reference), after, 0.0)
        order = [i for i in np.argsort(-new, kind="stable")[:CATEGORIES] if new[i] > 0]
        bins = tuple(Bin(label=self.column.labels[i], reference=0.0, window=round(float(new[i]), 6)) for i in order)
        share = float(new[order[0]]) if order else 0.0
        return f"{words.new_category(self.column.name, [self.column.labels[i] for i in order], share)}{self.since}", bins


def _bins(labels: Sequence[str], before: Floats, after: Floats) -> tuple[Bin, ...]:
    return tuple(
        Bin(label=label, reference=round(float(b), 6), window=round(float(a), 6)) for label, b, a in zip(labels, before, after, strict=True)
    )
