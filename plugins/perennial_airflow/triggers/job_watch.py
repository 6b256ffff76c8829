"""Watches the Job of a stage that runs on several nodes: node 0's log lines, the end of any node, and why one does not start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kubernetes_asyncio import client
from kubernetes_asyncio.client import ApiException

from perennial_airflow.cluster_access import ANSWER_SECONDS, PodAccess, in_order
from perennial_airflow.stage_job import (
    JOB_LABEL,
    answer_of,
    culprit,
    ending_of_job,
    ending_of_node,
    has_failed_by_itself,
    has_only_lost,
    index_of,
)
from perennial_airflow.stage_pod import MAIN, has_ended, made_up, main_state, not_created, why_not_started
from perennial_airflow.triggers.cluster_watch import CLIENT_SECONDS, EVENTS_SECONDS, LOG_SECONDS, POLL_SECONDS, ClusterWatch

SETTLE_SECONDS = 6.0  # how long after the first broken node the others are waited for: the cause may be told last
ROOM_SECONDS = 30.0  # how long a pod may be refused for want of quota: those of an earlier Job may still count
LOSS_SECONDS = 45.0  # so long, if all that is known is that one node lost another
GONE = "gone"  # stands where the time of its deletion would be
LAST_LINES = 30  # of a broken node's log

Pod = dict[str, Any]


class JobAccess:
    """What can be asked of one Job and its pods.

    Args:
        connection: client of the cluster's API.
        name: name of the Job.
        namespace: its namespace.
    """

    def __init__(self, connection: client.ApiClient, name: str, namespace: str) -> None:
        self._connection = connection
        self._core, self._batch = client.CoreV1Api(connection), client.BatchV1Api(connection)
        self._name, self._namespace = name, namespace

    async def read(self) -> dict[str, Any] | None:
        """The Job as the API says it; None if there is none."""
        try:
            job = await self._batch.read_namespaced_job(self._name, self._namespace, _request_timeout=ANSWER_SECONDS)
        except ApiException as error:
            if error.status != 404:
                raise
            return None
        as_json: dict[str, Any] = self._connection.sanitize_for_serialization(job)
        return as_json

    async def pods(self) -> list[Pod]:
        """Its pods, by the number of the node."""
        listed = await self._core.list_namespaced_pod(
            self._namespace, label_selector=f"{JOB_LABEL}={self._name}", _request_timeout=ANSWER_SECONDS
        )
        return sorted(self._connection.sanitize_for_serialization(listed.items), key=index_of)

    async def events(self) -> list[dict[str, Any]]:
        """What the cluster tells of the Job itself, oldest first."""
        about = f"involvedObject.kind=Job,involvedObject.name={self._name}"
        listed = await self._core.list_namespaced_event(self._namespace, field_selector=about, _request_timeout=ANSWER_SECONDS)
        return in_order(self._connection.sanitize_for_serialization(listed.items))

    def pod(self, pod: Mapping[str, Any]) -> PodAccess:
        """What can be asked of one of its pods."""
        return PodAccess(self._connection, pod["metadata"]["name"], self._namespace)

    async def last_lines(self, pod: Mapping[str, Any]) -> list[str]:
        """The end of a pod's log; empty if it has none any more."""
        try:
            text: str = await self._core.read_namespaced_pod_log(
                pod["metadata"]["name"], self._namespace, container=MAIN, tail_lines=LAST_LINES, _request_timeout=ANSWER_SECONDS
            )
        except ApiException as error:
            return [f"(its log cannot be read: {error.status} {error.reason})"]
        return text.splitlines()

    async def delete(self, uid: str) -> None:
        """Delete the Job with its pods and its Service, if it still is the one of this uid."""
        wanted = client.V1DeleteOptions(propagation_policy="Foreground", preconditions=client.V1Preconditions(uid=uid))
        try:
            await self._batch.delete_namespaced_job(self._name, self._namespace, body=wanted, _request_timeout=ANSWER_SECONDS)
        except ApiException as error:
            if error.status not in (404, 409):  # gone already, or another Job has the name
                raise


