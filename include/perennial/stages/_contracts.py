"""Asks a version what consumers' contracts ask: at its server, or of its folder where there is no way to a server aside of traffic."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from perennial import discovery
from perennial.errors import PerennialError, ReleaseRefused, ServiceUnreachable
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch
from perennial.lineage.version_folder import key as folder_key
from perennial.registry.contracts import Breach, Contract, breaches, contracts_in, requests_of
from perennial.serving.aside import Aside
from perennial.serving.backends import Backend, open_backend
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages._last_look import code_digest
from perennial.store import Store

log = logging.getLogger("perennial.contracts")

KEY = "contract of "  # begins the key of an incident, before the consumer
UNREADABLE = "contracts"  # key of the incident about files that are no contracts


def contracts_of(spec: ModelSpec) -> list[Contract]:
    """The contracts of a model's consumers. Raises SpecBroken: a file is none."""
    return contracts_in(discovery.model_folder(spec.name))


def require_contracts(spec: ModelSpec, backend: Backend, version: int) -> None:
    """Let no version go on at whose server a contract is broken, as far as there is a way to it aside of traffic.

    Raises:
        ReleaseRefused: one is; the sentence names consumer, case and owner.
    """
    contracts = contracts_of(spec)
    aside = backend.aside(spec, version) if contracts else None
    if aside is None:
        return
    with closing(aside):
        broken = asked(aside, contracts)
    if broken:
        raise ReleaseRefused(f"Version {version} of {spec.name} does not go on: {'; '.join(breach.sentence for breach in broken)}.")


def asked(aside: Aside, contracts: Sequence[Contract]) -> list[Breach]:
    """What a version breaks."""
    from perennial.serving.inspection import answers_to

    return breaches(contracts, answers_to(aside, requests_of(contracts)))


def broken_by_folder(store: Store, spec: ModelSpec, digest: str, contracts: Sequence[Contract]) -> list[Breach]:
    """What a version's folder breaks, loaded in this environment.

    Raises:
        UnknownName, StoredDataDamaged: the store does not have it whole.
        ReleaseRefused: it cannot be loaded.
    """
    from perennial.serving.folder_inspection import in_process
    from perennial.serving.scorer import Scorer, ScoringFailed

    with tempfile.TemporaryDirectory(prefix="perennial-contracts-") as scratch:
        try:
            scorer = Scorer(fetch(store, spec.name, digest, Path(scratch) / "version"))
        except ScoringFailed as error:
            raise ReleaseRefused(str(error)) from error
        return asked(in_process(scorer), contracts)


def note_contracts(settings: Settings, store: Store, spec: ModelSpec) -> tuple[str, ...]:
    """Ask the champion what every contract asks; open an incident for each consumer whose contract is broken, and end those that are kept.

    Before a first release, and of a retired model, nothing is asked. Where its server does not answer, another incident says so.

    Returns:
        The ids of the incidents that were opened and resolved.
    """
    entry = Ledger(store, spec.name).last_move()
    incidents = Incidents(store, spec.name)
    wrong: dict[str, str] = {}
    try:
        contracts = contracts_of(spec)
        if entry is not None and entry.champion is not None and entry.serves and contracts:
            for breach in reversed(_broken_by_champion(settings, store, spec, contracts, entry.champion, entry.versions[entry.champion])):
                wrong[f"{KEY}{breach.consumer}"] = f"Version {entry.champion} serves, and {breach.sentence}."
    except ServiceUnreachable:
        return ()
    except PerennialError as error:
        wrong[UNREADABLE] = str(error)
    changed = [incidents.open("contract", key, "critical", sentence) for key, sentence in wrong.items()]
    for one in incidents.open_ones():
        if one.kind == "contract" and one.key not in wrong and incidents.resolve(one.id, "It is kept again, or counts no more."):
            changed.append(one.id)
    return tuple(id for id in changed if id is not None)


def _broken_by_champion(
    settings: Settings, store: Store, spec: ModelSpec, contracts: Sequence[Contract], champion: int, digest: str
) -> list[Breach]:
    aside = open_backend(settings).aside(spec, champion)
    if aside is None:
        return _broken_by_folder_once(store, spec, digest, contracts)
    with closing(aside):
        return asked(aside, contracts)


def _broken_by_folder_once(store: Store, spec: ModelSpec, digest: str, contracts: Sequence[Contract]) -> list[Breach]:
    """The same, kept: a folder answers the same as long as its files, the contracts and the code that asks are the same."""
    files = [[item.key, item.etag] for item in store.list(folder_key(spec.name, digest))]
    parts = [code_digest(), digest, files, [one.model_dump(mode="json") for one in contracts]]
    of = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    key = f"views/contracts/{spec.name}.json"
    try:
        noted = json.loads(store.read(key))
        if noted["of"] == of:
            return [Breach(**one) for one in noted["broken"]]
    except (KeyError, TypeError, ValueError):  # none yet, or of another state of the platform
        log.debug("The contracts of %s are asked anew: %s is not there or cannot be read.", spec.name, key)
    broken = broken_by_folder(store, spec, digest, contracts)
    store.write(key, json.dumps({"of": of, "broken": [asdict(one) for one in broken]}).encode())
    return broken
