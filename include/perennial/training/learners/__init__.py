"""Learners: what makes a model of encoded rows. Each is a file here, and all give the same: scores, an ONNX graph and how it went.

A learner is a module with two functions. `learn(lesson)` trains; `sketch(spec, encoder, inputs)` gives a model of its kind that knows
nothing, for the promises that every model keeps. Export, calibration, gate, serving and `perennial reproduce` ask nothing else of it.

    >>> from perennial import discovery
    >>> learner_of(discovery.model("digits")).__name__
    'perennial.training.learners.lightning'
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np

from perennial.encoding import Encoder
from perennial.engine.room import Room
from perennial.specs import ModelSpec
from perennial.training.checkpoints import Checkpoints

Tensors = Mapping[str, np.ndarray]  # by name, [rows, ...], as a model's features.py gives them
History = list[dict[str, float]]
Spent = Callable[[float, int, int], None]  # seconds of all tries, epochs or rounds done, at most
Told = Callable[[int, int, float, float], None]  # epochs or rounds done, at most, seconds of the last one, its validation loss


@dataclass(frozen=True)
class Encoded:
    """Encoded rows with their labels: class numbers, or the values of a regression, float64 [rows]; NaN for a model without labels."""

    inputs: dict[str, np.ndarray]
    labels: np.ndarray
    weights: np.ndarray | None = None  # [rows], 1 on average: how much each row counts; all alike if there are none
    room: Room | None = None  # that what is made of them may take in memory; without one all is there

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Lesson:
    """What a learner is given."""

    spec: ModelSpec
    encoder: Encoder
    training: Encoded
    validation: Encoded
    checkpoints: Checkpoints
    max_epochs: int | None = None  # in place of the spec's
    told: Told | None = None  # is called after each epoch or round, in the first process alone
    begins_with: bytes = b""  # weights of a champion, as `Learned.weights` gave them
    halved: bool = False  # whether to train as one that had too little memory, to repeat it
    spent: Spent | None = None  # is called before each step or round, and ends a training that has used up its budget
    timed: Callable[[Mapping[str, float]], None] | None = None  # is told at the end where the time went: seconds by part


class Learned(Protocol):
    """What a learner has made: it scores encoded rows in its own framework, and writes what gives the same in ONNX."""

    @property
    def framework(self) -> str:
        """Whose scores ONNX must give, as a sentence names it."""

    @property
    def gives(self) -> Literal["logits", "probabilities", "values"]:
        """What `scores` are: probabilities sum to 1, values are those of a regression, or how unusual a row is."""

    @property
    def calibrates(self) -> bool:
        """Whether probabilities are calibrated on the validation rows."""

    @property
    def advice(self) -> str:
        """What to do where ONNX gives something else, behind "to be exported"."""

    @property
    def epochs(self) -> int:
        """Epochs, or rounds of trees, trained in all, before and after a resumption; 0 where there are none."""

    @property
    def history(self) -> History:
        """Figures of each, first to last."""

    def weights(self) -> bytes:
        """Weights with which a later training can begin."""

    def record(self) -> dict[str, Any]:
        """What `training.json` has to say besides, so that it can be made again."""

    def scores(self, inputs: Tensors) -> np.ndarray:
        """[rows, classes], or [rows, 1] of a regression or an anomaly model; without calibration."""

    def write_onnx(self, file: Path, example: Tensors) -> None:
        """Write a graph that takes tensors by their names, any number of rows, and gives `scores`; two rows are given as an example."""


class Learner(Protocol):
    """A module of this package."""

    __name__: str

    def learn(self, lesson: Lesson) -> Learned | None:
        """Train; the same lesson gives the same model. None in a helper process of a training over several devices.

        Raises:
            TrainingRefused: the rows or the settings cannot give a model.
        """

    def sketch(self, spec: ModelSpec, encoder: Encoder, inputs: Tensors) -> Learned:
        """A model that knows nothing, made in no time, of some rows without labels."""


def learner_of(spec: ModelSpec) -> Learner:
    """The module that makes a model of this spec; the framework behind it loads with it."""
    return cast("Learner", importlib.import_module(f"{__name__}.{spec.learner}"))
