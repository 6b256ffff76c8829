"""Values of a landed file in the types of the spec; what does not fit is told with its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from perennial.clock import EPOCHS, UTC, WITH_OFFSET
from perennial.column_types import kind_of
from perennial.column_types.kind import UnfitRow
from perennial.counted import counted
from perennial.data.wall_times import hours_of_change, is_time, wall_times
from perennial.encoding import EXACT
from perennial.forms import number_pattern, thousands_pattern, truth_words
from perennial.specs import Column, ColumnType, FileForm

TYPES: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us"),
    "bool": pa.bool_(),
}
MEANT = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "timestamp": "a time such as 2013-01-31 06:15:00",
    "bool": "true or false",
}
_TYPES_THAT_FIT: dict[ColumnType, Callable[[pa.DataType], bool]] = {
    "int": lambda t: pa.types.is_integer(t) or pa.types.is_floating(t),  # a nullable whole number often comes as 2.0
    "float": lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t),
    "string": lambda t: False,
    "timestamp": lambda t: pa.types.is_date(t) or pa.types.is_timestamp(t),
    "bool": pa.types.is_boolean,
}
_NOT_EXACT = "from 2^53 on, where a number with a point does not tell whole numbers apart"
_ARROW = (pa.ArrowInvalid, pa.ArrowNotImplementedError)


def type_of(column: Column) -> pa.DataType:
    """Type of a column in the table."""
    kind = kind_of(column.type)
    return kind.arrow(column) if kind else TYPES[column.type]


@dataclass(frozen=True)
class Misfit(Exception):
    """What does not fit in a column."""

    why: str  # as it is said in a refusal
    around: tuple[str, int, str] | None = None  # what is said before its row, the row from 0, and what is said after it

    @classmethod
    def at(cls, before: str, row: int, after: str) -> Misfit:
        """What does not fit in one row."""
        return cls(f"{before}row {row + 1}{after}", around=(before, row, after))

    def why_in(self, sheet_rows: Sequence[int]) -> str:
        """Why, with the row as a sheet's program counts it; `sheet_rows` has the place in the sheet, from 0, of each row of values."""
        if self.around is None or not sheet_rows:
            return self.why
        before, row, after = self.around
        return f"{before}row {sheet_rows[row] + 1} of the sheet{after}"


