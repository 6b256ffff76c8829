"""Serving backends, with one interface: processes behind Envoy on one machine (`local`), or Seldon Core on Kubernetes (`seldon`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from perennial.serving.aside import Aside
from perennial.serving.replayed import Replayed
from perennial.serving.route import Arm, Route
from perennial.settings import Settings
from perennial.specs import ModelSpec


class Backend(Protocol):
    """Servers and the traffic between them."""

    def apply(self, model: ModelSpec, route: Route) -> None:
        """Make this the model's route: its versions run, or are being started, and have these weights. Repeating it changes nothing.

        A version that is not ready yet gets no request, whatever its weight: wait for it with `wait_ready` before it gets one.

        Raises:
            ServiceUnreachable: servers cannot be started.
        """
        ...

    def wait_ready(self, model: ModelSpec, version: int, seconds: float) -> None:
        """Return once the version serves.

        Raises:
            ReleaseRefused: the version does not give its golden rows the scores that training gave them, or has damaged files.
            ServiceUnreachable: it is not ready after `seconds`.
        """
        ...

    def replay(self, model: ModelSpec, version: int, rows: Sequence[Mapping[str, Any]]) -> Replayed | None:
        """Send requests of one row each to a version that is ready, aside of all that counts; None where that cannot be done.

        They warm it and probe it. Nobody's prediction is logged, and no count moves.
        """
        ...

    def aside(self, model: ModelSpec, version: int) -> Aside | None:
        """A way to a version that is ready, aside of all that counts, as `replay` goes; None where there is none.

        Raises:
            ServiceUnreachable: its server is gone.
        """
        ...

    def observe(self, model: ModelSpec) -> dict[int, Arm]:
        """The counts of every version of the model's route so far; they only grow while a version is in the route.

        Raises:
            ServiceUnreachable: the gateway does not answer.
        """
        ...

    def route(self, model: ModelSpec) -> Route | None:
        """The route that is applied now; None if the model has none."""
        ...

    def reset(self, model: ModelSpec) -> None:
        """Take the model off the gateway and stop its servers. No error if it has none."""
        ...


def open_backend(settings: Settings) -> Backend:
    """The backend that the settings name.

    Raises:
        ServiceUnreachable: Seldon Core serves, and no cluster is named.
    """
    if settings.serving == "local":
        from perennial.serving.backends.local import LocalBackend

        return LocalBackend(settings)
    if settings.seldon_dialect == "v2":
        from perennial.serving.backends.seldon_core2 import Core2Backend

        return Core2Backend(settings)
    from perennial.serving.backends.seldon import SeldonBackend

    return SeldonBackend(settings)
