"""Serving backends, with one interface: processes behind Envoy on one machine (`local`), Seldon Core or KServe on Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from perennial.errors import SettingMissing
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

        While an experiment is under way the champion's requests without a unit have an arm of their own, `WITHOUT_UNIT`.

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


def open_backend(settings: Settings, *, renew: bool = False) -> Backend:
    """The backend that the settings name; with `renew` servers of this machine that run with other settings are started anew.

    Raises:
        ServiceUnreachable: a cluster serves, and none is named.
        SettingMissing: the settings name what does not go together.
    """
    if settings.serving == "local":
        from perennial.serving.backends.local import LocalBackend

        return LocalBackend(settings, renew=renew)
    by_gateway = settings.ingress == "gateway-api"
    if settings.serving == "seldon" and settings.seldon_dialect == "v2":
        if by_gateway:
            raise SettingMissing(
                "PERENNIAL_INGRESS is gateway-api and PERENNIAL_SELDON_DIALECT is v2: the Experiments of Seldon Core 2 have exact weights "
                "and its own gateway. Unset PERENNIAL_INGRESS."
            )
        from perennial.serving.backends.seldon_core2 import Core2Backend

        return Core2Backend(settings)
    if by_gateway:
        from perennial.serving.backends.gateway_routed import GatewayRoutedBackend

        return GatewayRoutedBackend(settings)
    if settings.serving == "kserve":
        raise SettingMissing(
            "PERENNIAL_SERVING is kserve and PERENNIAL_INGRESS is own: by itself KServe keeps no version warm, copies no requests and has "
            "no weight below a percent. Set PERENNIAL_INGRESS=gateway-api and name the Gateway by PERENNIAL_GATEWAY."
        )
    from perennial.serving.backends.seldon import SeldonBackend

    return SeldonBackend(settings)
