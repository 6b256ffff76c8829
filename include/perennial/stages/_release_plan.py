"""Plans a look at a release: makes the list of steps from what is known. Pure: no input or output.

    known (ledger, registry, counters, what failed) -> planned(known, wish) -> steps -> _release_evaluator -> known, or the answer

A version is brought up before an entry gives it traffic; then the entry is written, then the traffic moves, then the registry
follows. So whatever was killed, the ledger says what the next look has to complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from perennial.counted import lasting
from perennial.errors import Fault, PerennialError, ReleaseRefused, ServiceUnreachable
from perennial.lineage.freezes import Frozen, frozen
from perennial.lineage.ledger import AGAINST, RETIRED, Entry, retired_words
from perennial.lineage.release_record import Look
from perennial.monitoring.answers import WrongAnswers, logged_signals
from perennial.registry.model_registry import BREAKS_CALLERS, COMPARED_WITH, Version
from perennial.registry.promotion import Verdict
from perennial.results import ReleaseResult
from perennial.serving import canary, signals
from perennial.serving.asked import Asked
from perennial.serving.route import WHOLE, Arm, Route
from perennial.serving.split import Mismatch
from perennial.serving.watch import Watch
from perennial.specs import ModelSpec, ReleaseSpec
from perennial.stages._release_record import look_of
from perennial.stages._release_steps import (
    Apply,
    Ask,
    AskCounts,
    AskHistory,
    AskKin,
    AskReaders,
    AskRegistry,
    BeginWatch,
    BringUp,
    Change,
    CheckGateway,
    Confirm,
    CountWrong,
    ExplainSplit,
    Follow,
    KeepWatch,
    LookAgain,
    Move,
    Refuse,
    Step,
    Tell,
    Write,
)
from perennial.stages._routes import all_to, route_of

PERENNIAL = "perennial"  # the actor of every decision that no person took
FROZEN_SECONDS = 60.0  # from one look to the next while a freeze keeps a release from beginning
ENDS: dict[str, Literal["promoted", "rolled_back", "rejected"]] = {
    "released": "promoted",
    "promoted": "promoted",
    "rolled_back": "rolled_back",
    "rejected": "rejected",
}


@dataclass(frozen=True)
class Wish:
    """The arguments of a look; see `perennial.stages.release.run`."""

    version: int | None = None
    decision: str | None = None
    actor: str = PERENNIAL
    again: bool = False


@dataclass(frozen=True)
class Registered:
    """The registry's answer."""

    version: Version | None = None  # the one that was asked for
    like_champion: tuple[str, ...] = ()  # the ledger's champion and those that it recalibrates, as a tag names them


@dataclass(frozen=True)
class History:
    """The ledger's facts about one version."""

    newest: Entry | None = None  # that names it as what it happened to
    against: Entry | None = None  # the newest that rolled it back or turned it down


@dataclass(frozen=True)
class Counts:
    """The evidence on the versions of a release."""

    watch: Watch  # as it was kept, on the step of now
    arms: Mapping[int, Arm]
    mark: str  # of the newest outcome
    now: datetime
    asked: Asked = field(default_factory=Asked)  # of signals that come from a Prometheus


@dataclass(frozen=True)
class Applied:
    """The route that the gateway has."""

    route: Route | None


@dataclass(frozen=True)
class Failure:
    """A step that failed, and the state after it."""

    step: Step
    error: PerennialError
    entry: Entry | None = None  # the one that the step was about
    before: Entry | None = None  # of a move: the entry before that one
    route: Route | None = None  # of a move: what is applied now
    rest: tuple[Step, ...] = ()  # what was to follow


@dataclass(frozen=True)
class Known:
    """The facts that a look knows. A field that is None has not been read yet; `last` and `retired` are then the ledger's."""

    spec: ModelSpec
    last: Entry | None
    retired: Entry | None  # by which the model was taken down
    now: datetime
    moved: Entry | None = None  # the newest that said where traffic goes
    registry: Registered | None = None
    history: History | None = None
    applied: Applied | None = None
    counts: Counts | None = None
    kin: frozenset[int] | None = None
    wrong: WrongAnswers | None = None
    is_read: bool = False  # whether other models read its scores
    readers: Verdict | None = None  # whether they may go on with the candidate's
    split_reason: str | None = None  # what the log says of traffic that is not split as wanted
    failure: Failure | None = None

    @property
    def name(self) -> str:
        """The model's."""
        return self.spec.name

    @property
    def frozen(self) -> Frozen | None:
        """The freeze of releases that holds."""
        return frozen(self.spec.release.freeze, self.now)


