"""Stages as pods, without Kubernetes: which template, what resources, which name, and what a pod's end means.

Pods, events and containers are the plain objects of the API (camelCase keys), as YAML holds them and as every client can give them.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from perennial.errors import EXIT_REFUSED, SettingMissing
from perennial.log_lines import RUN_VARIABLES, TRACEPARENT_VARIABLE
from perennial.settings import Settings
from perennial.specs import ComputeSpec, DatasetSpec, ModelSpec

MAIN = "base"  # the container that runs the stage, in every pod template
SIDE_CAR = "airflow-xcom-sidecar"  # keeps the pod until its result has been read
RESULT_FILE = "/airflow/xcom/return.json"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
LONGEST_NAME = 63
HASH_LENGTH = 10

IMAGE_WRONG = ("InvalidImageName", "ErrImageNeverPull")
IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable")
# What a registry says of an image that will not be there in a minute either.
IMAGE_MISSING = ("not found", "manifest unknown", "denied", "unauthorized", "authorization failed", "no such")
CONTAINER_TROUBLE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
EVICTIONS = ("Evicted", "TaintManagerEviction", "Preempted", "Preempting", "NodeShutdown", "Terminated")
IMAGE_PATIENCE = 120.0
CONTAINER_PATIENCE = 90.0
AGAIN = "Running it again goes on from what is stored."


@dataclass(frozen=True)
class Trouble:
    """Why a pod has not started yet.

    Attributes:
        cause: one word, for telling whether it is still the same trouble.
        sentence: for a person.
        patience: seconds after which it will not get better by itself; None where only a person's limit ends the wait.
    """

    cause: str
    sentence: str
    patience: float | None


def pod_template(settings: Settings, stage: str) -> Path:
    """The template of a stage's pods: `<stage>.yaml`, or `stage.yaml` where it has none of its own.

    Raises:
        SettingMissing: there is no folder of templates, or neither file in it.
    """
    if not settings.pod_templates:
        raise SettingMissing(
            "PERENNIAL_RUNTIME is pod, but PERENNIAL_POD_TEMPLATES is empty: set it to the folder of pod templates, or unset "
            "PERENNIAL_RUNTIME."
        )
    folder = Path(settings.pod_templates)
    for name in (f"{stage}.yaml", "stage.yaml"):
        if (folder / name).is_file():
            return folder / name
    raise SettingMissing(f"There is neither {stage}.yaml nor stage.yaml in {folder} (PERENNIAL_POD_TEMPLATES): put a pod template there.")


def read_template(path: Path) -> dict[str, Any]:
    """The pod in a template.

    Raises:
        SettingMissing: it is no YAML, no Pod, or its first container does not run the stage.
    """
    try:
        pod = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise SettingMissing(f"The pod template {path} is no YAML: {_line(error)}") from None
    if not isinstance(pod, dict) or pod.get("kind") != "Pod":
        raise SettingMissing(f"The pod template {path} is no manifest of a Pod: its `kind` must be Pod.")
    main_container(pod)
    return pod


def compute_of(spec: DatasetSpec | ModelSpec, stage: str) -> ComputeSpec | None:
    """What the stage's pod may use; None leaves it to the template."""
    if stage in ("close", "register", "release", "experiment", "rollback", "incident"):
        return None
    if stage == "train" or isinstance(spec, DatasetSpec):
        return spec.compute
    return spec.compute.model_copy(update={"gpus": 0, "nodes": 1})


def pod_name(subject: str, stage: str, identity: object) -> str:
    """A DNS label that says what runs; the same identity gives the same name.

    Args:
        subject: dataset or model.
        stage: name of the stage.
        identity: what tells this piece of work from all others; anything that JSON can hold.
    """
    said = f"perennial-{subject.replace('_', '-')}"[: LONGEST_NAME - len(stage) - HASH_LENGTH - 2].rstrip("-")
    return f"{said}-{stage}-{mark_of(identity)}"


def mark_of(identity: object) -> str:
    """Some letters and digits that stand for an identity, in names and labels."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:HASH_LENGTH]


def main_container(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The container that runs the stage.

    Raises:
        SettingMissing: the first container has another name.
    """
    containers = pod.get("spec", {}).get("containers") or []
    if not containers or containers[0].get("name") != MAIN:
        name = containers[0].get("name") if containers else "none"
        raise SettingMissing(f"The first container of the pod template is {name!r}: it must be named {MAIN!r}, for it runs the stage.")
    return containers[0]  # type: ignore[no-any-return]


