"""Many trainings on one history, cached: what a model trained on each day would have predicted for the days after it.

A history is laid out in a folder of this machine, together with the log probabilities of every training. The folder's name is the
digest of all that a training depends on, so that a replay that was interrupted goes on where it stopped, and another one of the
same history finds everything there.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial.training import boosted
from perennial.training.boosted import Inputs, Task

HORIZON = 60  # days with rows that a training is asked of at first; asked of later ones, it is fitted again and answers them all


@dataclass(frozen=True)
class Labelled:
    """The labelled rows of a history, by day."""

    days: tuple[date, ...]  # in order, those without a labelled row too
    starts: NDArray[np.int64]  # [days + 1], first row of each day
    inputs: Inputs
    labels: NDArray[np.float64]  # [rows], class numbers or values


@dataclass(frozen=True)
class Learner:
    """The settings of the trainings: task, number of classes, days and seed."""

    task: Task
    classes: int
    train_days: int | None  # newest days of a training; all there are if None
    seed: int


def lay_out(labelled: Labelled, learner: Learner, below: Path, name: str) -> Rehearsal:
    """Write a history to its folder, unless it exists.

    Args:
        labelled: the rows.
        learner: what is fitted to them.
        below: folder in which the history's folder is made.
        name: begin of that folder's name.
    """
    parts = {
        "days": [day.isoformat() for day in labelled.days],
        "categories": labelled.inputs.categories,
        "learner": [learner.task, learner.classes, learner.train_days, learner.seed],
        "trees": [boosted.TREES, version("scikit-learn"), inspect.getsource(boosted)],
    }
    arrays: dict[str, NDArray[Any]] = {"values": labelled.inputs.values, "labels": labelled.labels, "starts": labelled.starts}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).data)
    folder = below / f"{name}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    for part, array in arrays.items():
        if not (folder / f"{part}.npy").exists():
            _write(folder / f"{part}.npy", array)
    return Rehearsal(folder, labelled.days, labelled.inputs.categories, learner)


@dataclass(frozen=True)
class Rehearsal:
    """A history that was laid out. Small to send to another process: the arrays are read where they lie."""

    folder: Path
    days: tuple[date, ...]
    categories: tuple[bool, ...]
    learner: Learner
    _read: dict[str, NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": {}}

    def labels(self, day: date) -> NDArray[np.float64]:
        """Labels of a day [rows]."""
        first, end = self._bounds(day)
        return self._array("labels")[first:end]

    def values(self, day: date) -> NDArray[np.float32]:
        """Inputs of a day's labelled rows [rows, columns]."""
        first, end = self._bounds(day)
        return self._array("values")[first:end]

    def is_fitted(self, training: date) -> bool:
        """Whether the training on the labels up to that day has been fitted."""
        return self._file(training).exists()

    def fit(self, training: date, horizon: int | None = HORIZON) -> None:
        """Fit the training on the labels up to that day, and store its predictions for the days after it.

        Args:
            training: newest day of its labels.
            horizon: number of days after it; all if None.
        """
        place = self.days.index(training)
        starts, values, labels = (self._array(name) for name in ("starts", "values", "labels"))
        first = 0 if self.learner.train_days is None else max(0, place + 1 - self.learner.train_days)
        seen = slice(int(starts[first]), int(starts[place + 1]))
        last = len(self.days) if horizon is None else min(len(self.days), place + 1 + horizon)
        inputs = Inputs(values[seen], self.categories)
        trees = boosted.fit(self.learner.task, self.learner.classes, inputs, labels[seen], self.learner.seed)
        _write(self._file(training), trees.logits(values[int(starts[place + 1]) : int(starts[last])]).astype(np.float32))

    def scores(self, training: date, day: date) -> NDArray[np.float64]:
        """Probabilities [rows, classes], or values [rows, 1], that a training gives a later day's labelled rows; fitted if it must be."""
        if day <= training:
            raise ValueError(f"the training of {training} has seen {day}")
        first, end = self._bounds(day)
        begin = int(self._array("starts")[self.days.index(training) + 1])
        name = self._file(training).name.removesuffix(".npy")
        if not self.is_fitted(training):
            self.fit(training)
        if len(self._array(name)) < end - begin:
            self.fit(training, horizon=None)
            del self._read[name]
        piece = self._array(name)[first - begin : end - begin].astype(np.float64)
        return piece if self.learner.task == "regression" else np.exp(piece)

    def _bounds(self, day: date) -> tuple[int, int]:
        starts, place = self._array("starts"), self.days.index(day)
        return int(starts[place]), int(starts[place + 1])

    def _file(self, training: date) -> Path:
        return self.folder / f"training-{training}.npy"

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self._read:
            self._read[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return self._read[name]


def _write(file: Path, array: NDArray[Any]) -> None:
    """Write a file atomically, even if another process writes the same one."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    with unfinished.open("wb") as stream:
        np.save(stream, array)
    unfinished.replace(file)
