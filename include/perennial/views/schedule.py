"""When a cron line is due next. Light: pages say when the next look, training or check is.

>>> from datetime import datetime, timezone
>>> next_time("*/30 * * * *", datetime(2026, 3, 1, 11, 45, tzinfo=timezone.utc)).isoformat()
'2026-03-01T12:00:00+00:00'
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from perennial.specs import CRON_FIELDS, CRON_PART

YEARS = 8  # within which the 29th of February comes


def next_time(line: str, after: datetime) -> datetime | None:
    """The first minute after a time at which a cron line is due, UTC; none if it is never due, as on the 30th of February.

    Args:
        line: five fields as a spec has them. As with cron, where both day and weekday are given one of them is enough.
        after: with its zone.
    """
    minutes, hours, days, months, weekdays = (
        _values(field, least, most) for field, (_, least, most) in zip(line.split(), CRON_FIELDS, strict=True)
    )
    any_day, any_weekday = (line.split()[place].startswith("*") for place in (2, 4))
    weekdays = {number % 7 for number in weekdays}
    begin = after.astimezone(timezone.utc).replace(second=0, microsecond=0) + timedelta(minutes=1)
    day = begin.replace(hour=0, minute=0)
    for number in range(366 * YEARS):
        that = day + timedelta(days=number)
        on_day, on_weekday = that.day in days, that.isoweekday() % 7 in weekdays
        due = (on_day and on_weekday) if any_day or any_weekday else (on_day or on_weekday)
        if that.month not in months or not due:
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                if (moment := that.replace(hour=hour, minute=minute)) >= begin:
                    return moment
    return None


def _values(field: str, least: int, most: int) -> set[int]:
    """The numbers that a field of a cron line stands for."""
    numbers: set[int] = set()
    for part in field.split(","):
        match = CRON_PART.fullmatch(part)
        assert match, f"{part!r} is no part of a cron line: specs refuse it"
        first, step = int(match[2] or least), int(match[6] or 1)
        open_ended = match[2] is None or (match[6] and not match[4])
        last = most if open_ended else int(match[4] or first)
        numbers |= set(range(first, last + 1, step))
    return numbers
