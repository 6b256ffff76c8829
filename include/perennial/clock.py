"""Reads times by one rule, in landed files, requests and server logs. Tables store the result, so training uses it too.

A time is the wall time of the dataset's `time_zone`. Written without an offset it is taken as it stands; with an offset or Z it is
converted: of `2013-02-01T06:00:00-05:00` a dataset in America/New_York has 06:00, one in UTC 11:00. An hour that comes twice in autumn is
one hour of the clock, and a time in an hour that the clock skips in spring stays as it stands.

The rule is written three times, here for one value and for DuckDB, in `data/wall_times.py` for Arrow; one table of cases tests all
(tests/unit/perennial/test_clock.py).

    >>> from perennial.clock import moment, wall_time
    >>> wall_time("2013-07-04T16:00:00Z", "America/New_York")
    datetime.datetime(2013, 7, 4, 12, 0)
    >>> moment(wall_time("2013-07-04 12:00", "America/New_York"), "America/New_York").isoformat()
    '2013-07-04T16:00:00+00:00'
"""

from __future__ import annotations

import re
from datetime import datetime, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

UTC = "UTC"
EXAMPLE = "2013-02-01T06:00:00"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_OFFSET = r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
WITHOUT_OFFSET, WITH_OFFSET = f"{_DAY}(?:{_TIME})?", f"{_DAY}{_TIME}{_OFFSET}"
_EITHER = re.compile(f"{_DAY}(?:{_TIME}(?:{_OFFSET})?)?")
FIRST, LAST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
_FIRST_MOMENT, _LAST_MOMENT = "0001-01-02T00:00:00", "9999-12-30T23:59:59"  # any zone has a wall time for them


@lru_cache
def zone(name: str) -> tzinfo:
    """The time zone of that name. Raises ValueError if there is none."""
    if name == UTC:
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone: use an IANA name such as Europe/Berlin, or UTC") from None


def wall_time(text: str, time_zone: str = UTC) -> datetime:
    """The wall time that a text means, without a zone. Raises ValueError if it is no time, or one outside the years 1 to 9999."""
    if not _EITHER.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no time like {EXAMPLE}")
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        return when
    try:
        return when.astimezone(zone(time_zone)).replace(tzinfo=None)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999") from None


def moment(wall: datetime, time_zone: str = UTC) -> datetime:
    """The moment of a wall time, in UTC; of an hour that comes twice the first.

    Raises ValueError on the first and the last day of the calendar.
    """
    try:
        instant = wall.replace(tzinfo=zone(time_zone)).astimezone(timezone.utc)
    except OverflowError:
        instant = datetime.max.replace(tzinfo=timezone.utc)
    if not _FIRST_MOMENT <= instant.replace(tzinfo=None).isoformat() <= _LAST_MOMENT:
        raise ValueError(f"{wall.isoformat()} is outside the years 1 to 9999")
    return instant


def wall_sql(text: str, time_zone: str = UTC) -> str:
    """DuckDB's expression of the wall time that a text means, typed as UTC; null where it is no time. The session's zone must be UTC."""
    zone(time_zone)
    plain = f"try_cast(case when regexp_full_match({text}, '{WITHOUT_OFFSET}') and {text} >= '0001' then {text} end as timestamp)"
    zoned = f"try_cast(case when regexp_full_match({text}, '{WITH_OFFSET}') then {text} end as timestamptz) at time zone '{time_zone}'"
    # Comparing texts is enough but for the first and last days of the calendar, and costs next to nothing.
    bounded = (
        f"case when {text} between '0001-01-03' and '9999-12-30' or {zoned} between timestamp '{FIRST}' and "
        f"timestamp '{LAST}' then {zoned} end"
    )
    return f"(coalesce({plain}, {bounded}) at time zone 'UTC')"


def moment_sql(text: str) -> str:
    """DuckDB's expression of the moment that a text means, UTC without an offset; null where it is none. The session's zone must be UTC."""
    read = f"regexp_full_match({text}, '{WITH_OFFSET}|{WITHOUT_OFFSET}') and {text} between '{_FIRST_MOMENT}' and '{_LAST_MOMENT}Z'"
    return f"try_cast(case when {read} then {text} end as timestamptz)"
