"""A small convolutional network: two layers of 3 x 3, a pool, two layers on top."""

import torch
from torch import nn

from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.module import TaskModule


class Model(TaskModule):
    """Hyperparameters: channels, dropout, learning_rate, weight_decay."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        channels, dropout = int(self.options["channels"]), float(self.options["dropout"])
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * channels * 16, 64),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(64, len(spec.classes)),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, [rows, 10], of images [rows, 1, 8, 8]."""
        logits: torch.Tensor = self.layers(image)
        return logits
