"""Finds models that still serve although their folder was renamed or removed, so that no DAG looks after them. Light.

>>> from perennial.store import open_store
>>> store = open_store("store")
>>> facts = {"version": 1, "champion": 1, "weights": {1: 10_000}, "versions": {1: "0" * 64}}
>>> entry = Ledger(store, "churn").append("released", **facts, reason="The first.", actor="anna", after_seq=None)
>>> unowned(store)["churn"]
'churn still serves version 1, and perennial_models/churn is gone: nobody watches or trains it. ...'
"""

from __future__ import annotations

from perennial import discovery
from perennial.errors import StoredDataDamaged
from perennial.lineage.ledger import Entry, Ledger, known_models
from perennial.store import Store


def unowned(store: Store) -> dict[str, str]:
    """A sentence for each model that its ledger lets serve while no folder has its name, or whose ledger does
    not say; a broken one has its folder."""
    with_folder = {*discovery.models(), *(sentences.name for sentences in discovery.broken() if sentences.kind == "model")}
    sentences = {}
    for name in known_models(store):
        if name in with_folder:
            continue
        try:
            last = Ledger(store, name).last()
        except StoredDataDamaged as damage:
            sentences[name] = f"perennial_models/{name} is gone, and whether {name} still serves is not known: {damage}"
        else:
            if last and last.serves:
                sentences[name] = _sentence(last)
    return sentences


def _sentence(entry: Entry) -> str:
    numbers = ", ".join(map(str, sorted(entry.weights))) or str(entry.version)
    return (
        f"{entry.model} still serves version {numbers}, and perennial_models/{entry.model} is gone: nobody watches or trains it. "
        f"Put the folder back, or take it down with `perennial retire {entry.model}`."
    )
