"""How far a training is that runs now: a note below `views/`, written while it trains and deleted at its end. Light.

A training that is killed leaves its note; the time in it says since when nothing was heard.

>>> import tempfile
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> with watched(store, "churn") as note:
...     note(3, 20, 1.5, 0.41)
...     progress(store, "churn").epoch
3
>>> progress(store, "churn") is None
True
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.store import Store

EVERY = 3.0  # s between two notes
SILENCE = timedelta(minutes=2)  # of an epoch that takes no time; one that takes long may be silent for three times as long
Note = Callable[[int, int, float, float], None]


class Progress(BaseModel):
    """A training that runs, or was killed."""

    model_config = ConfigDict(frozen=True)

    began: datetime
    heard: datetime = Field(description="When the note was written, UTC.")
    epoch: int = Field(ge=0, description="Epochs that are done; 0 while rows are read.")
    limit: int = Field(ge=0, description="Epochs at most; 0 while rows are read.")
    seconds: float = Field(ge=0, description="How long the last epoch took.")
    loss: float | None = Field(description="Loss on the validation rows after it; none before the first.")

    def is_silent(self, now: datetime) -> bool:
        """Whether nothing was heard for so long that it was killed, or hangs."""
        return now - self.heard > max(SILENCE, timedelta(seconds=3 * self.seconds))


@contextmanager
def watched(store: Store, model: str) -> Iterator[Note]:
    """While the block trains, what it calls notes how far it is: epochs done, epochs at most, seconds of the last, its validation loss."""
    began, last = datetime.now(timezone.utc), 0.0

    def write(epoch: int, limit: int, seconds: float, loss: float | None) -> None:
        nonlocal last
        if epoch and time.monotonic() - last < EVERY:
            return
        last = time.monotonic()
        now = datetime.now(timezone.utc)
        note = Progress(began=began, heard=now, epoch=epoch, limit=limit, seconds=seconds, loss=loss)
        store.write(_key(model), note.model_dump_json().encode())

    write(0, 0, 0.0, None)
    last = 0.0
    try:
        yield write
    finally:
        store.delete(_key(model))


def progress(store: Store, model: str) -> Progress | None:
    """How far the model's training is; None if none runs. A note that is cut or garbled counts as none: the next one replaces it."""
    try:
        return Progress.model_validate_json(store.read(_key(model)))
    except (KeyError, ValidationError):
        return None


def _key(model: str) -> str:
    return f"views/training/{model}.json"
