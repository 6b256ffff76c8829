"""What serving on Kubernetes has in common where each version has pods of its own: Seldon Core 1 and KServe.

Versions are ready by the word of their own pods, their counts come from Prometheus, and that traffic has moved is seen through the route
itself, where each server names its version: the status of an operator's object says so while it is stale.
"""

from __future__ import annotations

import dataclasses
import http.client
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar
from urllib.parse import urlsplit

from perennial.errors import ReleaseRefused, ServiceUnreachable
from perennial.serving.backends import served_pods
from perennial.serving.backends.kubernetes_api import KubernetesApi
from perennial.serving.backends.observation import add_in_store
from perennial.serving.backends.prometheus import STALE_SECONDS, Prometheus
from perennial.serving.backends.server_pod import PORT
from perennial.serving.backends.without_aside import WithoutAside
from perennial.serving.backends.written_route import MODEL, VERSION
from perennial.serving.route import Arm, Route
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import open_store

Json = dict[str, Any]

TAKE_UP_SECONDS = 60.0
UNSEEN_PROBES = 20  # in a row without a version: at half of the traffic it would be among them but for once in a million
POLL_SECONDS = 0.2
_PROBE_SECONDS = 0.01
_SILENT_PROBES = 5  # in a row that no version answers: the model is off the gateway
_VERSION_HEADER = "x-perennial-version"  # every answer of a server has it


class VersionsInPods(WithoutAside):
    """The part of a backend that looks at pods, counts and answers."""

    OBJECT: ClassVar[str]  # kind of the object that holds the model's route
    operator: str  # what makes Deployments of versions: where to look when nothing happens

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = KubernetesApi(settings.serving_namespace)

    def route(self, model: ModelSpec) -> Route | None:
        """See `Backend.route`."""
        raise NotImplementedError

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
            time.sleep(POLL_SECONDS)
        if not route.weights.get(version):
            self._refuse_leak(model, version)
            return
        self._gets_traffic(model, version)
        probe = Probe(self.settings, model)
        while (answered := probe.ask()) != version:
            if time.monotonic() >= deadline:
                last_answer = f"the last answer came from version {answered}" if answered else f"the last answer was {probe.said}"
                raise ServiceUnreachable(
                    f"Version {version} of {model.name} is ready and gets no request after {seconds:g} s: {last_answer}. "
                    f"Look at {self.operator} and at the ingress behind {probe.url}."
                )

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
                        f"make it scrape /metrics on port {PORT} of the pods with the label {MODEL} in the "
                        f"namespace {self.api.namespace}."
                    )
            return scraped.arms

        arms = add_in_store(open_store(self.settings.store), model.name, route.versions, figures)
        return {version: dataclasses.replace(arm, healthy=ready[version] >= 0) for version, arm in arms.items()}

    def versions_ready(self, model: ModelSpec, versions: Sequence[int]) -> bool:
        """Whether all replicas of each of these versions are ready, as it is described now."""
        for version in versions:
            deployments = self._deployments(model, version)
            if not deployments or not all(served_pods.complete(deployment) for deployment in deployments):
                return False
        return True

    def wait_gone(self, model: ModelSpec) -> None:
        """Return once no version answers any more and its Deployments are on their way out."""
        deadline = time.monotonic() + TAKE_UP_SECONDS
        probe, silent = Probe(self.settings, model), 0
        while (left := self._existing({MODEL: model.name})) or silent < _SILENT_PROBES:
            answered = probe.ask()
            silent = 0 if answered else silent + 1
            if time.monotonic() >= deadline:
                what = f"The Deployment {left[0]['metadata']['name']} is still there" if left else f"Version {answered} still answers"
                raise ServiceUnreachable(
                    f"{what} {TAKE_UP_SECONDS:g} s after the {self.OBJECT} of {model.name} was deleted: "
                    f"look at {self.operator} and at the ingress behind {probe.url}."
                )
            if left:
                time.sleep(POLL_SECONDS)

    def wait_taken_up(self, model: ModelSpec, had: Set[int], serving: Set[int]) -> None:
        """Wait until requests reach all versions that have just got a share of them, and none that has no share.

        Args:
            model: the model.
            had: versions that shared the traffic before.
            serving: versions that are to share it now.

        Raises:
            ServiceUnreachable: that does not come about.
        """
        if had == serving:
            return
        deadline = time.monotonic() + TAKE_UP_SECONDS
        probe, awaited, clean = Probe(self.settings, model), {*serving} - {*had}, 0
        while awaited or clean < UNSEEN_PROBES:
            answered = probe.ask()
            awaited.discard(answered or 0)
            clean = clean + 1 if answered in serving else 0
            if time.monotonic() >= deadline:
                last_answer = f"version {answered} still answers" if answered else f"the last answer was {probe.said}"
                lacking = f"version {min(awaited)} gets no request" if awaited else last_answer
                raise ServiceUnreachable(
                    f"The traffic of {model.name} has not moved {TAKE_UP_SECONDS:g} s after its {self.OBJECT} was changed: {lacking}. "
                    f"Look at {self.operator} and at the ingress behind {probe.url}."
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

    def _gets_traffic(self, model: ModelSpec, version: int) -> None:
        """Called before it is seen whether a version that is ready gets its share: for what only then can give it one."""

    def _prometheus(self) -> Prometheus:
        return Prometheus(self.settings.prometheus_url, self.api.namespace)

    def _deployments(self, model: ModelSpec, version: int) -> list[Json]:
        labels = {MODEL: model.name, VERSION: str(version)}
        return self._existing(labels)

    def _existing(self, labels: Mapping[str, str]) -> list[Json]:
        """Deployments that are not on their way out already."""
        return [deployment for deployment in self.api.list("deployments", labels) if not deployment["metadata"].get("deletionTimestamp")]

    def _pods(self, model: ModelSpec, version: int) -> list[Json]:
        return self.api.list("pods", {MODEL: model.name, VERSION: str(version)})

    def _ready_seconds(self, model: ModelSpec, route: Route) -> dict[int, float]:
        """For how long each version has had a ready pod; -1 where it has none."""
        ready_seconds: dict[int, float] = dict.fromkeys(route.versions, -1.0)
        for pod in self.api.list("pods", {MODEL: model.name}):
            number = pod["metadata"]["labels"].get(VERSION, "")
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
            said = served_pods.ask_ready(pod, PORT, max(0.1, min(2.0, deadline - time.monotonic())))
            if said is None:
                reason = reason or f"its server does not answer at {pod['status'].get('podIP', 'a pod without an address')}:{PORT}"
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
        trouble = served_pods.trouble(deployments, pods, self.operator)
        if not trouble.died:
            return f"{trouble.sentence} ({reason})" if reason and trouble.sentence.endswith("not ready") else trouble.sentence
        try:
            last = self.api.last_lines(*trouble.died)
        except ServiceUnreachable as error:
            last = str(error)
        return f"{trouble.sentence}. Its last words: {last}" if last else trouble.sentence


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
