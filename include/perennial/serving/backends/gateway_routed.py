"""Serves on Kubernetes behind a gateway of the Gateway API: objects of KServe or Seldon Core 1 run the versions, an HTTPRoute shares the
traffic among them.

The HTTPRoute is the state: its annotation holds the exact route, and every write names the object that it rests on, so of two writers one
is told. Versions are described before the HTTPRoute names them, and go after it does not and no answer comes from them any more.

A gateway answers 500 for a Service without a ready pod. So a version that is not ready stays out of the HTTPRoute's weights, though the
route in the annotation gives it one: `wait_ready` lets it in.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, Protocol

from perennial.errors import LedgerConflict, ServiceUnreachable
from perennial.serving.backends import gateway_api, kserve, seldon_v1
from perennial.serving.backends.kubernetes_api import KubernetesApi
from perennial.serving.backends.observation import KeptInStore
from perennial.serving.backends.server_pod import PORT, read_template
from perennial.serving.backends.versions_in_pods import VersionsInPods
from perennial.serving.backends.written_route import MODEL, VERSION, name_of, ours, read_route
from perennial.serving.route import Route
from perennial.serving.traffic import with_idle
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import open_store

Json = dict[str, Any]

_TRIES = 5


class Workloads(Protocol):
    """The objects that run versions, of one product."""

    operator: str  # makes Deployments of them
    port: int  # of each version's Service

    def service(self, model: ModelSpec, version: int) -> str:
        """Name of a version's Service."""
        ...

    def put(self, model: ModelSpec, route: Route) -> None:
        """Have all versions of a route run; others stay as they are."""
        ...

    def keep(self, model: ModelSpec, route: Route) -> None:
        """Stop the versions that are not in a route, all of whose versions run."""
        ...

    def remove(self, model: ModelSpec) -> None:
        """Stop all versions."""
        ...


class KServeWorkloads:
    """An InferenceService for each version."""

    operator, port = "the controller of KServe", kserve.SERVICE_PORT

    def __init__(self, api: KubernetesApi, settings: Settings) -> None:
        self.api, self.settings = api, settings

    def service(self, model: ModelSpec, version: int) -> str:
        """See `Workloads`."""
        return kserve.service_name(model, version)

    def put(self, model: ModelSpec, route: Route) -> None:
        """See `Workloads`."""
        template = read_template(self.settings)
        for version in route.versions:
            wanted = kserve.render(model, version, route.digests[version], self.api.namespace, template)
            self.api.put(kserve.PLURAL, wanted, same=kserve.same, ours=ours)

    def keep(self, model: ModelSpec, route: Route) -> None:
        """See `Workloads`."""
        self._remove(model, route.versions)

    def remove(self, model: ModelSpec) -> None:
        """See `Workloads`."""
        self._remove(model, ())

    def _remove(self, model: ModelSpec, staying: Collection[int]) -> None:
        for live in self.api.list(kserve.PLURAL, {MODEL: model.name}):
            if int(live["metadata"]["labels"][VERSION]) not in staying:
                self.api.delete(kserve.PLURAL, live["metadata"]["name"])


class SeldonWorkloads:
    """Predictors of a SeldonDeployment; the traffic that it says itself reaches nobody who comes by the gateway."""

    operator, port = "the operator of Seldon Core", PORT

    def __init__(self, api: KubernetesApi, settings: Settings) -> None:
        self.api, self.settings = api, settings

    def service(self, model: ModelSpec, version: int) -> str:
        """See `Workloads`."""
        return f"{name_of(model)}-{seldon_v1.predictor_name(version)}"

    def put(self, model: ModelSpec, route: Route) -> None:
        """See `Workloads`."""
        live = self.api.find(seldon_v1.PLURAL, name_of(model))
        before = None if live is None else read_route(live)
        leaving = {} if before is None else {v: before.digests[v] for v in before.versions if v not in route.versions}
        self.keep(model, with_idle(route, leaving))

    def keep(self, model: ModelSpec, route: Route) -> None:
        """See `Workloads`."""
        wanted = seldon_v1.render(model, route, self.api.namespace, read_template(self.settings))
        self.api.put(seldon_v1.PLURAL, wanted, same=seldon_v1.same, ours=ours)

    def remove(self, model: ModelSpec) -> None:
        """See `Workloads`."""
        self.api.delete(seldon_v1.PLURAL, name_of(model))


