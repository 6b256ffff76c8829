"""What is shown and what is watched of a model's scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.scores import score_shares, watched_scores
from perennial.specs import GateSpec, ModelSpec

COMMON = {
    "name": "m",
    "title": "M",
    "owner": "tests",
    "dataset": "flights",
    "label": "late",
    "inputs": ("carrier",),
    "gate": GateSpec(floors={}),
}
BINARY = ModelSpec(task="binary", classes=("on_time", "late"), **COMMON)


def rows(*scores):
    """Rows with scores."""
    return pa.table({"scores": pa.array([list(s) for s in scores], pa.list_(pa.float64()))})


def test_scores_are_shown_by_kind_of_model():
    """MN-02: Positive scores in tenths, the likeliest class, or ranges of values; shares add up to one."""
    binary = score_shares(BINARY, rows((0.95, 0.05), (0.15, 0.85)))
    assert [b.share for b in binary] == [0.5, 0, 0, 0, 0, 0, 0, 0, 0.5, 0]
    colours = score_shares(
        ModelSpec(task="multiclass", classes=("red", "green", "blue"), **COMMON), rows((0.1, 0.2, 0.7), (0.5, 0.3, 0.2), (0, 0.1, 0.9))
    )
    assert [(b.label, b.share) for b in colours] == [
        ("red", pytest.approx(1 / 3, abs=1e-5)),
        ("green", 0.0),
        ("blue", pytest.approx(2 / 3, abs=1e-5)),
    ]
    minutes = score_shares(
        ModelSpec(task="regression", **COMMON | {"gate": GateSpec(metric="rmse", floors={})}), rows((10.0,), (20.0,), (20.0,))
    )
    assert (minutes[0].share, minutes[-1].share) == (pytest.approx(1 / 3, abs=1e-5), pytest.approx(2 / 3, abs=1e-5))
    assert score_shares(BINARY, rows()) == ()


def test_what_is_watched_of_predictions():
    """MN-02: The positive score; the likeliest class and how sure it is; the value."""
    scores = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    watched = watched_scores(ModelSpec(task="multiclass", classes=("red", "green", "blue"), **COMMON), scores)
    assert watched["predicted class"].to_pylist() == ["green", "red"]
    assert watched["score of the likeliest class"].tolist() == [0.7, 0.6]
    assert watched_scores(BINARY, scores[:, :2])["score of late"].tolist() == [0.7, 0.3]
    regression = ModelSpec(task="regression", **COMMON | {"gate": GateSpec(metric="rmse", floors={})})
    assert watched_scores(regression, np.array([[3.0]]))["predicted value"].tolist() == [3.0]
