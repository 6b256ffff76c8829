"""Watches a stage's pod: its log lines as they come, its end, and why it does not start."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

from kubernetes_asyncio.client import ApiClient, ApiException

from perennial_airflow.cluster_access import PodAccess
from perennial_airflow.stage_pod import MAIN, ending_of, has_ended, made_up, main_state, waits_for_side_car, why_not_started
from perennial_airflow.triggers.cluster_watch import CLIENT_SECONDS, EVENTS_SECONDS, LOG_SECONDS, POLL_SECONDS, ClusterWatch

LAST_LOG_SECONDS = 60.0  # how long the log of an ended stage is tried for
AWAY_SECONDS = 60.0  # after its time to end well is over: then its node does not answer
KILL_GRACE_SECONDS = 5


class PodWatch(ClusterWatch):
    """Fires when the stage in a pod has ended, when the pod is gone, or when it will not start.

    The event says `last`, the stage's last line if it was no log line, and `ending`: the made-up result of a stage that can give none, or
    None where the stage has ended and its result is still to be read.

    Args:
        name: name of the pod.
        namespace: its namespace.
        uid: its identity: another pod of this name is not the one that is watched.
        stage: name of the stage.
        schedule_seconds: how long it may wait for a node.
        start_seconds: how long it may then take to start.
    """

    KIND = "pod"
    ARGUMENTS = (*ClusterWatch.ARGUMENTS, "schedule_seconds", "start_seconds")

    def __init__(self, name: str, namespace: str, uid: str, stage: str, schedule_seconds: float, start_seconds: float) -> None:
        super().__init__(name, namespace, uid, stage)
        self.schedule_seconds, self.start_seconds = schedule_seconds, start_seconds
        self._seen: dict[str, Any] | None = None
        self._began = time.monotonic()
        self._scheduled = 0.0
        self._trouble, self._trouble_since = "", 0.0
        self._log_outage = False

    async def _watch(self, connection: ApiClient) -> dict[str, Any] | None:
        pod = self._pod(connection)
        until = time.monotonic() + CLIENT_SECONDS
        while time.monotonic() < until:
            current = await self._read(pod)
            if not current:
                return {"ending": ending_of(self._seen, await pod.events(), self.stage, name=self.name, gone=True)}
            self._seen = current
            if has_ended(current) and not waits_for_side_car(current):
                if "terminated" in main_state(current):
                    await self._tell_rest(pod)
                return {"ending": None}
            if "running" in main_state(current):
                await self._tell_news(pod)
                if is_away(current, time.time()):
                    return {"ending": ending_of(current, await pod.events(), self.stage)}
            waits = waits_for_side_car(current) or not main_state(current).keys() & {"running", "terminated"}
            if waits and (ending := await self._not_started(pod, current)):
                return {"ending": ending}
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _delete(self, connection: ApiClient) -> None:
        await self._pod(connection).delete(self.uid, KILL_GRACE_SECONDS)

    def _fault(self, sentence: str) -> dict[str, Any]:
        return {"ending": made_up("fault", sentence)}

    def _pod(self, connection: ApiClient) -> PodAccess:
        return PodAccess(connection, self.name, self.namespace)

    async def _read(self, pod: PodAccess) -> dict[str, Any]:
        """The pod; empty if it is gone, or another one has its name."""
        try:
            current = await pod.read()
        except ApiException as error:
            if error.status != 404:
                raise
            current = {}
        self._answered()
        return current if current and current["metadata"]["uid"] == self.uid else {}

    async def _not_started(self, pod: PodAccess, current: dict[str, Any]) -> dict[str, Any] | None:
        now = time.monotonic()
        if current["metadata"].get("deletionTimestamp") and "running" not in main_state(current):
            return ending_of(current, await pod.events(), self.stage)
        if current.get("spec", {}).get("nodeName") and not self._scheduled:
            self._scheduled = now
        if now - self._events_read < EVENTS_SECONDS:
            return None
        self._events_read = now
        events = await pod.events()
        trouble = why_not_started(current, events, self.stage)
        if trouble and trouble.cause != self._trouble:
            self._trouble, self._trouble_since = trouble.cause, now
            if trouble.patience != 0:
                self.log.warning("%s", trouble.sentence)
        if not trouble:
            self._trouble = ""
        hopeless = trouble and trouble.patience is not None and now - self._trouble_since >= trouble.patience
        waits_in_queue = trouble and trouble.cause == "queue"
        late = now - self._scheduled >= self.start_seconds if self._scheduled else now - self._began >= self.schedule_seconds
        if not hopeless and (not late or waits_in_queue):
            return None
        return made_up("fault", trouble.sentence) if trouble else ending_of(current, events, self.stage)

    async def _tell_news(self, pod: PodAccess) -> None:
        """Log what the stage has printed since; the log of a node that does not answer is tried again later."""
        if time.monotonic() - self._log_read < LOG_SECONDS:
            return
        self._log_read = time.monotonic()
        try:
            lines = await pod.log(MAIN, self._tail.since_seconds(time.time()))
        except ApiException as error:
            if not self._log_outage:
                self._log_outage = True
                self.log.warning("The log of the pod %s cannot be read now (%s); it is tried again.", self.name, error.status)
            return
        self._log_outage = False
        for line in self._tail.new(lines):
            self._lines.take(line)

    async def _tell_rest(self, pod: PodAccess) -> None:
        """Log what is left once the stage has ended."""
        deadline = time.monotonic() + LAST_LOG_SECONDS
        while True:
            try:
                for line in self._tail.new(await pod.log(MAIN, self._tail.since_seconds(time.time()))):
                    self._lines.take(line)
                return
            except ApiException as error:
                if time.monotonic() > deadline or error.status in (400, 404):  # it never began, or is gone
                    self.log.warning("The end of the log of the pod %s cannot be read (%s).", self.name, error.status)
                    return
            await asyncio.sleep(POLL_SECONDS)


def is_away(pod: dict[str, Any], now: float) -> bool:
    """Whether the pod should have ended some time ago and has not: whoever ends pods on its node does not answer."""
    ends = pod["metadata"].get("deletionTimestamp")
    return bool(ends) and now - datetime.fromisoformat(ends).timestamp() > AWAY_SECONDS
