"""Looks at the version that serves all of a model's traffic, again and again: opens and ends incidents, and goes back where it must.

What counts as evidence is in `perennial.serving.steady`. Three things end in a rollback that no person asked for, each once for a version
that was promoted: errors beyond the last good version's record within the bake time, errors beyond
`release.severe_error_rate` at any time, and a version that does not answer while the gateway does. A version that was gone back to is
never left by itself: two in a row that fail have a cause outside of both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from perennial import discovery
from perennial.counted import counted, lasting
from perennial.errors import LedgerConflict, PerennialError, ReleaseRefused, ServiceUnreachable
from perennial.incidents.incidents import Incidents
from perennial.incidents.kinds import Severity
from perennial.lineage.experiments import experiment_record, plan_of, under_way
from perennial.lineage.ledger import Entry, Ledger
from perennial.registry.model_registry import ModelRegistry
from perennial.serving import steady
from perennial.serving.asked import answer_of
from perennial.serving.backends import Backend
from perennial.serving.backends.prometheus import ask
from perennial.serving.route import WITHOUT_UNIT, Arm
from perennial.serving.watch import BLIND_SECONDS
from perennial.settings import Settings
from perennial.specs import ModelSpec, stand_in
from perennial.stages import rollback
from perennial.stages._experiment_plan import Wish
from perennial.stages._release_plan import PERENNIAL
from perennial.stages._routes import route_of
from perennial.stages._service import GATEWAY, VERSION, note_service
from perennial.stages.experiment import Experiment
from perennial.stages.release import Release
from perennial.store import Store

log = logging.getLogger("perennial.watch")

ASK_SECONDS = 10.0  # between two questions to versions that have no requests which they answer
SIGNAL_SECONDS = 1.0  # until a Prometheus that does not answer about a signal is left alone
SILENCES = 2  # questions in a row that stay without an answer, until a version is left: one that is started anew after a crash is no outage
EXPERIMENT_SECONDS = 15.0  # between two questions whether anybody looks at an experiment
AGAIN_SECONDS = 300.0  # between two tries to go back to a version that does not come up
KEEP_SECONDS = 60.0  # between two writes of evidence in which nothing has changed: so much is lost at most if the watch is killed
OF_VERSION = " of version "  # in the keys of incidents: after the signal, before its number
WORDS = {"errors": "failed", "latency": "were slow"}


class Kept(BaseModel):
    """What is kept between two looks, and over restarts: the evidence on one version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    always: steady.State = Field(default=steady.State(), description="Beside the spec's limits, whenever it serves.")
    baking: steady.State = Field(default=steady.State(), description="Beside the last good version's record, in its bake time.")


