"""What a workbook's cells say besides their values: where they end, which are errors, merged, or formulas that nobody has computed."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO
from xml.parsers import expat

import pyarrow as pa

from perennial.data.readers.limits import refuse_too_large
from perennial.data.readers.packing import chunks
from perennial.specs import DatasetSpec

_CONTENT = "content.xml"  # of an OpenDocument file
CELL_BYTES = 24  # that a cell takes in memory, also an empty one between others
Cell = tuple[int, int]  # row and column, the first are 0


@dataclass
class Cells:
    """What there is to know of one sheet's cells before it is read."""

    height: int = 0  # rows up to the last one with a value
    width: int = 0
    errors: dict[Cell, str] = field(default_factory=dict)  # such as #N/A
    uncomputed: list[Cell] = field(default_factory=list)  # formulas without a value
    merged: list[tuple[Cell, Cell]] = field(default_factory=list)  # first and last cell


def cell_name(row: int, column: int) -> str:
    """A cell as a spreadsheet calls it, such as C7."""
    letters = ""
    column += 1
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{row + 1}"


def refuse_large_workbook(file: IO[bytes], spec: DatasetSpec, name: str) -> None:
    """Raises BatchRefused if an .xlsx or .ods file unpacks to more than the dataset's limit, also by a cell that stands for many."""
    with zipfile.ZipFile(file) as parts:
        refuse_too_large(sum(part.file_size for part in parts.infolist()), spec, f"{name}, unpacked,")
        if _CONTENT in parts.namelist():  # all its sheets are read at once
            _read(parts, _CONTENT, _OpenDocument("", spec, name))


def cells_of(file: IO[bytes], sheet: str, spec: DatasetSpec, name: str) -> Cells:
    """The cells of one sheet of an .xlsx or .ods file.

    Raises:
        BatchRefused: its values lie so far apart that the sheet would need more memory than the dataset's limit.
        pyarrow.ArrowInvalid: it is no such file.
    """
    with zipfile.ZipFile(file) as parts:
        if _CONTENT in parts.namelist():
            return _read(parts, _CONTENT, _OpenDocument(sheet, spec, name))
        try:
            part = _part_of(parts, sheet)
        except (expat.ExpatError, LookupError, StopIteration) as error:
            raise _no_workbook(error) from None
        return _read(parts, part, _Excel(spec, name))


def _read(parts: zipfile.ZipFile, part: str, reading: _Sheet) -> Cells:
    try:
        with parts.open(part) as xml:
            for piece in chunks(xml):
                reading.parser.Parse(piece, False)
            reading.parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise _no_workbook(error) from None
    return reading.cells


def _no_workbook(error: Exception) -> pa.ArrowInvalid:
    return pa.ArrowInvalid(f"its parts are not those of a workbook ({str(error) or 'the sheet has none'})")


def _part_of(parts: zipfile.ZipFile, sheet: str) -> str:
    """The file in an .xlsx that holds a sheet."""
    package = _elements(parts, "_rels/.rels", "Relationship")
    book = next(posixpath.normpath(one["Target"].lstrip("/")) for one in package if one["Type"].endswith("/officeDocument"))
    called = next(one for one in _elements(parts, book, "sheet") if one["name"] == sheet)
    relation = next(value for key, value in called.items() if key.rpartition(":")[2] == "id")
    folder, file = posixpath.split(book)
    targets = {one["Id"]: one["Target"] for one in _elements(parts, f"{folder}/_rels/{file}.rels", "Relationship")}
    target = targets[relation]
    return target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"{folder}/{target}")


