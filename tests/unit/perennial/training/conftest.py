"""A toy: two columns, a small network and a hundred rows, in each of the three tasks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pytest
import torch

from perennial.encoding import Encoder
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec, SplitSpec, TrainingSpec
from perennial.training.batches import Rows, rows_of
from perennial.training.module import TaskModule

Task = Literal["binary", "multiclass", "regression"]
FEATURES = '''"""Two columns."""
from perennial.encoding import Category, Encoder, Number, numbers


def label(columns):
    return numbers(columns["y"])


def fit(columns):
    return Encoder({"numbers": [Number.fit(columns, "x", nulls=True)], "kinds": [Category.fit(columns, "kind")]})


def encode(encoder, columns):
    return encoder.encode(columns)
'''


class ToyModel(TaskModule):
    """A hidden layer with dropout, so that random numbers matter."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.kinds = torch.nn.Embedding(encoder.sizes("kinds")[0], 2)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(encoder.width("numbers") + 2, 8),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(8, len(spec.classes) or 1),
        )

    def forward(self, numbers: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """Logits."""
        found: torch.Tensor = self.layers(torch.cat([numbers, self.kinds(kinds[:, 0])], dim=1))
        return found


@pytest.fixture
def toy_model() -> type[TaskModule]:
    """The class that is trained."""
    return ToyModel


@pytest.fixture
def toy_dataset() -> DatasetSpec:
    """What a row of the toy is."""
    return DatasetSpec(
        name="toys", title="Toys", owner="tests", key=("t",), event_time="t",
        columns=(Column(name="t", type="timestamp"), Column(name="x", type="float", nullable=True),
            Column(name="n", type="int", nullable=True), Column(name="kind", type="string"), Column(name="y", type="float", nullable=True)),
    )  # fmt: skip


@pytest.fixture
def toy_spec() -> Callable[..., ModelSpec]:
    """A spec of the toy, by task, with other training settings where given."""

    def make(task: Task = "binary", **training: object) -> ModelSpec:
        classes = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "regression": ()}[task]
        settings = {"max_epochs": 4, "patience": 4, "batch_size": 32, "seed": 5, "hyperparameters": {"learning_rate": 0.02}} | training
        gate = GateSpec(metric="rmse" if task == "regression" else "log_loss", floors={})
        return ModelSpec(
            name="toy", title="Toy", owner="tests", dataset="toys", task=task, inputs=("x", "n", "kind"), label="y", classes=classes,
            slices=("kind",),
            split=SplitSpec(test_days=2, validation_days=2, min_train_rows=50), training=TrainingSpec.model_validate(settings), gate=gate,
        )  # fmt: skip

    return make


@pytest.fixture
def toy_features(tmp_path: Path) -> ModuleType:
    """The toy's features.py."""
    file = tmp_path / "toy_features.py"
    file.write_text(FEATURES)
    spec = importlib.util.spec_from_file_location("toy_features", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy_columns() -> Callable[..., dict[str, np.ndarray]]:
    """Rows of the toy: the label follows x and kind, with noise."""

    def make(task: Task = "binary", rows: int = 300, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        x, kind = rng.normal(size=rows), rng.choice(["p", "q", "r"], size=rows)
        signal = x + (kind == "q") + rng.normal(scale=0.5, size=rows)
        y = {"binary": signal > 0.3, "multiclass": np.digitize(signal, [-0.3, 0.9]), "regression": 3 * signal}[task].astype(np.float64)
        x[::10] = np.nan
        t = np.datetime64("2013-01-01") + np.sort(rng.integers(0, 10 * 86400, size=rows)).astype("timedelta64[s]")
        return {"t": t.astype("datetime64[us]"), "x": x, "n": np.where(x > 1, np.nan, 2.0), "kind": kind.astype(object), "y": y}

    return make


@pytest.fixture
def toy_rows(
    toy_columns: Callable[..., dict[str, np.ndarray]], toy_features: ModuleType
) -> Callable[[ModelSpec], tuple[Encoder, Rows, Rows]]:
    """Encoder, training rows and validation rows of a spec."""

    def make(spec: ModelSpec) -> tuple[Encoder, Rows, Rows]:
        train, validation = toy_columns(spec.task), toy_columns(spec.task, rows=120, seed=1)
        encoder = toy_features.fit(train)
        first, second = (rows_of(spec, toy_features.encode(encoder, part), part["y"]) for part in (train, validation))
        return encoder, first, second

    return make