Planner = Callable[[Known], list[Step]]


def planned(known: Known, wish: Wish) -> list[Step]:
    """The steps of the next round of a look."""
    last = known.last
    if known.failure:
        return _after(known, known.failure)
    if last and known.retired and not wish.decision and not (wish.again and wish.actor != PERENNIAL):
        return [Move(last), _skipped(last, wish.version, f"Nothing is released by itself: {retired_words(known.retired)}")]
    if last and last.tried is not None:
        return [_held_by_experiment(known, last, wish)]
    if last and last.candidate is not None:
        return _under_way(known, last, wish)
    return _decided(known, wish, wish.decision) if wish.decision else _not_begun(known, wish)


def result_of(spec: ModelSpec, entry: Entry | Change, action: str, sentence: str, numbers: Mapping[str, Any] | None = None) -> Tell:
    """The answer of a look that ends with an entry."""
    gave_up_all = entry.champion == entry.version and entry.kind == "rolled_back"
    result = {
        "action": action,
        "sentence": sentence,
        "version": entry.version,
        "champion": entry.champion,
        "weight": round((0 if gave_up_all else entry.weights.get(entry.version, 0)) * 100 / WHOLE),
        "evidence": numbers or entry.evidence,
        "look_again_seconds": spec.release.observe_seconds if action in ("started", "advance", "hold") else 0.0,
    }
    return Tell(ReleaseResult.model_validate(result))


def rolled_back(last: Entry, reason: str, actor: str, numbers: Mapping[str, Any] | None = None) -> Change:
    """The end of the release under way: the champion gets all traffic, the candidate's server goes."""
    return Change(
        kind="rolled_back",
        version=last.version,
        champion=last.champion,
        weights={} if last.champion is None else all_to(last.champion, last.good),
        versions=last.versions,
        good=last.good,
        reason=reason,
        actor=actor,
        evidence=numbers or {},
    )


def corrected(failure: Failure) -> list[Step]:
    """The ledger says that the champion before an entry keeps the traffic, where the entry's could not take it. Empty if that is not so."""
    entry, before = failure.entry, failure.before
    if not isinstance(failure.step, Move) or not isinstance(failure.error, (ReleaseRefused, ServiceUnreachable)):
        return []
    if entry is None or before is None or before.champion is None or before.champion == entry.champion or entry.kind == RETIRED:
        return []
    if failure.route in (None, route_of(entry)):  # it moved all the same
        return []
    correction = Change(
        kind="rolled_back" if entry.kind == "promoted" else "promoted",
        version=entry.version,
        champion=before.champion,
        good=before.good,
        weights=all_to(before.champion, before.good),
        versions={**before.versions, **entry.versions},
        reason=f"Version {entry.champion} could not take the traffic, so version {before.champion} keeps it: {failure.error}",
        actor=PERENNIAL,
    )
    # Where the gateway does not answer nobody knows what holds: then nothing is written.
    return [CheckGateway(), Write(correction, entry.seq), LookAgain(failure.error)]


def answered_without_registry(failure: Failure, sentence: str) -> list[Step]:
    """The answer that was to come after the registry was told, with a sentence on why it was not: the traffic has moved already."""
    return [
        replace(step, result=step.result.model_copy(update={"sentence": f"{step.result.sentence} {sentence}"}))
        for step in failure.rest
        if isinstance(step, Tell)
    ]


def _after(known: Known, failure: Failure) -> list[Step]:
    """What follows a step that failed."""
    step, error, last = failure.step, failure.error, known.last
    if isinstance(step, BringUp) and isinstance(error, (ReleaseRefused, ServiceUnreachable)) and failure.entry:
        numbers = _judged(known, failure.entry, known.counts).numbers if known.counts else None
        # A gateway that does not answer is no fault of the candidate's.
        return [CheckGateway(), *_end_badly(known, failure.entry, str(error), PERENNIAL, numbers)]
    if correction := corrected(failure):
        return correction
    if isinstance(step, Move) and isinstance(error, ReleaseRefused) and last and last.candidate is not None and step.of is last:
        return _end_badly(known, last, str(error), PERENNIAL)  # else every look would end here and the release never
    return [Refuse(error)]


