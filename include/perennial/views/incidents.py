"""The incidents of all models, or of one: what is open, what was over when, what people said of it, and how often alarms are raised.

>>> import tempfile
>>> from perennial.store import open_store
>>> from perennial.incidents.incidents import Incidents
>>> store = open_store(tempfile.mkdtemp())
>>> _ = Incidents(store, "digits").open("drift", "pixel_17", "warning", "Pixel 17 drifted.")
>>> view = incidents_view(store, ["digits"])
>>> [(row.model, row.state, row.sentence) for row in view.rows], view.rate.alarms
([('digits', 'open', 'Pixel 17 drifted.')], 1)
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from itertools import islice

from pydantic import Field

from perennial import discovery
from perennial.errors import StoredDataDamaged
from perennial.incidents.incidents import AlarmRate, Incidents, alarm_rate, known_names
from perennial.incidents.kinds import KINDS, Kind
from perennial.incidents.listing import Alarm, IncidentLine, Listing, Sort, State, Wanted, state_of
from perennial.incidents.silences import Silences
from perennial.lineage.ledger import known_models
from perennial.store import Store
from perennial.views.view import View

PAGE = 50  # incidents on a page
MONTHS = 24  # shown at most, the newest


class IncidentRow(IncidentLine, View):
    """One incident of the list."""

    model: str = Field(description="The model or dataset whose it is.")
    state: State
    seconds: float | None = Field(description="How long it was open, s; none while it is.")


class Rate(View):
    """How often alarms are raised, and how often they are false."""

    alarms: int = Field(ge=0, description="Warning and critical incidents that opened in the days counted.")
    days: float = Field(description="Days counted: the last 90, or since the first incident, yet never less than a month.")
    per_month: float = Field(description="Alarms in a month of 30.4 days.")
    judged: int = Field(ge=0, description="Those on which a person has given a verdict.")
    false: int = Field(ge=0, description="Those of them that were false alarms.")
    sentence: str


class KindCount(View):
    """The incidents of one kind."""

    kind: Kind
    count: int = Field(ge=0, description="Open or over.")
    open: int = Field(ge=0)
    unjudged: int = Field(ge=0, description="Alarms without a verdict.")
    rate: Rate


class MonthOfAlarms(View):
    """The alarms that opened in one month, UTC."""

    month: str = Field(description="As in 2026-11.")
    alarms: dict[Kind, int] = Field(description="By kind; kinds without any are left out.")


class ModelIncidents(View):
    """The incidents of one model in figures."""

    name: str
    count: int = Field(ge=0, description="Open or over.")
    open: int = Field(ge=0)
    rate: Rate


class IncidentsView(View):
    """All that the page of incidents shows."""

    models: tuple[ModelIncidents, ...] = Field(description="Those that were asked about.")
    count: int = Field(ge=0, description="Incidents of all of them, open or over.")
    open: int = Field(ge=0)
    unjudged: int = Field(ge=0, description="Alarms on which nobody has given a verdict.")
    rate: Rate
    kinds: tuple[KindCount, ...] = Field(description="Kinds of which there is any.")
    months: tuple[MonthOfAlarms, ...] = Field(description="Oldest first; every month from the first shown to the last with an alarm.")
    wanted: Wanted = Field(description="What the rows were narrowed to.")
    rows: tuple[IncidentRow, ...] = Field(description="Newest first: one page of those that are wanted.")
    matching: int = Field(ge=0, description="How many incidents are wanted.")
    page: int = Field(ge=1)
    pages: int = Field(ge=1)
    silences: tuple[str, ...] = Field(description="Who silenced what until when, and why: of those that hold now.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def names_with_incidents(store: Store) -> list[str]:
    """Names of everything that has, had or could have an incident, sorted."""
    return sorted({*discovery.models(), *known_models(store), *known_names(store)})


def incidents_view(
    store: Store,
    names: Sequence[str],
    wanted: Wanted = Wanted(),  # noqa: B008 - it is frozen
    page: int = 1,
    now: datetime | None = None,
) -> IncidentsView:
    """The incidents of some models.

    Args:
        store: has them. What is damaged of one model is said in a sentence and hides no other one.
        names: of the models, or of datasets that are broken.
        wanted: which incidents the rows are.
        page: which part of the rows, from 1 on; the last one if there are fewer.
        now: end of the time over which alarms are counted; the present if absent.
    """
    now = now or datetime.now(timezone.utc)
    damage: list[str] = []
    silenced: list[str] = []
    listings: dict[str, Listing] = {}
    for name in names:
        try:
            listings[name] = Incidents(store, name).listing()
            silenced += [f"{name}: {silence.sentence}" for silence in Silences(store, name).active(now)]
        except StoredDataDamaged as error:
            damage.append(str(error))
    every = {kind: [0, 0, 0] for kind in KINDS}  # count, open, unjudged
    matching = 0
    counts = {name: listing.counts() for name, listing in listings.items()}
    alarms = {name: _alarms(listing) for name, listing in listings.items()}
    for of_model in counts.values():
        for sort, count in of_model.items():
            of_kind = every[sort.kind]
            of_kind[0] += count
            of_kind[1] += count if sort.state == "open" else 0
            of_kind[2] += 0 if sort.judged else count
            matching += count if wanted.has(sort) else 0
    pages = max(1, -(-matching // PAGE))
    page = min(max(1, page), pages)
    rows: list[IncidentRow] = []
    try:
        rows += islice(_newest_first(listings, wanted), (page - 1) * PAGE, page * PAGE)
    except StoredDataDamaged as error:
        damage.append(str(error))
    every_alarm = [alarm for of_model in alarms.values() for alarm in of_model]
    return IncidentsView(
        models=tuple(_of_model(name, counts[name], _rate(alarms[name], now)) for name in listings),
        count=sum(count for count, _, _ in every.values()),
        open=sum(going_on for _, going_on, _ in every.values()),
        unjudged=sum(unjudged for _, _, unjudged in every.values()),
        rate=_rate(every_alarm, now),
        kinds=tuple(
            KindCount(kind=kind, count=count, open=going_on, unjudged=unjudged, rate=_rate(_of_kind(every_alarm, kind), now))
            for kind, (count, going_on, unjudged) in every.items()
            if count
        ),
        months=_months(listings.values()),
        wanted=wanted,
        rows=tuple(rows),
        matching=matching,
        page=page,
        pages=pages,
        silences=tuple(silenced),
        damage=tuple(dict.fromkeys(damage)),
    )


def _newest_first(listings: dict[str, Listing], wanted: Wanted) -> Iterator[IncidentRow]:
    def of(name: str, listing: Listing) -> Iterator[IncidentRow]:
        return (_row(name, line) for line in listing.lines(wanted))

    return heapq.merge(*(of(name, listing) for name, listing in listings.items()), key=lambda row: row.opened, reverse=True)


def _row(name: str, line: IncidentLine) -> IncidentRow:
    facts = {field: getattr(line, field) for field in IncidentLine.model_fields}
    seconds = (line.resolved - line.opened).total_seconds() if line.resolved else None
    return IncidentRow(model=name, state=state_of(line), seconds=seconds, **facts)


def _alarms(listing: Listing) -> list[Alarm]:
    """The newest alarms, after the first incident there was, which says since when they are counted."""
    first = listing.index.first
    since = [Alarm(opened=first, kind=KINDS[0], is_alarm=False)] if first else []
    return [*since, *listing.index.recent]


def _of_kind(alarms: Sequence[Alarm], kind: Kind) -> list[Alarm]:
    return [alarm for alarm in alarms if alarm.kind == kind or not alarm.is_alarm]


def _of_model(name: str, counts: Counter[Sort], rate: Rate) -> ModelIncidents:
    going_on = sum(count for sort, count in counts.items() if sort.state == "open")
    return ModelIncidents(name=name, count=sum(counts.values()), open=going_on, rate=rate)


def _rate(alarms: Sequence[Alarm], now: datetime) -> Rate:
    rate: AlarmRate = alarm_rate(alarms, now)
    return Rate(alarms=rate.alarms, days=rate.days, per_month=rate.per_month, judged=rate.judged, false=rate.false, sentence=rate.sentence)


def _months(listings: Iterable[Listing]) -> tuple[MonthOfAlarms, ...]:
    """The alarms of the newest months; a month without any is there too."""
    total: dict[str, dict[Kind, int]] = {}
    for listing in listings:
        for (month, kind), count in listing.months().items():
            of_month = total.setdefault(month, {})
            of_month[kind] = of_month.get(kind, 0) + count
    if not total:
        return ()
    return tuple(MonthOfAlarms(month=month, alarms=total.get(month, {})) for month in _through(min(total), max(total))[-MONTHS:])


def _through(first: str, last: str) -> list[str]:
    """All months from one to another, as in 2026-11."""
    begin, end = (int(month[:4]) * 12 + int(month[5:]) - 1 for month in (first, last))
    return [f"{at // 12:04d}-{at % 12 + 1:02d}" for at in range(max(begin, end - MONTHS), end + 1)]
