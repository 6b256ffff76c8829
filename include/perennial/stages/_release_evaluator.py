"""Carries out the steps of a plan, in order, on ledger, gateway, registry and working file. It decides nothing.

It may be killed between any two steps, and within one: every step can be repeated, and the next look plans from what was written.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from perennial import discovery, tracing
from perennial.counted import percent
from perennial.errors import LedgerConflict, PerennialError, ReleaseRefused, ServiceUnreachable
from perennial.incidents.incidents import Incidents
from perennial.lineage.experiments import keep_look as keep_experiment_look
from perennial.lineage.ledger import Entry, Ledger
from perennial.lineage.making import usage_of
from perennial.lineage.release_record import begin_record, keep_look
from perennial.lineage.releases import note_releases
from perennial.lineage.version_folder import golden_rows
from perennial.registry.model_registry import CANDIDATE, ModelRegistry, give_roles, withdraw_candidate
from perennial.results import ReleaseResult
from perennial.serving import own_requests, traffic
from perennial.serving.backends import Backend
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages import _agreement
from perennial.stages._contracts import require_contracts
from perennial.stages._inspection import inspect_server
from perennial.stages._recent_requests import recent_rows
from perennial.stages._release_plan import Failure
from perennial.stages._release_record import plan_of
from perennial.stages._release_steps import (
    Apply,
    Ask,
    BeginWatch,
    BringUp,
    Change,
    CheckGateway,
    Confirm,
    EndIncidents,
    Follow,
    KeepExperiment,
    KeepWatch,
    LookAgain,
    Move,
    Refuse,
    Step,
    Tell,
    Write,
)
from perennial.stages._routes import follows, marks, roles_of, route_of
from perennial.store import Store

log = logging.getLogger(__name__)


class Evaluator:
    """Does what plans say, for one look at one model."""

    def __init__(
        self, spec: ModelSpec, settings: Settings, store: Store, backend: Backend, registry: ModelRegistry, ledger: Ledger
    ) -> None:
        self.spec, self.name, self.settings = spec, spec.name, settings
        self.store, self.backend, self.registry, self.ledger = store, backend, registry, ledger
        self._predictions = settings.gateway_url + settings.prediction_path(spec.name)
        self._written: Entry | None = None  # the newest entry of this look
        self._followed = ""  # note of the entry that the registry was seen to have followed, earlier in this look
        self._about: Entry | None = None  # the entry that the step in hand is about

    def carry_out(self, steps: Sequence[Step], followed: str = "") -> ReleaseResult | Ask | Failure:
        """Do the steps in order, up to one that ends the look, asks, or fails.

        Args:
            steps: of the plan.
            followed: note of the entry that the registry was seen to have followed, earlier in this look.

        Returns:
            What the look answers; or the question; or the step that failed and what holds after it.

        Raises:
            PerennialError: what the plan says, or that is raised by looking what holds after a failure.
            LedgerConflict: the plan says to look again.
        """
        self._followed = followed
        for place, step in enumerate(steps, start=1):
            if isinstance(step, Ask):
                return step
            if isinstance(step, Tell):
                return self._told(step)
            if isinstance(step, Refuse):
                raise step.error
            if isinstance(step, LookAgain):
                raise self._overtaken() from step.cause
            try:
                self.do(step)
            except PerennialError as error:
                return self._failure(step, error, steps[place:])
        raise AssertionError("a plan ends with an answer, a question or an error")

    def do(self, step: Step) -> None:
        """Do one step. Raises whatever servers, store and registry raise, and LedgerConflict where another writer came between."""
        match step:
            case Write():
                self._write(step)
            case Apply(of):
                self._apply(self._entry(of))
            case BringUp(version, of):
                self._bring_up(version, self._entry(of))
            case Move(of):
                self._move(self._entry(of))
            case Confirm(of):
                self._confirm(self._entry(of))
            case Follow(of):
                self._follow(self._entry(of))
            case _:
                self._note(step)

    def _note(self, step: Step) -> None:
        """Do a step that moves no traffic and gives no role."""
        match step:
            case BeginWatch(candidate, champion):
                Watch.begin(candidate, champion, self.backend.observe(self.spec)).keep(self.store, self.name)
            case KeepWatch():
                self._keep(step)
            case KeepExperiment(began, plan, look, watch):
                if watch is not None:
                    watch.keep(self.store, self.name)
                keep_experiment_look(self.store, self.name, began, plan, look)
            case CheckGateway():
                self.backend.observe(self.spec)
            case EndIncidents(reason):
                incidents = Incidents(self.store, self.name)
                for incident in incidents.open_ones():
                    incidents.resolve(incident.id, reason)
            case _:
                raise AssertionError(f"nobody knows how to do {step}")

    def changes_nothing(self, step: Step) -> bool:
        """Whether a step has nothing to do, since what it is to bring about holds already. Reads only."""
        match step:
            case Move(Entry() as of):
                return self.backend.route(self.spec) == route_of(of)
            case Follow(Entry() as of):
                return follows(self.registry.standing(self.name), of)
            case _:
                return isinstance(step, Confirm)

    def _entry(self, of: Entry | Change) -> Entry:
        """The entry itself, or the one as which a change was written: steps are about the change that was written last."""
        entry = of if isinstance(of, Entry) else self._written
        if entry is None:
            raise AssertionError("a change is written before a step is about it")
        self._about = entry
        return entry

    def _write(self, step: Write) -> None:
        change = step.change
        self._written = self.ledger.append(
            change.kind,
            version=change.version,
            champion=change.champion,
            good=change.good,
            weights=change.weights,
            shadow=change.shadow,
            salt=change.salt,
            versions=change.versions,
            reason=change.reason,
            evidence={**change.evidence, **self._training_of(change), **({"trace": trace} if (trace := tracing.trace_id()) else {})},
            actor=change.actor,
            after_seq=step.after,
            now=step.time,
        )

        if change.kind == "started":
            plan = plan_of(self.spec.release, change.version, change.champion)
            begin_record(self.store, self.name, self._written.seq, plan, self._written.time)
        note_releases(self.store, self.name)

    def _training_of(self, change: Change) -> dict[str, Any]:
        """What the training of a version used whose release begins; nothing where nobody noted it."""
        used = usage_of(self.store, self.name, change.versions[change.version]) if change.kind == "started" else None
        return {"training": {"sentence": used.sentence, **used.figures()}} if used else {}

    def _keep(self, step: KeepWatch) -> None:
        watch = step.watch
        watch.keep(self.store, self.name)
        began = next((entry.seq for entry in self.ledger.newest_first() if entry.kind == "started"), None)
        if began is not None:
            plan = plan_of(self.spec.release, watch.candidate, watch.champion, watch.edge_ms)
            keep_look(self.store, self.name, began, plan, step.look)

    def _apply(self, entry: Entry) -> None:
        if (route := route_of(entry)) is None:
            raise AssertionError("a release that began has a route")
        self.backend.apply(self.spec, route)

    def _bring_up(self, version: int, entry: Entry) -> None:
        """Raises ReleaseRefused: it fails its golden rows, or its files are damaged; ServiceUnreachable: it is not ready in time."""
        applied = self.backend.route(self.spec)
        now = applied or route_of(entry)
        if now is not None and (applied is None or version not in applied.versions):
            self.backend.apply(self.spec, traffic.with_idle(now, {version: entry.versions[version]}))
            self._confirm(entry)  # what was applied just now may be what a rollback had taken away
        with tracing.span("wait until it is ready", model=self.name, version=version):
            self.backend.wait_ready(self.spec, version, self.spec.serving.start_seconds)
        if entry.kind == "started" and entry.version == version:
            with tracing.span("inspect the server", model=self.name, version=version):
                inspect_server(self.settings, self.store, self.spec, self.backend, version, entry.versions[version])
        elif entry.candidate == version:  # a consumer's contract may have come since
            require_contracts(self.spec, self.backend, version)
        if self.spec.release.replay and entry.candidate == version and entry.champion is not None:
            self._replay(version, entry)

    def _replay(self, version: int, entry: Entry) -> None:
        """Warm and probe a candidate with requests that callers sent a moment ago. Raises ReleaseRefused: it fails too many."""
        rows = recent_rows(self.store, self.spec, discovery.dataset_of(self.spec), self.spec.release.replay)
        with tracing.span("replay", model=self.name, version=version, rows=len(rows)):
            replayed = self.backend.replay(self.spec, version, rows) if rows else None
        if replayed is None:
            log.info("Nothing is replayed to version %d of %s: %s.", version, self.name, "no way to it" if rows else "nobody asked yet")
            return
        log.info("Version %d of %s was sent %s.", version, self.name, replayed.words)
        limit = self.spec.release.max_error_rate
        if replayed.share > limit:
            raise ReleaseRefused(
                f"Version {version} failed {replayed.failed:,} of {replayed.requests:,} recent requests that were sent to it before it got "
                f"traffic ({percent(limit)} are allowed), which version {entry.champion} serves. The first: {replayed.first}"
            )

    def _move(self, entry: Entry) -> None:
        """To this entry's route, or that of one that another writer put after it meanwhile and may have applied before this one.

        Raises:
            ReleaseRefused: a version that is to get traffic fails its golden rows.
            ServiceUnreachable: it is not ready in time, or the servers cannot be reached.
        """
        while True:
            self._about = entry
            route = route_of(entry)
            if route is None:
                self.backend.reset(self.spec)
            else:
                traffic.move(self.backend, self.spec, route)
                self._ask_as_callers_do(entry)
            newest = self.ledger.last()
            if newest is None or newest.seq == entry.seq:
                return
            entry = newest

    def _ask_as_callers_do(self, entry: Entry) -> None:
        """Where spans are sent and the gateway is this machine's, ask it once for what just got traffic: the trace shows the way there."""
        version = entry.version if entry.weights.get(entry.version) else entry.champion
        if tracing.trace_id() and self.settings.serving == "local" and version is not None:
            for row in golden_rows(self.store, self.name, entry.versions[version])[:1]:
                own_requests.ask(self.settings, self.name, version, row)

    def _follow(self, entry: Entry) -> None:
        """Raises RegistryDiffers: the registry is not the one that the ledger tells of."""
        last = self.ledger.last()
        if entry.note == self._followed or follows(standing := self.registry.standing(self.name), entry):
            return self._confirm(entry)
        agreed = _agreement.require_versions(self.registry, self.ledger, last, standing, entry)
        give_roles(self.registry, self.name, roles_of(entry), standing.roles)
        if standing.roles.get(CANDIDATE) in (entry.version, entry.champion):
            withdraw_candidate(self.registry, self.name, entry.version, entry.champion)
        ended = agreed.versions.get(entry.version)
        said = ended.tags if ended else {}
        self.registry.tag_version(
            self.name, entry.version, {name: value for name, value in marks(entry).items() if said.get(name) != value}
        )
        self.registry.note_followed(self.name, entry.note)
        given = entry
        while (newest := self.ledger.last()) is not None and newest.seq != given.seq:
            give_roles(self.registry, self.name, roles_of(newest))  # else those given here would look as if somebody had moved them by hand
            given = newest
        self._confirm(entry)

    def _confirm(self, entry: Entry) -> None:
        newest = self.ledger.last()
        if newest is None or newest.seq != entry.seq:
            raise self._overtaken()

    def _told(self, step: Tell) -> ReleaseResult:
        if not step.linked or step.result.version is None:
            return step.result
        page = self.registry.version_url(self.name, step.result.version)
        return step.result.model_copy(update={"links": {"Model version": page, "Serving route": self._predictions}})

    def _failure(self, step: Step, error: PerennialError, rest: Sequence[Step]) -> Failure:
        failure = Failure(step, error, self._about, rest=tuple(rest))
        if not isinstance(step, Move) or not isinstance(error, (ReleaseRefused, ServiceUnreachable)) or self._about is None:
            return failure
        before = self.ledger.entry(self._about.seq - 1) if self._about.seq else None
        return replace(failure, before=before, route=self.backend.route(self.spec))

    def _overtaken(self) -> LedgerConflict:
        return LedgerConflict(f"The ledger of {self.name} was changed during this look. Look again.")
