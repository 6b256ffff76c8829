"""How a version was made, beyond what its manifest needs to make it again: how long it took, by which files and packages. Light.

models/<model>/made/<digest>.json

The manifest has digests of code and lock file, so two versions can be told apart; this says in which files and packages they differ.

>>> import tempfile
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> note_making(store, "digits", "a" * 64, seconds=12.5)
>>> making(store, "digits", "a" * 64).seconds
12.5
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import perennial
from perennial import discovery, tracing
from perennial.errors import StoredDataDamaged
from perennial.lineage.manifest import code_files, locked_packages
from perennial.lineage.usage import Usage
from perennial.lineage.version_folder import made_key
from perennial.store import Store


class Making(BaseModel):
    """How one version was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float | None = Field(
        description="Wall time of the run that sealed it, s; none if that was cut short before it could be noted."
    )
    usage: Usage | None = Field(default=None, description="What that run used; none for a version from before that was noted.")
    commit: str = Field(description="Git commit of the platform's source tree; empty where that is no checkout.")
    project_commit: str = Field(
        default="",
        description="Git commit of the project that the model lies in; empty where that is no checkout, and for a model of the platform.",
    )
    trace: str = Field(default="", description="Trace of the stage that made it, as a `traceparent`; empty where no spans were sent.")
    code: dict[str, str] = Field(description="Identity of each file of the code, by its path.")
    packages: dict[str, str] = Field(description="Version of each package of the lock file.")


def note_making(store: Store, model: str, digest: str, *, seconds: float | None = None, usage: Usage | None = None) -> None:
    """Note how a version was made, by the code and the lock file of now; what was noted before stays.

    Args:
        store: keeps the note.
        model: name of the model.
        digest: content address of the version's folder.
        seconds: what its training took.
        usage: what it used in that time.
    """
    if store.exists(made_key(model, digest)):
        return
    made = Making(
        seconds=seconds,
        usage=usage,
        commit=source_commit(),
        project_commit=project_commit(model),
        trace=tracing.headers().get("traceparent", ""),
        code=code_files(model),
        packages=locked_packages(),
    )
    store.put_if_absent(made_key(model, digest), made.model_dump_json().encode())


def making(store: Store, model: str, digest: str) -> Making | None:
    """How a version was made; None for a version from before that was noted.

    Raises:
        StoredDataDamaged: the note cannot be read.
    """
    try:
        return Making.model_validate_json(store.read(made_key(model, digest)))
    except KeyError:
        return None
    except ValidationError:
        raise StoredDataDamaged(
            f"{made_key(model, digest)} cannot be read, so nobody knows how long {digest[:12]} of {model} was trained, nor by "
            "which packages: restore it from a copy of the store, or delete it."
        ) from None


def usage_of(store: Store, model: str, digest: str) -> Usage | None:
    """What the training of a version used; None where nobody noted it, or the note cannot be read, which the version's page says."""
    try:
        made = making(store, model, digest)
    except StoredDataDamaged:
        return None
    return made.usage if made else None


def seconds_of(store: Store, model: str, digest: str) -> float | None:
    """What the training of a version took, s; None where nobody noted it, or the note cannot be read."""
    try:
        made = making(store, model, digest)
    except StoredDataDamaged:
        return None
    return made.seconds if made else None


def source_commit() -> str:
    """The git commit of the source tree; empty where that is no checkout, such as in an image."""
    return _commit(Path(perennial.__file__).parents[2])


def project_commit(model: str) -> str:
    """The git commit of the project that a model lies in; empty where that is no checkout, and for a model of the platform."""
    project = discovery.project_of(model)
    return _commit(project) if project else ""


def _commit(root: Path) -> str:
    if not (root / ".git").exists():
        return ""
    try:
        asked = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no git on this machine
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
