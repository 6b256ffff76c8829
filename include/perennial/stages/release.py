"""Takes one look at a release: starts it, advances it, holds, promotes or rolls back.

    $ perennial release --model flight_delays --plan  # what the next look would do; does nothing
    $ perennial release --model flight_delays         # does it

A look goes in rounds: what is known -> plan (`_release_plan`) -> steps, carried out (`_release_evaluator`) -> the answer, or what
is known then. It may be killed anywhere and repeated. The ledger says what holds. A version is brought up before an entry gives it
traffic; then the entry is written, then the traffic moves, so the next look moves what a killed one could not. Where a new
champion cannot take its traffic even then, a further entry says that the one before it keeps it. The counts between looks
live in a working file, written whole after each look together with the counters they were taken from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TypeVar

from perennial import discovery
from perennial.errors import LedgerConflict, ServiceUnreachable, UnknownName
from perennial.lineage.ledger import OF_EXPERIMENTS, Entry, Ledger
from perennial.lineage.trainings import kin
from perennial.monitoring.answers import WrongAnswers, logged_signals, newest_mark, why_split, wrong_since
from perennial.registry.model_registry import CANDIDATE, CHAMPION, ModelRegistry, same_weights
from perennial.registry.promotion import Verdict
from perennial.registry.readers import all_go_on
from perennial.results import ReleaseResult
from perennial.serving.asked import Asked, ask_for
from perennial.serving.backends import Backend, open_backend
from perennial.serving.backends.prometheus import ask
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.specs import ModelSpec, SignalSpec
from perennial.stages import _agreement
from perennial.stages._release_evaluator import Evaluator
from perennial.stages._release_plan import PERENNIAL, Applied, Counts, Failure, History, Known, Planner, Registered, Wish, planned
from perennial.stages._release_readers import readers_of, readings_of
from perennial.stages._release_steps import (
    Ask,
    AskCounts,
    AskHistory,
    AskKin,
    AskReaders,
    AskRegistry,
    AskRoute,
    CountWrong,
    ExplainSplit,
    Follow,
    Move,
    Step,
    Tell,
)
from perennial.stages._release_times import requests_a_day, waiting_words
from perennial.stages._routes import follows
from perennial.stages._versions import RECENT, as_logged
from perennial.store import Store

TRIES = 3
ASK_SECONDS = 3.0  # until a Prometheus that does not answer about a signal is left alone
Answer = TypeVar("Answer")


def run(
    settings: Settings,
    store: Store,
    *,
    model: str,
    version: int | None = None,
    decision: str | None = None,
    actor: str = PERENNIAL,
    again: bool = False,
    plan: bool = False,
) -> ReleaseResult:
    """One look.

    Args:
        settings: where things are.
        store: where the ledger is.
        model: name of the model.
        version: version to release, or the one whose release is looked at; the registry's candidate if absent.
        decision: a person's `promote` or `roll_back` of the release under way;
            the latter also turns down a version that waits for its release.
        actor: who decides or starts; anything but `perennial` is a person.
        again: start although this version was rolled back or rejected before, or was not compared with the champion of now.
        plan: only tell what the look would do.

    Raises:
        ReleaseRefused: the spec wants a person to start it, the gate did not compare it with this champion,
            or another version is being released.
        UnknownName: there is no such model or version.
        RegistryDiffers: the registry is not the one that the ledger tells of; a release under way goes on by the ledger until its end.
        ServiceUnreachable: the servers, or the registry where it is needed, do not answer.
        LedgerConflict: others keep writing to the ledger.
    """
    release = Release(discovery.model(model), settings, store, open_backend(settings), ModelRegistry(settings))
    if plan:
        return release.preview(version, decision, actor, again=again)
    return release.look(version, decision, actor, again=again)


def decided_anew(decide: Callable[[], Answer]) -> Answer:
    """Call `decide`, and call it again if another writer was faster.

    Raises:
        LedgerConflict: others keep writing to the ledger.
    """
    for _ in range(TRIES - 1):
        try:
            return decide()
        except LedgerConflict:
            continue
    return decide()


class Release:
    """The release of one model, with its facts and its looks."""

    def __init__(self, spec: ModelSpec, settings: Settings, store: Store, backend: Backend, registry: ModelRegistry) -> None:
        self.spec, self.name, self.settings = spec, spec.name, settings
        self.store, self.backend, self.registry = store, backend, registry
        self.ledger = Ledger(store, spec.name)
        self._followed = ""  # note of the entry that the registry was seen to have followed

    def look(
        self, version: int | None = None, decision: str | None = None, actor: str = PERENNIAL, *, again: bool = False
    ) -> ReleaseResult:
        """One look; see `run`."""
        plan = partial(planned, wish=Wish(version, decision, actor, again))
        return self._with_times(decided_anew(lambda: self.rounds(self.known(), plan)))

    def preview(
        self, version: int | None = None, decision: str | None = None, actor: str = PERENNIAL, *, again: bool = False
    ) -> ReleaseResult:
        """The plan of a look, one sentence for each step. Writes to no ledger, store, gateway or registry. See `run`."""
        steps = self.foreseen(self.known(), partial(planned, wish=Wish(version, decision, actor, again)))
        lines = [f"{place}. {step.sentence}{self._already(step)}" for place, step in enumerate(steps, start=1)]
        if isinstance(steps[-1], Ask):
            lines.append("What follows is decided by the answer.")
        return ReleaseResult(outcome="skipped", sentence="\n".join([f"The next look at {self.name} would:", *lines]), version=version)

    def _with_times(self, result: ReleaseResult) -> ReleaseResult:
        """The answer, and how long the steps will take if it begins them or asks a person whether they may begin."""
        if result.action != "started" and not (result.action == "ask" and result.before_start):
            return result
        words = waiting_words(self.spec.release, requests_a_day(self.store, self.name, datetime.now(timezone.utc)))
        return result.model_copy(update={"sentence": f"{result.sentence} {words}"})

    def _already(self, step: Step) -> str:
        """What is added to the sentence of a step that would find its work done, or of which that cannot be told."""
        if not isinstance(step, Move | Follow):
            return ""
        try:
            return " (Already so.)" if self._evaluator().changes_nothing(step) else ""
        except ServiceUnreachable:
            return " (Whether it is so already cannot be told now.)"

    def known(self) -> Known:
        """The facts with which a look begins: those of the ledger."""
        last = self.ledger.last()
        moved = last if last is None or last.kind != "rejected" else self.ledger.last_move()
        retired = moved if moved and moved.kind == "retired" else None
        return Known(self.spec, last, retired, datetime.now(timezone.utc), moved, is_read=bool(readers_of(self.name)))

    def rounds(self, known: Known, plan: Planner) -> ReleaseResult:
        """Plan and carry out, round after round, until a plan ends with an answer.

        Raises:
            PerennialError: a plan ends with it.
            LedgerConflict: another writer came between.
        """
        evaluator = self._evaluator()
        while True:
            end = evaluator.carry_out(plan(known), self._followed)
            if isinstance(end, ReleaseResult):
                return end
            known = replace(known, failure=end) if isinstance(end, Failure) else self.answered(known, end)

    def foreseen(self, known: Known, plan: Planner) -> list[Step]:
        """The steps of the rounds to come, as far as they can be told while nothing is done."""
        evaluator, steps = self._evaluator(), list[Step]()
        while True:
            round_of = plan(known)
            steps += [step for step in round_of if not isinstance(step, Ask)]
            question = round_of[-1]
            if isinstance(question, Tell):
                return [*steps[:-1], replace(question, result=self._with_times(question.result))]
            if not isinstance(question, Ask):
                return steps
            if isinstance(question, CountWrong):
                steps.append(question)  # the look takes in what was logged; here what follows is told as if nothing new had been
                known = replace(known, wrong=WrongAnswers(known.counts.watch.labelled if known.counts else {}))
            elif isinstance(question, AskReaders):
                steps.append(question)  # it takes a while; what follows is told as if all could go on
                known = replace(known, readers=Verdict(True, "not asked yet.", ()))
            elif isinstance(question, ExplainSplit):
                steps.append(question)
                known = replace(known, split_reason="")
            elif all(evaluator.changes_nothing(step) for step in steps):
                known = self.answered(known, question)
            else:
                return [*steps, question]

    def answered(self, known: Known, question: Ask) -> Known:
        """Answer a question of the plan, and return the facts with the answer added.

        Raises:
            UnknownName: there is no such version.
            RegistryDiffers: the registry is not the one that the ledger tells of.
            ServiceUnreachable: servers or registry do not answer.
        """
        match question:
            case AskRegistry(version):
                return replace(known, registry=self._registered(version))
            case AskHistory(version):
                return replace(known, history=self._history(version))
            case AskRoute():
                return replace(known, applied=Applied(self.backend.route(self.spec)))
            case AskCounts(of):
                return replace(known, counts=self._counts(of))
            case AskKin(version, versions):
                return replace(known, kin=kin(self.store, self.name, versions, version))
            case AskReaders() | CountWrong() | ExplainSplit():
                return self._looked_closely(known, question)
            case _:
                raise AssertionError(f"nobody knows how to answer {question}")

    def _looked_closely(self, known: Known, question: AskReaders | CountWrong | ExplainSplit) -> Known:
        """Answer what takes longer: from what was logged, or from what other models make of the candidate's scores."""
        if not isinstance(question, AskReaders):
            return self._from_log(known, question)
        readings = readings_of(self.settings, self.store, self.spec, question)
        return replace(known, readers=all_go_on(readings, self.spec.release.readers_shift))

    def _evaluator(self) -> Evaluator:
        return Evaluator(self.spec, self.settings, self.store, self.backend, self.registry, self.ledger)

    def _registered(self, version: int | None) -> Registered:
        last = self.ledger.last()
        standing = self.registry.standing(self.name)
        if last and follows(standing, last):
            self._followed = last.note
        if version is None and CANDIDATE not in standing.roles and standing.roles.get(CHAMPION) == (last.champion if last else None):
            return Registered()  # nothing is decided by it
        agreed = _agreement.agree(self.registry, self.ledger, last, standing)
        registered = (
            agreed.having(CANDIDATE) if version is None else agreed.versions.get(version) or self.registry.version(self.name, version)
        )
        if registered is None and version is not None:
            raise UnknownName(f"{self.name} has no version {version}. {self.registry.model_url(self.name)} lists the versions.")
        if registered is None:
            return Registered()
        champion = last.champion if last else None
        return Registered(registered, tuple(same_weights(self.registry, self.name, champion, agreed.versions)))

    def _history(self, version: int) -> History:
        newest = None
        for entry in self.ledger.about(version):
            if entry.kind not in OF_EXPERIMENTS or entry.lost:
                newest = newest or entry
                if entry.against:
                    return History(newest, entry)
        return History(newest)

    def _counts(self, last: Entry) -> Counts:
        """If the working file was lost the evidence begins anew, which is safe: the step then wants its requests again."""
        watch = Watch.load(self.store, self.name, last.version)
        arms = self.backend.observe(self.spec)
        watch = watch or Watch.begin(last.version, last.champion or 0, arms)
        watch = watch.on_step(last.seq, last.time) if last.kind == "weights" else watch
        mark = newest_mark(self.store, self.name, with_predictions=bool(logged_signals(self.spec)))
        now = datetime.now(timezone.utc)
        return Counts(watch, arms, mark, now, self._asked(watch, watch.due(self.spec.release, now)))

    def _asked(self, watch: Watch, due: list[SignalSpec]) -> Asked:
        """What a Prometheus says of signals."""
        url = self.settings.prometheus_url
        question = partial(ask, url, seconds=ASK_SECONDS) if url else None
        return ask_for(due, self.name, watch.candidate, watch.champion, question)

    def _from_log(self, known: Known, question: CountWrong | ExplainSplit) -> Known:
        from perennial.data.tables import Table

        dataset = discovery.dataset_of(self.spec)
        spec = as_logged(self.store, self.spec, dataset, self.ledger.newest(RECENT))
        log = (self.store, spec, dataset, Table, question.since, question.candidate, question.champion)
        if isinstance(question, ExplainSplit):
            return replace(known, split_reason=why_split(*log))
        return replace(known, wrong=wrong_since(*log, question.usual_error, question.edges))
