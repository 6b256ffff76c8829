"""One release, live or past: its steps, the evidence at each look against its limits, both versions, and what it waits for.

>>> import tempfile
>>> from perennial.store import open_store
>>> release_view(open_store(tempfile.mkdtemp()), "digits").state
'none'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Literal

from pydantic import Field

from perennial import discovery
from perennial.counted import counted, lasting
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.freezes import frozen
from perennial.lineage.ledger import WHOLE, Entry, Ledger
from perennial.lineage.release_record import Limits, Look, Plan, Record, Tally, release_record
from perennial.lineage.releases import PastRelease, Releases, releases
from perennial.store import Store
from perennial.views._estimates import Estimate, difference, quantile, share
from perennial.views.model import Decision, decision_of, row_of
from perennial.views.models import ModelRow
from perennial.views.view import View

PAST = 30  # releases in the list at most, the newest
ENTRIES = 120  # of one release's decisions at most: a spec has a hundred steps at most
LATENCIES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

State = Literal["none", "starting", "running", "paused", "promoted", "rolled back", "retired"]
SIGNALS = {
    "errors": "requests that failed",
    "latency": "slow requests",
    "outcomes": "answers that turned out wrong",
    "unreadable": "requests that it could not read",
}


class Arm(View):
    """What one of the two versions has shown since the release began."""

    version: int
    role: Literal["candidate", "champion"]
    requests: int = Field(description="Requests that it was asked.")
    errors: int = Field(description="How many of them failed.")
    error_rate: Estimate | None = Field(description="Share of requests that failed.")
    latency: dict[str, Estimate] = Field(description="p50, p95 and p99, ms, read from buckets; empty while nothing is known.")


class Signal(View):
    """One kind of event that may end the release, and its evidence as decimal logarithms."""

    name: str
    what: str = Field(description="Which requests it counts, in words.")
    tally: Tally
    limit: float = Field(description="Evidence at which the release is rolled back, or that a promotion wants.")
    role: Literal["guardrail", "success"] = Field(
        default="guardrail", description="Whether it may roll back, or is to be shown before a promotion."
    )
    dry_run: bool = Field(default=False, description="Whether it is watched only.")
    evidence: float = Field(description="Its evidence, as decimal logarithm: that the candidate is worse, or within what is tolerated.")
    way: float = Field(ge=0, le=1, description="How much of the way to that limit the evidence has gone.")

    @property
    def ends_at(self) -> str:
        """What its evidence leads to at its limit, before that limit in a sentence."""
        if self.role == "success":
            return "would be shown at" if self.dry_run else "promotion wants"
        return "would roll back at" if self.dry_run else "rolled back at"


class Want(View):
    """One thing that the step wants before it goes on."""

    what: str = Field(description="What, with how much of it is there, as a clause.")
    way: float = Field(ge=0, le=1, description="How much of it is there.")
    seconds: float | None = Field(
        description="In how many seconds the rest is there at the rate of this step; none if that cannot be told."
    )


class Step(View):
    """One step of the release."""

    percent: int | None = Field(description="The candidate's share of the traffic, in percent; none for a copy of all traffic.")
    state: Literal["done", "now", "ended here", "to come", "not reached"]
    began: datetime | None = Field(description="When it began, UTC.")
    ended: datetime | None = Field(description="When the next one began or the release ended, UTC.")
    requests: int = Field(description="Requests of the candidate on it.")


class Point(View):
    """One look, as the pictures draw it."""

    time: datetime
    wanted: float | None = Field(description="Share of the traffic that the candidate was to have; none for a shadow.")
    got: Estimate | None = Field(description="Share of the requests that it got on this step.")
    action: str = Field(description="What the evidence said was to be done.")
    sentence: str = Field(description="Why, and what was waited for.")
    candidate_errors: Estimate | None
    champion_errors: Estimate | None
    difference: Estimate | None = Field(description="The candidate's error rate less the champion's.")
    allowed: float | None = Field(description="Difference at which the candidate's error rate is the tolerated multiple of the champion's.")
    candidate_p95: Estimate | None
    champion_p95: Estimate | None
    worse: dict[str, float] = Field(description="Evidence of each signal that the candidate is worse, as decimal logarithm.")
    not_worse: float = Field(description="Evidence that its error rate is within the tolerated multiple, as decimal logarithm.")
    rare: float | None = Field(description="Evidence that its error rate is below the limit; none once errors can be compared.")


class ReleaseView(View):
    """All that the page of a release shows."""

    row: ModelRow
    state: State = Field(description="How it stands, in a word; `none` where nothing was ever released.")
    sentence: str = Field(description="How it stands or how it ended, and why.")
    next: str = Field(description="What it waits for now and how far that is; empty once it has ended.")
    frozen: str = Field(default="", description="Until when and why no release begins or goes on by itself; empty if none is frozen.")
    readers: str = Field(
        default="", description="What models that read its scores made of the candidate's, in a sentence; empty if none do."
    )
    release: PastRelease | None = Field(description="When and how it began and ended.")
    plan: Plan | None = Field(description="Its steps and limits; none where its looks were not recorded.")
    steps: tuple[Step, ...]
    wants: tuple[Want, ...] = Field(description="What the present step wants; empty once it has ended.")
    arms: tuple[Arm, ...] = Field(description="The candidate and the champion; empty where no look was recorded.")
    signals: tuple[Signal, ...]
    split: str = Field(default="", description="Whether requests of this step are split as wanted, in a sentence; empty while none are.")
    points: tuple[Point, ...] = Field(description="Its looks, oldest first.")
    left_out: int = Field(description="Looks that were thinned out of a long release.")
    decisions: tuple[Decision, ...] = Field(description="Entries of the ledger from its beginning to its end, newest first.")
    past: tuple[PastRelease, ...] = Field(description="The model's releases, this one among them, newest first.")
    more: bool = Field(description="Whether there are older ones, which `past` leaves out.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")

    @property
    def live(self) -> bool:
        """Whether the release is under way."""
        return self.state in ("starting", "running", "paused")


def release_view(store: Store, name: str, *, began: int | None = None, version: int | None = None) -> ReleaseView:
    """A release of a model: the one under way, else the newest, unless one is named.

    Args:
        store: has the ledger and the record of looks.
        name: of the model.
        began: number of the ledger entry with which it began.
        version: the version whose newest release it is.

    Raises:
        UnknownName: there is no such model or no such release.
    """
    row, known, frozen_words = row_of(store, name), releases(store, name), _frozen(name)
    release = _chosen(name, known, began, version)
    damage = list(known.damage)
    if release is None:
        return ReleaseView(
            row=row, state="none", sentence=f"No version of {name} was released yet. {row.sentence}", next="", frozen=frozen_words,
            release=None, plan=None, steps=(), wants=(), arms=(), signals=(), points=(), left_out=0, decisions=(), past=(),
            more=known.more, damage=tuple(damage),
        )  # fmt: skip
    entries = _entries(store, name, release, known.read_to, damage)
    record = _record(store, name, release, damage)
    looks = record.looks if record else ()
    state = _state(release, entries)
    live = state in ("running", "paused")
    wants = _wants(record, looks[-1]) if record and live else ()
    plan = record.plan if record else None
    signals = _signals(plan.limits, looks[-1]) if plan else ()
    return ReleaseView(
        row=row,
        state=state,
        sentence=_sentence(name, release, state, entries),
        next=_next(name, release, state, record, wants, signals),
        frozen=frozen_words,
        readers=_readers(entries),
        release=release,
        plan=plan,
        steps=_steps(release, plan, entries, looks),
        wants=wants,
        arms=_arms(release, looks[-1]) if looks and release.champion else (),
        signals=signals,
        split=_split(plan.limits, looks[-1]) if plan and looks else "",
        points=_points(looks, plan.limits if plan else None),
        left_out=record.left_out if record else 0,
        decisions=tuple(map(decision_of, reversed(entries))),
        past=known.newest_first[:PAST],
        more=known.more or len(known.newest_first) > PAST,
        damage=tuple(dict.fromkeys(damage)),
    )


def _readers(entries: Sequence[Entry]) -> str:
    """What the ledger says of the models that read the scores, where a release began."""
    told = next((entry.evidence.get("readers") for entry in entries if entry.kind == "started"), None)
    return f"Models that read its scores: {told['sentence']}" if told else ""


def _frozen(name: str) -> str:
    """What a freeze of the spec means for people, in a sentence; empty if none holds."""
    spec = discovery.models().get(name)
    held = frozen(spec.release.freeze, datetime.now(timezone.utc)) if spec else None
    return f"No release begins or goes on by itself: {held.words}. A person may still start, promote or roll back." if held else ""


def _chosen(name: str, known: Releases, began: int | None, version: int | None) -> PastRelease | None:
    for release in known.newest_first:
        if began in (None, release.began) and version in (None, release.version):
            return release
    if began is None and version is None:
        return None
    which = f"to version {version}" if began is None else f"that began with entry {began} of the ledger"
    raise UnknownName(f"There is no release of {name} {which}. `perennial ledger show --model {name}` lists all that happened.")


def _entries(store: Store, name: str, release: PastRelease, newest: int, damage: list[str]) -> list[Entry]:
    """The ledger's entries from the beginning of a release to its end or to the newest one, oldest first."""
    ledger = Ledger(store, name)
    entries: list[Entry] = []
    last = newest if release.ended is None else release.ended
    try:
        for seq in range(release.began, min(last, release.began + ENTRIES) + 1):
            entries.append(ledger.entry(seq))
    except StoredDataDamaged as error:
        damage.append(str(error))
    return [entry for entry in entries if entry.version == release.version]


