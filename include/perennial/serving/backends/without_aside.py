"""What a backend cannot do to which the servers of versions are reached by nothing but the traffic of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perennial.serving.aside import Aside
from perennial.serving.replayed import Replayed
from perennial.specs import ModelSpec


class WithoutAside:
    """A backend with no way to a server aside of traffic: a mesh that is not ours hands on whatever headers callers send."""

    def replay(self, model: ModelSpec, version: int, rows: Sequence[Mapping[str, Any]]) -> Replayed | None:
        """See `Backend.replay`: not here."""
        del model, version, rows
        return None

    def aside(self, model: ModelSpec, version: int) -> Aside | None:
        """See `Backend.aside`: not here."""
        del model, version
        return None
