"""Renders a version as an InferenceService of KServe (`serving.kserve.io/v1beta1`). Pure: documents in, documents out.

Each version is an InferenceService of its own with our server as its container, run as a plain Deployment and Service (`RawDeployment`).
The traffic is shared by the model's HTTPRoute (`gateway_api`). KServe's own split, `canaryTrafficPercent`, knows two revisions of one
object, of which the older goes as soon as the newer has all: no version could stay warm, be copied to or have less than a percent.
`networking.kserve.io/visibility` keeps KServe from giving each version an address of its own outside the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perennial.serving.backends.server_pod import pod_spec
from perennial.serving.backends.written_route import MODEL, RENDERED, VERSION, digest, name_of
from perennial.specs import ModelSpec

Json = dict[str, Any]

API_VERSION, KIND, PLURAL = "serving.kserve.io/v1beta1", "InferenceService", "inferenceservices"
CONTAINER = "kserve-container"  # what KServe calls the one that answers
SERVICE_PORT = 80  # of the Service that it makes, whatever the port of the container
LONGEST_NAME = 63 - len("-predictor")  # of the Service, which begins with the object's name
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def object_name(model: ModelSpec, version: int) -> str:
    """Name of a version's InferenceService."""
    return f"{name_of(model)}-v{version}"


def service_name(model: ModelSpec, version: int) -> str:
    """Name of the Service that KServe makes for it."""
    return f"{object_name(model, version)}-predictor"


def render(model: ModelSpec, version: int, content: str, namespace: str, template: Mapping[str, Any]) -> Json:
    """The InferenceService of a version.

    Args:
        model: the model.
        version: number of the version.
        content: digest of its folder.
        namespace: where.
        template: the pod template of served versions.

    Raises:
        ValueError: the model's name is too long for the names that KServe makes of it.
    """
    name = object_name(model, version)
    if len(name) > LONGEST_NAME or not _LABEL.fullmatch(name):
        raise ValueError(f"The InferenceService of {model.name} would be called {name}: that is no name of {LONGEST_NAME} letters at most.")
    spec = pod_spec(model, version, content, template, container_name=CONTAINER)
    document: Json = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/part-of": "perennial",
                "networking.kserve.io/visibility": "cluster-local",
                MODEL: model.name,
                VERSION: str(version),
            },
            "annotations": {"serving.kserve.io/deploymentMode": "RawDeployment"},
        },
        "spec": {
            "predictor": {
                **spec,
                "minReplicas": model.serving.replicas,
                "maxReplicas": model.serving.max_replicas,
                "scaleMetric": "cpu",
                "scaleTarget": 70,
                "labels": {**((template.get("metadata") or {}).get("labels") or {}), MODEL: model.name, VERSION: str(version)},
            }
        },
    }
    document["metadata"]["annotations"][RENDERED] = digest(document)
    return document


def same(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an InferenceService is what was rendered, by the digest in its annotation: KServe fills in defaults."""
    rendered = [(document["metadata"].get("annotations") or {}).get(RENDERED) for document in (live, wanted)]
    return rendered[0] == rendered[1]