def typed(
    values: pa.ChunkedArray, column: Column, form: FileForm, time_zone: str, remarks: list[str], *, infinite: bool = False
) -> pa.ChunkedArray:
    """The column in the type of the spec. NaN is null.

    Args:
        values: as they were read.
        column: what they must be.
        form: how texts are written.
        time_zone: of the dataset.
        remarks: gets a sentence for what was taken in another way than it stands there.
        infinite: whether a number may be infinite.

    Raises:
        Misfit: says the type, or the first wrong value, its row (the first row of values is 1) and how many more there are.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if no_scalar := kind_of(column.type):
        try:
            return no_scalar.from_file(values, column)
        except UnfitRow as unfit:
            raise Misfit.at(f"{column.name} {unfit} (", unfit.row, ")") from None
    return _scalars(values, column, form, time_zone, remarks, infinite=infinite)


def _scalars(
    values: pa.ChunkedArray, column: Column, form: FileForm, time_zone: str, remarks: list[str], *, infinite: bool
) -> pa.ChunkedArray:
    kind, given = column.type, values.type
    text, number = is_text(given), pa.types.is_integer(given) or pa.types.is_floating(given)
    epochs = kind == "timestamp" and number and any(form_of_time in EPOCHS for form_of_time in form.times)
    if not (text or epochs or pa.types.is_null(given) or _TYPES_THAT_FIT[kind](given)):
        raise Misfit(f"{column.name} has the type {given}, not {MEANT[kind]}")
    if pa.types.is_floating(given):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, given), values)

    def cast_to_kind(part: pa.ChunkedArray) -> pa.ChunkedArray:
        return _texts_as(kind, part, form, time_zone) if text else _cast(part, kind, time_zone, form)

    try:
        if text and form.nulls:
            values = _without_nulls(values, column, form, remarks)
        try:
            cast = cast_to_kind(values)
        except _ARROW:
            if not text or form.nulls:
                raise
            values = _without_nulls(values, column, form, remarks)  # blanks are rare: looked for where a text does not fit
            cast = cast_to_kind(values)
    except _ARROW:
        place = _first_wrong(values, cast_to_kind)
        like = _like(values, kind, form) if text else None
        more = 0 if like is None else pc.sum(pc.invert(like.slice(place + 1))).as_py() or 0
        raise _misfit(values, place, column.name, f"which is not {MEANT[kind]}", more) from None
    if kind == "float":
        cast = pc.if_else(pc.is_nan(cast), pa.scalar(None, pa.float64()), cast)
        if not infinite:
            _refuse_where(pc.is_inf(cast), values, column.name, "which is not finite")
    elif kind == "int" and pa.types.is_floating(given):
        inexact = pc.greater_equal(pc.abs(values.cast(pa.float64())), float(EXACT))  # 2^53 itself may have been its neighbour
        _refuse_where(inexact, values, column.name, _NOT_EXACT)
    elif kind == "int" and text:
        _refuse_where(_inexact(values, cast, form), values, column.name, _NOT_EXACT)
    elif kind == "timestamp" and time_zone != UTC:
        _name_hours(values, cast, column.name, time_zone, remarks)
    return cast


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of that type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _without_nulls(values: pa.ChunkedArray, column: Column, form: FileForm, remarks: list[str]) -> pa.ChunkedArray:
    """Texts of which declared words, and where no text belongs also blanks, are null."""
    missing = pa.scalar(None, values.type)
    if column.type == "string":
        return values
    blank = pc.equal(pc.utf8_trim_whitespace(values), "")
    if pc.any(blank).as_py():
        stray = pc.sum(pc.and_(blank, pc.not_equal(values, ""))).as_py()
        if stray:
            remarks.append(f"{column.name} is blank in {stray} row{'' if stray == 1 else 's'}, read as missing")
        values = pc.if_else(blank, missing, values)
    if form.nulls:
        words = pc.is_in(pc.utf8_trim_whitespace(values), pa.array(form.nulls, values.type))
        values = pc.if_else(words, missing, values)
    return values


def _texts_as(kind: ColumnType, values: pa.ChunkedArray, form: FileForm, time_zone: str) -> pa.ChunkedArray:
    if kind == "string":
        return values.cast(pa.string())
    if kind == "timestamp":
        return _times(values, form, time_zone)
    return _truths(values, form) if kind == "bool" else _numbers(values, kind, form)


def _times(values: pa.ChunkedArray, form: FileForm, time_zone: str) -> pa.ChunkedArray:
    try:
        return wall_times(values, time_zone, form.times)
    except pa.ArrowInvalid:
        return wall_times(pc.utf8_trim_whitespace(values), time_zone, form.times)


def _truths(values: pa.ChunkedArray, form: FileForm) -> pa.ChunkedArray:
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    true, false = (pc.is_in(words, pa.array(known, values.type)) for known in truth_words(form))
    if not pc.all(pc.or_(pc.or_(true, false), pc.is_null(values))).as_py():
        raise pa.ArrowInvalid("a text is no truth value")
    return pc.if_else(pc.is_null(values), pa.scalar(None, pa.bool_()), true)


def _numbers(values: pa.ChunkedArray, kind: ColumnType, form: FileForm) -> pa.ChunkedArray:
    if form.decimal == "." and not form.thousands:
        try:
            cast = pc.cast(values, TYPES[kind])
        except pa.ArrowInvalid:
            pass  # what is written in another way is read below
        else:
            if kind == "float" or not pc.any(pc.match_substring(values, "x", ignore_case=True)).as_py():  # Arrow reads 0x10 as 16
                return cast
    if not pc.all(_like(values, kind, form)).as_py() and values.null_count < len(values):
        raise pa.ArrowInvalid("a text is no number")
    plain = _plain_numbers(values, form)
    if kind == "float":
        return pc.cast(plain, pa.float64())
    pointed = pc.match_substring_regex(plain, "[.eE]")
    missing = pa.scalar(None, plain.type)
    floats = pc.cast(pc.if_else(pointed, plain, missing), pa.float64())
    # from 2^53 on they are refused with a reason of their own, and until then as good as any
    near = pc.if_else(pc.greater_equal(pc.abs(floats), float(EXACT)), float(EXACT), floats)
    return pc.coalesce(pc.cast(pc.if_else(pointed, missing, plain), pa.int64()), pc.cast(near, pa.int64()))


def _cast(values: pa.ChunkedArray, kind: ColumnType, time_zone: str, form: FileForm) -> pa.ChunkedArray:
    if kind == "timestamp":
        return wall_times(values, time_zone, form.times)
    # a whole number of many digits is the nearest float, as in CSV and in a request
    return pc.cast(values, TYPES[kind], safe=not (kind == "float" and pa.types.is_integer(values.type)))


def _plain_numbers(values: pa.ChunkedArray, form: FileForm) -> pa.ChunkedArray:
    """Texts of numbers without thousands marks, with a point as decimal mark and without a plus."""
    plain = pc.utf8_trim_whitespace(values)
    if form.thousands:
        plain = pc.replace_substring_regex(plain, thousands_pattern(form), "")
    if form.decimal != ".":
        plain = pc.replace_substring(plain, form.decimal, ".")
    return pc.replace_substring_regex(plain, r"^\+", "")


def _like(values: pa.ChunkedArray, kind: ColumnType, form: FileForm) -> pa.ChunkedArray:
    """Which texts look like values of the type; null where there is none."""
    trimmed = pc.utf8_trim_whitespace(values)
    if kind == "timestamp":
        return is_time(trimmed, form.times)
    if kind == "bool":
        like = pc.is_in(pc.utf8_lower(trimmed), pa.array([word for words in truth_words(form) for word in words], values.type))
        return pc.if_else(pc.is_null(values), pa.scalar(None, pa.bool_()), like)
    like = pc.match_substring_regex(trimmed, number_pattern(form))
    if kind == "int":
        plain = _plain_numbers(trimmed, form)
        pointed = pc.and_(like, pc.match_substring_regex(plain, "[.eEnN]"))
        floats = pc.cast(pc.if_else(pointed, plain, pa.scalar(None, plain.type)), pa.float64())
        like = pc.if_else(pointed, pc.and_(pc.is_finite(floats), pc.equal(floats, pc.floor(floats))), like)
    return like


def _inexact(values: pa.ChunkedArray, cast: pa.ChunkedArray, form: FileForm) -> pa.ChunkedArray:
    """Which whole numbers are written with a point or an exponent and may stand for a neighbour."""
    large = pc.greater_equal(pc.abs(cast), EXACT)
    if not pc.any(large).as_py():
        return large
    return pc.and_(large, pc.match_substring_regex(_plain_numbers(values, form), "[.eE]"))


def _name_hours(values: pa.ChunkedArray, walls: pa.ChunkedArray, column: str, time_zone: str, remarks: list[str]) -> None:
    """A remark for the hours that the clock has twice or not at all, in which times without an offset lie."""
    if is_text(values.type):
        walls = pc.if_else(pc.match_substring_regex(values, f"{WITH_OFFSET}$"), pa.scalar(None, walls.type), walls)
    elif not (pa.types.is_timestamp(values.type) and values.type.tz is None):
        return
    for begin, count, twice in hours_of_change(walls, time_zone):
        lie = f"{count} time{'' if count == 1 else 's'} of {column} {'lies' if count == 1 else 'lie'} in the hour from {_minute(begin)}"
        why = f"comes twice in {time_zone}: an offset would tell which" if twice else f"the clock of {time_zone} leaves out"
        remarks.append(f"{lie}, which {why}")


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"


def _refuse_where(wrong: pa.ChunkedArray, values: pa.ChunkedArray, column: str, why: str) -> None:
    if pc.any(wrong).as_py():
        raise _misfit(values, pc.index(wrong, True).as_py(), column, why, pc.sum(wrong).as_py() - 1)


def _misfit(values: pa.ChunkedArray, row: int, column: str, why: str, more: int) -> Misfit:
    others = f", and so in {counted(more, 'more row')}" if more else ""
    try:
        shown = str(values[row].as_py())
    except (OverflowError, ValueError):  # a time that Python's calendar does not have
        shown = str(values[row].value)
    return Misfit.at(f"{column} is {shown[:60]!r} in ", row, f", {why}{others}")


def _first_wrong(values: pa.ChunkedArray, cast: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> int:
    """Index of the first value that cannot be cast, by halving."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            cast(values.slice(low, middle - low))
        except _ARROW:
            high = middle
        else:
            low = middle
    return low
