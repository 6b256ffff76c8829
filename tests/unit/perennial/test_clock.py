"""One rule for times, wherever they are read: one table of cases, held against the rule for one value, for Arrow and for DuckDB."""

from __future__ import annotations

from datetime import datetime, timezone

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import clock, encoding
from perennial.data.wall_times import wall_times

NEW_YORK, BERLIN, KOLKATA = "America/New_York", "Europe/Berlin", "Asia/Kolkata"
CASES = [
    ("2013-02-01T06:00:00", "UTC", "2013-02-01T06:00:00"),
    ("2013-02-01T06:00:00", NEW_YORK, "2013-02-01T06:00:00"),
    ("2013-02-01 06:00", NEW_YORK, "2013-02-01T06:00:00"),
    ("2013-02-01", NEW_YORK, "2013-02-01T00:00:00"),
    ("2013-02-01T06:00:00.25", "UTC", "2013-02-01T06:00:00.250000"),
    ("2013-02-01T06:00:00.123456789", "UTC", "2013-02-01T06:00:00.123456"),
    ("2013-02-01T06:00:00-05:00", NEW_YORK, "2013-02-01T06:00:00"),
    ("2013-02-01T06:00:00-05:00", "UTC", "2013-02-01T11:00:00"),
    ("2013-02-01T11:00:00Z", NEW_YORK, "2013-02-01T06:00:00"),
    ("2013-07-01T11:00:00Z", NEW_YORK, "2013-07-01T07:00:00"),
    ("2013-02-01T11:00+0530", KOLKATA, "2013-02-01T11:00:00"),
    ("2013-02-01T11:00+05", KOLKATA, "2013-02-01T11:30:00"),
    ("2013-02-01T06:00:00.123456789Z", BERLIN, "2013-02-01T07:00:00.123456"),
    ("2026-10-25T02:30:00+02:00", BERLIN, "2026-10-25T02:30:00"),
    ("2026-10-25T02:30:00+01:00", BERLIN, "2026-10-25T02:30:00"),
    ("2026-10-25 02:30:00", BERLIN, "2026-10-25T02:30:00"),
    ("2026-03-29 02:30:00", BERLIN, "2026-03-29T02:30:00"),
    ("2024-02-29", "UTC", "2024-02-29T00:00:00"),
    ("0001-01-01T00:00:00", "UTC", "0001-01-01T00:00:00"),
    ("9999-12-31T23:59:59.999999", "UTC", "9999-12-31T23:59:59.999999"),
    ("0001-01-01T00:00+14:00", "UTC", None),
    ("9999-12-31T23:59-14:00", "UTC", None),
    ("0000-01-01", "UTC", None),
    ("2013-02-29", "UTC", None),
    ("2013-13-01", "UTC", None),
    ("2013-02-01T24:00:00", "UTC", None),
    ("2013-02-01T06:60:00", "UTC", None),
    ("2013-02-01T06:00:00+25:00", "UTC", None),
    ("20130201T060000", "UTC", None),
    ("2013-W05-5", "UTC", None),
    ("2013-02-01x06:00", "UTC", None),
    ("2013-02-01T06", "UTC", None),
    ("2013-02-01Z", "UTC", None),
    (" 2013-02-01", "UTC", None),
    ("2013-02-01\n", "UTC", None),
    ("2013-02-01T06:00:00 UTC", "UTC", None),
    ("2013-02-01T06:00:00[Europe/Berlin]", "UTC", None),
    ("infinity", "UTC", None),
    ("epoch", "UTC", None),
    ("1359698400", "UTC", None),
    ("٢٠١٣-02-01", "UTC", None),
    ("tomorrow", "UTC", None),
    ("", "UTC", None),
]  # fmt: skip


def by_value(text, zone):
    """The rule for one value."""
    try:
        return clock.wall_time(text, zone)
    except ValueError:
        return None


def by_column(text, zone):
    """The rule for a column of a request, to the second: the text alone, which must not depend on what stands beside it."""
    found = []
    for beside in ([], [None], ["2013-07-04 12:00", "2013-07-04"]):
        try:
            found.append(encoding.times(np.array([*beside, text], dtype=object), zone)[-1].item())
        except ValueError:
            found.append(None)
    assert found[0] == found[1] == found[2]
    return found[0]


def by_arrow(text, zone):
    """The rule for a column of a file."""
    try:
        return wall_times(pa.chunked_array([[text, None]], pa.string()), zone).to_pylist()[0]
    except pa.ArrowInvalid:
        return None


