"""Roll back to the last good version at once: first the traffic, then the records.

$ perennial rollback --model flight_delays --reason "callers complain" --actor anna
"""

from __future__ import annotations

from functools import partial

from perennial import discovery
from perennial.errors import ReleaseRefused, ServiceUnreachable
from perennial.lineage.ledger import Entry, known_models, retired_words
from perennial.registry.model_registry import ModelRegistry
from perennial.results import ReleaseResult
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.specs import stand_in
from perennial.stages._release_plan import PERENNIAL, Failure, Known, answered_without_registry, corrected, result_of, rolled_back
from perennial.stages._release_steps import AskRoute, BringUp, Change, Follow, Move, Refuse, Step, Write
from perennial.stages._routes import all_to, route_of
from perennial.stages.release import Release, decided_anew
from perennial.store import Store

REPEAT_SECONDS = 600  # a second wish within this time is the same: a retried task, two people, or a release that rolled back just now


def run(
    settings: Settings,
    store: Store,
    *,
    model: str,
    version: int | None = None,
    reason: str = "asked for by a person",
    actor: str = PERENNIAL,
) -> ReleaseResult:
    """Go back.

    While a release, or an experiment, is under way its candidate goes and the champion gets all traffic; otherwise the champion goes and
    the last good version, which still runs, gets all traffic. The registry is told afterwards: its absence delays nothing. What serves is
    in the ledger, so a model whose files are broken or gone goes back too: with the settings of serving that it had on one machine, and the
    default ones on Kubernetes.

    Who names the version, as a button does that says it, goes back to that one at most, however often it is asked for; without one a
    second wish within ten minutes of any rollback is taken for the same.

    Raises:
        ReleaseRefused: there is nothing to go back to, or not the version that was named, the model was retired, or the last good
            version fails its golden rows.
        UnknownName: neither a folder nor the ledger has that name.
        ServiceUnreachable: the servers cannot be reached, or the last good version does not come up.
        LedgerConflict: others keep writing to the ledger.
    """
    (name,) = discovery.models_asked_about(model, known_models(store))
    spec = discovery.models().get(name)
    result = go_back(
        Release(spec or stand_in(name), settings, store, open_backend(settings), ModelRegistry(settings)), reason, actor, version
    )
    return result if spec else result.model_copy(update={"sentence": f"{result.sentence} {_without_spec(name)}"})


def go_back(release: Release, reason: str, actor: str, version: int | None = None) -> ReleaseResult:
    """Roll back; see `run`. If a look at a release was faster, the rollback is decided again on what it wrote."""
    plan = partial(planned, reason=reason, actor=actor, version=version)
    return decided_anew(lambda: release.rounds(release.known(), plan))


def planned(known: Known, reason: str, actor: str, version: int | None = None) -> list[Step]:
    """The steps of the next round of going back. Pure, as `perennial.stages._release_plan` is."""
    last = known.last
    if known.failure:
        return _after(known, known.failure)
    if last is None:
        return [Refuse(ReleaseRefused(f"{known.name} has never served: there is nothing to go back to."))]
    if known.retired:
        return [Move(last), Refuse(ReleaseRefused(f"There is nothing to go back to: {retired_words(known.retired)}"))]
    if last.tried is not None and version in (None, last.champion):
        change = rolled_back(last, reason, actor)
        sentence = f"The experiment of {known.name} with version {change.version} was ended ({reason.rstrip('.')}); {_now_serves(change)}."
        return [Write(change, last.seq), Move(change), *_told(known, change, sentence)]
    if version is not None:
        return _gone_back_to(known, last, version, reason, actor)
    return _gone_back_once(known, last, reason, actor)


def _gone_back_once(known: Known, last: Entry, reason: str, actor: str) -> list[Step]:
    """The steps where no version is named: a wish soon after a rollback is the same wish."""
    moved = known.moved
    if moved and moved.kind == "rolled_back":
        is_recent = (known.now - moved.time).total_seconds() < REPEAT_SECONDS
        if not is_recent and known.applied is None:
            return [AskRoute()]
        # Traffic is not where the entry wants it if the rollback was killed just after its entry.
        if is_recent or (known.applied and known.applied.route != route_of(last)):
            return [Move(last), *_told(known, last, _already(known.name, moved, last))]
    return _gone_back(known, last, reason, actor)


