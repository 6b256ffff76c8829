"""What tests of several stages share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from perennial.errors import ServiceUnreachable
from perennial.lineage.ledger import Ledger


@pytest.fixture
def crowned() -> Callable[..., None]:
    """`crowned(store, model, champion)`: the ledger says that this version of the registry is the champion, unless it does."""

    def crowned(store: Any, model: str, champion: Any) -> None:
        ledger = Ledger(store, model)
        last = ledger.last()
        if champion is None or (
            last is not None and last.versions.get(champion.number) == champion.digest and last.champion == champion.number
        ):
            return
        ledger.append(
            "released", version=champion.number, champion=champion.number, weights={champion.number: 10_000},
            versions={champion.number: champion.digest}, reason="r", actor="a", after_seq=last.seq if last else None,
        )  # fmt: skip

    return crowned


@pytest.fixture
def goes_after(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`goes_after(world, kind, version)`: the server of a version goes, and does not come up any more, just after an entry of that kind was
    written."""

    def goes_after(world: Any, kind: str, version: int) -> None:
        put = world.store.put_if_absent

        def put_then_gone(key: str, data: bytes) -> bool:
            won: bool = put(key, data)
            if json.loads(data)["kind"] == kind:
                world.backend.refusals[version] = ServiceUnreachable("Not ready after 60 s.")
            return won

        monkeypatch.setattr(world.store, "put_if_absent", put_then_gone)

    return goes_after
