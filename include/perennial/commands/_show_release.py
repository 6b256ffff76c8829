"""One release, in lines: how far it is, its steps, the evidence against its limits, both versions, what was decided."""

from __future__ import annotations

from perennial.counted import counted, percent, shown_of
from perennial.store import Store
from perennial.views._estimates import Estimate
from perennial.views.release import SIGNALS, Arm, ReleaseView, Step, odds, release_view


def show(store: Store, name: str, version: int | None = None) -> tuple[ReleaseView, list[str]]:
    """The page of a release as text.

    Raises:
        UnknownName: there is no such model, or no release of that version.
    """
    view = release_view(store, name, version=version)
    began = f", began {view.release.began_at:%Y-%m-%d %H:%M} UTC by {view.release.began_by}" if view.release else ""
    lines = [f"{name}: {view.state}{began}. {view.sentence}", *filter(None, (view.next, view.frozen, view.readers)), *view.damage]
    parts = {
        "Steps": list(map(_step, view.steps)),
        "Evidence that the candidate is worse, nearest to its limit first": [
            f"{one.what}: {one.tally.candidate_events:,} of the candidate's {one.tally.candidate_requests:,}, "
            f"{one.tally.champion_events:,} of the champion's {one.tally.champion_requests:,}; {odds(one.evidence)}, "
            f"rolled back at {odds(one.limit)}"
            for one in view.signals
            if one.name in SIGNALS
        ],
        "Signals of the spec": [
            f"{one.what}{', dry run' if one.dry_run else ''}: candidate "
            f"{shown_of(one.tally.candidate_events, one.tally.candidate_requests, one.tally.candidate_mean)}, champion "
            f"{shown_of(one.tally.champion_events, one.tally.champion_requests, one.tally.champion_mean)}; {odds(one.evidence)}, "
            f"{one.ends_at} {odds(one.limit)}"
            for one in view.signals
            if one.name not in SIGNALS
        ],
        "Split check": [view.split] if view.split else [],
        "Evidence that its error rate is within limits": _within(view),
        "Versions": list(map(_arm, view.arms)),
        "Decisions, newest first": [
            f"{one.time:%Y-%m-%d %H:%M:%S} {one.kind.replace('_', ' ')}, {100 * one.share:g} %, by {one.actor}: {one.reason}"
            for one in view.decisions
        ],
        "Releases, newest first": [
            f"version {one.version}, {one.began_at:%Y-%m-%d %H:%M}"
            f"{f' to {one.ended_at:%Y-%m-%d %H:%M}' if one.ended_at else ''}: {one.end or 'under way'}"
            f"{', rolled back later' if one.undone_at else ''}{f'. {one.reason}' if one.reason else ''}"
            for one in view.past
        ],
    }
    if view.more:
        parts["Releases, newest first"].append(f"Older ones: `perennial ledger show --model {name}`")
    return view, lines + [line for head, told in parts.items() if told for line in (f"{head}:", *(f"  {each}" for each in told))]


def _within(view: ReleaseView) -> list[str]:
    if view.plan is None or not view.arms:
        return []
    limits, newest = view.plan.limits, view.points[-1]
    told = [f"below {limits.error_ratio:g} times the champion's: {odds(newest.not_worse)}"]
    told += [] if newest.rare is None else [f"below {percent(limits.error_rate)}: {odds(newest.rare)}"]
    return [f"{each}; promotion wants {odds(limits.promotion)}" for each in told]


def _step(step: Step) -> str:
    share = "a copy of all traffic" if step.percent is None else f"{step.percent} %"
    times = "" if step.began is None else f", from {step.began:%H:%M:%S}{f' to {step.ended:%H:%M:%S}' if step.ended else ''}"
    requests = f", {counted(step.requests, 'request')}" if step.requests else ""
    return f"{share}: {step.state}{times}{requests}"


def _arm(arm: Arm) -> str:
    rate = f", {_between(arm.error_rate, 100, ' %')}" if arm.error_rate else ""
    times = "; ".join(f"{name} {_between(known, 1, ' ms')}" for name, known in arm.latency.items())
    return f"{arm.role} {arm.version}: {counted(arm.requests, 'request')}, {arm.errors:,} failed{rate}{f'; {times}' if times else ''}"


def _between(known: Estimate, scale: float, unit: str) -> str:
    return f"{scale * known.value:.3g}{unit} ({scale * known.low:.3g} to {scale * known.high:.3g})"
