r"""Readers: a landed file becomes a table of exactly the dataset's columns and types, or a sentence that says why not.

>>> import pathlib
>>> from perennial.data.readers import read_batch
>>> from perennial.specs import Column, DatasetSpec
>>> columns = [Column(name="ride", type="string"), Column(name="start", type="timestamp"), Column(name="km", type="float", nullable=True)]
>>> rides = DatasetSpec(name="rides", title="Rides", owner="fleet", columns=columns, key=["ride"], event_time="start")
>>> file = pathlib.Path("monday.csv")
>>> _ = file.write_text("ride,start,km\nr1,2026-03-02 08:15,4.2\nr2,2026-03-02 08:20,\n")
>>> read_batch(file, rides).to_pylist()[1]
{'ride': 'r2', 'start': datetime.datetime(2026, 3, 2, 8, 20), 'km': None}
"""

from __future__ import annotations

import codecs
import gzip
import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from perennial.data.wall_times import wall_times
from perennial.encoding import EXACT
from perennial.errors import BatchRefused
from perennial.specs import ColumnType, DatasetSpec

CSV, JSON_LINES, PARQUET = (".csv", ".csv.gz", ".csv.zip"), (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz"), (".parquet",)
EXTENSIONS = (*CSV, *JSON_LINES, *PARQUET)
_TYPES: dict[ColumnType, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us"),
    "bool": pa.bool_(),
}
_MEANT = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "timestamp": "a time such as 2013-01-31 06:15:00",
    "bool": "true or false",
}
_CHUNK = 1 << 20
_IN_MEMORY = 64 << 20


def schema(spec: DatasetSpec) -> pa.Schema:
    """The dataset's columns as Arrow types."""
    return pa.schema([(column.name, _TYPES[column.type]) for column in spec.columns])


def read_batch(path: Path, spec: DatasetSpec, name: str = "") -> pa.Table:
    """Read a landed file.

    Args:
        path: the file; its extension says how it is read.
        spec: what it must hold.
        name: what the file is called in sentences; the name of `path` if empty.

    Returns:
        At least one row; exactly the columns of the spec, in its order, with its types. An empty field is null; so is NaN; infinity is
        refused.
            Times are wall times of the dataset's zone (`perennial.clock`).

    Raises:
        BatchRefused: it cannot be read, is too large, or has other columns or types.
    """
    name = name or path.name
    lower = path.name.lower()
    refuse_too_large(path.stat().st_size, spec, name)
    if not lower.endswith(EXTENSIONS):
        raise BatchRefused(f"{name} has an extension that no reader knows: land one of {', '.join(EXTENSIONS)}.")
    if not path.stat().st_size:
        raise BatchRefused(f"{name} is empty: land it again with its rows.")
    with _sentences(name):
        if lower.endswith(PARQUET):
            rows = _parquet(path, spec, name)
        else:
            with _unpacked(path, spec, name) as file:
                rows = _csv(file) if lower.endswith(CSV) else _json_lines(file, spec)
    _refuse_other_columns(rows.column_names, spec, name)
    if not rows.num_rows:
        raise BatchRefused(f"{name} has a header but no rows: land it again with its rows.")
    return pa.table([_typed(rows[column.name], column.name, spec, name) for column in spec.columns], schema=schema(spec))


def refuse_too_large(size: int, spec: DatasetSpec, name: str) -> None:
    """Raises BatchRefused if a file of `size` bytes, packed or unpacked, is beyond the dataset's limit."""
    if size > spec.max_batch_bytes:
        raise BatchRefused(
            f"{name} is larger than {_megabytes(spec.max_batch_bytes)}, the most that {spec.name} takes in one file: "
            "split it by time into smaller files, or raise max_batch_bytes in the dataset's spec."
        )


