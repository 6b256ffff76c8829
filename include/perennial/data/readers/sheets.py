r"""Excel and OpenDocument sheets: the cells of each column as values of one type, or as texts; a cell that has no value is named.

>>> import pathlib, openpyxl
>>> from perennial.data.readers import read_batch
>>> from perennial.specs import Column, DatasetSpec, FileForm
>>> book = openpyxl.Workbook()
>>> for row in (["Rides of Monday"], ["ride", "km"], [7, 4.2], [8, None]):
...     book.active.append(row)
>>> book.save("monday.xlsx")
>>> columns = [Column(name="ride", type="int"), Column(name="km", type="float", nullable=True)]
>>> form = FileForm(header_row=2)
>>> rides = DatasetSpec(name="rides", title="Rides", owner="fleet", columns=columns, key=["ride"], event_time="", files=form)
>>> read_batch(pathlib.Path("monday.xlsx"), rides).to_pylist()
[{'ride': 7, 'km': 4.2}, {'ride': 8, 'km': None}]
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import IO, Any

import pyarrow as pa
from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from perennial.data.readers.columns import column_called, quoted
from perennial.data.readers.workbook_cells import Cell, Cells, cell_name, cells_of, refuse_large_workbook
from perennial.encoding import EXACT
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

BEFORE_2007 = b"\xd0\xcf\x11\xe0"  # first bytes of Excel's files until then, and of those that have a password today
DIGITS_KEPT = 10**15  # from here on Excel has the first 15 digits of a number
_SHEET_ROWS = b"perennial.sheet_rows"
_MOST_TOLD = 10  # columns with errors
_HEADER_WITHIN = 20  # rows among which the names of the columns are looked for


@dataclass(frozen=True)
class _Grid:
    """The cells of one sheet from the header on; empty rows are left out."""

    header: list[str]
    columns: list[list[Any]]
    rows: list[int]  # their places in the sheet, from 0 on


def read_sheet(file: IO[bytes], spec: DatasetSpec, name: str, remarks: list[str]) -> pa.Table:
    """The rows of the declared sheet, or of the only one that is shown.

    A column whose cells are all numbers, times or truth values has that type; one with texts among them is a column of texts.

    Raises:
        BatchRefused: there are several sheets or none of that name; or cells of the rows are merged, errors, or formulas without a value.
        pyarrow.ArrowInvalid: it is no workbook, is cut, or has a password.
    """
    with _opened(file, spec, name) as book:
        sheet = _chosen(book, spec, name, remarks)
        cells = cells_of(file, sheet, spec, name)
        if cells.height < spec.files.header_row:
            values = f"its last value in row {cells.height}" if cells.height else "no values"
            raise BatchRefused(
                f"{name} has {values} in the sheet {sheet!r}, and the names of its columns belong in row {spec.files.header_row}: "
                "land it again with its rows, or say header_row= in files of the spec."
            )
        grid = _grid(book, sheet, cells, spec, name, remarks)
    places = [place for place, called in enumerate(grid.header) if called or any(value is not None for value in grid.columns[place])]
    _refuse_cells_without_values(grid, places, cells, spec, name)
    table = pa.table([_array(grid, place, spec, name, remarks) for place in places], names=[grid.header[place] for place in places])
    return table.replace_schema_metadata({_SHEET_ROWS: array("I", grid.rows).tobytes()})


def sheet_rows(table: pa.Table) -> Sequence[int]:
    """The place in its sheet, from 0, of each row that was read from one; empty for rows of other files."""
    return array("I", (table.schema.metadata or {}).get(_SHEET_ROWS, b""))


def beginnings(file: IO[bytes], spec: DatasetSpec, name: str) -> dict[str, list[list[str]]]:
    """The first rows of the declared sheet, or of each one that is shown, as texts."""
    with _opened(file, spec, name) as book:
        sheets = [spec.files.sheet] if spec.files.sheet in _worksheets(book) else _shown(book)
        return {sheet: [list(map(_text, row)) for row in _first_rows(book, sheet, file, spec, name)] for sheet in sheets}


@contextmanager
def _opened(file: IO[bytes], spec: DatasetSpec, name: str) -> Iterator[CalamineWorkbook]:
    if file.read(len(BEFORE_2007)) == BEFORE_2007:
        raise pa.ArrowInvalid("it has a password, or is of Excel before 2007: save it without one as .xlsx")
    file.seek(0)
    refuse_large_workbook(file, spec, name)
    file.seek(0)
    try:
        with CalamineWorkbook.from_filelike(file) as book:
            yield book
    except CalamineError as error:
        raise pa.ArrowInvalid(f"it is no workbook ({error})") from None
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # how the reader, which is written in Rust, ends at a fault of its own
            raise pa.ArrowInvalid(f"it is no workbook ({error})") from None
        raise


def _worksheets(book: CalamineWorkbook) -> list[str]:
    return [sheet.name for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]


def _shown(book: CalamineWorkbook) -> list[str]:
    shown = [sheet.name for sheet in book.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible]
    return [sheet for sheet in _worksheets(book) if sheet in shown]


def _chosen(book: CalamineWorkbook, spec: DatasetSpec, name: str, remarks: list[str]) -> str:
    """The sheet that has the rows."""
    sheets, shown, declared = _worksheets(book), _shown(book), spec.files.sheet
    if declared in sheets:
        return declared
    if declared or len(shown) != 1:
        among = ", ".join(map(repr, (sheets if declared or not shown else shown)[:10]))
        called = f"no sheet {declared!r}, but {among}" if declared else f"the sheets {among}" if shown else f"hidden sheets alone ({among})"
        raise BatchRefused(f'{name} has {called}: say which one has the rows, as files=FileForm(sheet="...") in the spec of {spec.name}.')
    if hidden := [sheet for sheet in sheets if sheet not in shown]:
        remarks.append(f"{name}: {', '.join(map(repr, hidden))}, which {'is' if len(hidden) == 1 else 'are'} hidden, left out")
    return shown[0]


def _first_rows(book: CalamineWorkbook, sheet: str, file: IO[bytes], spec: DatasetSpec, name: str) -> list[list[Any]]:
    cells_of(file, sheet, spec, name)  # refuses what would not fit into memory
    return list(itertools.islice(book.get_sheet_by_name(sheet).iter_rows(), _HEADER_WITHIN))


def _grid(book: CalamineWorkbook, sheet: str, cells: Cells, spec: DatasetSpec, name: str, remarks: list[str]) -> _Grid:
    values = book.get_sheet_by_name(sheet)
    before = [""] * (values.start[1] if values.start else 0)
    header: list[str] = [""] * cells.width
    columns: list[list[Any]] = [[] for _ in range(cells.width)]
    rows: list[int] = []
    errors: dict[int, list[Cell]] = {}
    for cell in cells.errors:
        errors.setdefault(cell[0], []).append(cell)
    absent = {"", *spec.files.nulls}
    for number, read in enumerate(itertools.islice(values.iter_rows(), cells.height)):
        row = [*before, *read]
        row += [""] * (cells.width - len(row))
        for cell in errors.get(number, ()):
            row[cell[1]] = cells.errors[cell]
        if number + 1 == spec.files.header_row:
            header = [_text(value).strip() for value in row]
        elif number >= spec.files.header_row and any(value != "" for value in row):
            rows.append(number)
            for column, value in zip(columns, row, strict=False):
                column.append(None if isinstance(value, str) and value in absent else value)
    empty = (rows[-1] - spec.files.header_row + 1 - len(rows)) if rows else 0
    if empty:
        remarks.append(f"{name}: {empty} empty row{'' if empty == 1 else 's'} between others left out")
    return _Grid(header, columns, rows)


def _refuse_cells_without_values(grid: _Grid, places: Sequence[int], cells: Cells, spec: DatasetSpec, name: str) -> None:
    """Raises BatchRefused where a cell of the header or of a column that is wanted shows no value of its own."""
    wanted = {place for place in places if not spec.columns or column_called(grid.header[place], spec)}
    first = spec.files.header_row - 1

    def of_rows(found: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in found if cell[0] >= first and cell[1] in wanted]

    if merged := [(a, b) for a, b in cells.merged if b[0] >= first and any(a[1] <= place <= b[1] for place in wanted)]:
        area = f"{cell_name(*merged[0][0])}:{cell_name(*merged[0][1])}"
        raise BatchRefused(
            f"{name} has merged cells{_and_more(area, len(merged))}, of which the first alone has a value: "
            "unmerge them, write the value into each, and land it again."
        )
    if uncomputed := of_rows(cells.uncomputed):
        raise BatchRefused(
            f"{name} has a formula without a value{_and_more(cell_name(*uncomputed[0]), len(uncomputed))}: "
            "open it in Excel or LibreOffice, save it, and land it again."
        )
    errors = of_rows([cell for cell, word in cells.errors.items() if word not in spec.files.nulls]) if spec.columns else []
    if errors:
        first_of = {column: (row, column) for row, column in sorted(errors, reverse=True)}
        each = "; ".join(
            f"{quoted(grid.header[column])} is the error {cells.errors[first_of[column]]}"
            f"{_and_more(cell_name(*first_of[column]), sum(1 for other in errors if other[1] == column))}"
            for column in sorted(first_of)[:_MOST_TOLD]
        )
        raise BatchRefused(f"{name}: {each}. Correct the sheet and land it again.")


def _and_more(place: str, count: int) -> str:
    return f" in {place}" + (f" and {count - 1} more place{'' if count == 2 else 's'}" if count > 1 else "")


def _array(grid: _Grid, place: int, spec: DatasetSpec, name: str, remarks: list[str]) -> pa.Array:
    """A column's cells in the one type that they have; as texts if they have several, or if the spec says that they are texts."""
    values, header = grid.columns[place], grid.header[place]
    types = {type(value) for value in values if value is not None}
    column = column_called(header, spec)
    numbers = [value for value in values if type(value) is float]
    long = sum(1 for value in numbers if abs(value) >= DIGITS_KEPT and value.is_integer())
    as_text = (column is not None and column.type == "string") or len(types - {date, datetime}) + bool(types & {date, datetime}) > 1
    if long and as_text:
        row = next(number for number, value in zip(grid.rows, values, strict=True) if type(value) is float and abs(value) >= DIGITS_KEPT)
        raise BatchRefused(
            f"{name}: {quoted(header)} is a number of more than 15 digits in {cell_name(row, place)}, of which Excel keeps 15: "
            "write it as text and land it again."
        )
    if long:
        remarks.append(
            f"{name}: {long} number{'' if long == 1 else 's'} of {quoted(header)} with more than 15 digits, of which Excel keeps 15"
        )
    if as_text and types - {str}:
        if column is not None and column.type == "string":
            count = sum(1 for value in values if value is not None and type(value) is not str)
            told = f"1 cell of {quoted(header)} that is" if count == 1 else f"{count} cells of {quoted(header)} that are"
            remarks.append(f"{name}: {told} no text, read as text")
        values = [None if value is None else _text(value, spec.files.decimal) for value in values]
        return pa.array(values, pa.string())
    if types <= {str}:
        return pa.array(values, pa.string())
    if types == {float}:
        whole = all(value.is_integer() and abs(value) < EXACT for value in numbers)
        return (
            pa.array([None if value is None else int(value) for value in values], pa.int64()) if whole else pa.array(values, pa.float64())
        )
    if types <= {date, datetime}:
        return pa.array([_moment(value) for value in values], pa.timestamp("us"))
    if types == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _moment(value: date | None) -> datetime | None:
    return value if value is None or isinstance(value, datetime) else datetime(value.year, value.month, value.day)


def _text(value: Any, decimal: str = ".") -> str:
    """A cell as a CSV file would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value).replace(".", decimal)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, timedelta):
        seconds = value // timedelta(seconds=1)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return value.isoformat() if isinstance(value, (date, time)) else str(value)
