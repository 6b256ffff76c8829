"""Intervals of the figures of slices, and of their difference between two versions, for the metrics that are means over rows.

Such a figure of a resample is a sum over the units that were drawn, so hundreds of resamples of every slice cost one product of matrices
and not hundreds of evaluations. Whole units are drawn from all test rows, for both versions alike.

>>> import numpy as np
>>> labels, names = np.array([0, 1] * 50), np.array(["a"] * 60 + ["b"] * 40)
>>> scores = np.repeat([[0.6, 0.4]], 100, axis=0)
>>> found = slice_intervals("binary", labels, {"candidate": scores}, np.arange(100) // 10, names)
>>> sorted(found["candidate"]), sorted(found["candidate"]["a"])
(['a', 'b'], ['accuracy', 'log_loss'])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from perennial.training.evaluation import Floats, Task, interval_of, per_row_loss, predict

GROUPS = 2000  # rows that are drawn one by one are first put at random into so many: as good, and as fast for millions
RESAMPLES, FEWEST = 200, 30  # FEWEST rows of a slice, as for its figures

Ends = dict[str, dict[str, list[float]]]  # by value, by metric: lower and upper end


def slice_intervals(
    task: Task, labels: np.ndarray, scores: Mapping[str, np.ndarray], units: np.ndarray, names: np.ndarray, *, seed: int = 0
) -> dict[str, Ends]:
    """95 % intervals by slice: of each version and, where there are two, of `difference`, candidate less champion.

    Args:
        task: of the model.
        labels: [rows].
        scores: of each version, [rows, classes] or [rows, 1].
        units: [rows]; rows of equal numbers are drawn together. With one number for all, rows are drawn.
        names: [rows], the value of the column that makes the slices.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    places = _units(units, rng)
    counts = rng.multinomial(size := int(places.max()) + 1, np.full(size, 1 / size), RESAMPLES).astype(np.float64)
    found: dict[str, Ends] = {who: {} for who in (*scores, *(["difference"] if len(scores) > 1 else []))}
    per_row = {who: _row_figures(task, labels, given) for who, given in scores.items()}
    for name in sorted(set(names.tolist())):
        rows = names == name
        if int(rows.sum()) < FEWEST:
            continue
        drawn_rows = counts @ np.bincount(places[rows], minlength=size)
        some = drawn_rows > 0
        means = {
            who: {
                metric: _root(metric, (counts @ np.bincount(places[rows], values[rows], minlength=size))[some] / drawn_rows[some])
                for metric, values in figures.items()
            }
            for who, figures in per_row.items()
        }
        for who, figures in means.items():
            found[who][str(name)] = {metric: list(interval_of(values)) for metric, values in figures.items()}
        if "difference" in found:
            both = {metric: values - means["champion"][metric] for metric, values in means["candidate"].items()}
            found["difference"][str(name)] = {metric: list(interval_of(values)) for metric, values in both.items()}
    return found


def _units(units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Numbers of units from 0 on."""
    known, places = np.unique(units, return_inverse=True)
    return places if len(known) > 1 else rng.permutation(len(units)) % min(len(units), GROUPS)


def _row_figures(task: Task, labels: np.ndarray, scores: np.ndarray) -> dict[str, Floats]:
    """What is to be averaged, of each row."""
    losses = per_row_loss(task, labels, scores)
    if task == "anomaly":
        return {"alarm_share": losses}
    if task == "regression":
        return {"mse": losses, "rmse": losses, "mae": np.sqrt(losses)}
    return {"accuracy": (predict(task, scores) == labels).astype(np.float64), "log_loss": losses}


def _root(metric: str, means: Floats) -> Any:
    return np.sqrt(means) if metric == "rmse" else means