def _gone_back(known: Known, last: Entry, reason: str, actor: str) -> list[Step]:
    if last.candidate is not None:
        change = rolled_back(last, reason, actor)
        sentence = f"The release of version {change.version} of {known.name} was ended ({reason.rstrip('.')}); {_now_serves(change)}."
        return [Write(change, last.seq), Move(change), *_told(known, change, sentence)]
    if last.champion is None or last.last_good is None:
        return [Refuse(ReleaseRefused(_nothing_before(known.name, last)))]
    target, *older = last.good
    change = Change(
        kind="rolled_back",
        version=last.champion,
        champion=target,
        good=tuple(older),
        weights=all_to(target, older),
        versions=last.versions,
        reason=reason,
        actor=actor,
    )
    sentence = f"Version {change.version} of {known.name} was rolled back ({reason.rstrip('.')}); {_now_serves(change)}."
    return [BringUp(target, last), Write(change, last.seq), Move(change), *_told(known, change, sentence)]


def _gone_back_to(known: Known, last: Entry, version: int, reason: str, actor: str) -> list[Step]:
    """The steps where the version is named: what came true is not done twice, what has changed meanwhile is not undone."""
    if last.candidate is None and last.champion == version:
        return [Move(last), *_told(known, last, f"There is nothing to do for {known.name}: {_now_serves(last)} already.")]
    goes_to = last.champion if last.candidate is not None else last.last_good
    if goes_to != version:
        now = f"to version {goes_to}" if goes_to else "to none"
        return [
            Refuse(ReleaseRefused(f"A rollback of {known.name} goes back {now} by now, not to version {version}: look at what serves."))
        ]
    return _gone_back(known, last, reason, actor)


def _after(known: Known, failure: Failure) -> list[Step]:
    """What follows a step that failed."""
    step, error = failure.step, failure.error
    if isinstance(step, Follow):  # the traffic has moved: that is what was asked for
        return answered_without_registry(
            failure, f"The registry was not told: {error} The next look of the DAG {known.name}_release does it."
        )
    if isinstance(step, BringUp) and isinstance(error, (ReleaseRefused, ServiceUnreachable)) and known.last:
        target, *older = known.last.good
        sentence = f"{known.name} cannot go back to version {target}, so version {known.last.champion} keeps the traffic: {error}"
        refusal = type(error)(sentence + (_further(known.name, older[0]) if older else ""))
        refusal.__cause__ = error
        return [Refuse(refusal)]
    return corrected(failure) or [Refuse(error)]


def _told(known: Known, entry: Entry | Change, sentence: str) -> list[Step]:
    return [Follow(entry), result_of(known.spec, entry, "rolled_back", sentence)]


def _already(name: str, moved: Entry, last: Entry) -> str:
    sentence = f"Version {moved.version} of {name} was rolled back at {moved.time:%H:%M:%S} UTC already; {_now_serves(last)}."
    return sentence if last.last_good is None else sentence + _further(name, last.last_good)


def _nothing_before(name: str, last: Entry) -> str:
    return (
        f"{name} has no version before {last.champion or last.version} that was good: there is nothing to go back to. "
        "Train and release a better one."
    )


def _without_spec(name: str) -> str:
    """What is wrong with the files of a model that went back all the same."""
    broken = next((folder.sentence for folder in discovery.broken() if (folder.kind, folder.name) == ("model", name)), None)
    why = broken or f"perennial_models/{name} is gone: put the folder back, or take the model down with `perennial retire {name}`."
    return f"It went back without its spec. {why}"


def _further(name: str, number: int) -> str:
    return f" To go further back: `perennial release --model {name} --version {number} --again --actor YOU`."


def _now_serves(entry: Entry | Change) -> str:
    return f"version {entry.champion} serves all traffic" if entry.champion else "nothing serves"
