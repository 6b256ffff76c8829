"""A log of numbered events in the store, on which the inbox of retraining requests and the incidents of a model are built. Light.

Each event is an object of its own, written by put-if-absent, so of several writers exactly one takes the next place and the
others look again before they decide. A reader sees every event up to one place and none beyond it.

    >>> import tempfile
    >>> from perennial.incidents.event_log import Event, EventLog
    >>> from perennial.store import open_store
    >>> log = EventLog(open_store(tempfile.mkdtemp()), "incidents/flight_delay", Event, "The incidents of flight_delay")
    >>> log.write(Event)  # what decides sees `log.events()` and gives the next one, or None
    True
    >>> len(log.events())
    1
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import StoredDataDamaged, StoreUnreachable
from perennial.store import Store

LOOKS = 200


class Event(BaseModel):
    """Base class of all events, with the fields that they share."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    time: datetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    writer: str = Field(default_factory=lambda: uuid.uuid4().hex, description="Makes the bytes of every event unique.")


E = TypeVar("E", bound=Event)


class EventLog(Generic[E]):
    """The event log below one folder of the store, oldest event first.

    Args:
        store: where they are.
        folder: the folder's key.
        kind: class of its events.
        name: what a sentence calls it.
    """

    def __init__(self, store: Store, folder: str, kind: type[E], name: str) -> None:
        self.store, self.folder, self.kind, self.name = store, folder, kind, name
        self._seen: list[E] = []

    def events(self) -> list[E]:
        """All events so far; only new ones are read from the store. Raises StoredDataDamaged at one that cannot be read."""
        with contextlib.suppress(KeyError):  # the first place that nobody has taken
            while True:
                self._seen.append(self._read(self._place()))
        return self._seen

    def is_longer_than(self, count: int) -> bool:
        """Whether there are more events than that; none is read."""
        return self.store.exists(f"{self.folder}/{count:08d}.json")

    def write(self, decide: Callable[[], E | None]) -> bool:
        """Write the event that `decide` gives after it has read `events()`, or none.

        Args:
            decide: is asked again whenever another writer was faster, so that it always decides on all that came before. It reads
                `events()` once: the event is written behind the last one that it has read.

        Returns:
            Whether an event was written.

        Raises:
            StoreUnreachable: other writers were faster every time.
        """
        for _ in range(LOOKS):
            event = decide()
            if event is None:
                return False
            if self.store.put_if_absent(self._place(), event.model_dump_json().encode()):
                return True
        raise StoreUnreachable(f"{self.name} could not be written: other writers took {LOOKS} places in a row. Try again.")

    def _read(self, key: str) -> E:
        try:
            return self.kind.model_validate_json(self.store.read(key))
        except ValidationError:
            raise StoredDataDamaged(f"{self.name} cannot be read: {key} is no event. Restore it from a copy of the store.") from None

    def _place(self) -> str:
        return f"{self.folder}/{len(self._seen):08d}.json"
