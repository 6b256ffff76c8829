"""The incidents of one model: what is wrong, which alerts were sent, and a person's verdict. Light: DAG files read it.

Kept as an event log below `incidents/<model>/`. An incident's state is what the events add up to:

    opened -> raised, if it is seen again and is worse -> resolved, once it is over
           -> grown, if it is of more files by now
           -> told on a channel, or tried in vain      -> asked about, then judged by a person: before or after its end

However often it is seen, an incident is opened once as long as it is open, and told once on each channel.

    >>> import tempfile
    >>> from perennial.incidents.incidents import Incidents
    >>> from perennial.store import open_store
    >>> incidents = Incidents(open_store(tempfile.mkdtemp()), "flight_delay")
    >>> opened = incidents.open("drift", "distance", "warning", "Distances have doubled.")
    >>> incidents.open("drift", "distance", "warning", "Distances have doubled.") is None  # it is open already
    True
    >>> [incident.sentence for incident in incidents.open_ones()]
    ['Distances have doubled.']
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from perennial.errors import UnknownName
from perennial.incidents import event_log
from perennial.incidents.kinds import SEVERITIES, Kind, Severity, is_alarm
from perennial.specs import Verdict
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.incidents.listing import Listing, Notes

log = logging.getLogger("perennial.incidents")

News = Literal["opened", "resolved"]

REFUSED_FILES = "refused files"  # key of the incident that files lie in quarantine: their rows are in no table
RATE_DAYS = 90
MONTH_DAYS = 30.4375
FILES_NAMED = 20
LATE_DAYS = 30  # what was over for longer is history to a channel that never heard of it, and to a person who was never asked


class Event(event_log.Event):
    """One change of one incident, as stored."""

    what: Literal["opened", "raised", "grown", "resolved", "told", "missed", "asked", "judged"]
    id: str
    kind: Kind | None = None
    key: str = ""
    severity: Severity | None = None
    sentence: str = ""
    evidence: dict[str, JsonValue] = Field(default_factory=dict)
    files: list[str] = Field(default_factory=list, description="Names of files that it is of, beyond those known before.")
    channel: str = ""
    news: News | None = None
    verdict: Verdict | None = None
    by: str = ""
    note: str = ""


class Incident(BaseModel):
    """An incident as it stands now."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # DAG files load it, and few validate any

    id: str = Field(description="`<number>-<kind>`: number counts the model's incidents from 1 on.")
    kind: Kind
    key: str = Field(description="What is wrong: kind and key tell it from all others that are open.")
    severity: Severity
    sentence: str = Field(description="What was seen, for a person.")
    evidence: dict[str, JsonValue] = Field(description="Figures by name, and links: values that begin with http.")
    files: tuple[str, ...] = Field(
        default=(), description="Names of the files that it opened with; none if it is of no files, or from before these were kept."
    )
    later_files: tuple[str, ...] = Field(default=(), description="Names of those that came while it was open.")
    opened: datetime
    resolved: datetime | None = None
    resolution: str = Field(default="", description="Why it is over.")
    told: dict[str, News] = Field(default_factory=dict, description="The last that each channel was told.")
    missed: dict[str, str] = Field(default_factory=dict, description="Why a channel does not know the last of it yet, by channel.")
    asked: str = Field(default="", description="The run that asks a person.")
    verdict: Verdict | None = None
    by: str = Field(default="", description="Who gave the verdict.")
    note: str = Field(default="", description="Their words.")
    judged: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether the incident is still open."""
        return self.resolved is None

    @property
    def links(self) -> dict[str, str]:
        """Pages that show more, by title."""
        return {name: str(value) for name, value in self.evidence.items() if _is_link(value)}

    @property
    def figures(self) -> dict[str, JsonValue]:
        """Evidence other than links, by name."""
        return {name: value for name, value in self.evidence.items() if not _is_link(value)}

    @property
    def is_alarm(self) -> bool:
        """Whether it is an alarm. One for the record, or of a question that waits, counts in no rate, and nobody is asked about it."""
        return is_alarm(self.severity, self.key)

    @property
    def is_break(self) -> bool:
        """Whether data in the tables are broken: false for refused files, and for a verdict of known or false alarm."""
        return self.kind == "data quality" and self.key != REFUSED_FILES and self.verdict not in ("false alarm", "known")

    @property
    def blocks_training(self) -> bool:
        """Whether the newest data should not be trained on, because they are broken now."""
        return self.is_open and self.is_break

    def spoils(self, day: date) -> bool:
        """Whether a day's data (event time) should be left out: the days from where a break was first seen to where it no longer was.

        Monitoring notes these times in the evidence: `first`, `last` and `over_since` (ISO 8601).
        """
        first, last = (str(self.evidence.get(name, "")) for name in ("first", "over_since" if "over_since" in self.evidence else "last"))
        if not (self.is_break and first and last):
            return False
        until = datetime.fromisoformat(last) - timedelta(microseconds=1)
        return datetime.fromisoformat(first).date() <= day and (self.is_open or day <= until.date())


@dataclass(frozen=True)
class AlarmRate:
    """How often a model raises alarms, and how often they are false."""

    alarms: int
    days: float  # they are counted over
    judged: int  # of the alarms, by a person
    false: int  # of those

    @property
    def per_month(self) -> float:
        """Alarms in a month of 30.4 days."""
        return self.alarms * MONTH_DAYS / self.days

    @property
    def share_false(self) -> float | None:
        """Share of the judged alarms that a person called false; None if none was judged."""
        return self.false / self.judged if self.judged else None

    @property
    def sentence(self) -> str:
        """The alarm rate as a sentence."""
        judged = "none was judged"
        if self.judged:
            judged = f"{self.false} of {self.judged} judged were false ({100 * self.false / self.judged:.0f} %)"
        return f"{self.per_month:.1f} alarms a month ({self.alarms} in {self.days:.0f} days); {judged}."


class Summary(BaseModel):
    """The incidents that are open, and how many there ever were: what a list of many models can read of each."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    events: int = Field(ge=0, description="Events of the log that it sums up.")
    count: int = Field(ge=0, description="Incidents, open or over.")
    open: tuple[Incident, ...] = Field(description="Those that are open, oldest first.")


