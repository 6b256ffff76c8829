"""The learner `lightning`: the class `Model` of a model's own model.py, trained with Lightning. The only learner that knows torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from perennial import discovery
from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.batches import Rows, rows_of
from perennial.training.learners import Encoded, History, Lesson, Tensors
from perennial.training.module import TaskModule
from perennial.training.trainer import train
from perennial.training.warm_start import weights_of

_OPSET = 18


class Network:
    """A network with its weights, and how they came about."""

    framework = "torch"
    calibrates = True

    def __init__(self, module: TaskModule, epochs: int = 0, history: History | None = None, accumulate: int = 0) -> None:
        self.module, self.epochs, self.history = module.eval(), epochs, history or []
        self.gives: Literal["logits", "values"] = "logits" if module.spec.classes else "values"
        self.accumulate = accumulate
        self.advice = f"use layers in {module.spec.name}/model.py that ONNX computes alike"

    def weights(self) -> bytes:
        """The weights, for a training that begins with them."""
        return weights_of(self.module)

    def record(self) -> dict[str, Any]:
        """In how many parts a step was taken, where memory was too short for what the spec says."""
        return {"accumulate": self.accumulate} if self.accumulate not in (0, self.module.spec.training.accumulate) else {}

    def scores(self, inputs: Tensors) -> np.ndarray:
        """Logits [rows, classes], or values [rows, 1], float32."""
        with torch.inference_mode():
            scores: np.ndarray = self.module(**_tensors(inputs)).numpy()
        return scores

    def write_onnx(self, file: Path, example: Tensors) -> None:
        """Trace the network on the example."""
        names = list(example)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The tracing exporter: 0.1 s and bytes that follow from the weights alone; the newer one takes 3 s
            # and writes machine paths into the file.
            torch.onnx.export(
                _ByPosition(self.module, names).eval(),
                tuple(_tensors(example).values()),
                str(file),
                input_names=names,
                output_names=["scores"],
                dynamic_axes={name: {0: "rows"} for name in [*names, "scores"]},
                opset_version=_OPSET,
                dynamo=False,
            )


class _ByPosition(torch.nn.Module):
    """Wraps a network so that it takes tensors by position, as ONNX export requires."""

    def __init__(self, module: TaskModule, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.module(**dict(zip(self.names, tensors, strict=True)))
        return scores


def learn(lesson: Lesson) -> Network | None:
    """Train until the validation loss no longer improves; None in a helper process.

    Raises:
        TrainingRefused: the loss is no number.
        Fault: this machine has fewer GPUs than the spec asks for, or another node of the training went away.
    """
    trained = train(
        lesson.spec,
        model_class=discovery.model_part(lesson.spec.name, "model").Model,
        encoder=lesson.encoder,
        training=_rows(lesson.spec, lesson.training),
        validation=_rows(lesson.spec, lesson.validation),
        checkpoints=lesson.checkpoints,
        max_epochs=lesson.max_epochs,
        told=lesson.told,
        begins_with=lesson.begins_with,
        halved=lesson.halved,
        spent=lesson.spent,
    )
    if lesson.timed:
        lesson.timed(trained.seconds)
    return Network(trained.module, trained.epochs, trained.history, trained.accumulate) if trained.main else None


def sketch(spec: ModelSpec, encoder: Encoder, inputs: Tensors) -> Network:
    """The network with the weights that it begins with, of one seed."""
    return untrained(discovery.model_part(spec.name, "model").Model, spec, encoder)


def untrained(model_class: type[TaskModule], spec: ModelSpec, encoder: Encoder) -> Network:
    """A network of that class with the weights that it begins with, of one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(model_class(encoder, spec))


def _rows(spec: ModelSpec, rows: Encoded) -> Rows:
    return rows_of(spec, rows.inputs, rows.labels, rows.weights)


def _tensors(inputs: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in inputs.items()}
