"""A store, and the events that lie in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perennial.store import FolderStore


@pytest.fixture
def store(tmp_path):
    """An empty store."""
    return FolderStore(str(tmp_path))


@pytest.fixture
def events():
    """Reads the events of a log, oldest first, without what is drawn anew for each of them."""

    def read(store: FolderStore, folder: str) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in json.loads(store.read(item.key)).items() if name not in ("time", "writer")}
            for item in store.list(folder)
        ]

    return read
