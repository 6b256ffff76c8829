"""The spec with the inputs of a single version, which are those of its signature, however the spec was edited since."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.ledger import Entry
from perennial.lineage.version_folder import read_signature
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

log = logging.getLogger(__name__)

RECENT = 20  # entries of the ledger whose versions may still have predictions that were not taken in


def as_of(store: Store, spec: ModelSpec, digest: str) -> ModelSpec:
    """The spec with the inputs of a version.

    Raises:
        UnknownName: the store has no such version.
        StoredDataDamaged: its signature was changed.
    """
    return spec.model_copy(update={"inputs": tuple(given["name"] for given in read_signature(store, spec.name, digest)["inputs"])})


def as_logged(store: Store, spec: ModelSpec, dataset: DatasetSpec, entries: Sequence[Entry]) -> ModelSpec:
    """The spec with the inputs of every version that served lately besides its own: so no input is lost that a server logs.

    Args:
        store: has the versions.
        spec: of the model as it is now.
        dataset: knows the columns' types; an input that it has no more is left out.
        entries: of the model's ledger.
    """
    inputs = dict.fromkeys(spec.inputs)
    served = {
        digest
        for entry in entries[-RECENT:]
        for number, digest in entry.versions.items()
        if number in {*entry.weights, entry.shadow, entry.version}
    }
    for digest in sorted(served):
        try:
            inputs |= dict.fromkeys(as_of(store, spec, digest).inputs)
        except (UnknownName, StoredDataDamaged) as error:  # others' predictions must not wait for it
            log.warning("The inputs of a version that served are not known: %s", error)
    known = {column.name for column in dataset.columns}
    return spec.model_copy(update={"inputs": tuple(name for name in inputs if name in known)})
