"""Labels that are probably wrong, by confident learning: the model, which has not seen them, is sure of something else.

A row counts as confidently of class j if its score of j is at least the mean score of j among the rows that are labelled j; of several such
classes, of the one with the highest score. A label that is another class than that is doubtful. Because each class has its own bar,
classes that are rare or that the model scores low in general do not count as wrong for that. Northcutt, Jiang and Chuang, "Confident
Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial Intelligence Research 70 (2021).

    >>> import numpy as np
    >>> from perennial.labelling.doubtful import find_doubtful
    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]])
    >>> doubt = find_doubtful(np.array([0, 0, 1, 1, 0]), scores)
    >>> doubt.places, doubt.classes
    ((4,), (1,))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Doubt:
    """Doubtful labels among those of some rows.

    Attributes:
        rows: that were looked at.
        places: of the doubtful ones, the most doubtful first.
        classes: which each of these rows confidently is.
        joint: rows by the class they are labelled with and the one that they confidently are.
        wrong: estimated share of wrong labels of all rows.
    """

    rows: int
    places: tuple[int, ...]
    classes: tuple[int, ...]
    joint: tuple[tuple[int, ...], ...]
    wrong: float


def find_doubtful(given: NDArray[Any], scores: NDArray[np.float64]) -> Doubt:
    """The labels that are probably wrong.

    Args:
        given: class number of each row's label.
        scores: of a model that was not trained on these rows, [rows, classes].
    """
    classes = scores.shape[1]
    given = given.astype(np.int64)
    bars = np.array([scores[given == place, place].mean() if (given == place).any() else np.inf for place in range(classes)])
    above = np.where(scores >= bars, scores, -1.0)
    confident, is_confident = above.argmax(axis=1), above.max(axis=1) >= 0
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (given[is_confident], confident[is_confident]), 1)
    doubtful = np.flatnonzero(is_confident & (confident != given))
    margins = scores[doubtful, confident[doubtful]] - scores[doubtful, given[doubtful]]
    order = doubtful[np.lexsort((doubtful, -margins))]
    return Doubt(
        len(given), tuple(order.tolist()), tuple(confident[order].tolist()), tuple(map(tuple, joint.tolist())), _wrong(joint, given)
    )


def _wrong(joint: NDArray[np.int64], given: NDArray[np.int64]) -> float:
    """Share of wrong labels: off the diagonal, once each row of the joint counts as many rows as have its label."""
    counts, sums = np.bincount(given, minlength=len(joint)), joint.sum(axis=1)
    shares = np.divide(joint, sums[:, None], where=sums[:, None] > 0, out=np.eye(len(joint)))
    return float(1 - (np.diag(shares) * counts).sum() / max(len(given), 1))
