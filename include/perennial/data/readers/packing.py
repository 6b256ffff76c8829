"""Landed files unpacked: each file that lies in a gzip, zip or tar, as a stream of its bytes."""

from __future__ import annotations

import gzip
import tarfile
import tempfile
import zipfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from perennial.data.readers.limits import refuse_too_large
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

TEXT = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
BINARY = (".parquet", ".orc", ".avro", ".npz")  # know the types of their columns
SHEETS = (".xlsx", ".xlsm", ".ods")
_KNOWN = (*TEXT, *BINARY, *SHEETS)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")  # of any number of files
EXTENSIONS = (*(form + packed for form in TEXT for packed in ("", ".gz", ".zip")), *BINARY, *SHEETS, *ARCHIVES)
IN_MEMORY = 64 << 20  # larger files lie on the disk while they are read
_CHUNK = 1 << 20


def unknown_extension(file: str, name: str) -> str:
    """A clause that no reader knows a file's extension, of a file that is called `name`; empty if one does."""
    return "" if file.lower().endswith(EXTENSIONS) else f"{name} has an extension that no reader knows: land one of {', '.join(EXTENSIONS)}"


def form_of(name: str) -> str:
    """The extension by which a file is read once it is unpacked, such as `.csv`; empty for an archive and for what no reader knows."""
    lower = name.lower().removesuffix(".gz").removesuffix(".zip") if name.lower().endswith(EXTENSIONS) else ""
    return next((form for form in _KNOWN if lower.endswith(form)), "")


def files_in(path: Path, spec: DatasetSpec, name: str) -> Generator[tuple[str, str, IO[bytes]]]:
    """Each file of a landed file: the file itself, or those of an archive that are no hidden ones, in order of name.

    Yields:
        What it is called in sentences, the extension by which it is read, and its bytes.

    Raises:
        BatchRefused: the name promises one file in a zip and there are more or none; or an archive has none, or one that no reader knows.
    """
    lower = path.name.lower()
    if form := form_of(lower):
        with _single(path, name) as file:
            yield name, form, file
    else:
        with zipfile.ZipFile(path) if lower.endswith(".zip") else tarfile.open(path) as archive:
            yield from _members(archive, spec, name)


@contextmanager
def copied(stream: IO[bytes], spec: DatasetSpec, name: str, size: int = 0) -> Iterator[IO[bytes]]:
    """The whole stream in a temporary file, up to the dataset's size limit, of which `size` bytes are used up."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as target:
        for chunk in chunks(stream):
            size += len(chunk)
            refuse_too_large(size, spec, f"{name}, unpacked,")
            target.write(chunk)
        target.seek(0)
        yield target


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """A stream piece by piece."""
    while chunk := stream.read(_CHUNK):
        yield chunk


@contextmanager
def _single(path: Path, name: str) -> Iterator[IO[bytes]]:
    lower = path.name.lower()
    if lower.endswith(".gz"):
        with gzip.open(path) as file:
            yield file  # type: ignore[misc]
    elif lower.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            if len(members) != 1:
                raise BatchRefused(
                    f"{name} holds {len(members)} files ({_first_names(m.filename for m in members)}): "
                    "put exactly one into a zip. A zip of several is called .zip alone, and its files by their own extensions."
                )
            with archive.open(members[0]) as member:
                yield member
    else:
        with open(path, "rb") as file:
            yield file


def _members(archive: zipfile.ZipFile | tarfile.TarFile, spec: DatasetSpec, name: str) -> Iterator[tuple[str, str, IO[bytes]]]:
    if isinstance(archive, zipfile.ZipFile):
        names, links = [m.filename for m in archive.infolist() if not m.is_dir()], list[str]()
    else:
        members = [m for m in archive.getmembers() if not m.isdir()]
        names, links = [m.name for m in members], [m.name for m in members if not m.isfile()]
    names = sorted(n for n in names if not any(_is_hidden(part) for part in PurePosixPath(n).parts))
    if linked := [n for n in names if n in links]:
        raise BatchRefused(f"{name} holds {_first_names(linked)}, which is a link and no file: put the file itself into it.")
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise BatchRefused(f"{name} holds several files of the name {_first_names(twice)}: put each into it once.")
    unknown = [n for n in names if not form_of(n) or n.lower().endswith((".gz", ".zip"))]
    if not names or unknown:
        what = f"{_first_names(unknown)}, which no reader knows" if unknown else "no files"
        raise BatchRefused(f"{name} holds {what}: put files into it that end in one of {', '.join(_KNOWN)}.")
    size = 0
    for member in names:
        packed = archive.open(member) if isinstance(archive, zipfile.ZipFile) else archive.extractfile(member)
        assert packed is not None
        with packed, copied(packed, spec, name, size) as file:
            size += file.seek(0, 2)
            file.seek(0)
            yield f"{name}: {member}", form_of(member), file


def _is_hidden(part: str) -> bool:
    return part != ".." and part.startswith((".", "__MACOSX"))


def _first_names(names: Iterable[str]) -> str:
    listed = list(names)
    return f"{', '.join(listed[:3])}{', ...' if len(listed) > 3 else ''}"
