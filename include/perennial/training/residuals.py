"""How a regression errs: its errors by size, by what it predicted and by day. Pure functions of labels and scores.

A residual is the label minus the prediction: above 0 where the model said too little.

    >>> import numpy as np
    >>> labels = np.arange(100.0)
    >>> found = residuals(labels, (labels - 1)[:, None], np.zeros(100), resamples=20)
    >>> found["bias"]
    [1.0, 1.0, 1.0]
    >>> [rows["residual"] for rows in found["tenths"][:2]]
    [1.0, 1.0]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from perennial.training.evaluation import interval_of, redrawn

QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # of the absolute error
MIDDLE = (0.1, 0.9)  # eight of ten residuals lie between these quantiles
TENTHS = 10
CELLS = 24  # of the picture of actual against predicted values, on each side
SHOWN = (0.005, 0.995)  # quantiles of all values that the picture spans; what lies beyond counts in its outermost cells
MOST_SPANS = 60  # of days


def residuals(
    labels: np.ndarray, scores: np.ndarray, units: np.ndarray, days: np.ndarray | None = None, *, seed: int = 0, resamples: int = 200
) -> dict[str, Any]:
    """What a page shows of a regression's errors, as JSON can carry it.

    Args:
        labels: float [rows].
        scores: float [rows, 1]; all of them numbers.
        units: int [rows]; equal numbers are drawn together for an interval.
        days: datetime64[D] [rows]; absent where time decides nothing.
        seed: of the resamples.
        resamples: how many.

    Returns:
        `quantiles` of the absolute error, each [share, error, low, high]; `bias`, the mean residual [value, low, high]; `tenths` of the
        rows by their prediction; `grid`, rows by actual and predicted value; `days`, spans of days with their residuals.
    """
    predicted = scores[:, 0].astype(np.float64)
    apart = labels - predicted
    absolute = np.abs(apart)
    drawn = np.array(
        [
            [*np.quantile(absolute[rows], QUANTILES), apart[rows].mean()]
            for rows in redrawn(units, len(labels), seed=seed, resamples=resamples)
        ]
    )
    spans = [interval_of(column) for column in drawn.T]
    return {
        "quantiles": [
            [share, float(error), *span] for share, error, span in zip(QUANTILES, np.quantile(absolute, QUANTILES), spans, strict=False)
        ],
        "bias": [float(apart.mean()), *spans[-1]],
        "tenths": _tenths(labels, predicted),
        "grid": grid(labels, predicted),
        "days": [] if days is None else _by_day(apart, days),
    }


def grid(labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Rows in square cells: `counts[i][j]` have an actual value of cell i and a prediction of cell j, both from `low` to `high`."""
    low, high = (float(end) for end in np.quantile(np.concatenate([labels, predicted]), SHOWN))
    width = (high - low) / CELLS or 1.0
    actual, told = (np.clip((values - low) // width, 0, CELLS - 1).astype(np.int64) for values in (labels, predicted))
    counts = np.bincount(actual * CELLS + told, minlength=CELLS * CELLS).reshape(CELLS, CELLS)
    return {"low": low, "high": low + CELLS * width, "counts": counts.tolist()}


def _tenths(labels: np.ndarray, predicted: np.ndarray) -> list[dict[str, float]]:
    """Tenths of the rows by their prediction, the lowest first; fewer where many predictions are equal."""
    edges = np.quantile(predicted, np.linspace(0, 1, TENTHS + 1))[1:-1]
    places = np.searchsorted(edges, predicted, side="right")
    return [
        {"predicted": float(predicted[rows].mean()), "actual": float(labels[rows].mean()), **_residual(labels[rows] - predicted[rows])}
        for place in range(len(edges) + 1)
        if len(rows := np.flatnonzero(places == place))
    ]


def _by_day(apart: np.ndarray, days: np.ndarray) -> list[dict[str, Any]]:
    """Residuals of each day; of several days in a row where there are many."""
    first, last = days.min(), days.max()
    each = -(-(int((last - first).astype(int)) + 1) // MOST_SPANS)
    places = (days - first).astype(np.int64) // each
    return [
        {
            "first": str(first + int(place) * each),
            "last": str(min(last, first + int(place) * each + each - 1)),
            **_residual(apart[places == place]),
        }
        for place in np.unique(places)
    ]


def _residual(apart: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(apart, MIDDLE)
    return {"rows": len(apart), "residual": float(apart.mean()), "low": float(low), "high": float(high)}
