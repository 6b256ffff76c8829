"""A small ensemble in one network: the shared part `EmbeddingEnsemble`, whose members learn each for itself."""

import torch
from torch.nn import functional

from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.module import TaskModule
from perennial.training.parts import EmbeddingEnsemble


class Model(TaskModule):
    """Hyperparameters: members, hidden, layers, embedding (widest), dropout, input_dropout, learning_rate, weight_decay."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        options = self.options
        self.members = EmbeddingEnsemble(
            encoder.width("numbers"),
            encoder.sizes("categories"),
            len(spec.classes),
            members=int(options["members"]),
            hidden=int(options["hidden"]),
            layers=int(options["layers"]),
            embedding=int(options["embedding"]),
            dropout=float(options["dropout"]),
            input_dropout=float(options["input_dropout"]),
        )

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Logarithm of the members' mean probability: [rows, classes]."""
        return functional.softmax(self.members(numbers, categories), dim=-1).mean(dim=0).clamp_min(1e-7).log()

    def training_loss(self, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Each member learns for itself: their errors differ, so their mean is better than any of them."""
        return self.loss(self.members(**inputs), labels)
