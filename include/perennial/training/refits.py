"""How much of an anomaly model's scores is chance: it is trained again on rows drawn again, and the scores of the validation rows are
compared.

    >>> scores = np.array([0.1, 0.2, 0.3, 0.9, 0.8])
    >>> agreement(scores, scores[::-1].copy(), budget=0.4)
    {'rank_agreement': -0.8, 'alarm_agreement': 0.0}
    >>> agreement(scores, 10 * scores, budget=0.4)
    {'rank_agreement': 1.0, 'alarm_agreement': 1.0}
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from perennial.alarms import threshold_of
from perennial.training.checkpoints import Checkpoints
from perennial.training.encoded import taken
from perennial.training.evaluation import redrawn
from perennial.training.export import all_scores
from perennial.training.learners import Encoded, Learned, Lesson, learner_of


def stability(lesson: Lesson, learned: Learned, units: np.ndarray, begun: float) -> dict[str, float]:
    """Means of `agreement` over the refits that the spec asks for, and their number; empty where nothing is learned.

    Args:
        lesson: what the model was given.
        learned: what was made of it.
        units: [training rows]; rows of equal numbers are drawn together. With one number for all, rows are drawn.
        begun: when the training began (`time.monotonic`), so that its budget ends the refits, too.

    Raises:
        TrainingRefused: a refit cannot be made, or the budget is used up.
    """
    spec = lesson.spec
    if spec.anomaly is None or spec.learner == "onnx":
        return {}
    ours, found = all_scores(learned, lesson.validation.inputs)[:, 0], []

    def spent(_: float, done: int, most: int) -> None:
        if lesson.spent:
            lesson.spent(time.monotonic() - begun, done, most)

    drawn = redrawn(units, len(lesson.training), seed=spec.training.seed, resamples=spec.anomaly.refits)
    for number, rows in enumerate(drawn, start=1):
        seed = spec.training.model_copy(update={"seed": spec.training.seed + number})
        with tempfile.TemporaryDirectory(prefix="perennial-refit-") as scratch:
            again = learner_of(spec).learn(
                replace(
                    lesson,
                    spec=spec.model_copy(update={"training": seed}),
                    training=rows_of(lesson.training, rows),
                    checkpoints=Checkpoints(Path(scratch)),
                    told=None,
                    begins_with=b"",
                    spent=spent,
                    timed=None,
                )
            )
        assert again is not None, "an anomaly model is trained in one process"
        found.append(agreement(ours, all_scores(again, lesson.validation.inputs)[:, 0], spec.anomaly.budget))
    return {"refits": len(found)} | {name: round(float(np.mean([one[name] for one in found])), 6) for name in found[0]}


def rows_of(encoded: Encoded, places: np.ndarray) -> Encoded:
    """Some of the rows, as often as they are named."""
    weights = None if encoded.weights is None else encoded.weights[places]
    inputs = {name: taken(values, places, encoded.room) for name, values in encoded.inputs.items()}
    return Encoded(inputs, encoded.labels[places], weights, encoded.room)


def agreement(scores: np.ndarray, others: np.ndarray, budget: float) -> dict[str, float]:
    """How alike two models see the same rows: Spearman's rank correlation of the scores, and the share of the first one's alarms that the
    second one raises too, each with the threshold of the budget. 0 where one of them tells no rows apart.

    Args:
        scores: of the one, [rows].
        others: of the other, [rows].
        budget: share of the rows that may raise an alarm.
    """
    import pandas

    ranks = [pandas.Series(values).rank().to_numpy() for values in (scores, others)]
    flat = any(float(np.ptp(values)) == 0.0 for values in ranks)
    rank = 0.0 if flat else float(np.corrcoef(*ranks)[0, 1])
    thresholds = [threshold_of(values, budget) for values in (scores, others)]
    if thresholds[0] is None or thresholds[1] is None:
        return {"rank_agreement": round(rank, 12), "alarm_agreement": 0.0}
    alarms, again = scores > thresholds[0], others > thresholds[1]
    return {"rank_agreement": round(rank, 12), "alarm_agreement": float((alarms & again).sum() / alarms.sum())}
