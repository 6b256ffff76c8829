"""The values that a server finds by key for requests that leave out what joins bring: fetched from the store, and again when it has newer.

The store is asked beside the requests, never by one. Where it does not answer, or a file is damaged, the server goes on with what it has:
how old a value is decides about it, not how old the file is.

>>> import tempfile
>>> from perennial.store import open_store
>>> from perennial.serving.request import Input, Join
>>> join = Join("depots", "online/depots/1f.json", (Input("depot", "string"),), {"waiting": "waiting"}, 0.5)
>>> values = JoinedValues(open_store(tempfile.mkdtemp()), (join,), Path(tempfile.mkdtemp()))
>>> values.find(join, '["north"]', datetime(2024, 1, 1)).state  # nothing was exported yet
'unavailable'
>>> values.close()
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from perennial.errors import PerennialError
from perennial.online_values import Found, Note, Values
from perennial.serving.request import Join
from perennial.store import Store

log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0  # between two looks whether the store has newer values


class JoinedValues:
    """The newest values of the joins of one version.

    Args:
        store: has the files.
        joins: of the version; without any, nothing is fetched.
        folder: where files are kept on this machine.
        refresh_seconds: between two looks.
    """

    def __init__(self, store: Store, joins: Sequence[Join], folder: Path, *, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self._store, self._notes, self._folder = store, sorted({join.values for join in joins}), folder
        self._open: dict[str, tuple[Note, Values]] = {}
        self._said: dict[str, str] = {}
        self._closing = threading.Event()
        if self._notes:
            self.refresh()
            threading.Thread(target=self._watch, args=(refresh_seconds,), name="joined-values", daemon=True).start()

    def find(self, join: Join, key: str, moment: datetime) -> Found:
        """What a key finds at a moment, wall time."""
        opened = self._open.get(join.values)
        if not opened:
            return Found("unavailable")
        try:
            return opened[1].find(key, moment, join.horizon)
        except sqlite3.Error as error:  # the disk has lost it: it is fetched again, and no request fails of it
            log.warning("The values of %s cannot be read here and are fetched again: %s", join.values, error)
            self._open.pop(join.values, None)
            return Found("unavailable")

    def refresh(self) -> None:
        """Fetch what is newer in the store; what cannot be fetched is told in the log once, and tried again."""
        for key in self._notes:
            try:
                self._refresh(key)
                self._said.pop(key, None)
            except (PerennialError, OSError, KeyError, ValueError, ValidationError, sqlite3.Error) as error:
                why = f"{type(error).__name__}: {error}"
                if self._said.get(key) != why:
                    self._said[key] = why
                    log.warning("The values of %s cannot be fetched, and what was fetched before is used: %s", key, why)

    def close(self) -> None:
        """Stop looking."""
        self._closing.set()

    def _watch(self, seconds: float) -> None:
        while not self._closing.wait(seconds):
            self.refresh()

    def _refresh(self, key: str) -> None:
        try:
            note = Note.model_validate_json(self._store.read(key))
        except KeyError:
            return  # nothing was exported yet
        before = self._open.get(key)
        if before and before[0] == note:
            return
        path = self._folder / f"{note.sha256}.sqlite"
        if not path.is_file() or _digest(path) != note.sha256:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.part")
            self._store.download(note.file, part)
            if _digest(part) != note.sha256:
                part.unlink()
                raise ValueError(f"{note.file} is not as it was written: take in another batch of the joined dataset, or restore it")
            part.replace(path)
        self._open[key] = note, Values(path)
        log.info("%s: version %d of the table, %d values.", key, note.version, note.keys)
        if (
            before and before[0].sha256 != note.sha256
        ):  # whoever is asking it just now holds its connection; the file on this machine may go
            (self._folder / f"{before[0].sha256}.sqlite").unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
