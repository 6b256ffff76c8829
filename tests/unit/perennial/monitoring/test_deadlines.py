"""Deadlines by wall time: days, zones, nights in which the clock is changed."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from perennial.monitoring.deadlines import missed
from perennial.specs import DeadlineSpec

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def utc(*parts):
    return datetime(*parts, tzinfo=timezone.utc)


def day_of(by, zone, last, now, **more):
    found = missed(DeadlineSpec(by=by, **more), zone, last, now)
    return found.day if found else None


def test_it_is_missed_from_its_time_on_until_something_comes():
    """MN-17: Not a moment before; something of the same day ends it, however late, and so does the next day's before its own time."""
    last = utc(2026, 3, 1, 5)
    assert day_of("06:00", "UTC", last, utc(2026, 3, 2, 5, 59, 59)) is None
    assert day_of("06:00", "UTC", last, utc(2026, 3, 2, 6)) == date(2026, 3, 2)
    assert day_of("06:00", "UTC", utc(2026, 3, 2), utc(2026, 3, 2, 7)) is None
    assert day_of("06:00", "UTC", utc(2026, 3, 1, 23, 59, 59), utc(2026, 3, 2, 7)) == date(2026, 3, 2)
    assert day_of("06:00", "UTC", last, utc(2026, 3, 3, 1)) == date(2026, 3, 2)  # it goes on
    assert day_of("06:00", "UTC", utc(2026, 3, 3, 0, 30), utc(2026, 3, 3, 1)) is None


def test_what_never_came_is_not_late():
    """MN-17: A dataset without a batch, a model without a version: it begins with the first."""
    assert day_of("06:00", "UTC", None, utc(2026, 3, 2, 7)) is None


def test_the_day_is_that_of_the_zone():
    """MN-17: Six in the morning in New York is eleven in UTC, and its day begins at five."""
    assert day_of("06:00", NEW_YORK, utc(2026, 1, 14, 22), utc(2026, 1, 15, 10, 59)) is None
    assert day_of("06:00", NEW_YORK, utc(2026, 1, 14, 22), utc(2026, 1, 15, 11)) == date(2026, 1, 15)
    assert day_of("06:00", NEW_YORK, utc(2026, 1, 15, 4, 59), utc(2026, 1, 15, 12)) == date(2026, 1, 15)
    assert day_of("06:00", NEW_YORK, utc(2026, 1, 15, 5), utc(2026, 1, 15, 12)) is None
    assert day_of("23:30", NEW_YORK, utc(2026, 1, 14, 1), utc(2026, 1, 15, 4, 30)) == date(2026, 1, 14)  # in UTC it is the day after


def test_a_zone_whose_day_begins_before_that_of_utc():
    """MN-17: Six in the morning in Tokyo is nine in the evening before, in UTC."""
    assert day_of("06:00", "Asia/Tokyo", utc(2026, 1, 15, 14, 59), utc(2026, 1, 15, 21, 30)) == date(2026, 1, 16)
    assert day_of("06:00", "Asia/Tokyo", utc(2026, 1, 15, 15), utc(2026, 1, 15, 21, 30)) is None


@pytest.mark.parametrize(
    ("by", "day", "at"),
    [
        ("06:00", date(2026, 3, 28), utc(2026, 3, 28, 5)),
        ("06:00", date(2026, 3, 29), utc(2026, 3, 29, 4)),  # an hour was skipped in the night
        ("02:30", date(2026, 3, 29), utc(2026, 3, 29, 1, 30)),  # just that one: 03:30 by the new clock
        ("06:00", date(2026, 10, 25), utc(2026, 10, 25, 5)),  # an hour came twice
        ("02:30", date(2026, 10, 25), utc(2026, 10, 25, 0, 30)),  # just that one: the first of the two
    ],
)
def test_nights_in_which_the_clock_is_changed(by, day, at):
    """MN-17: The wall time counts, on days of 23 and of 25 hours too."""
    last = at - timedelta(days=1)
    found = missed(DeadlineSpec(by=by), BERLIN, last, at)
    assert (found.day, found.at) == (day, at)
    before = missed(DeadlineSpec(by=by), BERLIN, last, at - timedelta(seconds=1))
    assert before is None or before.day < day


def test_on_some_days_alone():
    """MN-17: Friday's batch is enough until Monday's is due; what came on Sunday is not Monday's."""
    working = {"days": ("mon", "tue", "wed", "thu", "fri")}
    friday, saturday, sunday, monday = (utc(2026, 3, day, 8) for day in (6, 7, 8, 9))
    assert day_of("06:00", "UTC", friday, sunday, **working) is None
    assert day_of("06:00", "UTC", friday - timedelta(days=1), sunday, **working) == date(2026, 3, 6)
    assert day_of("06:00", "UTC", saturday, sunday, **working) is None
    assert day_of("06:00", "UTC", sunday, monday, **working) == date(2026, 3, 9)
    assert day_of("06:00", "UTC", sunday - timedelta(days=7), monday - timedelta(hours=3), days=("mon",)) == date(2026, 3, 2)


@pytest.mark.parametrize("text", ["6:00", "24:00", "06:60", "six", "06:00:00", ""])
def test_a_time_of_day_is_hours_and_minutes(text):
    """MN-17: Anything else is refused, with how to write it."""
    with pytest.raises(ValidationError, match="is no time of day: write hours and minutes, such as '06:00'"):
        DeadlineSpec(by=text)