def give_run(container: dict[str, Any], variables: Mapping[str, str]) -> None:
    """Tell a container which run, task and trace it belongs to, as a child process is told: its log lines have these ids."""
    known = {name: variables[name] for name in (*RUN_VARIABLES.values(), TRACEPARENT_VARIABLE) if variables.get(name)}
    if known:
        others = [variable for variable in container.get("env") or [] if variable["name"] not in known]
        container["env"] = [*others, *({"name": name, "value": value} for name, value in known.items())]


def apply_compute(pod: dict[str, Any], compute: ComputeSpec) -> dict[str, Any]:
    """Write the resources and the placement of a spec into a pod; returns the same pod.

    Limits are the spec's. What the template requests stays, up to the limit: a small cluster may promise less than it allows.
    """
    spec, container = pod["spec"], main_container(pod)
    resources = container.setdefault("resources", {})
    limits = {"cpu": str(compute.cpus), "memory": f"{round(compute.memory_gb * 1000)}M"}
    wanted = {**limits, **{k: v for k, v in (resources.get("requests") or {}).items() if k in limits and _fits(v, limits[k])}}
    if compute.gpus:
        limits[compute.gpu_resource] = wanted[compute.gpu_resource] = str(compute.gpus)
    resources["limits"] = {**(resources.get("limits") or {}), **limits}
    resources["requests"] = {**(resources.get("requests") or {}), **wanted}
    if compute.node_selector:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **compute.node_selector}
    if compute.tolerations:
        said = [{k: v for k, v in toleration.model_dump().items() if v} for toleration in compute.tolerations]
        spec["tolerations"] = [*(spec.get("tolerations") or []), *said]
    if compute.runtime_class:
        spec["runtimeClassName"] = compute.runtime_class
    if compute.queue:
        pod.setdefault("metadata", {}).setdefault("labels", {})[QUEUE_LABEL] = compute.queue
    return pod