# No release is under way.


def _not_begun(known: Known, wish: Wish) -> list[Step]:
    """Begin the release of a version, or say why not."""
    last = known.last
    ended = last if last and last.kind in ENDS and last.kind != "rejected" and not wish.again else None
    version = known.registry.version if known.registry else None
    if ended and ended.version in (wish.version, version and version.number):  # the registry may not have followed the ledger yet
        return _ended(known, ended)
    if known.registry is None:
        return [AskRegistry(wish.version)]
    if version is None:
        return [*completed(last), _skipped(last, None, f"{known.name} has no candidate to release.")]
    return _begun(known, wish, version, known.registry.like_champion)


def _begun(known: Known, wish: Wish, version: Version, like_champion: Sequence[str]) -> list[Step]:
    last = known.last
    if known.history is None and not (last and version.number == last.champion):
        return [AskHistory(version.number)]
    if obstacle := _obstacle(known, wish, version, like_champion):
        return [*completed(last), obstacle]
    if known.is_read and known.readers is None and last and last.champion is not None:
        return [AskReaders(version.number, version.digest, last.champion, last.versions[last.champion])]
    if known.readers and not known.readers.passed and wish.actor == PERENNIAL:
        return [*completed(last), _held_for_readers(known, version.number, known.readers)]
    started = _started(known, version, wish.actor)
    if lacking := _lacks_kin(known, started):
        return [lacking]
    seq = last.seq + 1 if last else 0
    return [*completed(last), Write(started, last.seq if last else None), *_go_live(known, started, seq)]


def _obstacle(known: Known, wish: Wish, version: Version, like_champion: Sequence[str]) -> Step | None:
    """What ends the look instead of a release; None if it may begin."""
    if why_not := _why_not(known, version.number, known.history or History(), again=wish.again):
        return _skipped(known.last, version.number, why_not)
    compared, champion = version.tags.get(COMPARED_WITH), known.last.champion if known.last else None
    # A recalibration that was promoted while a candidate was trained and judged changes two parameters: the gate's word still
    # holds, and the release itself watches the outcomes of both.
    if compared not in like_champion and not wish.again:
        return Refuse(ReleaseRefused(_not_compared(known.name, version.number, compared, champion)))
    if known.spec.release.mode != "automatic" and wish.actor == PERENNIAL:
        return Refuse(ReleaseRefused(_waits(known.spec, version.number)))
    callers_must = version.tags.get(BREAKS_CALLERS, "no")
    if champion is not None and wish.actor == PERENNIAL and callers_must != "no":
        return _ask_first(known.name, version.number, champion, callers_must)
    if known.frozen and wish.actor == PERENNIAL:
        return _frozen_before_start(known, wish, version.number, known.frozen)
    return None


def completed(last: Entry | None) -> list[Step]:
    """What the end of the release, or of the experiment, before still has to do, if it was killed in the middle."""
    if last is None:
        return []
    return [Move(last)] if last.kind == "experiment_ended" else [Move(last), Follow(last)]  # which gave nobody another role


def _ended(known: Known, last: Entry) -> list[Step]:
    end = ENDS[last.kind]
    return [*completed(last), result_of(known.spec, last, end, f"Version {last.version} of {known.name} was {_words(end)}: {last.reason}")]


def _skipped(last: Entry | None, number: int | None, why: str) -> Tell:
    result = ReleaseResult(outcome="skipped", sentence=why, version=number, champion=last.champion if last else None)
    return Tell(result, linked=False)


def _decided(known: Known, wish: Wish, decision: str) -> list[Step]:
    """What a person decides while nothing is being released: what has come true already, or no to a version that waits."""
    last, version = known.last, wish.version
    if version is None:
        return _decided_on_candidate(known, wish, decision)
    come_true = {"promote": ("promoted",), "roll_back": AGAINST}[decision]
    if last and ENDS.get(last.kind) in come_true and version == last.version:
        return _ended(known, last)
    if decision == "promote":
        return [_nothing_to_decide(known.name, None)]
    return [AskHistory(version)] if known.history is None else _turned_down(known, version, known.history, wish.actor)


