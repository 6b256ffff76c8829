"""Goes back to the last good version at once: first the traffic, then the paperwork."""

from __future__ import annotations

from datetime import datetime, timezone

from perennial import discovery
from perennial.errors import LedgerConflict, PerennialError, ReleaseRefused, ServiceUnreachable
from perennial.lineage.ledger import Entry, known_models, retired_words
from perennial.registry.model_registry import ModelRegistry
from perennial.results import ReleaseResult
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.specs import stand_in
from perennial.stages.release import PERENNIAL, TRIES, Release, all_to, route_of
from perennial.store import Store

REPEAT_SECONDS = 600  # a second wish within this time is the same wish: a retried task, two people, or a release that rolled back just now


def run(settings: Settings, store: Store, *, model: str, reason: str = "asked for by a person", actor: str = PERENNIAL) -> ReleaseResult:
    """Go back.

    While a release is under way its candidate goes and the champion gets all traffic; otherwise the champion goes and the
    last good version, which still runs, gets all traffic. The registry is told afterwards: its absence delays nothing. What
    serves is in the ledger, so a model whose files are broken or gone goes back too: with the
    settings of serving that it had on one machine, and the default ones on Kubernetes.

    Raises:
        ReleaseRefused: there is nothing to go back to, the model was retired, or the last good version fails its golden rows.
        UnknownName: neither a folder nor the ledger has that name.
        ServiceUnreachable: the servers cannot be reached, or the last good version does not come up.
        LedgerConflict: others keep writing to the ledger.
    """
    (name,) = discovery.models_asked_about(model, known_models(store))
    spec = discovery.models().get(name)
    result = go_back(Release(spec or stand_in(name), settings, store, open_backend(settings), ModelRegistry(settings)), reason, actor)
    return result if spec else result.model_copy(update={"sentence": f"{result.sentence} {_without_spec(name)}"})


def go_back(release: Release, reason: str, actor: str) -> ReleaseResult:
    """Go back; see `run`. Where a look at a release was faster, it is decided anew on what that wrote."""
    for attempt in range(TRIES):
        try:
            return _go_back(release, reason, actor)
        except LedgerConflict:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _go_back(release: Release, reason: str, actor: str) -> ReleaseResult:
    last = release.ledger.last()
    if last is None:
        raise ReleaseRefused(f"{release.name} has never served: there is nothing to go back to.")
    if retired := release.ledger.retirement():
        release.settle(last)
        raise ReleaseRefused(f"There is nothing to go back to: {retired_words(retired)}")
    moved = release.ledger.last_move()
    if moved and moved.kind == "rolled_back" and (_is_recent(moved) or not _has_moved(release, last)):
        release.settle(last)
        sentence = f"Version {moved.version} of {release.name} was rolled back at {moved.time:%H:%M:%S} UTC already; {_now_serves(last)}."
        if last.last_good is not None:
            sentence += _further(release, last.last_good)
        return _told(release, last, sentence)
    if last.candidate is not None:
        entry = release.roll_back(last, reason, actor)
        return _told(
            release, entry, f"The release of version {entry.version} of {release.name} was ended ({reason}); {_now_serves(entry)}."
        )
    if last.champion is None or last.last_good is None:
        raise ReleaseRefused(
            f"{release.name} has no version before {last.champion or last.version} that was good: there is nothing to go back to. Train and release a better one."
        )
    target, *older = last.good
    try:
        release.bring_up(last, target)
    except (ReleaseRefused, ServiceUnreachable) as error:
        sentence = f"{release.name} cannot go back to version {target}, so version {last.champion} keeps the traffic: {error}"
        raise type(error)(sentence + (_further(release, older[0]) if older else "")) from error
    entry = release.ledger.append(
        "rolled_back",
        version=last.champion,
        champion=target,
        good=tuple(older),
        weights=all_to(target, older),
        versions=last.versions,
        reason=reason,
        actor=actor,
        after_seq=last.seq,
    )
    release.settle(entry)
    return _told(release, entry, f"Version {entry.version} of {release.name} was rolled back ({reason}); {_now_serves(entry)}.")


def _without_spec(name: str) -> str:
    """What is wrong with the files of a model that went back all the same."""
    broken = next((found.sentence for found in discovery.broken() if (found.kind, found.name) == ("model", name)), None)
    why = broken or f"perennial_models/{name} is gone: put the folder back, or take the model down with `perennial retire {name}`."
    return f"It went back without its spec. {why}"


def _is_recent(entry: Entry) -> bool:
    return (datetime.now(timezone.utc) - entry.time).total_seconds() < REPEAT_SECONDS


def _has_moved(release: Release, entry: Entry) -> bool:
    """Whether traffic is where an entry wants it; it is not where the rollback was killed just after its entry."""
    return release.backend.route(release.spec) == route_of(entry)


def _told(release: Release, entry: Entry, sentence: str) -> ReleaseResult:
    try:
        release.follow(entry)
    except PerennialError as error:
        sentence += f" The registry was not told: {error} The next look of the DAG {release.name}_release does it."
    return release.result(entry, "rolled_back", sentence)


def _further(release: Release, number: int) -> str:
    return f" To go further back: `perennial release --model {release.name} --version {number} --again --actor YOU`."


def _now_serves(entry: Entry) -> str:
    return f"version {entry.champion} serves all traffic" if entry.champion else "nothing serves"
