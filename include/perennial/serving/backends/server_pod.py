"""The pod of a served version, which is the same under Seldon Core 1 and KServe: rendered from the template `server.yaml`. Pure, but for
`read_template`.

* Operators replace the pod's security context by their own, so the template's is given to the containers too.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from perennial.errors import SettingMissing
from perennial.settings import Settings
from perennial.specs import ModelSpec

Json = dict[str, Any]

TEMPLATE_CONTAINER, CONTAINER, PORT = "base", "server", 9000
DRAIN_SECONDS, GRACE_SECONDS = 10, 45  # gateways hear that a pod leaves before its server does; the server itself takes up to 20
_TO_CONTAINERS = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile")
_SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)
_PROBES: Json = {
    "livenessProbe": {"httpGet": {"path": "/live", "port": PORT}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    "readinessProbe": {"httpGet": {"path": "/ready", "port": PORT}, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2},
}


def read_template(settings: Settings) -> Json:
    """The pod template of served versions, `<pod_templates>/server.yaml`.

    Raises:
        SettingMissing: there is none, it is no Pod, it has no container `base`, or it holds a secret in the open.
    """
    if not settings.pod_templates:
        raise SettingMissing("PERENNIAL_POD_TEMPLATES is not set: versions are served with the image of its server.yaml. Name the folder.")
    path = Path(settings.pod_templates) / "server.yaml"
    try:
        template = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SettingMissing(f"The pod template of served versions, {path}, cannot be read ({error.strerror}): put it there.") from error
    except yaml.YAMLError as error:
        raise SettingMissing(f"The pod template of served versions, {path}, is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(template, dict) or template.get("kind") != "Pod" or not isinstance(template.get("spec"), dict):
        raise SettingMissing(
            f"The pod template of served versions, {path}, is no manifest of a Pod: `kind: Pod` and its `spec` are needed."
        )
    base = next((c for c in template["spec"].get("containers") or () if c.get("name") == TEMPLATE_CONTAINER), None)
    if base is None or not base.get("image"):
        raise SettingMissing(f"The pod template of served versions, {path}, has no container named {TEMPLATE_CONTAINER} with an image.")
    for entry in base.get("env") or ():
        if entry.get("value") and _SECRET_NAME.search(entry["name"]):
            raise SettingMissing(
                f"The pod template of served versions, {path}, gives {entry['name']} in the open: "
                "take it from a Secret (`valueFrom.secretKeyRef` or `envFrom`)."
            )
    return template


def pod_spec(
    model: ModelSpec, version: int, content: str, template: Mapping[str, Any], *, container_name: str = CONTAINER, server: str = "open"
) -> Json:
    """Spec of the pods of a version: the template's, with what the version and the spec of its model say.

    Args:
        model: the model.
        version: number of the version.
        content: digest of its folder.
        template: what `read_template` gave.
        container_name: what the server's container must be called.
        server: which of the servers answers, `open` or `seldon`.
    """
    spec: Json = copy.deepcopy(dict(template["spec"]))
    for field in ("restartPolicy", "activeDeadlineSeconds", "nodeName", "hostname"):  # of a pod that ends, or of a single one
        spec.pop(field, None)
    spec["terminationGracePeriodSeconds"] = GRACE_SECONDS
    spec["enableServiceLinks"] = False  # a Service named perennial-… would set variables that are taken for settings
    inherited = {key: value for key, value in (spec.get("securityContext") or {}).items() if key in _TO_CONTAINERS}
    if inherited:
        for container in (*spec["containers"], *(spec.get("initContainers") or ())):
            container["securityContext"] = {**inherited, **(container.get("securityContext") or {})}
    container = next(c for c in spec["containers"] if c["name"] == TEMPLATE_CONTAINER)
    start = math.ceil(model.serving.start_seconds)  # twice as long as it is waited for, then it is started anew
    container.update(
        name=container_name,
        args=[
            *("--model", model.name, "--version", str(version), "--digest", content),
            *("--port", str(PORT), "--threads", str(model.serving.threads), "--server", server),
        ],
        env=[
            *(variable for variable in container.get("env") or () if variable["name"] != "PERENNIAL_HOST"),
            {"name": "PERENNIAL_HOST", "value": "0.0.0.0"},  # noqa: S104
        ],
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        resources=_resources(model, container.get("resources") or {}),
        lifecycle={"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
        startupProbe={"httpGet": {"path": "/live", "port": PORT}, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": start},
        **copy.deepcopy(_PROBES),
    )  # fmt: skip
    spec["containers"] = [container, *(c for c in spec["containers"] if c is not container)]
    return spec


def _resources(model: ModelSpec, given: Mapping[str, Any]) -> Json:
    """Limits are the spec's; what the template asks for stays, and is the limit where it asks for nothing."""
    limits = {"cpu": f"{round(model.serving.cpus * 1000)}m", "memory": f"{round(model.serving.memory_gb * 1000)}M"}
    return {"requests": {**limits, **(given.get("requests") or {})}, "limits": {**(given.get("limits") or {}), **limits}}
