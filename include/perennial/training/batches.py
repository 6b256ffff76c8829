"""Rows as tensors, in batches whose order depends only on seed and epoch, so that a resumed training sees the same batches.

>>> from perennial import discovery
>>> rows = rows_of(discovery.model("flight_delays"), {"x": np.arange(5.0)}, np.array([0, 1, 0, 1, 1]))
>>> [inputs["x"].tolist() for inputs, labels in Batches(rows, 2)]
[[0.0, 1.0], [2.0, 3.0], [4.0]]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from perennial.specs import ModelSpec

Batch = tuple[dict[str, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """Encoded inputs [rows, ...] by tensor name, and labels [rows]: int64 class numbers, or float32 values of a regression."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def rows_of(spec: ModelSpec, inputs: dict[str, np.ndarray], labels: np.ndarray) -> Rows:
    """Encoded arrays as tensors."""
    kind = np.float32 if spec.task == "regression" else np.int64
    return Rows(
        {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()}, torch.from_numpy(labels.astype(kind))
    )


class Batches:
    """One pass over the rows, shuffled if `seed` is given. Each of `world` processes gets every `world`-th row, all equally many.

    `size` rows make one gradient step of all processes together: its share of them is what each one gets at a time.
    """

    def __init__(self, rows: Rows, size: int, *, seed: int | None = None, epoch: int = 0, rank: int = 0, world: int = 1) -> None:
        self.rows, self.seed, self.epoch, self.rank, self.world = rows, seed, epoch, rank, world
        self.size = max(1, size // world)

    def __len__(self) -> int:
        return max(1, -(-(len(self.rows) // self.world) // self.size))

    def __iter__(self) -> Iterator[Batch]:
        order = torch.arange(len(self.rows))
        if self.seed is not None:
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch))]
        if self.world > 1:
            order = order[self.rank : len(order) // self.world * self.world : self.world]
        for places in torch.split(order, self.size):
            yield {name: values[places] for name, values in self.rows.inputs.items()}, self.rows.labels[places]
