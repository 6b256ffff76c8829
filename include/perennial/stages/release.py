"""Takes one look at a release: starts it, advances it, holds, promotes or rolls back.

A look may be killed anywhere and repeated. The ledger says what holds. A version is brought up before an entry gives it
traffic; then the entry is written, then the traffic moves, so the next look moves what a killed one could not. Where a new
champion cannot take its traffic even then, a further entry says that the one before it keeps it. The counts between looks
live in a working file, written whole after each look together with the counters they were taken from.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from perennial import discovery
from perennial.errors import Fault, LedgerConflict, ReleaseRefused, ServiceUnreachable, UnknownName
from perennial.lineage.ledger import AGAINST, RETIRED, Entry, Kind, Ledger, retired_words
from perennial.lineage.trainings import kin
from perennial.registry.model_registry import (
    BREAKS_CALLERS,
    CANDIDATE,
    CHAMPION,
    COMPARED_WITH,
    LAST_GOOD,
    NOTED,
    ModelRegistry,
    Version,
    same_weights,
    withdraw_candidate,
)
from perennial.results import ReleaseResult
from perennial.serving import canary, traffic
from perennial.serving.backends import Backend, open_backend
from perennial.serving.route import WHOLE, Route
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages import _agreement
from perennial.stages._versions import as_logged
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

PERENNIAL = "perennial"  # the actor of every decision that no person took
ENDS: dict[str, Literal["promoted", "rolled_back", "rejected"]] = {
    "released": "promoted",
    "promoted": "promoted",
    "rolled_back": "rolled_back",
    "rejected": "rejected",
}
TRIES = 3
OUTCOMES_SECONDS = 30


def run(
    settings: Settings,
    store: Store,
    *,
    model: str,
    version: int | None = None,
    decision: str | None = None,
    actor: str = PERENNIAL,
    again: bool = False,
) -> ReleaseResult:
    """One look.

    Args:
        settings: where things are.
        store: where the ledger is.
        model: name of the model.
        version: version to release, or the one whose release is looked at; the registry's candidate if absent.
        decision: a person's `promote` or `roll_back` of the release under way; the latter also turns down a version that waits for its release.
        actor: who decides or starts; anything but `perennial` is a person.
        again: start although this version was rolled back or rejected before, or was not compared with the champion of now.

    Raises:
        ReleaseRefused: the spec wants a person to start it, the gate did not compare it with this champion, or another version is being released.
        UnknownName: there is no such model or version.
        RegistryDiffers: the registry is not the one that the ledger tells of; a release under way goes on by the ledger until its end.
        ServiceUnreachable: the servers, or the registry where it is needed, do not answer.
        LedgerConflict: others keep writing to the ledger.
    """
    spec = discovery.model(model)
    return Release(spec, settings, store, open_backend(settings), ModelRegistry(settings)).look(version, decision, actor, again=again)


class Release:
    """The release of one model."""

    def __init__(self, spec: ModelSpec, settings: Settings, store: Store, backend: Backend, registry: ModelRegistry) -> None:
        self.spec, self.name = spec, spec.name
        self.store, self.backend, self.registry = store, backend, registry
        self.ledger = Ledger(store, spec.name)
        self._predictions = settings.gateway_url + settings.prediction_path(spec.name)

    def look(
        self, version: int | None = None, decision: str | None = None, actor: str = PERENNIAL, *, again: bool = False
    ) -> ReleaseResult:
        """One look; see `run`."""
        for attempt in range(TRIES):
            try:
                last, retired = self.ledger.last(), self.ledger.retirement()
                if last and retired and not decision and not (again and actor != PERENNIAL):
                    self.settle(last)
                    return self._not_released(last, version, f"Nothing is released by itself: {retired_words(retired)}")
                if last is None or last.candidate is None:
                    return self._without_release(last, version, decision, actor, again=again)
                return self._with_release(last, version, decision, actor)
            except LedgerConflict:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def roll_back(self, last: Entry, reason: str, actor: str, numbers: dict[str, Any] | None = None) -> Entry:
        """End the release under way: the champion gets all traffic, the candidate's server goes. The registry follows by `follow`."""
        weights = {} if last.champion is None else all_to(last.champion, last.good)
        entry = self._write(
            "rolled_back", last, version=last.version, champion=last.champion, weights=weights, reason=reason, actor=actor, evidence=numbers
        )
        self.settle(entry)
        return entry

    def bring_up(self, last: Entry, version: int) -> None:
        """Start a version beside those that serve and wait until it is ready: what an entry then gives it only has to be moved.

        Raises:
            ReleaseRefused: it fails its golden rows, or its files are damaged.
            ServiceUnreachable: it is not ready in time, or the servers cannot be reached.
            LedgerConflict: another writer came between.
        """
        applied = self.backend.route(self.spec)
        now = applied or route_of(last)
        if now is not None and (applied is None or version not in applied.versions):
            self.backend.apply(self.spec, traffic.with_idle(now, {version: last.versions[version]}))
            if self._changed_since(last):  # what was applied just now may be what a rollback had taken away
                raise self._overtaken()
        self.backend.wait_ready(self.spec, version, self.spec.serving.start_seconds)

    def settle(self, entry: Entry) -> None:
        """Make the gateway do what the ledger says: this entry, or one that another writer put after it meanwhile and may have applied before this one.

        Raises:
            ReleaseRefused: a version that is to get traffic fails its golden rows.
            ServiceUnreachable: it is not ready in time, or the servers cannot be reached.
            LedgerConflict: a new champion could not take its traffic; the ledger says so now.
        """
        while True:
            route = route_of(entry)
            try:
                if route is None:
                    self.backend.reset(self.spec)
                else:
                    traffic.move(self.backend, self.spec, route)
            except (ReleaseRefused, ServiceUnreachable) as error:
                self._correct(entry, error)
            newest = self.ledger.last()
            if newest is None or newest.seq == entry.seq:
                return
            entry = newest

    def follow(self, entry: Entry) -> None:
        """Give the registry's aliases to the versions that the ledger names. Repeating it changes nothing.

        Raises:
            RegistryDiffers: the registry is not the one that the ledger tells of.
            LedgerConflict: another writer came between, so these may not be the aliases that the ledger asks for now.
        """
        _agreement.require_versions(self.store, self.registry, self.name)
        roles = ((CHAMPION, entry.champion), (LAST_GOOD, entry.last_good))
        for alias, number in roles:
            if number is None:
                self.registry.delete_alias(self.name, alias)
            else:
                self.registry.set_alias(self.name, alias, number)
        withdraw_candidate(self.registry, self.name, entry.version, entry.champion)
        self.registry.tag_version(self.name, entry.version, marks(entry))
        if self._changed_since(entry):
            raise self._overtaken()

    def result(self, entry: Entry, action: str, sentence: str, numbers: dict[str, Any] | None = None) -> ReleaseResult:
        """What a look answers."""
        weight = 0 if entry.champion == entry.version and entry.kind == "rolled_back" else entry.weights.get(entry.version, 0)
        again = self.spec.release.observe_seconds if action in ("started", "advance", "hold") else 0.0
        links = {"Model version": self.registry.version_url(self.name, entry.version), "Serving route": self._predictions}
        return ReleaseResult.model_validate(
            {
                "action": action,
                "sentence": sentence,
                "version": entry.version,
                "champion": entry.champion,
                "weight": round(weight * 100 / WHOLE),
                "evidence": numbers or entry.evidence,
                "look_again_seconds": again,
                "links": links,
            }
        )

    # No release is under way.

    def _without_release(self, last: Entry | None, version: int | None, decision: str | None, actor: str, *, again: bool) -> ReleaseResult:
        if decision:
            return self._decide(last, version, decision, actor)
        ended = last if last and last.kind != "rejected" and not again else None
        if ended and version == ended.version:
            return self._ended(ended)
        found = self._wanted(version)
        if ended and found and found.number == ended.version:  # the registry has not followed the ledger yet
            return self._ended(ended)
        if last:
            self.settle(last)
            self.follow(last)
        why_not = f"{self.name} has no candidate to release." if found is None else self._why_not(last, found.number, again=again)
        if found is None or why_not:
            return self._not_released(last, found.number if found else None, why_not)
        compared, champion = found.tags.get(COMPARED_WITH), last.champion if last else None
        # A recalibration that was promoted while a candidate was trained and judged changes two parameters: the gate's word still
        # holds, and the release itself watches the outcomes of both.
        if compared not in same_weights(self.registry, self.name, champion) and not again:
            raise ReleaseRefused(self._not_compared(found.number, compared, champion))
        self._may_start(found, actor)
        callers_must = found.tags.get(BREAKS_CALLERS, "no")
        if champion is not None and actor == PERENNIAL and callers_must != "no":
            return self._ask_first(found, champion, callers_must)
        return self._start(last, found, actor)

    def _decide(self, last: Entry | None, version: int | None, decision: str, actor: str) -> ReleaseResult:
        """What a person decides while nothing is being released: what has come true already, or no to a version that waits."""
        if version is None:
            found = self._waiting(last)
            if decision == "roll_back" and found:
                return self._reject(last, found, actor)
            raise ReleaseRefused(self._nothing_to_decide(found))
        come_true = {"promote": ("promoted",), "roll_back": AGAINST}[decision]
        if last and ENDS.get(last.kind) in come_true and version == last.version:
            return self._ended(last)
        if decision == "roll_back":
            newest = self._newest_of(version)
            if newest is None and (found := self._wanted(version)):
                if last:  # what it began may have been killed in the middle, and would end with the new entry
                    self.settle(last)
                    self.follow(last)
                return self._reject(last, found, actor)
            if newest and newest.kind in AGAINST:
                return self._not_released(last, version, self._why_not(last, version, again=False))
        raise ReleaseRefused(self._nothing_to_decide(None))

    def _waiting(self, last: Entry | None) -> Version | None:
        """The registry's candidate, if nothing has been decided about it; what was killed before is completed first, so that a decided one waits no more."""
        if last:
            self.settle(last)
            self.follow(last)
        found = self._wanted(None)
        return found if found and self._newest_of(found.number) is None else None

    def _newest_of(self, version: int) -> Entry | None:
        return next((entry for entry in reversed(self.ledger.entries()) if entry.version == version), None)

    def _nothing_to_decide(self, waiting: Version | None) -> str:
        waits = (
            f"Version {waiting.number} waits to be released: `perennial release --model {self.name} --version {waiting.number} --actor YOU` begins that."
            if waiting
            else f"`perennial ledger show --model {self.name}` tells what happened."
        )
        return f"No release of {self.name} is under way, so there is nothing to decide. {waits}"

    def _reject(self, last: Entry | None, found: Version, actor: str) -> ReleaseResult:
        """Turn a version down that waits for its release: nothing moves, and it waits no more."""
        entry = self._write(
            "rejected",
            last,
            version=found.number,
            champion=last.champion if last else None,
            weights=last.weights if last else {},
            reason=f"{actor} decided against it.",
            actor=actor,
            versions={**(last.versions if last else {}), found.number: found.digest},
        )
        self.follow(entry)
        return self.result(entry, "rejected", f"Version {entry.version} of {self.name} takes no traffic: {entry.reason}")

    def _not_released(self, last: Entry | None, number: int | None, why: str) -> ReleaseResult:
        return ReleaseResult(outcome="skipped", sentence=why, version=number, champion=last.champion if last else None)

    def _why_not(self, last: Entry | None, number: int, *, again: bool) -> str:
        """Why a version is not released; empty if it may be."""
        if last and number == last.champion:
            return f"Version {number} of {self.name} is the champion already."
        earlier = next((entry for entry in reversed(self.ledger.entries()) if entry.kind in AGAINST and entry.version == number), None)
        if earlier is None or again:
            return ""
        return (
            f"Version {number} of {self.name} was {_words(earlier.kind)} on {earlier.time:%Y-%m-%d %H:%M} UTC ({earlier.reason.rstrip('.')}) and is not released again by itself. "
            f"To release it all the same: `perennial release --model {self.name} --version {number} --again --actor YOU`."
        )

    def _wanted(self, version: int | None) -> Version | None:
        _agreement.require(self.store, self.registry, self.name)
        found = self.registry.version(self.name, CANDIDATE if version is None else version)
        if found is None and version is not None:
            raise UnknownName(f"{self.name} has no version {version}. {self.registry.model_url(self.name)} lists the versions.")
        return found

    def _may_start(self, found: Version, actor: str) -> None:
        if self.spec.release.mode == "automatic" or actor != PERENNIAL:
            return
        how = "approve it in" if self.spec.release.mode == "approval" else "start it yourself with"
        raise ReleaseRefused(
            f"Version {found.number} of {self.name} waits for a person, since its spec says release mode {self.spec.release.mode}: {how} the DAG {self.name}_release, "
            f"or run `perennial release --model {self.name} --version {found.number} --actor YOU`."
        )

    def _ask_first(self, found: Version, champion: int, callers_must: str) -> ReleaseResult:
        """A version that cannot read all that callers send: nothing begins before a person has said so."""
        return ReleaseResult(
            action="ask",
            before_start=True,
            sentence=f"Version {found.number} of {self.name} waits for a person, since it breaks callers of version {champion}: {callers_must}. Tell them first; then approve it in the DAG {self.name}_release, "
            f"or run `perennial release --model {self.name} --version {found.number} --actor YOU`.",
            version=found.number,
            champion=champion,
            evidence={"callers_must": callers_must.split("; ")},
            links={"Model version": self.registry.version_url(self.name, found.number), "Serving route": self._predictions},
        )

    def _start(self, last: Entry | None, found: Version, actor: str) -> ReleaseResult:
        champion = last.champion if last else None
        versions = {**(last.versions if last else {}), found.number: found.digest}
        weights = {} if champion is None else {champion: WHOLE, found.number: 0}
        reason = f"Version {found.number} is the first: there is nothing to compare it with."
        if champion:
            reason = f"The release of version {found.number} begins."
        elif self.ledger.retirement():
            reason = f"{self.name} serves again after it was retired, beginning with version {found.number}: there is nothing to compare it with."
        entry = self._write(
            "started", last, version=found.number, champion=champion, weights=weights, reason=reason, actor=actor, versions=versions
        )
        return self._go_live(entry)

    def _not_compared(self, number: int, compared: str | None, champion: int | None) -> str:
        """Why the gate's word on a version does not hold for the champion of now."""
        was, now = (f"version {which}" if which and which != "none" else "no champion" for which in (compared, champion))
        why = "did not pass the gate" if compared is None else f"was compared with {was}, but {now} is the champion now"
        return (
            f"Version {number} of {self.name} {why}. Trigger {self.name}_training with force: what it trains is judged against that one. "
            f"To release this version all the same: `perennial release --model {self.name} --version {number} --again --actor YOU`."
        )

    def _ended(self, last: Entry) -> ReleaseResult:
        self.settle(last)
        self.follow(last)
        end = ENDS[last.kind]
        return self.result(last, end, f"Version {last.version} of {self.name} was {_words(end)}: {last.reason}")

    # A release is under way.

    def _with_release(self, last: Entry, version: int | None, decision: str | None, actor: str) -> ReleaseResult:
        if version not in (None, last.version):
            if decision == "roll_back":
                raise Fault(
                    f"Version {last.version} of {self.name} is being released: the no to version {version} is written down once that has ended."
                )
            raise ReleaseRefused(
                f"Version {last.version} of {self.name} is being released. Wait until that has ended, or end it with `perennial rollback --model {self.name}`."
            )
        if decision == "roll_back":
            return self._end_badly(last, f"{actor} decided against it.", actor)
        if last.kind == "started":
            return self._go_live(last)
        try:
            self.settle(last)
        except ReleaseRefused as error:  # else every look would end here and the release never
            return self._end_badly(last, str(error), PERENNIAL)
        if self._changed_since(last):  # a rollback came between: what it wrote holds, not what was read here
            raise self._overtaken()
        return self._judge(last, promoted_by=actor if decision == "promote" else "")

    def _go_live(self, last: Entry) -> ReleaseResult:
        route = route_of(last)
        if route is None:
            raise AssertionError("a release that began has a route")
        self.backend.apply(self.spec, route)
        if why := self._not_ready(last):
            return self._end_badly(last, why, PERENNIAL)
        if last.champion is None:
            entry = self._write(
                "released",
                last,
                version=last.version,
                champion=last.version,
                weights={last.version: WHOLE},
                reason=f"Version {last.version} is the first and its golden rows match.",
                actor=last.actor,
            )
            self.settle(entry)
            self.follow(entry)
            return self.result(entry, "promoted", f"Version {entry.version} of {self.name} serves all traffic: it is the first.")
        first = self._next_step(None)
        if first == 100:
            return self._promote(last, "The spec's only step is 100 % and its golden rows match.", PERENNIAL, {})
        Watch.begin(last.version, last.champion, self.backend.observe(self.spec)).keep(self.store, self.name)
        entry = self._change_weights(last, first, f"Version {last.version} is ready: its golden rows match.", {})
        return self.result(
            entry, "started", f"Version {entry.version} of {self.name} gets {_share(first)}; version {entry.champion} is the champion."
        )

    def _judge(self, last: Entry, promoted_by: str = "") -> ReleaseResult:
        """Decide by the evidence; where that is not against the candidate, a person's word promotes it. They knew the evidence of when they were asked."""
        watch = self._watch(last)
        arms = self.backend.observe(self.spec)
        watch, labelled = self._outcomes(watch)
        watch = watch.seen(
            arms, None if last.shadow is not None else last.weights.get(last.version, 0) / WHOLE, self.spec.release, labelled
        )
        watch.keep(self.store, self.name)
        step = self._step_of(last)
        following = self._next_step(step)
        seconds = (datetime.now(timezone.utc) - watch.since).total_seconds() if watch.since else 0.0
        decision = canary.decide(watch.evidence, self.spec.release, seconds, last_step=following == 100)
        numbers = {**decision.numbers, **({} if watch.edge_ms is None else {"slow_above_ms": watch.edge_ms})}
        why = self._not_ready(last) if promoted_by or decision.action in ("promote", "advance") else ""
        if why or decision.action == "roll_back":
            return self._end_badly(last, why or decision.sentence, PERENNIAL, numbers)
        if last.kind == "paused" and not promoted_by:
            return self.result(
                last, "ask", f"The release of version {last.version} of {self.name} waits for a person: {last.reason}", numbers
            )
        if promoted_by or decision.action == "promote":
            why = f"{promoted_by} decided for it." if promoted_by else decision.sentence
            return self._promote(last, why, promoted_by or PERENNIAL, numbers)
        if decision.action == "advance":
            entry = self._change_weights(last, following, decision.sentence, numbers)
            return self.result(
                entry,
                "advance",
                f"Version {entry.version} of {self.name} goes from {_share(step)} to {_share(following)}: {decision.sentence}",
                numbers,
            )
        if decision.action == "ask":
            entry = self._write(
                "paused",
                last,
                version=last.version,
                champion=last.champion,
                weights=last.weights,
                reason=decision.sentence,
                actor=PERENNIAL,
                evidence=numbers,
                shadow=last.shadow,
            )
            return self.result(
                entry, "ask", f"The release of version {entry.version} of {self.name} waits for a person: {decision.sentence}", numbers
            )
        return self.result(last, "hold", f"Version {last.version} of {self.name} stays at {_share(step)}: {decision.sentence}", numbers)

    def _not_ready(self, last: Entry) -> str:
        """Why the candidate cannot take traffic; empty if it can. Raises ServiceUnreachable where the gateway is what does not answer: no fault of the candidate's."""
        try:
            self.bring_up(last, last.version)
        except (ReleaseRefused, ServiceUnreachable) as error:
            self.backend.observe(self.spec)
            return str(error)
        return ""

    def _outcomes(self, watch: Watch) -> tuple[Watch, dict[int, tuple[int, int]] | None]:
        """Known outcomes of each arm's predictions and how many were wrong; None if there is nothing new. Counting loads much, so not at every look."""
        now = datetime.now(timezone.utc)
        mark = self._newest_outcome()
        if mark in ("", watch.labelled_mark) or (watch.labelled_at and (now - watch.labelled_at).total_seconds() < OUTCOMES_SECONDS):
            return watch, None
        from perennial.monitoring import arms

        joined = self._joined(watch.begun)
        watch = watch.model_copy(update={"labelled_mark": mark, "labelled_at": now})
        if self.spec.task == "regression" and watch.usual_error is None:
            usual = arms.usual_error(joined, watch.champion)
            # Rows that told what is usual do not count as evidence: counting begins with the next ones.
            return watch.model_copy(update={"usual_error": usual, "labelled": arms.wrong_by_version(joined, self.spec.task, usual)}), None
        return watch, arms.wrong_by_version(joined, self.spec.task, watch.usual_error)

    def _newest_outcome(self) -> str:
        listings = (f"outcomes/{self.name}", f"tables/{self.name}_outcomes/_delta_log")
        return " ".join(max((item.key for item in self.store.list(listing)), default="") for listing in listings).strip()

    def _joined(self, since: datetime) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        from perennial.data.tables import Table
        from perennial.monitoring.outcomes import collect_outcomes, join, outcome_rows, outcomes_name
        from perennial.monitoring.prediction_table import collect_predictions, predictions_name

        predicted, happened = Table(self.store, predictions_name(self.name)), Table(self.store, outcomes_name(self.name))
        dataset = discovery.dataset(self.spec.dataset)
        collect_predictions(self.store, as_logged(self.store, self.spec, dataset, self.ledger.entries()), dataset, predicted)
        collect_outcomes(self.store, self.spec, happened)
        columns = ["prediction_id", "model_version", "served_at", "event_time", "scores"]
        if predicted.version() is None:
            kinds = (pa.string(), pa.int64(), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC"), pa.list_(pa.float64()))
            rows = pa.schema(list(zip(columns, kinds, strict=True))).empty_table()
        else:
            rows = predicted.scan(columns, (pc.field("served_at") >= pa.scalar(since, pa.timestamp("us", "UTC"))) & ~pc.field("shadow"))
        outcomes = (
            happened.scan(["prediction_id", "outcome", "time", "source", "line"])
            if happened.version() is not None
            else outcome_rows([], "")
        )
        return join(rows, outcomes)[0]

    def _change_weights(self, last: Entry, step: int, reason: str, numbers: dict[str, Any]) -> Entry:
        if last.champion is None:
            raise AssertionError("weights move between a champion and a candidate")
        if step == 0:
            weights, shadow = {last.champion: WHOLE}, last.version
        else:
            weights, shadow = {last.champion: WHOLE - step * WHOLE // 100, last.version: step * WHOLE // 100}, None
        entry = self._write(
            "weights",
            last,
            version=last.version,
            champion=last.champion,
            weights=weights,
            reason=reason,
            actor=PERENNIAL,
            evidence=numbers,
            shadow=shadow,
        )
        self.settle(entry)
        if self._changed_since(entry):
            raise self._overtaken()
        return entry

    def _promote(self, last: Entry, reason: str, actor: str, numbers: dict[str, Any]) -> ReleaseResult:
        old = last.champion
        # Of recalibrations one after another only the newest is kept: else they would push the other trainings out.
        like = frozenset() if old is None else kin(self.store, self.name, last.versions, old)
        good = last.good if old is None else (old, *(number for number in last.good if number not in like | {last.version}))
        entry = self._write(
            "promoted",
            last,
            version=last.version,
            champion=last.version,
            weights=all_to(last.version, good),
            reason=reason,
            actor=actor,
            good=good,
            evidence=numbers,
        )
        self.settle(entry)
        self.follow(entry)
        return self.result(
            entry, "promoted", f"Version {entry.version} of {self.name} is the champion and serves all traffic: {reason}", numbers
        )

    def _end_badly(self, last: Entry, reason: str, actor: str, numbers: dict[str, Any] | None = None) -> ReleaseResult:
        entry = self.roll_back(last, reason, actor, numbers)
        self.follow(entry)
        now = f"version {entry.champion} serves all traffic again" if entry.champion else "nothing serves"
        return self.result(entry, "rolled_back", f"Version {entry.version} of {self.name} was rolled back, {now}: {reason}", numbers)

    def _correct(self, entry: Entry, error: ReleaseRefused | ServiceUnreachable) -> NoReturn:
        """Say in the ledger that the champion before this entry keeps the traffic, where the entry's champion could not take it; then the error, or that the ledger was changed."""
        before = next((earlier for earlier in self.ledger.entries() if earlier.seq == entry.seq - 1), None)
        moved = self.backend.route(self.spec) in (None, route_of(entry))
        if entry.kind == RETIRED or moved or before is None or before.champion is None or before.champion == entry.champion:
            raise error
        self.backend.observe(self.spec)  # raises where the gateway does not answer: nobody knows then what holds
        self._write(
            "rolled_back" if entry.kind == "promoted" else "promoted",
            entry,
            version=entry.version,
            champion=before.champion,
            good=before.good,
            weights=all_to(before.champion, before.good),
            versions={**before.versions, **entry.versions},
            reason=f"Version {entry.champion} could not take the traffic, so version {before.champion} keeps it: {error}",
            actor=PERENNIAL,
        )
        raise self._overtaken() from error

    def _write(
        self,
        kind: Kind,
        last: Entry | None,
        *,
        version: int,
        champion: int | None,
        weights: dict[int, int],
        reason: str,
        actor: str,
        good: tuple[int, ...] | None = None,
        evidence: dict[str, Any] | None = None,
        shadow: int | None = None,
        versions: dict[int, str] | None = None,
    ) -> Entry:
        before = last.good if last else ()
        return self.ledger.append(
            kind,
            version=version,
            champion=champion,
            good=before if good is None else good,
            weights=weights,
            shadow=shadow,
            versions=versions or (last.versions if last else {}),
            reason=reason,
            evidence=evidence,
            actor=actor,
            after_seq=last.seq if last else None,
        )

    def _changed_since(self, last: Entry) -> bool:
        newest = self.ledger.last()
        return newest is None or newest.seq != last.seq

    def _overtaken(self) -> LedgerConflict:
        return LedgerConflict(f"The ledger of {self.name} was changed during this look. Look again.")

    def _step_of(self, last: Entry) -> int:
        return 0 if last.shadow is not None else last.weights.get(last.version, 0) * 100 // WHOLE

    def _next_step(self, step: int | None) -> int:
        """Percent of the step after `step`; 0 is the shadow, None is before all."""
        if step is None and self.spec.release.shadow:
            return 0
        return next((percent for percent in self.spec.release.steps if percent > (step or 0)), 100)

    def _watch(self, last: Entry) -> Watch:
        """The working file. If it was lost the evidence begins anew, which is safe: the step then wants its requests again."""
        watch = Watch.load(self.store, self.name, last.version) or Watch.begin(
            last.version, last.champion or 0, self.backend.observe(self.spec)
        )
        return watch.on_step(last.seq, last.time) if last.kind == "weights" else watch


def marks(entry: Entry) -> dict[str, str]:
    """What the registry is told of the version for which an entry ended something."""
    mark: dict[str, str] = {entry.kind: entry.reason} if entry.kind in (*AGAINST, RETIRED) else {"promoted": entry.time.isoformat()}
    return {**mark, NOTED: entry.note}


def all_to(champion: int, good: Sequence[int]) -> dict[int, int]:
    """Weights that give a champion all traffic. The version to go back to, first in `good`, stays warm: going back takes no start."""
    return {champion: WHOLE, **dict.fromkeys(good[:1], 0)}


def route_of(entry: Entry) -> Route | None:
    """The route that an entry asks for; None if nothing is to serve."""
    if entry.candidate is not None and entry.champion is None:
        return Route({entry.version: WHOLE}, None, {entry.version: entry.versions[entry.version]}, entry.version)
    if not entry.weights:
        return None
    running = {*entry.weights, *(() if entry.shadow is None else (entry.shadow,))}
    return Route(dict(entry.weights), entry.shadow, {number: entry.versions[number] for number in running}, entry.champion)


def _words(end: str) -> str:
    return end.replace("_", " ")


def _share(step: int) -> str:
    return "a copy of all traffic" if step == 0 else f"{step} % of the traffic"
