"""Which trainings took place: read from the version folders they sealed and what the gate said of them. Light."""

from __future__ import annotations

import json

from perennial.lineage.manifest import Manifest
from perennial.lineage.version_folder import read_manifest
from perennial.store import Store


def last_training(store: Store, model: str) -> tuple[str, Manifest] | None:
    """Digest and manifest of the version that was sealed last among those that the gate has judged; None if there is none.

    A training whose run died before the gate does not count: it must be taken up again.
    """
    for stored in sorted(store.list(f"models/{model}/by_run"), key=lambda stored: (stored.modified, stored.key), reverse=True):
        digest: str = json.loads(store.read(stored.key))["digest"]
        if judged(store, model, digest):
            return digest, read_manifest(store, model, digest)
    return None


def judged(store: Store, model: str, digest: str) -> bool:
    """Whether the gate has decided on a version, for or against it."""
    return store.exists(verdict_key(model, digest))


def verdict_key(model: str, digest: str) -> str:
    """Store key of what the gate said of a version."""
    return f"reports/{model}/{digest}/gate.json"
