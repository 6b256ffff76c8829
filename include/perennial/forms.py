"""Texts of values by the form that a dataset declares for its files: how files and requests read words, marks and times alike.

Files are read in columns (`data/readers/values.py`), requests value by value; both take their words and patterns from here.

>>> from perennial.forms import json_value
>>> form = FileForm(decimal=",", thousands=".", nulls=("n/a",), true=("ja",), times=("%d.%m.%Y %H:%M",))
>>> texts = (("1.234,5", "float"), ("ja", "bool"), ("n/a", "int"), ("29.11.2026 14:00", "timestamp"))
>>> [json_value(text, kind, form) for text, kind in texts]
[1234.5, True, None, '2026-11-29T14:00:00']
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from perennial.clock import EPOCHS, MONTHS, form_pattern, wall_time
from perennial.encoding import FALSE, TRUE
from perennial.specs import FileForm

READ = ("decimal", "thousands", "nulls", "true", "false", "times", "header", "fields", "time_of")  # of a form, what requests follow too
_MOST_DIGITS = 300  # of a whole number; what has more fits in no column, and Python refuses to read thousands of them
_COUNT = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?")  # of seconds or milliseconds from 1970 on


def form_of_requests(form: FileForm, inputs: Collection[str]) -> dict[str, Any]:
    """What a version's signature says of the form of its dataset's files: what differs from the default and concerns its inputs."""
    default = FileForm()
    declared: dict[str, Any] = {name: getattr(form, name) for name in READ if getattr(form, name) != getattr(default, name)}
    for name in {"fields", "time_of"} & declared.keys():
        declared[name] = {column: called for column, called in declared[name].items() if column in inputs}
    as_json: dict[str, Any] = json.loads(json.dumps({name: value for name, value in declared.items() if value}))
    return as_json


def number_pattern(form: FileForm) -> str:
    """The regular expression of a number as the form has it, not a number and infinity included."""
    return f"^{_number_pattern(form.decimal, form.thousands)}$"


@lru_cache
def _number_pattern(decimal: str, thousands: str) -> str:
    digits, mark = "[0-9]+", re.escape(decimal)
    if thousands:
        digits = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{_sign_pattern(thousands)}[0-9]{{3}})+)"
    return rf"[+-]?(?:(?:{digits}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))"


def thousands_pattern(form: FileForm) -> str:
    """The regular expression of the sign between groups of three digits."""
    return _sign_pattern(form.thousands)


@lru_cache
def _sign_pattern(thousands: str) -> str:
    return "[ \u00a0\u202f\u2009]" if thousands == " " else re.escape(thousands)


def truth_words(form: FileForm) -> tuple[list[str], list[str]]:
    """The words for true and for false, in lower case."""
    return [*TRUE, *map(lower_case, form.true)], [*FALSE, *map(lower_case, form.false)]


def lower_case(word: str) -> str:
    """A word in lower case, each letter for itself as Arrow has it, so that files and requests know the same words."""
    return "".join(letter.lower()[0] for letter in word)


def compared_name(name: str, form: FileForm) -> str:
    """A column's name as it is compared: without blanks around it, accents in one encoding (NFC), case as the form says."""
    compared = unicodedata.normalize("NFC", name.strip())
    return compared.casefold() if form.header == "any case" else compared


def json_value(text: object, kind: str, form: FileForm) -> Any:
    """The JSON value that a text in a request means, where its column is no text; the text itself if it means none.

    Args:
        text: as the caller sent it. A value that is no text is given back, but for a number where times are counted from 1970 on.
        kind: type of its column.
        form: of the dataset's files.
    """
    if not isinstance(text, str):
        epoch = next((one for one in form.times if one in EPOCHS), "")
        is_count = epoch and kind == "timestamp" and isinstance(text, (int, float)) and not isinstance(text, bool)
        return (_iso(f"{text:.6f}" if isinstance(text, float) else str(text), epoch) or text) if is_count else text
    trimmed = text.strip()
    if not trimmed or trimmed in form.nulls:
        return None
    if kind == "bool":
        true, false = truth_words(form)
        word = lower_case(trimmed)
        return True if word in true else False if word in false else text
    if kind == "timestamp":
        return _time(trimmed, form, text)
    return _number(trimmed, kind, form, text)


def joined_time(day: str, hour: str) -> str:
    """The time that a day and an hour of the day make, as `time_of` declares them: the hour is a whole number or a time of the day."""
    whole_day = re.sub(r"[ T]00:00:00(?:\.0+)?$", "", day.strip())
    of_day = re.sub(r"^([0-9]{1,2})(?:\.0+)?$", r"\1:00", hour.strip())
    return f"{whole_day} {'0' if of_day[1:2] == ':' else ''}{of_day}"


def words(form: FileForm) -> str:
    """What a form says of texts, for a caller."""
    numbers = f"decimal mark {form.decimal!r}" + (f" and thousands mark {form.thousands!r}" if form.thousands else "")
    said = [
        f"{what} {', '.join(map(repr, given))}"
        for what, given in (("true", form.true), ("false", form.false), ("missing", form.nulls), ("times", form.times))
        if given
    ]
    return "; ".join([numbers, *said])


def _number(trimmed: str, kind: str, form: FileForm, text: str) -> Any:
    if not re.fullmatch(_number_pattern(form.decimal, form.thousands), trimmed):
        return text
    plain = re.sub(thousands_pattern(form), "", trimmed) if form.thousands else trimmed
    plain = plain.replace(form.decimal, ".").lstrip("+")
    if plain.lower().lstrip("-") == "nan":
        return None if kind == "float" else text
    return int(plain) if kind == "int" and re.fullmatch(f"-?[0-9]{{1,{_MOST_DIGITS}}}", plain) else float(plain)


def _time(trimmed: str, form: FileForm, text: Any) -> Any:
    """A text of a declared form in ISO 8601; the given text where it is of none, or no time of the calendar."""
    for written in (trimmed, *(iso for one in form.times if (iso := _iso(trimmed, one)))):
        try:
            wall_time(written)
        except ValueError:
            continue
        return written
    return text


def _iso(trimmed: str, form: str) -> str:
    """A text of one declared form in ISO 8601; empty if it has another."""
    if form in EPOCHS:
        if not _COUNT.fullmatch(trimmed):
            return ""
        try:
            microseconds = round(float(trimmed) * EPOCHS[form]) if "." in trimmed else int(trimmed) * EPOCHS[form]
            return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)).isoformat()
        except OverflowError:
            return ""
    match = re.fullmatch(form_pattern(form), trimmed)
    return _parted(match.groupdict()) if match else ""


def _parted(parts: Mapping[str, str]) -> str:
    year = parts.get("year") or ("20" if parts["short_year"] < "69" else "19") + parts["short_year"]  # as POSIX has it
    month = parts.get("month") or str(MONTHS.index(parts["month_name"].lower()) + 1)
    hour = parts.get("hour", "0")
    if "hour_of_half" in parts:
        if not 1 <= int(parts["hour_of_half"]) <= 12:
            return ""
        hour = str(int(parts["hour_of_half"]) % 12 + 12 * (parts["half"].lower() == "pm"))
    clock = ":".join(part.zfill(2) for part in (hour, parts.get("minute", "0"), parts.get("second", "0")))
    fraction = f".{parts['fraction']}" if "fraction" in parts else ""
    return f"{year}-{month.zfill(2)}-{parts['day'].zfill(2)}T{clock}{fraction}{parts.get('offset', '')}"