def _turned_down(known: Known, version: int, history: History, actor: str) -> list[Step]:
    """A person's no to one version: it is new, it came true already, or it comes too late."""
    if history.newest and history.newest.against:
        return [_skipped(known.last, version, _why_not(known, version, history, again=False))]
    if history.newest:
        return [_nothing_to_decide(known.name, None)]
    if known.registry is None or known.registry.version is None:
        return [AskRegistry(version)]
    # What the release before began may have been killed in the middle, and would end with the new entry.
    return [*completed(known.last), *_rejected(known, known.registry.version, actor)]


def _decided_on_candidate(known: Known, wish: Wish, decision: str) -> list[Step]:
    """The same of the registry's candidate. What was killed before is completed first, so that a decided one waits no more."""
    if known.registry is None:
        return [*completed(known.last), AskRegistry(None)]
    candidate = known.registry.version
    if candidate and known.history is None:
        return [AskHistory(candidate.number)]
    waiting = candidate if candidate and known.history and known.history.newest is None else None
    if decision == "roll_back" and waiting:
        return _rejected(known, waiting, wish.actor)
    return [_nothing_to_decide(known.name, waiting)]


def _nothing_to_decide(name: str, waiting: Version | None) -> Refuse:
    waits = (
        f"Version {waiting.number} waits to be released: "
        f"`perennial release --model {name} --version {waiting.number} --actor YOU` begins that."
        if waiting
        else f"`perennial ledger show --model {name}` tells what happened."
    )
    return Refuse(ReleaseRefused(f"No release of {name} is under way, so there is nothing to decide. {waits}"))


def _rejected(known: Known, version: Version, actor: str) -> list[Step]:
    """Turn a version down that waits for its release: nothing moves, and it waits no more."""
    last = known.last
    change = Change(
        kind="rejected",
        version=version.number,
        champion=last.champion if last else None,
        weights=last.weights if last else {},
        versions={**(last.versions if last else {}), version.number: version.digest},
        good=last.good if last else (),
        reason=f"{actor} decided against it.",
        actor=actor,
    )
    sentence = f"Version {change.version} of {known.name} takes no traffic: {change.reason}"
    return [Write(change, last.seq if last else None), Follow(change), result_of(known.spec, change, "rejected", sentence)]


def _why_not(known: Known, number: int, history: History, *, again: bool) -> str:
    """Why a version is not released; empty if it may be."""
    if known.last and number == known.last.champion:
        return f"Version {number} of {known.name} is the champion already."
    earlier = history.against
    if earlier is None or again:
        return ""
    return (
        f"Version {number} of {known.name} {'lost an experiment' if earlier.lost else f'was {_words(earlier.kind)}'} "
        f"on {earlier.time:%Y-%m-%d %H:%M} UTC "
        f"({earlier.reason.rstrip('.')}) and is not released again by itself. "
        f"To release it all the same: `perennial release --model {known.name} --version {number} --again --actor YOU`."
    )


def _not_compared(name: str, number: int, compared: str | None, champion: int | None) -> str:
    """Why the gate's word on a version does not hold for the champion of now."""
    was, now = (f"version {which}" if which and which != "none" else "no champion" for which in (compared, champion))
    why = "did not pass the gate" if compared is None else f"was compared with {was}, but {now} is the champion now"
    return (
        f"Version {number} of {name} {why}. Trigger {name}_training with force: what it trains is judged against that one. "
        f"To release this version all the same: `perennial release --model {name} --version {number} --again --actor YOU`."
    )


def _waits(spec: ModelSpec, number: int) -> str:
    """Why a version does not begin without a person."""
    how = "approve it in" if spec.release.mode == "approval" else "start it yourself with"
    return (
        f"Version {number} of {spec.name} waits for a person, since its spec says release mode {spec.release.mode}: "
        f"{how} the DAG {spec.name}_release, or run `perennial release --model {spec.name} --version {number} --actor YOU`."
    )


def _ask_first(name: str, number: int, champion: int, callers_must: str) -> Tell:
    """A version that cannot read all that callers send: nothing begins before a person has said so."""
    sentence = (
        f"Version {number} of {name} waits for a person, since it breaks callers of version {champion}: {callers_must}. "
        f"Tell them first; then approve it in the DAG {name}_release, "
        f"or run `perennial release --model {name} --version {number} --actor YOU`."
    )
    return Tell(
        ReleaseResult(
            action="ask",
            before_start=True,
            sentence=sentence,
            version=number,
            champion=champion,
            evidence={"callers_must": callers_must.split("; ")},
        )
    )