def known_names(store: Store) -> list[str]:
    """Names of all models and datasets that ever had an incident, including models whose folder is gone."""
    return list(store.folders("incidents"))


class Incidents:
    """The incidents of one model: at most one of the same kind and key is open at any time."""

    def __init__(self, store: Store, model: str) -> None:
        self.store, self.model = store, model
        self._log = event_log.EventLog(store, f"incidents/{model}", Event, f"The incidents of {model}")
        self._note = f"views/incidents/{model}.json"
        self._known: dict[str, Incident] = {}
        self._applied = 0  # events of the log
        self._changed: set[int] = set()  # places of incidents that a list may show otherwise than this writer noted

    @cached_property
    def _notes(self) -> Notes:
        """What a list is made of; loaded by whoever lists or writes: parsing a DAG file does neither."""
        from perennial.incidents.listing import Notes

        return Notes(self.store, self.model)

    def all(self) -> list[Incident]:
        """Every incident, oldest first."""
        events = self._log.events()
        for event in events[self._applied :]:
            self._known[event.id] = _after(self._known.get(event.id), event)
            self._changed.add(_number(event.id) - 1)
        self._applied = len(events)
        return list(self._known.values())

    def summary(self) -> Summary:
        """The open incidents and their count, from the note that the last writer left; all events are read only if it is old or gone."""
        try:
            noted = Summary.model_validate_json(self.store.read(self._note))
            if self._is_of_now(noted.events):
                return noted
        except (KeyError, ValidationError):  # from before it was noted, or from a later version of the platform
            log.debug("The incidents of %s are read anew: %s is not there or cannot be read.", self.model, self._note)
        return self._summed_up()

    def listing(self) -> Listing:
        """The incidents as lines of a list, from the notes of the last writer; all events are read only where those are old or gone."""
        from perennial.incidents.listing import Listing, lines_of, listing_of

        index = self._notes.index()
        if index is None or not self._is_of_now(index.events):
            every = self.all()
            return listing_of(every, self._applied)
        return Listing(index, lambda number: self._notes.block(number, index) or lines_of(self.all(), number))

    def note_anew(self) -> None:
        """Make the notes that are missing, old or damaged, such as those of a store from before there were any."""
        index = self._notes.index()
        if index is None or not self._is_of_now(index.events) or not self._notes.are_whole():
            self._note_all(anew=True)

    def _is_of_now(self, events: int) -> bool:
        """Whether the log has as many events as that."""
        return not self._log.is_longer_than(events) and (events == 0 or self._log.is_longer_than(events - 1))

    def _note_all(self, *, anew: bool = False) -> None:
        self.store.write(self._note, self._summed_up().model_dump_json().encode())
        self._notes.keep(list(self._known.values()), self._applied, self._changed, anew=anew)
        self._changed.clear()

    def _summed_up(self) -> Summary:
        every = self.all()
        return Summary(events=self._applied, count=len(every), open=tuple(incident for incident in every if incident.is_open))

    def _write(self, decide: Callable[[], Event | None]) -> bool:
        """Write an event, and note what is open then. Whoever is killed in between leaves an old note, which shows."""
        if not self._log.write(decide):
            return False
        self._note_all()
        return True

    def get(self, id: str) -> Incident:
        """The incident of that id, or of the number it begins with. Raises UnknownName."""
        for incident in self.all():
            if id == incident.id or (id.isdecimal() and int(id) == _number(incident.id)):
                return incident
        raise UnknownName(f"{self.model} has no incident {id!r}: `perennial incidents --model {self.model}` lists them.")

    def open_ones(self) -> list[Incident]:
        """The open incidents, oldest first: from the note, as long as this object has read no event, and from the events then."""
        every = self.all() if self._applied else self.summary().open
        return [incident for incident in every if incident.is_open]

    def open(
        self,
        kind: Kind,
        key: str,
        severity: Severity,
        sentence: str,
        evidence: dict[str, JsonValue] | None = None,
        files: Sequence[str] = (),
    ) -> str | None:
        """Report a problem, each time that it is seen: opens an incident, or updates the open one.

        Args:
            kind: what kind of thing it is; the runbook has a section for each.
            key: which one, such as a column.
            severity: how bad it is.
            sentence: what was seen, for a person.
            evidence: figures by name, and links.
            files: names of the files that it is of, if it is of files; their count is the figure `files`.

        Returns:
            The new incident's id; None where one of that kind and key is open: it stays, but a higher severity raises it, and further
            files are added to it.
        """
        if not files and (known := self.find(kind, key)) and _rank(severity) <= _rank(known.severity):
            return None  # as each time that it is seen, for which the events need not be read
        counted: dict[str, JsonValue] = {"files": len(files)} if files else {}
        seen = Event(
            what="opened",
            id="",
            kind=kind,
            key=key,
            severity=severity,
            sentence=sentence,
            evidence={**counted, **(evidence or {})},
            files=list(files),
        )
        new = ""

        def decide() -> Event | None:
            nonlocal new
            known, new = self.all(), ""  # read once: what came in between two readings would be opened twice
            same = next((i for i in known if i.is_open and (i.kind, i.key) == (kind, key)), None)
            if same is None:
                new = f"{len(known) + 1:04d}-{kind.replace(' ', '-')}"
                return seen.model_copy(update={"id": new})
            if _rank(severity) > _rank(same.severity):
                return seen.model_copy(update={"id": same.id, "what": "raised"})
            if further := [name for name in files if name not in same.files and name not in same.later_files]:
                return Event(what="grown", id=same.id, files=further, evidence=evidence or {})
            return None

        self._write(decide)
        return new or None

    def find(self, kind: Kind, key: str) -> Incident | None:
        """The open incident of that kind and key, if there is one."""
        return next((i for i in self.open_ones() if (i.kind, i.key) == (kind, key)), None)

    def resolve(self, id: str, sentence: str, evidence: dict[str, JsonValue] | None = None) -> bool:
        """Close an incident and add the evidence. Returns whether it was open until now; raises UnknownName."""
        id = self.get(id).id
        over = Event(what="resolved", id=id, sentence=sentence, evidence=evidence or {})
        return self._write(lambda: over if self.get(id).is_open else None)

    def verdict(self, id: str, verdict: Verdict, by: str, note: str = "", *, unless_judged: bool = False) -> Incident:
        """Record a person's verdict; the last one counts, earlier ones stay in the log. Raises UnknownName.

        Args:
            id: the incident's id, or its number.
            verdict: what it was.
            by: who says so.
            note: their words.
            unless_judged: leave a verdict that somebody gave before as it is.

        Returns:
            The incident as it stands then.
        """
        id = self.get(id).id

        def decide() -> Event | None:
            now = self.get(id)
            is_said = (now.verdict, now.by, now.note) == (verdict, by, note)
            return (
                None
                if is_said or (unless_judged and now.verdict is not None)
                else Event(what="judged", id=id, verdict=verdict, by=by, note=note)
            )

        self._write(decide)
        return self.get(id)

    def ask(self, id: str, run: str) -> Incident | None:
        """Reserve the question to a person for one run, so that no other run asks too.

        Returns:
            The incident, also where this run began to ask before; None where it is judged, or another run asks. Raises UnknownName.
        """
        id = self.get(id).id

        def decide() -> Event | None:
            now = self.get(id)
            return Event(what="asked", id=id, by=run) if not now.asked and now.verdict is None else None

        self._write(decide)
        now = self.get(id)
        return now if now.asked == run and now.verdict is None else None

    def told(self, id: str, channel: str, news: News) -> bool:
        """Record that a channel accepted an alert. Returns whether it had not accepted it before; raises UnknownName."""
        id = self.get(id).id
        return self._write(
            lambda: (
                Event(what="told", id=id, channel=channel, news=news) if self.get(id).told.get(channel) not in (news, "resolved") else None
            )
        )

    def missed(self, id: str, channel: str, sentence: str) -> bool:
        """Record that a channel refused an alert, which stays due until it is accepted.

        Noted once, until the channel works. Raises UnknownName.
        """
        id = self.get(id).id
        return self._write(
            lambda: Event(what="missed", id=id, channel=channel, sentence=sentence) if channel not in self.get(id).missed else None
        )

    def alarm_rate(self, now: datetime, days: float = RATE_DAYS) -> AlarmRate:
        """Alarms in the days before `now`, and what people said of them."""
        return alarm_rate(self.all(), now, days)


