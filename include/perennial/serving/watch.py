"""The working file of a release: the evidence so far, and the counters at the last look.

Both are written together, whole, after each look. A look that was killed, or one that ran beside another, therefore neither
loses a request nor counts one twice: the next look goes on from the counters that belong to the evidence it finds.

    >>> watch = Watch.begin(candidate=8, champion=7, arms={7: Arm(requests=900), 8: Arm()})
    >>> watch.counters[7]["requests"], watch.evidence == canary.Evidence()  # what was before does not count
    (900, True)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.serving import canary, split
from perennial.serving.route import FRESH, Arm
from perennial.specs import ReleaseSpec, SignalSpec
from perennial.store import Store

OUTCOMES_SECONDS = 30  # counting outcomes loads much, so not at every look
BLIND_SECONDS = 600  # a signal without a value for so long is told
SHADOW_SHARE = 0.5  # a shadow gets one request for each one that the champion gets


class Watch(BaseModel):
    """The evidence of one release, and the counters at the last look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: int = Field(description="The version that wants traffic.")
    champion: int = Field(description="The version it is compared with.")
    step: int = Field(default=-1, description="Ledger entry with which the present step began.")
    since: datetime | None = Field(default=None, description="When it began, UTC.")
    begun: datetime = Field(default_factory=lambda: datetime.now(timezone.utc), description="When it began to count, UTC.")
    counters: dict[int, dict[str, Any]] = Field(description="What each arm had shown at the last look.")
    labelled: dict[int, tuple[int, int]] = Field(
        default_factory=dict, description="Outcomes of each arm known at the last look, and how many of them were wrong."
    )
    labelled_mark: str = Field(default="", description="Newest outcome in the store when they were last counted.")
    labelled_at: datetime | None = Field(default=None, description="When they were last counted, UTC.")
    usual_error: float | None = Field(
        default=None,
        description="A regression that errs by more than this is wrong. Read from the champion's outcomes, before those that it judges.",
    )
    edge_ms: float | None = Field(
        default=None, description="Slower than this is slow. Read from the champion's past, before the requests that it judges."
    )
    edges: dict[str, float] = Field(
        default_factory=dict, description="By signal of a quantile: that of the champion's values, from before the release."
    )
    asked_at: dict[str, datetime] = Field(
        default_factory=dict, description="By signal that comes from a Prometheus: when it was last asked for, UTC."
    )
    fed_at: dict[str, datetime] = Field(
        default_factory=dict, description="By signal that a team added: when both versions last had a value of it, UTC."
    )
    split_reason: str | None = Field(default=None, description="Where traffic is not split as wanted: what the log says of it.")
    latency_ms: dict[int, tuple[tuple[float | None, int], ...]] = Field(
        default_factory=dict,
        description="How long requests of both took since it began to count: (upper bound in ms, requests), "
        "from the lowest bucket with any to the highest.",
    )
    evidence: canary.Evidence = Field(default=canary.Evidence(), description="What the counters say.")

    @classmethod
    def begin(cls, candidate: int, champion: int, arms: Mapping[int, Arm]) -> Watch:
        """A new watch that counts from now on."""
        return cls(candidate=candidate, champion=champion, counters=_plain(arms))

    @classmethod
    def load(cls, store: Store, model: str, candidate: int) -> Watch | None:
        """The working file of a candidate; None if there is none that can be read."""
        try:
            return cls.model_validate_json(store.read(_key(model, candidate)))
        except (KeyError, ValidationError):
            return None

    def keep(self, store: Store, model: str) -> None:
        """Write the working file."""
        store.write(_key(model, self.candidate), self.model_dump_json().encode())

    def due(self, release: ReleaseSpec, now: datetime) -> list[SignalSpec]:
        """The signals that a Prometheus is to be asked for now."""
        asked = [(one, self.asked_at.get(one.name)) for one in release.signals if one.source == "prometheus"]
        return [one for one, at in asked if at is None or abs((now - at).total_seconds()) >= one.every_seconds]

    def blind(self, release: ReleaseSpec, now: datetime) -> dict[str, float]:
        """The signals of a team's own of which both versions have had no value for long: seconds since then."""
        seconds = {one.name: (now - self.fed_at.get(one.name, self.begun)).total_seconds() for one in release.signals}
        return {name: passed for name, passed in seconds.items() if passed >= BLIND_SECONDS}

    def on_step(self, step: int, since: datetime) -> Watch:
        """A copy of the watch on another step, the one that began with that ledger entry."""
        if step == self.step:
            return self
        return self.model_copy(update={"step": step, "since": since, "evidence": canary.next_step(self.evidence)})

    def wants_outcomes(self, mark: str, now: datetime) -> bool:
        """Whether outcomes are to be counted: there are new ones, and the last count was not a moment ago.

        Args:
            mark: names the newest outcome in the store; empty if there is none.
            now: UTC.
        """
        if mark in ("", self.labelled_mark):
            return False
        return self.labelled_at is None or (now - self.labelled_at).total_seconds() >= OUTCOMES_SECONDS

    def counted(
        self, mark: str, now: datetime, by_version: Mapping[int, tuple[int, int]], usual_error: float | None, task: str
    ) -> tuple[Watch, Mapping[int, tuple[int, int]] | None]:
        """A copy of the watch after outcomes were counted, and those that `seen` takes as evidence; None if they are no evidence yet.

        Args:
            mark: names the newest outcome that was counted.
            now: UTC.
            by_version: version -> known outcomes so far, and how many of them were wrong.
            usual_error: of a regression, as far as it is known.
            task: the model's. A regression's first outcomes tell what is usual: counting as evidence begins with the next ones.
        """
        watch = self.model_copy(update={"labelled_mark": mark, "labelled_at": now})
        if task == "regression" and self.usual_error is None:
            return watch.model_copy(update={"usual_error": usual_error, "labelled": dict(by_version)}), None
        return watch, by_version

    def seen(
        self,
        arms: Mapping[int, Arm],
        weight: float | None,
        release: ReleaseSpec,
        labelled: Mapping[int, tuple[int, int]] | None = None,
        added: Mapping[str, canary.Tally] | None = None,
    ) -> Watch:
        """A copy of the watch after another look.

        Args:
            arms: counters of every version now.
            weight: the candidate's share of the traffic, 0 to 1; None while it is a shadow.
            release: the limits.
            labelled: known outcomes of each version so far, and how many of them were wrong.
            added: evidence so far of signals that a team added, where it was read anew.
        """
        before = {number: _arm(counters, arms.get(number, Arm())) for number, counters in self.counters.items()}
        candidate, champion, fresh = (
            canary.increment(before.get(number, Arm()), arms.get(number, Arm())) for number in (self.candidate, self.champion, FRESH)
        )
        answered, share = champion.answered + fresh.answered, weight
        if FRESH in arms and weight:  # its new process has as many requests as the candidate, or all that are left to the champion
            champion, share = fresh, weight / (weight + min(weight, 1 - weight))
        counts = canary.compare(candidate, champion, self.edge_ms)
        labelled = dict(labelled or self.labelled)
        outcomes = canary.Counts(*self._newly_labelled(self.candidate, labelled), *self._newly_labelled(self.champion, labelled))
        if outcomes.candidate_requests or outcomes.champion_requests:
            counts["outcomes"] = outcomes
        evidence = canary.add(
            self.evidence,
            counts,
            SHADOW_SHARE if share is None else share,
            release,
            healthy=arms.get(self.candidate, Arm()).healthy,
            judged=added or {},
        )
        evidence = evidence.model_copy(
            update={
                "split": split.add(
                    evidence.split,
                    step=self.step,
                    share=weight,
                    candidate=candidate.answered,
                    champion=answered,
                    steps=canary.shared_steps(release),
                )
            }
        )
        edge = self.edge_ms if self.edge_ms is not None else canary.latency_edge(arms.get(self.champion, Arm()))
        latency = {
            number: _with_latency(self.latency_ms.get(number, ()), shown)
            for number, shown in ((self.candidate, candidate), (self.champion, champion))
        }
        return self.model_copy(
            update={"evidence": evidence, "counters": _plain(arms), "labelled": labelled, "edge_ms": edge, "latency_ms": latency}
        )

    def _newly_labelled(self, version: int, labelled: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
        now, before = labelled.get(version, (0, 0)), self.labelled.get(version, (0, 0))
        return max(0, now[0] - before[0]), max(0, now[1] - before[1])


def _key(model: str, candidate: int) -> str:
    return f"releases/{model}/{candidate}.json"


def _with_latency(before: Sequence[tuple[float | None, int]], shown: Arm) -> tuple[tuple[float | None, int], ...]:
    """The buckets with the requests of an increment added, each in the lowest bucket that holds it; infinity is None, as in JSON."""
    counts = {math.inf if bound is None else bound: count for bound, count in before}
    lower = 0
    for bound, cumulative in shown.latency_ms:
        counts[bound] = counts.get(bound, 0) + max(0, cumulative - lower)
        lower = max(lower, cumulative)
    bounds = sorted(counts)
    filled = [place for place, bound in enumerate(bounds) if counts[bound]]
    shown_bounds = bounds[max(0, filled[0] - 1) : filled[-1] + 1] if filled else []  # the empty one tells where the lowest begins
    return tuple((bound if math.isfinite(bound) else None, counts[bound]) for bound in shown_bounds)


def _plain(arms: Mapping[int, Arm]) -> dict[int, dict[str, Any]]:
    """Counters as JSON, which has no infinity."""
    return {
        number: {
            "requests": arm.requests,
            "errors": arm.errors,
            "answered": arm.answered,
            "unreadable": arm.unreadable,
            "latency_ms": [[bound if math.isfinite(bound) else None, count] for bound, count in arm.latency_ms],
        }
        for number, arm in arms.items()
    }


def _arm(counters: Mapping[str, Any], now: Arm) -> Arm:
    """Stored counters. A file of before unreadable requests were counted begins to count them with the arm of `now`."""
    return Arm(
        counters["requests"],
        counters["errors"],
        tuple((math.inf if bound is None else bound, count) for bound, count in counters["latency_ms"]),
        counters.get("answered", now.answered),
        counters.get("unreadable", now.unreadable),
    )
