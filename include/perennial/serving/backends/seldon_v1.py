"""Renders a model's route as one SeldonDeployment of Seldon Core 1 (`machinelearning.seldon.io/v1`). Pure: documents in, documents out.

One predictor `v<N>` for each version, all in one object, because only predictors of one object share traffic. What the
operator of Seldon Core 1 makes of it decided the rest:

* It moves traffic only once every Deployment of the object is ready, so no predictor gets a request before it can answer one.
* A predictor of traffic 0 (an idle version) is listed before those with traffic. Istio takes 0 as it stands. For Ambassador
  the operator leaves the first predictor's weight out and, in one form, weights of 0 as well, and what has no weight shares
  what the others leave over: all or half of the traffic if the champion came first, nothing if the idle ones do.
* No orchestrator stands before the server (`seldon.io/no-engine`): it would hide from the server which requests are
  mirrored, and answer for it on /ready and /metrics.
* A PodDisruptionBudget that it makes covers all pods of the object, and a pod that two cover can never be evicted: so one
  predictor has one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from perennial.serving.backends.server_pod import CONTAINER, PORT, pod_spec
from perennial.serving.backends.written_route import MODEL, RENDERED, ROUTE, VERSION, digest, name_of, route_text
from perennial.serving.route import WHOLE, Route
from perennial.specs import ModelSpec

Json = dict[str, Any]

PLURAL, KIND = "seldondeployments", "SeldonDeployment"
API_VERSION = "machinelearning.seldon.io/v1"
NO_ENGINE = "seldon.io/no-engine"
WHOLE_PERCENT = 100
IMPLEMENTATIONS = frozenset(
    {"UNKNOWN_IMPLEMENTATION", "SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER"}
    | {f"{name}_SERVER" for name in ("SKLEARN", "XGBOOST", "TENSORFLOW", "MLFLOW", "TRITON", "HUGGINGFACE", "TEMPO")}
)
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def predictor_name(version: int) -> str:
    """Name of a version's predictor."""
    return f"v{version}"


def percents(weights: Mapping[int, int]) -> dict[int, int]:
    """Basis points as whole percents that add up to 100.

    No version with a weight gets 0 as long as there are at most 100 of them; beyond that the error of each is as small as can be.
    """
    exact = {version: weight * WHOLE_PERCENT / WHOLE for version, weight in weights.items()}
    least = 1 if sum(1 for weight in weights.values() if weight) <= WHOLE_PERCENT else 0
    given = {version: max(int(share), least if share else 0) for version, share in exact.items()}
    while (lacking := WHOLE_PERCENT - sum(given.values())) != 0:
        step = 1 if lacking > 0 else -1
        able = [version for version, share in exact.items() if share and (step > 0 or given[version] > least)]
        given[max(able, key=lambda version: (step * (exact[version] - given[version]), -version))] += step
    return given


def render(model: ModelSpec, route: Route, namespace: str, template: Mapping[str, Any]) -> Json:
    """The SeldonDeployment that makes `route` the model's route.

    Raises:
        ValueError: the result would not do what the route says; the sentence tells where.
    """
    traffic = percents(route.weights)
    idle = [version for version, weight in route.weights.items() if not weight]
    serving = sorted((version for version, weight in route.weights.items() if weight), key=lambda v: (v != route.stable, v))
    order = [*sorted(idle), *serving, *(() if route.shadow is None else (route.shadow,))]
    document: Json = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name_of(model),
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "perennial", MODEL: model.name},
            "annotations": {ROUTE: route_text(route)},
        },
        "spec": {
            "protocol": "seldon",
            "transport": "rest",
            "annotations": {
                "seldon.io/rest-timeout": str(math.ceil(model.serving.timeout_seconds * 1000)),
                "seldon.io/istio-retries": "2",  # of requests that a pod which just left did not take
                "seldon.io/istio-retries-timeout": str(math.ceil(model.serving.timeout_seconds)),
            },
            "predictors": [_predictor(model, route, version, traffic.get(version), template) for version in order],
        },
    }
    document["metadata"]["annotations"][RENDERED] = digest(document)
    if problems := faults(document):
        raise ValueError(f"The SeldonDeployment of {model.name} would be wrong: {'; '.join(problems)}.")
    return document