def by_duckdb(text, zone):
    """The rule for what servers logged."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    found = connection.execute(f"select {clock.wall_sql('t', zone)}::timestamp from (select ?::varchar as t)", [text]).fetchone()
    return found[0]


@pytest.mark.parametrize(("text", "zone", "wall"), CASES)
def test_one_rule_reads_times_everywhere(text, zone, wall):
    """DM-18: A file, a request and a logged line that hold the same text mean the same wall time, or are refused alike."""
    wanted = None if wall is None else datetime.fromisoformat(wall)
    assert by_value(text, zone) == wanted
    assert by_arrow(text, zone) == wanted
    assert by_duckdb(text, zone) == wanted
    assert by_column(text, zone) == (wanted and wanted.replace(microsecond=0))


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 1, 1), timezones=st.timezones() | st.none()).filter(
        lambda when: when.utcoffset() is None or when.utcoffset().seconds % 60 == 0
    ),
    st.sampled_from(["UTC", NEW_YORK, BERLIN, KOLKATA, "Pacific/Apia", "America/St_Johns"]),
)
def test_any_moment_is_read_alike(when, zone):
    """DM-18: Whatever moment, offset and zone: all three agree; with an offset it is the moment's wall time in the dataset's zone."""
    text = when.isoformat()
    wall = by_value(text, zone)
    assert (by_arrow(text, zone), by_duckdb(text, zone)) == (wall, wall)
    assert by_column(text, zone) == wall.replace(microsecond=0)
    assert wall == (when if when.tzinfo is None else when.astimezone(clock.zone(zone)).replace(tzinfo=None))


def test_columns_of_files_that_have_types_follow_the_rule():
    """DM-18: Timestamps with a zone are converted, those without are taken as they stand; texts of a column may differ in their offsets."""
    zoned = pa.chunked_array([pa.array([datetime(2013, 2, 1, 11, tzinfo=timezone.utc), None], pa.timestamp("ns", "Asia/Tokyo"))])
    assert wall_times(zoned, NEW_YORK).to_pylist() == [datetime(2013, 2, 1, 6), None]
    naive = pa.chunked_array([pa.array([datetime(2013, 2, 1, 6)], pa.timestamp("ns"))])
    assert wall_times(naive, NEW_YORK).to_pylist() == [datetime(2013, 2, 1, 6)]
    mixed = pa.chunked_array([["2013-02-01T06:00:00", "2013-02-01T11:00:00Z", None, "2013-02-01T12:00:00+01:00"]])
    assert wall_times(mixed, NEW_YORK).to_pylist() == [
        datetime(2013, 2, 1, 6),
        datetime(2013, 2, 1, 6),
        None,
        datetime(2013, 2, 1, 6),
    ]
    assert wall_times(pa.chunked_array([pa.array([None], pa.string())]), NEW_YORK).to_pylist() == [None]


def test_a_moment_is_that_of_the_wall_time():
    """DM-18: Wall times become moments by their zone; of an hour that comes twice it is the first."""
    assert clock.moment(datetime(2013, 2, 1, 6), NEW_YORK) == datetime(2013, 2, 1, 11, tzinfo=timezone.utc)
    assert clock.moment(datetime(2026, 10, 25, 2, 30), BERLIN) == datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc)
    for edge in (datetime.min, datetime.max):
        with pytest.raises(ValueError, match="years 1 to 9999"):
            clock.moment(edge, NEW_YORK)


@given(st.datetimes(), st.sampled_from(["UTC", NEW_YORK, KOLKATA, "Pacific/Kiritimati"]))
def test_a_moment_that_is_taken_can_be_read_again(wall, zone):
    """DM-18: The log and its reader agree on the edges of the calendar."""
    try:
        found = clock.moment(wall, zone)
    except ValueError:
        assert not 2 <= wall.year <= 9998
        return
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    query = f"select ({clock.moment_sql('t')}) at time zone 'UTC' from (select ?::varchar as t)"
    assert connection.execute(query, [found.isoformat()]).fetchone()[0] == found.replace(tzinfo=None)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "CEST+2 o'clock", "Europe"])
def test_an_unknown_zone_is_refused(name):
    """DM-18: The sentence says how zones are named."""
    with pytest.raises(ValueError, match="is no time zone: use an IANA name such as Europe/Berlin, or UTC"):
        clock.zone(name)
