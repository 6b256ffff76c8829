"""A landed file's columns as they are written: under its own names, texts as texts."""

from __future__ import annotations

import errno
import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa

from perennial.clock import EPOCHS
from perennial.data.readers.avro import read_avro
from perennial.data.readers.columnar import read_orc, read_parquet
from perennial.data.readers.delimited import read_delimited
from perennial.data.readers.encodings import as_utf8
from perennial.data.readers.json_rows import as_lines, read_json_lines, read_json_lines_as_they_are
from perennial.data.readers.limits import refuse_too_large
from perennial.data.readers.lines import read_lines
from perennial.data.readers.npz import read_npz
from perennial.data.readers.packing import SHEETS, Archive, copied, files_in, unknown_extension
from perennial.data.readers.picture_files import holds_pictures, read_pictures
from perennial.data.readers.sheets import read_sheet
from perennial.data.readers.values import type_of
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

_TYPED: dict[str, Callable[[IO[bytes], DatasetSpec, str], pa.Table]] = {
    ".parquet": read_parquet,
    ".orc": read_orc,
    ".avro": read_avro,
    ".npz": read_npz,
}


def as_written(path: Path, spec: DatasetSpec, name: str, remarks: list[str]) -> Iterator[tuple[str, pa.Table]]:
    """Each file of a landed file: what it is called, and its columns. A JSON row's texts are told from times by the spec's columns, if any.

    Raises:
        BatchRefused: it is too large, empty, cut, of another encoding, or cannot be read at all.
    """
    refuse_too_large(path.stat().st_size, spec, name)
    if why := unknown_extension(path.name, name):
        raise BatchRefused(f"{why}.")
    if not path.stat().st_size:
        raise BatchRefused(f"{name} is empty: land it again with its rows.")
    with sentences(name), Archive.opened(path) as archive:
        if archive is not None and holds_pictures(archive):
            yield name, read_pictures(archive, spec, name, remarks, lambda table, form, file: _columns(table, form, file, spec, remarks))
            return
        for member, form, file in files_in(path, archive, spec, name):
            yield member, _columns(member, form, file, spec, remarks)


@contextmanager
def sentences(name: str) -> Iterator[None]:
    """What Arrow and the unpackers say of a file's content, as a refusal."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError, UnicodeError) as error:
        raise BatchRefused(f"{name} is cut short or damaged ({error}): land it again.") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno == errno.EINVAL:  # a place before its beginning
            raise BatchRefused(f"{name} is cut short or damaged (it says that a part lies where none can be): land it again.") from None
        if isinstance(error, OSError) and error.errno:  # the disk, not the file's content
            raise
        raise BatchRefused(
            f"{name} cannot be read: {str(error).splitlines()[0].rstrip('.')}. Land it again, whole and in the form its extension says."
        ) from None


def _columns(name: str, form: str, file: IO[bytes], spec: DatasetSpec, remarks: list[str]) -> pa.Table:
    with sentences(name):  # the file's own, where it lies in an archive
        return _read(name, form, file, spec, remarks)


def _read(name: str, form: str, file: IO[bytes], spec: DatasetSpec, remarks: list[str]) -> pa.Table:
    if form in _TYPED:
        return _TYPED[form](file, spec, name)
    if form in SHEETS:
        with copied(file, spec, name) as book:
            return read_sheet(book, spec, name, remarks)
    with as_utf8(file, spec, name) as text:
        if form == ".log":
            return read_lines(text, spec, name, remarks)
        if form in (".csv", ".tsv"):
            return read_delimited(text, spec.files, name, remarks)
        if form != ".json":
            return _json_rows(text, spec)
        with as_lines(text, spec.files.records, name, spec.name) as lines:
            return _json_rows(lines, spec)


def _json_rows(lines: IO[bytes], spec: DatasetSpec) -> pa.Table:
    times = () if any(form in EPOCHS for form in spec.files.times) else ("timestamp",)
    texts = {
        _path(column.name, spec): type_of(column) if column.of else pa.string()
        for column in spec.columns
        if column.type in ("string", "text", "image", *times) or column.of == "string"
    }
    if not spec.columns or not times or spec.files.extra == "keep":  # what is kept is not made a time either
        return read_json_lines_as_they_are(lines, texts)
    return read_json_lines(lines, texts)


def _path(column: str, spec: DatasetSpec) -> tuple[str, ...]:
    """Where a JSON row has a column."""
    return tuple(spec.files.fields[column].split(".")) if column in spec.files.fields else (column,)
