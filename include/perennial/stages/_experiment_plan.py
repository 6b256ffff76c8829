"""Plans a look at an experiment: makes the list of steps from what is known. Pure: no input or output.

    known (ledger, registry, counters, units) -> planned(known, wish) -> steps -> _release_evaluator -> known, or the answer

The order is a release's: the version is brought up with an entry that gives it no unit yet; then the entry is written that does, then the
traffic moves. Whatever was killed, the ledger says what the next look has to complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from perennial.errors import ReleaseRefused, ServiceUnreachable, StoredDataDamaged
from perennial.lineage.experiments import PART, Look, Plan, Verdict, plan_of
from perennial.lineage.ledger import Entry, retired_words
from perennial.results import ReleaseResult
from perennial.serving import experiment, split
from perennial.serving.route import WHOLE
from perennial.serving.watch import Watch
from perennial.stages._experiment_units import Part, Seen
from perennial.stages._release_plan import PERENNIAL, Failure, Known, completed
from perennial.stages._release_steps import (
    Apply,
    Ask,
    AskCounts,
    AskRegistry,
    BeginWatch,
    BringUp,
    Change,
    CheckGateway,
    Confirm,
    Follow,
    KeepExperiment,
    Move,
    Refuse,
    Step,
    Tell,
    Write,
)
from perennial.stages._routes import all_to

Action = Literal["start", "look", "weigh", "stop"]


@dataclass(frozen=True)
class Wish:
    """The arguments of a look; see `perennial.stages.experiment.run`."""

    action: Action = "look"
    plan: Plan | None = None  # of what is to start
    share: float | None = None  # of the version that is tried, from now on
    reason: str = ""
    actor: str = PERENNIAL


@dataclass(frozen=True)
class AskUnits(Ask):
    """Take in what was logged, and read what the units of the experiment have shown."""

    entries: tuple[Entry, ...]

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return "Take in what was logged, and read what the units of the experiment have shown."


@dataclass(frozen=True)
class KnownExperiment(Known):
    """The facts that a look knows."""

    entries: tuple[Entry, ...] = ()  # of the experiment that is under way, oldest first
    units: Seen | None = None
    runs: frozenset[str] = frozenset()  # of the orchestrator, that have begun an experiment lately


def planned(known: KnownExperiment, wish: Wish) -> list[Step]:
    """The steps of the next round of a look."""
    if known.failure:
        return _after(known, known.failure)
    if known.entries:
        return _under_way(known, known.entries, wish)
    if wish.action == "start" and wish.plan and not (wish.plan.run and wish.plan.run in known.runs):
        return _begun(known, wish.plan, wish.actor)
    return _over(known, wish)


def parts_of(entries: Sequence[Entry]) -> list[Part]:
    """The parts of an experiment, by its entries: each change of shares begins one."""
    return [Part(entry.time, entry.weights.get(entry.version, 0) / WHOLE) for entry in entries if entry.kind == "experiment_weights"]


# None is under way.


def _begun(known: KnownExperiment, plan: Plan, actor: str) -> list[Step]:
    last = known.last
    if why_not := _why_not(known, plan):
        return [Refuse(ReleaseRefused(why_not))]
    assert last is not None
    if known.registry is None or known.registry.version is None:
        return [AskRegistry(plan.tried)]
    begins = last.seq + 1
    change = Change(
        kind="experiment",
        version=plan.tried,
        champion=plan.champion,
        weights={**all_to(plan.champion, last.good), plan.tried: 0},
        salt=f"{known.name}-{begins}",
        versions={**last.versions, plan.tried: known.registry.version.digest},
        good=last.good,
        reason=f"The experiment of version {plan.tried} with version {plan.champion} begins: {plan.words}, by {plan.unit}.",
        actor=actor,
        evidence={PART: plan.model_dump(mode="json", exclude_defaults=True)},
    )
    return [*completed(last), Write(change, last.seq), *_go_live(known, change, begins, begins, plan)]


def _why_not(known: KnownExperiment, plan: Plan) -> str:
    """Why an experiment cannot begin now; empty if it can."""
    last, name = known.last, known.name
    if known.retired:
        return f"No experiment can begin: {retired_words(known.retired)}"
    if last is None or (last.champion is None and last.candidate is None):
        return f"{name} serves nothing that an experiment could compare with: release a version first."
    if last.candidate is not None:
        return (
            f"Version {last.candidate} of {name} is being released: the experiment can begin once that has ended. Wait, or end it with "
            f"`perennial rollback --model {name}`."
        )
    if plan.champion != last.champion:
        return (
            f"Version {last.champion} of {name} is the champion: an experiment compares it with one other version. Give "
            f"--versions {last.champion},{plan.tried if plan.tried != last.champion else plan.champion}."
        )
    return ""


def _go_live(known: KnownExperiment, begun: Entry | Change, began: int, after: int, plan: Plan) -> list[Step]:
    """The first units of the version that is tried."""
    change = _weights(begun, plan.share, f"Version {plan.tried} is ready: its golden rows match.", PERENNIAL)
    sentence = (
        f"The experiment of {known.name} begins: {_percent(plan.share)} of the units ({plan.unit}, header x-perennial-unit) get version "
        f"{plan.tried}, the others version {plan.champion}; {plan.words}. {_planned_words(plan)}"
    )
    return [
        Apply(begun),
        BringUp(plan.tried, begun),
        BeginWatch(plan.tried, plan.champion),
        Write(change, after),
        Move(change),
        Confirm(change),
        KeepExperiment(began, plan, Look(time=known.now, share=plan.share, sentence=sentence)),
        _told(change, "started", sentence, plan.look_seconds),
    ]


def _planned_words(plan: Plan) -> str:
    return (
        f"It ends when a difference is shown, or none of {plan.least:g} with power {plan.power:g}, and after {plan.days:g} days at the "
        "latest."
    )


def _over(known: KnownExperiment, wish: Wish) -> list[Step]:
    """No experiment is under way: what an earlier look was to complete, and how the last one ended."""
    last = known.last
    looks = wish.action in ("look", "start")
    if looks and last is not None and PART in last.evidence:
        verdict: Verdict = last.evidence[PART].get("verdict", "stopped")
        sentence = f"The experiment of {known.name} has ended: {last.reason}"
        return [Move(last), _told(last, "ended", sentence, verdict=verdict)]
    sentence = f"No experiment of {known.name} is under way. `perennial show experiment {known.name}` tells what earlier ones have shown."
    if looks:
        return [Tell(ReleaseResult(outcome="skipped", sentence=sentence), linked=False)]
    return [Refuse(ReleaseRefused(sentence))]


# One is under way.


def _under_way(known: KnownExperiment, entries: tuple[Entry, ...], wish: Wish) -> list[Step]:
    begun, last = entries[0], entries[-1]
    if wish.action == "stop":
        reason = f"{wish.actor} ended it: {wish.reason}" if wish.reason else f"{wish.actor} ended it."
        return _ended(known, begun, last, "stopped", reason, wish.actor)
    try:
        plan = plan_of(begun)
    except StoredDataDamaged as error:
        return [Refuse(error)]
    if wish.action == "start" and wish.plan != plan:
        return [Refuse(ReleaseRefused(_other_is_under_way(known.name, begun)))]
    if last.kind == "experiment":  # it was killed before the version had any unit
        return _go_live(known, last, begun.seq, last.seq, plan)
    return _weighed(known, begun, last, plan, wish) if wish.action == "weigh" else _looked(known, entries, plan)


def _looked(known: KnownExperiment, entries: tuple[Entry, ...], plan: Plan) -> list[Step]:
    """Read what both versions have shown, and decide."""
    begun, last = entries[0], entries[-1]
    if known.counts is None:
        return [Move(last), Confirm(last), AskCounts(last)]
    if known.units is None:
        return [AskUnits(entries)]
    return _judged(known, begun, last, plan, known.units)


def _other_is_under_way(name: str, begun: Entry) -> str:
    return (
        f"An experiment of {name} between versions {begun.champion} and {begun.version} is under way since "
        f"{begun.time:%Y-%m-%d %H:%M} UTC. Wait for its end, or end it: `perennial experiment stop --model {name}`."
    )


def _weighed(known: KnownExperiment, begun: Entry, last: Entry, plan: Plan, wish: Wish) -> list[Step]:
    assert wish.share is not None
    if last.weights[last.version] == round(wish.share * WHOLE):
        return [
            Move(last),
            _told(last, "hold", f"Version {last.version} has {_percent(wish.share)} of the units already.", plan.look_seconds),
        ]
    reason = wish.reason or f"{wish.actor} gave it another share of the units."
    change = _weights(last, wish.share, reason, wish.actor)
    sentence = (
        f"Version {last.version} of {known.name} gets {_percent(wish.share)} of the units. Those that change their version by it count no "
        "more."
    )
    look = Look(time=known.now, share=wish.share, sentence=sentence)
    kept = KeepExperiment(begun.seq, plan, look)
    return [Write(change, last.seq), Move(change), Confirm(change), kept, _told(change, "reweighed", sentence, plan.look_seconds)]


def _judged(known: KnownExperiment, begun: Entry, last: Entry, plan: Plan, units: Seen) -> list[Step]:
    """Decide by what both versions have shown."""
    assert known.counts is not None
    share = last.weights[last.version] / WHOLE
    watch = _watched(known.counts.watch, known, share)
    wanted = experiment.Plan(plan.alpha, plan.power, plan.least)
    seen = experiment.estimate(units.values)
    decision = experiment.decide(wanted, seen, higher=plan.metric.direction == "higher")
    mismatch = experiment.mismatch(units.arrivals)
    verdict: Verdict = decision.verdict
    harm = experiment.harm(watch.evidence, known.spec.release, units.together)
    if harm:
        verdict, sentence = "harm", harm
    elif mismatch:
        verdict, sentence = "split", f"{experiment.mismatch_words(mismatch)} What the versions show cannot be compared then."
    else:
        sentence = f"{_seen_words(plan, seen, decision)}{_waits(plan, seen, decision)}"
        if not verdict and known.now - begun.time >= timedelta(days=plan.days):
            verdict, sentence = (
                "no_difference",
                f"{plan.days:g} days have passed and no difference was shown. {_seen_words(plan, seen, decision)}",
            )
    look = _look_of(known.now, share, sentence, verdict, units, seen, decision)
    kept = KeepExperiment(begun.seq, plan, look, watch)
    if verdict:
        return [kept, *_ended(known, begun, last, verdict, sentence, PERENNIAL, look, plan)]
    return [kept, _told(last, "hold", f"The experiment of {known.name} goes on: {sentence}", plan.look_seconds, look=look)]


def _watched(watch: Watch, known: KnownExperiment, share: float) -> Watch:
    """What the release's own signals have shown. Its check of the split is of requests, which units keep together: it is left out."""
    assert known.counts is not None
    seen = watch.seen(known.counts.arms, share, known.spec.release)
    return seen.model_copy(update={"evidence": seen.evidence.model_copy(update={"split": split.Split()})})


