"""Version folders in the store: written once, addressed by their content, checked whenever they are read.

    models/<model>/versions/<digest>/   model.onnx encoder.json signature.json golden.json features.py ... manifest.json
    models/<model>/by_run/<run key>.json   which version a training gave

`manifest.json` is written last: a folder without it does not exist.

    >>> from perennial.lineage.version_folder import key
    >>> key("churn", "3f" * 32)[:30]
    'models/churn/versions/3f3f3f3f'
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.manifest import Manifest
from perennial.store import Store

MANIFEST = "manifest.json"
WEIGHTS = "weights.pt"  # of a version whose spec says training.warm_start, for the training that begins with them
DIGEST = re.compile(r"[0-9a-f]{64}")


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """The manifest with the SHA-256 of every file in the folder; written there too."""
    files = {
        file.relative_to(folder).as_posix(): _sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST and "__pycache__" not in file.parts
    }
    sealed = manifest.model_copy(update={"files": files})
    (folder / MANIFEST).write_text(sealed.model_dump_json(indent=1))
    return sealed


def publish(store: Store, model: str, folder: Path, manifest: Manifest) -> str:
    """Seal a folder and write it into the store; returns its digest. Publishing the same content again writes nothing."""
    sealed = seal(folder, manifest)
    digest, target = sealed.digest, key(model, sealed.digest)
    if not store.exists(f"{target}/{MANIFEST}"):
        for name in sealed.files:
            store.upload(folder / name, f"{target}/{name}")
        store.put_if_absent(f"{target}/{MANIFEST}", (folder / MANIFEST).read_bytes())
    store.put_if_absent(_by_run(model, sealed.run_key), json.dumps({"digest": digest}).encode())
    return digest


def published(store: Store, model: str, run_key: str) -> str | None:
    """Digest of the version that this training made, if it is sealed. Raises StoredDataDamaged if what says so cannot be read."""
    return made_by(store, _by_run(model, run_key))


def made_by(store: Store, place: str) -> str | None:
    """Digest of the version that a training made, as it is noted at a store key; None if nothing is.

    Raises:
        StoredDataDamaged: what is noted there is no digest.
    """
    try:
        data = store.read(place)
    except KeyError:
        return None
    try:
        digest = json.loads(data)["digest"]
    except (KeyError, TypeError, ValueError):
        digest = None
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise StoredDataDamaged(
            f"Which version a training made cannot be read ({place}): restore it from a copy of the store, or delete it; then a training "
            "of the same inputs makes the version once more."
        )
    return digest


def golden_rows(store: Store, model: str, digest: str) -> list[dict[str, Any]]:
    """A version's golden rows, as a request may send them; none where they cannot be read, which whoever serves it is told."""
    try:
        rows: list[dict[str, Any]] = json.loads(store.read(f"{key(model, digest)}/golden.json"))["rows"]
    except (KeyError, TypeError, ValueError):
        return []
    return rows


def trained_in(store: Store, model: str, digest: str) -> str:
    """The trace of the stage that made a version, as a `traceparent`; empty where nobody noted one."""
    try:
        said = json.loads(store.read(made_key(model, digest))).get("trace", "")
    except (KeyError, ValueError, AttributeError):  # not noted, or damaged: `making` says so where it matters
        return ""
    return said if isinstance(said, str) else ""


def read_manifest(store: Store, model: str, digest: str) -> Manifest:
    """The manifest of a version.

    Raises:
        UnknownName: there is no such version in the store.
        StoredDataDamaged: the manifest does not belong to that digest.
    """
    try:
        data = store.read(f"{key(model, digest)}/{MANIFEST}") if DIGEST.fullmatch(digest) else None
    except KeyError:
        data = None
    if data is None:
        raise UnknownName(f"The store has no version {digest[:12]} of {model}: take a digest that `train` printed or the registry shows.")
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError:
        raise StoredDataDamaged(
            f"The manifest of {model} {digest[:12]} cannot be read: restore {key(model, digest)}/ from a backup or train again."
        ) from None
    if manifest.digest != digest:
        raise StoredDataDamaged(
            f"The manifest of {model} {digest[:12]} was changed after sealing: restore {key(model, digest)}/ from a backup or train again."
        )
    return manifest


