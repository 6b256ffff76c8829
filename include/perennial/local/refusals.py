"""Counts what the web UI refused: logins that failed, and callers who may not ask.

Each is one byte more in a file of its kind, so the programs of one server need no lock, a count outlives them all, and somebody who knocks
without end fills no disk.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal, get_args

from perennial.settings import Settings
from perennial.store.folder import private_folder

log = logging.getLogger("perennial.refusals")

Refusal = Literal["login", "caller"]


def count(settings: Settings, what: Refusal) -> None:
    """Count one more. Where that cannot be written down, a log says so, and what was refused is refused all the same."""
    try:
        private_folder(_folder(settings))
        file = os.open(_folder(settings) / what, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, b".")
        finally:
            os.close(file)
    except OSError as error:
        log.warning("A refused %s was not counted in %s: %s", what, _folder(settings), error)


def counts(settings: Settings) -> dict[Refusal, int]:
    """How many there were so far, by kind."""
    found: dict[Refusal, int] = {}
    for what in get_args(Refusal):
        file = _folder(settings) / what
        found[what] = file.stat().st_size if file.exists() else 0
    return found


def _folder(settings: Settings) -> Path:
    return settings.home / "refused"