def refuse_nulls(rows: pa.Table, spec: DatasetSpec) -> None:
    """Raises BatchRefused if a required column has nulls: whatever the suite says, the table must not contain them."""
    for column in spec.columns:
        nulls = rows[column.name].null_count
        if nulls and not column.nullable:
            raise BatchRefused(
                f"{column.name} is null in {nulls} of {rows.num_rows} rows and the spec of {spec.name} does not allow that: "
                "fill it, or make the column nullable."
            )


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise BatchRefused(f"{name} is cut short or damaged ({error}): land it again.") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk, not the file's content
            raise
        raise BatchRefused(
            f"{name} cannot be read: {str(error).splitlines()[0].rstrip('.')}. Land it again, whole and in the form its extension says."
        ) from None


@contextmanager
def _unpacked(path: Path, spec: DatasetSpec, name: str) -> Iterator[IO[bytes]]:
    """The file's text as UTF-8, decompressed up to the dataset's size limit."""
    with _opened(path, name) as packed, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as text:
        decoder, line, size = codecs.getincrementaldecoder("utf-8")(), 1, 0
        while chunk := packed.read(_CHUNK):
            size += len(chunk)
            refuse_too_large(size, spec, f"{name}, unpacked,")
            line = _refuse_other_encodings(decoder, chunk, line, name)
            text.write(chunk)
        _refuse_other_encodings(decoder, b"", line, name)
        if not size:
            raise BatchRefused(f"{name} is empty: land it again with its rows.")
        text.seek(0)
        yield text


