"""The shared part `Convolutions`: a small convolutional network."""

import math

import torch
from torch.nn import functional

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

    def augment(self, inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Each image turned by at most 10 degrees and moved by at most half a pixel, as another hand would have written it."""
        image, device = inputs["image"], generator.device
        turn = (torch.rand(len(image), generator=generator, device=device) * 2 - 1) * math.radians(10)
        move = (torch.rand(len(image), 2, generator=generator, device=device) * 2 - 1) / image.shape[-1]
        rows = [torch.stack([turn.cos(), -turn.sin(), move[:, 0]], dim=1), torch.stack([turn.sin(), turn.cos(), move[:, 1]], dim=1)]
        places = functional.affine_grid(torch.stack(rows, dim=1), list(image.shape), align_corners=False)
        return {"image": functional.grid_sample(image, places, align_corners=False)}
