"""Models that serve and have no folder: it was renamed or removed, and no DAG looks after them any more. Light."""

from __future__ import annotations

from perennial import discovery
from perennial.lineage.ledger import Entry, Ledger, known_models
from perennial.store import Store


def unowned(store: Store) -> dict[str, Entry]:
    """The last entry of each model that its ledger lets serve while no folder has its name; a broken one has its folder.

    Raises:
        StoredDataDamaged: such an entry cannot be read.
    """
    with_folder = {*discovery.models(), *(found.name for found in discovery.broken() if found.kind == "model")}
    last = {name: Ledger(store, name).last() for name in known_models(store) if name not in with_folder}
    return {name: entry for name, entry in last.items() if entry and entry.serves}


def sentence(entry: Entry) -> str:
    """What is wrong with one of them, and what to do."""
    numbers = ", ".join(map(str, sorted(entry.weights))) or str(entry.version)
    return (
        f"{entry.model} still serves version {numbers}, and perennial_models/{entry.model} is gone: nobody watches or trains it. "
        f"Put the folder back, or take it down with `perennial retire {entry.model}`."
    )
