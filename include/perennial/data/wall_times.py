"""A column of a landed file as wall times of its dataset: the rule of `perennial.clock` for Arrow.

>>> import pyarrow as pa
>>> from perennial.data.wall_times import wall_times
>>> wall_times(pa.chunked_array([["2026-03-02T08:15:00Z", "2026-03-02 08:15", None]]), "Europe/Berlin").to_pylist()
[datetime.datetime(2026, 3, 2, 9, 15), datetime.datetime(2026, 3, 2, 8, 15), None]
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.clock import EPOCHS, FIRST, LAST, MONTHS, UTC, WITH_OFFSET, WITHOUT_OFFSET, form_pattern, zone

_HOUR = 60 * 60 * 1_000_000  # in microseconds
_QUARTER = 15 * 60 * 1_000_000  # of an hour, in microseconds: clocks rarely change within one


def wall_times(values: pa.ChunkedArray, time_zone: str = UTC, forms: Sequence[str] = ()) -> pa.ChunkedArray:
    """A column of texts, dates, timestamps or, where a form says so, numbers as wall times: timestamp[us].

    Args:
        values: the column.
        time_zone: whose wall times they become.
        forms: how texts may be written besides ISO 8601 (`clock.form_pattern`), and what numbers count.

    Raises:
        pyarrow.ArrowInvalid: a text is no time, or a time is outside the years 1 to 9999.
    """
    zone(time_zone)
    plain = pa.timestamp("us")
    epoch = next((form for form in forms if form in EPOCHS), None)
    if epoch and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return _bounded(_converted(_since_1970(values, epoch), time_zone))
    cut = pa.types.is_timestamp(values.type) and values.type.unit == "ns"  # to microseconds; of coarser units what is too large would wrap
    if pa.types.is_timestamp(values.type) and values.type.tz is not None:
        return _bounded(_converted(values.cast(pa.timestamp("us", UTC), safe=not cut), time_zone))
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return _bounded(values.cast(plain, safe=not cut))
    if forms:
        values = _in_iso(values, forms)
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


def is_time(values: pa.ChunkedArray, forms: Sequence[str] = ()) -> pa.ChunkedArray:
    """Which texts look like times, whether or not the calendar has them; null where there is no text."""
    return pc.match_substring_regex(_in_iso(values, forms) if forms else values, f"^(?:{WITH_OFFSET}|{WITHOUT_OFFSET})$")


def hours_of_change(walls: pa.ChunkedArray, time_zone: str) -> list[tuple[datetime, int, bool]]:
    """The hours that the clock of a zone has twice, or leaves out, among wall times.

    Returns:
        The begin of each, how many of the times lie in it, and whether it comes twice (else not at all).
    """
    combined = walls.drop_null().combine_chunks() if time_zone != UTC else pa.array([], walls.type)
    if not len(combined):
        return []
    since_1970 = combined.cast(pa.int64()).to_numpy()
    hours, counts = np.unique(since_1970 // _HOUR, return_counts=True)
    days, places = np.unique(hours // 24, return_inverse=True)
    changing = np.array([_changes(int(day), time_zone) for day in days], dtype=bool)[places]
    told = []
    for hour, count in zip(hours[changing].tolist(), counts[changing].tolist(), strict=True):
        begin = datetime(1970, 1, 1) + timedelta(hours=hour)
        earlier, later = (begin.replace(tzinfo=zone(time_zone), fold=fold).utcoffset() for fold in (0, 1))
        if earlier != later and earlier is not None and later is not None:
            told.append((begin, count, earlier > later))
    return told


def _changes(day: int, time_zone: str) -> bool:
    """Whether a zone's clock is changed on a day, counted from 1970 on; not on the first and last days of the calendar."""
    try:
        begin = datetime(1970, 1, 1) + timedelta(days=day)
        return begin.replace(tzinfo=zone(time_zone)).utcoffset() != (begin + timedelta(days=1)).replace(tzinfo=zone(time_zone)).utcoffset()
    except OverflowError:
        return False


