"""What a release showed at each of its looks, kept below its model for whoever asks later how far it was and why it ended. Light.

releases/<model>/looks/<8-digit number of the ledger entry with which it began>.json

The record tells and decides nothing: what the next look goes on from is the working file (`perennial.serving.watch`). All counts are
since the release began, so that a look that is missing loses a point and no request. A long release is thinned out.

>>> import tempfile
>>> from datetime import datetime, timedelta, timezone
>>> from perennial.store import open_store
>>> store, noon = open_store(tempfile.mkdtemp()), datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
>>> plan = Plan(candidate=2, champion=1, steps=(5, 100), limits=Limits(requests=100, seconds=10, longest_seconds=3600))
>>> begin_record(store, "churn", 4, plan, noon)
>>> keep_look(store, "churn", 4, plan, Look(time=noon + timedelta(seconds=3), step=5, share=0.05, action="hold", sentence="It waits."))
>>> [(look.step, look.action) for look in release_record(store, "churn", 4).looks]
[(4, 'started'), (5, 'hold')]
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from perennial.errors import StoredDataDamaged
from perennial.lineage.look_records import is_newer, read_record, thinned
from perennial.store import Store

KEPT = 200  # looks of a release at most; the first and the last of a step are kept beyond that

Action = Literal["started", "advance", "hold", "promote", "roll_back", "ask"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tally(_Part):
    """One kind of event, such as errors, of both versions since the release began."""

    candidate_requests: int = Field(default=0, description="Requests of the candidate that could have had the event.")
    candidate_events: int = Field(default=0, description="How many of them had it.")
    champion_requests: int = Field(default=0, description="The same of the champion.")
    champion_events: int = Field(default=0, description="How many of them had it.")
    candidate_mean: float | None = Field(default=None, description="Mean of the candidate's values, of a signal that watches a mean.")
    champion_mean: float | None = Field(default=None, description="The same of the champion's.")
    evidence: float = Field(default=0.0, description="Evidence that the candidate is worse: decimal logarithm of the e-value.")
    within: float = Field(
        default=0.0, description="Evidence that the candidate is within what a signal tolerates that a team added, as logarithm."
    )


class Latency(_Part):
    """How long requests took since the release began: (upper bound in ms, requests), rising; the last bound may be none."""

    candidate: tuple[tuple[float | None, int], ...] = ()
    champion: tuple[tuple[float | None, int], ...] = ()


class SplitSeen(_Part):
    """How the requests of a step were split."""

    candidate: int = Field(description="Requests that the candidate got.")
    requests: int = Field(description="Requests of both versions.")
    evidence: float = Field(description="Evidence that its share is another than wanted, as decimal logarithm.")
    mismatched: bool = Field(default=False, description="Whether it was on this step or an earlier one.")


class Look(_Part):
    """One look at a release."""

    time: AwareDatetime = Field(description="When, UTC.")
    step: int = Field(description="Ledger entry with which the step began on which it was looked at; that of the release before the first.")
    share: float | None = Field(description="Share of the traffic that the candidate was to have; none for a shadow.")
    action: Action = Field(description="What the evidence said was to be done.")
    sentence: str = Field(description="Why, and what is waited for.")
    last_step: bool = Field(default=False, description="Whether the next step is the promotion.")
    step_requests: int = Field(default=0, description="Requests of the candidate on this step.")
    step_seconds: float = Field(default=0.0, description="Time on this step.")
    tallies: dict[str, Tally] = Field(default_factory=dict, description="By signal; those without a request yet are left out.")
    not_worse: float = Field(default=0.0, description="Evidence that its error rate is within a multiple of the champion's, as logarithm.")
    rare: float | None = Field(
        default=0.0, description="Evidence that its error rate is below the limit; none once errors are frequent enough to compare."
    )
    latency: Latency = Latency()
    silent_requests: float = Field(default=0.0, description="Requests that were due to it since it last got one.")
    unhealthy_looks: int = Field(default=0, description="Looks in a row at which the gateway found its server unhealthy.")
    split: SplitSeen | None = Field(default=None, description="How its requests of this step were split; none where that is not checked.")


class Limits(_Part):
    """What a release is held against. Evidence is in decimal logarithms."""

    requests: int = Field(description="Requests that a step wants.")
    seconds: float = Field(description="Shortest time on a step.")
    longest_seconds: float = Field(description="Longest time on a step; then a person is asked.")
    worse: dict[str, float] = Field(default_factory=dict, description="Evidence of each signal at which it is rolled back.")
    success: dict[str, float] = Field(
        default_factory=dict, description="By signal that must be shown to be within what it tolerates: evidence that a promotion wants."
    )
    dry_run: tuple[str, ...] = Field(default=(), description="Signals of both kinds that are watched only.")
    words: dict[str, str] = Field(default_factory=dict, description="What the signals watch that a team added.")
    promotion: float = Field(default=0.0, description="Evidence that a promotion wants.")
    split: float | None = Field(default=None, description="Evidence at which a step is not split as wanted; none where it is not checked.")
    error_ratio: float = Field(default=1.0, description="Multiple of the champion's error rate that it is to be shown to be below.")
    error_rate: float = Field(default=1.0, description="Error rate that it is to be shown to be below where errors are rare.")
    latency_ratio: float = Field(default=1.0, description="Multiple of the champion's share of slow requests that is harmless.")
    slow_above_ms: float | None = Field(default=None, description="Slower than this is slow; none while that is not known.")
    silent_requests: int = Field(default=0, description="So many requests due to it without one end it.")
    unhealthy_looks: int = Field(default=0, description="So many looks in a row at an unhealthy server end it.")


class Plan(_Part):
    """Which versions a release is about, its steps and its limits."""

    candidate: int
    champion: int | None = Field(description="The version it is compared with; none for a first version.")
    shadow: bool = Field(default=False, description="Whether it begins with a copy of the traffic.")
    steps: tuple[int, ...] = Field(description="Percent of the traffic at each step.")
    limits: Limits


class Record(_Part):
    """All that is kept of one release's looks."""

    form: Literal[1] = 1
    plan: Plan = Field(description="As of the newest look.")
    looks: tuple[Look, ...] = Field(description="Oldest first, at least one.", min_length=1)
    left_out: int = Field(default=0, description="How many looks were thinned out.")


