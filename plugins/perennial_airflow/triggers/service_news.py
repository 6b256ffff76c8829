"""Waits for incidents that no task of Airflow found: those of the watch over the versions that serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from perennial.errors import Fault
from perennial.incidents import news
from perennial.settings import Settings
from perennial.store import open_store

POLL_SECONDS = 2.0
OUTAGE_SECONDS = 15.0


class ServiceNewsTrigger(BaseEventTrigger):
    """Fires whenever there is news; and once when it begins, since news may have come while nobody looked."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments from which the triggerer makes it again."""
        return "perennial_airflow.triggers.service_news.ServiceNewsTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every two seconds, in a thread, since a store may be slow; an unreachable store is waited for."""
        known = ""
        while True:
            pause = POLL_SECONDS
            try:
                newest = await asyncio.to_thread(look)
            except Fault as fault:
                self.log.warning("%s Looking again in %d seconds.", fault, OUTAGE_SECONDS)
                newest, pause = known, OUTAGE_SECONDS
            if newest != known:
                known = newest
                yield TriggerEvent({"news": newest})
            await asyncio.sleep(pause)


def look() -> str:
    """Tells the newest news from others. Raises Fault when the store does not answer."""
    return news.newest(open_store(Settings.from_environment().store, writes=False))