def _look_of(
    now: datetime, share: float, sentence: str, verdict: Verdict, units: Seen, seen: experiment.Estimate, decision: experiment.Decision
) -> Look:
    has_both = bool(seen.champion_units and seen.tried_units)
    return Look(
        time=now,
        share=share,
        sentence=sentence,
        verdict=verdict,
        champion_units=seen.champion_units,
        tried_units=seen.tried_units,
        champion_mean=seen.champion_mean if has_both else None,
        tried_mean=seen.tried_mean if has_both else None,
        difference=seen.difference if has_both else None,
        low=decision.low,
        high=decision.high,
        planned=decision.planned,
        arrived=tuple((came.share, came.tried, came.units) for came in units.arrivals),
        changed=units.changed,
        crossed=units.crossed,
        without_unit=units.without_unit,
    )


def _seen_words(plan: Plan, seen: experiment.Estimate, decision: experiment.Decision) -> str:
    counts = f"{seen.tried_units:,} units of version {plan.tried} and {seen.champion_units:,} of version {plan.champion} have a value"
    if decision.low is None or decision.high is None:
        return f"{counts}."
    return (
        f"{counts}: {seen.tried_mean:.4g} against {seen.champion_mean:.4g}, a difference of {seen.difference:+.3g} "
        f"(from {decision.low:+.3g} to {decision.high:+.3g})."
    )


