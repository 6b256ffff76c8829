"""Windows of event time."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.monitoring.windows import Window, newest_complete, window_of, windows_before


def day(number, month=2):
    """Midnight of a day of 2013, UTC."""
    return datetime(2013, month, number, tzinfo=timezone.utc)


@given(st.dates(date(1950, 1, 1), date(2100, 1, 1)), st.integers(1, 30))
def test_every_day_is_in_one_window(when, length):
    """MN-01: The window of a day holds it, has the length, and is the same for all its days."""
    window = window_of(when, length)
    assert window.first.date() <= when < window.last.date()
    assert window.last - window.first == timedelta(days=length)
    assert window_of(window.first.date(), length) == window == window_of(window.last.date() - timedelta(days=1), length)


def test_names_tell_days_or_times():
    """MN-01: Whole days are named by dates, others by times; the name seeds the window."""
    assert Window(day(1), day(3)).name == "2013-02-01_2013-02-03"
    assert Window(day(1), day(1) + timedelta(hours=6)).name == "2013-02-01T000000_2013-02-01T060000"
    assert Window(day(1), day(3)).seed == Window(day(1), day(3)).seed != Window(day(1), day(2)).seed


def test_a_window_ends_after_it_begins():
    """MN-01: An empty window is refused with its times."""
    with pytest.raises(ValueError, match="must end later"):
        Window(day(3), day(3))


def test_a_window_is_complete_once_a_later_prediction_came():
    """MN-01: Event time alone decides: the newest window that has predictions is never complete."""
    assert newest_complete([], 1) is None
    assert newest_complete([date(2013, 2, 1)], 1) is None
    assert newest_complete([date(2013, 2, 1), date(2013, 2, 9)], 1) == Window(day(1), day(2))
    assert newest_complete([date(2013, 2, 1), date(2013, 2, 2), date(2013, 2, 3)], 1) == Window(day(2), day(3))


def test_empty_windows_are_passed_over_for_a_week():
    """MN-01: A weekend without traffic does not break a row of windows; a longer gap does."""
    days = [date(2013, 2, 1), date(2013, 2, 4)]
    assert windows_before(Window(day(4), day(5)), days, 1) == [Window(day(1), day(2))]
    assert windows_before(Window(day(20), day(21)), days, 1) == []
    assert windows_before(Window(day(4), day(5)), days, 0) == []
    assert [w.first for w in windows_before(Window(day(6), day(7)), [date(2013, 2, n) for n in range(1, 7)], 3)] == [day(5), day(4), day(3)]
