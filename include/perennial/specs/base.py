"""What all specs share: immutable objects that check themselves, names, and cron lines."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

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


CronLine = Annotated[str, AfterValidator(cron)]


class Spec(BaseModel):
    """Base of all specs: immutable, keyword-only, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