def _elements(parts: zipfile.ZipFile, part: str, wanted: str) -> list[dict[str, str]]:
    """The attributes of all elements of that name."""
    attributes: list[dict[str, str]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, given: attributes.append(given) if _local(name) == wanted else None
    parser.Parse(parts.read(part), True)
    return attributes


def _local(name: str) -> str:
    return name.rpartition(":")[2]


class _Sheet:
    """Reads the cells of one sheet element by element."""

    def __init__(self, spec: DatasetSpec, name: str) -> None:
        self.spec, self.name = spec, name
        self.cells = Cells()
        self.row, self.column = -1, -1
        self.text: list[str] | None = None  # of the value that is being read
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = lambda name, given: self.begin(_local(name), given)
        self.parser.EndElementHandler = lambda name: self.end(_local(name))
        self.parser.CharacterDataHandler = lambda text: self.text.append(text) if self.text is not None else None

    def begin(self, element: str, given: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, element: str) -> None:
        """An element ends."""

    def reaches(self, row: int, column: int) -> None:
        """There is a value at that place."""
        if row >= self.cells.height or column >= self.cells.width:
            self.cells.height, self.cells.width = max(self.cells.height, row + 1), max(self.cells.width, column + 1)
            refuse_too_large(self.cells.height * self.cells.width * CELL_BYTES, self.spec, f"{self.name}, read into memory,")


class _Excel(_Sheet):
    """A sheet of an .xlsx file."""

    kind, formula, value = "", False, False

    def begin(self, element: str, given: Mapping[str, str]) -> None:
        if element == "row":
            self.row, self.column = int(given["r"]) - 1 if "r" in given else self.row + 1, -1
        elif element == "c":
            if "r" in given:
                self.row, self.column = _place(given["r"])
            else:
                self.column += 1
            self.kind, self.formula, self.value, self.text = given.get("t", "n"), False, False, None
        elif element == "f":
            self.formula = True
        elif element in ("v", "is"):
            self.value, self.text = True, []
        elif element == "mergeCell":
            first, _, last = given["ref"].partition(":")
            self.cells.merged.append((_place(first), _place(last or first)))

    def end(self, element: str) -> None:
        if element != "c":
            return
        text, self.text = "".join(self.text or ()), None
        if self.formula and not text and self.kind != "str":
            self.cells.uncomputed.append((self.row, self.column))
        elif self.value:
            self.reaches(self.row, self.column)
            if self.kind == "e":
                self.cells.errors[self.row, self.column] = text


class _OpenDocument(_Sheet):
    """The sheet of that name in an .ods file, all of them one by one if it is empty. One element may stand for many rows or cells."""

    rows, cells_alike, here = 1, 1, False

    def __init__(self, sheet: str, spec: DatasetSpec, name: str) -> None:
        super().__init__(spec, name)
        self.sheet, self.depth = sheet, 0
        self.given: Mapping[str, str] = {}

    def begin(self, element: str, given: Mapping[str, str]) -> None:
        own = (
            {_local(key): value for key, value in given.items() if not key.startswith("calcext:")}
            if element.startswith(("table", "covered"))
            else {}
        )
        if element == "table":
            self.depth += 1
            if self.depth == 1 and (not self.sheet or own.get("name") == self.sheet):
                self.here, self.cells, self.row = True, Cells(), -1
        elif self.here and element == "table-row":
            self.row, self.column, self.rows = self.row + 1, -1, int(own.get("number-rows-repeated", 1))
        elif self.here and element in ("table-cell", "covered-table-cell"):
            self.column, self.cells_alike, self.text = self.column + 1, int(own.get("number-columns-repeated", 1)), []
            self.given = {**own, "error": given.get("calcext:value-type", "")}  # beside the type of the value that it shows

    def end(self, element: str) -> None:
        if element == "table":
            self.depth -= 1
            self.here = self.here and self.depth > 0
        elif self.here and element == "table-row":
            self.row += self.rows - 1
        elif self.here and element in ("table-cell", "covered-table-cell"):
            self._cell("".join(self.text or ()))
            self.column, self.text = self.column + self.cells_alike - 1, None

    def _cell(self, text: str) -> None:
        first, last = (self.row, self.column), (self.row + self.rows - 1, self.column + self.cells_alike - 1)
        rows, columns = (int(self.given.get(f"number-{of}-spanned", 1)) for of in ("rows", "columns"))
        if rows > 1 or columns > 1:
            self.cells.merged.append((first, (self.row + rows - 1, self.column + columns - 1)))
        if "value-type" in self.given:
            self.reaches(*last)
            if self.sheet and self.given["error"] == "error":
                places = ((row, column) for row in range(first[0], last[0] + 1) for column in range(first[1], last[1] + 1))
                self.cells.errors.update(dict.fromkeys(places, text))
        elif "formula" in self.given:
            self.cells.uncomputed.append(first)


def _place(reference: str) -> Cell:
    """Row and column of a reference such as C7 or $C$7."""
    letters = reference.replace("$", "").rstrip("0123456789")
    column = 0
    for letter in letters.upper():
        column = 26 * column + ord(letter) - ord("A") + 1
    return int(reference.replace("$", "")[len(letters) :]) - 1, column - 1
