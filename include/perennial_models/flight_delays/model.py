"""A small ensemble in one network: embeddings and numbers through layers that the members share up to cheap factors of their own.

After Gorishniy et al., "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling" (2025) and Wen et
al., "BatchEnsemble" (2020).
"""

import torch
from torch import nn
from torch.nn import functional

from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.module import TaskModule


class Model(TaskModule):
    """Hyperparameters: members, hidden, layers, embedding (widest), dropout, input_dropout, learning_rate, weight_decay."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        options = self.options
        members, hidden, widest = int(options["members"]), int(options["hidden"]), int(options["embedding"])
        embeddings = [nn.Embedding(size, min(widest, size // 2 + 1)) for size in encoder.sizes("categories")]
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.1)
        self.embeddings = nn.ModuleList(embeddings)
        self.scale = nn.BatchNorm1d(encoder.width("numbers"), affine=False)
        self.input_dropout = nn.Dropout(float(options["input_dropout"]))
        width = encoder.width("numbers") + sum(embedding.embedding_dim for embedding in embeddings)
        self.layers = nn.ModuleList(
            SharedLinear(members, width if layer == 0 else hidden, hidden, first=layer == 0) for layer in range(int(options["layers"]))
        )
        self.dropout = nn.Dropout(float(options["dropout"]))
        self.heads = nn.Parameter(torch.randn(members, hidden, len(spec.classes)) * (0.5 / hidden**0.5))
        self.bias = nn.Parameter(torch.zeros(members, 1, len(spec.classes)))

    def members(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Logits of every member: [members, rows, classes]."""
        embedded = [embedding(categories[:, place]) for place, embedding in enumerate(self.embeddings)]
        hidden = self.input_dropout(torch.cat([self.scale(numbers), *embedded], dim=1))[None]
        for layer in self.layers:
            hidden = functional.relu(layer(hidden))
            # One mask for all members: drawing random numbers would otherwise take more time than the layers.
            hidden = hidden * self.dropout(torch.ones_like(hidden[:1])) if self.training else hidden
        logits: torch.Tensor = hidden @ self.heads + self.bias
        return logits

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        """Logarithm of the members' mean probability: [rows, classes]."""
        return functional.softmax(self.members(numbers, categories), dim=-1).mean(dim=0).clamp_min(1e-7).log()

    def training_loss(self, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Each member learns for itself: their errors differ, so their mean is better than any of them."""
        return self.loss(self.members(**inputs), labels)


class SharedLinear(nn.Module):
    """A linear layer that the members share; each scales its inputs and outputs and adds its own bias."""

    def __init__(self, members: int, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * (2 / inputs) ** 0.5)
        # Random signs at the first layer make the members differ from the start.
        self.before = nn.Parameter(torch.randn(members, inputs, 1).sign() if first else torch.ones(members, inputs, 1))
        self.after = nn.Parameter(torch.ones(members, 1, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[members or 1, rows, inputs] to [members, rows, outputs]."""
        # Scaling the weights is the same as scaling inputs and outputs, and there are far fewer of them.
        own = self.before * self.weight * self.after
        found: torch.Tensor = torch.baddbmm(self.bias, hidden.expand(len(own), -1, -1), own)
        return found
