"""What a version of a regression promised at its evaluation, as windows measure it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from perennial.lineage.version_notes import evaluation_key
from perennial.stages._window_losses import _evaluated
from perennial.store import FolderStore


def test_the_evaluated_loss_of_each_version(tmp_path: Any) -> None:
    """MN-03: As far as an evaluation is stored that can be read; one without any error says nothing of how far days differ."""
    store = FolderStore(str(tmp_path))
    digests = {1: "a" * 64, 2: "b" * 64, 3: "c" * 64, 4: "d" * 64}
    for number, metrics in ((1, {"mse": 400.0, "mae": 12.0}), (2, {"mse": 0.0}), (3, {"mae": 12.0})):
        document = {"parts": {"test": {"candidate": {"metrics": metrics}}}}
        store.write(evaluation_key("delays", digests[number]), json.dumps(document).encode())
    traffic = cast(Any, SimpleNamespace(store=store, spec=SimpleNamespace(name="delays"), digests=digests))
    assert _evaluated(traffic, [1, 2, 3, 4, 5]) == {1: 400.0}
