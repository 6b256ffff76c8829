"""The drift test's questions about several columns: have correlations of pairs changed, or the joint distribution of all?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perennial.monitoring import permutation
from perennial.monitoring.drift import words
from perennial.monitoring.drift.blocks import Joint
from perennial.monitoring.drift.effects import USUAL
from perennial.monitoring.drift.question import Described, Question, observed
from perennial.monitoring.permutation import Floats, Statistic
from perennial.monitoring.verdict import Bin

PAIRS = 5  # correlations told at most, of stable and of volatile pairs each
TOGETHER = "all columns"  # name of what the joint finding is about


def questions_together(joint: Joint, labels: Floats, since: str) -> list[Question]:
    """All columns at once first, then the pairs that stand out most."""
    pairs = _pairs(joint, labels, since) if len(joint.first) else []
    return [_all_columns(joint, labels, since), *pairs] if joint.fourier.shape[1] else pairs


def _all_columns(joint: Joint, labels: Floats, since: str) -> Question:
    """Squared distance of the means of the Fourier features; its effect is what lies beyond the distance by chance."""
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

    def described() -> Described:
        effect = float(discrepancy(*observed(labels))[0])
        usual = float(np.sqrt(max(float(np.quantile(squared, USUAL)) - chance, 0.0)))
        bins = (Bin(label="distance, by chance up to", reference=round(usual, 6), window=round(effect, 6)),)
        return f"{words.apart(effect)}{since}", bins

    return Question(TOGETHER, "joint", discrepancy, described, [Statistic(0, np.cbrt(squared), float(spread.mean()))])


def _pairs(joint: Joint, labels: Floats, since: str) -> list[Question]:
    """The pairs that stand out most. All stable pairs count as one statistic, the largest of them, and all volatile ones as another."""
    every = np.arange(len(joint.first))
    differences = joint.correlations(labels, every) - joint.correlations(1 - labels, every)
    spread = differences.std(axis=0)
    scaled = np.abs(np.divide(differences, spread, out=np.zeros_like(differences), where=spread > 1e-9))
    weights = joint.rows / joint.rows.sum()
    covariances, variances = joint.covariances(), weights @ (joint.squares - joint.means * joint.means)
    apart = np.square(covariances - weights @ covariances) * joint.rows[:, None]
    between = apart.mean(axis=0) / np.maximum(variances[joint.first] * variances[joint.second], 1e-6)  # as if both were normal
    asked = []
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
            asked.append(_pair(joint, np.array([i]), labels, since, statistics))
    return asked


def _pair(joint: Joint, pair: NDArray[np.intp], labels: Floats, since: str, statistics: list[Statistic]) -> Question:
    first, second = joint.names[joint.first[pair[0]]], joint.names[joint.second[pair[0]]]

    def effect(before: Floats, after: Floats) -> Floats:
        return np.abs(joint.correlations(after, pair) - joint.correlations(before, pair))[:, 0]

    def described() -> Described:
        before, after = (float(joint.correlations(side, pair)[0, 0]) for side in observed(labels))
        bins = (Bin(label="correlation", reference=round(before, 6), window=round(after, 6)),)
        return f"{words.correlation(first, second, before, after)}{since}", bins

    return Question(f"{first} and {second}", "correlation", effect, described, statistics)
