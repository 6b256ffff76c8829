"""Writes that leave an object as it is where it says the same already: whoever asks whether anything changed then sees that nothing has.

>>> import tempfile
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> write_if_other(store, "views/words", b"alpha"), write_if_other(store, "views/words", b"alpha")
(True, False)
"""

from __future__ import annotations

from perennial.store.interface import Store


def write_if_other(store: Store, key: str, data: bytes) -> bool:
    """Write an object, unless it has this content. Returns whether it was written."""
    try:
        if store.read(key) == data:
            return False
    except KeyError:
        pass
    store.write(key, data)
    return True
