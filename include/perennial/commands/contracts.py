"""Lists the contracts of consumers, or checks that a version keeps them: its folder here, or the live one through the gateway.

$ perennial contracts list
$ perennial contracts check --model flight_delays --live
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from contextlib import closing
from typing import Literal

from perennial import discovery
from perennial.counted import counted
from perennial.errors import EXIT_DONE, EXIT_FAULT, SpecBroken, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.lineage.registrations import registrations
from perennial.registry.contracts import Breach, Contract
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.stages._contracts import asked, broken_by_folder, contracts_of
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    *,
    what: Literal["list", "check"],
    model: str | None = None,
    version: int | None = None,
    live: bool = False,
) -> int:
    """Print a line for each contract, and with `check` one for each case that is broken; then 1.

    Raises:
        UnknownName: there is no such model or version.
        SpecBroken: a file is no contract; what the others came to is printed first.
        StoredDataDamaged: the version's folder is damaged.
    """
    specs = [discovery.model(model)] if model else list(discovery.models().values())
    lines, broken = list[str](), False
    unreadable: list[SpecBroken] = []
    for spec in specs:
        try:
            contracts = contracts_of(spec)
        except SpecBroken as error:
            unreadable.append(error)
            continue
        if not contracts:
            continue
        if what == "list":
            lines += [f"{spec.name}: {_terms(contract)}" for contract in contracts]
            continue
        number, digest = _version(store, spec, version)
        if number is None:
            lines.append(
                f"{spec.name}: nothing serves yet; {counted(len(contracts), 'contract')} can be read. Name a --version to check one."
            )
            continue
        found = _through_gateway(settings, spec, version, contracts) if live else broken_by_folder(store, spec, digest, contracts)
        broken = broken or bool(found)
        which = f"version {number}" if version is not None or not live else "what serves"
        lines += [f"{spec.name}, {which}: {breach.sentence}." for breach in found]
        names = {breach.consumer for breach in found}
        lines += [f"{spec.name}, {which}: keeps {_terms(one)}" for one in contracts if one.consumer not in names]
    if lines or not unreadable:
        print(on_terminal("\n".join(lines) or "No model has a contract: docs/contracts.md says how one is written."), flush=True)
    if unreadable:
        raise SpecBroken(" ".join(map(str, unreadable)))
    return EXIT_FAULT if broken else EXIT_DONE


def _terms(contract: Contract) -> str:
    about = f", {contract.about}" if contract.about else ""
    cases = f"{counted(len(contract.cases), 'case')}: {', '.join(contract.cases)}"
    return f"{contract.consumer}, owner {contract.owner}{about}: {cases}"


def _version(store: Store, spec: ModelSpec, wanted: int | None) -> tuple[int | None, str]:
    """Number and digest of the wanted version, or of the champion; no number where nothing serves."""
    if wanted is not None:
        known = registrations(store, spec.name).get(wanted)
        if known is None:
            raise UnknownName(f"{spec.name} has no version {wanted}: `perennial show versions {spec.name}` lists them.")
        return wanted, known.digest
    entry = Ledger(store, spec.name).last_move()
    if entry is None or entry.champion is None or not entry.serves:
        return None, ""
    return entry.champion, entry.versions[entry.champion]


def _through_gateway(settings: Settings, spec: ModelSpec, version: int | None, contracts: Sequence[Contract]) -> list[Breach]:
    from perennial.serving.aside import Aside
    from perennial.serving.envoy import VERSION_WANTED
    from perennial.serving.load import gateway

    connection, path = gateway(settings, spec)
    headers = {"Content-Type": "application/json", **({} if version is None else {VERSION_WANTED: str(version)})}

    def ask(body: bytes) -> tuple[int, bytes]:
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return 0, f"no answer ({type(error).__name__}: {error})".encode()

    with closing(connection):
        return asked(Aside(ask), contracts)
