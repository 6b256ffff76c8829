"""When releases are frozen: at the borders of days and windows, in nights whose clock moves, and of several."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.lineage.freezes import Frozen, frozen
from perennial.specs import FreezeSpec, ReleaseSpec

HOLIDAYS = FreezeSpec(reason="the holidays", first="2026-12-24", last="2026-12-26", time_zone="America/New_York")
ONE_DAY = FreezeSpec(reason="an audit", first="2026-12-24", last="2026-12-24")
NIGHT = FreezeSpec(reason="the night", cron="0 22 * * *", hours=8, time_zone="America/New_York")
WEEKEND = FreezeSpec(reason="the weekend", cron="0 17 * * 5", hours=63)
TWICE = FreezeSpec(reason="the opening", cron="30 9,15 * * 1-5", hours=1.5)
MONTH = FreezeSpec(reason="the year's end", cron="0 0 1 12 *", hours=24 * 31)
SKIPPED = FreezeSpec(reason="the skipped hour", cron="30 2 * * *", hours=1, time_zone="America/New_York")
EAST = FreezeSpec(reason="the morning", cron="0 1 * * *", hours=2, time_zone="Pacific/Auckland")
LONG_DAY = FreezeSpec(reason="the long day", cron="59 23 * * *", hours=24, time_zone="America/New_York")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("freeze", "begin", "end"),
    [
        (HOLIDAYS, "2026-12-24T05:00", "2026-12-27T05:00"),  # midnights of New York
        (ONE_DAY, "2026-12-24T00:00", "2026-12-25T00:00"),
        (NIGHT, "2026-01-16T03:00", "2026-01-16T11:00"),
        (NIGHT, "2026-03-08T03:00", "2026-03-08T11:00"),  # the clock goes forward: it ends at 07:00, after eight hours
        (NIGHT, "2026-11-01T02:00", "2026-11-01T10:00"),  # and back: it ends at 05:00
        (EAST, "2026-01-15T12:00", "2026-01-15T14:00"),  # the day after, there
        (WEEKEND, "2026-01-16T17:00", "2026-01-19T08:00"),
        (TWICE, "2026-01-16T09:30", "2026-01-16T11:00"),
        (TWICE, "2026-01-16T15:30", "2026-01-16T17:00"),
        (MONTH, "2026-12-01T00:00", "2027-01-01T00:00"),
        (SKIPPED, "2026-03-08T07:30", "2026-03-08T08:30"),  # an hour later, at 03:30 of the new time
    ],
)
def test_a_freeze_begins_and_ends_to_the_moment(freeze: FreezeSpec, begin: str, end: str) -> None:
    """SE-10: its first moment belongs to it and its end does not; days and hours are those of its zone, and hours are sixty minutes."""
    held, moment = Frozen(at(end), freeze.reason), timedelta(microseconds=1)
    assert frozen([freeze], at(begin)) == frozen([freeze], at(end) - moment) == held
    assert frozen([freeze], at(begin) - moment) is None
    assert frozen([freeze], at(end)) is None


def test_an_hour_that_comes_twice_is_the_first() -> None:
    """SE-10: at 01:30 of the night whose clock goes back a freeze begins once."""
    twice = FreezeSpec(reason="x", cron="30 1 * * *", hours=0.5, time_zone="America/New_York")
    assert [bool(frozen([twice], at(f"2026-11-01T{time}"))) for time in ("05:29", "05:30", "05:59", "06:00", "06:30")] == [
        False, True, True, False, False,
    ]  # fmt: skip


def test_a_window_of_a_day_holds_through_a_day_of_25_hours() -> None:
    """SE-10: it ends after its hours; in the hour that the day has more nothing is frozen."""
    assert frozen([LONG_DAY], at("2026-11-02T03:58")) == Frozen(at("2026-11-02T03:59"), "the long day")
    assert frozen([LONG_DAY], at("2026-11-02T03:59")) is None  # 22:59 by the clock of after
    assert frozen([LONG_DAY], at("2026-11-02T04:58")) is None
    assert frozen([LONG_DAY], at("2026-11-02T04:59")) == Frozen(at("2026-11-03T04:59"), "the long day")


def test_of_several_the_one_that_ends_last_is_told() -> None:
    """SE-10: where nothing is frozen nothing holds; the end is in UTC, with the reason."""
    noon = at("2026-12-24T12:00")
    assert frozen([], noon) is None
    told = frozen([ONE_DAY, HOLIDAYS, MONTH, WEEKEND], noon)
    assert told
    assert told.words == "releases are frozen until 2027-01-01 00:00 UTC (the year's end)"
    overlapping = FreezeSpec(reason="twice", cron="0 10,12 * * *", hours=3)
    assert frozen([overlapping], noon) == Frozen(at("2026-12-24T15:00"), "twice")


DAYS: dict[str, Any] = {"reason": "the holidays", "first": "2026-12-24", "last": "2026-12-26"}
WINDOW: dict[str, Any] = {"reason": "the night", "cron": "0 22 * * *", "hours": 8}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reason": "x"}, "the freeze for 'x' needs either first and last, or cron and hours"),
        ({**DAYS, "last": None}, "the freeze for 'the holidays' needs either first and last, or cron and hours"),
        ({**DAYS, "hours": 8}, "the freeze for 'the holidays' needs either first and last, or cron and hours"),
        ({**WINDOW, "hours": None}, "the freeze for 'the night' needs either first and last, or cron and hours"),
        ({**WINDOW, **DAYS}, "the freeze for 'the holidays' needs either first and last, or cron and hours"),
        ({**DAYS, "last": "2026-12-23"}, "the freeze for 'the holidays' ends on 2026-12-23, before its first day, 2026-12-24"),
        ({**DAYS, "last": "9999-12-31"}, "goes to the end of the calendar: to release by hand, use mode manual"),
        ({**DAYS, "first": "0001-01-01"}, "goes to the end of the calendar: to release by hand, use mode manual"),
        ({**WINDOW, "cron": "every night"}, "'every night' is no cron line"),
        ({**WINDOW, "time_zone": "Mars"}, "'Mars' is no time zone: use an IANA name such as Europe/Berlin, or UTC"),
    ],
)
def test_a_freeze_that_cannot_be_is_refused_in_a_sentence(given: dict[str, Any], said: str) -> None:
    """SE-10: what, and what to do."""
    with pytest.raises(ValidationError) as refused:
        ReleaseSpec(freeze=[given])
    assert said in str(refused.value)


def test_the_whole_freezes_are_taken() -> None:
    """SE-10: days and windows side by side."""
    assert [one.reason for one in ReleaseSpec(freeze=[DAYS, WINDOW]).freeze] == ["the holidays", "the night"]
