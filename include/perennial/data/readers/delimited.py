"""CSV and its relatives: all columns as text, so that a value of the wrong type can be named with its row."""

from __future__ import annotations

import csv
import io
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from perennial.specs import FileForm


def read_delimited(file: IO[bytes], form: FileForm, name: str, remarks: list[str]) -> pa.Table:
    """The rows of a UTF-8 file under the names of its first line. An empty field is null, and so is a declared word that is not quoted.

    A column without a name and without values, as a separator at the end of each line makes one, is left out with a remark.
    """
    header = header_of(file, form.separator)
    try:
        rows = _rows(file, form, header, as_it_is=True)
    except pa.ArrowInvalid as error:
        if f"Expected {len(header)} columns, got {len(header) + 1}" not in str(error):
            raise
        file.seek(0)
        rows = _rows(file, form, [*header, ""], as_it_is=False)  # each line may end in a separator, and the header not
        if rows.column(len(header)).null_count < rows.num_rows:
            raise error from None
    _refuse_open_quote(file, rows)
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
        file.seek(-min(file.seek(0, 2), 1 << 16), 2)
        if not file.read().rstrip(b" \t\r\n").endswith(b'"'):
            raise pa.ArrowInvalid(f"a quote in row {rows.num_rows} is never closed, before {last[:60]!r}")


def _empty(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column) or pc.all(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py())
