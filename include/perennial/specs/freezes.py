"""Freezes: times at which no release begins or goes on by itself."""

from __future__ import annotations

from datetime import date

from pydantic import Field, model_validator

from perennial.clock import UTC
from perennial.specs.base import CronLine, Spec, TimeZone


class FreezeSpec(Spec):
    """A time at which no release begins, advances or promotes by itself: either days, or a window that comes again and again."""

    reason: str = Field(min_length=1, description="Why, as the look and the console say it, such as `the holidays`.")
    first: date | None = Field(default=None, description="First day of it.")
    last: date | None = Field(default=None, description="Last day of it; the whole of that day belongs to it.")
    cron: CronLine | None = Field(default=None, description="Cron line of when it begins, again and again, in its time zone.")
    hours: float | None = Field(
        default=None, gt=0, le=24 * 31, description="How long it lasts each time, hours; also in a night whose clock moves."
    )
    time_zone: TimeZone = Field(default=UTC, description="Time zone (IANA name) of its days and of its cron line.")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> FreezeSpec:
        given = [self.first is not None, self.last is not None, self.cron is not None, self.hours is not None]
        if given not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError(f"the freeze for {self.reason!r} needs either first and last, or cron and hours")
        if self.first and self.last and self.last < self.first:
            raise ValueError(f"the freeze for {self.reason!r} ends on {self.last}, before its first day, {self.first}")
        if self.last == date.max or self.first == date.min:
            raise ValueError(f"the freeze for {self.reason!r} goes to the end of the calendar: to release by hand, use mode manual")
        return self
