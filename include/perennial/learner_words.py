"""What sentences call a learner, and what it counts. Light.

>>> learnt("boosted", 80, 1500)
'trained 80 rounds on 1,500 rows'
>>> learnt("onnx", 0, 1500)
'was made elsewhere, checked and calibrated'
"""

from __future__ import annotations

from perennial.specs import Learner

NAMES: dict[str, str] = {
    "lightning": "a network (PyTorch Lightning)",
    "boosted": "boosted trees (LightGBM)",
    "sklearn": "an estimator of scikit-learn",
    "onnx": "a file of ONNX made elsewhere",
}
_PASSES = {"lightning": "epoch", "boosted": "round"}  # what a training makes many of; the others make none


def name_of(learner: str) -> str:
    """What made a model, such as `boosted trees (LightGBM)`; of a learner that is not known any more its own name."""
    return NAMES.get(learner, learner)


def counts(learner: str) -> str:
    """What its trainings count, `epoch` or `round`; empty where there is nothing to count."""
    return _PASSES.get(learner, "")


def learnt(learner: Learner, passes: int, rows: int) -> str:
    """What a training did.

    Args:
        learner: of the model.
        passes: epochs or rounds in all.
        rows: of the training split.
    """
    if counted := counts(learner):
        return f"trained {passes} {counted}{'' if passes == 1 else 's'} on {rows:,} rows"
    return "was made elsewhere, checked and calibrated" if learner == "onnx" else f"was fitted to {rows:,} rows"
