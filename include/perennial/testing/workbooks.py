"""Workbooks as people keep them: the bytes of Excel and OpenDocument files, for tests.

>>> from perennial.testing.workbooks import opendocument
>>> opendocument({"Rides": [["ride", "km"], [7, 4.2]]})[:2]
b'PK'
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_SPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{prefix}:1.0"' for prefix in ("office", "table", "text")
) + ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'  # fmt: skip


def workbook(sheets: Mapping[str, Sequence[Sequence[Any]]], merged: Sequence[str] = (), hidden: Sequence[str] = ()) -> bytes:
    """An .xlsx file. A text that begins with `=` is a formula that nobody has computed; one such as `#N/A` an error.

    Args:
        sheets: the rows of each.
        merged: cells of the first sheet that are merged, such as `A1:B1`.
        hidden: sheets that are not shown.
    """
    import openpyxl  # type: ignore[import-untyped]  # of the tests' environment

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        sheet.sheet_state = "hidden" if name in hidden else "visible"
    for area in merged:
        book.worksheets[0].merge_cells(area)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def opendocument(sheets: Mapping[str, Sequence[Sequence[Any]] | str]) -> bytes:
    """An .ods file. In place of rows a sheet may have the XML of its table's content."""
    tables = "".join(
        f"<table:table table:name={quoteattr(name)}>{rows if isinstance(rows, str) else ''.join(map(_row, rows))}</table:table>"
        for name, rows in sheets.items()
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as parts:
        parts.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        parts.writestr("META-INF/manifest.xml", '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>')
        parts.writestr(
            "content.xml",
            f"<office:document-content {_SPACES}><office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body>"
            "</office:document-content>",
        )
    return out.getvalue()


def _row(cells: Sequence[Any]) -> str:
    return f"<table:table-row>{''.join(map(_cell, cells))}</table:table-row>"


def _cell(value: Any) -> str:
    if value is None:
        return "<table:table-cell/>"
    if isinstance(value, bool):
        kind = f'"boolean" office:boolean-value="{str(value).lower()}"'
    elif isinstance(value, (int, float)):
        kind = f'"float" office:value="{value}"'
    elif isinstance(value, (date, datetime)):
        kind = f'"date" office:date-value="{value.isoformat()}"'
    elif isinstance(value, time):
        kind = f'"time" office:time-value="{value:PT%HH%MM%SS}"'
    else:
        kind = '"string"'
    return f"<table:table-cell office:value-type={kind}><text:p>{escape(str(value))}</text:p></table:table-cell>"
