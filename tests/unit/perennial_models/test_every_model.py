"""What every model keeps, ours and those that are added later."""

import pytest

from perennial import discovery
from perennial.testing import PROMISES, check_model


@pytest.mark.parametrize("promise", PROMISES)
@pytest.mark.parametrize("model", discovery.models())
def test_a_model_keeps_every_promise(model: str, promise: str) -> None:
    """MO-02: an untrained network tells already where a row would be scored otherwise than rows like it were learnt."""
    check_model(model, only=promise)
