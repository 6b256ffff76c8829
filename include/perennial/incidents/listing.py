"""A model's incidents as lines of a list, newest first: noted in blocks when they change, so that a page reads a few of 10,000. Light.

    views/incidents/<model>/index.json     how many there are of each sort in each block, alarms by month, the newest alarms
    views/incidents/<model>/00000.json     the lines of the first fifty incidents, and so on

The index holds a digest of each block. What is old, garbled or deleted there is read from the events instead: it costs time and changes
no answer.

>>> import tempfile
>>> from perennial.incidents.incidents import Incidents
>>> from perennial.store import open_store
>>> incidents = Incidents(open_store(tempfile.mkdtemp()), "digits")
>>> for pixel in ("17", "18"):
...     _ = incidents.open("drift", pixel, "warning", f"Pixel {pixel} drifted.")
>>> incidents.resolve("1", "As before.")
True
>>> [line.sentence for line in incidents.listing().lines(Wanted(state="over"))]
['Pixel 17 drifted.']
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from perennial.incidents.kinds import Kind, Severity, is_alarm
from perennial.specs import Verdict
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.incidents.incidents import Incident

BLOCK = 50  # incidents whose lines are noted together
TEXT = 2_000  # characters of a sentence or a note in a list; the events have all of them
LINKS = 8  # of an incident in a list
RECENT_DAYS = 100  # alarms of so many days before the newest incident are in the index: the alarm rate counts 90

State = Literal["open", "over"]


class _Noted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # DAG files load it, and few validate any


class IncidentLine(_Noted):
    """What a list shows of one incident."""

    id: str
    kind: Kind
    key: str = Field(description="Which one of its kind, such as a column.")
    severity: Severity
    sentence: str
    opened: datetime
    resolved: datetime | None = Field(description="When it was over; none if it is open.")
    resolution: str = Field(description="Why it is over.")
    verdict: Verdict | None = Field(description="What a person said it was; none if nobody has.")
    by: str = Field(description="Who said so.")
    note: str = Field(description="Their words.")
    links: dict[str, str] = Field(description="Pages that show more, by title.")
    missed: dict[str, str] = Field(description="Why a channel does not know of it yet, by channel.")

    @property
    def is_alarm(self) -> bool:
        """Whether it counts as an alarm, and a person is asked what it was."""
        return is_alarm(self.severity, self.key)


class Alarm(_Noted):
    """A warning or critical incident, as the alarm rate counts it."""

    opened: datetime
    kind: Kind
    verdict: Verdict | None = None
    is_alarm: bool = True


class Sort(_Noted):
    """How many incidents of a block are alike in what a list can be narrowed to."""

    kind: Kind
    state: State
    judged: bool = Field(description="Whether a person has said what they were, or nobody is asked because they are no alarms.")
    count: int


class MonthCount(_Noted):
    """The alarms of one kind that a month had."""

    month: str = Field(description="As in 2026-11.")
    kind: Kind
    count: int


class Block(_Noted):
    """What the index says of some incidents that follow each other."""

    digest: str = Field(description="Of the note with their lines.")
    sorts: tuple[Sort, ...]
    months: tuple[MonthCount, ...]


class Index(_Noted):
    """The counts of all incidents of a model."""

    events: int = Field(ge=0, description="Events of the log that it sums up.")
    first: datetime | None = Field(description="When the first one opened; none if there never was one.")
    blocks: tuple[Block, ...]
    recent: tuple[Alarm, ...] = Field(description="The newest alarms, oldest first.")


class Wanted(_Noted):
    """Which incidents a list shows."""

    state: State | None = Field(default=None, description="Open or over ones; both if none.")
    kind: Kind | None = Field(default=None, description="Those of one kind; all if none.")
    unjudged: bool = Field(default=False, description="Only alarms on which nobody has given a verdict.")

    def has(self, one: Sort) -> bool:
        """Whether it shows incidents of that sort."""
        return self.state in (None, one.state) and self.kind in (None, one.kind) and not (self.unjudged and one.judged)


_LINES = TypeAdapter(tuple[IncidentLine, ...], config=ConfigDict(defer_build=True))


class Listing:
    """The incidents of a model, as lists show them.

    Args:
        index: the counts.
        block: reads the lines of a block, oldest first.
    """

    def __init__(self, index: Index, block: Callable[[int], Sequence[IncidentLine]]) -> None:
        self.index = index
        self._block = block

    def lines(self, wanted: Wanted = Wanted()) -> Iterator[IncidentLine]:  # noqa: B008 - it is frozen
        """The lines that are wanted, newest first; blocks without any are not read."""
        for number in range(len(self.index.blocks) - 1, -1, -1):
            if any(wanted.has(one) for one in self.index.blocks[number].sorts):
                yield from (line for line in reversed(self._block(number)) if wanted.has(_sort(line)))

    def counts(self) -> Counter[Sort]:
        """How many incidents there are of each sort (whose own count is 1)."""
        total: Counter[Sort] = Counter()
        for block in self.index.blocks:
            for one in block.sorts:
                total[one.model_copy(update={"count": 1})] += one.count
        return total

    def months(self) -> Counter[tuple[str, Kind]]:
        """Alarms by month and kind."""
        total: Counter[tuple[str, Kind]] = Counter()
        for block in self.index.blocks:
            for each in block.months:
                total[each.month, each.kind] += each.count
        return total


class Notes:
    """The notes of one model's incidents.

    Args:
        store: has them.
        model: whose they are.
    """

    def __init__(self, store: Store, model: str) -> None:
        self._store, self._folder = store, f"views/incidents/{model}"
        self._blocks: list[Block] = []  # as this writer has made or found them

    def index(self) -> Index | None:
        """The index; None if there is none that can be read."""
        try:
            return Index.model_validate_json(self._store.read(f"{self._folder}/index.json"))
        except (KeyError, ValidationError):  # from before it was noted, or from a later version of the platform
            return None

    def block(self, number: int, index: Index) -> tuple[IncidentLine, ...] | None:
        """The lines of a block; None if they are not those that the index counts."""
        try:
            data = self._store.read(self._key(number))
            return _LINES.validate_json(data) if _digest(data) == index.blocks[number].digest else None
        except (KeyError, ValidationError):
            return None

    def keep(self, incidents: Sequence[Incident], events: int, changed: Collection[int], *, anew: bool = False) -> None:
        """Note how the incidents are after an event.

        Args:
            incidents: all of the model, oldest first.
            events: how many events made them what they are.
            changed: places of incidents that may differ from what this writer noted before.
            anew: write every block, also one that is as the index says.
        """
        found = self.index() if not self._blocks and not anew else None
        before = list(found.blocks) if found else list(self._blocks)
        again = {place // BLOCK for place in changed}
        for number in range(-(-len(incidents) // BLOCK)):
            is_new = number >= len(self._blocks)
            if is_new or number in again:
                data, block = _noted(incidents[number * BLOCK : (number + 1) * BLOCK])
                self._blocks[number : number + 1] = [block]
                if number >= len(before) or before[number].digest != block.digest:
                    self._store.write(self._key(number), data)
        self._store.write(
            f"{self._folder}/index.json", _index(incidents, events, self._blocks).model_dump_json(exclude_defaults=True).encode()
        )

    def are_whole(self) -> bool:
        """Whether each block is what the index says."""
        index = self.index()
        return index is not None and all(self.block(number, index) is not None for number in range(len(index.blocks)))

    def _key(self, number: int) -> str:
        return f"{self._folder}/{number:05d}.json"


def listing_of(incidents: Sequence[Incident], events: int) -> Listing:
    """The list of incidents that have been read."""
    parts = [incidents[at : at + BLOCK] for at in range(0, len(incidents), BLOCK)]
    index = _index(incidents, events, [_noted(part)[1] for part in parts])
    return Listing(index, lambda number: lines_of(incidents, number))


def lines_of(incidents: Sequence[Incident], number: int) -> list[IncidentLine]:
    """The lines of a block of them, oldest first."""
    return [line_of(one) for one in incidents[number * BLOCK : (number + 1) * BLOCK]]


def line_of(incident: Incident) -> IncidentLine:
    """An incident as a list shows it."""
    return IncidentLine(
        id=incident.id,
        kind=incident.kind,
        key=_short(incident.key),
        severity=incident.severity,
        sentence=_short(incident.sentence),
        opened=incident.opened,
        resolved=incident.resolved,
        resolution=_short(incident.resolution),
        verdict=incident.verdict,
        by=_short(incident.by),
        note=_short(incident.note),
        links={_short(title): address for title, address in list(incident.links.items())[:LINKS]},
        missed={channel: _short(why) for channel, why in incident.missed.items()},
    )


def _noted(incidents: Sequence[Incident]) -> tuple[bytes, Block]:
    """The note of a block, and what the index says of it."""
    lines = tuple(line_of(one) for one in incidents)
    data = _LINES.dump_json(lines)
    sorts = Counter(_sort(line) for line in lines)
    months = Counter((f"{line.opened:%Y-%m}", line.kind) for line in lines if line.is_alarm)
    return data, Block(
        digest=_digest(data),
        sorts=tuple(one.model_copy(update={"count": count}) for one, count in sorts.items()),
        months=tuple(MonthCount(month=month, kind=kind, count=count) for (month, kind), count in months.items()),
    )


def _index(incidents: Sequence[Incident], events: int, blocks: Sequence[Block]) -> Index:
    recent: list[Alarm] = []
    for one in reversed(incidents):
        if incidents[-1].opened - one.opened > timedelta(days=RECENT_DAYS):
            break
        if one.is_alarm:
            recent.append(Alarm(opened=one.opened, kind=one.kind, verdict=one.verdict))
    first = incidents[0].opened if incidents else None
    return Index(events=events, first=first, blocks=tuple(blocks), recent=tuple(reversed(recent)))


def state_of(line: IncidentLine) -> State:
    """Whether it is open or over."""
    return "open" if line.resolved is None else "over"


def _sort(line: IncidentLine) -> Sort:
    return Sort(kind=line.kind, state=state_of(line), judged=line.verdict is not None or not line.is_alarm, count=1)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def _short(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[: TEXT - 2]} …"
