"""A stage over several nodes as Kubernetes objects: an Indexed Job with one pod for each node, and a headless Service by which they meet.

Every pod runs the same command with the same arguments. The environment tells it which node it is and where node 0 is, and Lightning does
the rest: it starts a process for each further GPU of the node and waits for the other nodes. There is no torchrun: it would start a stage
again within a pod that has broken, while here a broken training ends as a whole and the next try goes on from the last checkpoint.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from perennial_airflow.stage_pod import QUEUE_LABEL, SIDE_CAR, ending_of, has_ended, made_up, main_container, main_state, pod_name

JOB_LABEL = "perennial/nodes-of"  # on every pod of a Job: its value is the Job's name
INDEX = "batch.kubernetes.io/job-completion-index"  # annotation of a pod of an Indexed Job: which node it is, from 0
PORT = 29500
RESULT_FILE = "/dev/termination-log"
MOST_BYTES = 4096  # of a result: the kubelet keeps no more of that file
KEPT_SECONDS = 3600  # what Airflow could not remove goes by itself this long after it has ended
GRACE_SECONDS = 10
LONGEST_SUBJECT = 30  # leaves room in a host name for the index
LOST = "lost another node"  # said by a training whose other node went away: never the cause (perennial/training/trainer.py)


def job_name(subject: str, stage: str, identity: object) -> str:
    """Name of the Job and its Service; the same identity gives the same name."""
    return pod_name(subject[:LONGEST_SUBJECT], stage, identity)


def render_job(
    pod: Mapping[str, Any], *, name: str, nodes: int, arguments: Sequence[str], labels: Mapping[str, str], seconds: float | None = None
) -> dict[str, Any]:
    """The Job, as it is sent to the cluster.

    Args:
        pod: the template's pod, with the resources of one node.
        name: name of the Job.
        nodes: how many pods.
        arguments: the stage's command line after the image's entry point.
        labels: labels of the Job.
        seconds: the longest it may run; no limit if None.
    """
    template = copy.deepcopy({key: pod.get(key) or {} for key in ("metadata", "spec")})
    pod_metadata = template["metadata"]
    queue = (pod_metadata.get("labels") or {}).pop(QUEUE_LABEL, "")
    template["metadata"] = {
        "labels": {**(pod_metadata.get("labels") or {}), JOB_LABEL: name},
        "annotations": pod_metadata.get("annotations") or {},
    }
    _fill(template, name, arguments)
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
        "backoffLimit": 0,  # one node alone cannot start again: the others have gone on without it
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        "template": template,
    }
    if seconds is not None:
        spec["activeDeadlineSeconds"] = max(1, round(seconds))
    if queue:
        spec["suspend"] = True  # Kueue lets it go once there is room for all nodes at once
    ours = {**labels, JOB_LABEL: name} | ({QUEUE_LABEL: queue} if queue else {})
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": ours}, "spec": spec}


def _fill(template: dict[str, Any], name: str, arguments: Sequence[str]) -> None:
    """Make a pod of the template one of several."""
    spec, container = template["spec"], main_container(template)
    ours: list[dict[str, Any]] = [
        {"name": "MASTER_ADDR", "value": f"{name}-0.{name}"},
        {"name": "MASTER_PORT", "value": str(PORT)},
        {"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}},
    ]
    names = [variable["name"] for variable in ours]
    container["env"] = [v for v in container.get("env") or [] if v["name"] not in names] + ours
    container["args"] = list(arguments)
    container["terminationMessagePath"], container["terminationMessagePolicy"] = RESULT_FILE, "File"
    spec["containers"] = [c for c in spec["containers"] if c["name"] != SIDE_CAR]
    spec["subdomain"] = name
    spec["restartPolicy"] = "Never"
    spec.setdefault("terminationGracePeriodSeconds", GRACE_SECONDS)


def render_service(job: Mapping[str, Any]) -> dict[str, Any]:
    """The Service that gives the pods of a Job their host names; it goes when the Job, as the cluster knows it, goes."""
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": metadata["name"], "labels": dict(metadata["labels"]), "ownerReferences": [owner]},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # they meet before they are ready
            "selector": {JOB_LABEL: metadata["name"]},
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }


def index_of(pod: Mapping[str, Any]) -> int:
    """Which node a pod is, from 0."""
    return int((pod["metadata"].get("annotations") or {}).get(INDEX) or 0)


def result_in(pod: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result that a pod's stage wrote; None if it wrote none, or one that is no longer whole."""
    try:
        result = json.loads(main_state(pod).get("terminated", {}).get("message") or "")
    except ValueError:
        return None
    return result if isinstance(result, dict) and "outcome" in result else None


