"""One question of the drift test, with everything needed to answer and to report it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perennial.monitoring.drift.effects import Effect
from perennial.monitoring.permutation import Floats, Statistic
from perennial.monitoring.verdict import Bin
from perennial.specs import DriftKind

Described = tuple[str, tuple[Bin, ...]]  # a sentence without its end, and the bars of its plot


@dataclass(frozen=True)
class Question:
    """One question of the drift test: about one column, a pair of columns or all together, in one respect."""

    column: str
    kind: DriftKind
    effect: Effect
    describe: Callable[[], Described]
    statistics: Sequence[Statistic]  # what its significance is judged by; their `finding` is given by the test


def observed(labels: Floats) -> tuple[Floats, Floats]:
    """Weights [1, blocks] of the reference's and of the window's blocks: the observed labelling comes first."""
    return 1 - labels[:1], labels[:1]
