"""What people have been asked: the rows of every export of tasks, so that nobody is asked twice before he has answered.

`labelling/<target>/asked/<number>.json`, written once by put-if-absent.

    >>> from perennial.labelling.asked import Asked
    >>> from perennial.store import FolderStore
    >>> store = FolderStore("store")
    >>> Asked(store, "verdicts").add({"keys": [["7"]], "by": "unsure"})
    >>> Asked(store, "verdicts").keys()
    {('7',)}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from perennial.errors import StoredDataDamaged
from perennial.labelling.answers import Key
from perennial.store import Store

FORMAT = 1


class Asked:
    """The rows that people have been asked about, of one target."""

    def __init__(self, store: Store, target: str) -> None:
        self.store, self.folder = store, f"labelling/{target}/asked"

    def keys(self) -> set[Key]:
        """Keys of all rows that were ever asked about. Raises StoredDataDamaged if a record cannot be read."""
        keys: set[Key] = set()
        for item in self.store.list(self.folder):
            try:
                keys.update(tuple(key) for key in json.loads(self.store.read(item.key))["keys"])
            except (ValueError, KeyError, TypeError):
                raise StoredDataDamaged(f"{item.key} does not say what was asked. Restore it from a copy of the store.") from None
        return keys

    def add(self, record: Mapping[str, Any]) -> None:
        """Note an export of tasks: the keys of its rows, and how they were chosen."""
        content = json.dumps({"format": FORMAT, **record}, ensure_ascii=False).encode()
        number = 1 + max((int(item.key.rpartition("/")[2].removesuffix(".json")) for item in self.store.list(self.folder)), default=0)
        while not self.store.put_if_absent(f"{self.folder}/{number:08d}.json", content):
            number += 1
