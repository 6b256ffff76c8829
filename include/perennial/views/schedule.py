"""When a cron line is due next. Light: pages say when the next look, training or check is.

>>> from datetime import datetime, timezone
>>> next_time("*/30 * * * *", datetime(2026, 3, 1, 11, 45, tzinfo=timezone.utc)).isoformat()
'2026-03-01T12:00:00+00:00'
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from perennial.specs import cron_times

YEARS = 8  # within which the 29th of February comes


def next_time(line: str, after: datetime) -> datetime | None:
    """The first minute after a time at which a cron line is due, UTC; none if it is never due, as on the 30th of February.

    Args:
        line: five fields as a spec has them.
        after: with its zone.
    """
    begin = after.astimezone(timezone.utc).replace(second=0, microsecond=0) + timedelta(minutes=1)
    for number in range(366 * YEARS):
        day = begin.date() + timedelta(days=number)
        for at in cron_times(line, day):
            if (moment := datetime.combine(day, at, timezone.utc)) >= begin:
                return moment
    return None
