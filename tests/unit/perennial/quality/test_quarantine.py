"""Quarantine keeps refused files beside their reasons."""

from __future__ import annotations

import json
from pathlib import Path

from perennial.quality.quarantine import quarantine, quarantined
from perennial.store import FolderStore


def test_a_file_and_its_reasons_lie_together(store: FolderStore, tmp_path: Path) -> None:
    """Whole, under the first letters of its digest; doing it again changes nothing but the time."""
    (tmp_path / "local").write_bytes(b"rows")
    for _ in range(2):
        folder = quarantine(store, "sales", "sub/a.csv", "0123456789abcdef", tmp_path / "local", {"sentence": "No."})
    assert folder == "quarantine/sales/0123456789ab"
    assert store.read(f"{folder}/sub/a.csv") == b"rows"
    reasons = json.loads(store.read(f"{folder}/reasons.json"))
    assert (reasons["file"], reasons["sentence"]) == ("sub/a.csv", "No.")
    assert list(quarantined(store, "sales")) == [(folder, "sub/a.csv")]


def test_a_file_too_large_to_read_is_copied_in_the_store(store: FolderStore) -> None:
    """By its key, without passing through this process."""
    store.write("landing/sales/big.csv", b"rows")
    folder = quarantine(store, "sales", "big.csv", "f" * 64, "landing/sales/big.csv", {})
    assert store.read(f"{folder}/big.csv") == b"rows"


def test_a_file_named_like_the_reasons_is_kept(store: FolderStore, tmp_path: Path) -> None:
    """Its own reasons must not overwrite it."""
    (tmp_path / "local").write_bytes(b"rows")
    folder = quarantine(store, "sales", "reasons.json", "f" * 64, tmp_path / "local", {"sentence": "No."})
    assert json.loads(store.read(f"{folder}/reasons.json"))["sentence"] == "No."
    assert store.read(f"{folder}/reasons.json.landed") == b"rows"
    assert list(quarantined(store, "sales")) == [(folder, "reasons.json")]