class JobWatch(ClusterWatch):
    """Fires when node 0 has a result, when a node has broken, when the Job is gone, or when its pods will not start.

    The event says `result`; `last`, node 0's last line if it was no log line; `broken`, the pod that broke the training, and its `lines`.

    Args:
        name: name of the Job.
        namespace: its namespace.
        uid: its identity: another Job of this name is not the one that is watched.
        stage: name of the stage.
        nodes: how many pods it has.
        schedule_seconds: how long a pod may wait for a node.
        start_seconds: how long it may then take to start.
    """

    KIND = "Job"
    ARGUMENTS = (*ClusterWatch.ARGUMENTS, "nodes", "schedule_seconds", "start_seconds")

    def __init__(self, name: str, namespace: str, uid: str, stage: str, nodes: int, schedule_seconds: float, start_seconds: float) -> None:
        super().__init__(name, namespace, uid, stage)
        self.nodes, self.schedule_seconds, self.start_seconds = nodes, schedule_seconds, start_seconds
        self._seen: dict[str, Pod] = {}  # the pods as they were last seen, by uid
        self._since: dict[str, float] = {}  # when something that only lasts for so long began
        self._told: set[str] = set()

    async def _watch(self, connection: client.ApiClient) -> dict[str, Any] | None:
        access = self._access(connection)
        until = time.monotonic() + CLIENT_SECONDS
        while time.monotonic() < until:
            job, pods = await access.read(), await access.pods()
            self._answered()
            if job and job["metadata"]["uid"] != self.uid:
                job = None
            if event := await self._look(access, job, pods):
                return event
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _delete(self, connection: client.ApiClient) -> None:
        await self._access(connection).delete(self.uid)

    def _fault(self, sentence: str) -> dict[str, Any]:
        return _event(made_up("fault", sentence))

    def _access(self, connection: client.ApiClient) -> JobAccess:
        return JobAccess(connection, self.name, self.namespace)

    async def _look(self, access: JobAccess, job: dict[str, Any] | None, pods: Sequence[Pod]) -> dict[str, Any] | None:
        if job and job["spec"].get("suspend"):
            # Its queue holds it, or has taken its pods away to give their room to others: it goes on when there is room again.
            self._say_once("suspended", "The Job %s waits in its queue.", self.name)
            self._seen.clear()
            self._since.clear()
            return None
        self._told.discard("suspended")
        self._seen.update({pod["metadata"]["uid"]: pod for pod in pods})
        await self._tell_news(access, next((pod for pod in pods if index_of(pod) == 0), None))
        if answer := answer_of(list(self._seen.values())):
            return _event(answer)
        ending = ending_of_job(job, self.name, self.stage)
        if ending and not has_failed_by_itself(job):
            return _event(ending)
        return await self._broke(access, pods) or await self._ended_silently(ending) or await self._not_started(access, pods)

    async def _broke(self, access: JobAccess, pods: Sequence[Pod]) -> dict[str, Any] | None:
        """The event of a Job that one of its nodes has broken. A pod that came in the place of another cannot join what the others do."""
        there = {pod["metadata"]["uid"] for pod in pods}
        known = [pod if uid in there or has_ended(pod) else _taken(pod) for uid, pod in self._seen.items()]
        broken = culprit(known)
        if broken is None:
            return None
        over = len(known) == self.nodes and all(has_ended(pod) for pod in known)
        patience = LOSS_SECONDS if has_only_lost(broken) else SETTLE_SECONDS
        return await self._broken(access, broken) if over or self._lasts(f"broken {has_only_lost(broken)}", patience) else None

    async def _ended_silently(self, ending: dict[str, Any] | None) -> dict[str, Any] | None:
        """The event of a Job that ended without a word: node 0 wrote no result, or the cluster alone knows why."""
        first = next((pod for pod in self._seen.values() if index_of(pod) == 0 and has_ended(pod)), None)
        if first and main_state(first).get("terminated", {}).get("exitCode") == 0:
            return _event(ending_of_node(first, [], self.stage, self.nodes))
        return _event(ending) if ending and self._lasts("failed", SETTLE_SECONDS) else None

    async def _broken(self, access: JobAccess, pod: Pod) -> dict[str, Any]:
        """The event that says which node broke the training, and why."""
        is_gone = pod["metadata"].get("deletionTimestamp") == GONE
        lines = await access.last_lines(pod) if index_of(pod) and not is_gone else []
        last = next(reversed(lines), "") if index_of(pod) else self._lines.last
        events = await access.pod(pod).events()
        ending = ending_of_node(pod, events, self.stage, self.nodes, last=last, gone=is_gone)
        return _event(ending, pod["metadata"]["name"], lines)

    async def _not_started(self, access: JobAccess, pods: Sequence[Pod]) -> dict[str, Any] | None:
        """The event of a Job whose pods will not start."""
        waiting = [pod for pod in pods if "running" not in main_state(pod) and not has_ended(pod)]
        if time.monotonic() - self._events_read < EVENTS_SECONDS:
            return None
        self._events_read = time.monotonic()
        if len(pods) < self.nodes:
            refused = next((e for e in reversed(await access.events()) if e.get("reason") == "FailedCreate"), None)
            if refused and self._lasts("refused", ROOM_SECONDS):
                return _event(not_created(self.stage, self.name, self.namespace, 403, str(refused.get("message"))))
        else:
            self._since.pop("refused", None)
        for pod in waiting:
            if event := await self._waits(access, pod):
                return event
        return None

    async def _waits(self, access: JobAccess, pod: Pod) -> dict[str, Any] | None:
        name, events = pod["metadata"]["name"], await access.pod(pod).events()
        trouble = why_not_started(pod, events, self.stage)
        if trouble and trouble.patience != 0:
            self._say_once(f"{name} {trouble.cause}", "%s", trouble.sentence)
        hopeless = trouble and trouble.patience is not None and self._lasts(f"{name} {trouble.cause}", trouble.patience)
        has_node = bool(pod.get("spec", {}).get("nodeName"))
        late = self._lasts(f"{name} {has_node}", self.start_seconds if has_node else self.schedule_seconds)
        if hopeless or (late and not (trouble and trouble.cause == "queue")):
            return _event(ending_of_node(pod, events, self.stage, self.nodes), name)
        return None

    def _lasts(self, what: str, seconds: float) -> bool:
        """Whether something has been so for so long."""
        return time.monotonic() - self._since.setdefault(what, time.monotonic()) >= seconds

    async def _tell_news(self, access: JobAccess, pod: Pod | None) -> None:
        """Log what node 0 has printed since; all of it once it has ended."""
        ended = pod is not None and "terminated" in main_state(pod)
        if pod is None or not (ended or "running" in main_state(pod)):
            return
        if not ended and time.monotonic() - self._log_read < LOG_SECONDS:
            return
        self._log_read = time.monotonic()
        try:
            lines = await access.pod(pod).log(MAIN, self._tail.since_seconds(time.time()))
        except ApiException as error:
            self._say_once("log", "The log of node 0 cannot be read now (%s).", error.status)
            return
        self._told.discard("log")
        for line in self._tail.new(lines):
            self._lines.take(line)

    def _say_once(self, what: str, text: str, *values: object) -> None:
        if what not in self._told:
            self._told.add(what)
            self.log.warning(text, *values)


def _taken(pod: Pod) -> Pod:
    """A pod that is there no more, as it was last seen."""
    return {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": pod["metadata"].get("deletionTimestamp") or GONE}}


def _event(result: dict[str, Any], broken: str = "", lines: Sequence[str] = ()) -> dict[str, Any]:
    return {"result": result, "broken": broken, "lines": list(lines)}
