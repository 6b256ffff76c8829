"""`perennial retire`: take a model off the gateway for good. Its ledger, incidents and versions stay and are still answered for."""

from __future__ import annotations

import getpass

from perennial import discovery
from perennial.errors import EXIT_DONE, LedgerConflict, PerennialError, ReleaseRefused
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import RETIRED, known_models, retired_words
from perennial.registry.model_registry import ModelRegistry
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.specs import stand_in
from perennial.stages.release import TRIES, Release
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
    """Write the entry, stop the servers, end the incidents, tell the registry; a sentence on it. Where another writer was faster, decide anew."""
    for attempt in range(TRIES):
        try:
            return _take_down(release, reason, actor)
        except LedgerConflict:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _take_down(release: Release, reason: str, actor: str) -> str:
    last, before = release.ledger.last(), release.ledger.retirement()
    if last is None:
        raise ReleaseRefused(f"{release.name} has never served: there is nothing to take down. Its DAGs go with its folder.")
    entry = before or release.ledger.append(
        RETIRED,
        version=last.champion or last.version,
        champion=None,
        weights={},
        versions=last.versions,
        reason=reason,
        actor=actor,
        after_seq=last.seq,
    )
    release.settle(entry)  # also of one that was killed before its servers stopped
    incidents = Incidents(release.store, release.name)
    for incident in incidents.open_ones():
        incidents.resolve(incident.id, f"The model was retired by {entry.actor}: {entry.reason}")
    untold = ""
    try:
        release.follow(entry)
    except PerennialError as error:
        untold = f" The registry was not told: {error} Run it again later."
    return f"{'Nothing changed: ' if before else ''}{retired_words(entry)}{untold}"
