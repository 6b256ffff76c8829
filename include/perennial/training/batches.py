"""Rows as tensors, in batches whose order depends only on seed and epoch, so that a resumed training sees the same batches.

>>> from perennial import discovery
>>> rows = rows_of(discovery.model("flight_delays"), {"x": np.arange(5.0)}, np.array([0, 1, 0, 1, 1]))
>>> [inputs["x"].tolist() for inputs, labels in Batches(rows, 2)]
[[0.0, 1.0], [2.0, 3.0], [4.0]]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from perennial.specs import ModelSpec

Inputs = dict[str, torch.Tensor]
Batch = tuple[Inputs, torch.Tensor] | tuple[Inputs, torch.Tensor, torch.Tensor]  # inputs, labels, and weights where rows have some
Augment = Callable[[Inputs, torch.Generator], Inputs]
_FEWEST = 2  # rows of a part of a step, where the step has so many: a batch norm cannot learn from one row


@dataclass(frozen=True)
class Rows:
    """Encoded inputs [rows, ...] by tensor name, and labels [rows]: int64 class numbers, or float32 values, NaN where there are none."""

    inputs: Inputs
    labels: torch.Tensor
    weights: torch.Tensor | None = None  # float32 [rows], 1 on average: how much each row counts in the loss; all alike if there are none

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return sum(values.nbytes for values in (*self.inputs.values(), self.labels, *([] if self.weights is None else [self.weights])))

    def to(self, device: torch.device) -> Rows:
        """The same rows in the memory of a device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Rows({name: values.to(device) for name, values in self.inputs.items()}, self.labels.to(device), weights)


def rows_of(spec: ModelSpec, inputs: dict[str, np.ndarray], labels: np.ndarray, weights: np.ndarray | None = None) -> Rows:
    """Encoded arrays as tensors."""
    kind = np.int64 if spec.classes else np.float32
    return Rows(
        {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in inputs.items()},
        torch.from_numpy(labels.astype(kind)),
        None if weights is None else torch.from_numpy(weights.astype(np.float32)),
    )


class Batches:
    """One pass over the rows, shuffled if `seed` is given. Each of `world` processes gets every `world`-th row, all equally many.

    `size` rows make one gradient step of all processes together: its share of them is what each one gets, in `parts` batches of equal size.
    The last step has what is left, and fewer parts where these would have less than two rows.
    `augment` changes the inputs of each batch by random numbers that follow from seed, epoch, batch and rank alone.
    """

    def __init__(
        self,
        rows: Rows,
        size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
        augment: Augment | None = None,
    ) -> None:
        self.rows, self.seed, self.epoch, self.rank, self.world = rows, seed, epoch, rank, world
        self.size = max(1, size // world)
        self.parts, self.augment = min(parts, self.size), augment
        self.seconds = 0.0  # that it took to put the batches together

    def __len__(self) -> int:
        rows = len(self.rows) // self.world
        steps, left = divmod(rows, self.size)
        return max(1, steps * self.parts + (self._parts_of(left) if left else 0))

    def __iter__(self) -> Iterator[Batch]:
        since = time.perf_counter()
        order = torch.arange(len(self.rows))
        if self.seed is not None:
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch))]
        if self.world > 1:
            order = order[self.rank : len(order) // self.world * self.world : self.world]
        device = self.rows.labels.device
        generator = torch.Generator(device) if self.augment else None
        for place, rows in enumerate(self._batches(order.to(device))):
            inputs = {name: values[rows] for name, values in self.rows.inputs.items()}
            if self.augment and generator:
                mixed = np.random.SeedSequence([self.seed or 0, self.epoch, place, self.rank]).generate_state(1, np.uint64)
                generator.manual_seed(int(mixed[0]) >> 1)
                inputs = self.augment(inputs, generator)
            labels, weights = self.rows.labels[rows], self.rows.weights
            batch = (inputs, labels) if weights is None else (inputs, labels, weights[rows])
            self.seconds += time.perf_counter() - since
            yield batch
            since = time.perf_counter()

    def _batches(self, order: torch.Tensor) -> Iterator[torch.Tensor]:
        for step in torch.split(order, self.size):
            yield from step.tensor_split(self._parts_of(len(step))) if self.parts > 1 else (step,)

    def _parts_of(self, rows: int) -> int:
        """Into how many batches a step of so many rows is cut."""
        return self.parts if rows == self.size else max(1, min(self.parts, rows // _FEWEST))
