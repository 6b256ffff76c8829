"""Base class of all models: it provides loss, optimiser and logging for the task; a model adds its layers and `forward`."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch.nn import functional

from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.batches import Batch

Hyperparameters = dict[str, Any]


class TaskModule(LightningModule):
    """Subclass it as `Model(encoder, spec)` and write `forward(**inputs) -> logits`: [rows, classes], or [rows, 1] for a regression.

    For the task `anomaly` it gives how unusual each row is, [rows, 1], and that is the loss too: an autoencoder's error, say.

    Override `loss`, `metrics`, `augment` or `configure_optimizers` for ones of your own, and `training_loss` where the loss needs more
    than logits, as an ensemble's does. Hyperparameters known here: learning_rate, weight_decay, label_smoothing.
    """

    row_weights: torch.Tensor | None = None  # how much each row of the batch at hand counts, [rows], while it trains

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__()
        self.encoder, self.spec = encoder, spec
        self.options: Hyperparameters = dict(spec.training.hyperparameters)
        self._validated: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._losses, self._rows = torch.zeros(()), 0  # of the epoch so far: sum over its rows, and their number

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy, mean squared error of a regression, or mean score of an anomaly model. Logits may have leading dimensions
        more than [rows, classes].

        While it trains each row counts by `row_weights`, where the spec weighs classes or rows.
        """
        weights = self.row_weights if self.training else None
        how = "mean" if weights is None else "none"
        if self.spec.task == "anomaly":
            losses = logits[..., 0] if weights is not None else logits[..., 0].mean()
        elif self.spec.task == "regression":
            losses = functional.mse_loss(logits[..., 0], labels.expand(logits.shape[:-1]), reduction=how)
        else:
            losses = functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]),
                labels.expand(logits.shape[:-1]).reshape(-1),
                label_smoothing=float(self.options.get("label_smoothing", 0.0)) if self.training else 0.0,
                reduction=how,
            )
        return losses if weights is None else (losses.reshape(logits.shape[:-1]) * weights).mean()

    def metrics(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Figures of all validation rows after an epoch, by name; `validation_<name>` is logged, and may be the spec's `monitor`."""
        del logits, labels
        return {}

    def augment(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Inputs of a batch of the training split, changed at random; no other rows ever pass here.

        Draw from `generator` alone (`torch.rand(..., generator=generator, device=generator.device)`): it follows from seed, epoch and
        batch, so that a training that is resumed or repeated sees the same.
        """
        del generator
        return inputs

    def training_loss(self, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """The loss that training minimises."""
        return self.loss(self(**inputs), labels)

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """One gradient step's loss."""
        inputs, labels, *weights = batch
        self.row_weights = weights[0] if weights else None
        loss = self.training_loss(inputs, labels)
        self.note_loss(loss, len(labels))
        return loss

    def note_loss(self, loss: torch.Tensor, rows: int) -> None:
        """Keep the loss of a step; to have Lightning log each costs a small network a seventh of its speed."""
        self._losses, self._rows = self._losses.to(loss.device) + loss.detach() * rows, self._rows + rows

    def log_losses(self) -> None:
        """Log the mean loss of the epoch's rows as `train_loss`."""
        self.log("train_loss", self._losses / self._rows, sync_dist=True)
        self._losses, self._rows = torch.zeros(()), 0

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:
        """A batch of this form on the device, without a search through whatever a batch may be."""
        inputs, *others = batch
        how: dict[str, Any] = {"device": device, "non_blocking": device.type != "cpu"}
        return {name: values.to(**how) for name, values in inputs.items()}, *(values.to(**how) for values in others)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Loss of a batch of the validation split."""
        inputs, labels = batch[0], batch[1]
        logits = self(**inputs)
        self.log("validation_loss", self.loss(logits, labels), on_epoch=True, sync_dist=True, batch_size=len(labels))
        if type(self).metrics is not TaskModule.metrics:
            self._validated.append((logits, labels))

    def on_validation_epoch_end(self) -> None:
        """Log the model's own figures."""
        if self._validated:
            logits, labels = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
            self._validated.clear()
            for name, value in self.metrics(logits.float(), labels).items():
                self.log(f"validation_{name}", value, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW with the hyperparameters `learning_rate` and `weight_decay`.

        Return one optimiser, or a dictionary with `optimizer` and `lr_scheduler`, as Lightning has it.
        """
        return torch.optim.AdamW(
            self.parameters(), lr=float(self.options.get("learning_rate", 1e-3)), weight_decay=float(self.options.get("weight_decay", 1e-2))
        )


def mean_of_codes(embedding: torch.nn.Module, codes: torch.Tensor) -> torch.Tensor:
    """The mean embedding of the codes of each row that are not 0, the padding; zeros where there are none.

    Args:
        embedding: of as many codes as `encoder.sizes` says, `width` numbers each.
        codes: of words or pieces of words, [rows, length].

    Returns:
        [rows, width].
    """
    is_there = (codes > 0).unsqueeze(2).float()
    mean: torch.Tensor = (embedding(codes) * is_there).sum(dim=1) / is_there.sum(dim=1).clamp(min=1)
    return mean
