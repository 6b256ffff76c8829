"""Serves on Kubernetes by Seldon Core 1: one SeldonDeployment for each model, which the operator turns into pods and traffic.

The object is the state: its annotation holds the exact route, and every write names the object that it rests on, so of two
writers one is told. Traffic is moved by writing the object; that it has moved is seen through the route itself, where each
server names its version, never from the object's status, which Seldon Core calls Available while it is stale.

The operator moves traffic only when every version of the object is ready. An idle version that is not would hold up all
others, so a change of traffic is written without such a version first, and with it once the traffic has moved.
"""

from __future__ import annotations

import dataclasses
import http.client
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from perennial.errors import ReleaseRefused, ServiceUnreachable
from perennial.serving.aside import Aside
from perennial.serving.backends import seldon_v1, served_pods
from perennial.serving.backends.kubernetes_api import KubernetesApi
from perennial.serving.backends.observation import KeptInStore, add_in_store
from perennial.serving.backends.prometheus import STALE_SECONDS, Prometheus
from perennial.serving.replayed import Replayed
from perennial.serving.route import Arm, Route
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import open_store

Json = dict[str, Any]

TAKE_UP_SECONDS = 60.0
UNSEEN_PROBES = 20  # in a row without a version: at half of the traffic it would be among them but for once in a million
_POLL_SECONDS = 0.2
_PROBE_SECONDS = 0.01
_SILENT_PROBES = 5  # in a row that no version answers: the model is off the gateway
_VERSION_HEADER = "x-perennial-version"  # every answer of a server has it


