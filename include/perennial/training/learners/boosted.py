"""The learner `boosted`: LightGBM's trees on a model's encoded columns, with early stopping on the validation rows.

Tensors of float32 are numbers as they are, and those of whole numbers (`Category`, say) are categories. `training.max_epochs` is the most
rounds, `training.patience` the rounds without a better validation loss after which no more are added, and `training.hyperparameters` go to
LightGBM by its own names. There is no model.py. A training that is killed begins anew: it takes seconds, and gives the same.
"""

from __future__ import annotations

import difflib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from perennial.encoding import Encoder
from perennial.engine.room import Room
from perennial.errors import Fault, TrainingRefused
from perennial.specs import ModelSpec
from perennial.training.encoded import PIECE_ROWS, is_mapped, mapped_rows
from perennial.training.learners import History, Lesson, Tensors
from perennial.training.learners.trees import write_graph

if TYPE_CHECKING:
    import lightgbm

log = logging.getLogger("perennial.training")

KEPT = 200  # rounds of a history: of more, each n-th
LOGGED_EVERY = 5.0  # s
_EXPONENTS = ("poisson", "gamma", "tweedie")  # objectives whose trees sum up to a logarithm
_OBJECTIVES = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", *_EXPONENTS)
# Names of LightGBM that something else says, or that ONNX cannot: why.
_NOT_HERE = {
    "num_iterations": "the most rounds are training.max_epochs",
    "early_stopping_round": "the rounds without a better validation loss are training.patience",
    "seed": "the seed is training.seed",
    "num_threads": "the threads are compute.cpus",
    "num_class": "the classes are those of the spec",
    "linear_tree": "a leaf of a linear tree is no number, and ONNX has no such trees",
    "zero_as_missing": "ONNX has no trees to which zero is null",
    "categorical_feature": "categories are the tensors of whole numbers",
    "device_type": "trees are made on CPUs",
}


