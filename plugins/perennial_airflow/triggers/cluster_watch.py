"""Base of the triggers that watch a stage on the cluster: they wait out outages, print logs once, and clean up when killed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, ClassVar

import aiohttp
from airflow.triggers.base import BaseTrigger, TriggerEvent
from kubernetes_asyncio.client import ApiClient, ApiException
from kubernetes_asyncio.config import ConfigException

from perennial_airflow.cluster_access import cluster_client
from perennial_airflow.stage_log import StageLog

POLL_SECONDS = 1.0
LOG_SECONDS = 3.0
EVENTS_SECONDS = 3.0
CLIENT_SECONDS = 600.0  # then a new client is made: tokens of service accounts end
SKEW_SECONDS = 30  # how far the clocks of nodes may be apart: so much of the log is read twice and told once
REFUSALS = (401, 403)
MOST_REFUSALS = 5  # one may be a token that has just ended
OUTAGES = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
WRITTEN = r"(?s)(\S+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d) (.*)"


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
            parts = re.fullmatch(WRITTEN, line)
            if not parts:
                if line and fresh:
                    fresh[-1] += f"\n{line}"
                continue
            moment = (int(datetime.fromisoformat(parts[1] + parts[3]).timestamp()), int((parts[2] or "").ljust(9, "0")[:9]))
            if moment < self._last:
                continue
            if moment == self._last:
                same += 1
                if same <= self._times:
                    continue
            else:
                self._last, same = moment, 1
            self._times = same
            fresh.append(parts[4])
        return fresh

    def since_seconds(self, now: float) -> int | None:
        """How far back the next read must go; None for the whole log."""
        return max(1, int(now - self._last[0]) + SKEW_SECONDS) if self._last[0] else None


class ClusterWatch(BaseTrigger):
    """Fires once, with what `_watch` found and `last`, the stage's last line if it was no log line.

    Args:
        name: name of what is watched.
        namespace: its namespace.
        uid: its identity: another one of this name is not the one that is watched.
        stage: name of the stage.
    """

    KIND: ClassVar[str]  # of what is watched
    ARGUMENTS: ClassVar[tuple[str, ...]] = ("name", "namespace", "uid", "stage")

    def __init__(self, name: str, namespace: str, uid: str, stage: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name, self.namespace, self.uid, self.stage = name, namespace, uid, stage
        self._lines, self._tail = StageLog(self.log), LogTail()
        self._log_read = self._events_read = time.monotonic()
        self._outage = self._fired = False
        self._refusals = 0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments from which the triggerer makes it again."""
        return f"{type(self).__module__}.{type(self).__name__}", {name: getattr(self, name) for name in self.ARGUMENTS}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch until there is something to do; a cluster that does not answer is waited for."""
        event: dict[str, Any] | None = None
        while event is None:
            try:
                async with cluster_client() as connection:
                    event = await self._watch(connection)
            except ConfigException as error:
                event = self._fault(f"Airflow's triggerer knows no cluster: {error} Set KUBECONFIG, or run it in the cluster.")
            except ApiException as error:
                self._refusals += error.status in REFUSALS
                self._tell_outage(f"{error.status} {error.reason}")
                if self._refusals >= MOST_REFUSALS:
                    said = (
                        f"The cluster does not let Airflow's triggerer watch the {self.KIND} {self.name} ({error.status} {error.reason})."
                    )
                    event = self._fault(f"{said} Give its service account the right in {self.namespace}.")
            except OUTAGES as error:
                self._tell_outage(str(error) or type(error).__name__)
            if event is None:
                await asyncio.sleep(LOG_SECONDS if self._outage else 0)
        self._fired = True
        yield TriggerEvent({**event, "last": self._lines.last})

    async def on_kill(self) -> None:
        """A person ended or cleared the task: what it runs in goes too."""
        if not self._fired:
            async with cluster_client() as connection:
                await self._delete(connection)
            self.log.info("The %s %s was deleted.", self.KIND, self.name)

    async def _watch(self, connection: ApiClient) -> dict[str, Any] | None:
        """What the event says; None after CLIENT_SECONDS."""
        raise NotImplementedError

    async def _delete(self, connection: ApiClient) -> None:
        """Delete what is watched, and all that belongs to it."""
        raise NotImplementedError

    def _fault(self, sentence: str) -> dict[str, Any]:
        """What the event says where nothing can be watched."""
        raise NotImplementedError

    def _answered(self) -> None:
        self._refusals = 0
        if self._outage:
            self._outage = False
            self.log.info("The cluster answers again.")

    def _tell_outage(self, error: object) -> None:
        if not self._outage:
            self._outage = True
            self.log.warning(
                "The cluster does not answer (%s); the %s %s is watched again as soon as it does.", error, self.KIND, self.name
            )
