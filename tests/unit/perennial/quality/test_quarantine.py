"""Quarantine keeps refused files beside their reasons."""

from __future__ import annotations

import json

from perennial.quality.quarantine import quarantine, quarantined
from perennial.store import FolderStore


def test_a_file_and_its_reasons_lie_together(store: FolderStore) -> None:
    """DM-02, DM-10: Whole, under the first letters of its digest; doing it again changes nothing but the time."""
    store.write("landing/sales/a.csv", b"rows")
    for _ in range(2):
        folder = quarantine(store, "sales", "sub/a.csv", "0123456789abcdef", "landing/sales/a.csv", {"sentence": "No."})
    assert folder == "quarantine/sales/0123456789ab"
    assert store.read(f"{folder}/sub/a.csv") == b"rows"
    reasons = json.loads(store.read(f"{folder}/reasons.json"))
    assert (reasons["file"], reasons["sentence"]) == ("sub/a.csv", "No.")
    assert list(quarantined(store, "sales")) == [(folder, "sub/a.csv")]


def test_a_file_named_like_the_reasons_is_kept(store: FolderStore) -> None:
    """DM-02, DM-10: Its own reasons must not overwrite it."""
    store.write("landing/sales/a.csv", b"rows")
    folder = quarantine(store, "sales", "reasons.json", "f" * 64, "landing/sales/a.csv", {"sentence": "No."})
    assert json.loads(store.read(f"{folder}/reasons.json"))["sentence"] == "No."
    assert store.read(f"{folder}/reasons.json.landed") == b"rows"
    assert list(quarantined(store, "sales")) == [(folder, "reasons.json")]