class Counted(Protocol):
    """What the alarm rate asks of an incident."""

    @property
    def opened(self) -> datetime:
        """When it opened."""

    @property
    def is_alarm(self) -> bool:
        """Whether it counts."""

    @property
    def verdict(self) -> Verdict | None:
        """What a person said it was."""


def alarm_rate(incidents: Sequence[Counted], now: datetime, days: float = RATE_DAYS) -> AlarmRate:
    """Alarms in the days before `now`, and what people said of them.

    Args:
        incidents: of one model, oldest first.
        now: end of the time looked at.
        days: its length. Where the first incident is younger, the time begins with it, yet is never shorter than a month: no
            rate is told from a few days.
    """
    known = [i for i in incidents if i.opened <= now]
    age = max(((now - i.opened) / timedelta(days=1) for i in known), default=0.0)
    days = min(days, max(age, MONTH_DAYS))
    alarms = [i for i in known if i.is_alarm and now - i.opened <= timedelta(days=days)]
    verdicts = [i.verdict for i in alarms if i.verdict is not None]
    return AlarmRate(len(alarms), days, len(verdicts), verdicts.count("false alarm"))


def due(incident: Incident, channel: str, least: Severity, now: datetime) -> News | None:
    """The alert about an incident that a channel should get now, if any.

    Args:
        incident: as it stands now.
        channel: name of the channel.
        least: severity from which on the channel is told.
        now: what was over long before is not told to a channel that never heard of it, unless it was tried in vain.
    """
    last = incident.told.get(channel)
    if last == "resolved" or _rank(incident.severity) < _rank(least):
        return None
    if incident.resolved is None:
        return None if last == "opened" else "opened"
    return None if last is None and channel not in incident.missed and _is_history(incident, now) else "resolved"


