"""An isolation forest in ONNX scores as scikit-learn does, and few nodes hold all of its trees."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.ensemble import IsolationForest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from perennial.training.learners import forest

ROWS = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
GAPS = np.where(np.random.default_rng(1).random(ROWS.shape) < 0.1, np.float32(np.nan), ROWS)


@pytest.mark.parametrize(
    ("estimator", "rows"),
    [
        (IsolationForest(n_estimators=60), ROWS),
        (IsolationForest(n_estimators=20), GAPS),
        (IsolationForest(n_estimators=20, max_features=0.5, max_samples=30, bootstrap=True, contamination=0.1), ROWS),
        (IsolationForest(n_estimators=20), np.round(3 * ROWS).astype(np.int64)),
        (make_pipeline(StandardScaler(), IsolationForest(n_estimators=20)), ROWS),
    ],
    ids=["plain", "nulls", "parts of rows and columns", "whole numbers", "pipeline"],
)
def test_it_scores_as_scikit_learn_does(estimator: IsolationForest, rows: np.ndarray) -> None:
    """MO-01, SE-01: The same score to six digits and the same verdict, also of nulls and of whole numbers; a dozen nodes, whatever
    trees there are."""
    estimator.set_params(**{name: 0 for name in estimator.get_params() if name.endswith("random_state")}).fit(rows)
    kind = Int64TensorType if rows.dtype == np.int64 else FloatTensorType
    model = convert_sklearn(
        estimator,
        initial_types=[("rows", kind([None, rows.shape[1]]))],
        target_opset={"": 18, "ai.onnx.ml": 3},
        custom_conversion_functions={IsolationForest: forest.convert},
        custom_shape_calculators={IsolationForest: forest.shapes},
    )
    assert len(model.graph.node) < 12
    verdicts, scores = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"rows": rows})
    np.testing.assert_allclose(scores[:, 0], estimator.decision_function(rows), atol=1e-6)
    np.testing.assert_array_equal(verdicts[:, 0], estimator.predict(rows))
