"""Training images of digits are turned and moved a little."""

from __future__ import annotations

import torch

from perennial import discovery
from perennial.encoding import Encoder


def test_images_are_moved_a_little() -> None:
    """DM-05: By so little that nearly all ink stays; each image otherwise, and by the same numbers in the same way."""
    model = discovery.model_part("digits", "model").Model(Encoder({}), discovery.model("digits"))
    image = torch.zeros(16, 1, 8, 8)
    image[:, :, 2:6, 3:5] = 1.0
    moved = [model.augment({"image": image}, torch.Generator().manual_seed(seed))["image"] for seed in (1, 1, 2)]
    assert torch.equal(moved[0], moved[1])
    assert not torch.equal(moved[0], moved[2])
    assert len(torch.unique(moved[0].flatten(1), dim=0)) == 16
    ink = moved[0].flatten(1).sum(dim=1)
    assert ((ink - 8).abs() < 1).all()
    assert (moved[0] - image).flatten(1).abs().sum(dim=1).max() < 8
