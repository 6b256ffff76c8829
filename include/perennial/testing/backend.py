"""A serving backend without servers, which answers requests by drawing lots.

>>> from perennial.serving.route import Route
>>> from perennial.testing import RehearsedBackend, small_model
>>> backend, model = RehearsedBackend(seed=1), small_model()
>>> backend.apply(model, Route({1: 9000, 2: 1000}, digests={1: "a" * 64, 2: "b" * 64}))
>>> backend.serve(1000, errors={2: 0.5})
>>> {version: (arm.requests, arm.errors) for version, arm in backend.observe(model).items()}
{1: (900, 0), 2: (100, 52)}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perennial.serving.aside import Aside
from perennial.serving.replayed import Replayed
from perennial.serving.route import WHOLE, Arm, Route
from perennial.specs import ModelSpec


class RehearsedBackend:
    """A serving backend without servers: it remembers routes, and answers requests by drawing lots."""

    def __init__(self, seed: int = 0) -> None:
        self.history: list[Route] = []
        self.refusals: dict[int, Exception] = {}  # what waiting for a version raises
        self.replay_failures: dict[int, int] = {}  # requests that a version fails when they are replayed
        self.asides: dict[int, Aside] = {}  # ways to versions aside of their traffic
        self.deaf: set[int] = set()  # versions that get no request, whatever their weight
        self._route: Route | None = None
        self._arms: dict[int, Arm] = {}
        self._rng = np.random.default_rng(seed)

    def apply(self, model: ModelSpec, route: Route) -> None:
        """Remember the route."""
        del model
        self._route = route
        self.history.append(route)

    def wait_ready(self, model: ModelSpec, version: int, seconds: float) -> None:
        """Ready at once, or what `refusals` holds."""
        del model, seconds
        if self._route is None or version not in self._route.versions:
            raise AssertionError(f"version {version} is waited for and does not run")
        if version in self.refusals:
            raise self.refusals[version]

    def replay(self, model: ModelSpec, version: int, rows: Sequence[Mapping[str, Any]]) -> Replayed:
        """Fails as many as `replay_failures` says of the version."""
        del model
        failed = min(len(rows), self.replay_failures.get(version, 0))
        return Replayed(len(rows), failed, 0, "500: rehearsed" if failed else "", 5.0)

    def aside(self, model: ModelSpec, version: int) -> Aside | None:
        """No way, unless `asides` has one for the version."""
        del model
        return self.asides.get(version)

    def observe(self, model: ModelSpec) -> dict[int, Arm]:
        """What the versions of the route have shown."""
        del model
        return {version: self._arms.get(version, Arm()) for version in (self._route.versions if self._route else ())}

    def route(self, model: ModelSpec) -> Route | None:
        """The route applied last."""
        del model
        return self._route

    def reset(self, model: ModelSpec) -> None:
        """Forget the route."""
        del model
        self._route = None

    def serve(
        self,
        requests: int,
        errors: Mapping[int, float] | None = None,
        slow: Mapping[int, float] | None = None,
        unreadable: Mapping[int, float] | None = None,
    ) -> None:
        """Draw requests: which version gets each, which fail or cannot be read (share by version), and which take more than 25 ms.

        Of those, 5 % unless said.
        """
        assert self._route is not None
        versions = [version for version, weight in self._route.weights.items() if weight]
        shares = np.array([self._route.weights[version] for version in versions]) / WHOLE
        drawn = dict(zip(versions, self._rng.multinomial(requests, shares).tolist(), strict=True))
        if self._route.shadow is not None:
            drawn[self._route.shadow] = requests
        for version, count in drawn.items():
            if version not in self.deaf:
                failed = int(self._rng.binomial(count, (errors or {}).get(version, 0.0)))
                late = int(self._rng.binomial(count, (slow or {}).get(version, 0.05)))
                before = self._arms.get(version, Arm(latency_ms=((5.0, 0), (25.0, 0), (float("inf"), 0))))
                added = (count // 2, count - late, count)
                latency = tuple((bound, total + more) for (bound, total), more in zip(before.latency_ms, added, strict=True))
                refused = int(self._rng.binomial(count, (unreadable or {}).get(version, 0.0)))
                self._arms[version] = Arm(
                    before.requests + count, before.errors + failed, latency, before.answered + count, before.unreadable + refused
                )
