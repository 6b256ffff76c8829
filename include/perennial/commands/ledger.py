"""`perennial ledger`: verify the ledger or show it.

$ perennial ledger show --model flight_delays
"""

from __future__ import annotations

from typing import Literal

from perennial import discovery
from perennial.errors import EXIT_DONE, EXIT_FAULT, ServiceUnreachable
from perennial.lineage.ledger import Entry, Ledger, known_models
from perennial.lineage.version_notes import part_of
from perennial.registry.model_registry import NOTED, ModelRegistry
from perennial.serving.route import WHOLE
from perennial.settings import Settings
from perennial.stages import _agreement
from perennial.store import Store


def run(settings: Settings, store: Store, *, action: Literal["verify", "show"], model: str | None = None) -> int:
    """Print the ledger of one model or of all, or whether it is sound; the exit code is 1 if one is not, or the registry differs from
    it or could not be compared.

    Raises:
        UnknownName: there is no such model.
        StoredDataDamaged: an entry to be shown cannot be read.
    """
    names = discovery.models_asked_about(model, known_models(store))
    if action == "show":
        for name in names:
            entries = Ledger(store, name).entries()
            print("\n".join([f"{name}: {len(entries)} entries", *map(line, entries)]))
        return EXIT_DONE
    registry = ModelRegistry(settings)
    return EXIT_DONE if all([_is_sound(Ledger(store, name), registry) for name in names]) else EXIT_FAULT


def line(entry: Entry) -> str:
    """One entry in one line."""
    weights = " ".join(f"{number}:{100 * weight / WHOLE:g}%" for number, weight in sorted(entry.weights.items()) if weight) or "-"
    shadow = "" if entry.shadow is None else f" shadow:{entry.shadow}"
    used = part_of(entry.evidence, "training").get("sentence")
    training = f" Its training: {used}" if used else ""
    return (
        f"  {entry.seq:>4}  {entry.time:%Y-%m-%d %H:%M:%S}  {entry.kind:<11} version {entry.version:<4} {weights}{shadow}  "
        f"{entry.actor}: {entry.reason}{training}  [{entry.hash[:12]}]"
    )


def _is_sound(ledger: Ledger, registry: ModelRegistry) -> bool:
    noted: dict[int, str] | None = None
    try:  # before the ledger is read: what is written meanwhile is no mismatch
        noted = {version.number: version.tags[NOTED] for version in registry.versions(ledger.model) if NOTED in version.tags}
        unknown = ""
    except ServiceUnreachable as error:
        unknown = str(error)
    problems = ledger.verify(noted)
    differences = [] if problems or unknown else _agreement.differences(registry, ledger)
    if problems:
        print(f"The ledger of {ledger.model} is damaged: {'; '.join(problems)}. Restore it from a copy of the store.")
    else:
        last = ledger.last()
        end = f"{last.seq + 1} entries, the last of {last.time:%Y-%m-%d %H:%M:%S} UTC with hash {last.hash}" if last else "it is empty"
        print(f"The ledger of {ledger.model} is {'unbroken as far as it goes' if unknown else 'sound'}: {end}.")
    if unknown:
        print(f"Whether entries were cut off the end of the ledger of {ledger.model} could not be verified: {unknown}")
    for sentence in differences:
        print(sentence)
    return not (problems or unknown or differences)
