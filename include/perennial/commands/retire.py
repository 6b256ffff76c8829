"""`perennial retire`: take a model off the gateway for good. Its ledger, incidents and versions stay and are still answered for.

$ perennial retire flight_delays --reason "another model took over" --actor anna
"""

from __future__ import annotations

import getpass
from functools import partial

from perennial import discovery
from perennial.errors import EXIT_DONE, ReleaseRefused
from perennial.lineage.ledger import RETIRED, Entry, known_models, retired_words, retirement_words
from perennial.registry.model_registry import ModelRegistry
from perennial.results import ReleaseResult
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.specs import stand_in
from perennial.stages._release_plan import Failure, Known, answered_without_registry, corrected
from perennial.stages._release_steps import Change, EndIncidents, Follow, Move, Refuse, Step, Tell, Write
from perennial.stages.release import Release, decided_anew
from perennial.store import Store


def run(settings: Settings, store: Store, *, model: str, reason: str = "asked for by a person", actor: str | None = None) -> int:
    """Retire a model; repeating it changes nothing. Its folder may be broken, renamed or removed: the ledger knows what serves.

    Raises:
        UnknownName: neither a folder nor the ledger has that name.
        ReleaseRefused: it has never served, or nobody is named.
        ServiceUnreachable: the servers cannot be reached.
        LedgerConflict: others keep writing to the ledger.
    """
    (name,) = discovery.models_asked_about(model, known_models(store))
    spec = discovery.models().get(name) or stand_in(name)
    release = Release(spec, settings, store, open_backend(settings), ModelRegistry(settings))
    print(take_down(release, reason, actor or _login()))
    return EXIT_DONE


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ReleaseRefused(
            "This machine does not know your login, and the ledger is to say who retired the model: give --actor YOU."
        ) from None


def take_down(release: Release, reason: str, actor: str) -> str:
    """Write the entry, stop the servers, end the incidents, tell the registry; a sentence on it.

    Where another writer was faster, it is decided anew.
    """
    plan = partial(planned, reason=reason, actor=actor)
    return decided_anew(lambda: release.rounds(release.known(), plan)).sentence


def planned(known: Known, reason: str, actor: str) -> list[Step]:
    """The steps of the next round of taking a model down. Pure, as `perennial.stages._release_plan` is."""
    if known.failure:
        return _after(known.failure)
    last, before = known.last, known.retired
    if last is None:
        sentence = f"{known.name} has never served: there is nothing to take down. Its DAGs go with its folder."
        return [Refuse(ReleaseRefused(sentence))]
    if before:  # also one that was killed before its servers stopped
        return [Move(before), *_ended(before, f"Nothing changed: {retired_words(before)}")]
    time = max(known.now, last.time)
    change = Change(
        kind=RETIRED,
        version=last.champion or last.version,
        champion=None,
        weights={},
        versions=last.versions,
        reason=reason,
        actor=actor,
    )
    sentence = retirement_words(known.name, change.version, time, actor, reason)
    return [Write(change, last.seq, time), Move(change), *_ended(change, sentence)]


def _ended(entry: Entry | Change, sentence: str) -> list[Step]:
    return [
        EndIncidents(f"The model was retired by {entry.actor}: {entry.reason}"),
        Follow(entry),
        Tell(ReleaseResult(sentence=sentence), linked=False),
    ]


def _after(failure: Failure) -> list[Step]:
    """What follows a step that failed."""
    if isinstance(failure.step, Follow):  # nothing serves any more: that is what was asked for
        return answered_without_registry(failure, f"The registry was not told: {failure.error} Run it again later.")
    return corrected(failure) or [Refuse(failure.error)]