def awaits_verdict(incident: Incident, now: datetime) -> bool:
    """Whether a person should still be asked for a verdict: not if it ended long ago."""
    return incident.is_alarm and incident.verdict is None and not incident.asked and not _is_history(incident, now)


def _is_history(incident: Incident, now: datetime) -> bool:
    return incident.resolved is not None and now - incident.resolved > timedelta(days=LATE_DAYS)


def _after(before: Incident | None, event: Event) -> Incident:
    """An incident after one more event."""
    if before is None:
        assert event.kind is not None
        assert event.severity is not None
        return Incident(
            id=event.id,
            kind=event.kind,
            key=event.key,
            severity=event.severity,
            sentence=event.sentence,
            evidence=event.evidence,
            files=tuple(event.files),
            opened=event.time,
        )
    changes: dict[str, dict[str, object]] = {
        "raised": {
            "severity": event.severity,
            "sentence": event.sentence,
            "evidence": event.evidence,
            "files": tuple(event.files),
            "later_files": (),
        },
        "grown": _grown(before, event),
        "resolved": {"resolved": event.time, "resolution": event.sentence, "evidence": {**before.evidence, **event.evidence}},
        "told": {
            "told": {**before.told, event.channel: event.news},
            "missed": {channel: why for channel, why in before.missed.items() if channel != event.channel},
        },
        "missed": {"missed": {**before.missed, event.channel: event.sentence}},
        "asked": {"asked": event.by},
        "judged": {"verdict": event.verdict, "by": event.by, "note": event.note, "judged": event.time},
    }
    return before.model_copy(update=changes[event.what])


def _grown(before: Incident, event: Event) -> dict[str, object]:
    """The changes to an incident of refused files when more are added: its sentence, its count and its links."""
    later = (*before.later_files, *event.files)
    count = before.evidence.get("files")
    files = (count if isinstance(count, int) else 0) + len(event.files)
    return {
        "sentence": before.sentence.removesuffix(_since_then(before.later_files)) + _since_then(later),
        "evidence": {**before.evidence, **event.evidence, "files": files},
        "later_files": later,
    }


def _since_then(names: Sequence[str]) -> str:
    return f" Since then {len(names)} more: {named(names)}." if names else ""


def named(names: Sequence[str]) -> str:
    """Names of files for a sentence: the first twenty, and how many more there are."""
    more = len(names) - FILES_NAMED
    return ", ".join(names[:FILES_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_link(value: JsonValue) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _number(id: str) -> int:
    return int(id.split("-", 1)[0])


def _rank(severity: Severity) -> int:
    return SEVERITIES.index(severity)
