"""CSV and its relatives: all columns as text, so that a value of the wrong type can be named with its row."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from perennial.clock import wall_time
from perennial.forms import json_value
from perennial.specs import ColumnType, FileForm

_KINDS: tuple[ColumnType, ...] = ("float", "timestamp", "bool")
csv.field_size_limit((1 << 31) - 1)  # Python's own is 131,072 characters, and a field may be a picture; files have a limit of their own
_SEEN = 10_000  # rows by which a column's values are told from text


def read_delimited(file: IO[bytes], form: FileForm, name: str, remarks: list[str]) -> pa.Table:
    """The rows of a UTF-8 file under the names of its first line. An empty field is null, and so is a declared word that is not quoted.

    A column without a name and without values, as a separator at the end of each line makes one, is left out with a remark.
    """
    header = header_of(file, form.separator)
    if not header:
        raise pa.ArrowInvalid("Empty CSV file")
    if "\n" in header[-1] or "\r" in header[-1]:
        _refuse_open_end(file, "its first line", header[-1])
        file.seek(0)
    try:
        rows = _rows(file, form, header, as_it_is=True)
    except pa.ArrowInvalid as error:
        if "Expected" in str(error) and len(header) == 1:
            raise pa.ArrowInvalid(
                f"its first line, {header[0][:60]!r}, is one field and a later one has more ({str(error).splitlines()[0]}): if it is a "
                "title or a remark, leave such lines out, so that the names of the columns come first"
            ) from None
        if f"Expected {len(header)} columns, got {len(header) + 1}" not in str(error):
            raise
        file.seek(0)
        rows = _rows(file, form, [*header, ""], as_it_is=False)  # each line may end in a separator, and the header not
        if rows.column(len(header)).null_count < rows.num_rows:
            raise error from None
    _refuse_open_quote(file, rows)
    _refuse_hidden_rows(file, rows, form)
    nameless = [place for place, column in enumerate(rows.column_names) if not column.strip() and _empty(rows.column(place))]
    if nameless and len(nameless) < rows.num_columns:
        remarks.append(f"{name}: {'a column' if len(nameless) == 1 else f'{len(nameless)} columns'} without name and values left out")
        rows = rows.select([place for place in range(rows.num_columns) if place not in nameless])
    return rows


def header_of(file: IO[bytes], separator: str) -> list[str]:
    """The names in the first line of a UTF-8 file that is not empty; the file is at its beginning afterwards."""
    first = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    header = next(filter(None, csv.reader(first, delimiter=separator)), [])  # Arrow too skips empty lines
    first.detach()
    file.seek(0)
    return header


def _rows(file: IO[bytes], form: FileForm, header: list[str], *, as_it_is: bool) -> pa.Table:
    options = {} if as_it_is else {"column_names": header, "skip_rows": 1}
    return pa.csv.read_csv(
        file,
        read_options=pa.csv.ReadOptions(block_size=8 << 20, **options),
        parse_options=pa.csv.ParseOptions(delimiter=form.separator, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            null_values=["", *form.nulls],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _refuse_open_quote(file: IO[bytes], rows: pa.Table) -> None:
    """Raises ArrowInvalid if a quote that is never closed has made the rest of the file one field: Arrow takes that."""
    last = rows.column(rows.num_columns - 1)[-1].as_py() if rows.num_rows else None
    if last and ("\n" in last or "\r" in last):
        _refuse_open_end(file, f"row {rows.num_rows}", last)


def _refuse_open_end(file: IO[bytes], where: str, field: str) -> None:
    """Raises ArrowInvalid if the file does not end in the quote that would close a field of several lines which is its last one."""
    file.seek(-min(file.seek(0, 2), 1 << 16), 2)
    if not file.read().rstrip(b" \t\r\n").endswith(b'"'):
        raise pa.ArrowInvalid(f"a quote in {where} is never closed, before {field[:60]!r}")


def _refuse_hidden_rows(file: IO[bytes], rows: pa.Table, form: FileForm) -> None:
    """Raises ArrowInvalid if a quote that opens in one row and closes in the same column of a later one has made one field of whole rows.

    A quoted field may have line breaks. It is one that hides rows if its lines, with the fields before and after it, have as many fields
    as the file, and each of them has numbers, times or truth values wherever the other rows have them. Where no column has such, nothing
    tells rows from text.
    """
    hidden = None
    for place, column in enumerate(rows.columns):
        breaks = pc.or_(pc.match_substring(column, "\n"), pc.match_substring(column, "\r"))
        if rows.num_columns > 1 and pc.any(breaks).as_py():
            hidden = hidden or _Hidden(rows, form)
            for row in pc.indices_nonzero(breaks.fill_null(False)).to_pylist():
                if (lines := hidden.lines(row, place)) is not None:
                    first, last = _lines_of_row(file, form, row)
                    raise pa.ArrowInvalid(
                        f"lines {first:,} to {last:,} are one row, since a quote opens in the first and closes in the last of them, and "
                        f"they look like {lines} rows: write a quote that is a sign of a text twice, and the text between quotes"
                    )


class _Hidden:
    """Tells whether the lines of a field are rows: by the columns of which every value is a number, time or truth value."""

    def __init__(self, rows: pa.Table, form: FileForm) -> None:
        self.rows, self.form = rows, form
        self.kinds: dict[int, tuple[ColumnType, ...]] = {}
        for place, column in enumerate(rows.columns):
            values = [text for text in pc.unique(column.slice(0, _SEEN)).to_pylist() if text and "\n" not in text and "\r" not in text]
            kinds = tuple(kind for kind in _KINDS if values and all(self._is(text, kind) for text in values))
            if kinds:
                self.kinds[place] = kinds

    def lines(self, row: int, place: int) -> int | None:
        """How many rows the lines of one field are; None if they are none."""
        cells = ["" if (value := column[row].as_py()) is None else value for column in self.rows.columns]
        parts = list(csv.reader(io.StringIO(cells[place], newline=""), delimiter=self.form.separator))
        if len(parts) < 2:
            return None
        whole = [[*cells[:place], *parts[0]], *parts[1:-1], [*parts[-1], *cells[place + 1 :]]]
        as_rows = all(
            len(line) == self.rows.num_columns and all(self._fits(line[at], kinds) for at, kinds in self.kinds.items()) for line in whole
        )
        return len(whole) if self.kinds and as_rows else None

    def _fits(self, text: str, kinds: Sequence[ColumnType]) -> bool:
        return not text.strip() or any(self._is(text, kind) for kind in kinds)

    def _is(self, text: str, kind: ColumnType) -> bool:
        value = json_value(text, kind, self.form)
        if kind != "timestamp" or value is None:
            return not isinstance(value, str)
        try:
            wall_time(value)
        except ValueError:
            return False
        return True


def _lines_of_row(file: IO[bytes], form: FileForm, row: int) -> tuple[int, int]:
    """The first and the last line of a row, counted from 1; empty lines are none of a row's."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader, number, before = csv.reader(text, delimiter=form.separator), -1, 0  # the header is row -1
    lines = (0, 0)
    for cells in reader:
        if cells:
            lines = (before + 1, reader.line_num)
            if number == row:
                break
            number += 1
        before = reader.line_num
    text.detach()
    return lines


def _empty(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column) or pc.all(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py())
