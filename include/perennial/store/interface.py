"""The interface of every store, whether a folder or a prefix in S3, and the folders below its root.

Keys are relative, `/`-separated and identical in both kinds of store. Writes are atomic: a reader sees the whole object or none.
`put_if_absent` lets exactly one of several writers win.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perennial.store.changes import Changes

# What is below the root. Others may keep things beside it.
FOLDERS = (
    "landing",
    "collected",
    "quarantine",
    "receipts",
    "removals",
    "tables",
    "models",
    "reports",
    "predictions",
    "outcomes",
    "profiles",
    "requests",
    "incidents",
    "ledger",
    "probe",
    "releases",
    "observed",
    "views",
    "labelling",
    "scoring",
    "mlflow",
)


@dataclass(frozen=True)
class StoredObject:
    """One object in a listing: its key, size and time of change."""

    key: str
    size: int
    modified: float  # seconds since the epoch
    etag: str  # changes whenever the content is written again


class Store(ABC):
    """Objects below one root."""

    root: str
    appears_whole = False  # whether an object that others write is seen only once it is complete

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The object's bytes. Raises KeyError if there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Write or replace an object atomically."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object only if none has that key; True if this call wrote it."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose key begins with the folder `prefix`, in key order. Unfinished writes are not shown."""

    @abstractmethod
    def keys(self, prefix: str) -> Iterator[str]:
        """The keys of the objects of such a listing, in any order: in a folder faster than `list`."""

    @abstractmethod
    def changes(self, prefix: str) -> Changes:
        """Finds what is new or changed below the folder `prefix` from look to look, without listing it all each time."""

    @abstractmethod
    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders right below the folder `prefix` that hold an object, sorted; what lies in them is not read."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""

    @abstractmethod
    def download(self, key: str, path: Path) -> None:
        """Copy an object to a local file without holding it in memory. Raises KeyError if there is none."""

    @abstractmethod
    def upload(self, path: Path, key: str) -> None:
        """Copy a local file into the store atomically without holding it in memory."""

    @abstractmethod
    def sha256(self, key: str) -> str:
        """SHA-256 of an object's bytes, read piece by piece. Raises KeyError if there is none."""

    @abstractmethod
    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the store without reading it here. Raises KeyError if there is none."""

    @abstractmethod
    def stat(self, key: str) -> StoredObject | None:
        """One object as in a listing; None if there is none."""

    def being_written(self, keys: Collection[str]) -> frozenset[str]:
        """The objects that a program has open for writing now, as far as the system shows. In S3 there are none: objects appear whole."""
        del keys
        return frozenset()

    @abstractmethod
    def make_folder(self, key: str) -> None:
        """Create an empty folder, for a person who looks for it; does nothing if folders are only parts of keys."""

    @abstractmethod
    def make_private(self) -> None:
        """Restrict the store's files to this user; does nothing if the store has access rules of its own."""

    def lies_in(self, key: str, folder: str) -> bool:
        """Whether an object's bytes lie below a folder of the store, and no link leads elsewhere. Only a folder on a disk has links."""
        return key.startswith(f"{folder}/")

    def exists(self, key: str) -> bool:
        """Whether an object has that key."""
        return self.stat(key) is not None

    def uri(self, key: str) -> str:
        """Address of a key for libraries that read the store themselves (Delta Lake, MLflow)."""
        return f"{self.root}/{key}"

    def storage_options(self) -> dict[str, str]:
        """The storage options with which `deltalake` reaches the store."""
        return {}


def checked_key(key: str) -> str:
    """A key as it is given. Raises ValueError if it is empty or leads out of the store."""
    if not key or key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"{key!r} is not a key of the store")
    return key
