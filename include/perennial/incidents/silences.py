"""Silences: for a time nobody is told of a model's incidents, or of those of one kind; they are recorded and shown all the same. Light.

Kept as an event log below `silences/<model>/`: who silenced what until when, and why. A silence ends by itself.

    >>> import tempfile
    >>> from datetime import datetime, timedelta, timezone
    >>> from perennial.store import open_store
    >>> silences, now = Silences(open_store(tempfile.mkdtemp()), "flight_delay"), datetime(2026, 3, 1, tzinfo=timezone.utc)
    >>> silences.add("drift", now, now + timedelta(hours=4), "ada", "The source moves.").sentence
    'ada silenced drift until 2026-03-01 04:00 UTC: The source moves.'
    >>> len(silences.active(now)), len(silences.active(now + timedelta(hours=4)))
    (1, 0)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import AwareDatetime

from perennial.incidents.event_log import Event, EventLog
from perennial.incidents.incidents import Incident
from perennial.incidents.kinds import Kind
from perennial.store import Store


class Silence(Event):
    """One silence, as stored."""

    kind: Kind | None  # of incidents that nobody is told of; of all kinds if none
    since: AwareDatetime
    until: AwareDatetime
    by: str
    reason: str

    @property
    def sentence(self) -> str:
        """The silence, for a person."""
        return f"{self.by} silenced {self.kind or 'all kinds'} until {self.until:%Y-%m-%d %H:%M} UTC: {self.reason}"

    def covers(self, incident: Incident, now: datetime) -> bool:
        """Whether nobody is told of an incident: now, or any more since it opened and ended meanwhile."""
        if self.kind not in (None, incident.kind):
            return False
        return self.since <= now < self.until or (incident.resolved is not None and self._spans(incident.opened, incident.resolved))

    def _spans(self, opened: datetime, resolved: datetime) -> bool:
        return self.since <= opened and resolved <= self.until


class Silences:
    """The silences of one model; a later one of the same kind adds to the earlier ones, and the longest holds."""

    def __init__(self, store: Store, model: str) -> None:
        self._log = EventLog(store, f"silences/{model}", Silence, f"The silences of {model}")

    def add(self, kind: Kind | None, since: datetime, until: datetime, by: str, reason: str) -> Silence:
        """Silence a kind, or all if None, from now until then."""
        silence = Silence(kind=kind, since=since, until=until, by=by, reason=reason)

        def decide() -> Silence:
            self._log.events()
            return silence

        self._log.write(decide)
        return silence

    def all(self) -> list[Silence]:
        """Every silence that there ever was, oldest first."""
        return list(self._log.events())

    def active(self, now: datetime) -> list[Silence]:
        """Those that hold now."""
        return [silence for silence in self.all() if silence.since <= now < silence.until]


def is_silenced(incident: Incident, channel: str, silences: Iterable[Silence], now: datetime) -> bool:
    """Whether a channel is not told of an incident; the end of one that it was told of is told all the same."""
    return channel not in incident.told and any(silence.covers(incident, now) for silence in silences)
