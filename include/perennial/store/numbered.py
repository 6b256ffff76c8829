"""Objects whose names are numbers from 0 on, each written by put-if-absent in the place after the last one: a ledger, a log of events or of
commits.

>>> import tempfile
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> store.write("ledger/delays/00000000.json", b"{}")
>>> count_numbered(store, "ledger/delays")
1
"""

from __future__ import annotations

import re

from perennial.store.interface import Store


def count_numbered(store: Store, folder: str, known: int = 0, digits: int = 8) -> int:
    """How many there are, by the number of the newest one.

    Args:
        store: where they are.
        folder: its key.
        known: how many there were before. The folder is listed only if the last of these is not there.
        digits: of a number in a name.
    """

    def there(number: int) -> bool:
        return store.exists(f"{folder}/{number:0{digits}d}.json")

    if known <= 0 or not there(known - 1):
        name = re.compile(rf"(\d{{{digits}}})\.json")
        found = (name.fullmatch(item.key.removeprefix(f"{folder}/")) for item in store.list(folder))
        known = max((int(match[1]) + 1 for match in found if match), default=0)
    while there(known):
        known += 1
    return known
