"""Opens the store at an address: a folder's path, or `s3://bucket/prefix`. An unusable one is refused at once, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

from perennial.errors import SettingMissing, StoreUnreachable
from perennial.store.folder import FolderStore
from perennial.store.interface import Store
from perennial.store.s3 import S3Store


def open_store(root: str, *, writes: bool = True) -> Store:
    """The store at a folder path or an `s3://bucket/prefix` address.

    Args:
        root: where it is.
        writes: whether who opens it will write. One who only reads may have a folder that is mounted read-only. In S3
            rights are asked for by writing: a missing one is told by the first write.

    Raises:
        SettingMissing: it is neither, or a file.
        StoreUnreachable: it is a folder without the rights to read it, and to write it where that is wanted, or one that may not be made.
    """
    if root.startswith("s3://"):
        return S3Store(root)
    if "://" in root:
        raise SettingMissing(f"PERENNIAL_STORE is {root!r}: it must be a folder or begin with s3://.")
    store = FolderStore(root)
    _refuse_unusable(store.path, writes)
    return store


def _refuse_unusable(folder: Path, writes: bool) -> None:
    """Check that the folder can be used: otherwise it would look like an empty store until the first write."""
    nearest = next(place for place in (folder, *folder.parents) if os.path.exists(place))  # Path.exists raises where rights are missing
    if not nearest.is_dir():
        where = "it" if nearest == folder else str(nearest)
        raise SettingMissing(
            f"PERENNIAL_STORE is {str(folder)!r}: {where} is a file, and must be a folder. Name another place, or move the file."
        )
    wanted = os.R_OK | os.X_OK | (os.W_OK if writes else 0) if nearest == folder else os.W_OK | os.X_OK
    if not os.access(nearest, wanted):
        lacking = (
            f"{nearest} may not be read{' and written' * writes}"
            if nearest == folder
            else f"it is not there, and {nearest} may not be written to make it"
        )
        raise StoreUnreachable(
            f"The store {folder} cannot be used: {lacking} by the user {os.geteuid()}. "
            "Give the user the rights, or name another place as PERENNIAL_STORE."
        )