def _held_for_readers(known: Known, number: int, verdict: Verdict) -> Tell:
    """A version whose scores another model could not go on with: nothing begins before a person has said so."""
    sentence = (
        f"Version {number} of {known.name} waits for a person, since other models read its scores: {verdict.sentence} Train them on scores "
        f"of this version first, or let it begin all the same: approve it in the DAG {known.name}_release, or run "
        f"`perennial release --model {known.name} --version {number} --actor YOU`."
    )
    champion = known.last.champion if known.last else None
    evidence = {"readers": verdict.as_json()}
    return Tell(ReleaseResult(action="ask", before_start=True, sentence=sentence, version=number, champion=champion, evidence=evidence))


def _frozen_before_start(known: Known, wish: Wish, number: int, freeze: Frozen) -> Tell:
    """A version that waits until a freeze is over; the version of the wish stays open, so that the newest candidate then begins."""
    sentence = (
        f"Version {number} of {known.name} does not begin: {freeze.words}. To begin all the same: "
        f"`perennial release --model {known.name} --version {number} --actor YOU`."
    )
    champion = known.last.champion if known.last else None
    wait = max(known.spec.release.observe_seconds, FROZEN_SECONDS)
    return Tell(ReleaseResult(action="hold", sentence=sentence, version=wish.version, champion=champion, look_again_seconds=wait))


def _held_by_experiment(known: Known, last: Entry, wish: Wish) -> Tell | Refuse:
    """Nothing is released, promoted or turned down while units are shared out between two versions: that would change what they show."""
    sentence = (
        f"No version of {known.name} can be released while its experiment between versions {last.champion} and {last.version} is under "
        f"way: wait for its end, or end it with `perennial experiment stop --model {known.name}`."
    )
    if wish.actor != PERENNIAL or wish.decision:
        return Refuse(ReleaseRefused(sentence))
    wait = max(known.spec.release.observe_seconds, FROZEN_SECONDS)
    return Tell(ReleaseResult(action="hold", sentence=sentence, version=wish.version, champion=last.champion, look_again_seconds=wait))


def _in_freeze(known: Known, reason: str) -> str:
    """The reason of what a person begins or promotes, with a word on the freeze that holds."""
    return f"{reason} That was during a freeze: {known.frozen.words}." if known.frozen else reason


def _started(known: Known, version: Version, actor: str) -> Change:
    last = known.last
    champion = last.champion if last else None
    reason = f"Version {version.number} is the first: there is nothing to compare it with."
    if champion:
        reason = f"The release of version {version.number} begins."
        if known.readers and not known.readers.passed:
            reason += f" Of the models that read its scores: {known.readers.sentence}"
    elif known.retired:
        reason = (
            f"{known.name} serves again after it was retired, beginning with version {version.number}: there is nothing to compare it with."
        )
    return Change(
        kind="started",
        version=version.number,
        champion=champion,
        weights={} if champion is None else {champion: WHOLE, version.number: 0},
        versions={**(last.versions if last else {}), version.number: version.digest},
        good=last.good if last else (),
        reason=_in_freeze(known, reason),
        actor=actor,
        evidence={"readers": known.readers.as_json()} if known.readers else {},
    )


# A release is under way.


def _under_way(known: Known, last: Entry, wish: Wish) -> list[Step]:
    if wish.version not in (None, last.version):
        return [Refuse(_is_being_released(known.name, last.version, wish))]
    if wish.decision == "roll_back":
        return _end_badly(known, last, f"{wish.actor} decided against it.", wish.actor)
    if last.kind == "started":
        return _begun_before(known, last, wish)
    if known.counts is None:
        return [Move(last), Confirm(last), AskCounts(last)]  # a rollback that came between holds, not what was read here
    watch = known.counts.watch
    if known.wrong is None and watch.wants_outcomes(known.counts.mark, known.counts.now):
        return [_count_wrong(watch)]
    judged = _judged(known, last, known.counts)
    question = _still_to_ask(known, judged, known.counts)
    return [question] if question else _judge(known, last, judged, promoted_by=wish.actor if wish.decision == "promote" else "")