def _record(store: Store, name: str, release: PastRelease, damage: list[str]) -> Record | None:
    try:
        record = release_record(store, name, release.began)
    except StoredDataDamaged as error:
        damage.append(str(error))
        return None
    if record is None:
        damage.append(
            "What was seen at the looks at this release was not recorded: it began with an older Perennial, or its record was deleted."
        )
    elif record.looks[0].step != release.began:
        damage.append(
            f"What was seen before {record.looks[0].time:%Y-%m-%d %H:%M} UTC is not on record: the release began with an older Perennial, "
            "or its record was damaged and begun anew."
        )
    return record


def _state(release: PastRelease, entries: Sequence[Entry]) -> State:
    if release.end:
        return release.end
    kinds: dict[str, State] = {"started": "starting", "paused": "paused"}
    return kinds.get(entries[-1].kind if entries else "started", "running")


def _sentence(name: str, release: PastRelease, state: State, entries: Sequence[Entry]) -> str:
    version, champion = release.version, release.champion
    beside = f" beside version {champion}" if champion else ""
    if state == "promoted":
        said = f"Version {version} was promoted: {release.reason}"
        undone = release.undone_at
        return said if undone is None else f"{said} It was rolled back later, at {undone:%Y-%m-%d %H:%M} UTC: {release.undone_reason}"
    if state == "rolled back":
        now = f"version {champion} has all traffic" if champion else "nothing serves"
        return f"Version {version} was rolled back, {now}: {release.reason}"
    if state == "retired":
        return f"{name} was retired while version {version} was being released: {release.reason}"
    if state == "starting":
        return f"Version {version} is being started{beside}; it gets traffic once it is ready and its golden rows match."
    gets = (
        "a copy of all traffic"
        if entries[-1].shadow == version
        else f"{entries[-1].weights.get(version, 0) * 100 / WHOLE:g} % of the traffic"
    )
    if state == "paused":
        return f"Version {version} gets {gets}{beside} and waits for a person: {entries[-1].reason}"
    return f"Version {version} gets {gets}{beside}."


