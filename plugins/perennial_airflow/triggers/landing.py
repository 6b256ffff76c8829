"""Watches a dataset's landing zone, a folder or an S3 prefix alike, for files that no stage has dealt with yet.

The receipts in the store are the watermark: what a trigger remembers only spares it work, so a restarted triggerer misses no file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from perennial.data.landing import Landed, Watch
from perennial.errors import Fault
from perennial.settings import Settings
from perennial.store import open_store

POLL_SECONDS = 2.0
REMIND_SECONDS = 120.0  # events are lossy: files that still wait are announced again
GATHER_SECONDS = 10.0  # files that arrive together make one event: so long it waits for those still being written
OUTAGE_SECONDS = 15.0
NAMES_SHOWN = 20


class LandingTrigger(BaseEventTrigger):
    """Fires when files are ready, then again whenever others are, or the same ones are left lying.

    Args:
        dataset: name of the dataset.
        until: seconds since the epoch at which it fires without files; never if None.
    """

    def __init__(self, dataset: str, until: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dataset = dataset
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments from which the triggerer makes it again."""
        return "perennial_airflow.triggers.landing.LandingTrigger", {"dataset": self.dataset, "until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every two seconds, in a thread, since a store may be slow; an unreachable store is waited for."""
        announced: set[str] = set()
        announced_at = gathering_since = 0.0
        watch = Watch(self.dataset)
        while True:
            pause = POLL_SECONDS
            ends = self.until is not None and time.time() >= self.until
            try:  # before files are told again, each is looked at
                sure = ends or time.monotonic() - announced_at > REMIND_SECONDS
                ready, still = await asyncio.to_thread(look, self.dataset, watch, sure=sure)
            except Fault as fault:
                self.log.warning("%s Looking again in %d seconds.", fault, OUTAGE_SECONDS)
                ready, still, pause = [], [], OUTAGE_SECONDS
            waiting, now = {file.id for file in ready}, time.monotonic()
            is_due = bool(waiting - announced) or (bool(waiting) and now - announced_at > REMIND_SECONDS)
            gathering_since = (gathering_since or now) if is_due else 0.0
            if is_due and (not still or now - gathering_since >= GATHER_SECONDS):
                announced, announced_at, gathering_since = waiting, now, 0.0
                yield TriggerEvent(described(ready))
            elif ends:
                yield TriggerEvent(described(ready))  # also what was held back because other files are being written
                return
            await asyncio.sleep(pause)


def look(dataset: str, watch: Watch | None = None, *, sure: bool = True) -> tuple[list[Landed], list[Landed]]:
    """The files of a dataset that wait: ready ones, and those that may still be written to.

    Args:
        dataset: name of the dataset.
        watch: of who looks again and again.
        sure: see `Watch.look`.

    Raises:
        Fault: the store does not answer.
    """
    settings = Settings.from_environment()
    store = open_store(settings.store, writes=False)
    return (watch or Watch(dataset)).look(store, settings.landing_settle_seconds, sure=sure)


def described(files: list[Landed]) -> dict[str, Any]:
    """What an event says of files: how many, and the first names."""
    return {"files": len(files), "names": [file.name for file in files[:NAMES_SHOWN]]}
