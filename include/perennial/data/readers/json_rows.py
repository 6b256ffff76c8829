"""JSON lines, and JSON files whose rows lie in an array: values as they are written, nested ones by the names of their path."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, Any, NoReturn

import pyarrow as pa
import pyarrow.json

from perennial.data.readers.packing import IN_MEMORY
from perennial.errors import BatchRefused

Path = tuple[str, ...]  # names of nested fields, the outermost first


def read_json_lines(file: IO[bytes], texts: Mapping[Path, pa.DataType]) -> pa.Table:
    """The rows of a UTF-8 file that has an object in each line.

    Args:
        file: at its beginning.
        texts: fields that stay as they are written, by path, texts and lists of texts: Arrow would take every text that looks like a
            time for one, and an offset off it.
    """
    rows = _columns(file, _nested(texts))
    empty = [path[0] for path in texts if len(path) == 1 and rows[path[0]].null_count == rows.num_rows]
    if empty:  # declared, and perhaps in no line
        written = _columns(file, None).column_names
        rows = rows.drop_columns([name for name in empty if name not in written])
    return rows


def read_json_lines_as_they_are(file: IO[bytes], texts: Mapping[Path, pa.DataType] = MappingProxyType({})) -> pa.Table:
    """The same where it is open which fields are texts: besides `texts` those that Arrow would take for times."""
    inferred = _columns(file, None)
    fields = list(leaves(inferred.schema))
    times = {path: pa.string() for path, kind in fields if pa.types.is_timestamp(kind)}
    times |= {path: pa.list_(pa.string()) for path, kind in fields if pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type)}
    rows = _columns(file, _nested({**times, **{path: texts[path] for path, _ in fields if path in texts and path not in times}}))
    return rows.select(inferred.column_names)


def leaves(fields: Iterator[pa.Field] | pa.Schema, above: Path = ()) -> Iterator[tuple[Path, pa.DataType]]:
    """The fields that hold values, by their paths."""
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from leaves(iter(field.type), (*above, field.name))
        else:
            yield (*above, field.name), field.type


@contextmanager
def as_lines(file: IO[bytes], records: str, name: str, dataset: str) -> Iterator[IO[bytes]]:
    """A JSON document's rows as JSON lines. A file of JSON lines is one already.

    Raises:
        BatchRefused: it has no array of rows where they should be; the sentence says where there is one.
    """
    beginning = file.read(1 << 16).decode("utf-8-sig", "ignore").lstrip()
    file.seek(0)
    if not records and _is_object_in_a_line(beginning):
        yield file
        return
    try:
        document = json.loads(file.read().decode("utf-8-sig"), object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_number)
    except ValueError as error:
        raise pa.ArrowInvalid(f"it is no JSON ({error})") from None
    rows = document
    for step in filter(None, records.split(".")):
        rows = rows.get(step) if isinstance(rows, dict) else None
    if not isinstance(rows, list):
        places = [".".join(path) for path in arrays_in(document)]
        line = f'files=FileForm(records="{places[0]}")' if len(places) == 1 else ""
        raise BatchRefused(
            f"{name} has no array of rows {f'at {records}' if records else 'of its own'}"
            + (f", but at {', '.join(places[:3])}: " if places else ": ")
            + (f"write {line} into the spec of {dataset}." if line else "say its path as files=FileForm(records=...) in the spec.")
        )
    wrong = next((number for number, row in enumerate(rows, start=1) if not isinstance(row, dict)), None)
    if wrong:
        raise pa.ArrowInvalid(f"row {wrong} is no JSON object")
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as lines:
        for number, row in enumerate(rows, start=1):
            try:
                lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            except UnicodeEncodeError as error:
                raise pa.ArrowInvalid(
                    f"row {number} has half of a surrogate pair, which is no text ({error.object[error.start]!a})"
                ) from None
        lines.seek(0)
        yield lines


def arrays_in(document: Any, above: Path = ()) -> list[Path]:
    """Paths of the arrays of objects in a JSON document, outside of such arrays."""
    if isinstance(document, list):
        return [above] if document and all(isinstance(row, dict) for row in document) else []
    if isinstance(document, dict):
        return [path for name, value in document.items() for path in arrays_in(value, (*above, name))]
    return []


def _is_object_in_a_line(text: str) -> bool:
    """Whether the first of several lines is an object of its own."""
    line, _, more = text.partition("\n")
    try:
        return isinstance(json.loads(line), dict) and bool(more.strip())
    except ValueError:
        return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"an object names {next(n for n in row if [name for name, _ in pairs].count(n) > 1)} twice")
    return row


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text} is not finite")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _nested(paths: Mapping[Path, pa.DataType]) -> pa.Schema:
    """A schema of these types at the ends of paths."""
    tree: dict[str, Any] = {}
    for path, kind in paths.items():
        place = tree
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = kind

    def fields(of: dict[str, Any]) -> list[pa.Field]:
        return [pa.field(name, pa.struct(fields(below)) if isinstance(below, dict) else below) for name, below in of.items()]

    return pa.schema(fields(tree))


def _columns(file: IO[bytes], explicit: pa.Schema | None) -> pa.Table:
    size = file.seek(0, 2)
    file.seek(0)
    for number, line in enumerate(file, start=1):
        if not (start := line.lstrip(b"\xef\xbb\xbf \t\r\n")).startswith(b"{") and start:
            _refuse_no_object(line, number)  # Arrow crashes on a line that is null
    file.seek(0)
    try:
        # one block: rows are then counted from the beginning of the file
        rows = pa.json.read_json(
            file,
            read_options=pa.json.ReadOptions(block_size=min(size + 1, (1 << 31) - 1)),
            parse_options=pa.json.ParseOptions(newlines_in_values=False, explicit_schema=explicit),
        )
        rows.validate()  # Arrow makes lists of nulls that are shorter than they say
        return rows
    except pa.ArrowInvalid:
        file.seek(0)
        for number, line in enumerate(file, start=1):
            if line.strip():
                _refuse_no_object(line, number)
        raise


def _refuse_no_object(line: bytes, number: int) -> None:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise pa.ArrowInvalid(f"line {number} is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise pa.ArrowInvalid(f"line {number} is no JSON object")
