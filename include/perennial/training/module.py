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

    An ensemble overrides `training_loss`; anything else of LightningModule may be overridden too. Hyperparameters known here:
    learning_rate, weight_decay, label_smoothing; the trainer knows gradient_clip.
    """

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__()
        self.encoder, self.spec = encoder, spec
        self.options: Hyperparameters = dict(spec.training.hyperparameters)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy, or mean squared error of a regression. Logits may have leading dimensions more than [rows, classes]."""
        if self.spec.task == "regression":
            return functional.mse_loss(logits[..., 0], labels.expand(logits.shape[:-1]))
        return functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.expand(logits.shape[:-1]).reshape(-1),
            label_smoothing=float(self.options.get("label_smoothing", 0.0)) if self.training else 0.0,
        )

    def training_loss(self, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """The loss that training minimises."""
        return self.loss(self(**inputs), labels)

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """One gradient step's loss."""
        inputs, labels = batch
        loss = self.training_loss(inputs, labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        """Loss of a batch of the validation split."""
        inputs, labels = batch
        self.log("validation_loss", self.loss(self(**inputs), labels), on_epoch=True, sync_dist=True, batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with the hyperparameters `learning_rate` and `weight_decay`."""
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
