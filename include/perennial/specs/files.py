"""How the files of a dataset are written."""

from __future__ import annotations

import codecs
import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from perennial.clock import form_pattern
from perennial.specs.base import Spec

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")  # texts that are truth values in any file, in whatever case; as in `encoding`

UNFINISHED = (".part", ".tmp", ".partial", ".crdownload", ".filepart")  # endings of files that are still being written


class FileForm(Spec):
    """How the files of a dataset are written. What is not declared here is never guessed: the refusal names what the file seems to have."""

    separator: str = Field(default=",", description="Sign between the fields of a CSV file, such as `;`, `|` or a tab.")
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of numbers that are written as text.")
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        default="",
        description="Sign between groups of three digits of numbers that are written as text; none if empty. "
        "A blank stands for any blank, also one that does not break.",
    )
    encoding: str = Field(default="utf-8", description="Encoding of text files, such as `latin-1`, `cp1252` or `utf-16`.")
    nulls: tuple[str, ...] = Field(
        default=(), description="Words that mean that a value is missing, besides the empty field. In CSV a quoted word stays a text."
    )
    true: tuple[str, ...] = Field(default=(), description="Words for true besides `true`, `yes` and `1`, in whatever case.")
    false: tuple[str, ...] = Field(default=(), description="Words for false besides `false`, `no` and `0`, in whatever case.")
    times: tuple[str, ...] = Field(
        default=(),
        description="How times are written besides ISO 8601, such as `%d.%m.%Y %H:%M`, `epoch seconds` or `epoch milliseconds`; "
        "the first that fits is taken.",
    )
    header: Literal["exact", "any case"] = Field(
        default="exact",
        description="Whether upper and lower case of column names must be those of the spec. Blanks around names never count.",
    )
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="What files call a column if not by its name: another header, or the path of a nested field, such as `where.city`.",
    )
    time_of: dict[str, tuple[str, str]] = Field(
        default_factory=dict,
        description='Times that files have in two columns, a day and an hour of the day: `{"at": ("day", "hour")}`. '
        "The hour is a whole number or a time of the day. Neither need be a column of the spec.",
    )
    records: str = Field(
        default="", description="Path to the array of rows in a JSON file, such as `data.items`; the file itself if empty."
    )
    sheet: str = Field(default="", description="Sheet of an Excel or OpenDocument file that has the rows; the only one if empty.")
    header_row: int = Field(
        default=1, ge=1, description="Row of the sheet that has the names of the columns; what stands above it is left out."
    )
    lines: str = Field(
        default="",
        description="How the lines of log files (`.log`) are written: a regular expression that matches a whole line, with a named "
        "group for each column, such as `(?P<at>\\S+) (?P<level>\\w+) (?P<message>.*)`.",
    )
    extra: Literal["refuse", "drop", "keep"] = Field(
        default="refuse",
        description="What becomes of columns that the spec does not have: the file is refused, they are left out, or they are kept in the "
        "table as JSON in one text column, `_extra`.",
    )

    @field_validator("separator")
    @classmethod
    def _is_one_sign(cls, separator: str) -> str:
        if len(separator) != 1 or not separator.isascii() or separator.isalnum() or separator in '"\r\n':
            raise ValueError(f"{separator!r} is no separator: give one sign such as ';', '|' or '\\t'")
        return separator

    @field_validator("lines")
    @classmethod
    def _has_groups(cls, lines: str) -> str:
        try:
            groups = re.compile(lines).groupindex
        except re.error as error:
            raise ValueError(f"lines is no regular expression: {error}") from None
        if lines and not groups:
            raise ValueError("lines has no named group, and each column is one: write it like (?P<at>\\S+) (?P<message>.*)")
        return lines

    @field_validator("encoding")
    @classmethod
    def _is_an_encoding(cls, encoding: str) -> str:
        try:
            is_text = codecs.lookup(encoding)._is_text_encoding
        except LookupError:
            is_text = False
        if not is_text:
            raise ValueError(f"{encoding!r} is no encoding: give a name such as utf-8, latin-1, cp1252 or utf-16")
        return encoding

    @field_validator("times")
    @classmethod
    def _are_time_forms(cls, times: tuple[str, ...]) -> tuple[str, ...]:
        for form in times:
            form_pattern(form)
        return times

    @model_validator(mode="after")
    def _marks_differ(self) -> FileForm:
        if self.decimal == self.thousands:
            raise ValueError(f"{self.decimal!r} cannot be the decimal mark and part thousands")
        true, false = ({*always, *(word.casefold() for word in words)} for always, words in ((TRUE, self.true), (FALSE, self.false)))
        both = true & false
        if both:
            raise ValueError(f"{', '.join(sorted(both))} cannot mean true and false")
        return self
