"""A column of a landed file as wall times of its dataset: the rule of `perennial.clock` for Arrow.

>>> import pyarrow as pa
>>> from perennial.data.wall_times import wall_times
>>> wall_times(pa.chunked_array([["2026-03-02T08:15:00Z", "2026-03-02 08:15", None]]), "Europe/Berlin").to_pylist()
[datetime.datetime(2026, 3, 2, 9, 15), datetime.datetime(2026, 3, 2, 8, 15), None]
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.clock import FIRST, LAST, UTC, WITH_OFFSET, WITHOUT_OFFSET, zone

_QUARTER = 15 * 60 * 1_000_000  # of an hour, in microseconds: clocks rarely change within one


def wall_times(values: pa.ChunkedArray, time_zone: str = UTC) -> pa.ChunkedArray:
    """A column of texts, dates or timestamps as wall times: timestamp[us].

    Raises:
        pyarrow.ArrowInvalid: a text is no time, or a time is outside the years 1 to 9999.
    """
    zone(time_zone)
    plain = pa.timestamp("us")
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        return _bounded(_converted(values.cast(pa.timestamp("us", UTC), safe=False), time_zone))
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return values.cast(plain, safe=not pa.types.is_timestamp(values.type))  # nanoseconds are cut to microseconds
    if not pc.all(pc.match_substring_regex(values, f"^(?:{WITH_OFFSET}|{WITHOUT_OFFSET})$")).as_py() and values.null_count < len(values):
        raise pa.ArrowInvalid("a text is no time")
    values = pc.replace_substring_regex(values, r"(\.[0-9]{6})[0-9]+", r"\1")
    has_offset = pc.match_substring_regex(values, f"^{WITH_OFFSET}$")
    if not pc.any(has_offset).as_py():
        return _bounded(values.cast(plain))
    missing = pa.scalar(None, values.type)
    as_it_stands = pc.if_else(has_offset, missing, values).cast(plain)
    moments = pc.if_else(has_offset, values, missing).cast(pa.timestamp("us", UTC))
    return _bounded(pc.coalesce(as_it_stands, _converted(moments, time_zone)))


def _converted(moments: pa.ChunkedArray, time_zone: str) -> pa.ChunkedArray:
    """Wall times of moments. Not by Arrow's own function, which knows no summer time after 2037."""
    combined = moments.combine_chunks()
    known = combined.is_valid().to_numpy(zero_copy_only=False)
    since_1970 = combined.cast(pa.int64()).fill_null(0).to_numpy()
    quarters, place = np.unique(since_1970 // _QUARTER, return_inverse=True)
    ends = [(_offset(q * _QUARTER, time_zone), _offset((q + 1) * _QUARTER - 1, time_zone)) for q in quarters.tolist()]
    offsets = np.array([first for first, _ in ends], dtype=np.int64)[place]
    for row in np.flatnonzero(np.array([first != last for first, last in ends], dtype=bool)[place]):
        offsets[row] = _offset(int(since_1970[row]), time_zone)
    return pa.chunked_array([pa.array(since_1970 + offsets, mask=~known).cast(pa.timestamp("us"))])


def _offset(microseconds: int, time_zone: str) -> int:
    """A zone's offset from UTC at a moment, both in microseconds."""
    try:
        ahead = (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)).astimezone(zone(time_zone)).utcoffset()
    except OverflowError:
        raise pa.ArrowInvalid("a time is outside the years 1 to 9999") from None
    assert ahead is not None
    return ahead // timedelta(microseconds=1)


def _bounded(walls: pa.ChunkedArray) -> pa.ChunkedArray:
    first, last = (pa.scalar(datetime.fromisoformat(text), pa.timestamp("us")) for text in (FIRST, LAST))
    if pc.any(pc.or_(pc.less(walls, first), pc.greater(walls, last))).as_py():
        raise pa.ArrowInvalid("a time is outside the years 1 to 9999")
    return walls
