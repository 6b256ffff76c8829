"""Which classes a model takes for which, and how good it is on each. Pure functions of labels and predicted classes.

>>> import numpy as np
>>> labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
>>> found = confusion(("a", "b", "c"), labels, predicted, np.zeros(6), resamples=20)
>>> found["counts"]
[[2, 1, 0], [0, 2, 0], [1, 0, 0]]
>>> found["each"][0]["rows"], round(found["each"][0]["recall"], 3)
(3, 0.667)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perennial.classes import shown_classes
from perennial.training.evaluation import interval_of, redrawn


def confusion(
    names: Sequence[str], labels: np.ndarray, predicted: np.ndarray, units: np.ndarray, *, seed: int = 0, resamples: int = 200
) -> dict[str, Any]:
    """What a page shows of a classifier's classes, as JSON can carry it.

    Args:
        names: of all classes, in the spec's order.
        labels: class numbers [rows].
        predicted: class numbers [rows].
        units: int [rows]; equal numbers are drawn together for an interval.
        seed: of the resamples.
        resamples: how many.

    Returns:
        `classes`: names of those that are shown, in the spec's order; `rest`: how many others are taken together as a last one; `counts`:
        rows by actual and predicted class; `each`: of every class shown its rows, precision, recall and F1, each but the rows with
        `_interval`; None where nothing can be said: nothing was predicted to be of that class, or no row is.
    """
    classes, rest = shown_classes(np.bincount(labels.astype(np.int64), minlength=len(names)).tolist())
    place_of = np.full(len(names), len(classes))
    place_of[classes] = np.arange(len(classes))
    size = len(classes) + bool(rest)
    cells = place_of[labels.astype(np.int64)] * size + place_of[predicted]
    counts = _counts(cells, size)
    drawn = np.array(
        [_rates(_counts(cells[rows], size)) for rows in redrawn(units, len(labels), seed=seed, resamples=resamples)]
    )  # [resamples, precision recall f1, classes]
    rates = _rates(counts)
    return {
        "classes": [names[place] for place in classes],
        "rest": rest,
        "counts": counts.tolist(),
        "each": [
            {"rows": int(counts[place].sum()), "predicted": int(counts[:, place].sum())}
            | {
                name: value
                for number, rate in enumerate(("precision", "recall", "f1"))
                for name, value in _rate(rate, rates[number, place], drawn[:, number, place]).items()
            }
            for place in range(len(classes))
        ],
    }


def _counts(cells: np.ndarray, size: int) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = np.bincount(cells, minlength=size * size).reshape(size, size)
    return counts


def _rates(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Precision, recall and F1 of each class [3, classes]; NaN where nothing is to divide by."""
    right, actual, predicted = counts.diagonal().astype(float), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([right / predicted, right / actual, 2 * right / (actual + predicted)])


def _rate(name: str, value: float, drawn: np.ndarray) -> dict[str, Any]:
    known = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(known):
        return {name: None, f"{name}_interval": None}
    return {name: float(value), f"{name}_interval": list(interval_of(known))}