def _since_1970(values: pa.ChunkedArray, epoch: str) -> pa.ChunkedArray:
    """Moments of numbers that count from 1970 on."""
    try:
        if pa.types.is_floating(values.type):
            return pc.round(pc.multiply(values.cast(pa.float64()), float(EPOCHS[epoch]))).cast(pa.int64()).cast(pa.timestamp("us", UTC))
        return pc.multiply_checked(values.cast(pa.int64()), EPOCHS[epoch]).cast(pa.timestamp("us", UTC))
    except pa.ArrowInvalid:
        raise pa.ArrowInvalid("a time is outside the years 1 to 9999") from None


def _in_iso(values: pa.ChunkedArray, forms: Sequence[str]) -> pa.ChunkedArray:
    """Texts of declared forms as texts of ISO 8601; others as they are, also where the form has a part that no clock shows."""
    rest = pc.if_else(pc.match_substring_regex(values, f"^(?:{WITH_OFFSET}|{WITHOUT_OFFSET})$"), pa.scalar(None, values.type), values)
    iso = values
    for form in forms:
        if rest.null_count == len(rest):
            break
        written = _counted(rest, form) if form in EPOCHS else _parted(rest, form)
        iso, rest = pc.coalesce(written, iso), pc.if_else(pc.is_valid(written), pa.scalar(None, rest.type), rest)
    return iso


def _counted(values: pa.ChunkedArray, epoch: str) -> pa.ChunkedArray:
    is_count = pc.match_substring_regex(values, r"^-?[0-9]{1,15}(?:\.[0-9]{1,6})?$")
    counts = pc.if_else(is_count, values, pa.scalar(None, values.type))
    counts = counts.cast(pa.float64() if pc.any(pc.match_substring(counts, ".")).as_py() else pa.int64())
    first, last = (
        datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1_000_000 // EPOCHS[epoch] for text in (FIRST, LAST)
    )
    of_calendar = pc.and_(pc.greater_equal(counts, int(first)), pc.less_equal(counts, int(last)))
    moments = _since_1970(pc.if_else(of_calendar, counts, pa.scalar(None, counts.type)), epoch)  # others are no times, as in `is_time`
    return pc.strftime(moments, "%Y-%m-%dT%H:%M:%SZ").cast(values.type)


def _parted(values: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    """Texts of one declared form in ISO 8601; null where a text has another."""
    parts = pc.extract_regex(values, f"^{form_pattern(form)}$")
    names = {parts.type.field(place).name for place in range(parts.type.num_fields)}

    def part(name: str, default: str = "") -> pa.ChunkedArray:
        return pc.struct_field(parts, name).cast(pa.string()) if name in names else pc.if_else(pc.is_valid(parts), default, None)

    def two(name: str) -> pa.ChunkedArray:
        return pc.utf8_lpad(part(name, "00"), 2, "0")

    if "short_year" in names:  # as POSIX has it: 69 to 99 are of the twentieth century
        year = pc.binary_join_element_wise(pc.if_else(pc.less(part("short_year"), "69"), "20", "19"), part("short_year"), "")
    else:
        year = part("year")
    if "month_name" in names:
        number = pc.add(pc.index_in(pc.utf8_lower(part("month_name")), pa.array(MONTHS)), 1)
        month = pc.utf8_lpad(number.cast(pa.string()), 2, "0")
    else:
        month = two("month")
    hour = two("hour")
    if "hour_of_half" in names:
        of_half = part("hour_of_half").cast(pa.int64())
        afternoon = pc.if_else(pc.equal(pc.utf8_lower(part("half")), "pm"), 12, 0)
        sound = pc.and_(pc.greater_equal(of_half, 1), pc.less_equal(of_half, 12))
        of_day = pc.add(pc.if_else(pc.equal(of_half, 12), 0, of_half), afternoon)
        hour = pc.utf8_lpad(pc.if_else(sound, of_day, 99).cast(pa.string()), 2, "0")
    clock = pc.binary_join_element_wise(hour, two("minute"), two("second"), ":")
    if "fraction" in names:
        clock = pc.binary_join_element_wise(clock, part("fraction"), ".")
    whole = pc.binary_join_element_wise(pc.binary_join_element_wise(year, month, two("day"), "-"), clock, "T")
    iso = pc.binary_join_element_wise(whole, part("offset"), "")
    return iso.cast(values.type)


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
