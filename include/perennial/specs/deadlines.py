"""Deadlines: the wall time by which something must have come on each day."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from perennial.specs.base import Spec

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
_WALL = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _wall(text: str) -> str:
    if not _WALL.fullmatch(text):
        raise ValueError(f"{text!r} is no time of day: write hours and minutes, such as '06:00'")
    return text


class DeadlineSpec(Spec):
    """By when something must have come, on which days. A time alone, such as `"06:00"`, stands for every day."""

    by: Annotated[str, AfterValidator(_wall)] = Field(
        description="Wall time in the dataset's time zone, such as `06:00`; an hour later in a night whose clock skips it."
    )
    days: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1, description="Days on which it is due.")


def _of_text(given: object) -> object:
    return {"by": given} if isinstance(given, str) else given


Deadline = Annotated[DeadlineSpec, BeforeValidator(_of_text)]
