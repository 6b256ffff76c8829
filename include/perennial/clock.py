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
from collections.abc import Collection
from datetime import datetime, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

UTC = "UTC"
EXAMPLE = "2013-02-01T06:00:00"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_OFFSET = r"(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
WITHOUT_OFFSET, WITH_OFFSET = f"{_DAY}(?:{_TIME})?", f"{_DAY}{_TIME}{_OFFSET}"
_PLAIN = rf"(?:(?!0000){_DAY}(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?)?\n)*"  # of times without a zone, line by line
_EITHER = re.compile(f"{_DAY}(?:{_TIME}(?:{_OFFSET})?)?")
FIRST, LAST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
_FIRST_MOMENT, _LAST_MOMENT = "0001-01-02T00:00:00", "9999-12-30T23:59:59"  # any zone has a wall time for them

EPOCHS = {"epoch seconds": 1_000_000, "epoch milliseconds": 1_000}  # time forms that count from 1970 on, with their unit in microseconds
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PARTS = {
    "Y": ("year", "[0-9]{4}"),
    "y": ("short_year", "[0-9]{2}"),
    "m": ("month", "[0-9]{1,2}"),
    "b": ("month_name", f"(?i:{'|'.join(MONTHS)})"),
    "d": ("day", "[0-9]{1,2}"),
    "H": ("hour", "[0-9]{1,2}"),
    "I": ("hour_of_half", "[0-9]{1,2}"),
    "p": ("half", "(?i:am|pm)"),
    "M": ("minute", "[0-9]{2}"),
    "S": ("second", "[0-9]{2}"),
    "f": ("fraction", "[0-9]{1,6}"),
    "z": ("offset", _OFFSET),
}  # of a declared time form: its name as a group, and what it may look like


@lru_cache
def form_pattern(form: str) -> str:
    """The regular expression of a declared time form such as `%d.%m.%Y %H:%M`, with a group for each part; empty for a count from 1970 on.

    Raises ValueError: it is no form, or does not tell the day.
    """
    if form in EPOCHS:
        return ""
    pieces = re.split(r"%(.)", form)
    letters = pieces[1::2]
    unknown = [letter for letter in letters if letter not in _PARTS]
    whole = {"d"} <= set(letters) and len({"Y", "y"} & set(letters)) == 1 == len({"m", "b"} & set(letters))
    if unknown or not whole or len(set(letters)) != len(letters) or ("I" in letters) != ("p" in letters) or {"H", "I"} <= set(letters):
        raise ValueError(
            f"{form!r} is no form of times: write it like '%d.%m.%Y %H:%M' from {', '.join(f'%{letter}' for letter in _PARTS)} with year, "
            f"month and day, or {' or '.join(map(repr, EPOCHS))}"
        )
    pattern = re.escape(pieces[0])
    for place, letter in enumerate(letters):
        name, looks = _PARTS[letter]
        before, after = pieces[2 * place], pieces[2 * place + 2]
        runs_on = (place and not before) or (place + 1 < len(letters) and not after)  # digits beside digits have a fixed width
        pattern += f"(?P<{name}>{looks.replace('{1,2}', '{2}') if runs_on else looks})" + re.escape(after)
    return pattern


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


def are_plain(texts: Collection[Any]) -> bool:
    """Whether all are texts that mean what they mean to everybody: a day, or a time to the second, without an offset.

    Whether there is such a day in the calendar is not looked at.

    >>> are_plain(["2013-07-04", "2013-07-04 12:00"]), are_plain(["2013-07-04T12:00:00Z"]), are_plain([20130704])
    (True, False, False)
    """
    if not {*map(type, texts)} <= {str}:
        return False
    joined = "\n".join([*texts, ""])
    return joined.count("\n") == len(texts) and re.fullmatch(_PLAIN, joined) is not None


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
