"""Interprets outcomes and answers: the one rule by which a value, sent or read from a file, is a class of a model or the value of a
regression, and the one by which scores are the answer of a class.

>>> from perennial.classes import outcome_number
>>> outcome_number("no", ["yes", "no"]), outcome_number(1, ["yes", "no"]), outcome_number("maybe", ["yes", "no"])
(1.0, 1.0, None)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perennial.encoding import text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
MOST_CLASSES = 20  # are shown of a confusion matrix; the others are one, the rest
_TRUTH = {"true": 1.0, "false": 0.0}


def outcome_number(value: object, classes: Sequence[str]) -> float | None:
    """The number that stands for an outcome in the store; None if it is not an outcome of the model.

    An outcome is the name of a class, and its number is the place of that class, from 0. True and false are the classes of these names,
    however they are spelled, or else the second and the first of two. A number is the class that is named by it; only where the model
    names no class by a number, it is the place itself. Texts of numbers are numbers, as a CSV file has them.

    Args:
        value: a text, a number or a truth value.
        classes: names in score order; none for a regression, whose outcome is any finite number.
    """
    name = None if isinstance(value, (list, dict)) else text(value)  # may be nested deeper than Python writes
    if name is None:
        return None
    if not classes:
        number = _number(name)
        return number if math.isfinite(number) else None
    return _place(name if name in classes else name.strip(), classes)


def _place(name: str, classes: Sequence[str]) -> float | None:
    if name in classes:
        return float(classes.index(name))
    if name.lower() in _TRUTH:
        spelled = [float(place) for place, other in enumerate(classes) if other.lower() == name.lower()]
        if len(classes) == 2 and not any(other.lower() in _TRUTH for other in classes):
            return _TRUTH[name.lower()]
        return spelled[0] if len(spelled) == 1 else None
    number = _number(name)
    if named_by_numbers(classes):
        named = text(number)
        return float(classes.index(named)) if named in classes else None
    return number if number in range(len(classes)) else None


def _number(written: str) -> float:
    """NaN where it is none."""
    try:
        return float(written)
    except ValueError:
        return math.nan


def named_by_numbers(classes: Sequence[str]) -> bool:
    """Whether a number is the name of a class, and never its place."""
    return any(_NUMBER.fullmatch(name) for name in classes)


def expected(classes: Sequence[str]) -> str:
    """A phrase that says which outcomes the model accepts."""
    if not classes:
        return "a finite number"
    places = "" if named_by_numbers(classes) else f" or their numbers 0 to {len(classes) - 1}"
    return f"one of {', '.join(classes)}{places}"


def answered_classes(task: str, scores: np.ndarray) -> NDArray[np.int64]:
    """The class that each row's scores answer, as its number: the positive class from a probability of one half upwards, else the likeliest
    class; 1 for an alarm.

    Args:
        task: `binary`, `multiclass` or `anomaly`.
        scores: [rows, classes], or score and alarm, [rows, 2].
    """
    of_two = task in ("binary", "anomaly")
    places: NDArray[np.int64] = (scores[:, 1] >= 0.5).astype("int64") if of_two else scores.argmax(axis=1)
    return places


def shown_classes(rows: Sequence[float]) -> tuple[list[int], int]:
    """Places of the classes that a confusion matrix shows, in the spec's order: those with most rows. And how many others there are: never
    one alone.

    Args:
        rows: of each class.
    """
    if len(rows) <= MOST_CLASSES + 1:
        return list(range(len(rows))), 0
    return sorted(sorted(range(len(rows)), key=lambda place: -rows[place])[:MOST_CLASSES]), len(rows) - MOST_CLASSES
