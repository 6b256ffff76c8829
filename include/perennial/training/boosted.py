"""Gradient-boosted trees on a model's own inputs: a stand-in that is fitted in a second, where hundreds of trainings are to be replayed.

The trees take the inputs as they are: numbers, categories by their place among the most frequent ones, of a time its minute of the day
and its weekday (a date always moves on, and no tree knows what comes after it), and of texts and lists how long they are. Their settings
are one row of the search of `benchmarks/flight_delays_against_boosting.py`: half as many trees, a leaf never smaller than a
four-hundredth of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from perennial.encoding import numbers, text, times
from perennial.specs import NO_SCALARS
from perennial.tokens import words_of

if TYPE_CHECKING:
    from perennial.specs import ColumnType

Task = Literal["binary", "multiclass", "regression"]
Floats = NDArray[np.float64]

TREES = {"learning_rate": 0.1, "max_iter": 60, "max_leaf_nodes": 31, "l2_regularization": 10.0}
LEAF_SHARE, LEAST_LEAF, LARGEST_LEAF = 1 / 400, 5, 200  # rows of a leaf: a share of the training rows, between bounds
MOST_ROWS = 100_000  # of one training; more are thinned evenly
MOST_CATEGORIES = 255  # as many as the trees can tell apart; the rarest share the last place
SMALLEST = 1e-7  # of a probability


@dataclass(frozen=True)
class Inputs:
    """What the trees see: values [rows, columns] float32, null as NaN, and which columns are categories."""

    values: NDArray[np.float32]
    categories: tuple[bool, ...]


def inputs_of(columns: Mapping[str, NDArray[Any]], types: Mapping[str, ColumnType]) -> Inputs:
    """The inputs of some rows.

    Args:
        columns: each input as the dataset has it, [rows].
        types: type of each input in the dataset's spec.
    """
    made: list[tuple[NDArray[np.float32], bool]] = []
    for name, values in columns.items():
        if types[name] == "timestamp":
            made.extend((part, False) for part in _clock(times(values)))
        elif types[name] == "string":
            made.append((_places(values), True))
        elif types[name] in NO_SCALARS:  # how many words, elements or numbers there are: the trees read no more of them
            made.append((np.array([_size(value) for value in values.tolist()], dtype=np.float32), False))
        else:
            made.append((numbers(values).astype(np.float32), False))
    return Inputs(np.column_stack([values for values, _ in made]), tuple(category for _, category in made))


def _size(value: Any) -> float:
    """How many words a text has, or elements a list; NaN of none."""
    if value is None or isinstance(value, float):
        return np.nan
    return float(len(words_of(value) if isinstance(value, str) else value))


def _clock(when: NDArray[np.datetime64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    day = when.astype("datetime64[D]")
    known = ~np.isnat(when)
    minute = np.where(known, (when - day).astype("timedelta64[m]").astype(np.float32), np.nan)
    weekday = np.where(known, (day.astype(np.int64) + 3) % 7, np.nan)  # 1970-01-01 was a Thursday: Monday is 0
    return minute.astype(np.float32), weekday.astype(np.float32)


def _places(values: NDArray[Any]) -> NDArray[np.float32]:
    """Place of each category, the most frequent one first and alphabetically among equals."""
    names = [text(value) for value in values.tolist()]
    counts: dict[str, int] = {}
    for name in names:
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    order = sorted(counts, key=lambda name: (-counts[name], name))
    places: dict[str | None, float] = {name: float(min(place, MOST_CATEGORIES - 1)) for place, name in enumerate(order)}
    return np.array([places.get(name, np.nan) for name in names], dtype=np.float32)


@dataclass(frozen=True)
class Boosted:
    """Fitted trees; none where the training rows have one label only, which is then all there is to say."""

    task: Task
    classes: int  # scores per row: 1 for a regression
    trees: Any
    constant: tuple[float, ...]  # logits of classes that no training row had, or of all where there are no trees

    def logits(self, values: NDArray[np.float32]) -> Floats:
        """Logarithms of probabilities [rows, classes], or the values [rows, 1] of a regression."""
        totals = np.tile(np.array(self.constant), (len(values), 1))
        if self.trees is None or not len(values):
            return totals
        if self.task == "regression":
            totals[:, 0] = self.trees.predict(values)
        else:
            totals[:, self.trees.classes_.astype(np.int64)] = np.log(np.clip(self.trees.predict_proba(values), SMALLEST, 1.0))
        return totals


def fit(task: Task, classes: int, inputs: Inputs, labels: Floats, seed: int) -> Boosted:
    """Fit the trees, on one thread, so that several trainings side by side do not hinder one another.

    Args:
        task: what is predicted.
        classes: number of classes; of no meaning for a regression.
        inputs: of the training rows; more than MOST_ROWS are thinned evenly.
        labels: class numbers or values [rows], all known.
        seed: of the trees.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    sampled = np.linspace(0, len(labels) - 1, min(len(labels), MOST_ROWS)).astype(np.int64)
    values, known = inputs.values[sampled], labels[sampled]
    if task == "regression":
        constant = (float(known.mean()),)
    else:
        # A class without a row gets the share that half a row would have.
        counts = np.bincount(known.astype(np.int64), minlength=classes).astype(float)
        constant = tuple(np.log(np.maximum(counts, 0.5) / len(known)).tolist())
    if len(np.unique(known)) == 1:
        return Boosted(task, len(constant), None, constant)
    kind = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    trees = kind(
        **TREES,
        min_samples_leaf=int(np.clip(len(known) * LEAF_SHARE, LEAST_LEAF, LARGEST_LEAF)),
        early_stopping=False,
        categorical_features=np.array(inputs.categories),
        random_state=seed,
    )
    with threadpool_limits(1):
        trees.fit(values, known if task == "regression" else known.astype(np.int64))
    return Boosted(task, len(constant), trees, constant)
