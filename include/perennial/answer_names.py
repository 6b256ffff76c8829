"""What the numbers of a model's answer are called, and what may come true. Light: discovery and servers import this.

>>> answer_names("anomaly", ()), outcome_names("anomaly", ())
(('score', 'alarm'), ('0', '1'))
"""

from __future__ import annotations

from collections.abc import Sequence


def answer_names(task: str, classes: Sequence[str]) -> tuple[str, ...]:
    """What the numbers of an answer are called, in their order: a score for each class, score and alarm, or the value."""
    return tuple(classes) or (("score", "alarm") if task == "anomaly" else ("value",))


def outcome_names(task: str, classes: Sequence[str]) -> tuple[str, ...]:
    """What may come true, by its number: a class, or whether a row was an anomaly (1) or not (0). None of a regression: any number may."""
    return tuple(classes) or (("0", "1") if task == "anomaly" else ())
