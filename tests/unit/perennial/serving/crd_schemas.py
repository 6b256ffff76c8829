"""The schemas of the objects of Seldon, KServe and the Gateway API, strict: a field that a schema does not know is an error, as the API
server would drop it. They are data of their projects, with their licences, and lie beside the checkout.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

import perennial

BESIDE = Path(perennial.__file__).resolve().parents[3] / "shared"
# Whose schemas -> folder beside the checkout, and the variable that names another.
PLACES = {
    "Seldon": ("crds", "PERENNIAL_SELDON_CRDS"),
    "KServe": ("schemas/kserve", "PERENNIAL_KSERVE_CRDS"),
    "the Gateway API": ("schemas/gateway-api", "PERENNIAL_GATEWAY_CRDS"),
}


def folder(whose: str = "Seldon") -> Path:
    """Where the schemas are; the test is skipped where they are not."""
    beside, variable = PLACES[whose]
    place = Path(os.environ.get(variable) or BESIDE / beside)
    if not any(place.rglob("*.yaml")):
        pytest.skip(f"The schemas of {whose} are not at {place}: name their folder by {variable} to check what is rendered")
    return place


@functools.cache
def validators(place: Path) -> dict[tuple[str, str], Any]:
    """A validator for each kind, by apiVersion and kind."""
    import yaml
    from jsonschema import Draft7Validator

    found = {}
    for file in sorted(place.rglob("*.yaml")):
        for document in yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not document or document.get("kind") != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            for version in spec["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}  # the API server's own
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = Draft7Validator(schema)
    return found


def problems(document: dict[str, Any], place: Path) -> list[str]:
    """What the schema says against a document."""
    validator = validators(place)[document["apiVersion"], document["kind"]]
    return [f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in validator.iter_errors(document)]


def _strict(schema: Any, closed: bool = True) -> Any:
    """A CRD's schema as JSON schema; fields are closed but in the branches of a choice."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    if found.pop("x-kubernetes-int-or-string", False):
        found.pop("type", None)
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    open_ended = found.get("x-kubernetes-preserve-unknown-fields") or found.get("x-kubernetes-embedded-resource")
    if "properties" in found:
        found["properties"] = {name: _strict(part, closed) for name, part in found["properties"].items()}
        if closed and not open_ended:
            found.setdefault("additionalProperties", False)
    for key in ("additionalProperties", "items"):
        if isinstance(found.get(key), dict):
            found[key] = _strict(found[key], closed)
    for key in ("allOf", "anyOf", "oneOf"):
        if key in found:
            found[key] = [_strict(part, False) for part in found[key]]
    if found.pop("nullable", False) and "type" in found:
        found["type"] = [found["type"], "null"]
    return {key: value for key, value in found.items() if not key.startswith("x-kubernetes-")}