@dataclass
class SteadyWatch:
    """The watch of one model.

    Args:
        settings: where the gateway is.
        store: where ledger and incidents are.
        name: of the model.
        backend: its servers.
        registry: has its versions; told when a version goes back.
    """

    settings: Settings
    store: Store
    name: str
    backend: Backend
    registry: ModelRegistry
    kept: Kept | None = None
    _arms: tuple[Arm, Arm] | None = None  # of the champion, and of its requests that are in no experiment
    _asked: datetime | None = None
    _paused_at: float | None = None
    _experiment_at: float | None = None
    _written: datetime | None = None
    _tried: dict[tuple[int | None, int | None], datetime] = field(default_factory=dict)  # when it was tried in vain last: from, to
    _origin: tuple[int, str] | None = None  # the champion, and how it became one
    _began: datetime | None = None  # when this process first looked at the version
    _has_answered: bool = False  # the version, to this process
    _signals: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)  # by signal: when it was asked for, and last had a value
    _blind: set[str] = field(default_factory=set)  # keys of incidents of signals that have had no value for long
    _silences: int = 0  # questions in a row that it left without an answer
    _was_silent: bool = False  # whether anything was, at the last question

    @property
    def spec(self) -> ModelSpec:
        """The model's spec as its file says now; one that is broken or gone has the default limits."""
        return discovery.models().get(self.name) or stand_in(self.name)

    def look(self, now: datetime) -> bool:
        """Look once; whether there is news for people.

        Raises:
            PerennialError: the store does not answer.
        """
        ledger, incidents = Ledger(self.store, self.name), Incidents(self.store, self.name)
        entry = ledger.last()
        if entry is not None and entry.kind == "rejected":  # it moved nothing
            entry = ledger.last_move()
        if entry is None or entry.champion is None or not entry.weights:
            self.kept = self._arms = None
            return self._end(incidents, set(), "Nothing serves now.")
        news = False
        if self.kept is None or self.kept.version != entry.champion:
            news = self._complete(incidents, entry)
            self._begin(entry.champion, now)
        try:
            arms = self.backend.observe(self.spec)
        except ServiceUnreachable:
            if not self._can_ask:
                raise
            return self._ask(incidents, entry, ledger, now) if self._is_due(now) else news
        if entry.kind == "paused":
            news |= self._look_at_release(incidents, entry)
        if entry.tried is not None:
            news |= self._look_at_experiment(incidents, entry, ledger, now)
        seen = self._count(arms, entry, now)
        answers = seen.requests > seen.errors  # what answers its callers need not be asked, unless it did not when it was asked last
        if answers:
            self._has_answered, self._silences = True, 0
        if self._can_ask and (self._was_silent or not answers) and self._is_due(now):
            news |= self._ask(incidents, entry, ledger, now)
        if self.kept is None:  # it went back
            return news
        news |= self._ask_signals(incidents, entry.champion, now)
        return self._judge(incidents, entry, ledger, now) or news

    def _begin(self, version: int, now: datetime) -> None:
        """Begin to watch a version, with what an earlier process has kept of it."""
        self.kept, self._arms, self._origin = self._read(version) or Kept(version=version), None, None
        self._began, self._has_answered, self._silences = now, False, 0
        self._signals, self._blind = {}, set()

    def _count(self, arms: Mapping[int, Arm], entry: Entry, now: datetime) -> steady.Seen:
        """Add what the champion has shown since the last look to the evidence."""
        assert self.kept is not None
        assert entry.champion is not None
        now_arms = arms.get(entry.champion, Arm()), arms.get(WITHOUT_UNIT, Arm())
        kept, before, spec = self.kept, self._arms, self.spec
        self._arms = now_arms
        if before is None:
            return steady.Seen()
        seen = steady.both(*(steady.seen_between(*pair, spec.serving.slow_ms) for pair in zip(before, now_arms, strict=True)))
        evidence = {"always": steady.add(kept.always, seen, steady.steady_limits(spec.release, self.settings.watch_seconds))}
        if self._bakes(entry, now):
            last_good = arms.get(entry.last_good or 0, Arm())
            evidence["baking"] = steady.add(kept.baking, seen, steady.bake_limits(spec.release, last_good))
        changed = evidence["always"].alarms.keys() != kept.always.alarms.keys()
        self.kept = kept.model_copy(update=evidence)
        if changed or self._written is None or abs((now - self._written).total_seconds()) >= KEEP_SECONDS:
            self._written = now
            self.keep()
        return seen

    def keep(self) -> None:
        """Write the evidence down, for a process that goes on with it."""
        if self.kept is not None:
            self.store.write(f"views/steady/{self.name}.json", self.kept.model_dump_json().encode())

    def _ask_signals(self, incidents: Incidents, version: int, now: datetime) -> bool:
        """Add the values of the signals that have a limit to the evidence; whether people have to be told that one has none for long."""
        assert self.kept is not None
        opened, release, url = False, self.spec.release, self.settings.prometheus_url
        for one in steady.limited(release):
            at, fed = self._signals.get(one.name, (None, now))
            if at is not None and abs((now - at).total_seconds()) < one.every_seconds:
                continue
            value = answer_of(one, self.name, version, partial(ask, url, seconds=SIGNAL_SECONDS) if url else None)
            key = _key(f"no value of {one.name}", version)
            if isinstance(value, float):
                self._signals[one.name] = now, now
                state = steady.add_value(self.kept.always, one, value, release)
                self.kept = self.kept.model_copy(update={"always": state})
                self._blind.discard(key)
                continue
            self._signals[one.name] = now, fed
            if (blind_for := (now - fed).total_seconds()) >= BLIND_SECONDS:
                sentence = f"The signal {one.name} of {self.name} has had no value for {lasting(blind_for)}: {value}."
                self._blind.add(key)
                opened |= incidents.open("service", key, "warning", sentence) is not None
        return opened

    def _judge(self, incidents: Incidents, entry: Entry, ledger: Ledger, now: datetime) -> bool:
        """Open and end incidents by the evidence, and go back where it says so."""
        assert self.kept is not None
        kept, version = self.kept, self.kept.version
        watched = {*WORDS, "severe errors", *(one.name for one in steady.limited(self.spec.release))}
        alarms, opened = {signal: counts for signal, counts in kept.always.alarms.items() if signal in watched}, False
        severe = alarms.pop("severe errors", None)
        if severe:
            alarms.setdefault("errors", severe)
        for signal, counts in alarms.items():
            severity: Severity = "critical" if severe and signal == "errors" else "warning"
            sentence = f"Version {version} of {self.name}, which serves: {self._told(signal, counts)}."
            opened |= incidents.open("service", _key(signal, version), severity, sentence) is not None
        wrong = {_key(signal, version) for signal in alarms} | self._blind
        ended = self._end(incidents, wrong, f"Version {version} is within its limits again.", f"Version {version} serves now.")
        went = False
        if severe:
            went = self._go_back(incidents, entry, ledger, now, self._told("errors", severe))
        elif self._bakes(entry, now) and kept.baking.alarms:
            shown = self._told("errors", kept.baking.alarms["errors"])
            because = f"{shown}, which is worse than the record of version {entry.last_good} allows"
            went = self._go_back(incidents, entry, ledger, now, because)
        return opened or ended or went

    def _ask(self, incidents: Incidents, entry: Entry, ledger: Ledger, now: datetime) -> bool:
        """Ask gateway and versions as a caller does; go back from a champion that does not answer while the gateway does."""
        self._asked = now
        news = bool(note_service(self.settings, self.store, self.name))
        silent = {one.key for one in incidents.open_ones() if one.kind == "service"}
        self._was_silent = bool(silent & {GATEWAY, f"{VERSION}{entry.champion}"})
        if GATEWAY in silent:
            return news  # what is behind it could not be asked
        if f"{VERSION}{entry.champion}" not in silent:
            self._has_answered, self._silences = True, 0
            return news
        self._silences += 1
        if self._silences < SILENCES or self._may_be_starting(now):
            return news
        return self._go_back(incidents, entry, ledger, now, "it does not answer") or news

    def _may_be_starting(self, now: datetime) -> bool:
        """Whether a silent version may be one whose server the platform is starting, as it does after it was down."""
        began = self._began or now
        return not self._has_answered and abs((now - began).total_seconds()) < self.spec.serving.start_seconds

    def _go_back(self, incidents: Incidents, entry: Entry, ledger: Ledger, now: datetime, because: str) -> bool:
        """Give all traffic to the last good version, once, if the champion was promoted; whether people have to be told of it."""
        pair = (entry.champion, entry.last_good)
        tried = self._tried.get(pair)
        if entry.candidate is not None or self._came_by(ledger, entry) != "promoted":
            return False
        if tried is not None and (now - tried).total_seconds() < AGAIN_SECONDS:
            return False
        key, reason = f"version {entry.champion}", f"Version {entry.champion}: {because}."
        try:
            result = rollback.go_back(self._release(), reason, PERENNIAL, entry.last_good)
        except (ReleaseRefused, ServiceUnreachable, LedgerConflict) as error:
            self._tried[pair] = now
            log.error("%s", error)
            sentence = f"{reason} It should go back and cannot: {error}"
            return incidents.open("release", key, "critical", sentence) is not None
        log.warning("%s", result.sentence)
        self.kept = self._arms = None
        return incidents.open("release", key, "critical", result.sentence, dict(result.links)) is not None

    def _complete(self, incidents: Incidents, entry: Entry) -> bool:
        """Do what a watch that was killed while it went back has left undone: the traffic moves, and people are told."""
        if entry.kind != "rolled_back" or entry.actor != PERENNIAL or entry.version == entry.champion or entry.candidate is not None:
            return False
        if self.backend.route(self.spec) != route_of(entry):
            rollback.go_back(self._release(), entry.reason, PERENNIAL, entry.champion)
        key = f"version {entry.version}"
        if any(one.kind == "release" and one.key == key and one.opened >= entry.time for one in incidents.all()):
            return False
        sentence = f"Version {entry.version} of {self.name} was rolled back, version {entry.champion} serves: {entry.reason}"
        return incidents.open("release", key, "critical", sentence) is not None

    def _came_by(self, ledger: Ledger, entry: Entry) -> str:
        """The kind of the entry by which the champion became it."""
        assert entry.champion is not None
        if self._origin is None or self._origin[0] != entry.champion:
            kind = entry.kind
            for earlier in ledger.newest_first():
                if earlier.champion != entry.champion:
                    break
                kind = earlier.kind
            self._origin = entry.champion, str(kind)
        return self._origin[1]

    def _told(self, signal: str, counts: tuple[int, int]) -> str:
        requests, events = counts
        if signal not in WORDS:
            added = next((one for one in self.spec.release.signals if one.name == signal), None)
            return f"{events:,} of {counted(requests, 'value')} of {added.words if added else signal} are beyond its limit"
        than = f" (above {self.spec.serving.slow_ms:g} ms)" if signal == "latency" else ""
        return f"{events:,} of {requests:,} requests {WORDS[signal]}{than}"

    def _look_at_release(self, incidents: Incidents, entry: Entry) -> bool:
        """Look at a release that waits for a person: evidence against its candidate ends it all the same."""
        if self._paused_at is not None and time.monotonic() - self._paused_at < self.spec.release.observe_seconds:
            return False
        self._paused_at = time.monotonic()
        try:
            result = self._release().look(entry.version)
        except PerennialError as error:  # the champion is watched all the same
            log.warning("%s", error)
            return False
        if result.action != "rolled_back":
            return False
        key = f"version {entry.version}"
        figures = cast("dict[str, JsonValue]", {**result.evidence, **result.links})
        return incidents.open("release", key, "warning", result.sentence, figures) is not None

    def _look_at_experiment(self, incidents: Incidents, entry: Entry, ledger: Ledger, now: datetime) -> bool:
        """Look at an experiment that nobody else looks at, as one that was begun by a command: harm ends it all the same."""
        if self._experiment_at is not None and time.monotonic() - self._experiment_at < EXPERIMENT_SECONDS:
            return False
        self._experiment_at = time.monotonic()
        try:
            begun = under_way(ledger, entry)[0]
            record, plan = experiment_record(self.store, self.name, begun.seq), plan_of(begun)
            newest = record.looks[-1].time if record else begun.time
            if (now - newest).total_seconds() < 2 * plan.look_seconds:
                return False
            result = Experiment(self.spec, self.settings, self.store, self.backend, self.registry).look_at(Wish())
        except PerennialError as error:  # the champion is watched all the same
            log.warning("%s", error)
            return False
        log.info("%s", result.sentence)
        if result.verdict != "harm":
            return False
        figures = cast("dict[str, JsonValue]", {**result.evidence, **result.links})
        return incidents.open("release", f"version {entry.version}", "warning", result.sentence, figures) is not None

    def _release(self) -> Release:
        return Release(self.spec, self.settings, self.store, self.backend, self.registry)

    def _bakes(self, entry: Entry, now: datetime) -> bool:
        """Whether the champion was promoted a moment ago."""
        since = (now - entry.time).total_seconds()
        return entry.kind == "promoted" and entry.last_good is not None and 0 <= since < self.spec.release.bake_seconds

    @property
    def _can_ask(self) -> bool:
        """Whether versions are asked as callers ask: on a cluster, whose pods have probes, they are not."""
        return self.settings.serving == "local"

    def _is_due(self, now: datetime) -> bool:
        return self._asked is None or abs((now - self._asked).total_seconds()) >= ASK_SECONDS

    def _end(self, incidents: Incidents, wrong: set[str], over: str, replaced: str = "") -> bool:
        """End the open incidents of errors, latency and signals that are over, or of a version that serves no more."""
        ended = False
        for one in incidents.open_ones():
            if one.kind == "service" and OF_VERSION in one.key and one.key not in wrong:
                is_of_now = self.kept is not None and one.key.endswith(f"{OF_VERSION}{self.kept.version}")
                ended |= bool(incidents.resolve(one.id, over if is_of_now or not replaced else replaced))
        return ended

    def _read(self, version: int) -> Kept | None:
        """What was kept of a version before this process began."""
        try:
            kept = Kept.model_validate_json(self.store.read(f"views/steady/{self.name}.json"))
        except (KeyError, ValidationError):
            return None
        return kept if kept.version == version and all(steady.fits(state) for state in (kept.always, kept.baking)) else None


def _key(signal: str, version: int) -> str:
    return f"{signal}{OF_VERSION}{version}"