def read_signature(store: Store, model: str, digest: str) -> dict[str, Any]:
    """The content of a version's `signature.json`.

    Raises:
        UnknownName: there is no such version in the store.
        StoredDataDamaged: the file is missing or not as it was sealed.
    """
    wanted = read_manifest(store, model, digest).files.get("signature.json")
    try:
        data = store.read(f"{key(model, digest)}/signature.json")
    except KeyError:
        data = b""
    if hashlib.sha256(data).hexdigest() != wanted:
        raise StoredDataDamaged(
            f"signature.json of {model} {digest[:12]} is missing or was changed after sealing: "
            f"restore {key(model, digest)}/ from a backup or train again."
        )
    signature: dict[str, Any] = json.loads(data)
    return signature


def read_weights(store: Store, model: str, digest: str) -> bytes:
    """The weights with which a training may begin, as a version's `weights.pt` has them; empty if it has none.

    Raises:
        UnknownName: there is no such version in the store.
        StoredDataDamaged: the file is missing or not as it was sealed.
    """
    wanted = read_manifest(store, model, digest).files.get(WEIGHTS)
    if wanted is None:
        return b""
    try:
        data = store.read(f"{key(model, digest)}/{WEIGHTS}")
    except KeyError:
        raise StoredDataDamaged(_damaged(model, digest, WEIGHTS, "is missing from the store")) from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise StoredDataDamaged(_damaged(model, digest, WEIGHTS, "was changed after sealing"))
    return data


def fetch(store: Store, model: str, digest: str, into: Path) -> Path:
    """Copy a version's files into the folder `into`, replacing what is there, and verify each; returns `into`.

    Raises:
        UnknownName: there is no such version in the store.
        StoredDataDamaged: a file is missing or not as it was sealed.
    """
    manifest = read_manifest(store, model, digest)
    if into.exists():
        shutil.rmtree(into)
    into.mkdir(parents=True)
    for name, expected in manifest.files.items():
        path = into / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.download(f"{key(model, digest)}/{name}", path)
        except KeyError:
            raise StoredDataDamaged(_damaged(model, digest, name, "is missing from the store")) from None
        if _sha256(path) != expected:
            raise StoredDataDamaged(_damaged(model, digest, name, "was changed after sealing"))
    (into / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    return into


def sealed_versions(store: Store) -> dict[str, list[str]]:
    """Digests of the sealed versions of each model."""
    files_of: dict[str, list[str]] = {}
    for item in store.list("models"):
        model, between, rest = item.key.removeprefix("models/").partition("/versions/")
        if between and rest.count("/") == 1 and rest.endswith(f"/{MANIFEST}"):
            files_of.setdefault(model, []).append(rest.split("/")[0])
    return files_of


def damaged_files(store: Store, model: str, manifest: Manifest) -> list[str]:
    """A sentence for each file of a version that is missing or not as it was sealed. Reads each once, piece by piece."""
    damaged, folder = [], key(model, manifest.digest)
    for name, expected in manifest.files.items():
        try:
            what = "" if store.sha256(f"{folder}/{name}") == expected else "was changed after sealing"
        except KeyError:
            what = "is missing from the store"
        if what:
            damaged.append(_damaged(model, manifest.digest, name, what))
    return damaged


def key(model: str, digest: str) -> str:
    """Store key of a version folder."""
    return f"models/{model}/versions/{digest}"


def made_key(model: str, digest: str) -> str:
    """Where it is noted how a version was made (`perennial.lineage.making`)."""
    return f"models/{model}/made/{digest}.json"


def _damaged(model: str, digest: str, name: str, what: str) -> str:
    return f"{name} of {model} {digest[:12]} {what}: restore {key(model, digest)}/ from a backup or train again."


def _by_run(model: str, run_key: str) -> str:
    return f"models/{model}/by_run/{run_key}.json"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