@contextmanager
def _opened(path: Path, name: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    lower = path.name.lower()
    if lower.endswith(".gz"):
        with gzip.open(path) as file:
            yield file
    elif lower.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if len(members) != 1:
                raise BatchRefused(
                    f"{name} holds {len(members)} files "
                    f"({', '.join(m.filename for m in members[:3])}{', ...' if len(members) > 3 else ''}): "
                    "put exactly one into a zip."
                )
            with archive.open(members[0]) as member:
                yield member
    else:
        with open(path, "rb") as file:
            yield file


def _refuse_other_encodings(decoder: codecs.IncrementalDecoder, chunk: bytes, line: int, name: str) -> int:
    """Returns the line at which the next chunk begins."""
    wrong: tuple[int, int] | None = None
    undecoded = decoder.getstate()[0]
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        wrong = (max(0, error.start - len(undecoded)), error.object[error.start])
    if not wrong and (zero := chunk.find(0)) >= 0:  # UTF-16 without a mark decodes, full of zeros
        wrong = (zero, 0)
    if wrong:
        where, byte = wrong
        raise BatchRefused(
            f"{name} is not UTF-8: line {line + chunk.count(10, 0, where)} has the byte 0x{byte:02X}. Write it as UTF-8 and land it again."
        )
    return line + chunk.count(10)


def _csv(file: IO[bytes]) -> pa.Table:
    """All columns as text, so that a value of the wrong type can be named with its row."""
    header = _csv_header(file)
    return pa.csv.read_csv(
        file,
        read_options=pa.csv.ReadOptions(block_size=8 << 20),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def _csv_header(file: IO[bytes]) -> list[str]:
    import csv
    import io

    first = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    header = next(csv.reader(first), [])
    first.detach()
    file.seek(0)
    return header


def _json_lines(file: IO[bytes], spec: DatasetSpec) -> pa.Table:
    """Times and texts as they are written: Arrow would take every text that looks like a time for one, and an offset off it."""
    texts = [column.name for column in spec.columns if column.type in ("timestamp", "string")]
    rows = _json_columns(file, pa.schema([(name, pa.string()) for name in texts]))
    empty = [name for name in texts if rows[name].null_count == rows.num_rows]
    if empty:  # declared, and perhaps in no line
        written = _json_columns(file, None).column_names
        rows = rows.drop_columns([name for name in empty if name not in written])
    return rows


def _json_columns(file: IO[bytes], explicit: pa.Schema | None) -> pa.Table:
    size = file.seek(0, 2)
    file.seek(0)
    try:
        # one block: rows are then counted from the beginning of the file
        return pa.json.read_json(
            file,
            read_options=pa.json.ReadOptions(block_size=min(size + 1, (1 << 31) - 1)),
            parse_options=pa.json.ParseOptions(newlines_in_values=False, explicit_schema=explicit),
        )
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


def _parquet(path: Path, spec: DatasetSpec, name: str) -> pa.Table:
    with pa.parquet.ParquetFile(path) as file:
        meta = file.metadata
        unpacked = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        refuse_too_large(
            max(unpacked, meta.num_rows * meta.num_columns), spec, f"{name}, unpacked,"
        )  # encodings can hide many rows in few bytes
        return file.read()


def _refuse_other_columns(names: list[str], spec: DatasetSpec, name: str) -> None:
    wanted = [column.name for column in spec.columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    missing, unexpected = [n for n in wanted if n not in names], [n for n in names if n not in wanted]
    said = [
        f"{what} {', '.join(columns)}"
        for what, columns in (("lacks the columns", missing), ("has unexpected columns", unexpected), ("has twice the columns", twice))
        if columns
    ]
    if said:
        raise BatchRefused(
            f"{name} {' and '.join(said)}: correct the file, or the columns in the spec of {spec.name} if the source has really changed."
        )


def _typed(values: pa.ChunkedArray, column: str, spec: DatasetSpec, name: str) -> pa.ChunkedArray:
    """The column in the type of the spec.

    Raises:
        BatchRefused: names the column and the first row (the first row of values is 1) that has another type.
    """
    kind, given = spec.column(column).type, values.type
    if pa.types.is_dictionary(given):
        values, given = values.cast(given.value_type), given.value_type
    text = pa.types.is_string(given) or pa.types.is_large_string(given)
    allowed: dict[ColumnType, Callable[[pa.DataType], bool]] = {
        "int": lambda t: pa.types.is_integer(t) or pa.types.is_floating(t),  # a nullable whole number often comes as 2.0
        "float": lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_decimal(t),
        "string": lambda t: False,
        "timestamp": lambda t: pa.types.is_date(t) or pa.types.is_timestamp(t),
        "bool": pa.types.is_boolean,
    }
    if not (text or pa.types.is_null(given) or allowed[kind](given)):
        raise BatchRefused(f"{name}: {column} has the type {given}, not {_MEANT[kind]}. Correct the file and land it again.")
    if pa.types.is_floating(given):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, given), values)
    try:
        cast = _cast(values, kind, spec.time_zone)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        _refuse_row(values, _first_wrong(values, kind, spec.time_zone), column, f"which is not {_MEANT[kind]}", name)
    if kind == "float":
        cast = pc.if_else(pc.is_nan(cast), pa.scalar(None, pa.float64()), cast)
        _refuse_where(pc.is_inf(cast), values, column, "which is not finite", name)
    elif kind == "int" and pa.types.is_floating(given):
        inexact = pc.greater_equal(pc.abs(values.cast(pa.float64())), float(EXACT))  # 2^53 itself may have been its neighbour
        _refuse_where(inexact, values, column, "from 2^53 on, where a number with a point does not tell whole numbers apart", name)
    return cast


def _refuse_where(wrong: pa.ChunkedArray, values: pa.ChunkedArray, column: str, why: str, name: str) -> None:
    if pc.any(wrong).as_py():
        _refuse_row(values, pc.index(wrong, True).as_py(), column, why, name)


def _refuse_row(values: pa.ChunkedArray, row: int, column: str, why: str, name: str) -> NoReturn:
    raise BatchRefused(
        f"{name}: {column} is {str(values[row].as_py())[:60]!r} in row {row + 1}, {why}. Correct the file and land it again."
    ) from None


def _cast(values: pa.ChunkedArray, kind: ColumnType, time_zone: str) -> pa.ChunkedArray:
    if kind == "timestamp":
        return wall_times(values, time_zone)
    # a whole number of many digits is the nearest float, as in CSV and in a request
    return pc.cast(values, _TYPES[kind], safe=not (kind == "float" and pa.types.is_integer(values.type)))


def _first_wrong(values: pa.ChunkedArray, kind: ColumnType, time_zone: str) -> int:
    """Index of the first value that cannot be cast, by halving."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(values.slice(low, middle - low), kind, time_zone)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
        else:
            low = middle
    return low


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB" if size >= 1 << 20 else f"{size:,} bytes"
