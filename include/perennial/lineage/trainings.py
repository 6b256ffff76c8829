"""The trainings of a model and their versions, as read from the version folders and the gate's decisions. Light.

>>> import tempfile
>>> from perennial.store import open_store
>>> from perennial.testing import publish_small_version
>>> from pathlib import Path
>>> store = open_store(tempfile.mkdtemp())
>>> digest = publish_small_version(store, Path(tempfile.mkdtemp()) / "version")
>>> judged(store, "small_delays", digest), last_training(store, "small_delays")  # the gate has not decided on it yet
(False, None)
>>> store.write(verdict_key("small_delays", digest), b"{}")
>>> last_training(store, "small_delays")[0] == digest
True
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.manifest import Manifest, Parameter, run_key
from perennial.lineage.version_folder import made_by, published, read_manifest
from perennial.store import Store


def last_training(store: Store, model: str) -> tuple[str, Manifest] | None:
    """Digest and manifest of the version that was sealed last among those that the gate has judged; None if there is none.

    A training whose run died before the gate does not count: it must be taken up again. A recalibration is no training.

    Raises:
        StoredDataDamaged: what one of the newest trainings made cannot be read.
    """
    for stored in sorted(store.list(f"models/{model}/by_run"), key=lambda stored: (stored.modified, stored.key), reverse=True):
        digest = made_by(store, stored.key)
        if digest and judged(store, model, digest):
            return digest, read_manifest(store, model, digest)
    return None


def refused_in_a_row(store: Store, model: str, most: int) -> tuple[int, str]:
    """How many of the newest candidates the gate has refused one after the other, and why the newest of them.

    Args:
        store: has the gate's decisions.
        model: name of the model.
        most: as many are looked at.
    """
    why: list[str] = []
    for stored in sorted(store.list(f"models/{model}/by_run"), key=lambda stored: (stored.modified, stored.key), reverse=True):
        if len(why) == most:
            break
        digest = made_by(store, stored.key)
        if digest and judged(store, model, digest):
            verdict = _verdict(store, model, digest)
            if verdict.get("passed", True):
                break
            why.append(str(verdict.get("sentence", "")))
    return len(why), why[0] if why else ""


def _verdict(store: Store, model: str, digest: str) -> dict[str, Any]:
    """The gate's decision on a version. Raises StoredDataDamaged."""
    try:
        verdict = json.loads(store.read(verdict_key(model, digest)))
    except ValueError:
        verdict = None
    if not isinstance(verdict, dict):
        raise StoredDataDamaged(
            f"The gate's decision on {digest[:12]} of {model} cannot be read: restore {verdict_key(model, digest)} from a copy."
        )
    return verdict


def trained_on(
    store: Store, model: str, snapshot_digests: Iterable[str], code: str, lock: str, parameters: dict[str, Parameter], seed: int
) -> str | None:
    """Digest of the version that a training of these inputs gave, if it is sealed.

    Args:
        store: has the version folders.
        model: name of the model.
        snapshot_digests: of one snapshot, by every rule by which it was ever told: a new rule asks for no new training.
        code: digest of the training code.
        lock: digest of the lock file.
        parameters: what the spec and the run ask for.
        seed: of every random choice.
    """
    trained = (published(store, model, run_key(model, snapshot, code, lock, parameters, seed)) for snapshot in snapshot_digests)
    return next((digest for digest in trained if digest), None)


def kin(store: Store, model: str, digests: Mapping[int, str], version: int) -> frozenset[int]:
    """The versions that came of the same training as `version`: the trained one and its recalibrations; at least `version` itself.

    They have the same weights, the same snapshot and so the same reference for drift; what differs is scale and shift.

    Args:
        store: has the manifests. A version whose folder is gone is kin to none.
        model: name of the model.
        digests: number -> content address of all versions that are asked about, as the ledger's entries have them.
        version: number of one of them.
    """
    training = _training(store, model, digests.get(version, ""))
    if training is None:
        return frozenset({version})
    trained = published(store, model, training)
    first = min((number for number, digest in digests.items() if digest == trained), default=0)
    later = (number for number in digests if number >= first)  # a training's recalibrations come after it
    return frozenset(number for number in later if number == version or _training(store, model, digests[number]) == training)


def _training(store: Store, model: str, digest: str) -> str | None:
    try:
        return read_manifest(store, model, digest).run_key
    except UnknownName:
        return None


def judged(store: Store, model: str, digest: str) -> bool:
    """Whether the gate has decided on a version, for or against it."""
    return store.exists(verdict_key(model, digest))


def verdict_key(model: str, digest: str) -> str:
    """Store key of the gate's decision on a version."""
    return f"reports/{model}/{digest}/gate.json"
