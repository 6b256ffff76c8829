"""Checks whether all pods of a version serve, and says in one sentence why not.

Pure, but for `ask_ready`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

Json = dict[str, Any]

NOT_PULLED = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
NOT_MADE = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True)
class Trouble:
    """Why a version does not serve."""

    sentence: str
    died: tuple[str, str] | None = None  # pod and container whose last words tell more


def ask_ready(pod: Mapping[str, Any], port: int, seconds: float) -> Json | None:
    """The answer of a pod's server on /ready; None if it does not answer."""
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        return None
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        try:
            connection.request("GET", "/ready")
            answer: Json = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()
    return None


def leaving(pod: Mapping[str, Any]) -> bool:
    """Whether a pod is on its way out."""
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def ready_seconds(pod: Mapping[str, Any], now: datetime | None = None) -> float | None:
    """For how long a pod has been ready; None if it is not."""
    if leaving(pod):
        return None
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            since = datetime.fromisoformat(condition["lastTransitionTime"].replace("Z", "+00:00"))
            return ((now or datetime.now(timezone.utc)) - since).total_seconds()
    return None


def complete(deployment: Mapping[str, Any]) -> bool:
    """Whether a Deployment runs what it describes now, with all replicas ready.

    Its own counts tell only once it has seen its newest description.
    """
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = [status.get(count, 0) for count in ("updatedReplicas", "readyReplicas", "replicas")]
    return seen and wanted > 0 and counts == [wanted] * 3


def trouble(deployments: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]], operator: str) -> Trouble:
    """Why a version does not serve, according to Kubernetes."""
    if not deployments:
        return Trouble(f"{operator} has made no Deployment for it: its log says why")
    for pod in pods:
        if not leaving(pod) and (sentence := _of_pod(pod)):
            return sentence
    for deployment in deployments:
        for condition in (deployment.get("status") or {}).get("conditions") or ():
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                return Trouble(f"no pod of it may be made: {condition.get('message', condition.get('reason', ''))}")
    if not any(not leaving(pod) for pod in pods):
        return Trouble("it has no pod yet")
    return Trouble("its pods run and are not ready")


def _of_pod(pod: Mapping[str, Any]) -> Trouble | None:
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble(f"its pod {name} has no place on any node: {condition.get('message', condition.get('reason', ''))}")
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in NOT_PULLED:
            return Trouble(f"its image {container['image']} cannot be pulled ({reason}: {message}): push it, or correct server.yaml")
        if reason in NOT_MADE:
            return Trouble(f"its pod {name} cannot be started ({message or reason}): correct server.yaml or what it names")
        ended = (container.get("lastState") or {}).get("terminated") or (container.get("state") or {}).get("terminated")
        if ended and not container.get("ready"):
            why = f"exit code {ended.get('exitCode')}" + (f", {ended['reason']}" if ended.get("reason") not in (None, "Error") else "")
            again = f", {container['restartCount']} times so far" if container.get("restartCount") else ""
            return Trouble(f"its server ended ({why}{again})", died=(name, container["name"]))
    return None
