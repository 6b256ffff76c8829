"""Watches a stage's pod: its log lines as they come, its end, and why it does not start."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes_asyncio.client import ApiException
from kubernetes_asyncio.config import ConfigException

from perennial_airflow.cluster_access import PodAccess, cluster_client
from perennial_airflow.stage_log import StageLog
from perennial_airflow.stage_pod import MAIN, ending_of, has_ended, made_up, main_state, waits_for_side_car, why_not_started

POLL_SECONDS = 1.0
LOG_SECONDS = 3.0
EVENTS_SECONDS = 3.0
CLIENT_SECONDS = 600.0  # then a new client is made: tokens of service accounts end
SKEW_SECONDS = 30  # how far the clocks of nodes may be apart: so much of the log is read twice and told once
LAST_LOG_SECONDS = 60.0  # how long the log of an ended stage is tried for
AWAY_SECONDS = 60.0  # after its time to end well is over: then its node does not answer
KILL_GRACE_SECONDS = 5
REFUSALS = (401, 403)
MOST_REFUSALS = 5  # one may be a token that has just ended
OUTAGES = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
WRITTEN = re.compile(r"(\S+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d) (.*)", re.DOTALL)


class LogTail:
    """Tells which lines of a log, read again and again, are new."""

    def __init__(self) -> None:
        self._last = (0, 0)  # seconds, nanoseconds
        self._times = 0  # lines told that were written at this very moment

    def new(self, lines: list[str]) -> list[str]:
        """The lines that were not there at earlier reads, without their times."""
        fresh: list[str] = []
        same = 0
        for line in lines:
            found = WRITTEN.fullmatch(line)
            if not found:
                if line and fresh:
                    fresh[-1] += f"\n{line}"
                continue
            moment = (int(datetime.fromisoformat(found[1] + found[3]).timestamp()), int((found[2] or "").ljust(9, "0")[:9]))
            if moment < self._last:
                continue
            if moment == self._last:
                same += 1
                if same <= self._times:
                    continue
            else:
                self._last, same = moment, 1
            self._times = same
            fresh.append(found[4])
        return fresh

    def since_seconds(self, now: float) -> int | None:
        """How far back the next read must go; None for the whole log."""
        return max(1, int(now - self._last[0]) + SKEW_SECONDS) if self._last[0] else None


class PodWatch(BaseTrigger):
    """Fires when the stage in a pod has ended, when the pod is gone, or when it will not start.

    The event says `last`, the stage's last line if it was no log line, and `ending`: the made-up result of a stage that can give none, or None
    where the stage has ended and its result is still to be read.

    Args:
        name: name of the pod.
        namespace: its namespace.
        uid: its identity: another pod of this name is not the one that is watched.
        stage: name of the stage.
        schedule_seconds: how long it may wait for a node.
        start_seconds: how long it may then take to start.
    """

    def __init__(self, name: str, namespace: str, uid: str, stage: str, schedule_seconds: float, start_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name, self.namespace, self.uid, self.stage = name, namespace, uid, stage
        self.schedule_seconds, self.start_seconds = schedule_seconds, start_seconds
        self._lines = StageLog(self.log)
        self._tail = LogTail()
        self._seen: dict[str, Any] | None = None
        self._began = self._log_read = self._events_read = time.monotonic()
        self._scheduled = 0.0
        self._trouble, self._trouble_since = "", 0.0
        self._outage = self._log_outage = self._fired = False
        self._refusals = 0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments from which the triggerer makes it again."""
        names = ("name", "namespace", "uid", "stage", "schedule_seconds", "start_seconds")
        return "perennial_airflow.triggers.pod_watch.PodWatch", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch until there is something to do; a cluster that does not answer is waited for."""
        over, ending = False, None
        while not over:
            try:
                async with cluster_client() as connection:
                    over, ending = await self._watch(PodAccess(connection, self.name, self.namespace))
            except ConfigException as error:
                over, ending = (
                    True,
                    made_up("fault", f"Airflow's triggerer knows no cluster: {error} Set KUBECONFIG, or run it in the cluster."),
                )
            except ApiException as error:
                self._refusals += error.status in REFUSALS
                self._tell_outage(f"{error.status} {error.reason}")
                if self._refusals >= MOST_REFUSALS:
                    said = f"The cluster does not let Airflow's triggerer watch the pod {self.name} ({error.status} {error.reason})."
                    over, ending = True, made_up("fault", f"{said} Give its service account the right in {self.namespace}.")
            except OUTAGES as error:
                self._tell_outage(str(error) or type(error).__name__)
            if not over:
                await asyncio.sleep(LOG_SECONDS if self._outage else 0)
        self._fired = True
        yield TriggerEvent({"last": self._lines.last, "ending": ending})

    async def on_kill(self) -> None:
        """A person ended or cleared the task: the pod goes too."""
        if not self._fired:
            async with cluster_client() as connection:
                await PodAccess(connection, self.name, self.namespace).delete(self.uid, KILL_GRACE_SECONDS)
            self.log.info("The pod %s was deleted.", self.name)

    async def _watch(self, pod: PodAccess) -> tuple[bool, dict[str, Any] | None]:
        """Whether the watch is over, and what the event says as `ending`."""
        until = time.monotonic() + CLIENT_SECONDS
        while time.monotonic() < until:
            found = await self._read(pod)
            if not found:
                return True, ending_of(self._seen, await pod.events(), self.stage, name=self.name, gone=True)
            self._seen = found
            if has_ended(found) and not waits_for_side_car(found):
                if "terminated" in main_state(found):
                    await self._tell_rest(pod)
                return True, None
            if "running" in main_state(found):
                await self._tell_news(pod)
                if is_away(found, time.time()):
                    return True, ending_of(found, await pod.events(), self.stage)
            waits = waits_for_side_car(found) or not main_state(found).keys() & {"running", "terminated"}
            if waits and (ending := await self._not_started(pod, found)):
                return True, ending
            await asyncio.sleep(POLL_SECONDS)
        return False, None

    async def _read(self, pod: PodAccess) -> dict[str, Any]:
        """The pod; empty if it is gone, or another one has its name."""
        try:
            found = await pod.read()
        except ApiException as error:
            if error.status != 404:
                raise
            found = {}
        if self._outage:
            self._outage = False
            self.log.info("The cluster answers again.")
        self._refusals = 0
        return found if found and found["metadata"]["uid"] == self.uid else {}

    async def _not_started(self, pod: PodAccess, found: dict[str, Any]) -> dict[str, Any] | None:
        now = time.monotonic()
        if found["metadata"].get("deletionTimestamp") and "running" not in main_state(found):
            return ending_of(found, await pod.events(), self.stage)
        if found.get("spec", {}).get("nodeName") and not self._scheduled:
            self._scheduled = now
        if now - self._events_read < EVENTS_SECONDS:
            return None
        self._events_read = now
        events = await pod.events()
        trouble = why_not_started(found, events, self.stage)
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
        return made_up("fault", trouble.sentence) if trouble else ending_of(found, events, self.stage)

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

    def _tell_outage(self, error: object) -> None:
        if not self._outage:
            self._outage = True
            self.log.warning("The cluster does not answer (%s); the pod %s is watched again as soon as it does.", error, self.name)


def is_away(pod: dict[str, Any], now: float) -> bool:
    """Whether the pod should have ended some time ago and has not: whoever ends pods on its node does not answer."""
    ends = pod["metadata"].get("deletionTimestamp")
    return bool(ends) and now - datetime.fromisoformat(ends).timestamp() > AWAY_SECONDS