class SeldonBackend:
    """Versions as predictors of a SeldonDeployment."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = KubernetesApi(settings.serving_namespace)

    def apply(self, model: ModelSpec, route: Route) -> None:
        """See `Backend.apply`. Returns once the traffic has moved, if the versions that are to have it are ready."""
        template = seldon_v1.read_template(self.settings)
        live = self._live(model)
        now = None if live is None else seldon_v1.read_route(live)
        if live is not None and now is None:
            raise ServiceUnreachable(
                f"There is a SeldonDeployment {seldon_v1.name_of(model)} in the namespace {self.api.namespace} that Perennial "
                "has not made: delete it, or rename the model."
            )
        if live is None or now is None:
            self._write(live, seldon_v1.render(model, route, self.api.namespace, template))
            return
        can_move = self._ready(model, [version for version, weight in route.weights.items() if weight])
        traffic = _without_idle(route)
        if can_move and traffic != _without_idle(now):
            not_ready = [version for version, weight in route.weights.items() if not weight and not self._ready(model, [version])]
            if not_ready:
                live = self._write(live, seldon_v1.render(model, _without(route, not_ready), self.api.namespace, template))
                self._taken_up(model, now, route)
        self._write(live, seldon_v1.render(model, route, self.api.namespace, template))
        if can_move:
            self._taken_up(model, now, route)

    def wait_ready(self, model: ModelSpec, version: int, seconds: float) -> None:
        """See `Backend.wait_ready`. Ready means that all replicas of the version's newest description say so, and that the route leads to
        it if it has a weight, and not if it has none.
        """
        deadline = time.monotonic() + seconds
        route = self.route(model)
        if route is None or version not in route.versions:
            raise ServiceUnreachable(f"Version {version} of {model.name} is not among the versions that run: apply a route that has it.")
        digest = route.digests[version]
        while True:
            deployments, pods = self._deployments(model, version), self._pods(model, version)
            reason = self._refusal_or_reason(pods, digest, deadline)
            if not reason and deployments and all(served_pods.complete(deployment) for deployment in deployments):
                break
            if time.monotonic() >= deadline:
                raise ServiceUnreachable(
                    f"Version {version} of {model.name} is not ready after {seconds:g} s: {self._cause(deployments, pods, reason)}."
                )
            time.sleep(_POLL_SECONDS)
        if not route.weights.get(version):
            self._refuse_leak(model, version)
            return
        probe = Probe(self.settings, model)
        while (answered := probe.ask()) != version:
            if time.monotonic() >= deadline:
                last_answer = f"the last answer came from version {answered}" if answered else f"the last answer was {probe.said}"
                raise ServiceUnreachable(
                    f"Version {version} of {model.name} is ready and gets no request after {seconds:g} s: {last_answer}. "
                    f"Look at the operator of Seldon Core and at the ingress behind {probe.url}."
                )

    def replay(self, model: ModelSpec, version: int, rows: Sequence[Mapping[str, Any]]) -> Replayed | None:
        """See `Backend.replay`: not here, where a mesh that is not ours hands on whatever headers callers send."""
        del model, version, rows
        return None

    def aside(self, model: ModelSpec, version: int) -> Aside | None:
        """See `Backend.aside`: not here, as for `replay`."""
        del model, version
        return None

    def observe(self, model: ModelSpec) -> dict[int, Arm]:
        """See `Backend.observe`. What was cut off or came too late on the way to a pod is not seen here: pods count what they answered."""
        route = self.route(model)
        if route is None:
            return {}
        prometheus, ready = self._prometheus(), dict[int, float]()

        def figures() -> Mapping[str, Arm]:
            scraped = prometheus.figures(model.name)
            ready.update(self._ready_seconds(model, route))
            for version in route.versions:
                if ready[version] > STALE_SECONDS / 2 and scraped.age_seconds.get(version, STALE_SECONDS) >= STALE_SECONDS:
                    raise ServiceUnreachable(
                        f"The Prometheus at {prometheus.url} has no new figures of version {version} of {model.name}, "
                        f"whose pods have been ready for {ready[version]:.0f} s: "
                        f"make it scrape /metrics on port {seldon_v1.PORT} of the pods with the label {seldon_v1.MODEL} in the "
                        f"namespace {self.api.namespace}."
                    )
            return scraped.arms

        arms = add_in_store(open_store(self.settings.store), model.name, route.versions, figures)
        return {version: dataclasses.replace(arm, healthy=ready[version] >= 0) for version, arm in arms.items()}

    def route(self, model: ModelSpec) -> Route | None:
        """See `Backend.route`."""
        live = self._live(model)
        return None if live is None else seldon_v1.read_route(live)

    def reset(self, model: ModelSpec) -> None:
        """See `Backend.reset`. Returns once no version answers any more and its Deployments are on their way out."""
        self.api.delete(seldon_v1.PLURAL, seldon_v1.name_of(model))
        self._wait_gone(model)
        KeptInStore(open_store(self.settings.store), model.name).forget()

    def _wait_gone(self, model: ModelSpec) -> None:
        deadline = time.monotonic() + TAKE_UP_SECONDS
        probe, silent = Probe(self.settings, model), 0
        while (left := self._existing({seldon_v1.MODEL: model.name})) or silent < _SILENT_PROBES:
            answered = probe.ask()
            silent = 0 if answered else silent + 1
            if time.monotonic() >= deadline:
                what = f"The Deployment {left[0]['metadata']['name']} is still there" if left else f"Version {answered} still answers"
                raise ServiceUnreachable(
                    f"{what} {TAKE_UP_SECONDS:g} s after the SeldonDeployment of {model.name} was deleted: "
                    f"look at the operator of Seldon Core and at the ingress behind {probe.url}."
                )
            if left:
                time.sleep(_POLL_SECONDS)

    def _prometheus(self) -> Prometheus:
        return Prometheus(self.settings.prometheus_url, self.api.namespace)

    def _live(self, model: ModelSpec) -> Json | None:
        return self.api.find(seldon_v1.PLURAL, seldon_v1.name_of(model))

    def _write(self, live: Json | None, wanted: Json) -> Json:
        """Make an object what was rendered, unless somebody else has changed it since it was read."""
        return self.api.write_if_unchanged(seldon_v1.PLURAL, live, wanted, same=seldon_v1.same, ours=_ours)

    def _ready(self, model: ModelSpec, versions: Sequence[int]) -> bool:
        for version in versions:
            deployments = self._deployments(model, version)
            if not deployments or not all(served_pods.complete(deployment) for deployment in deployments):
                return False
        return True

    def _deployments(self, model: ModelSpec, version: int) -> list[Json]:
        labels = {seldon_v1.MODEL: model.name, seldon_v1.VERSION: str(version)}
        return self._existing(labels)

    def _existing(self, labels: Mapping[str, str]) -> list[Json]:
        """Deployments that are not on their way out already."""
        return [deployment for deployment in self.api.list("deployments", labels) if not deployment["metadata"].get("deletionTimestamp")]

    def _pods(self, model: ModelSpec, version: int) -> list[Json]:
        return self.api.list("pods", {seldon_v1.MODEL: model.name, seldon_v1.VERSION: str(version)})

    def _ready_seconds(self, model: ModelSpec, route: Route) -> dict[int, float]:
        """For how long each version has had a ready pod; -1 where it has none."""
        ready_seconds: dict[int, float] = dict.fromkeys(route.versions, -1.0)
        for pod in self.api.list("pods", {seldon_v1.MODEL: model.name}):
            number = pod["metadata"]["labels"].get(seldon_v1.VERSION, "")
            seconds = served_pods.ready_seconds(pod)
            if seconds is not None and number.isdigit() and int(number) in ready_seconds:
                ready_seconds[int(number)] = max(ready_seconds[int(number)], seconds, 0.0)
        return ready_seconds

    def _refusal_or_reason(self, pods: Sequence[Mapping[str, Any]], digest: str, deadline: float) -> str:
        """Why the pods do not serve by their own word; empty if all do. Raises ReleaseRefused where a server says that it never will."""
        reason = "" if pods else "it has no pod"
        for pod in pods:
            if served_pods.leaving(pod):
                continue
            said = served_pods.ask_ready(pod, seldon_v1.PORT, max(0.1, min(2.0, deadline - time.monotonic())))
            if said is None:
                reason = (
                    reason or f"its server does not answer at {pod['status'].get('podIP', 'a pod without an address')}:{seldon_v1.PORT}"
                )
            elif said.get("digest") != digest:
                reason = reason or "its pods still serve another content"
            elif said["refused"]:
                raise ReleaseRefused(said["reason"])
            elif not said["ready"]:
                reason = reason or said["reason"]
        return reason

    def _cause(self, deployments: Sequence[Json], pods: Sequence[Json], reason: str) -> str:
        if any(served_pods.ready_seconds(pod) is not None for pod in pods) and reason:
            return f"{reason}, though Kubernetes finds it ready: a NetworkPolicy may be in the way"
        trouble = served_pods.trouble(deployments, pods)
        if not trouble.died:
            return f"{trouble.sentence} ({reason})" if reason and trouble.sentence.endswith("not ready") else trouble.sentence
        try:
            last = self.api.last_lines(*trouble.died)
        except ServiceUnreachable as error:
            last = str(error)
        return f"{trouble.sentence}. Its last words: {last}" if last else trouble.sentence

    def _taken_up(self, model: ModelSpec, before: Route, route: Route) -> None:
        """Wait until requests reach all versions that have just got a share of them, and none that has no share.

        Raises:
            ServiceUnreachable: that does not come about.
        """
        had = {version for version, weight in before.weights.items() if weight}
        serving = {version for version, weight in route.weights.items() if weight}
        if had == serving:
            return
        deadline = time.monotonic() + TAKE_UP_SECONDS
        probe, awaited, clean = Probe(self.settings, model), serving - had, 0
        while awaited or clean < UNSEEN_PROBES:
            answered = probe.ask()
            awaited.discard(answered or 0)
            clean = clean + 1 if answered in serving else 0
            if time.monotonic() >= deadline:
                last_answer = f"version {answered} still answers" if answered else f"the last answer was {probe.said}"
                lacking = f"version {min(awaited)} gets no request" if awaited else last_answer
                raise ServiceUnreachable(
                    f"The traffic of {model.name} has not moved {TAKE_UP_SECONDS:g} s after its SeldonDeployment was changed: {lacking}. "
                    f"Look at the operator of Seldon Core and at the ingress behind {probe.url}."
                )

    def _refuse_leak(self, model: ModelSpec, version: int) -> None:
        """Raises ServiceUnreachable where the ingress sends requests to a version that has no weight."""
        probe = Probe(self.settings, model)
        if any(probe.ask() == version for _ in range(UNSEEN_PROBES)):
            raise ServiceUnreachable(
                f"The ingress behind {probe.url} sends requests to version {version} of {model.name}, "
                "which has no share of the traffic: it does not take a weight of 0 for none. "
                "Use Istio, which does, or another ingress."
            )


class Probe:
    """Asks through the route which version answers. `/ready` of a server costs nothing, and no counter or log takes it for a prediction."""

    def __init__(self, settings: Settings, model: ModelSpec) -> None:
        self.url = settings.gateway_url.rstrip("/") + settings.prediction_path(model.name).removesuffix("api/v1.0/predictions") + "ready"
        self.said = "none"  # what the last answer was, where no version gave it

    def ask(self) -> int | None:
        """The version that answers one request; None if none does."""
        address = urlsplit(self.url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.hostname or "", address.port, timeout=5)  # anew each time: a kept one may be tied to one server
        time.sleep(_PROBE_SECONDS)
        try:
            connection.request("GET", address.path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.said = f"none ({type(error).__name__}: {error})"
            return None
        finally:
            connection.close()
        version = answer.getheader(_VERSION_HEADER, "")
        self.said = f"{answer.status} {answer.reason}"
        return int(version) if version.isdigit() else None


def _without_idle(route: Route) -> tuple[dict[int, int], int | None]:
    return seldon_v1.percents({version: weight for version, weight in route.weights.items() if weight}), route.shadow


def _without(route: Route, versions: Sequence[int]) -> Route:
    """The route without some idle versions."""
    champion = None if route.champion in versions else route.champion
    return Route({v: weight for v, weight in route.weights.items() if v not in versions}, route.shadow, route.digests, champion)


def _ours(document: Json) -> tuple[Any, ...]:
    """What of an object its operator never writes."""
    return document["metadata"]["uid"], document["metadata"].get("annotations"), document["spec"]
