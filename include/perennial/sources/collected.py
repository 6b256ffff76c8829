"""The log of what was collected of a dataset's source: an entry for each piece, the newest of which has the watermark.

collected/<dataset>/00000042.json             the entry
collected/<dataset>/aside/00000042-<digest>-… a file that has not landed yet
collected/<dataset>/memory/00000042-….parquet rows of the overlap after it; of the newest entries alone
collected/<dataset>/raw/00000042-…/…          answers as they came, where the kind of source keeps them
"""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
import time
from collections.abc import Collection, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import Fault, StoredDataDamaged
from perennial.sources.interface import Piece, Tally
from perennial.store import Store

_DIGITS = 8
_LONGEST = 180  # bytes of a name; with what stores and receipts put beside it a file system takes 255
_ENTRY = re.compile(r"\d{8}\.json")
_ASIDE = re.compile(r"(\d{8})-([0-9a-f]{12})-(.*)", re.DOTALL)


class File(BaseModel):
    """A file that landed."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Name in the landing zone.")
    digest: str = Field(description="SHA-256 of its bytes.")


class Entry(BaseModel):
    """One piece of a source: what landed, and where reading goes on after it."""

    model_config = ConfigDict(frozen=True)

    number: int = Field(description="From 1 on.")
    place: str = Field(description="What was read and where, without secrets.")
    watermark: dict[str, Any] = Field(description="Where reading goes on, in the form of the kind of source.")
    files: tuple[File, ...] = Field(default=(), description="What landed.")
    tally: Tally = Field(default=Tally(), description="What became of its rows.")
    raw: tuple[str, ...] = Field(default=(), description="Store keys of the answers as they came.")
    memory: str = Field(default="", description="Store key of the rows of the overlap.")
    run: str = Field(default="", description="Run of the orchestrator that read it.")
    time: datetime = Field(default_factory=lambda: datetime.now(timezone.utc), description="When.")


class CollectedLog:
    """The entries of one dataset."""

    def __init__(self, store: Store, dataset: str, landing: str) -> None:
        """The log of a dataset in a store; `landing` is the key of its landing zone."""
        self.store, self.dataset, self.landing = store, dataset, landing
        self.folder = f"collected/{dataset}"

    def newest(self) -> Entry | None:
        """The entry that was written last; None if there is none.

        Raises:
            StoredDataDamaged: it cannot be read.
        """
        number = 0
        while True:  # each tenth step is ten times as far: the end of a long log is found by few questions
            step = 1
            while self.store.exists(self._key(number + step)):
                step *= 10
            if step == 1:
                break
            number += step // 10
        # An entry that is missing would be read anew, with all that came after it.
        lost = self.store.exists(self._key(number + 2)) if number else any(True for _ in self._entries())
        if lost and not self.store.exists(self._key(number + 1)):  # which another run may have written just now
            raise self._damaged(number + 1, "is missing")
        return self.read(number) if number else None

    def _entries(self) -> Iterator[str]:
        return (item.key for item in self.store.list(self.folder) if _ENTRY.fullmatch(item.key.removeprefix(f"{self.folder}/")))

    def read(self, number: int) -> Entry:
        """One entry. Raises StoredDataDamaged where it cannot be read."""
        try:
            return Entry.model_validate_json(self.store.read(self._key(number)))
        except (ValidationError, KeyError) as error:
            raise self._damaged(number, f"cannot be read ({type(error).__name__})") from None

    def _damaged(self, number: int, why: str) -> StoredDataDamaged:
        return StoredDataDamaged(
            f"{self._key(number)} {why}, so that nobody knows up to where the source of {self.dataset} was read: "
            f"restore it from a backup of the store, or remove {self.folder}/ and read the source from its beginning."
        )

    def finish(self) -> tuple[list[str], Entry | None]:
        """Land what was accepted and has not landed, and remove what never will be; returns the names that landed, and the newest entry."""
        landed = []
        for item in list(self.store.list(f"{self.folder}/aside")):
            aside = _ASIDE.fullmatch(item.key.removeprefix(f"{self.folder}/aside/"))
            if not aside:
                continue  # not of ours
            number, digest, name = aside.groups()
            if not self.store.exists(self._key(int(number))):
                continue  # of a try that was killed: the next one writes it again or another entry, and it goes then
            entry = self.read(int(number))
            if any(file.name == name and file.digest.startswith(digest) for file in entry.files):
                self._land(item.key, name)
                landed.append(name)
            self.store.delete(item.key)
        newest = self.newest()
        if newest:
            kept = {newest.memory} | ({self.read(newest.number - 1).memory} if newest.number > 1 else set())
            for item in list(self.store.list(f"{self.folder}/memory")):
                if item.key not in kept:
                    self.store.delete(item.key)
        return landed, newest

    def add(self, place: str, piece: Piece, after: int, run: str) -> Entry:
        """Make a piece safe, then let its files land.

        Args:
            place: of the source.
            piece: what was read.
            after: number of the entry whose watermark it was read from; 0 if there was none.
            run: the orchestrator's name for this run.

        Raises:
            Fault: another process has written the next entry meanwhile.
        """
        number = after + 1
        files, aside = list[File](), list[tuple[str, str]]()
        for name, path in piece.files:
            with open(path, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            file = File(name=_landing_name(name, number, {other.name for other in files}), digest=digest)
            key = f"{self.folder}/aside/{number:0{_DIGITS}}-{digest[:12]}-{file.name}"
            self.store.upload(path, key)
            files.append(file)
            aside.append((key, file.name))
        mine = f"{number:0{_DIGITS}}-{secrets.token_hex(4)}"  # nobody else writes there
        memory = f"{self.folder}/memory/{mine}.parquet" if piece.memory else ""
        if piece.memory:
            self.store.upload(piece.memory, memory)
        raw = [(f"{self.folder}/raw/{mine}/{name}", path) for name, path in piece.raw]
        for key, path in raw:
            self.store.upload(path, key)
        entry = Entry(
            number=number,
            place=place,
            watermark=dict(piece.watermark),
            files=tuple(files),
            tally=piece.tally,
            raw=tuple(key for key, _ in raw),
            memory=memory,
            run=run,
        )
        if not self.store.put_if_absent(self._key(number), entry.model_dump_json(indent=1).encode()):
            theirs = {file.digest for file in self.read(number).files}
            lost = [key for (key, _), file in zip(aside, files, strict=True) if file.digest not in theirs]
            for key in (*lost, *(key for key, _ in raw), *([memory] if memory else [])):
                self.store.delete(key)
            raise Fault(f"Another run collects from the source of {self.dataset} at the same time, and was quicker. Run it again.")
        piece.accepted()
        for key, name in aside:
            self._land(key, name)
            self.store.delete(key)
        if after > 1 and (before := self.read(after - 1)).memory:  # the newest is needed, and one more for a person who looks
            self.store.delete(before.memory)
        return entry

    def forget_answers(self, days: float) -> None:
        """Remove answers that are kept as they came and are older than so many days."""
        oldest = time.time() - days * 86_400
        for item in list(self.store.list(f"{self.folder}/raw")):
            if item.modified < oldest:
                self.store.delete(item.key)

    def _land(self, key: str, name: str) -> None:
        self.store.copy(key, f"{self.landing}/{name}")

    def _key(self, number: int) -> str:
        return f"{self.folder}/{number:0{_DIGITS}}.json"

    def download(self, key: str, path: Path) -> Path:
        """Copy a memory to a local file.

        Raises:
            StoredDataDamaged: it is not there.
        """
        try:
            self.store.download(key, path)
        except KeyError:
            raise self.lost(key, "is missing") from None
        return path

    def lost(self, key: str, why: str) -> StoredDataDamaged:
        """What is said where a memory is missing or damaged."""
        return StoredDataDamaged(
            f"{key} {why}, so that nobody knows which rows of {self.dataset} were read of the overlap: restore it from a backup, "
            f"or begin anew (perennial collect --dataset {self.dataset} --anew)."
        )


def _landing_name(name: str, number: int, taken: Collection[str]) -> str:
    """What a file of an entry is called in the landing zone: of a name that is too long the end counts, and each file has its own.

    >>> _landing_name("orders.csv.gz", 42, ()), _landing_name("orders.csv.gz", 42, ("orders-00000042.csv.gz",))
    ('orders-00000042.csv.gz', '1__orders-00000042.csv.gz')
    """
    stem, dot, rest = (name.encode()[-_LONGEST:].decode(errors="ignore").lstrip(".") or "rows").partition(".")
    named = f"{stem}-{number:0{_DIGITS}}{dot}{rest}"
    tries = (f"{count}__{named}" if count else named for count in itertools.count())
    return next(one for one in tries if one not in taken)