def _next(name: str, release: PastRelease, state: State, record: Record | None, wants: Sequence[Want], signals: Sequence[Signal]) -> str:
    """What it waits for and how far that is, and how near the nearest limit of a rollback is."""
    if state == "paused":
        decide = f"`perennial release --model {name} --version {release.version} --actor YOU --decision"
        return f"A person decides: {decide} promote` or {decide} roll_back`, or in the DAG {name}_release."
    if state != "running" or record is None:
        return ""
    look = record.looks[-1]
    following = "the promotion" if look.last_step else _share_words(_following(record.plan, look.share))
    lacking = [want for want in wants if want.way < 1]
    if lacking:
        rest = max((want.seconds for want in lacking if want.seconds is not None), default=None)
        until = (
            "" if rest is None or any(want.seconds is None for want in lacking) else f"; at the rate of this step in about {lasting(rest)}"
        )
        said = f"Next is {following}. For that, {'; '.join(want.what for want in lacking)}{until}."
    else:
        said = f"Next is {following}: all that this step wants is there."
    deciding = [signal for signal in signals if signal.role == "guardrail" and not signal.dry_run]
    nearest = max(deciding, key=lambda signal: signal.way, default=None)
    if nearest is None or nearest.way == 0:
        return f"{said} Nothing speaks for a rollback."
    return (
        f"{said} Nearest to a rollback: {nearest.what}, {odds(nearest.tally.evidence)} of the {odds(nearest.limit)} "
        f"that end it ({100 * nearest.way:.0f} % of the way)."
    )


