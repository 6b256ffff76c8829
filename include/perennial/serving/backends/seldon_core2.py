"""Serves on Kubernetes by Seldon Core 2: a Model for each version, an Experiment for each model's traffic.

The Experiment is the state: its annotation holds the exact route. Models are made before the Experiment names them, and go
after it does not. Callers speak the Open Inference Protocol to Seldon's own gateway, not the requests of `docs/serving.md`.
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

from perennial.errors import ReleaseRefused, ServiceUnreachable
from perennial.serving.backends import seldon_v2
from perennial.serving.backends.kubernetes_api import KubernetesApi
from perennial.serving.backends.observation import KeptInStore, add_in_store
from perennial.serving.backends.prometheus import Prometheus
from perennial.serving.backends.without_aside import WithoutAside
from perennial.serving.backends.written_route import MODEL, name_of, read_route
from perennial.serving.route import Arm, Route
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import open_store

Json = dict[str, Any]

MUST_NOT = re.compile(r"Version \d+ of \S+ must not serve\..*", re.DOTALL)  # what the runtime says of a version for good
_POLL_SECONDS = 0.2


class Core2Backend(WithoutAside):
    """Versions as Models that an Experiment shares the traffic among."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = KubernetesApi(settings.serving_namespace)

    def apply(self, model: ModelSpec, route: Route) -> None:
        """See `Backend.apply`."""
        *models, experiment = seldon_v2.render(model, route, self.api.namespace, self.settings.store)
        before = self._experiment(model)
        store = open_store(self.settings.store)
        for version in route.versions:
            seldon_v2.told(model, route, version).write(store)
        for wanted in models:
            self.api.put(seldon_v2.MODELS, wanted, same=_same_spec, ours=lambda document: document["spec"])
        self._share(before, experiment)
        staying = {wanted["metadata"]["name"] for wanted in models}
        for document in self.api.list(seldon_v2.MODELS, {MODEL: model.name}):
            if document["metadata"]["name"] not in staying:
                self.api.delete(seldon_v2.MODELS, document["metadata"]["name"])

    def wait_ready(self, model: ModelSpec, version: int, seconds: float) -> None:
        """See `Backend.wait_ready`. Ready means that Seldon Core says so of the Model as it is described now, and of the Experiment where
        the version has a weight. The runtime replays the golden rows before it takes a version; why it does not is the Model's message.
        """
        deadline = time.monotonic() + seconds
        route = self.route(model)
        if route is None or version not in route.versions:
            raise ServiceUnreachable(f"Version {version} of {model.name} is not among the versions that run: apply a route that has it.")
        wanted = [(seldon_v2.MODELS, seldon_v2.model_name(model, version))]
        wanted += [(seldon_v2.EXPERIMENTS, name_of(model))] if route.weights.get(version) else []
        while reason := "; ".join(filter(None, (self._why_not(plural, name) for plural, name in wanted))):
            if for_good := MUST_NOT.search(reason):
                raise ReleaseRefused(for_good[0])
            if time.monotonic() >= deadline:
                raise ServiceUnreachable(f"Version {version} of {model.name} is not ready after {seconds:g} s: {reason}.")
            time.sleep(_POLL_SECONDS)

    def observe(self, model: ModelSpec) -> dict[int, Arm]:
        """See `Backend.observe`. The counters are those of our runtime in each server: what was cut off on the way there is not in them."""
        route = self.route(model)
        if route is None:
            return {}
        prometheus = Prometheus(self.settings.prometheus_url, self.api.namespace)
        arms = add_in_store(open_store(self.settings.store), model.name, route.versions, lambda: prometheus.figures(model.name).arms)
        healthy = {v: not self._why_not(seldon_v2.MODELS, seldon_v2.model_name(model, v)) for v in route.versions}
        return {v: dataclasses.replace(arm, healthy=healthy[v]) for v, arm in arms.items()}

    def route(self, model: ModelSpec) -> Route | None:
        """See `Backend.route`."""
        experiment = self._experiment(model)
        return None if experiment is None else read_route(experiment)

    def reset(self, model: ModelSpec) -> None:
        """See `Backend.reset`."""
        self.api.delete(seldon_v2.EXPERIMENTS, name_of(model))
        for document in self.api.list(seldon_v2.MODELS, {MODEL: model.name}):
            self.api.delete(seldon_v2.MODELS, document["metadata"]["name"])
        KeptInStore(open_store(self.settings.store), model.name).forget()

    def _experiment(self, model: ModelSpec) -> Json | None:
        return self.api.find(seldon_v2.EXPERIMENTS, name_of(model))

    def _share(self, before: Json | None, wanted: Json) -> None:
        """Write the Experiment, unless somebody else has changed it since it was read."""
        self.api.write_if_unchanged(
            seldon_v2.EXPERIMENTS, before, wanted, same=lambda live, rendered: _ours(live) == _ours(rendered), ours=_ours
        )

    def _why_not(self, plural: str, name: str) -> str:
        """Why an object is not ready as it is described now; empty if it is."""
        document = self.api.find(plural, name)
        if document is None:
            return f"{name} of {plural} is not there"
        status = document.get("status") or {}
        if status.get("observedGeneration", 0) < document["metadata"].get("generation", 0):
            return f"Seldon Core has not taken up {name} of {plural} yet: look at its scheduler"
        conditions = [condition for condition in status.get("conditions") or () if condition["type"] == "Ready"]
        if any(condition["status"] == "True" for condition in conditions):
            return ""
        messages = "; ".join(condition.get("message") or condition.get("reason") or "" for condition in conditions).strip("; ")
        return f"{name} of {plural} is not ready{f': {messages}' if messages else ''}"


def _ours(experiment: Json) -> tuple[Route | None, Json]:
    return read_route(experiment), experiment["spec"]


def _same_spec(live: Json, wanted: Json) -> bool:
    return bool(live["spec"] == wanted["spec"])
