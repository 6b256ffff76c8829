"""Archives of pictures: a row for each picture, or for each row of a manifest that names its picture's file.

Without a manifest a row has three columns: `image`, the bytes; `folder`, the name of the folder that the picture lies in; and `file`, its
place in the archive. `FileForm.fields` says what the dataset calls them: `fields={"digit": "image", "label": "folder"}`.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import IO

import pyarrow as pa

from perennial.counted import counted
from perennial.data.readers.columns import column_called, quoted
from perennial.data.readers.limits import refuse_too_large
from perennial.data.readers.packing import Archive, copied, form_inside
from perennial.data.readers.values import is_text
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

PICTURES = (".png", ".jpg", ".jpeg")
IMAGE, FOLDER, FILE = "image", "folder", "file"
_AT_ONCE = 256  # pictures in a chunk of a column
Reading = Callable[[str, str, IO[bytes]], pa.Table]  # of a table's name, form and bytes


def holds_pictures(archive: Archive) -> bool:
    """Whether an archive has pictures in it. Raises what a damaged archive raises."""
    return any(map(_is_picture, archive.names))


def read_pictures(archive: Archive, spec: DatasetSpec, name: str, remarks: list[str], read: Reading) -> pa.Table:
    """The rows of an archive of pictures that unpacks to no more than the dataset's limit.

    Args:
        archive: it has pictures.
        spec: the dataset; without columns all that there is becomes columns.
        name: what it is called in sentences.
        remarks: gets a line for pictures that no row names.
        read: reads the manifest.

    Raises:
        BatchRefused: it holds other files, several manifests, or not the pictures that its manifest names.
    """
    members = archive.checked(name)
    pictures = [member for member in members if _is_picture(member)]
    tables = [member for member in members if not _is_picture(member)]
    unknown = [member for member in tables if not form_inside(member)]
    if unknown or len(tables) > 1:
        what = f"{unknown[0]}, which no reader knows" if unknown else f"several tables ({', '.join(tables[:3])})"
        raise BatchRefused(f"{name} holds pictures and {what}: put pictures into it, and at most one table that names them.")
    if not tables:
        return _by_folder(archive, pictures, spec, name)
    with archive.open(tables[0]) as packed, copied(packed, spec, name) as file:
        rows = read(f"{name}: {tables[0]}", form_inside(tables[0]), file)
    return _by_manifest(archive, pictures, rows, tables[0], spec, name, remarks)


def _is_picture(member: str) -> bool:
    return member.lower().endswith(PICTURES)


def _by_folder(archive: Archive, pictures: Sequence[str], spec: DatasetSpec, name: str) -> pa.Table:
    columns = {
        IMAGE: _contents(archive, pictures, spec, name),
        FOLDER: pa.chunked_array([pa.array([PurePosixPath(member).parent.name or None for member in pictures], pa.string())]),
        FILE: pa.chunked_array([pa.array(list(pictures), pa.string())]),
    }
    return pa.table({called: values for called, values in columns.items() if not spec.columns or column_called(called, spec)})


def _by_manifest(
    archive: Archive, pictures: Sequence[str], rows: pa.Table, manifest: str, spec: DatasetSpec, name: str, remarks: list[str]
) -> pa.Table:
    """The manifest's rows, with the pictures themselves where they are named."""
    folder = posixpath.dirname(manifest)
    known = {posixpath.relpath(member, folder or "."): member for member in pictures} | {member: member for member in pictures}
    named: set[str] = set()
    for place, called in enumerate(rows.column_names):
        column = column_called(called, spec)
        if not is_text(rows.column(place).type) or (spec.columns and (column is None or column.type != "image")):
            continue
        paths = [path and posixpath.normpath(path.strip().replace("\\", "/")) for path in rows.column(place).to_pylist()]
        lost = [row for row, path in enumerate(paths) if path and path not in known]
        if not spec.columns and (lost or not any(paths)):
            continue  # texts of another meaning
        if lost:
            more = f", and so in {counted(len(lost) - 1, 'more row')}" if len(lost) > 1 else ""
            raise BatchRefused(
                f"{name}: {quoted(called)} is {paths[lost[0]]!r} in row {lost[0] + 1} of {manifest}, and no such picture lies in the "
                f"archive{more}. Put it in and land it again."
            )
        members = [known[path] if path else None for path in paths]
        named |= {member for member in members if member}
        rows = rows.set_column(place, called, _contents(archive, members, spec, name))
    if others := len(set(pictures) - named):
        remarks.append(f"{name}: {counted(others, 'picture')} that no row of {manifest} names left out")
    return rows


def _contents(archive: Archive, members: Sequence[str | None], spec: DatasetSpec, name: str) -> pa.ChunkedArray:
    """The bytes of the members, up to the dataset's limit, however many rows name one."""
    contents: dict[str | None, bytes | None] = {None: None}
    size, rows_of = 0, Counter(members)
    for member in archive.in_its_order(filter(None, members)):
        with archive.open(member) as packed, copied(packed, spec, name, size) as file:
            contents[member] = content = file.read()
        size += rows_of[member] * len(content)
        refuse_too_large(size, spec, f"{name}, unpacked,")
    parts = [members[begin : begin + _AT_ONCE] for begin in range(0, len(members), _AT_ONCE)]
    return pa.chunked_array([pa.array([contents[member] for member in part], pa.binary()) for part in parts], pa.binary())
