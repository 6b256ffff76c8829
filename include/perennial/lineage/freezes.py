"""Whether releases are frozen, until when and why. Pure; light.

>>> from datetime import timezone
>>> from perennial.specs import FreezeSpec
>>> holidays = FreezeSpec(reason="the holidays", first="2026-12-24", last="2026-12-26")
>>> frozen([holidays], datetime(2026, 12, 25, 12, tzinfo=timezone.utc)).words
'releases are frozen until 2026-12-27 00:00 UTC (the holidays)'
>>> frozen([holidays], datetime(2026, 12, 27, tzinfo=timezone.utc)) is None  # it is over
True
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from perennial.clock import moment, zone
from perennial.specs import FreezeSpec, cron_times

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Frozen:
    """A freeze that holds."""

    until: datetime  # UTC
    reason: str

    @property
    def words(self) -> str:
        """As a clause."""
        return f"releases are frozen until {self.until:%Y-%m-%d %H:%M} UTC ({self.reason})"


def frozen(freezes: Sequence[FreezeSpec], now: datetime) -> Frozen | None:
    """The freeze that holds at a moment, of several the one that ends last; None if none does. Its first moment belongs to it."""
    holding = [Frozen(end, one.reason) for one in freezes for begin, end in _windows(one, now) if begin <= now < end]
    return max(holding, key=lambda held: held.until, default=None)


def _windows(freeze: FreezeSpec, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Those windows of a freeze that may hold at a moment, in UTC."""
    if freeze.first and freeze.last:
        begin, end = (moment(datetime.combine(day, time()), freeze.time_zone) for day in (freeze.first, freeze.last + DAY))
        yield begin, end
    if freeze.cron and freeze.hours:
        here = zone(freeze.time_zone)
        day = (now - timedelta(hours=freeze.hours)).astimezone(here).date()  # what began before it is over
        while day <= now.astimezone(here).date():
            for at in cron_times(freeze.cron, day):
                begin = moment(datetime.combine(day, at), freeze.time_zone)
                yield begin, begin + timedelta(hours=freeze.hours)
            day += DAY