@dataclass(frozen=True)
class Trees:
    """Trees of LightGBM, and how they came about."""

    spec: ModelSpec
    booster: lightgbm.Booster
    epochs: int = 0
    history: History = ()  # type: ignore[assignment]  # none of a sketch
    framework: ClassVar[str] = "LightGBM"
    calibrates: ClassVar[bool] = True
    advice: ClassVar[str] = "take other hyperparameters, or report the difference: conversion is Perennial's own"

    def weights(self) -> bytes:
        """None: trees always begin anew."""
        return b""

    def record(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    @property
    def gives(self) -> Literal["logits", "values"]:
        """What the scores are."""
        return "values" if self.spec.task == "regression" else "logits"

    def scores(self, inputs: Tensors) -> np.ndarray:
        """Logits [rows, classes], of two classes the first one's all zero; or values [rows, 1]. float64."""
        raw = np.asarray(self.booster.predict(matrix(self.spec, inputs), raw_score=not self._exponent, num_threads=self.spec.compute.cpus))
        if self.spec.task == "binary":
            return np.stack([np.zeros(len(raw)), raw], axis=1)
        return raw.reshape(len(raw), -1)

    def write_onnx(self, file: Path, example: Tensors) -> None:
        """Write trees of float32, which have the same thresholds for all numbers that float32 has."""
        write_graph(file, self.booster.dump_model(), _ordered(example), max(1, len(self.spec.classes)), exponent=self._exponent)

    @property
    def _exponent(self) -> bool:
        return self.spec.training.hyperparameters.get("objective") in _EXPONENTS


def learn(lesson: Lesson) -> Trees:
    """Add trees until the validation loss no longer improves, and keep those up to the best round.

    Raises:
        TrainingRefused: LightGBM does not have or take a hyperparameter, a tensor holds no numbers, or the loss is no number.
        Fault: this machine lacks the library that LightGBM's threads need.
    """
    spec, engine = lesson.spec, _engine()
    limit = lesson.max_epochs or spec.training.max_epochs
    options = parameters(spec)
    since = begun = logged = time.monotonic()
    history: History = []

    def tell(state: Any) -> None:
        nonlocal begun, logged
        now = time.monotonic()
        losses = {f"{part}_loss": float(value) for part, _, value, *_ in reversed(state.evaluation_result_list)}
        history.append({"epoch": state.iteration + 1, "train_loss": losses["train_loss"], "validation_loss": losses["validation_loss"]})
        if not all(map(math.isfinite, losses.values())):
            raise TrainingRefused(
                f"The loss of round {state.iteration + 1} is no number: lower hyperparameters.learning_rate, or look for extreme values "
                "in the label."
            )
        if now - logged > LOGGED_EVERY:
            logged = now
            log.info("Round %d of at most %d: validation loss %.5f.", state.iteration + 1, limit, losses["validation_loss"])
        if lesson.told:
            lesson.told(state.iteration + 1, limit, now - begun, losses["validation_loss"])
        if lesson.spent:
            lesson.spent(now - since, state.iteration + 1, limit)
        begun = now

    inputs = lesson.training.inputs
    train = engine.Dataset(
        matrix(spec, inputs, lesson.training.room),
        lesson.training.labels,
        weight=lesson.training.weights,
        categorical_feature=_categories(inputs),
        params=options,
    )
    validation = train.create_valid(matrix(spec, lesson.validation.inputs), label=lesson.validation.labels, params=options)
    stop = engine.early_stopping(spec.training.patience, first_metric_only=True, verbose=False)
    try:
        booster = engine.train(
            options, train, limit, valid_sets=[train, validation], valid_names=["train", "validation"], callbacks=[tell, stop]
        )
    except engine.basic.LightGBMError as error:
        raise TrainingRefused(
            f"LightGBM refuses the settings or the rows of {spec.name}: {error}. Mend training.hyperparameters."
        ) from error
    rounds = len(history)
    log.info(
        "%d rounds; the best is %d, validation loss %.5f.",
        rounds,
        booster.best_iteration,
        history[booster.best_iteration - 1]["validation_loss"],
    )
    step = -(-rounds // KEPT)
    kept = [each for each in history if each["epoch"] % step == 0 or each["epoch"] in (1, booster.best_iteration, rounds)]
    return Trees(spec, booster, rounds, kept)


def sketch(spec: ModelSpec, encoder: Encoder, inputs: Tensors) -> Trees:
    """Three rounds on labels that mean nothing."""
    engine, rows = _engine(), len(next(iter(inputs.values())))
    options = parameters(spec) | {"min_data_in_leaf": 1, "min_data_in_bin": 1}
    labels = np.arange(rows, dtype=np.float64) % (len(spec.classes) or rows)
    data = engine.Dataset(matrix(spec, inputs), labels, categorical_feature=_categories(inputs), params=options)
    return Trees(spec, engine.train(options, data, 3))


def parameters(spec: ModelSpec) -> dict[str, Any]:
    """LightGBM's parameters. Raises TrainingRefused where a hyperparameter is none of LightGBM's, or is said elsewhere."""
    aliases: Mapping[str, list[str]] = _engine().basic._ConfigAliases._get_all_param_aliases()
    meant = {alias: name for name, others in aliases.items() for alias in (name, *others)}
    given = {}
    for name, value in spec.training.hyperparameters.items():
        if name not in meant:
            near = next(iter(difflib.get_close_matches(name, meant, 1)), "")
            hint = f"did you mean {near}?" if near else "its documentation lists them under Parameters."
            raise TrainingRefused(f"{spec.name}'s hyperparameter {name} is none of LightGBM's: {hint}")
        if why := _NOT_HERE.get(meant[name]):
            raise TrainingRefused(f"{spec.name}'s hyperparameter {name} cannot be set: {why}. Leave it out.")
        if meant[name] == "objective" and (spec.task != "regression" or value not in _OBJECTIVES):
            raise TrainingRefused(
                f"{spec.name}'s hyperparameter {name} is {value}: of a regression it can be {', '.join(_OBJECTIVES)}; of classes it "
                "follows from the task. Leave it out, or take one of these."
            )
        given[meant[name]] = value
    objective = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}[spec.task]
    return {
        "objective": objective,
        **({"num_class": len(spec.classes)} if spec.task == "multiclass" else {}),
        "deterministic": True,
        "force_row_wise": True,  # which of two ways is quicker is measured otherwise, and they differ by rounding
        "verbosity": -1,
        **given,
        "seed": spec.training.seed,
        "num_threads": spec.compute.cpus,
    }


def matrix(spec: ModelSpec, inputs: Tensors, room: Room | None = None) -> np.ndarray:
    """All tensors side by side, float32 [rows, columns]; in a file if one of them is in a file. Raises TrainingRefused where one holds no
    numbers."""
    for name, values in _ordered(inputs).items():
        if values.dtype.kind not in "fiub":
            raise TrainingRefused(f"{spec.name}'s tensor {name} holds no numbers, and trees take numbers: encode it by Category or Number.")
    if room and any(is_mapped(values) for values in inputs.values()):
        rows = len(next(iter(inputs.values())))
        pieces = ({name: values[begin : begin + PIECE_ROWS] for name, values in inputs.items()} for begin in range(0, rows, PIECE_ROWS))
        return mapped_rows((_side_by_side(piece) for piece in pieces), room)
    return _side_by_side(inputs)


def _side_by_side(inputs: Tensors) -> np.ndarray:
    return np.concatenate([values.reshape(len(values), -1).astype(np.float32) for values in _ordered(inputs).values()], axis=1)


def _ordered(inputs: Tensors) -> Tensors:
    """By name: an encoder that was stored gives its tensors in another order than the one that was fitted."""
    return dict(sorted(inputs.items()))


def _categories(inputs: Tensors) -> list[int]:
    """The columns of the matrix that hold codes."""
    kinds = [values.dtype.kind in "iu" for values in _ordered(inputs).values() for _ in range(int(np.prod(values.shape[1:], dtype=int)))]
    return [place for place, codes in enumerate(kinds) if codes]


def _engine() -> Any:
    try:
        import lightgbm
    except OSError as error:  # its shared library loads another one
        raise Fault(
            f"LightGBM cannot be loaded on this machine ({error}): install that library (Debian: apt-get install libgomp1)."
        ) from error
    return lightgbm