def merge_side_car(pod: dict[str, Any]) -> dict[str, Any]:
    """Let the side-car that Airflow added be as the template says; returns the same pod.

    A container of that name in the template decides its image, resources and security context. Without one it is as restricted as the
    stage's container, and small.
    """
    main, containers = main_container(pod), pod["spec"]["containers"]
    *said, added = [c for c in containers if c["name"] == SIDE_CAR]
    made = dict(added)
    if "limits" not in (added.get("resources") or {}):
        made["resources"] = {"requests": {"cpu": "1m", "memory": "10Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}
    if main.get("securityContext"):
        made.setdefault("securityContext", main["securityContext"])
    side_car = {**made, **(said[0] if said else {}), "volumeMounts": added["volumeMounts"]}
    pod["spec"]["containers"] = [*(c for c in containers if c["name"] != SIDE_CAR), side_car]
    return pod


def _fits(quantity: object, limit: str) -> bool:
    return _amount(str(quantity)) <= _amount(limit)


def _amount(quantity: str) -> float:
    """A Kubernetes quantity as a number."""
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    number = quantity.rstrip("KMGTikm")
    return float(number) * units.get(quantity[len(number) :], 1)


def made_up(outcome: str, sentence: str, fault: str = "") -> dict[str, Any]:
    """The result of a stage that could not write one; `fault` is one of `run_faults`, where what ended it is known."""
    return {"outcome": outcome, "sentence": sentence, "links": {}, "seconds": 0.0, **({"fault": fault} if fault else {})}


def over_time(stage: str, limit: timedelta) -> dict[str, Any]:
    """The result of a stage that was ended because it took too long."""
    hours = limit.total_seconds() / 3600
    sentence = (
        f"The stage {stage} took longer than {hours:g} hours (compute.longest_hours) and was ended. See in its log what it waited for; "
        "clear the task to go on from what is stored, or raise the limit."
    )
    return {**made_up("fault", sentence, "OverTime"), "over_time": True}


def main_state(pod: Mapping[str, Any], container: str = MAIN) -> dict[str, Any]:
    """The main container's state, or another's: `{"running": ...}`, `{"waiting": ...}`, `{"terminated": ...}` or empty."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        if status.get("name") == container:
            return {kind: details for kind, details in (status.get("state") or {}).items() if details is not None}
    return {}


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether the stage in it runs no more, and never will."""
    return "terminated" in main_state(pod) or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def waits_for_side_car(pod: Mapping[str, Any]) -> bool:
    """Whether the side-car, without which no result can be read, is still to start."""
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") and "waiting" in main_state(pod, SIDE_CAR)


def why_not_started(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]], stage: str) -> Trouble | None:
    """What keeps a pod from starting, as far as the cluster says; None if it runs or simply needs time."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    trouble = next(filter(None, (_container_trouble(container, events, stage) for container in containers)), None)
    if {"running", "terminated"} & set(main_state(pod)):
        return trouble  # of the side-car
    trouble = trouble or _placement_trouble(name, status, stage)
    warning = next((e for e in reversed(events) if e.get("type") == "Warning"), None)
    if not trouble and warning and status.get("phase") == "Pending":
        said = f"The pod {name} of the stage {stage} does not start: {_sentence(warning.get('message'))}"
        trouble = Trouble(str(warning.get("reason")), said, None)
    return trouble


def _container_trouble(status: Mapping[str, Any], events: Sequence[Mapping[str, Any]], stage: str) -> Trouble | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason") or "", _line(waiting.get("message"))
    if reason in IMAGE_WRONG or reason in IMAGE_TROUBLE:
        said = _pull_error(events, status["image"]) or message or reason
        hopeless = reason in IMAGE_WRONG or any(word in said.lower() for word in IMAGE_MISSING)
        return Trouble(
            "image",
            f"The image {status['image']} of the stage {stage} cannot be pulled: {_sentence(said)} "
            "Push it, or correct its name or the pull secret in the pod template.",
            0.0 if hopeless else IMAGE_PATIENCE,
        )
    if reason in CONTAINER_TROUBLE:
        return Trouble(
            "container",
            f"The container {status['name']} of the stage {stage} cannot be made: {_sentence(message or reason)} "
            "Correct the pod template, or create what it names.",
            CONTAINER_PATIENCE,
        )
    return None


def _placement_trouble(name: str, status: Mapping[str, Any], stage: str) -> Trouble | None:
    for condition in status.get("conditions") or []:
        if condition.get("type") != "PodScheduled" or condition.get("status") != "False":
            continue
        if condition.get("reason") == "SchedulingGated":
            return Trouble("queue", f"The pod {name} of the stage {stage} waits in its queue.", None)
        return Trouble(
            "unschedulable",
            f"No node can take the pod {name} of the stage {stage}: {_sentence(condition.get('message'))} "
            "Add room to the cluster, or ask for less in the spec's `compute`.",
            None,
        )
    return None


def ending_of(
    pod: Mapping[str, Any] | None,
    events: Sequence[Mapping[str, Any]],
    stage: str,
    *,
    name: str = "",
    last: str = "",
    gone: bool = False,
) -> dict[str, Any]:
    """The result of a stage whose pod gave none: the outcome, and a sentence that names the cause.

    Args:
        pod: the pod as it was last seen; None if it was never seen and is gone.
        events: what the cluster has told of it, oldest first.
        stage: name of the stage.
        name: name of the pod, needed if it was never seen.
        last: the stage's last line that was no log line.
        gone: whether there is no such pod any more.
    """
    if pod is None:
        return made_up("fault", _gone(None, events, stage, name), "Ended")
    status, terminated = pod.get("status", {}), main_state(pod).get("terminated")
    if said := _cut_short(pod, stage):
        return made_up("fault", said, "OutOfMemory" if is_out_of_memory(pod) else "Ended")
    if gone or pod["metadata"].get("deletionTimestamp"):
        return made_up("fault", _gone(pod, events, stage, pod["metadata"]["name"]), "Ended")
    if terminated:
        return _ended_by(terminated, stage, pod["metadata"]["name"], last)
    trouble = why_not_started(pod, events, stage)
    if not trouble and status.get("phase") in ("Failed", "Unknown"):
        said = _line(status.get("message") or status.get("reason")) or "the cluster gives no reason"
        return made_up("fault", f"The pod {pod['metadata']['name']} ended before its stage {stage} did: {_sentence(said)} {AGAIN}")
    silent = f"The pod {pod['metadata']['name']} of the stage {stage} did not start in time, and the cluster does not say why."
    return made_up("fault", trouble.sentence if trouble else silent, "NotStarted")


def _cut_short(pod: Mapping[str, Any], stage: str) -> str:
    """The sentence for a pod that came up against a limit; empty for any other."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("reason") == "Evicted":
        return f"The pod {name} of the stage {stage} was evicted: {_sentence(status.get('message'))} {AGAIN}"
    if status.get("reason") == "DeadlineExceeded":
        return f"The pod {name} of the stage {stage} ran longer than its template allows (activeDeadlineSeconds). {AGAIN}"
    if is_out_of_memory(pod):
        limit = (main_container(pod).get("resources") or {}).get("limits", {}).get("memory", "what its node had left")
        advice = "Raise memory_gb in the spec's `compute`, or let it work on less at a time."
        return f"The stage {stage} was ended for want of memory: its pod {name} may use {limit}. {advice}"
    return ""


