"""How much each training row counts in the loss: by its class, by a column of the dataset, or both. For every learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perennial.errors import TrainingRefused
from perennial.specs import ModelSpec

if TYPE_CHECKING:
    import pandas


def row_weights(spec: ModelSpec, frame: pandas.DataFrame | None, labels: np.ndarray) -> np.ndarray | None:
    """How much each training row counts in the loss, float64 [rows], 1 on average; None where the spec weighs neither classes nor rows.

    Args:
        spec: its `training.class_weights` and `training.sample_weight`.
        frame: the training rows, with the column that `sample_weight` names; None if it names none.
        labels: of the same rows.

    Raises:
        TrainingRefused: a row has no weight, or one that is below zero, or all of them are zero.
    """
    wanted, column = spec.training.class_weights, spec.training.sample_weight
    if wanted is None and not column:
        return None
    weights = np.ones(len(labels))
    if column:
        assert frame is not None, "it has the column"
        weights = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
        if wrong := int((~(np.isfinite(weights) & (weights >= 0))).sum()):
            raise TrainingRefused(
                f"{spec.name} cannot weigh its rows by {column}: it is missing, below zero or infinite in {wrong:,} of {len(weights):,} "
                "training rows. Ingest rows that have it, or change training.sample_weight."
            )
    if wanted is not None:
        places = labels.astype(np.int64)
        counts = np.bincount(places, minlength=len(spec.classes))
        by_class = 1 / counts if wanted == "balanced" else np.array([wanted[name] for name in spec.classes])
        weights = weights * by_class[places]
    if not (total := weights.sum()) > 0:
        raise TrainingRefused(f"{spec.name} cannot weigh its rows by {column}: it is zero in all of them. Change training.sample_weight.")
    scaled: np.ndarray = weights * (len(weights) / total)
    return scaled