def _begun_before(known: Known, last: Entry, wish: Wish) -> list[Step]:
    """Go on with a release that was killed before its version had any traffic."""
    if known.frozen and PERENNIAL == last.actor == wish.actor:
        sentence = f"Version {last.version} of {known.name} does not go on to its first traffic: {known.frozen.words}."
        return [result_of(known.spec, last, "hold", sentence)]
    lacking = _lacks_kin(known, last)
    return [lacking] if lacking else _go_live(known, last, last.seq)


def _still_to_ask(known: Known, judged: _Judged, counts: Counts) -> Ask | None:
    """What the log is asked before a decision is carried out: why traffic is not split as wanted, and, before there is more of it for a
    candidate, what the signals show that are read from it, however short a time ago that was done last.
    """
    watch = judged.watch
    if watch.evidence.split.mismatch and watch.split_reason is None:
        return ExplainSplit(watch.since or watch.begun, watch.candidate, watch.champion)
    if judged.decision.action not in ("advance", "promote") or known.wrong is not None or not logged_signals(known.spec):
        return None
    return _count_wrong(watch) if counts.mark not in ("", watch.labelled_mark) else None


def _count_wrong(watch: Watch) -> CountWrong:
    return CountWrong(watch.begun, watch.candidate, watch.champion, watch.usual_error, watch.edges)


def _is_being_released(name: str, version: int, wish: Wish) -> PerennialError:
    if wish.decision == "roll_back":
        return Fault(
            f"Version {version} of {name} is being released: the no to version {wish.version} is written down once that has ended."
        )
    return ReleaseRefused(
        f"Version {version} of {name} is being released. Wait until that has ended, or end it with `perennial rollback --model {name}`."
    )


def _go_live(known: Known, started: Entry | Change, seq: int) -> list[Step]:
    """The first traffic of a version whose release began with entry `seq`."""
    up: list[Step] = [Apply(started), BringUp(started.version, started)]
    if started.champion is None:
        released = Change(
            kind="released",
            version=started.version,
            champion=started.version,
            weights={started.version: WHOLE},
            versions=started.versions,
            good=started.good,
            reason=f"Version {started.version} is the first and its golden rows match.",
            actor=started.actor,
        )
        sentence = f"Version {released.version} of {known.name} serves all traffic: it is the first."
        end = result_of(known.spec, released, "promoted", sentence)
        return [*up, Write(released, seq), Move(released), Follow(released), end]
    first = _next_step(known.spec.release, None)
    if first == 100:
        return [*up, *_promote(known, started, seq, _all_at_once(known.spec.release, started.champion), PERENNIAL, {})]
    change = _weights(started, first, f"Version {started.version} is ready: its golden rows match.", {})
    sentence = f"Version {change.version} of {known.name} gets {_share(first)}; version {change.champion} is the champion."
    return [
        *up,
        BeginWatch(started.version, started.champion),
        *_moved(change, seq),
        result_of(known.spec, change, "started", sentence),
    ]


def _all_at_once(release: ReleaseSpec, champion: int | None) -> str:
    """Why a version gets all traffic with its first step."""
    if release.strategy == "blue_green":
        return f"It is released blue/green and its golden rows match; version {champion} stays warm and can take it back at once."
    return "The spec's only step is 100 % and its golden rows match."


@dataclass(frozen=True)
class _Judged:
    """What the evidence of a release says."""

    watch: Watch
    decision: canary.Decision
    look: Look
    numbers: dict[str, Any] = field(default_factory=dict)
    step: int = 0  # percent that the candidate has
    following: int = 100  # percent of the step after that


