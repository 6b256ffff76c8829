"""A model's route in the annotations of a Kubernetes object, which is how the objects that share its traffic are the state. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from perennial.serving.route import Route
from perennial.specs import ModelSpec

ROUTE, RENDERED = "perennial/route", "perennial/rendered"  # annotations: the exact route, and the digest of what was rendered
MODEL, VERSION = "perennial/model", "perennial/version"  # labels of Deployments and pods


def name_of(model: ModelSpec) -> str:
    """Name of the object, and the model's part of the prediction path."""
    return model.name.replace("_", "-")


def route_text(route: Route) -> str:
    """A route as the text of an annotation."""
    return json.dumps(
        {
            "weights": {str(version): weight for version, weight in sorted(route.weights.items())},
            "shadow": route.shadow,
            "digests": {str(version): route.digests[version] for version in route.versions},
            "champion": route.champion,
        }
    )


def read_route(document: Mapping[str, Any]) -> Route | None:
    """The route that an object says it is; None if it was not made here."""
    text = (document["metadata"].get("annotations") or {}).get(ROUTE)
    if text is None:
        return None
    annotation = json.loads(text)
    return Route(
        {int(version): weight for version, weight in annotation["weights"].items()},
        annotation["shadow"],
        {int(version): digest for version, digest in annotation["digests"].items()},
        annotation["champion"],
    )


def digest(document: Mapping[str, Any]) -> str:
    """Digest of what is rendered, without the route's text."""
    return hashlib.sha256(json.dumps(document["spec"], sort_keys=True).encode()).hexdigest()[:16]


def ours(document: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of an object its operator never writes."""
    return document["metadata"]["uid"], document["metadata"].get("annotations"), document["spec"]
