"""Renders a model's route as one HTTPRoute of the Gateway API (`gateway.networking.k8s.io/v1`). Pure: documents in, documents out.

Each version has a Service; the HTTPRoute shares the requests among them. What its specification says decided the rest:

* Weights are proportions, so basis points stand as they are.
* Requests for a Service without a ready pod are answered 500, whatever their weight: so the caller says which versions may take requests
  now, and the others stay out until they may.
* An idle version is in no weighted rule. As any version, a rule of its own gives it the requests with the header `x-predictor`.
* A mirrored request goes to the shadow's Service. Envoy, which most gateways are, marks it by `-shadow` behind its host.
* A rule's prefix is taken away, so that a server gets the same paths as behind any other gateway.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from perennial.errors import SettingMissing
from perennial.serving.backends.written_route import MODEL, ROUTE, name_of, read_route, route_text
from perennial.serving.route import Route
from perennial.settings import Settings
from perennial.specs import ModelSpec

Json = dict[str, Any]

API_VERSION, KIND, PLURAL = "gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"
MOST_RULES = 16  # of an HTTPRoute: one for each version that runs, and one for all requests
VERSION_ASKED_FOR = "x-predictor"  # header of a request for one version, whatever its share
_NAME = re.compile(r"([a-z0-9](?:[-a-z0-9]*[a-z0-9])?)/([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)")
_LONGEST_MS = 99_999  # a duration has at most five digits


def read_gateway(settings: Settings) -> tuple[str, str]:
    """Namespace and name of the Gateway that routes are attached to.

    Raises:
        SettingMissing: none is named.
    """
    named = _NAME.fullmatch(settings.gateway)
    if named is None:
        raise SettingMissing(
            f"PERENNIAL_GATEWAY is {settings.gateway!r}: with PERENNIAL_INGRESS=gateway-api it names the Gateway that routes are attached "
            "to, as namespace/name."
        )
    return named[1], named[2]


def shares(route: Route, ready: Set[int], now: Mapping[int, int]) -> dict[int, int]:
    """Which versions share the requests, with their weights: those of a route that are ready.

    Where none is, the requests stay with the versions that have them now, if any.
    """
    wanted = {version: weight for version, weight in sorted(route.weights.items()) if weight}
    return {version: weight for version, weight in wanted.items() if version in ready} or dict(now) or wanted


def shares_of(live: Mapping[str, Any] | None, versions: Iterable[int], service: Callable[[int], str]) -> dict[int, int]:
    """Which of these versions share the requests by a live HTTPRoute, with their weights."""
    rules = (live or {}).get("spec", {}).get("rules") or ()
    shared = [rule for rule in rules if not any("headers" in match for match in rule.get("matches") or ())]
    weights = {backend["name"]: backend.get("weight", 1) for rule in shared for backend in rule.get("backendRefs") or ()}
    return {version: weights[service(version)] for version in sorted(versions) if weights.get(service(version))}


def render(model: ModelSpec, route: Route, settings: Settings, shared: Mapping[int, int], service: Callable[[int], str], port: int) -> Json:
    """The HTTPRoute of a model.

    Args:
        model: the model.
        route: what is to be served; it stands in the annotation.
        settings: namespace, Gateway and path.
        shared: the versions that share the requests now, with their weights.
        service: name of a version's Service.
        port: of each Service.

    Raises:
        ValueError: the result would not do what the route says; the sentence tells where.
    """
    namespace, gateway = read_gateway(settings)
    prefix = settings.prediction_path(model.name).removesuffix("/api/v1.0/predictions")

    bare = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}

    def to(version: int) -> Json:
        return {"name": service(version), "port": port}

    def asked_for(version: int) -> Json:
        return {"type": "Exact", "name": VERSION_ASKED_FOR, "value": str(version)}

    def rule(name: str, match: Json, filters: list[Json], backends: list[Json]) -> Json:
        return {
            "name": name,
            "matches": [{"path": {"type": "PathPrefix", "value": prefix}, **match}],
            "filters": [
                {"type": "URLRewrite", "urlRewrite": {"path": bare}},
                *filters,
            ],
            "backendRefs": backends,
            "timeouts": {"request": _duration(model.serving.timeout_seconds)},
        }

    copied = [] if route.shadow is None or route.shadow in shared else [route.shadow]
    mirror: list[Json] = [{"type": "RequestMirror", "requestMirror": {"backendRef": to(version)}} for version in copied]
    document: Json = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name_of(model),
            "namespace": settings.serving_namespace,
            "labels": {"app.kubernetes.io/part-of": "perennial", MODEL: model.name},
            "annotations": {ROUTE: route_text(route)},
        },
        "spec": {
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": namespace, "name": gateway}],
            "rules": [
                *(
                    rule(f"v{version}", {"headers": [asked_for(version)]}, [], [to(version)])
                    for version in sorted({*route.versions, *shared})
                ),
                rule("all", {}, mirror, [{**to(version), "weight": weight} for version, weight in shared.items()]),
            ],
        },
    }
    if problems := faults(document):
        raise ValueError(f"The HTTPRoute of {model.name} would be wrong: {'; '.join(problems)}.")
    return document


def faults(document: Mapping[str, Any]) -> list[str]:
    """A sentence for each setting that a gateway would not carry out as meant."""
    *versions, shared = document["spec"]["rules"]
    sentences = []
    if len(versions) + 1 > MOST_RULES:
        sentences.append(f"it has {len(versions)} versions and may have {MOST_RULES - 1}: let older ones go")
    names = [backend["name"] for backend in shared["backendRefs"]]
    weights = [backend["weight"] for backend in shared["backendRefs"]]
    if not names or any(weight <= 0 for weight in weights):
        sentences.append("a version that shares the traffic has no weight, or none shares it")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sentences.append(f"{twice[0]} shares the traffic twice")
    known = {backend["name"] for rule in versions for backend in rule["backendRefs"]}
    mirrored = [part["requestMirror"]["backendRef"]["name"] for part in shared["filters"] if "requestMirror" in part]
    sentences += [f"{name} is named and cannot be addressed" for name in (*names, *mirrored) if name not in known]
    sentences += [f"{name} both shares the traffic and gets a copy of it" for name in mirrored if name in names]
    return sentences


def refused_by(live: Mapping[str, Any]) -> str:
    """Why no gateway takes a live HTTPRoute, by its status; empty if one does, or none has said anything."""
    for parent in (live.get("status") or {}).get("parents") or ():
        for condition in parent.get("conditions") or ():
            stale = condition.get("observedGeneration", 0) < live["metadata"].get("generation", 0)
            if condition["type"] in ("Accepted", "ResolvedRefs") and condition["status"] == "False" and not stale:
                return f"the gateway says {condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    return ""


def same(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a live HTTPRoute is what was rendered."""
    return ours(live) == ours(wanted)


def ours(document: Mapping[str, Any]) -> tuple[Route | None, Any, Any]:
    """What of an HTTPRoute only Perennial writes: the API server adds defaults to the rest."""
    spec = document["spec"]
    rules = [
        (
            rule.get("name"),
            [(backend["name"], backend.get("port"), backend.get("weight", 1)) for backend in rule.get("backendRefs") or ()],
            [part["requestMirror"]["backendRef"]["name"] for part in rule.get("filters") or () if "requestMirror" in part],
            [match["path"]["value"] for match in rule.get("matches") or ()],
            (rule.get("timeouts") or {}).get("request"),
        )
        for rule in spec.get("rules") or ()
    ]
    return read_route(document), rules, [(parent.get("namespace"), parent["name"]) for parent in spec.get("parentRefs") or ()]


def _duration(seconds: float) -> str:
    milliseconds = math.ceil(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds <= _LONGEST_MS else f"{math.ceil(seconds)}s"
