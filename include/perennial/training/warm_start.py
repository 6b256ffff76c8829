"""Warm start: a training that begins with the weights of the champion, where they fit.

    weights.pt   in the folder of a version whose spec says `training.warm_start`; serving does not read it

>>> import io
>>> layer, wider = torch.nn.Linear(2, 1), torch.nn.Linear(3, 1)
>>> begin_with(wider, weights_of(layer))  # the weight has another shape now; the bias fits
(1, 2)
>>> torch.equal(layer.bias, wider.bias)
True
"""

from __future__ import annotations

import io
import pickle

import torch

from perennial.errors import StoredDataDamaged


def weights_of(module: torch.nn.Module) -> bytes:
    """All tensors of a module, by name; the same tensors give the same bytes."""
    buffer = io.BytesIO()
    torch.save({name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}, buffer)
    return buffer.getvalue()


def begin_with(module: torch.nn.Module, weights: bytes) -> tuple[int, int]:
    """Give a module the tensors that have the name, shape and type of its own; the others stay. How many were given, and of how many.

    Raises:
        StoredDataDamaged: the weights cannot be read.
    """
    try:
        given = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise StoredDataDamaged(f"The weights of the version to start from cannot be read ({error}): restore its folder.") from error
    own = module.state_dict()
    fitting = {
        name: value for name, value in given.items() if name in own and (own[name].shape, own[name].dtype) == (value.shape, value.dtype)
    }
    module.load_state_dict(fitting, strict=False)
    return len(fitting), len(own)
