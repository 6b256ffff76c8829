"""The shared part `Convolutions`: a small convolutional network."""

import torch

from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.module import TaskModule
from perennial.training.parts import Convolutions


class Model(TaskModule):
    """Hyperparameters: channels, dropout, learning_rate, weight_decay."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        channels, dropout = int(self.options["channels"]), float(self.options["dropout"])
        self.layers = Convolutions((1, 8, 8), len(spec.classes), channels=channels, dropout=dropout)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, [rows, 10], of images [rows, 1, 8, 8]."""
        logits: torch.Tensor = self.layers(image)
        return logits
