"""Batches: every row once, in an order that follows from seed and epoch."""

from __future__ import annotations

import pytest
import torch

from perennial.training.batches import Batches, Rows

ROWS = Rows({"x": torch.arange(103)[:, None]}, torch.arange(103))


def order(batches: Batches) -> list[int]:
    """Labels in the order in which the batches give them."""
    return [int(label) for _, labels in batches for label in labels]


def test_every_row_comes_once() -> None:
    """MO-03: Shuffled or not; inputs stay beside their labels."""
    assert order(Batches(ROWS, 10)) == list(range(103))
    shuffled = Batches(ROWS, 10, seed=1)
    assert sorted(order(shuffled)) == list(range(103))
    assert all(torch.equal(inputs["x"][:, 0], labels) for inputs, labels in shuffled)
    assert len(list(shuffled)) == len(shuffled) == 11


def test_the_order_follows_from_seed_and_epoch() -> None:
    """MO-15: The same again, on any machine; another epoch is another order."""
    assert order(Batches(ROWS, 10, seed=1, epoch=3)) == order(Batches(ROWS, 10, seed=1, epoch=3))
    assert len({tuple(order(Batches(ROWS, 10, seed=seed, epoch=epoch))) for seed in (1, 2) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_rows(world: int) -> None:
    """MO-05: No row goes to two of them, all get equally many batches, and at most one row each is left out."""
    parts = [Batches(ROWS, 10, seed=1, rank=rank, world=world) for rank in range(world)]
    rows = [order(part) for part in parts]
    assert len({len(part) for part in rows}) == 1
    assert all(len(list(part)) == len(part) for part in parts)
    together = [row for part in rows for row in part]
    assert len(set(together)) == len(together) == 103 // world * world


@pytest.mark.parametrize(("size", "parts"), [(10, 2), (10, 3), (51, 4), (10, 20), (103, 50)])
def test_a_step_comes_in_parts(size: int, parts: int) -> None:
    """MO-03: Every row once and in the same order; each step in so many parts of equal size, the last in fewer where rows are few."""
    batches = Batches(ROWS, size, seed=1, parts=parts)
    lengths = [len(labels) for _, labels in batches]
    assert order(batches) == order(Batches(ROWS, size, seed=1))
    assert len(lengths) == len(batches)
    each = min(parts, size)
    for step in range(103 // size):
        part = lengths[step * each : (step + 1) * each]
        assert sum(part) == size
        assert max(part) - min(part) <= 1
    assert all(length >= min(2, 103 % size) for length in lengths[103 // size * each :])


def test_random_changes_follow_from_seed_epoch_and_batch() -> None:
    """DM-05: The same again; another batch, epoch, seed or process draws others; labels stay."""

    def drawn(**given: int) -> list[float]:
        batches = Batches(ROWS, 20, **{"seed": 1} | given, augment=lambda inputs, chance: {"x": torch.rand(1, generator=chance)})
        return [float(inputs["x"]) for inputs, _ in batches]

    assert drawn() == drawn()
    several = [*drawn(), *drawn(epoch=1), *drawn(seed=2), *drawn(rank=1, world=2)]
    assert len(set(several)) == len(several)


def test_weights_stay_beside_their_rows() -> None:
    """MO-03: As the third of a batch, where rows have some."""
    weighed = Rows(ROWS.inputs, ROWS.labels, ROWS.labels * 2.0)
    assert all(torch.equal(weights, labels * 2.0) for _, labels, weights in Batches(weighed, 10, seed=3))
