"""The scores of an anomaly model and its alarms, as an evaluation keeps them: how scores are spread, and alarms by day.

>>> facts = alarm_facts(np.array([[0.1, 0.0], [0.9, 1.0]]), np.array([np.nan, 1.0]), np.array(["2024-01-01"] * 2, "datetime64[D]"))
>>> facts["days"]
[['2024-01-01', 2, 1]]
"""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 40  # of the scores
TAIL = 0.001  # of the scores at either end, which fall into the outermost bins: one absurd row must not squeeze all others into one


def alarm_facts(scores: np.ndarray, labels: np.ndarray, days: np.ndarray) -> dict[str, Any]:
    """`bins` (lower end, upper end, rows, rows known to be anomalies) of the scores; `days` (day, rows, alarms).

    Args:
        scores: score and alarm, [rows, 2].
        labels: [rows], 1, 0 or NaN.
        days: [rows], datetime64[D].
    """
    values = scores[:, 0]
    low, high = (float(end) for end in np.quantile(values, [TAIL, 1 - TAIL]))
    edges = np.linspace(low, max(high, low + 1e-9 * max(1.0, abs(low))), BINS + 1)
    within = np.clip(values, edges[0], edges[-1])
    counts, unusual = (np.histogram(within[chosen], edges)[0] for chosen in (slice(None), labels == 1))
    names, place = np.unique(days, return_inverse=True)
    rows, alarms = np.bincount(place), np.bincount(place, weights=scores[:, 1])
    return {
        "bins": [[float(edges[i]), float(edges[i + 1]), int(counts[i]), int(unusual[i])] for i in range(BINS)],
        "days": [[str(day), int(of), int(count)] for day, of, count in zip(names, rows, alarms, strict=True)],
    }
