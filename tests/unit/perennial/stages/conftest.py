"""What tests of several stages share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from perennial.errors import ServiceUnreachable


@pytest.fixture
def goes_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`goes_after(world, kind, version)`: just after an entry of that kind was written, the server of a version goes for good."""

    def goes_after(world: Any, kind: str, version: int) -> None:
        put = world.store.put_if_absent

        def put_then_gone(key: str, data: bytes) -> bool:
            won: bool = put(key, data)
            if json.loads(data)["kind"] == kind:
                world.backend.refusals[version] = ServiceUnreachable("Not ready after 60 s.")
            return won

        monkeypatch.setattr(world.store, "put_if_absent", put_then_gone)

    return goes_after