def _following(plan: Plan, now: float | None) -> int:
    percent = round(100 * (now or 0))
    return next((step for step in plan.steps if step > percent), 100)


def _share_words(percent: int | None) -> str:
    return "a copy of all traffic" if percent is None else f"{percent} % of the traffic"


def odds(log: float) -> str:
    """Evidence in words, given its decimal logarithm: `25 to 1`."""
    if log > 9:
        return f"10^{log:.0f} to 1"
    if log < -3:
        return "less than 0.001 to 1"
    value = 10**log
    return f"{value:,.0f} to 1" if value >= 10 else f"{value:.2g} to 1"


def _wants(record: Record, look: Look) -> tuple[Want, ...]:
    """What the step wants. How long the rest takes is told by what this step has shown from its first look on."""
    limits = record.plan.limits
    first = next(one for one in record.looks if one.step == look.step)
    seconds = max(look.step_seconds, 0.0)
    came, wanted = look.step_requests, limits.requests
    wants = [
        Want(
            what=f"{came:,} of the {wanted:,} requests that this step wants of the candidate have come"
            if came < wanted
            else f"{counted(came, 'request')} of the candidate on this step, which wants {wanted:,}",
            way=min(1.0, came / wanted),
            seconds=_rest(wanted - came, came, seconds),
        )
    ]
    if seconds < limits.seconds:
        waited = f"{seconds:.0f} of the {limits.seconds:.0f} s that this step lasts at least have passed"
        wants.append(Want(what=waited, way=seconds / limits.seconds, seconds=limits.seconds - seconds))
    if look.last_step:
        has = _within(look)
        passed = (look.time - first.time).total_seconds()
        wants += [_success(name, wanted, limits, look, first) for name, wanted in limits.success.items() if name not in limits.dry_run]
        wants.append(
            Want(
                what=f"the evidence that its error rate is within limits is {odds(has)} of the {odds(limits.promotion)} "
                "that promotion wants",
                way=min(1.0, max(0.0, has / limits.promotion)) if limits.promotion else 1.0,
                seconds=_rest(limits.promotion - has, has - _within(first) if has > 0 else 0.0, passed),
            )
        )
    return tuple(wants)


def _success(name: str, wanted: float, limits: Limits, look: Look, first: Look) -> Want:
    """How far a signal is that must be shown to be within what it tolerates."""
    has, had = (at.tallies.get(name, Tally()).within for at in (look, first))
    return Want(
        what=f"the evidence that it is within what {limits.words.get(name, name)} tolerates is {odds(has)} of the {odds(wanted)} "
        "that promotion wants",
        way=min(1.0, max(0.0, has / wanted)) if wanted else 1.0,
        seconds=_rest(wanted - has, has - had if has > 0 else 0.0, (look.time - first.time).total_seconds()),
    )


def _within(look: Look) -> float:
    return max(look.not_worse, -math.inf if look.rare is None else look.rare)


def _rest(lacking: float, came: float, seconds: float) -> float | None:
    """In how many seconds what is lacking comes, where so much came in so many seconds."""
    if lacking <= 0:
        return 0.0
    return lacking * seconds / came if came > 0 and seconds > 0 else None


def _signals(limits: Limits, look: Look) -> tuple[Signal, ...]:
    """The signals of which something was seen, nearest to its limit first; then those that only watch, then those to be shown."""
    wanted = {**limits.worse, **limits.success}
    slow = "" if limits.slow_above_ms is None else f" (above {limits.slow_above_ms:g} ms)"
    told = [
        Signal(
            name=name,
            what=SIGNALS.get(name, limits.words.get(name, name)) + (slow if name == "latency" else ""),
            tally=tally,
            limit=wanted.get(name, 0.0),
            role="success" if name in limits.success else "guardrail",
            dry_run=name in limits.dry_run,
            evidence=tally.within if name in limits.success else tally.evidence,
            way=min(1.0, max(0.0, (tally.within if name in limits.success else tally.evidence) / wanted[name]))
            if wanted.get(name)
            else 0.0,
        )
        for name, tally in look.tallies.items()
    ]
    return tuple(sorted(told, key=lambda signal: (signal.role, signal.dry_run, -signal.way)))


