"""The learner `sklearn`: the estimator or Pipeline that a model's model.py gives, as far as skl2onnx converts it.

    def estimator(spec):
        return LogisticRegression(C=float(spec.training.hyperparameters.get("C", 1.0)))

What it is given as X follows from features.py. One tensor of numbers [rows, columns] is X itself, float32. Several tensors of one column
each are a DataFrame with these columns, words as objects with "" for null: a ColumnTransformer that names columns works as it is.
The estimator sees the training rows alone; its probabilities are calibrated on the validation rows. For the task `anomaly` it is one
that finds outliers, such as IsolationForest, and sees no labels: the score is its `decision_function` with the sign turned, since that is
lower where a row is less usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal
from unittest import mock

import numpy as np

from perennial import discovery
from perennial.encoding import Encoder
from perennial.errors import TrainingRefused
from perennial.specs import ModelSpec
from perennial.training.learners import History, Lesson, Tensors, forest

_OPSETS = {"": 18, "ai.onnx.ml": 3}


@dataclass(frozen=True)
class Fitted:
    """An estimator that was fitted."""

    spec: ModelSpec
    estimator: Any
    tensors: tuple[str, ...]  # in the order in which it was fitted: an encoder that was stored gives them in another
    framework: ClassVar[str] = "scikit-learn"
    calibrates: ClassVar[bool] = True
    epochs: ClassVar[int] = 0
    history: ClassVar[History] = []

    def weights(self) -> bytes:
        """None: an estimator is always fitted anew."""
        return b""

    def record(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @property
    def gives(self) -> Literal["logits", "probabilities", "values"]:
        """What the scores are: of an estimator without `predict_proba` what its `decision_function` gives, as logits."""
        if self.spec.task in ("regression", "anomaly"):
            return "values"
        return "probabilities" if hasattr(self.estimator, "predict_proba") else "logits"

    @property
    def advice(self) -> str:
        """What to do where ONNX gives something else."""
        return (
            f"take another estimator in {self.spec.name}/model.py (known to be converted wrongly: HistGradientBoosting with "
            "categorical_features, and trees behind what rounds, such as a scaler)"
        )

    def scores(self, inputs: Tensors) -> np.ndarray:
        """[rows, classes] or [rows, 1], float64."""
        given = _given(self.spec, {name: inputs[name] for name in self.tensors})
        if self.gives == "probabilities":
            return np.asarray(self.estimator.predict_proba(given), dtype=np.float64)
        raw = self.estimator.predict(given) if self.spec.task == "regression" else self.estimator.decision_function(given)
        scores = np.asarray(raw, dtype=np.float64).reshape(len(given), -1)
        if self.spec.task == "anomaly":
            return -scores
        return np.concatenate([-scores, scores], axis=1) if self.spec.task == "binary" else scores

    def write_onnx(self, file: Path, example: Tensors) -> None:
        """Convert it, and let `scores` be the only output. Raises TrainingRefused where it cannot be converted."""
        import onnx
        from onnx import helper
        from skl2onnx import convert_sklearn  # type: ignore[import-untyped]
        from sklearn.ensemble import IsolationForest

        options: dict[Any, Any] = {} if self.gives == "values" else {"zipmap": False}
        if self.gives == "logits":
            options = {id(self.estimator): {"raw_scores": True, "zipmap": False}}
        try:
            with _plain_attributes():
                model = convert_sklearn(
                    self.estimator,
                    "model",
                    _types({name: example[name] for name in self.tensors}),
                    target_opset=_OPSETS,
                    options=options,
                    custom_conversion_functions={IsolationForest: forest.convert},
                    custom_shape_calculators={IsolationForest: forest.shapes},
                )
        except Exception as error:  # what converters raise has no common class
            what = str(error).strip().splitlines()[0] if str(error).strip() else "no reason is given"
            raise TrainingRefused(
                f"The estimator of {self.spec.name} cannot be written as ONNX ({type(error).__name__}: {what}): to be exported, "
                f"{self.advice}, then train again."
            ) from error
        graph = model.graph
        result = graph.output[0 if self.spec.task == "regression" else 1].name
        graph.initializer.append(helper.make_tensor("scores_shape", onnx.TensorProto.INT64, [2], [-1, max(1, len(self.spec.classes))]))
        if result == "scores":  # as converters of what finds outliers call it: the name is needed below
            result = "scores_found"
            for node in graph.node:
                node.input[:] = [result if name == "scores" else name for name in node.input]
                node.output[:] = [result if name == "scores" else name for name in node.output]
        if self.spec.task == "anomaly":
            graph.node.append(helper.make_node("Neg", [result], ["scores_turned"]))
            result = "scores_turned"
        graph.node.append(helper.make_node("Cast", [result], ["scores_float"], to=onnx.TensorProto.FLOAT))
        graph.node.append(helper.make_node("Reshape", ["scores_float", "scores_shape"], ["scores"]))
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["rows", max(1, len(self.spec.classes))]))
        file.write_bytes(model.SerializeToString(deterministic=True))


def learn(lesson: Lesson) -> Fitted:
    """Fit the estimator to the training rows.

    Raises:
        TrainingRefused: features.py gives what is neither a matrix nor columns, or the estimator cannot be fitted.
    """
    return _fit(lesson.spec, lesson.training.inputs, lesson.training.labels)


def sketch(spec: ModelSpec, encoder: Encoder, inputs: Tensors) -> Fitted:
    """The estimator, fitted to labels that mean nothing."""
    rows = len(next(iter(inputs.values())))
    return _fit(spec, inputs, np.arange(rows, dtype=np.float64) % (len(spec.classes) or rows))


def _fit(spec: ModelSpec, inputs: Tensors, labels: np.ndarray) -> Fitted:
    from threadpoolctl import threadpool_limits

    given = _given(spec, inputs)
    known = None if spec.task == "anomaly" else labels if spec.task == "regression" else labels.astype(np.int64)
    try:
        estimator = discovery.model_part(spec.name, "model").estimator(spec)
        unsown = {
            name: spec.training.seed for name, value in estimator.get_params().items() if name.endswith("random_state") and value is None
        }
        with threadpool_limits(spec.compute.cpus):
            estimator = estimator.set_params(**unsown).fit(given, known)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # it is a model's, and may be anything
        raise TrainingRefused(
            f"{spec.name}'s estimator cannot be fitted ({type(error).__name__}: {error}): mend {spec.name}/model.py or its features.py."
        ) from error
    if spec.task == "anomaly" and not hasattr(estimator, "decision_function"):
        raise TrainingRefused(
            f"{spec.name}'s estimator has no decision_function, by which rows are scored: let estimator(spec) return one that finds "
            "outliers, such as IsolationForest."
        )
    if spec.classes and list(getattr(estimator, "classes_", [])) != list(range(len(spec.classes))):
        raise TrainingRefused(
            f"{spec.name}'s estimator has the classes {list(getattr(estimator, 'classes_', []))}, and the spec's are numbered 0 to "
            f"{len(spec.classes) - 1}: let estimator(spec) return a classifier of scikit-learn, which keeps the labels it is given."
        )
    return Fitted(spec, estimator, tuple(inputs))


def _given(spec: ModelSpec, inputs: Tensors) -> Any:
    """X: the one matrix, or a DataFrame of columns."""
    (first, *others) = inputs.values()
    if not others and first.ndim == 2 and first.dtype.kind == "f":
        return first
    wrong = next((name for name, values in inputs.items() if values.ndim != 2 or values.shape[1] != 1), None)
    if wrong is not None:
        raise TrainingRefused(
            f"{spec.name}'s tensor {wrong} has the shape {list(inputs[wrong].shape)}, and an estimator takes one matrix of numbers or "
            "columns of their own: let features.py give one tensor of numbers, or a tensor of one column (Raw, say) for each column."
        )
    import pandas as pd

    return pd.DataFrame({name: values[:, 0] for name, values in inputs.items()})


def _types(example: Tensors) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType  # type: ignore[import-untyped]

    kinds = {"f": FloatTensorType, "i": Int64TensorType, "O": StringTensorType}
    return [(name, kinds[values.dtype.kind]([None, *values.shape[1:]])) for name, values in example.items()]


@contextmanager
def _plain_attributes() -> Iterator[None]:
    """skl2onnx 1.20 gives arrays and truth values of NumPy as attributes of some trees, which onnx 1.21 and newer refuse."""
    import onnx.helper
    import skl2onnx.common._container as container  # type: ignore[import-untyped]

    make = onnx.helper.make_attribute

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, (list, tuple)):
            return [int(v) if isinstance(v, bool | np.bool_) else v.item() if isinstance(v, np.generic) else v for v in value]
        return value

    def make_attribute(key: str, value: Any, *more: Any, **named: Any) -> Any:
        return make(key, plain(value), *more, **named)

    with mock.patch.object(onnx.helper, "make_attribute", make_attribute), mock.patch.object(container, "make_attribute", make_attribute):
        yield
