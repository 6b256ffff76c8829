"""Waits until a moment without logging: the standard trigger writes a line into the task's log every second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class MomentTrigger(BaseTrigger):
    """Fires once, at a moment given in seconds since the epoch, also when the triggerer was restarted meanwhile."""

    def __init__(self, at: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at = at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments from which the triggerer makes it again."""
        return "perennial_airflow.triggers.moment.MomentTrigger", {"at": self.at}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep until then; a wait of more than a minute looks at the clock now and again, since clocks are set."""
        while (left := self.at - time.time()) > 0:
            await asyncio.sleep(min(left, 60))
        yield TriggerEvent(self.at)