def same(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an object is what was rendered. The operator fills in defaults, so what was rendered is compared by its digest, and what
    shares the traffic by itself.
    """
    ours = [(live["metadata"].get("annotations") or {}).get(key) for key in (ROUTE, RENDERED)]
    shares = [
        [(p["name"], p.get("traffic", 0), p.get("shadow", False)) for p in deployment["spec"]["predictors"]]
        for deployment in (live, wanted)
    ]
    return ours == [wanted["metadata"]["annotations"][key] for key in (ROUTE, RENDERED)] and shares[0] == shares[1]


def faults(document: Mapping[str, Any]) -> list[str]:
    """A sentence for each setting that the schema accepts but Seldon Core would not carry out as meant."""
    predictors: list[Json] = document["spec"]["predictors"]
    names = [predictor["name"] for predictor in predictors]
    shadows = [predictor["name"] for predictor in predictors if predictor.get("shadow")]
    taking = [predictor for predictor in predictors if not predictor.get("shadow")]
    shares = [predictor.get("traffic", 0) for predictor in taking]
    sentences = [f"{name!r} is no DNS label" for name in (document["metadata"]["name"], *names) if not _LABEL.fullmatch(name)]
    sentences += [f"there are two predictors {name}" for name in sorted({name for name in names if names.count(name) > 1})]
    if sum(shares) != WHOLE_PERCENT or any(not 0 <= share <= WHOLE_PERCENT for share in shares):
        sentences.append(f"traffic is {shares} and must add up to {WHOLE_PERCENT}")
    if shares != sorted(shares, key=bool):
        sentences.append("an idle predictor comes after one with traffic, where Ambassador would give it some")
    if len(shadows) > 1:
        sentences.append(f"{' and '.join(shadows)} are shadows and only one may be")
    if predictors and not taking:
        sentences.append(f"the shadow {shadows[0]} is alone")
    if sum(1 for predictor in predictors for part in predictor["componentSpecs"] if part.get("pdbSpec")) > 1:
        sentences.append("two predictors have a disruption budget: each covers all pods, and none could be evicted")
    for predictor in predictors:
        sentences += [f"predictor {predictor['name']} {fault}" for fault in _graph_faults(predictor)]
    return sentences


def _graph_faults(predictor: Mapping[str, Any]) -> list[str]:
    graph = predictor["graph"]
    containers = [c["name"] for part in predictor["componentSpecs"] for c in part["spec"]["containers"]]
    implementation = graph.get("implementation", "UNKNOWN_IMPLEMENTATION")
    sentences = []
    if implementation not in IMPLEMENTATIONS:
        sentences.append(f"has the unknown implementation {implementation}")
    elif implementation.endswith("_SERVER") and not graph.get("modelUri"):
        sentences.append(f"has the implementation {implementation} without a modelUri")
    elif implementation == "UNKNOWN_IMPLEMENTATION" and graph["name"] not in containers:
        sentences.append(f"has no container named {graph['name']}, as its graph says")
    if graph.get("children") and predictor.get("annotations", {}).get(NO_ENGINE) == "true":
        sentences.append("has a graph of several parts and no orchestrator")
    if graph.get("logger"):
        sentences.append("logs requests, which its server does itself")
    return sentences


def _predictor(model: ModelSpec, route: Route, version: int, traffic: int | None, template: Mapping[str, Any]) -> Json:
    serving = model.serving
    part: Json = {"spec": pod_spec(model, version, route.digests[version], template, server="seldon")}
    if serving.max_replicas > serving.replicas:
        load = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
        part["hpaSpec"] = {"minReplicas": serving.replicas, "maxReplicas": serving.max_replicas, "metricsv2": [load]}
    if version == route.stable:
        part["pdbSpec"] = {"maxUnavailable": 1}
    template_labels = (template.get("metadata") or {}).get("labels") or {}
    return {
        "name": predictor_name(version),
        # A version may get all traffic at any time: the champion has it, the last good one is gone back to, a candidate is promoted.
        "replicas": serving.replicas,
        # A shadow's traffic is the share that is copied.
        **({"traffic": WHOLE_PERCENT, "shadow": True} if traffic is None else {"traffic": traffic}),
        "annotations": {
            NO_ENGINE: "true",
            "prometheus.io/scrape": "true",
            "prometheus.io/path": "/metrics",
            "prometheus.io/port": str(PORT),
        },
        "labels": {**template_labels, MODEL: model.name, VERSION: str(version), "version": predictor_name(version)},
        "graph": {"name": CONTAINER, "type": "MODEL"},
        # Only where an installation puts an orchestrator there all the same.
        "svcOrchSpec": {"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"}}},
        "componentSpecs": [part],
    }
