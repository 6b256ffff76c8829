"""The shared part `Transformer` over the words of a remark, beside what each word says by itself."""

import torch
from torch import nn

from perennial.encoding import Encoder
from perennial.specs import ModelSpec
from perennial.training.module import TaskModule
from perennial.training.parts import Transformer
from perennial_models.bad_news.features import WORDS


class Model(TaskModule):
    """Hyperparameters: width, heads, layers, dropout, learning_rate, weight_decay."""

    def __init__(self, encoder: Encoder, spec: ModelSpec) -> None:
        super().__init__(encoder, spec)
        options, (codes,) = self.options, encoder.sizes("remark")
        width, dropout = int(options["width"]), float(options["dropout"])
        self.reads = Transformer(codes, WORDS, width, heads=int(options["heads"]), layers=int(options["layers"]), dropout=dropout)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, len(spec.classes)))
        self.alone = nn.Embedding(codes, len(spec.classes), padding_idx=0)  # a word's own say, as in a logistic regression
        nn.init.zeros_(self.alone.weight)

    def forward(self, remark: torch.Tensor) -> torch.Tensor:
        """Logits, [rows, 2], of codes of words [rows, 40]."""
        logits: torch.Tensor = self.head(self.reads(remark)) + (self.alone(remark) * (remark > 0).unsqueeze(2)).sum(dim=1)
        return logits
