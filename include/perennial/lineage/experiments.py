"""What an experiment is to show, and what it showed at each look, kept for whoever asks later. Light.

experiments/<model>/<8-digit number of the ledger entry with which it began>.json

What was planned and how it ended stand in the ledger, too: entries of the kinds `experiment`, `experiment_weights` (each change of shares)
and the one that ended it. The record tells and decides nothing; a long experiment's is thinned out.

>>> import tempfile
>>> from datetime import datetime, timezone
>>> from perennial.store import open_store
>>> store, noon = open_store(tempfile.mkdtemp()), datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
>>> metric = SignalSpec(name="metric", source="outcomes", column="error", low=0, high=1)
>>> plan = Plan(champion=7, tried=8, metric=metric, unit="user_id", least=0.02)
>>> keep_look(store, "churn", 4, plan, Look(time=noon, share=0.5, sentence="It begins."))
>>> [look.sentence for look in experiment_record(store, "churn", 4).looks], experiments(store, "churn")
(['It begins.'], [4])
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from perennial.errors import StoredDataDamaged
from perennial.lineage.ledger import EXPERIMENT, Entry, Ledger
from perennial.lineage.look_records import is_newer, read_record, thinned
from perennial.specs import SignalSpec
from perennial.store import Store

KEPT = 300  # looks of a record at most
PART = "experiment"  # of the evidence of an entry
_KEY = re.compile(r"experiments/[^/]+/(\d{8})\.json")

Verdict = Literal["", "better", "worse", "no_difference", "harm", "split", "stopped", "failed"]
WORDS: Mapping[Verdict, str] = {
    "": "under way",
    "better": "the version that was tried won",
    "worse": "the champion won",
    "no_difference": "no difference shown",
    "harm": "stopped: the version that was tried did harm",
    "split": "stopped: units were not shared out as wanted",
    "stopped": "stopped by a person",
    "failed": "the version that was to be tried could not take traffic",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Part):
    """What an experiment is to show, and how sure it is to be.

    Its numbers have bounds within which every look can be reckoned.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    champion: int = Field(description="The version that serves, with which it is compared.")
    tried: int = Field(description="The version that is tried.")
    metric: SignalSpec = Field(description="What is compared: its mean, or how often it meets a condition.")
    unit: str = Field(description="What the key in the header x-perennial-unit is of, such as user_id.")
    share: float = Field(default=0.5, gt=0, lt=1, description="Share of the units that get the version that is tried, at the beginning.")
    least: float = Field(ge=1e-12, le=1e100, description="Least difference worth knowing, in the metric's unit.")
    power: float = Field(default=0.8, gt=0.5, lt=1, description="Chance to show a difference of that size.")
    alpha: float = Field(default=0.05, ge=1e-9, lt=0.5, description="Chance that the interval ever misses the true difference.")
    days: float = Field(default=28, gt=0, le=3_650, description="Longest time, days.")
    look_seconds: float = Field(default=60, gt=0, le=86_400, description="Time between two looks, seconds.")
    promote: bool = Field(default=False, description="Whether a winner is made the champion at once.")
    run: str = Field(default="", description="The orchestrator's run that began it: the same one begins it once.")

    @property
    def words(self) -> str:
        """What is compared, and in which sense, in a few words."""
        return f"{measured(self.metric)}, {'higher' if self.metric.direction == 'higher' else 'lower'} is better"


class Look(_Part):
    """One look at an experiment."""

    time: AwareDatetime = Field(description="When, UTC.")
    share: float = Field(description="Share of the units that get the version that is tried.")
    sentence: str = Field(description="What was seen, and what is waited for.")
    verdict: Verdict = ""
    champion_units: int = Field(default=0, description="Units of the champion with a value.")
    tried_units: int = Field(default=0, description="Units of the version that is tried with a value.")
    champion_mean: float | None = Field(default=None, description="Mean of the champion's units.")
    tried_mean: float | None = Field(default=None, description="Mean of the other's.")
    difference: float | None = Field(default=None, description="How much greater that of the version that is tried is.")
    low: float | None = Field(default=None, description="The interval around it, which holds at all looks together.")
    high: float | None = None
    planned: int | None = Field(default=None, description="Units that power asks for, by what they have shown so far.")
    arrived: tuple[tuple[float, int, int], ...] = Field(
        default=(), description="For each share so far: it, units that came and got the version that is tried, and all units that came."
    )
    changed: int = Field(default=0, description="Units that changed their version with the shares: they count no more.")
    crossed: int = Field(default=0, description="Requests that another version answered than the unit's: they count for none.")
    without_unit: int = Field(default=0, description="Requests without a unit: they are not in it.")

    def figures(self) -> dict[str, Any]:
        """As evidence for the ledger."""
        return self.model_dump(mode="json", exclude={"time", "sentence"}, exclude_defaults=True)


class Record(_Part):
    """All that is kept of one experiment's looks."""

    form: Literal[1] = 1
    plan: Plan
    looks: tuple[Look, ...] = Field(description="Oldest first.", min_length=1)
    left_out: int = Field(default=0, description="How many looks were thinned out.")


def measured(metric: SignalSpec) -> str:
    """What a metric measures of each unit, in words."""
    return f"share of answers with {metric.column} {metric.event}" if metric.event else f"mean {metric.column}"


def plan_of(begun: Entry) -> Plan:
    """The plan of the experiment that began with an entry. Raises StoredDataDamaged if it cannot be read."""
    try:
        return Plan.model_validate(begun.evidence[PART])
    except (KeyError, ValidationError):
        raise StoredDataDamaged(
            f"Entry {begun.seq} of the ledger of {begun.model} does not say what its experiment is to show. End the experiment: "
            f"`perennial rollback --model {begun.model}`."
        ) from None


def under_way(ledger: Ledger, last: Entry | None) -> list[Entry]:
    """The entries of the experiment that is under way as of an entry, oldest first; an empty list if none is.

    What another writer has added since does not count: whoever decides by these entries knows no newer one either.
    """
    entries: list[Entry] = []
    for entry in ledger.newest_first() if last is not None else ():
        if last is not None and entry.seq > last.seq:
            continue
        if entry.kind not in EXPERIMENT:
            break
        entries.append(entry)
        if entry.kind == "experiment":
            return entries[::-1]
    return []


def keep_look(store: Store, model: str, began: int, plan: Plan, look: Look) -> None:
    """Add a look to the record. One that is older than the newest changes nothing; a record that is damaged begins anew."""
    try:
        before = experiment_record(store, model, began)
    except StoredDataDamaged:
        before = None
    looks = before.looks if before else ()
    if not is_newer(look, looks):
        return
    kept = thinned((*looks, look), KEPT)
    left_out = (before.left_out if before else 0) + len(looks) + 1 - len(kept)
    store.write(_key(model, began), Record(plan=plan, looks=kept, left_out=left_out).model_dump_json(exclude_defaults=True).encode())


def experiment_record(store: Store, model: str, began: int) -> Record | None:
    """The record of the experiment that began with a ledger entry; None if there is none.

    Raises:
        StoredDataDamaged: it cannot be read.
    """
    return read_record(store, _key(model, began), Record, "this experiment")


def experiments(store: Store, model: str) -> list[int]:
    """The ledger entries with which experiments began that have a record, newest first."""
    matches = (_KEY.fullmatch(item.key) for item in store.list(f"experiments/{model}"))
    return sorted((int(match[1]) for match in matches if match), reverse=True)


def _key(model: str, began: int) -> str:
    return f"experiments/{model}/{began:08d}.json"
