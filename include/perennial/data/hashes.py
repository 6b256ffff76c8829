"""Hashes of a table's files: the SHA-256 of each, taken when it was written and kept in the commit that added it.

A file from before hashes were kept is hashed when somebody first needs it, and that is noted with the time: what became of its
bytes before is not known. Notes gather what many commits say, too, so that a long history is not read again each time:

    tables/<name>/_sha256/<version>.json   SHA-256 of every file of that version, and since when those of old files are known

    >>> from perennial.data.hashes import digest_of
    >>> digest_of(["a" * 64, "b" * 64]) == digest_of(["b" * 64, "a" * 64])
    True
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.data.commits import FACT, commit_info
from perennial.errors import StoredDataDamaged, StoreUnreachable
from perennial.store import Store

log = logging.getLogger(__name__)

SCHEME = "sha256-bytes:"  # how a digest over bytes begins; one without it is over names and sizes
NOTE_AFTER = 64  # commits whose words are gathered in a note


class Note(BaseModel):
    """The hashes of one table version's files, as they are collected."""

    model_config = ConfigDict(frozen=True)

    files: dict[str, str] = Field(description="SHA-256 by path.")
    late: dict[str, datetime] = Field(
        default_factory=dict, description="Files that were written before hashes were kept: since when theirs is known."
    )


@dataclass(frozen=True)
class Known:
    """The known hashes of a table version's files."""

    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 by path
    late: Mapping[str, datetime] = field(default_factory=dict)  # since when, for those that were written before hashes were kept


def hashes(store: Store, name: str, table: DeltaTable) -> Known:
    """The SHA-256 of every file of an opened table version; reads only those files whose hash is not kept.

    Raises:
        StoredDataDamaged: such a file is not there.
    """
    version, wanted = table.version(), paths(table)
    noted, note = _note(store, name, version)
    files, late = dict(note.files), dict(note.late)
    if version > noted and not wanted <= files.keys():
        for commit in range(noted + 1, version + 1):
            files |= kept_in(commit_info(store, name, commit))
    lacking = sorted(wanted - files.keys())
    if lacking:
        log.info("%d files of the table %s were written before their hashes were kept: they are read now.", len(lacking), name)
    for path in lacking:
        files[path], late[path] = hash_of(store, name, path), datetime.now(timezone.utc)
    known = Known({path: files[path] for path in wanted}, {path: when for path, when in late.items() if path in wanted})
    if lacking or version - noted > NOTE_AFTER:
        _write_note(store, name, version, known)
    return known


def hash_of(store: Store, name: str, path: str) -> str:
    """The SHA-256 of a file's bytes as they are now. Raises StoredDataDamaged where there is no such file."""
    try:
        return store.sha256(f"tables/{name}/{path}")
    except KeyError:
        raise StoredDataDamaged(
            f"tables/{name}/{path} is missing from the store: restore it from a backup, for snapshots of {name} need it."
        ) from None


def damage(store: Store, name: str, known: Mapping[str, str]) -> list[str]:
    """An error message for each file whose bytes have changed since it was written. Reads every file once, piece by piece."""
    sentences = []
    for path, wanted in sorted(known.items()):
        try:
            now = hash_of(store, name, path)
        except StoredDataDamaged as missing:
            sentences.append(str(missing))
            continue
        if now != wanted:
            sentences.append(
                f"tables/{name}/{path} was changed after it was written: its SHA-256 is {now[:12]}…, "
                f"and {wanted[:12]}… was kept. Restore the file from a backup."
            )
    return sentences


def refuse_damaged(store: Store, name: str, known: Mapping[str, str]) -> None:
    """Raises StoredDataDamaged if the bytes of a file have changed since it was written."""
    sentences = damage(store, name, known)
    if sentences:
        more = f" So are {len(sentences) - 1} more files: `perennial verify` names them." if len(sentences) > 1 else ""
        raise StoredDataDamaged(sentences[0] + more)


def digest_of(files: Iterable[str]) -> str:
    """Digest of a snapshot's content: a hash of the SHA-256 of its files, regardless of their order and names."""
    return SCHEME + hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()


def digest_by_names(files: Iterable[Mapping[str, Any]]) -> str:
    """Digest of a snapshot in the old form, from before file hashes were kept: a hash of the names and sizes of its files."""
    return hashlib.sha256("\n".join(sorted(f"{file['path']} {file['size_bytes']}" for file in files)).encode()).hexdigest()


def kept_in(commit: Mapping[str, Any]) -> dict[str, str]:
    """The file hashes that a commit's entry in the history records."""
    hashes: dict[str, str] = json.loads(commit.get(FACT) or "{}")
    return hashes


def notes(store: Store, name: str) -> Iterable[Note]:
    """Every note of file hashes of a table, oldest version first."""
    return (_read(store, key) for _, key in _notes(store, name))


def paths(table: DeltaTable) -> set[str]:
    """The paths of the files of an opened table version."""
    return set(pa.table(table.get_add_actions(flatten=True))["path"].to_pylist())


def _note(store: Store, name: str, version: int) -> tuple[int, Note]:
    """The newest note of file hashes up to a version, with the version that it is of."""
    noted, key = max((pair for pair in _notes(store, name) if pair[0] <= version), default=(0, ""))
    return noted, _read(store, key) if key else Note(files={})


def _notes(store: Store, name: str) -> list[tuple[int, str]]:
    """Version and store key of each note of file hashes."""
    keys = ((item.key.rsplit("/", 1)[1].removesuffix(".json"), item.key) for item in store.list(f"tables/{name}/_sha256"))
    return [(int(version), key) for version, key in keys if version.isdecimal()]


def _read(store: Store, key: str) -> Note:
    try:
        return Note.model_validate_json(store.read(key))
    except ValidationError as error:
        raise StoredDataDamaged(f"{key} cannot be read ({error.error_count()} faults): restore it from a backup of the store.") from None


def _write_note(store: Store, name: str, version: int, known: Known) -> None:
    note = Note(files=dict(sorted(known.files.items())), late=dict(sorted(known.late.items())))
    try:
        store.put_if_absent(f"tables/{name}/_sha256/{version:020}.json", note.model_dump_json(indent=1).encode())
    except StoreUnreachable as error:  # who asks may have a store that is mounted read-only
        log.warning("The hashes of version %d of the table %s are not noted, and found anew next time: %s", version, name, error)
