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
BEAT = 20.0  # s between two signs of life within an epoch
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

    def has_stalled(self, now: datetime, seconds: float) -> bool:
        """Whether it made no step for so long, or for three times as long as an epoch takes: longer than it may be silent on a page."""
        return now - self.heard > timedelta(seconds=max(seconds, 3 * self.seconds))

    def is_silent(self, now: datetime) -> bool:
        """Whether nothing was heard for so long that it was killed, or hangs."""
        return now - self.heard > max(SILENCE, timedelta(seconds=3 * self.seconds))


class Teller:
    """Notes how far a training is, and now and again that it is alive.

    Args:
        store: keeps the note.
        model: that is trained.
    """

    def __init__(self, store: Store, model: str) -> None:
        self._store, self._model, self._written = store, model, 0.0
        now = datetime.now(timezone.utc)
        self._note = Progress(began=now, heard=now, epoch=0, limit=0, seconds=0.0, loss=None)
        self._write()
        self._written = 0.0

    def __call__(self, epoch: int, limit: int, seconds: float, loss: float) -> None:
        """Note it: epochs done, epochs at most, seconds of the last, its validation loss."""
        self._note = self._note.model_copy(update={"epoch": epoch, "limit": limit, "seconds": seconds, "loss": loss})
        if time.monotonic() - self._written >= EVERY:
            self._write()

    def beat(self) -> None:
        """Say that a step was made; costs nothing but every twenty seconds."""
        if time.monotonic() - self._written >= BEAT:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        self._note = self._note.model_copy(update={"heard": datetime.now(timezone.utc)})
        self._store.write(_key(self._model), self._note.model_dump_json().encode())


@contextmanager
def watched(store: Store, model: str) -> Iterator[Teller]:
    """While the block trains, what it is given notes how far it is."""
    try:
        yield Teller(store, model)
    finally:
        forget(store, model)


def forget(store: Store, model: str) -> None:
    """Delete the note of a training that runs no more, such as one that was killed; no error if there is none."""
    store.delete(_key(model))


def progress(store: Store, model: str) -> Progress | None:
    """How far the model's training is; None if none runs. A note that is cut or garbled counts as none: the next one replaces it."""
    try:
        return Progress.model_validate_json(store.read(_key(model)))
    except (KeyError, ValidationError):
        return None


def _key(model: str) -> str:
    return f"views/training/{model}.json"