def begin_record(store: Store, model: str, began: int, plan: Plan, now: datetime) -> None:
    """Begin the record of a release. Where it has begun this changes nothing.

    Args:
        store: has the record.
        model: name of the model.
        began: number of the ledger entry with which the release began.
        plan: its versions, steps and limits.
        now: when it began.
    """
    first = Look(time=now, step=began, share=0.0, action="started", sentence=f"The release of version {plan.candidate} begins.")
    if not store.exists(_key(model, began)):  # whoever wrote the entry is the only one who begins it
        store.write(_key(model, began), _bytes(Record(plan=plan, looks=(first,))))


def keep_look(store: Store, model: str, began: int, plan: Plan, look: Look) -> None:
    """Add a look to the record of a release. A look that was kept already, and one older than the newest, changes nothing.

    A record that is damaged begins anew: no release stops for what tells of it. Its page says since when there are looks.
    """
    try:
        before = release_record(store, model, began)
    except StoredDataDamaged:
        before = None
    looks = before.looks if before else ()
    if not is_newer(look, looks):
        return
    kept = thinned((*looks, look), KEPT, _within_its_step)
    left_out = (before.left_out if before else 0) + len(looks) + 1 - len(kept)
    store.write(_key(model, began), _bytes(Record(plan=plan, looks=kept, left_out=left_out)))


def release_record(store: Store, model: str, began: int) -> Record | None:
    """The record of the release that began with a ledger entry; None if there is none, as of releases before looks were recorded.

    Raises:
        StoredDataDamaged: it cannot be read.
    """
    return read_record(store, _key(model, began), Record, "this release")


def _within_its_step(looks: Sequence[Look], at: int) -> bool:
    """Whether a look is no end of its step: the ends stay."""
    return looks[at - 1].step == looks[at].step == looks[at + 1].step


def _bytes(record: Record) -> bytes:
    return record.model_dump_json(exclude_defaults=True).encode()


def _key(model: str, began: int) -> str:
    return f"releases/{model}/looks/{began:08d}.json"
