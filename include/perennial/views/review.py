"""The review of a model: what was released, refused and wrong in some weeks, how well it did, and what is open. One view for page, mail and
terminal.

>>> import tempfile
>>> from perennial.store import open_store
>>> view = review_view(open_store(tempfile.mkdtemp()), "digits")
>>> view.sentence
'No release ended in 30 days. No alarm was raised. Nothing is open.'
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydantic import Field

from perennial import discovery
from perennial.counted import counted, percent
from perennial.errors import StoredDataDamaged
from perennial.incidents.incidents import Incidents
from perennial.incidents.listing import IncidentLine
from perennial.lineage.delivery import Delivery
from perennial.lineage.making import usage_of
from perennial.lineage.releases import PastRelease, releases
from perennial.lineage.version_notes import VersionNote, versions_newest_first
from perennial.monitoring.report.timeline import WindowPoint, noted_timeline
from perennial.monitoring.report.words import metric_words, titled
from perennial.store import Store
from perennial.views.delivery import delivery_of
from perennial.views.model import row_of
from perennial.views.models import ModelRow
from perennial.views.view import View

DAYS = 30  # that are looked back, unless a beginning is given
WINDOWS = 8  # whose metrics stand in the words; pictures have all
LISTED = 100  # of each kind at most; the counts are of all


class Refusal(View):
    """A candidate that the gate refused."""

    digest: str
    trained: datetime | None
    sentence: str = Field(description="What the gate said.")


class TrainingUse(View):
    """What the trainings used, as far as that was noted."""

    trainings: int = Field(ge=0)
    noted: int = Field(ge=0, description="Those of which it was noted.")
    hours: float = Field(ge=0, description="Wall time of all of these.")
    cpu_hours: float = Field(ge=0)
    gpu_hours: float = Field(ge=0, description="Hours of training x GPUs, whether these worked or waited.")
    cpu_share: float | None = Field(description="CPU time that was used, of what the spec of now reserves; none if that is not known.")
    money: dict[str, float] = Field(description="By currency; empty without prices.")


class ReviewView(View):
    """All that a review of a model shows."""

    row: ModelRow
    since: datetime
    until: datetime
    sentence: str = Field(description="The review in a few words.")
    delivery: Delivery
    releases: tuple[PastRelease, ...] = Field(description="Those that ended, newest first.")
    refusals: tuple[Refusal, ...] = Field(description="Candidates that the gate refused, newest first.")
    incidents: tuple[IncidentLine, ...] = Field(description="Those that opened in this time, newest first.")
    alarms: int = Field(ge=0, description="Warning and critical ones of these.")
    judged: int = Field(ge=0, description="Alarms on which a person has given a verdict.")
    false: int = Field(ge=0, description="Those of them that were false.")
    windows: tuple[WindowPoint, ...] = Field(description="Of live traffic, oldest first.")
    use: TrainingUse
    open: tuple[str, ...] = Field(description="What waits for somebody, as sentences.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def review_view(store: Store, name: str, since: datetime | None = None, until: datetime | None = None) -> ReviewView:
    """Review one model.

    Args:
        store: has ledger, versions, incidents and windows.
        name: of the model.
        since: begin of the time, aware; thirty days before its end if absent.
        until: its end, aware; now if absent.

    Raises:
        UnknownName: neither a folder nor the ledger has that name.
    """
    row, damage = row_of(store, name), list[str]()
    until = until or datetime.now(timezone.utc)
    since = since or until - timedelta(days=DAYS)
    known = releases(store, name)
    damage += known.damage
    ended = [one for one in known.newest_first if one.ended_at is not None and since <= one.ended_at <= until]
    made = [note for note in versions_newest_first(store, name) if since <= note.when <= until]
    refused = [note for note in made if note.passed is False]
    lines = _incidents(store, name, damage)
    opened = [line for line in lines if since <= line.opened <= until]
    alarms = [line for line in opened if line.is_alarm]
    judged = [line for line in alarms if line.verdict is not None]
    false = sum(line.verdict == "false alarm" for line in judged)
    figures = delivery_of(store, name, since, until)
    still_open = _open(row, lines, refused, made)
    return ReviewView(
        row=row,
        since=since,
        until=until,
        sentence=_sentence(figures, len(alarms), len(judged), false, len(refused), len(still_open)),
        delivery=figures,
        releases=tuple(ended[:LISTED]),
        refusals=tuple(Refusal(digest=note.digest, trained=note.trained, sentence=note.sentence) for note in refused[:LISTED]),
        incidents=tuple(opened[:LISTED]),
        alarms=len(alarms),
        judged=len(judged),
        false=false,
        windows=tuple(point for point in noted_timeline(store, name, damage) if since <= _utc(point.last) and _utc(point.first) <= until),
        use=_use(store, name, [note for note in made if note.began is not None or note.used]),
        open=tuple(still_open),
        damage=tuple(dict.fromkeys(damage)),
    )


def sections(view: ReviewView) -> dict[str, list[str]]:
    """The review in words: sentences below heads, which a mail and a terminal show as they are. Heads without any are left out."""
    use, measured = view.use, [one for one in view.windows if one.metrics]
    more = [f"{counted(len(measured) - WINDOWS, 'earlier window')} with metrics."] if len(measured) > WINDOWS else []
    parts = {
        "What is open": list(view.open),
        "Delivery": [view.delivery.sentence],
        "Releases, newest first": [
            f"{one.ended_at:%Y-%m-%d %H:%M} version {one.version} {one.end} by {one.actor}: {one.reason}"
            + (f" It was rolled back on {one.undone_at:%Y-%m-%d %H:%M}: {one.undone_reason}" if one.undone_at else "")
            for one in view.releases
        ],
        "Refused by the gate, newest first": [
            f"{'' if one.trained is None else f'{one.trained:%Y-%m-%d %H:%M} '}{one.digest[:12]}: {one.sentence}" for one in view.refusals
        ],
        f"Incidents, newest first: {alarms_words(view)}": [
            f"{one.opened:%Y-%m-%d %H:%M} {one.severity} {one.kind}, {'over' if one.resolved else 'open'}"
            f"{f', judged {one.verdict} by {one.by}' if one.verdict else ''}: {one.sentence}"
            for one in view.incidents
        ],
        "Metrics of live traffic, newest window first": [
            f"{one.name.replace('_', ' to ')}, version {one.version}, {one.labelled:,} outcomes: "
            + ", ".join(f"{title} {metric_words(metric)}" for title, metric in titled(one.metrics))
            for one in measured[: -WINDOWS - 1 : -1]
        ]
        + more,
        "What trainings used": [_use_words(use)] if use.trainings else [],
        "What could not be read": list(view.damage),
    }
    return {head: told for head, told in parts.items() if told}


def alarms_words(view: ReviewView) -> str:
    """How many alarms there were, and how many of them were false."""
    if not view.alarms:
        return "no alarm was raised"
    judged = f"{view.false} of {view.judged} judged were false ({percent(view.false / view.judged)})" if view.judged else "none was judged"
    return f"{counted(view.alarms, 'alarm')}, {judged}"


def _sentence(figures: Delivery, alarms: int, judged: int, false: int, refused: int, still_open: int) -> str:
    days = f"{figures.days:.0f} days"
    released = f"{counted(figures.promoted, 'version')} got all traffic and {figures.failed} of {counted(figures.ended, 'release')} failed"
    parts = [
        f"In {days} {released}." if figures.ended else f"No release ended in {days}.",
        f"{counted(refused, 'candidate was', 'candidates were')} refused." if refused else "",
        f"{counted(alarms, 'alarm was', 'alarms were')} raised, {false} of {judged} judged were false."
        if alarms
        else "No alarm was raised.",
        f"{counted(still_open, 'thing is', 'things are')} open." if still_open else "Nothing is open.",
    ]
    return " ".join(part for part in parts if part)


def _incidents(store: Store, name: str, damage: list[str]) -> list[IncidentLine]:
    try:
        return list(Incidents(store, name).listing().lines())
    except StoredDataDamaged as error:
        damage.append(str(error))
        return []


def _open(row: ModelRow, lines: list[IncidentLine], refused: list[VersionNote], made: list[VersionNote]) -> list[str]:
    """What waits for somebody: the state of the model, open incidents, alarms without a verdict, a newest candidate that was refused."""
    told = [] if row.state == "serving" or (row.state == "nothing trained" and not made) else [row.sentence]
    told += [f"{one.severity} {one.kind} since {one.opened:%Y-%m-%d %H:%M}: {one.sentence}" for one in lines if one.resolved is None]
    if unjudged := sum(one.verdict is None and one.severity != "info" and one.resolved is not None for one in lines):
        told.append(f"{counted(unjudged, 'alarm', 'alarms')} that {'is' if unjudged == 1 else 'are'} over without a verdict of a person.")
    if refused and refused[0] is made[0] and row.state == "serving":
        told.append(f"The newest candidate was refused: {refused[0].sentence}")
    return told


def _use(store: Store, name: str, made: list[VersionNote]) -> TrainingUse:
    uses = [use for note in made if note.digest and (use := usage_of(store, name, note.digest)) is not None]
    wall, cpu = sum(use.wall_seconds for use in uses), sum(use.cpu_seconds for use in uses)
    spec = discovery.models().get(name)
    money: dict[str, float] = {}
    for use in uses:
        if use.money is not None:
            money[use.currency] = money.get(use.currency, 0.0) + use.money
    return TrainingUse(
        trainings=len(made),
        noted=len(uses),
        hours=wall / 3600,
        cpu_hours=cpu / 3600,
        gpu_hours=sum(use.gpu_seconds for use in uses) / 3600,
        cpu_share=cpu / (wall * spec.compute.cpus) if spec and wall else None,
        money=money,
    )


def _use_words(use: TrainingUse) -> str:
    share = "" if use.cpu_share is None else f", {percent(use.cpu_share)} of the CPUs that the spec reserves"
    money = "".join(f", {amount:,.4g} {currency}" for currency, amount in use.money.items())
    of = "" if use.noted == use.trainings else f" of {use.noted} of them it is known:"
    return (
        f"{counted(use.trainings, 'training')}:{of} {use.hours:.3g} hours, {use.cpu_hours:.3g} CPU hours{share}, "
        f"{use.gpu_hours:.3g} GPU hours{money}."
    )


def _utc(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=timezone.utc)
