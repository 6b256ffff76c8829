"""Files of somebody else's folder or bucket: each is taken once, and again if it is written again.

A file is known by its name, size and time of change. It is taken once it has been still for a while, so that two writes within one tick
of the server's clock are both seen.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow.fs import FileSelector, FileType

from perennial.counted import counted
from perennial.errors import SourceRefused, SourceUnreachable
from perennial.sources.file_systems import file_system
from perennial.sources.interface import Look, Piece, Tally, said
from perennial.specs import UNFINISHED, FilesSource

_FILES, _BYTES = 50, 256 << 20  # of a piece at most
_LONGEST = 150  # signs of a name
_NAMED = 3  # files in a note
# How clients say that who asks may not: trying again will not help.
_NOT_ALLOWED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID", "AuthorizationFailure")


@dataclass(frozen=True)
class _Found:
    """A file of the listing."""

    path: str  # in the file system
    name: str  # below the folder, folders of days included
    size: int
    changed: float  # seconds since the epoch; 0 where the server does not tell

    @property
    def identity(self) -> str:
        return f"{self.size}|{self.changed!r}"


def pieces(look: Look) -> Iterator[Piece]:
    """The files that are new, in order of name, some at a time.

    Raises:
        SettingMissing: the address cannot be opened.
        SourceRefused: the folder is not there, or may not be read.
        SourceUnreachable: the server does not answer.
    """
    source = cast(FilesSource, look.dataset.source)
    system, _ = file_system(_filled(source, datetime.now(timezone.utc)), look.connection)
    with _sentences(look, source):
        found = _listing(system, look, source)
        known = _known(look.memory) if look.memory else {}
        wanted = _wanted(look, source, found, known)
        if source.days:
            listed = {file.name for file in found}
            known = {name: identity for name, identity in known.items() if name in listed}
        for some in _some(wanted):
            taken = [(file, path) for number, file in enumerate(some) if (path := _fetch(system, look, file, number))]
            if not taken:
                continue
            known |= {file.name: file.identity for file, _ in taken}
            memory = look.scratch / "memory.parquet"
            pq.write_table(pa.table({"name": list(known), "identity": list(known.values())}), memory)
            yield Piece({"files": len(known)}, _named(taken), Tally(), memory=memory)
            for _, path in taken:
                path.unlink()


def _listing(system: AbstractFileSystem, look: Look, source: FilesSource) -> list[_Found]:
    """All files that the pattern means, in order of name."""
    matches = _as_expression(source.pattern)
    now = datetime.now(timezone.utc)
    found: dict[str, _Found] = {}
    gone = []
    for back in range(source.days or 1):
        _, folder = file_system(_filled(source, now - timedelta(days=back)), look.connection)
        above = folder.removesuffix(_filled_end(source, now - timedelta(days=back))) if source.days else folder
        try:
            for path, size, changed in _below(system, folder):
                name = path.removeprefix(above).lstrip("/").encode("utf-8", "backslashreplace").decode()  # a disk's may be no UTF-8
                inside = path.removeprefix(folder).lstrip("/")
                hidden = any(part.startswith(".") for part in inside.split("/")) or inside.lower().endswith(UNFINISHED)
                if matches.fullmatch(inside) and not hidden:
                    found[name] = _Found(path, name, size, changed)
        except FileNotFoundError:
            gone.append(folder)
    if gone and not source.days:
        raise SourceRefused(
            f"The folder {source.url} of {look.dataset.name} is not there: correct its address in the spec, or give the user the "
            "right to see it."
        )
    return [found[name] for name in sorted(found)]


def _below(system: AbstractFileSystem, folder: str) -> Iterator[tuple[str, int, float]]:
    """Path, size and time of change of all files below a folder."""
    if isinstance(system, ArrowFSWrapper):  # in one listing, where fsspec would ask for each folder
        for info in system.fs.get_file_info(FileSelector(folder, recursive=True)):
            if info.type == FileType.File:
                yield info.path, info.size, (info.mtime_ns or 0) / 1e9
        return
    if not system.exists(folder):
        raise FileNotFoundError(folder)
    for path, info in system.find(folder, detail=True).items():
        yield path, int(info["size"] or 0), _seconds(info)


def _seconds(info: dict[str, Any]) -> float:
    """When a file was written, of what a file system tells: each kind calls it otherwise."""
    told = next(
        (info[key] for key in ("mtime", "LastModified", "last_modified", "modified", "updated", "modificationTime") if info.get(key)), 0
    )
    if isinstance(told, datetime):
        return told.timestamp()
    if isinstance(told, str):
        return datetime.fromisoformat(told).timestamp()
    return float(told) / (1000 if told > 1e11 else 1)  # HDFS counts milliseconds


def _wanted(look: Look, source: FilesSource, found: list[_Found], known: dict[str, str]) -> list[_Found]:
    """The files that are to be taken now; what is left is told."""
    now = datetime.now(timezone.utc).timestamp()
    wanted, large, again, written = [], [], [], 0
    for file in found:
        if known.get(file.name) == file.identity:
            continue
        if file.name in known and source.overwritten == "leave":
            again.append(file.name)
        elif file.size > look.dataset.max_batch_bytes:
            large.append(file.name)
        elif now - file.changed < source.settle_seconds:
            written += 1
        else:
            wanted.append(file)
    if large:
        look.notes.append(
            f"{counted(len(large), 'file is', 'files are')} larger than max_batch_bytes of the dataset and left there: {_names(large)}"
        )
    if again:
        look.notes.append(f"{counted(len(again), 'file was', 'files were')} written again and left, as the source says: {_names(again)}")
    if written:
        look.notes.append(f"{counted(written, 'file was', 'files were')} written a moment ago and left for the next look")
    return wanted


def _some(files: list[_Found]) -> Iterator[list[_Found]]:
    """Files in groups that are not too many and not too large."""
    group: list[_Found] = []
    for file in files:
        if group and (len(group) == _FILES or sum(other.size for other in group) + file.size > _BYTES):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


def _fetch(system: AbstractFileSystem, look: Look, file: _Found, number: int) -> Path | None:
    """A copy of a file as it was listed; None if it was written again or removed meanwhile: the next look finds it."""
    path = look.scratch / f"file-{number}"
    try:
        system.get_file(file.path, str(path))
        info = system.info(file.path)
    except FileNotFoundError:
        look.notes.append(f"{file.name} was removed while it was read")
        return None
    changed = _seconds({"mtime": info["mtime"]} if isinstance(system, ArrowFSWrapper) and info.get("mtime") else info)
    if (info["size"], round(changed, 3)) != (file.size, round(file.changed, 3)) or path.stat().st_size != file.size:
        look.notes.append(f"{file.name} was written again while it was read, and left for the next look")
        return None
    return path


def _named(taken: list[tuple[_Found, Path]]) -> tuple[tuple[str, Path], ...]:
    """The names under which files land."""
    return tuple((re.sub(r"[^\w.=-]+", "_", file.name.replace("/", "__"))[-_LONGEST:].lstrip("."), path) for file, path in taken)


def _known(path: Path) -> dict[str, str]:
    table = pq.read_table(path)
    return dict(zip(table["name"].to_pylist(), table["identity"].to_pylist(), strict=True))


def _as_expression(pattern: str) -> re.Pattern[str]:
    """A pattern of names as a regular expression.

    >>> bool(_as_expression("2026/**/*.csv").fullmatch("2026/03/01/a.csv")), bool(_as_expression("*.csv").fullmatch("03/a.csv"))
    (True, False)
    >>> [bool(_as_expression("part-[0-9].[!t]*").fullmatch(name)) for name in ("part-7.csv", "part-7.tmp", "part-[.csv")]
    [True, False, False]
    """
    said = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\])", pattern):
        if part.startswith("[") and part.endswith("]") and len(part) > 1:
            said += "(?!/)" + fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")  # the set as a shell reads it
        else:
            said += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
    return re.compile(said, re.DOTALL)


def _filled(source: FilesSource, day: datetime) -> str:
    return f"{day:{source.url}}" if source.days else source.url


def _filled_end(source: FilesSource, day: datetime) -> str:
    """The part of a filled address from its first code on: files of several days are told apart by it."""
    return f"{day:{source.url[source.url.index('%') :]}}".rstrip("/")


def _names(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


@contextmanager
def _sentences(look: Look, source: FilesSource) -> Iterator[None]:
    """What a file system says, as a sentence of ours."""
    try:
        yield
    except PermissionError as error:
        raise SourceRefused(
            f"The files of {look.dataset.name} in {source.url} may not be read: {said(error)}. Give the user the right."
        ) from None
    except OSError as error:
        if any(word in str(error) for word in _NOT_ALLOWED):
            raise SourceRefused(
                f"The server of {source.url} refuses the files of {look.dataset.name}: {said(error)}. Correct the connection, or "
                "give it the right."
            ) from None
        raise SourceUnreachable(
            f"The files of {look.dataset.name} in {source.url} cannot be read: {said(error)}. What was read is safe; check the server and "
            "the connection, and run it again."
        ) from error
