"""What a model without labels answers: a score, higher where a row is less usual, and whether that is an alarm.

Light: servers import this, and what reads logs.

>>> import numpy as np
>>> threshold = threshold_of(np.arange(100.0), budget=0.05)
>>> threshold, with_alarms(np.array([[94.0], [95.0]]), threshold)[:, 1].tolist()
(94.0, [0.0, 1.0])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ABOVE = "alarm_above"  # in `signature.json`: the score above which a row is an alarm


def threshold_of(scores: np.ndarray, budget: float) -> float | None:
    """The lowest score that a share of at most `budget` of the rows lies above; None where no row lies above it.

    Args:
        scores: [rows].
        budget: share of the rows that may raise an alarm.
    """
    import numpy as np

    most = int(budget * len(scores))
    if not 0 < most < len(scores):
        return None
    threshold = float(np.sort(scores)[len(scores) - 1 - most])
    return threshold if bool((scores > threshold).any()) else None


def with_alarms(scores: np.ndarray, above: float) -> np.ndarray:
    """Score and alarm (1 or 0) of each row, float64 [rows, 2], of scores [rows, 1]."""
    import numpy as np

    scores = scores.astype(np.float64)
    return np.concatenate([scores, (scores > above).astype(np.float64)], axis=1)
