"""An ordinary LightningModule and its data module, written without a thought of Perennial, by an adapter of a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from perennial.encoding import Encoder
from perennial.errors import TrainingRefused
from perennial.specs import ComputeSpec, ModelSpec
from perennial.training.adapter import Adapted, SnapshotRows
from perennial.training.batches import Rows
from perennial.training.checkpoints import Checkpoints
from perennial.training.trainer import Trained, train

ToySpec = Callable[..., ModelSpec]
ToyRows = Callable[[ModelSpec], tuple[Encoder, Rows, Rows]]


class Plain(LightningModule):
    """As it stands in a tutorial: one input, logits of one column, its own loss and optimiser."""

    def __init__(self, width: int, outputs: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [rows]."""
        return self.layers(x).squeeze(-1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Its loss."""
        x, y = batch
        loss = nn.functional.binary_cross_entropy_with_logits(self(x), y.float())
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Its figures."""
        x, y = batch
        self.log("val_hits", ((self(x) > 0) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """One optimiser with a schedule that watches a figure of its own."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_hits"}}


class Noisy(Dataset[Any]):
    """Their rows, with noise of NumPy's and of torch's."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        x, y = self.rows[place]
        return x + 0.01 * torch.randn(x.shape) + np.float32(0.01 * np.random.normal()), y


class Module(LightningDataModule):
    """A data module with a transform, a sampler and a generator of its own."""

    def __init__(self, rows: Any, **loading: Any) -> None:
        super().__init__()
        self.rows, self.loading = rows, loading

    def setup(self, stage: str) -> None:
        """Wrap the rows."""
        self.train = Noisy(self.rows)

    def train_dataloader(self) -> Any:
        """Batches of fifty rows, drawn with weights."""
        sampler = WeightedRandomSampler([1.0] * len(self.train), len(self.train), generator=torch.Generator().manual_seed(1))
        return DataLoader(self.train, batch_size=50, sampler=sampler, **self.loading)


class Usual(Adapted):
    """Their module on the platform's own batches."""

    def network(self) -> LightningModule:
        """Theirs."""
        return Plain(self.encoder.width("numbers"))


class Theirs(Usual):
    """Their module on the batches of their data module."""

    def data(self, rows: SnapshotRows) -> LightningDataModule | None:
        """Theirs."""
        return Module(rows)


@pytest.fixture
def run(toy_rows: ToyRows, toy_spec: ToySpec, tmp_path: Path) -> Callable[..., Trained]:
    """Train an adapted model on the toy's numbers."""

    def go(model: type[Adapted], where: str, **training: Any) -> Trained:
        spec = toy_spec(**({"max_epochs": 5} | training)).model_copy(update={"compute": ComputeSpec(cpus=1)})
        encoder, first, second = toy_rows(spec)
        rows = [Rows({"numbers": part.inputs["numbers"]}, part.labels) for part in (first, second)]
        given = {"encoder": encoder, "training": rows[0], "validation": rows[1], "checkpoints": Checkpoints(tmp_path / where)}
        return train(spec, model_class=model, **given)

    return go


class Power(RuntimeError):
    """The machine went away."""


@pytest.mark.parametrize("model", [Usual, Theirs])
def test_an_ordinary_module_trains_and_resumes_to_the_last_bit(run: Callable[..., Trained], model: type[Adapted]) -> None:
    """MO-03, MO-15: Its loss, optimiser, schedule and figures are its own, its data module's transform and sampler too; a training that was
    killed goes on as one that was left alone."""
    alone = run(model, "alone", monitor="val_hits", mode="max")
    assert all(0 <= epoch["val_hits"] <= 1 for epoch in alone.history)
    assert alone.history[-1]["train_loss"] < alone.history[0]["train_loss"]
    assert max(epoch["val_hits"] for epoch in alone.history) > 0.7
    logits = alone.module(numbers=torch.zeros(3, 2))
    assert logits.shape == (3, 2)

    def dies(self: Adapted) -> None:
        if self.current_epoch == 2:
            raise Power

    with pytest.raises(Power):
        run(type("Dying", (model,), {"on_train_epoch_start": dies}), "killed", monitor="val_hits", mode="max")
    resumed = run(model, "killed", monitor="val_hits", mode="max")
    assert resumed.resumed_from == 2
    assert resumed.history == alone.history
    first, second = alone.module.state_dict(), resumed.module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_batches_are_those_of_the_data_module(run: Callable[..., Trained]) -> None:
    """MO-03: Fifty rows, as its loader says, not thirty-two, as the spec does."""
    seen = list[int]()

    class Counting(Theirs):
        def training_step(self, batch: Any, place: int) -> torch.Tensor:
            seen.append(len(batch[1]))
            return super().training_step(batch, place)

    run(Counting, "counted", max_epochs=1)
    assert seen == [50] * 6


class ByHand(Plain):
    """Steps by hand."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.automatic_optimization = False


class Hooked(Plain):
    """A hook that Lightning would call."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Something that changes how it learns."""


class Strange(Module):
    """Reads rows of its own."""

    def train_dataloader(self) -> Any:
        """Ten made-up rows."""
        return DataLoader([(torch.zeros(2), torch.tensor(0))] * 10, batch_size=5)


@pytest.mark.parametrize(
    ("network", "data", "training", "words"),
    [
        (ByHand, None, {}, "takes its optimiser's steps by hand"),
        (Hooked, None, {}, "overrides on_train_batch_end, which Lightning would call and Perennial does not"),
        (Plain, Strange, {}, "reads other rows than those that `data` was given"),
        (Plain, lambda rows: Module(rows, num_workers=2), {}, "loads rows in 2 processes: set num_workers=0"),
        (Plain, Module, {"accumulate": 2}, "leave out training.accumulate"),
        (Plain, None, {"class_weights": "balanced"}, "weighs its rows"),
        (Plain, None, {"compile": True}, "asks for training.compile"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    run: Callable[..., Trained], network: Any, data: Any, training: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-03: Each in a sentence that says what to do; nothing is left out in silence."""
    monkeypatch.setenv("CXX", "true")  # a compiler that is there
    methods: dict[str, Any] = {"network": lambda self: network(self.encoder.width("numbers"))}
    if data:
        methods["data"] = lambda self, rows: data(rows)
    with pytest.raises(TrainingRefused, match=words):
        run(type("Model", (Adapted,), methods), "refused", max_epochs=1, **training)