class GatewayRoutedBackend(VersionsInPods):
    """Versions that an HTTPRoute shares the traffic among.

    Raises:
        SettingMissing: no Gateway is named.
    """

    OBJECT = gateway_api.KIND

    def __init__(self, settings: Settings) -> None:
        gateway_api.read_gateway(settings)
        super().__init__(settings)
        self.workloads: Workloads = (KServeWorkloads if settings.serving == "kserve" else SeldonWorkloads)(self.api, settings)
        self.operator = self.workloads.operator

    def apply(self, model: ModelSpec, route: Route) -> None:
        """See `Backend.apply`. Returns once the traffic has moved, if versions that are to have it are ready."""
        live = self._live(model)
        if live is not None and read_route(live) is None:
            raise ServiceUnreachable(
                f"There is an HTTPRoute {name_of(model)} in the namespace {self.api.namespace} that Perennial has not made: "
                "delete it, or rename the model."
            )
        self.workloads.put(model, route)
        self._share(model, live, route)

    def route(self, model: ModelSpec) -> Route | None:
        """See `Backend.route`."""
        live = self._live(model)
        return None if live is None else read_route(live)

    def reset(self, model: ModelSpec) -> None:
        """See `Backend.reset`. Returns once no version answers any more and its Deployments are on their way out."""
        self.api.delete(gateway_api.PLURAL, name_of(model))
        self.workloads.remove(model)
        self.wait_gone(model)
        KeptInStore(open_store(self.settings.store), model.name).forget()

    def _gets_traffic(self, model: ModelSpec, version: int) -> None:
        """Let a version that is ready have the share that the route gives it."""
        for attempt in range(_TRIES):
            live = self._live(model)
            route = None if live is None else read_route(live)
            if route is None or not route.weights.get(version) or version in self._shares(model, live, route):
                return
            try:
                self._share(model, live, route)
            except LedgerConflict:  # somebody else may just have let it in
                if attempt == _TRIES - 1:
                    raise

    def _share(self, model: ModelSpec, live: Json | None, route: Route) -> None:
        """Write the HTTPRoute with those versions that may take requests, wait until they do and no others, and stop what left."""
        before = None if live is None else read_route(live)
        now = {} if before is None else self._shares(model, live, before)
        ready = {v for v, weight in route.weights.items() if weight and (v in now or self.versions_ready(model, [v]))}
        shared = gateway_api.shares(route, ready, now)
        wanted = gateway_api.render(model, route, self.settings, shared, partial(self.workloads.service, model), self.workloads.port)
        written = self.api.write_if_unchanged(gateway_api.PLURAL, live, wanted, same=gateway_api.same, ours=gateway_api.ours)
        if before is None:
            return
        try:
            self.wait_taken_up(model, now.keys(), shared.keys())
        except ServiceUnreachable as error:
            why = gateway_api.refused_by(self.api.find(gateway_api.PLURAL, written["metadata"]["name"]) or written)
            raise ServiceUnreachable(f"{error} About the HTTPRoute {why}." if why else str(error)) from error
        self.workloads.keep(model, with_idle(route, {v: before.digests[v] for v in shared if v not in route.versions}))

    def _shares(self, model: ModelSpec, live: Json | None, route: Route) -> dict[int, int]:
        return gateway_api.shares_of(live, route.versions, partial(self.workloads.service, model))

    def _live(self, model: ModelSpec) -> Json | None:
        return self.api.find(gateway_api.PLURAL, name_of(model))