def is_out_of_memory(pod: Mapping[str, Any]) -> bool:
    """Whether the kernel ended the stage because it used more memory than it may."""
    return (main_state(pod).get("terminated") or {}).get("reason") == "OOMKilled"


def not_created(stage: str, name: str, namespace: str, code: int, message: str) -> dict[str, Any]:
    """The result of a stage whose pod the cluster would not take."""
    said = _sentence(message)
    if code == 403 and "exceeded quota" in message:
        advice = "It is tried again; if others do not make room, raise the quota or ask for less in the spec's `compute`."
        return made_up("fault", f"The quota of the namespace {namespace} has no room for the stage {stage}: {said} {advice}", "NotStarted")
    if code == 403:
        return made_up(
            "fault",
            f"The cluster does not allow the pod of the stage {stage}: {said} Give the service account of Airflow the right in "
            f"{namespace}, or correct the pod template.",
            "NotStarted",
        )
    if code == 404:
        return made_up(
            "fault",
            f"The pod of the stage {stage} cannot be created in the namespace {namespace}: {said} Create it, or correct "
            "PERENNIAL_POD_NAMESPACE.",
            "NotStarted",
        )
    return made_up("fault", f"The cluster did not take the pod {name} of the stage {stage} ({code}): {said}", "NotStarted")


def _gone(pod: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]], stage: str, name: str) -> str:
    status = (pod or {}).get("status", {})
    if pod and (status.get("reason") == "NodeLost" or any(e.get("reason") == "NodeNotReady" for e in events)):
        node = pod.get("spec", {}).get("nodeName", "its node")
        return f"The node {node} on which the stage {stage} ran answers no more. {AGAIN}"
    evicted = next((e for e in reversed(events) if e.get("reason") in EVICTIONS), None)
    if evicted:
        said = _sentence(evicted.get("message") or evicted.get("reason"))
        return f"The cluster took the pod {name} away from the stage {stage}: {said} {AGAIN}"
    return f"The pod {name} was deleted while the stage {stage} ran in it. {AGAIN}"


def _ended_by(terminated: Mapping[str, Any], stage: str, name: str, last: str) -> dict[str, Any]:
    code, reason = int(terminated.get("exitCode") or 0), terminated.get("reason") or ""
    if reason in ("ContainerCannotRun", "StartError"):
        return made_up("fault", f"The container of the stage {stage} could not be started: {_sentence(terminated.get('message'))}")
    if code == EXIT_REFUSED:
        return made_up("refused", last or f"The stage {stage} did not understand its arguments; the log above says which.")
    if code > 128 and code - 128 in {int(s) for s in signal.Signals}:
        return made_up(
            "fault",
            f"The stage {stage} in the pod {name} was ended by {signal.Signals(code - 128).name} before it had a result. {AGAIN}",
            "Ended",
        )
    return made_up("fault", f"The stage {stage} in the pod {name} ended with code {code} and no result; the log above shows why.")


def _pull_error(events: Sequence[Mapping[str, Any]], image: str) -> str:
    """What the registry answered: the container itself soon says no more than `Back-off pulling image`."""
    for event in reversed(events):
        message = _line(event.get("message"))
        if event.get("reason") in ("Failed", "InspectFailed") and image.split("@", maxsplit=1)[0] in message and "ull" in message:
            return message
    return ""


def _line(text: object) -> str:
    return " ".join(str(text or "").split())


def _sentence(text: object) -> str:
    said = _line(text).rstrip(".")
    return f"{said}." if said else ""