def condition(job: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """A condition of a Job that holds, `Failed` or `Complete`."""
    for state in job.get("status", {}).get("conditions") or []:
        if state.get("type") == kind and state.get("status") == "True":
            return dict(state)
    return None


def answer_of(pods: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The result that counts whatever else happens: node 0's, or the refusal of any node; None as long as there is none."""
    for pod in sorted(pods, key=index_of):
        result = result_in(pod)
        if result and (result["outcome"] == "refused" or (index_of(pod) == 0 and result["outcome"] != "fault")):
            return result
    return None


def culprit(pods: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The pod that broke the training; None if none has.

    When one node goes, the others end too, soon after: because they lost it, or because the cluster ends what is left of a failed Job.
    """
    broken = [pod for pod in pods if _is_broken(pod)]
    return min(broken, key=lambda pod: (_guilt(pod), _ended_at(pod), index_of(pod)), default=None)


def _is_broken(pod: Mapping[str, Any]) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return True
    ended = main_state(pod).get("terminated")
    return bool(ended["exitCode"]) if ended else has_ended(pod) and pod["status"]["phase"] != "Succeeded"


def has_only_lost(pod: Mapping[str, Any]) -> bool:
    """Whether a pod ended because another one did."""
    return LOST in (result_in(pod) or {}).get("sentence", "")


def _guilt(pod: Mapping[str, Any]) -> int:
    """Lowest for a pod that ended for a reason of its own."""
    result = result_in(pod)
    if has_only_lost(pod):
        return 3
    if pod["metadata"].get("deletionTimestamp"):
        return 2
    return 1 if result else 0


def _ended_at(pod: Mapping[str, Any]) -> str:
    return str(main_state(pod).get("terminated", {}).get("finishedAt") or "")


def ending_of_node(
    pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]], stage: str, nodes: int, *, last: str = "", gone: bool = False
) -> dict[str, Any]:
    """The result of a stage that one of its nodes broke: its own if it wrote one, otherwise made up from what the cluster says."""
    index, result = index_of(pod), result_in(pod)
    ended = main_state(pod).get("terminated") or {}
    if not result and ended.get("exitCode") == 0:
        result = made_up(
            "fault",
            f"The result of the stage {stage} in the pod {pod['metadata']['name']} cannot be read: it must be JSON of at most {MOST_BYTES} "
            "bytes. What the stage did is stored.",
        )
    result = result or ending_of(pod, events, stage, last=last, gone=gone)
    return (
        {**result, "sentence": f"Node {index} of {nodes}, counted from 0: {result['sentence']}"} if result["outcome"] == "fault" else result
    )


def has_failed_by_itself(job: Mapping[str, Any] | None) -> bool:
    """Whether a Job failed because of its pods: neither deleted nor out of time."""
    failed = condition(job, "Failed") if job and not job["metadata"].get("deletionTimestamp") else None
    return failed is not None and failed.get("reason") != "DeadlineExceeded"


def ending_of_job(job: Mapping[str, Any] | None, name: str, stage: str) -> dict[str, Any] | None:
    """The result of a stage whose Job ended without a pod that could tell why; None if it has not ended."""
    if job is None or job["metadata"].get("deletionTimestamp"):
        return made_up(
            "fault", f"The Job {name} was deleted while the stage {stage} ran in it. Running it again goes on from what is stored."
        )
    if failed := condition(job, "Failed"):
        if failed.get("reason") == "DeadlineExceeded":
            said = f"The stage {stage} took longer than it may (compute.longest_hours); its Job {name} was ended."
            return {**made_up("fault", said, "OverTime"), "over_time": True}
        said = " ".join(str(failed.get("message") or failed.get("reason") or "the cluster gives no reason").split()).rstrip(".")
        return made_up("fault", f"The Job {name} of the stage {stage} failed: {said}. Running it again goes on from what is stored.")
    return None
