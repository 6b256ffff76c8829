"""A model that is in no folder, for tests of what is made from a spec."""

from __future__ import annotations

from typing import Any

from perennial.specs import GateSpec, ModelSpec


def lateness(**changed: Any) -> ModelSpec:
    """Its spec, with these fields changed."""
    fields: dict[str, Any] = {
        "name": "lateness",
        "title": "Lateness",
        "owner": "grace",
        "dataset": "trips",
        "task": "binary",
        "inputs": ("id",),
        "label": "late",
        "classes": ("no", "yes"),
        "gate": GateSpec(floors={"roc_auc": 0.6}),
    }
    return ModelSpec(**{**fields, **changed})
