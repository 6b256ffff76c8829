"""When a cron line is due next."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from perennial.views.schedule import next_time

NOW = datetime(2026, 3, 1, 11, 45, 30, tzinfo=timezone.utc)  # a Sunday


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("*/30 * * * *", "2026-03-01T12:00"),
        ("45 11 * * *", "2026-03-02T11:45"),  # not again within its own minute
        ("46 11 * * *", "2026-03-01T11:46"),
        ("0 2 * * *", "2026-03-02T02:00"),
        ("30 3 1 * *", "2026-04-01T03:30"),
        ("0 0 * * 0", "2026-03-08T00:00"),
        ("0 0 * * 7", "2026-03-08T00:00"),
        ("0 0 15 * 1", "2026-03-02T00:00"),  # a day or a weekday, as cron has it
        ("5,10 1-3/2 * 12 *", "2026-12-01T01:05"),
        ("50/5 11 * * *", "2026-03-01T11:50"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
    ],
)
def test_the_next_time_is_the_first_minute_that_fits(line: str, due: str) -> None:
    """MN-19: Steps, lists, ranges, weekdays and leap days."""
    assert next_time(line, NOW) == datetime.fromisoformat(f"{due}+00:00")


def test_what_is_never_due_is_none() -> None:
    """A day that no month has."""
    assert next_time("0 0 30 2 *", NOW) is None


def test_a_time_in_another_zone_is_the_same_time() -> None:
    """Cron lines are UTC wherever the reader is."""
    assert next_time("0 12 * * *", NOW.astimezone(timezone(timedelta(hours=9)))) == datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
