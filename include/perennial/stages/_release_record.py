"""What a look at a release showed, as it is recorded for its page (`perennial.lineage.release_record`). Pure."""

from __future__ import annotations

import math
from datetime import datetime

from perennial.lineage.release_record import Latency, Limits, Look, Plan, SplitSeen, Tally
from perennial.serving import canary, split
from perennial.serving.watch import Watch
from perennial.specs import ReleaseSpec

DIGITS = 4


def plan_of(release: ReleaseSpec, candidate: int, champion: int | None, slow_above_ms: float | None = None) -> Plan:
    """The versions of a release, its steps and its limits.

    Args:
        release: of the model's spec.
        candidate: the version that wants traffic.
        champion: the version that it is compared with; None for a first version.
        slow_above_ms: slower requests are slow; None while that is not known.
    """
    limits = Limits(
        requests=release.min_requests,
        seconds=release.min_seconds,
        longest_seconds=release.max_seconds,
        worse={name: _rounded(-math.log10(release.alpha * signal.share)) for name, signal in canary.signals(release).items()},
        success={one.name: _rounded(-math.log10(release.promotion_alpha)) for one in release.signals if one.role == "success"},
        dry_run=tuple(one.name for one in release.signals if one.dry_run),
        words={one.name: one.words for one in release.signals},
        promotion=_rounded(-math.log10(release.promotion_alpha)),
        split=_rounded(split.limit(canary.shared_steps(release)) / math.log(10)),
        error_ratio=release.max_error_ratio,
        error_rate=release.max_error_rate,
        latency_ratio=release.max_latency_ratio,
        slow_above_ms=slow_above_ms,
        silent_requests=canary.SILENT_REQUESTS,
        unhealthy_looks=canary.UNHEALTHY_LOOKS,
    )
    return Plan(candidate=candidate, champion=champion, shadow=release.shadow, steps=release.steps, limits=limits)


def look_of(watch: Watch, decision: canary.Decision, now: datetime, share: float | None, *, last_step: bool) -> Look:
    """One look.

    Args:
        watch: the evidence, this look's included.
        decision: what it says.
        now: when the counters were read.
        share: of the traffic that the candidate was to have; None for a shadow.
        last_step: whether the next step is the promotion.
    """
    evidence = watch.evidence
    seen = evidence.split
    not_worse, rare = canary.within_limits(evidence)
    return Look(
        time=now,
        step=watch.step,
        share=share,
        action=decision.action,
        sentence=decision.sentence,
        last_step=last_step,
        step_requests=evidence.step_requests,
        step_seconds=round((now - watch.since).total_seconds(), 3) if watch.since else 0.0,
        tallies={
            name: Tally(
                **tally.model_dump(exclude={"against", "shown"}),
                evidence=_rounded(canary.log_average(tally.against)),
                within=_rounded(canary.log_average(tally.shown)),
            )
            for name, tally in evidence.tallies.items()
            if tally.candidate_requests or tally.champion_requests
        },
        not_worse=_rounded(not_worse),
        rare=None if rare is None else _rounded(rare),
        latency=Latency(candidate=watch.latency_ms.get(watch.candidate, ()), champion=watch.latency_ms.get(watch.champion, ())),
        silent_requests=round(evidence.silent_requests, 1),
        unhealthy_looks=evidence.unhealthy_looks,
        split=SplitSeen(
            candidate=seen.candidate,
            requests=seen.requests,
            evidence=_rounded(seen.evidence / math.log(10)),
            mismatched=seen.mismatch is not None,
        )
        if seen.requests
        else None,
    )


def _rounded(value: float) -> float:
    return round(value, DIGITS)