def _split(limits: Limits, look: Look) -> str:
    """Whether the requests of a step are split as wanted."""
    seen = look.split
    if seen is None or limits.split is None:
        return ""
    wanted = "" if look.share is None else f", {100 * look.share:g} % are due to it"
    part = 100 * seen.candidate / seen.requests
    got = f"the candidate got {seen.candidate:,} of {seen.requests:,} requests of this step ({part:.3g} %){wanted}"
    said = "not as wanted, on this step or an earlier one" if seen.mismatched else "nothing speaks against it"
    return f"Split of the traffic: {got}; {said} ({odds(seen.evidence)}, told at {odds(limits.split)})."


def _steps(release: PastRelease, plan: Plan | None, entries: Sequence[Entry], looks: Sequence[Look]) -> tuple[Step, ...]:
    """Every step of the plan, those that were reached with their times."""
    moved = [entry for entry in entries if entry.kind == "weights"]
    ends = [*(entry.time for entry in moved[1:]), release.ended_at]
    reached = [None if entry.shadow == release.version else entry.weights.get(release.version, 0) * 100 // WHOLE for entry in moved]
    requests = {look.step: look.step_requests for look in looks}
    steps = [
        Step(
            percent=percent,
            state="done" if place < len(moved) - 1 or release.end == "promoted" else "ended here" if release.end else "now",
            began=entry.time,
            ended=ended,
            requests=requests.get(entry.seq, 0),
        )
        for place, (entry, ended, percent) in enumerate(zip(moved, ends, reached, strict=False))
    ]
    if release.end == "promoted":
        return (*steps, Step(percent=100, state="done", began=release.ended_at, ended=None, requests=0))
    planned: tuple[int | None, ...] = ((None, *plan.steps) if plan.shadow else plan.steps) if plan and plan.champion else ()
    highest = max((percent or 0 for percent in reached), default=0)
    to_come = [percent for percent in planned if not (percent is None and moved) and (percent is None or percent > highest)]
    state: Literal["to come", "not reached"] = "not reached" if release.end else "to come"
    return (*steps, *(Step(percent=percent, state=state, began=None, ended=None, requests=0) for percent in to_come))


def _arms(release: PastRelease, look: Look) -> tuple[Arm, ...]:
    tally = look.tallies.get("errors", Tally())
    counts = (
        ("candidate", release.version, tally.candidate_requests, tally.candidate_events, look.latency.candidate),
        ("champion", release.champion, tally.champion_requests, tally.champion_events, look.latency.champion),
    )
    return tuple(
        Arm.model_validate({
            "version": version, "role": role, "requests": requests, "errors": errors, "error_rate": share(errors, requests),
            "latency": {name: at for name, of in LATENCIES.items() if (at := quantile(buckets, of))},
        })
        for role, version, requests, errors, buckets in counts
    )  # fmt: skip


def _points(looks: Sequence[Look], limits: Limits | None) -> tuple[Point, ...]:
    points, base, before = [], Tally(), looks[0] if looks else None
    for look in looks:
        tally = look.tallies.get("errors", Tally())
        if before and look.step != before.step:
            base = before.tallies.get("errors", Tally())
        before = look
        ours, theirs = share(tally.candidate_events, tally.candidate_requests), share(tally.champion_events, tally.champion_requests)
        came = tally.candidate_requests - base.candidate_requests, tally.champion_requests - base.champion_requests
        points.append(
            Point(
                time=look.time,
                wanted=look.share,
                got=None if look.share is None or min(came) < 0 else share(came[0], sum(came)),
                action=look.action,
                sentence=look.sentence,
                candidate_errors=ours,
                champion_errors=theirs,
                difference=difference(ours, theirs),
                allowed=(limits.error_ratio - 1) * theirs.value if limits and theirs else None,
                candidate_p95=quantile(look.latency.candidate, LATENCIES["p95"]),
                champion_p95=quantile(look.latency.champion, LATENCIES["p95"]),
                worse={name: tally.evidence for name, tally in look.tallies.items()},
                not_worse=look.not_worse,
                rare=look.rare,
            )
        )
    return tuple(points)
