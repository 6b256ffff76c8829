"""When each version served, and with which share of the traffic: the ledger's lines as stretches of time. Light.

>>> from datetime import datetime, timezone
>>> from perennial.lineage.ledger import Line
>>> times = [datetime(2026, 3, day, tzinfo=timezone.utc) for day in (1, 2)]
>>> lines = [
...     Line(seq=0, time=times[0], kind="released", version=1, digest="a" * 64, weights={1: 10_000}, shadow=None),
...     Line(seq=1, time=times[1], kind="started", version=2, digest="b" * 64, weights={1: 9_000, 2: 1_000}, shadow=None),
... ]
>>> [(window.begin.day, window.end and window.end.day, window.share) for window in served_windows(lines)[1]]
[(1, 2, 1.0), (2, None, 0.9)]
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from perennial.lineage.ledger import WHOLE, Line


class ServedWindow(BaseModel):
    """A stretch of time in which a version ran with one share of the traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begin: datetime
    end: datetime | None = Field(description="None if it still does.")
    share: float = Field(ge=0, le=1, description="Its share of the traffic; 0 in the shadow.")
    shadow: bool = Field(description="Whether it got mirrored traffic, of which nobody saw the answers.")


def served_windows(oldest_first: Iterable[Line]) -> dict[int, list[ServedWindow]]:
    """The windows of each version, oldest first. A rejection moves no traffic; shares that go on are one window."""
    windows: dict[int, list[ServedWindow]] = {}
    now: dict[int, ServedWindow] = {}
    for line in (line for line in oldest_first if line.kind != "rejected"):
        shares = {number: (weight / WHOLE, False) for number, weight in line.weights.items()}
        if line.shadow is not None:
            shares[line.shadow] = shares.get(line.shadow, (0.0, True))
        for number, window in list(now.items()):
            if shares.get(number) != (window.share, window.shadow):
                windows[number].append(now.pop(number).model_copy(update={"end": line.time}))
        for number, (share, shadow) in shares.items():
            if number not in now:
                now[number] = ServedWindow(begin=line.time, end=None, share=share, shadow=shadow)
                windows.setdefault(number, [])
    for number, window in now.items():
        windows[number].append(window)
    return windows