def _judged(known: Known, last: Entry, counts: Counts) -> _Judged:
    """Weigh what the versions have shown since the last look."""
    watch, labelled, release, added = counts.watch, None, known.spec.release, dict[str, canary.Tally]()
    if known.wrong is not None:
        watch, labelled = watch.counted(counts.mark, counts.now, known.wrong.by_version, known.wrong.usual_error, known.spec.task)
        watch = watch.model_copy(update={"edges": {**watch.edges, **known.wrong.edges}})
        added = {one.name: signals.judged(one, known.wrong.values[one.name]) for one in release.signals if one.name in known.wrong.values}
    weight = None if last.shadow is not None else last.weights.get(last.version, 0) / WHOLE
    watch, added = _with_asked(watch, release, counts, added)
    watch = watch.seen(counts.arms, weight, release, labelled, added)
    step = 0 if last.shadow is not None else last.weights.get(last.version, 0) * 100 // WHOLE
    following = _next_step(release, step)
    seconds = (counts.now - watch.since).total_seconds() if watch.since else 0.0
    if known.split_reason is not None:
        watch = watch.model_copy(update={"split_reason": known.split_reason})
    decision = canary.decide(watch.evidence, release, seconds, last_step=following == 100)
    if watch.evidence.split.mismatch and watch.split_reason:
        decision = _with_reason(decision, watch.evidence.split.mismatch, watch.split_reason)
    decision = _with_blind(decision, watch, release, counts)
    numbers = {**decision.numbers, **({} if watch.edge_ms is None else {"slow_above_ms": watch.edge_ms})}
    look = look_of(watch, decision, counts.now, weight, last_step=following == 100)
    return _Judged(watch, decision, look, numbers, step, following)


def _with_asked(
    watch: Watch, release: ReleaseSpec, counts: Counts, added: dict[str, canary.Tally]
) -> tuple[Watch, dict[str, canary.Tally]]:
    """Evidence of the signals that a Prometheus was asked for, too, and when each signal last had a value of both versions."""
    before, asked = watch.evidence.tallies, counts.asked
    for one in release.signals:
        if one.name in asked.values:
            ours, theirs = asked.values[one.name]
            added[one.name] = signals.judged(one, [([ours], [theirs])], before.get(one.name, signals.NOTHING))
    fed = {name: counts.now for name, tally in added.items() if _has_more(before.get(name, signals.NOTHING), tally)}
    asked_at = dict.fromkeys([*asked.values, *asked.why_not], counts.now)
    return watch.model_copy(update={"asked_at": {**watch.asked_at, **asked_at}, "fed_at": {**watch.fed_at, **fed}}), added


def _has_more(before: canary.Tally, now: canary.Tally) -> bool:
    """Whether both versions had a value since."""
    return now.candidate_requests > before.candidate_requests and now.champion_requests > before.champion_requests


def _with_blind(decision: canary.Decision, watch: Watch, release: ReleaseSpec, counts: Counts) -> canary.Decision:
    """The decision, with a word on signals that have seen nothing for long: that is no evidence, neither good nor bad."""
    blind = watch.blind(release, counts.now)
    if not blind or decision.action == "roll_back":
        return decision
    told = [
        f"The signal {name} has had no value of both versions for {lasting(seconds)}"
        + (f": {counts.asked.why_not[name]}." if name in counts.asked.why_not else ".")
        for name, seconds in blind.items()
    ]
    return replace(decision, sentence=" ".join([decision.sentence, *told]), numbers={**decision.numbers, "blind": sorted(blind)})


def _with_reason(decision: canary.Decision, mismatch: Mismatch, reason: str) -> canary.Decision:
    """The decision, with what is known of a split that is not as wanted: it may be why, and else has to be said."""
    told = f"{mismatch.sentence} {reason}"
    is_why = mismatch.sentence in decision.sentence
    sentence = decision.sentence.replace(mismatch.sentence, told) if is_why else f"{decision.sentence} {told}"
    return replace(decision, sentence=sentence)