def _waits(plan: Plan, seen: experiment.Estimate, decision: experiment.Decision) -> str:
    """What is waited for; empty at the end."""
    if decision.verdict:
        return ""
    if decision.planned is None:
        return f" Nothing is decided before each has {experiment.FIRST} that differ among themselves."
    return f" About {decision.planned:,} units show a difference of {plan.least:g}, or none."


def _ended(
    known: KnownExperiment,
    begun: Entry,
    last: Entry,
    verdict: Verdict,
    why: str,
    actor: str,
    look: Look | None = None,
    plan: Plan | None = None,
) -> list[Step]:
    """The end: the champion gets all traffic, or the winner if that was wished."""
    evidence = {PART: {"began": begun.seq, "verdict": verdict, **(look.figures() if look else {})}}
    facts = {"version": last.version, "versions": last.versions, "actor": actor, "evidence": evidence}
    harms = verdict == "harm"
    if verdict == "better" and plan is not None and plan.promote:
        assert last.champion is not None
        good = (last.champion, *(number for number in last.good if number != last.version))
        reason = f"It won the experiment with version {last.champion}: {why}"
        change = Change(kind="promoted", champion=last.version, weights=all_to(last.version, good), good=good, reason=reason, **facts)  # type: ignore[arg-type]
        sentence = f"Version {last.version} of {known.name} won the experiment and is the champion now: {why}"
        return [Write(change, last.seq), Move(change), Follow(change), _told(change, "ended", sentence, verdict=verdict, look=look)]
    reason = {
        "better": f"Version {last.version} won: {why}",
        "worse": f"Version {last.champion}, the champion, won: {why}",
        "no_difference": f"No difference shown: {why}",
    }.get(verdict, why)
    assert last.champion is not None
    change = Change(
        kind="rolled_back" if harms else "experiment_ended",
        champion=last.champion,
        weights=all_to(last.champion, last.good),
        good=last.good,
        reason=reason,
        **facts,  # type: ignore[arg-type]
    )
    sentence = f"The experiment of {known.name} has ended, version {last.champion} serves all traffic. {reason}"
    if verdict == "better":
        sentence += f" To release it: `perennial release --model {known.name} --version {last.version} --again --actor YOU`."
    followed = [Follow(change)] if harms else []
    return [Write(change, last.seq), Move(change), *followed, _told(change, "ended", sentence, verdict=verdict, look=look)]


