"""An ordinary LightningModule, written without a thought of Perennial, as a model's network; its data module too, if it has one.

    class Model(Adapted):
        def network(self):
            return TheirModule(self.encoder.width("numbers"), len(self.spec.classes))

        def data(self, rows):                                   # only where their batches are wanted
            return TheirDataModule(train=rows, batch_size=64)

What is honoured of the module: `forward`, whose answer is logits ([rows, classes], [rows, 1] of two classes too) or the value of a
regression; the loss that `training_step` returns; `configure_optimizers` with one optimiser; and what `validation_step` logs, by its own
name, so that `training.monitor` may name it. The validation rows are always those of the split, all of them, and `validation_loss` is the
task's own loss of the logits.

What is honoured of the data module: `setup("fit")` and `train_dataloader()`, over the rows that `data` was given: transforms, augmentation,
samplers, collation and batch size are its own, and `training.batch_size` means nothing. Its other dataloaders are not asked.
Random choices follow from seed and epoch, whichever of torch, NumPy or Python makes them, so a training that is resumed sees the same.

What cannot be honoured is refused in a sentence: steps by hand, several optimisers, other hooks of Lightning, rows of its own,
processes that load rows, weights of rows.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, Dataset

from perennial.encoding import Encoder
from perennial.errors import TrainingRefused
from perennial.specs import ModelSpec
from perennial.training.batches import Batch, Inputs, Rows
from perennial.training.module import TaskModule
from perennial.training.processes import process_count

_HONOURED = {"training_step", "validation_step", "configure_optimizers"}
_NOT_ASKED = {"test_step", "predict_step", "on_test_epoch_start", "on_test_epoch_end", "on_predict_epoch_end"}  # they change no weights


class SnapshotRows(Dataset[Any]):
    """The training rows, one after the other, as pairs that `Adapted.pair` makes."""

    def __init__(self, rows: Rows, model: Adapted) -> None:
        self.rows, self.model = rows, model
        self.asked = 0  # how often a row was read

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        self.asked += 1
        return self.model.pair({name: values[place] for name, values in self.rows.inputs.items()}, self.rows.labels[place])


class Adapted(TaskModule):
    """Subclass it as `Model`, and let `network` return an ordinary LightningModule; see the beginning of this file."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        self.inner = self.network()
        self._batches_are_theirs = False
        self._refuse_what_is_not_honoured()
        vars(self.inner)["log"] = self._log_of_theirs
        vars(self.inner)["log_dict"] = self._log_all_of_theirs

    def network(self) -> LightningModule:
        """Their module; `self.encoder`, `self.spec` and `self.options` are there."""
        raise NotImplementedError

    def data(self, rows: SnapshotRows) -> LightningDataModule | None:
        """Their data module over the training rows; None for batches of `training.batch_size` rows, shuffled."""
        del rows
        return None

    def pair(self, inputs: Inputs, labels: torch.Tensor) -> Any:
        """A row, or a batch, as their steps take it: the only tensor, or all by name, and the label."""
        return (next(iter(inputs.values())) if len(inputs) == 1 else inputs), labels

    def forward(self, *only: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits, or the value of a regression: [rows, classes or 1]."""
        answer: torch.Tensor = self.inner(*only, *inputs.values()) if len(inputs) == 1 else self.inner(*only, **inputs)
        if answer.dim() == 1:
            answer = answer.unsqueeze(1)
        if self.spec.task == "binary" and answer.shape[-1] == 1:
            answer = torch.cat([torch.zeros_like(answer), answer], dim=-1)
        return answer

    def configure_optimizers(self) -> Any:
        """Theirs."""
        return self.inner.configure_optimizers()

    def training_step(self, batch: Any, place: int) -> torch.Tensor:
        """Their loss of a batch."""
        theirs = batch if self._batches_are_theirs else self.pair(*_usual(batch))
        given = self.inner.training_step(theirs, place)
        loss = given["loss"] if isinstance(given, dict) else given
        if not isinstance(loss, torch.Tensor):
            raise TrainingRefused(f"{self.spec.name}'s training_step returns {type(loss).__name__}: let it return the loss of its batch.")
        self.note_loss(loss, _row_count(theirs))
        return loss

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A batch of whatever form."""
        return LightningModule.transfer_batch_to_device(self, batch, device, dataloader_idx)

    def validation_step(self, batch: Batch, place: int) -> None:
        """The task's loss of a batch of the validation split, and what their step logs."""
        super().validation_step(batch, place)
        if type(self.inner).validation_step is not LightningModule.validation_step:
            self.inner.validation_step(self.pair(*_usual(batch)), place)

    def batches(self, rows: Rows, epoch: int) -> TheirBatches | None:
        """Those of their data module, if `data` gives one."""
        asked = SnapshotRows(rows, self)
        theirs = self.data(asked)
        self._batches_are_theirs = theirs is not None
        if theirs is None:
            return None
        theirs.setup("fit")
        loader = theirs.train_dataloader()
        name = self.spec.name
        if not isinstance(loader, DataLoader):
            raise TrainingRefused(
                f"The train_dataloader of {name}'s data module gives a {type(loader).__name__}: let it give one DataLoader."
            )
        if loader.num_workers:
            raise TrainingRefused(
                f"{name}'s data module loads rows in {loader.num_workers} processes: set num_workers=0, since they lie in memory already."
            )
        return TheirBatches(loader, asked, self.spec, epoch)

    @classmethod
    def brings_batches(cls) -> bool:
        """Whether a data module of theirs makes the batches."""
        return cls.data is not Adapted.data

    def _log_of_theirs(self, name: str, value: Any, *_: Any, batch_size: int | None = None, **how: Any) -> None:
        """What their validation_step logs, as the mean of an epoch; of a training step the loss alone is known."""
        del how
        if not self.training and name not in ("train_loss", "validation_loss") and self._trainer is not None:
            self.log(name, value, on_step=False, on_epoch=True, batch_size=batch_size)

    def _log_all_of_theirs(self, values: dict[str, Any], *_: Any, batch_size: int | None = None, **how: Any) -> None:
        for name, value in values.items():
            self._log_of_theirs(name, value, batch_size=batch_size, **how)

    def _refuse_what_is_not_honoured(self) -> None:
        name, inner = self.spec.name, self.inner
        if not isinstance(inner, LightningModule):
            raise TrainingRefused(f"{name}'s `network` gives a {type(inner).__name__}: let it give a LightningModule.")
        if not inner.automatic_optimization:
            raise TrainingRefused(f"{name}'s network takes its optimiser's steps by hand: set automatic_optimization, or use TaskModule.")
        if self.spec.training.class_weights is not None or self.spec.training.sample_weight:
            raise TrainingRefused(
                f"{name} weighs its rows (training.class_weights, sample_weight), and the loss is its network's own: weigh it there."
            )
        if self.spec.training.compile:
            raise TrainingRefused(f"{name} asks for training.compile, and the step is its network's own: call torch.compile in `network`.")
        if self.brings_batches() and (self.spec.training.accumulate > 1 or process_count(self.spec.compute) > 1):
            raise TrainingRefused(
                f"{name}'s batches come from a data module of its own: leave out training.accumulate, and train on one device."
            )
        known = {attribute for attribute in dir(LightningModule) if not attribute.startswith("_")} - set(dir(torch.nn.Module))
        own = {
            attribute
            for kind in type(inner).__mro__[: type(inner).__mro__.index(LightningModule)]
            for attribute in vars(kind)
            if attribute in known
        }
        if other := sorted(own - _HONOURED - _NOT_ASKED):
            raise TrainingRefused(
                f"{name}'s network overrides {', '.join(other)}, which Lightning would call and Perennial does not: leave "
                f"{'it' if len(other) == 1 else 'them'} out, or derive the model from TaskModule."
            )


class TheirBatches:
    """The batches of a DataLoader of somebody else, with random choices that follow from seed and epoch."""

    def __init__(self, loader: DataLoader[Any], asked: SnapshotRows, spec: ModelSpec, epoch: int) -> None:
        self.loader, self.asked, self.spec, self.epoch = loader, asked, spec, epoch
        self.seconds = 0.0  # that it took to put the batches together

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        first, second, third = np.random.SeedSequence([self.spec.training.seed, self.epoch]).generate_state(3, np.uint32).tolist()
        torch.manual_seed(first)
        np.random.seed(second)  # what their transforms use
        random.seed(third)
        for part in (self.loader, self.loader.sampler, getattr(self.loader.batch_sampler, "sampler", None)):
            if isinstance(generator := getattr(part, "generator", None), torch.Generator):
                generator.manual_seed(first)
        since, before = time.perf_counter(), self.asked.asked
        for batch in self.loader:
            self.seconds += time.perf_counter() - since
            if self.asked.asked == before:
                raise TrainingRefused(
                    f"The train_dataloader of {self.spec.name}'s data module reads other rows than those that `data` was given: a version "
                    "must be made of its snapshot. Let it read those rows."
                )
            yield batch
            since = time.perf_counter()


def _usual(batch: Batch) -> tuple[Inputs, torch.Tensor]:
    return batch[0], batch[1]


def _row_count(batch: Any) -> int:
    """Rows of a batch of whatever form, as its last tensor says."""
    if isinstance(batch, dict):
        return _row_count([*batch.values()])
    if isinstance(batch, (tuple, list)):
        return _row_count(batch[-1])
    return len(batch) if isinstance(batch, Sized) else 1
