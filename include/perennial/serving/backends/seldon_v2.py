"""Renders a model's route for Seldon Core 2 (`mlops.seldon.io/v1alpha1`): a Model for each version, an Experiment for the traffic. Pure.

A Model cannot bring its own container: the scheduler puts it on a Server whose capabilities meet its requirements. So an
installation needs one Server with the capability `perennial`: MLServer with our runtime (`mlserver_runtime`). Seldon's agent
fetches a folder from the store for each Model, and refuses one without MLServer's own settings, which a version's sealed folder
has not. So a Model names a folder of two small files that says which version to serve (`mlserver_folder`), and the runtime
fetches that by its digest. Weights of an Experiment are relative, so basis points stand as they are.
An idle version is a Model that the Experiment does not name: no request of the model's can reach it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perennial.errors import SettingMissing
from perennial.serving.backends.written_route import MODEL, ROUTE, VERSION, name_of, route_text
from perennial.serving.mlserver_folder import Told
from perennial.serving.route import Route
from perennial.specs import ModelSpec

Json = dict[str, Any]

API_VERSION = "mlops.seldon.io/v1alpha1"
MODELS, EXPERIMENTS = "models", "experiments"
CAPABILITY = "perennial"  # what a Server must declare to be given these Models
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_STORAGE = re.compile(r"[a-z][a-z0-9+.-]*://\S+")


def model_name(model: ModelSpec, version: int) -> str:
    """Name of a version's Model."""
    return f"{name_of(model)}-v{version}"


def told(model: ModelSpec, route: Route, version: int) -> Told:
    """What a server is told of a version of a route."""
    return Told(model.name, version, route.digests[version])


def render(model: ModelSpec, route: Route, namespace: str, store: str) -> list[Json]:
    """The Models of a route and, last, the Experiment that shares the traffic among them.

    Args:
        model: the model.
        route: what is to be served.
        namespace: where.
        store: address of the store, which the servers read themselves.

    Raises:
        SettingMissing: the store is a folder, which no server can read.
        ValueError: the result would not do what the route says; the sentence tells where.
    """
    if not _STORAGE.fullmatch(store):
        raise SettingMissing(f"PERENNIAL_STORE is {store!r}: the servers of Seldon Core 2 fetch versions themselves, so it must be s3://….")
    documents = [_model(model, route, version, namespace, store) for version in route.versions]
    documents.append(_experiment(model, route, namespace))
    if problems := faults(documents):
        raise ValueError(f"The Experiment of {model.name} would be wrong: {'; '.join(problems)}.")
    return documents


def faults(documents: list[Json]) -> list[str]:
    """A sentence for each setting that the schemas accept but Seldon Core 2 would not carry out as meant."""
    models = {sentences["metadata"]["name"] for sentences in documents if sentences["kind"] == "Model"}
    sentences = [
        f"{document['metadata']['name']!r} is no DNS label" for document in documents if not _LABEL.fullmatch(document["metadata"]["name"])
    ]
    for experiment in (document["spec"] for document in documents if document["kind"] == "Experiment"):
        candidates = [entry["name"] for entry in experiment["candidates"]]
        mirror = (experiment.get("mirror") or {}).get("name")
        named = [*candidates, *([mirror] if mirror else [])]
        sentences += [f"{name} is named and there is no such Model" for name in named if name not in models]
        sentences += [f"{name} is a candidate twice" for name in sorted({name for name in candidates if candidates.count(name) > 1})]
        if any(entry["weight"] <= 0 for entry in experiment["candidates"]) or not candidates:
            sentences.append("a candidate has no weight, or there is no candidate")
        if experiment.get("default") not in candidates:
            sentences.append(f"the default {experiment.get('default')} is no candidate")
        if mirror in candidates:
            sentences.append(f"{mirror} is both a candidate and the mirror")
    return sentences


def _model(model: ModelSpec, route: Route, version: int, namespace: str, store: str) -> Json:
    serving = model.serving
    scaled = {"minReplicas": serving.replicas, "maxReplicas": serving.max_replicas} if serving.max_replicas > serving.replicas else {}
    return {
        "apiVersion": API_VERSION,
        "kind": "Model",
        "metadata": _metadata(model, model_name(model, version), namespace, {VERSION: str(version)}),
        "spec": {
            "storageUri": f"{store.rstrip('/')}/{told(model, route, version).prefix}",
            "requirements": [CAPABILITY],
            "memory": f"{round(serving.memory_gb * 1000)}M",
            "replicas": serving.replicas,
            **scaled,
        },
    }


def _experiment(model: ModelSpec, route: Route, namespace: str) -> Json:
    weights = {version: weight for version, weight in sorted(route.weights.items()) if weight}
    default = route.stable if route.stable in weights else min(weights, key=lambda version: (-weights[version], version))
    metadata = _metadata(model, name_of(model), namespace, {})
    metadata["annotations"] = {ROUTE: route_text(route)}
    mirror = {} if route.shadow is None else {"mirror": {"name": model_name(model, route.shadow), "percent": 100}}
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": metadata,
        "spec": {
            "resourceType": "model",
            "default": model_name(model, default),  # requests for this Model take part in the experiment
            "candidates": [{"name": model_name(model, version), "weight": weight} for version, weight in weights.items()],
            **mirror,
        },
    }


def _metadata(model: ModelSpec, name: str, namespace: str, labels: Mapping[str, str]) -> Json:
    return {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "perennial", MODEL: model.name, **labels}}