def _weights(last: Entry | Change, share: float, reason: str, actor: str) -> Change:
    assert last.champion is not None
    given = round(share * WHOLE)
    return Change(
        kind="experiment_weights",
        version=last.version,
        champion=last.champion,
        weights={**last.weights, last.champion: WHOLE - given, last.version: given},
        salt=last.salt,
        versions=last.versions,
        good=last.good,
        reason=reason,
        actor=actor,
        evidence={PART: {"share": share}},
    )


def _after(known: KnownExperiment, failure: Failure) -> list[Step]:
    """What follows a step that failed: a version that cannot take traffic is no experiment."""
    step, error, about = failure.step, failure.error, failure.entry
    fails = isinstance(step, BringUp) and isinstance(error, (ReleaseRefused, ServiceUnreachable))
    fails |= isinstance(step, Move) and isinstance(error, ReleaseRefused)
    if fails and about is not None and about.tried is not None:
        end = _ended(known, about, about, "failed", str(error), PERENNIAL)
        return [CheckGateway(), *end[:-1], Refuse(error)]
    return [Refuse(error)]


def _told(
    entry: Entry | Change,
    action: Literal["started", "hold", "reweighed", "ended"],
    sentence: str,
    look_again: float = 0.0,
    *,
    verdict: Verdict = "",
    look: Look | None = None,
) -> Tell:
    return Tell(
        ReleaseResult(
            action=action,
            verdict=verdict,
            sentence=sentence,
            version=entry.version,
            champion=entry.champion,
            weight=round(entry.weights.get(entry.version, 0) * 100 / WHOLE),
            evidence=look.figures() if look else {},
            look_again_seconds=look_again,
        )
    )


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