def _judge(known: Known, last: Entry, judged: _Judged, promoted_by: str) -> list[Step]:
    """Decide by the evidence; where that is not against the candidate, a person's word promotes it.

    They knew the evidence of when they were asked.
    """
    decision, numbers, spec = judged.decision, judged.numbers, known.spec
    whose = f"{last.version} of {known.name}"
    if known.frozen and not promoted_by and decision.action in ("promote", "advance"):
        decision = replace(decision, action="hold", sentence=f"nothing goes on by itself, {known.frozen.words}. {decision.sentence}")
    goes_on = bool(promoted_by) or decision.action in ("promote", "advance")
    kept: list[Step] = [KeepWatch(judged.watch, judged.look), *([BringUp(last.version, last)] if goes_on else [])]
    if decision.action == "roll_back":
        return [*kept, *_end_badly(known, last, decision.sentence, PERENNIAL, numbers)]
    if last.kind == "paused" and not promoted_by:
        return [*kept, result_of(spec, last, "ask", f"The release of version {whose} waits for a person: {last.reason}", numbers)]
    if promoted_by or decision.action == "promote":
        lacking = _lacks_kin(known, last, promotes=True)
        why = _in_freeze(known, f"{promoted_by} decided for it.") if promoted_by else decision.sentence
        return [lacking] if lacking else [*kept, *_promote(known, last, last.seq, why, promoted_by or PERENNIAL, numbers)]
    if decision.action == "advance":
        change = _weights(last, judged.following, decision.sentence, numbers)
        sentence = f"Version {whose} goes from {_share(judged.step)} to {_share(judged.following)}: {decision.sentence}"
        return [*kept, *_moved(change, last.seq), result_of(spec, change, "advance", sentence, numbers)]
    if decision.action == "ask":
        paused = Change(
            kind="paused",
            version=last.version,
            champion=last.champion,
            weights=last.weights,
            shadow=last.shadow,
            versions=last.versions,
            good=last.good,
            reason=decision.sentence,
            actor=PERENNIAL,
            evidence=numbers,
        )
        sentence = f"The release of version {whose} waits for a person: {decision.sentence}"
        return [*kept, Write(paused, last.seq), result_of(spec, paused, "ask", sentence, numbers)]
    return [*kept, result_of(spec, last, "hold", f"Version {whose} stays at {_share(judged.step)}: {decision.sentence}", numbers)]


def _weights(last: Entry | Change, step: int, reason: str, numbers: Mapping[str, Any]) -> Change:
    """Another share of the traffic for the candidate, in percent; 0 is a copy of it."""
    champion = last.champion
    if champion is None:
        raise AssertionError("weights move between a champion and a candidate")
    given = step * WHOLE // 100
    return Change(
        kind="weights",
        version=last.version,
        champion=champion,
        weights={champion: WHOLE - given, last.version: given} if step else {champion: WHOLE},
        shadow=None if step else last.version,
        versions=last.versions,
        good=last.good,
        reason=reason,
        actor=PERENNIAL,
        evidence=numbers,
    )


def _moved(change: Change, after: int) -> list[Step]:
    return [Write(change, after), Move(change), Confirm(change)]


def _lacks_kin(known: Known, last: Entry | Change, *, promotes: bool = False) -> AskKin | None:
    """The question that a promotion of this round has to ask first."""
    if last.champion is None or known.kin is not None or not (promotes or _next_step(known.spec.release, None) == 100):
        return None
    return AskKin(last.champion, last.versions)


def _promote(known: Known, last: Entry | Change, after: int, reason: str, actor: str, numbers: Mapping[str, Any]) -> list[Step]:
    # Of recalibrations one after another only the newest is kept: else they would push the other trainings out.
    like = {*(known.kin or ()), last.version}
    good = last.good if last.champion is None else (last.champion, *(number for number in last.good if number not in like))
    change = Change(
        kind="promoted",
        version=last.version,
        champion=last.version,
        weights=all_to(last.version, good),
        versions=last.versions,
        good=good,
        reason=reason,
        actor=actor,
        evidence=numbers,
    )
    sentence = f"Version {change.version} of {known.name} is the champion and serves all traffic: {reason}"
    return [Write(change, after), Move(change), Follow(change), result_of(known.spec, change, "promoted", sentence, numbers)]


def _end_badly(known: Known, last: Entry, reason: str, actor: str, numbers: Mapping[str, Any] | None = None) -> list[Step]:
    change = rolled_back(last, reason, actor, numbers)
    now = f"version {change.champion} serves all traffic again" if change.champion else "nothing serves"
    sentence = f"Version {change.version} of {known.name} was rolled back, {now}: {reason}"
    return [Write(change, last.seq), Move(change), Follow(change), result_of(known.spec, change, "rolled_back", sentence, numbers)]


def _next_step(release: ReleaseSpec, step: int | None) -> int:
    """Percent of the step after `step`; 0 is the shadow, None is before all."""
    if step is None and release.shadow:
        return 0
    return next((percent for percent in release.steps if percent > (step or 0)), 100)


def _words(end: str) -> str:
    return end.replace("_", " ")


def _share(step: int) -> str:
    return "a copy of all traffic" if step == 0 else f"{step} % of the traffic"
