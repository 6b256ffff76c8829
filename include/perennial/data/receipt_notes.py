"""Marks that a receipt is about to be written, replaced or deleted, so that its note is made again. Light.

A mark comes before the receipt: whoever is killed in between leaves a mark, and with it every reader looks at the receipt itself.

    views/batches/<dataset>/owed/<id of the file>~<chance>     holds the day of the receipt, which is the day of its note
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone

from perennial.store import Store

DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class Mark:
    """A receipt that was changed since its note was made, or may have been."""

    key: str
    id: str  # of the file
    day: str  # of the receipt when it was marked, UTC; empty if the mark was garbled


def owe(store: Store, dataset: str, id: str, time: datetime) -> None:
    """Mark a receipt. Each mark has a name of its own: one that is made while the note is, stays."""
    store.write(f"{folder(dataset)}/{id}~{secrets.token_hex(4)}", day_of(time).encode())


def owed(store: Store, dataset: str) -> list[Mark]:
    """The marks that nobody has answered yet."""
    marks = []
    for item in store.list(folder(dataset)):
        try:
            day = store.read(item.key).decode(errors="replace")
            marks.append(Mark(item.key, item.key.rpartition("/")[2].partition("~")[0], day if DAY.fullmatch(day) else ""))
        except KeyError:  # answered since it was listed
            continue
    return marks


def day_of(time: datetime) -> str:
    """The day of a time, UTC, as notes are named."""
    return f"{time.astimezone(timezone.utc):%Y-%m-%d}"


def folder(dataset: str) -> str:
    """Store key of a dataset's marks."""
    return f"views/batches/{dataset}/owed"
