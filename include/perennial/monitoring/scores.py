"""The distribution of a model's scores: as bars in a report, and as columns that are tested for drift.

>>> from perennial import discovery
>>> watched_scores(discovery.model("flight_delays"), np.array([[0.9, 0.1], [0.2, 0.8]]))
{'score of late': array([0.1, 0.8])}
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from perennial.monitoring.performance import logged_scores
from perennial.monitoring.report.numbers import ScoreShare
from perennial.specs import ModelSpec

BARS = 10  # of the score of one class, or of a regression's or an anomaly model's values


def score_shares(spec: ModelSpec, rows: pa.Table) -> tuple[ScoreShare, ...]:
    """The distribution of scores as bars: ten bins of the positive score, the share of each likeliest class, or ten bins of the values.

    Args:
        spec: of the model.
        rows: predictions; only `scores` is read.
    """
    if not rows.num_rows:
        return ()
    scores = logged_scores(rows)
    if spec.task == "multiclass":
        shares = np.bincount(scores.argmax(axis=1), minlength=len(spec.classes)) / len(scores)
        of = "share of predictions by the likeliest class"
        return tuple(_bar(name, share, of) for name, share in zip(spec.classes, shares, strict=True))
    column = scores[:, 0 if spec.task == "anomaly" else -1]
    least, most = (0.0, 1.0) if spec.task == "binary" else (column.min(), max(column.max(), column.min() + 1e-9))
    edges = np.linspace(least, most, BARS + 1)
    shares = np.histogram(column, edges)[0] / len(column)
    of = "share of predictions by predicted value"
    if spec.task == "binary":
        of = f"share of predictions by the score of {spec.classes[-1]}"
    elif spec.task == "anomaly":
        of = f"share of predictions by score; {scores[:, 1].mean():.2%} raised an alarm"
    return tuple(_bar(f"{edges[i]:.3g} to {edges[i + 1]:.3g}", shares[i], of) for i in range(BARS))


def watched_scores(spec: ModelSpec, scores: NDArray[np.float64]) -> dict[str, Any]:
    """Columns in which drift of predictions is looked for: score of the positive class, likeliest class and its score, the value, or how
    unusual.

    Args:
        spec: of the model.
        scores: [rows, classes], [rows, 1] of a regression, or score and alarm, [rows, 2].
    """
    if spec.task == "anomaly":
        return {"anomaly score": scores[:, 0]}
    if spec.task == "binary":
        return {f"score of {spec.classes[-1]}": scores[:, 1]}
    if spec.task == "multiclass":
        return {
            "predicted class": pa.array(np.array(spec.classes, dtype=object)[scores.argmax(axis=1)].tolist(), pa.string()),
            "score of the likeliest class": scores.max(axis=1),
        }
    return {"predicted value": scores[:, 0]}


def _bar(label: str, share: float, of: str) -> ScoreShare:
    return ScoreShare(label=label, share=round(float(share), 6), of=of)
