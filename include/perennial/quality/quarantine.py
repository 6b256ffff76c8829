"""Quarantine: the folder where refused files are kept whole, with the reasons.

>>> from perennial.quality.quarantine import quarantine, quarantined
>>> from perennial.store import open_store
>>> store = open_store("store")
>>> store.write("landing/rides/monday.csv", b"no header")
>>> quarantine(store, "rides", "monday.csv", "3f" * 32, "landing/rides/monday.csv", {"sentence": "It lacks the column km."})
'quarantine/rides/3f3f3f3f3f3f'
>>> list(quarantined(store, "rides"))
[('quarantine/rides/3f3f3f3f3f3f', 'monday.csv')]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from perennial.store import Store

REASONS = "reasons.json"
_NAMESAKE = f"{REASONS}.landed"  # where a landed file of that name goes, which would otherwise be overwritten by its own reasons


def quarantine(store: Store, dataset: str, name: str, digest: str, source: str, reasons: Mapping[str, Any]) -> str:
    """Copy a refused file into quarantine; the file in the landing zone is for the caller to remove afterwards.

    Args:
        store: where quarantine is.
        dataset: name of the dataset.
        name: name of the landed file.
        digest: identity of the file; the same file refused again takes the same place.
        source: key of the landed file. In a folder the copy is the same file under another name: what a program that has it open still
            writes is not lost.
        reasons: why, as JSON.

    Returns:
        Key of the folder that holds the file and `reasons.json`.
    """
    folder = f"quarantine/{dataset}/{digest[:12]}"
    place = f"{folder}/{_NAMESAKE if name == REASONS else name}"
    store.copy(source, place)
    _write_reasons(store, folder, dataset, name, reasons)
    return folder


def quarantine_rows(store: Store, dataset: str, name: str, digest: str, rows: bytes, reasons: Mapping[str, Any]) -> str:
    """Put rows of a file into quarantine whose other rows were taken; the same file again takes the same place.

    Args:
        store: where quarantine is.
        dataset: name of the dataset.
        name: name of the file that has the refused rows.
        digest: identity of the landed file.
        rows: content of the file that has the refused rows.
        reasons: why, as JSON.

    Returns:
        Key of the folder that holds the file and `reasons.json`.
    """
    folder = f"quarantine/{dataset}/{digest[:12]}"
    store.write(f"{folder}/{name}", rows)
    _write_reasons(store, folder, dataset, name, reasons)
    return folder


def release_rows(store: Store, dataset: str, name: str, digest: str) -> None:
    """Delete refused rows from quarantine that were not refused after all."""
    folder = f"quarantine/{dataset}/{digest[:12]}"
    if store.exists(f"{folder}/{name}"):
        store.delete(f"{folder}/{name}")
        store.delete(f"{folder}/{REASONS}")


def quarantined(store: Store, dataset: str) -> Iterator[tuple[str, str]]:
    """Every file in quarantine, as its folder's key and its name."""
    for item in store.list(f"quarantine/{dataset}"):
        _, _, digest, name = item.key.split("/", 3)
        if name != REASONS:
            yield f"quarantine/{dataset}/{digest}", REASONS if name == _NAMESAKE else name


def _write_reasons(store: Store, folder: str, dataset: str, name: str, reasons: Mapping[str, Any]) -> None:
    said = {"dataset": dataset, "file": name, "refused": datetime.now(timezone.utc).isoformat(timespec="seconds"), **reasons}
    store.write(f"{folder}/{REASONS}", json.dumps(said, indent=1, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace"))
