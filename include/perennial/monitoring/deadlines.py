"""Whether something that must come on each day by a certain time has come. Pure; light.

>>> from datetime import timezone
>>> from perennial.specs.deadlines import DeadlineSpec
>>> last, now = (datetime(2026, 3, day, 7, tzinfo=timezone.utc) for day in (1, 2))
>>> missed(DeadlineSpec(by="06:00"), "UTC", last, now).day
datetime.date(2026, 3, 2)
>>> missed(DeadlineSpec(by="08:00"), "UTC", last, now) is None  # there is an hour left
True
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from perennial.clock import moment, zone
from perennial.specs.deadlines import WEEKDAYS, DeadlineSpec


@dataclass(frozen=True)
class Missed:
    """A deadline that passed while nothing came."""

    day: date  # of the zone
    at: datetime  # UTC


def missed(deadline: DeadlineSpec, time_zone: str, last: datetime | None, now: datetime) -> Missed | None:
    """The newest deadline that has passed, if nothing has come since its day began; None if something has, however late.

    Args:
        deadline: by when it must come.
        time_zone: whose wall time that is, and whose midnight begins a day.
        last: when it came last, aware; None if it never did: what has never begun is not late.
        now: aware.
    """
    if last is None:
        return None
    today = now.astimezone(zone(time_zone)).date()
    for back in range(len(WEEKDAYS) + 1):
        day = today - timedelta(days=back)
        due = moment(datetime.combine(day, time.fromisoformat(deadline.by)), time_zone)
        if WEEKDAYS[day.weekday()] in deadline.days and due <= now:
            begin = moment(datetime.combine(day, time()), time_zone)
            return Missed(day, due) if last < begin else None
    return None
