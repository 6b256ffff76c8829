"""Landed files unpacked: each file that lies in a gzip, zip or tar, as a stream of its bytes."""

from __future__ import annotations

import gzip
import posixpath
import re
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from perennial.data.readers.limits import refuse_too_large
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

TEXT = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".log")
BINARY = (".parquet", ".orc", ".avro", ".npz")  # know the types of their columns
SHEETS = (".xlsx", ".xlsm", ".ods")
_KNOWN = (*TEXT, *BINARY, *SHEETS)
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")  # of any number of files
EXTENSIONS = (*(form + packed for form in TEXT for packed in ("", ".gz", ".zip")), *BINARY, *SHEETS, *ARCHIVES)
IN_MEMORY = 64 << 20  # larger files lie on the disk while they are read
_CHUNK = 1 << 20
_ROTATED = re.compile(r"(?P<log>.*\.log)[.-][0-9]+(-[0-9]+)*(?P<packed>\.gz|\.zip|)")  # such as access.log.1, access.log-20260301.gz


def unknown_extension(file: str, name: str) -> str:
    """A clause that no reader knows a file's extension, of a file that is called `name`; empty if one does."""
    return (
        ""
        if unrotated(file.lower()).endswith(EXTENSIONS)
        else f"{name} has an extension that no reader knows: land one of {', '.join(EXTENSIONS)}"
    )


def unrotated(name: str) -> str:
    """The name of a log file before it was put aside with a number or a day.

    >>> unrotated("access.log.1"), unrotated("access.log-20260301.gz"), unrotated("day.csv")
    ('access.log', 'access.log.gz', 'day.csv')
    """
    rotated = _ROTATED.fullmatch(name)
    return rotated["log"] + rotated["packed"] if rotated else name


def form_of(name: str) -> str:
    """The extension by which a file is read once it is unpacked, such as `.csv`; empty for an archive and for what no reader knows."""
    name = unrotated(name.lower())
    lower = name.removesuffix(".gz").removesuffix(".zip") if name.endswith(EXTENSIONS) else ""
    return next((form for form in _KNOWN if lower.endswith(form)), "")


def form_inside(member: str) -> str:
    """The extension by which a file in an archive is read; empty for one that is packed once more and for what no reader knows."""
    return "" if member.lower().endswith((".gz", ".zip")) else form_of(member)


def files_in(path: Path, archive: Archive | None, spec: DatasetSpec, name: str) -> Generator[tuple[str, str, IO[bytes]]]:
    """Each file of a landed file: the file itself, or those of an archive that are no hidden ones, in order of name.

    Args:
        path: the landed file.
        archive: what `Archive.opened` gives of it.
        spec: the dataset, which has a limit of size.
        name: what the landed file is called in sentences.

    Yields:
        What it is called in sentences, the extension by which it is read, and its bytes.

    Raises:
        BatchRefused: the name promises one file in a zip and there are more or none; or an archive has none, or one that no reader knows.
    """
    if archive is not None:
        yield from _members(archive, spec, name)
        return
    with _single(path, name) as file:
        yield name, form_of(path.name), file


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


class Archive:
    """A zip or tar of any number of files."""

    def __init__(self, packed: zipfile.ZipFile | tarfile.TarFile) -> None:
        self.packed = packed

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Archive | None]:
        """The archive that a file is by its name; None if its name says that it is none."""
        lower = path.name.lower()
        if form_of(lower) or not lower.endswith(ARCHIVES):
            yield None
            return
        with zipfile.ZipFile(path) if lower.endswith(".zip") else tarfile.open(path) as packed:
            yield cls(packed)

    @cached_property
    def members(self) -> list[zipfile.ZipInfo | tarfile.TarInfo]:
        """What it holds besides folders, in its own order."""
        if isinstance(self.packed, zipfile.ZipFile):
            return [member for member in self.packed.infolist() if not _name_of(member).endswith("/")]
        return [member for member in self.packed.getmembers() if not member.isdir()]

    @cached_property
    def names(self) -> list[str]:
        """Its files and links that are not hidden, in order of name."""
        return sorted(n for n in map(_name_of, self.members) if not any(_is_hidden(part) for part in PurePosixPath(n).parts))

    def checked(self, name: str) -> list[str]:
        """Its files. Raises BatchRefused where one is a link, two have one name, or a name cannot be read."""
        if unread := [n for n in self.names if not _is_unicode(n)]:
            raise BatchRefused(
                f"{name} holds {_first_names(unread)}, a name that is not UTF-8: call its files and folders by names in UTF-8, which "
                "letters, digits and - are in any case."
            )
        links = {_name_of(member) for member in self.members if isinstance(member, tarfile.TarInfo) and not member.isfile()}
        if linked := [n for n in self.names if n in links]:
            raise BatchRefused(f"{name} holds {_first_names(linked)}, which is a link and no file: put the file itself into it.")
        if twice := [n for n, count in Counter(map(posixpath.normpath, self.names)).items() if count > 1]:
            raise BatchRefused(f"{name} holds several files of the name {_first_names(twice)}: put each into it once.")
        return self.names

    def open(self, member: str) -> IO[bytes]:
        """The bytes of one of its files."""
        known: Any = self._by_name[member]
        stream = self.packed.open(known) if isinstance(self.packed, zipfile.ZipFile) else self.packed.extractfile(known)
        assert stream is not None
        return stream

    def in_its_order(self, members: Iterable[str]) -> list[str]:
        """Files as they come in it, which is the order in which a packed tar is read quickly."""
        wanted = set(members)
        return [name for name in map(_name_of, self.members) if name in wanted]

    @cached_property
    def _by_name(self) -> dict[str, zipfile.ZipInfo | tarfile.TarInfo]:
        return {_name_of(member): member for member in self.members}


def _name_of(member: zipfile.ZipInfo | tarfile.TarInfo) -> str:
    """Its name with the slashes of every archive: some programs of Windows write others into a zip."""
    return member.filename.replace("\\", "/") if isinstance(member, zipfile.ZipInfo) else member.name


def _members(archive: Archive, spec: DatasetSpec, name: str) -> Iterator[tuple[str, str, IO[bytes]]]:
    names = archive.checked(name)
    unknown = [n for n in names if not form_inside(n)]
    if not names or unknown:
        what = f"{_first_names(unknown)}, which no reader knows" if unknown else "no files"
        raise BatchRefused(f"{name} holds {what}: put files into it that end in one of {', '.join(_KNOWN)}.")
    size = 0
    for member in names:
        with archive.open(member) as packed, copied(packed, spec, name, size) as file:
            size += file.seek(0, 2)
            file.seek(0)
            yield f"{name}: {member}", form_inside(member), file


def _is_hidden(part: str) -> bool:
    return part != ".." and part.startswith((".", "__MACOSX"))


def _first_names(names: Iterable[str]) -> str:
    listed = list(names)
    told = f"{', '.join(listed[:3])}{', ...' if len(listed) > 3 else ''}"
    return told.encode(errors="replace").decode()  # a tar's names may be bytes of any kind


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
