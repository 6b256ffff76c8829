"""The dataset airport_hours: each row says what was known when its hour began, and nothing more; its suite agrees with its spec."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from perennial.errors import UnknownName
from perennial_datasets import flights
from perennial_datasets.airport_hours import DATASET, land

SUITE = Path(__file__).parents[3] / "great_expectations" / "expectations" / "airport_hours.json"


@pytest.fixture(scope="module")
def days() -> dict[date, list[dict]]:
    """Two days, one of which snow delayed, and their flights."""
    return {date.fromisoformat(name[14:24]): rows.to_pylist() for name, rows in land(date(2013, 2, 8), date(2013, 2, 9))}


def test_a_row_says_what_was_known_when_its_hour_began(days):
    """MO-25, DM-01, DM-13: Reckoned once more, from the flights, for each hour of a day with snow."""
    left = [row for _, table in flights.land(date(2013, 2, 7), date(2013, 2, 8)) for row in table.to_pylist()]
    mean = lambda values: pytest.approx(sum(values) / len(values)) if values else None  # noqa: E731
    hours = timedelta(hours=3)
    for row in days[date(2013, 2, 8)]:
        begins, there = row["begins"], [flight for flight in left if flight["origin"] == row["origin"]]
        planned = [flight for flight in there if begins <= flight["scheduled_departure"] < begins + timedelta(hours=1)]
        just_left = [f["dep_delay"] for f in there if f["departure"] and begins - hours <= f["departure"] < begins]
        waits = [
            f for f in there if begins - hours <= f["scheduled_departure"] < begins and not (f["departure"] and f["departure"] < begins)
        ]
        assert (row["planned"], row["waiting"], row["recent_delay"]) == (len(planned), len(waits), mean(just_left)), begins
        assert row["delay"] == mean([flight["dep_delay"] for flight in planned if flight["departure"]]), begins
        yesterday = [f["dep_delay"] for f in there if f["departure"] and f["scheduled_departure"] < datetime(2013, 2, 8)]
        assert row["yesterday_delay"] == mean(yesterday)
        assert row["temp"] == planned[0]["temp"]
    assert any(row["delay"] is None and row["planned"] for row in days[date(2013, 2, 9)])  # all of them cancelled


def test_a_day_is_the_same_however_many_days_are_landed(days):
    """DM-01: The day before is looked at, whether or not it is landed too; the first day of all has none."""
    ((name, alone),) = land(date(2013, 2, 9), date(2013, 2, 9))
    assert name == "airport_hours-2013-02-09.csv"
    assert alone.to_pylist() == days[date(2013, 2, 9)]
    assert len({(row["origin"], row["begins"]) for row in alone.to_pylist()}) == alone.num_rows
    ((_, first),) = land(flights.FIRST, flights.FIRST)
    assert first["yesterday_delay"].null_count == first.num_rows


def test_days_outside_the_source_are_told():
    """DM-01: With the days that there are."""
    with pytest.raises(UnknownName, match="has the days 2013-01-01 to 2013-12-31, not 2012-12-31 to 2013-01-02"):
        next(land(date(2012, 12, 31), date(2013, 1, 2)))


def test_every_column_that_the_suite_names_exists():
    """An expectation on a column that is not there could never be met."""
    named, expectations = set(), json.loads(SUITE.read_text())["expectations"]
    for expectation in expectations:
        kwargs = expectation["kwargs"]
        named |= {kwargs[word] for word in ("column", "column_A", "column_B") if word in kwargs} | set(kwargs.get("column_list", ()))
    assert expectations
    columns = {column.name for column in DATASET.columns}
    assert {name if name in columns else name.partition("[")[0] for name in named} <= columns
