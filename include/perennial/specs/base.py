"""What all specs share: immutable objects that check themselves, names, and cron lines."""

from __future__ import annotations

import re
from datetime import date, time
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from perennial.clock import zone

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))


CRON_PART = re.compile(r"(\*|(\d+)(-(\d+))?)(/(\d+))?")


def cron(line: str) -> str:
    """A cron line: five fields of numbers, ranges, steps and lists. Raises ValueError: a DAG with another one could not be made."""
    fields = line.split()
    if len(fields) != len(CRON_FIELDS):
        raise ValueError(f"{line!r} is no cron line: give minute, hour, day, month and weekday, such as '0 2 * * *'")
    for field, (name, least, most) in zip(fields, CRON_FIELDS, strict=True):
        for part in field.split(","):
            match = CRON_PART.fullmatch(part)
            first, last = (int(match[2] or least), int(match[4] or match[2] or most)) if match else (most, least)
            if not (match and least <= first <= last <= most and int(match[6] or 1) > 0):
                raise ValueError(
                    f"{part!r} in the cron line {line!r} is no {name}: numbers go from {least} to {most}, such as 5, 1-5, */15"
                )
    return line


def zone_name(name: str) -> str:
    """The name of a time zone. Raises ValueError: there is none of that name."""
    zone(name)
    return name


CronLine = Annotated[str, AfterValidator(cron)]
TimeZone = Annotated[str, AfterValidator(zone_name)]


def cron_times(line: str, day: date) -> list[time]:
    """The minutes of a day at which a cron line is due, in order. As with cron, where both day and weekday are given one is enough."""
    minutes, hours, days, months, weekdays = (
        _cron_numbers(field, least, most) for field, (_, least, most) in zip(line.split(), CRON_FIELDS, strict=True)
    )
    any_day, any_weekday = (line.split()[place].startswith("*") for place in (2, 4))
    on_day, on_weekday = day.day in days, day.isoweekday() % 7 in {number % 7 for number in weekdays}
    due = (on_day and on_weekday) if any_day or any_weekday else (on_day or on_weekday)
    if day.month not in months or not due:
        return []
    return [time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)]


@lru_cache(maxsize=256)
def _cron_numbers(field: str, least: int, most: int) -> frozenset[int]:
    """The numbers that a field of a cron line stands for."""
    numbers: set[int] = set()
    for part in field.split(","):
        match = CRON_PART.fullmatch(part)
        assert match, f"{part!r} is no part of a cron line: specs refuse it"
        first, step = int(match[2] or least), int(match[6] or 1)
        open_ended = match[2] is None or (match[6] and not match[4])
        last = most if open_ended else int(match[4] or first)
        numbers |= set(range(first, last + 1, step))
    return frozenset(numbers)


class Spec(BaseModel):
    """Base of all specs: immutable, keyword-only, unknown fields refused, and numbers that are none or have no end."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
