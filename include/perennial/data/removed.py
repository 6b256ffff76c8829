"""Records of batches that a person removed from a dataset's table, and of permissions to land one of them again.

removals/<dataset>/<digest>/<version>.json          who took it out of that table version on, when, why; which versions learned from it
removals/<dataset>/<digest>/<version>-again.json    who lets this content come back, when, why
"""

from __future__ import annotations

from datetime import datetime, timezone

from pydantic import BaseModel, ConfigDict, Field

from perennial.data.tables import Batch
from perennial.store import Store


class Removal(BaseModel):
    """A person's decision to remove a batch, or to let it come back."""

    model_config = ConfigDict(frozen=True)

    batch: str = Field(description="Digest of the batch.")
    name: str = Field(description="Name of the landed file.")
    rows: int = Field(description="Its rows.")
    version: int = Field(description="Table version that no longer has them.")
    by: str = Field(description="Who decided.")
    reason: str = Field(description="Why.")
    learned: list[str] = Field(default_factory=list, description="Model versions that learned from it or were measured on it.")
    time: datetime = Field(default_factory=lambda: datetime.now(timezone.utc), description="When.")


def record(store: Store, dataset: str, removal: Removal) -> None:
    """Store the record of a removal, once."""
    store.put_if_absent(f"{_key(dataset, removal.batch, removal.version)}.json", removal.model_dump_json(indent=1).encode())


def let_again(store: Store, dataset: str, removal: Removal) -> None:
    """Allow removed content to be landed again, once."""
    store.put_if_absent(f"{_key(dataset, removal.batch, removal.version)}-again.json", removal.model_dump_json(indent=1).encode())


def may_come_again(store: Store, dataset: str, batch: Batch) -> bool:
    """Whether a person has allowed a removed batch to come back."""
    return batch.removed is not None and store.exists(f"{_key(dataset, batch.digest, batch.removed.version)}-again.json")


def _key(dataset: str, digest: str, version: int) -> str:
    return f"removals/{dataset}/{digest}/{version}"
