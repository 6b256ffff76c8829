"""Which version answered a request, also when its prediction is in a table: an index of ids that is read without the table. Light.

Each time the servers' log is taken in, a file of it is written, `predictions/<model>/ids/<number>.ids`: 25 bytes for each request and
version. Now and then many files become one.

>>> import tempfile
>>> from datetime import datetime, timezone
>>> from perennial.store import open_store
>>> store, when = open_store(tempfile.mkdtemp()), datetime(2013, 7, 4, 6, tzinfo=timezone.utc)
>>> write_ids(store, "digits", 1, [Indexed("6f1a", 2, 10, when, False)])
>>> find_ids(store, "digits", "6f1a-9")
[Indexed(id='6f1a', version=2, rows=10, time=datetime.datetime(2013, 7, 4, 6, 0, tzinfo=datetime.timezone.utc), shadow=False)]
>>> find_ids(store, "digits", "6f1a-10")  # the request had ten rows
[]
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from perennial.store import Store

MERGED = 64  # so many files become one
BYTES = 32 << 20  # of the index that are looked through, the newest: 1.3 million requests
_RECORD = struct.Struct(">8sIIq?")  # beginning of the id's SHA-256, version, rows, milliseconds since the epoch, shadow
_FILE = re.compile(r"(\d{8})(?:-(\d{8}))?\.ids")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Indexed(NamedTuple):
    """A request that a version answered."""

    id: str  # of the request, `meta.puid` of its answer
    version: int
    rows: int  # the place of its last row, and one
    time: datetime  # of its first answer, to the millisecond
    shadow: bool  # whether nobody saw the answer


def write_ids(store: Store, model: str, number: int, requests: Iterable[Indexed]) -> None:
    """Write the index of one batch of predictions; written again, it is the same."""
    records = [_RECORD.pack(_digest(one.id), one.version, one.rows, _milliseconds(one.time), one.shadow) for one in requests]
    if records:
        store.write(f"{_folder(model)}/{number:08d}.ids", b"".join(records))
    single = [(key, first) for key, first, last in _files(store, model) if first == last]
    if len(single) >= MERGED:
        keys, numbers = zip(*sorted(single, key=lambda file: file[1]), strict=True)
        parts = [_read(store, key) for key in keys]
        if not all(parts):  # another collector makes them one just now
            return
        merged = b"".join(parts)
        store.write(f"{_folder(model)}/{numbers[0]:08d}-{numbers[-1]:08d}.ids", merged)
        for key in keys:  # whoever looks meanwhile finds a request twice, never not at all
            store.delete(key)


def find_ids(store: Store, model: str, id: str) -> list[Indexed]:
    """Who answered the request of this id, or the row of this id: with `-` and its place. The newest 32 MB are looked through.

    An id is known by 64 bits of its hash: among a million requests another one looks like it once in 10,000,000,000,000 searches.
    """
    request, _, place = id.rpartition("-")
    wanted = {id: 0} | ({request: int(place)} if request and len(place) <= 10 and place.isascii() and place.isdecimal() else {})
    found = set[Indexed]()
    for data in _newest(store, model):
        for one, row in wanted.items():
            found |= {answer for answer in _records_of(data, one) if row < answer.rows}
    return sorted(found, key=lambda answer: (answer.time, answer.version, answer.shadow))


def _newest(store: Store, model: str) -> Iterator[bytes]:
    left, seen = BYTES, set[str]()
    for _ in range(2):  # files become one while they are read: the second time it is there
        for key, _, _ in sorted(_files(store, model), key=lambda file: -file[2]):
            if key not in seen and left > 0 and (data := _read(store, key)):
                seen.add(key)
                left -= len(data)
                yield data


def _records_of(data: bytes, id: str) -> Iterator[Indexed]:
    digest, at = _digest(id), -1
    while (at := data.find(digest, at + 1)) >= 0:
        if at % _RECORD.size == 0 and at + _RECORD.size <= len(data):
            _, version, rows, milliseconds, shadow = _RECORD.unpack_from(data, at)
            yield Indexed(id, version, rows, _EPOCH + timedelta(milliseconds=milliseconds), shadow)


def _files(store: Store, model: str) -> list[tuple[str, int, int]]:
    """Key of each file, and the first and the last batch that it is of."""
    files = []
    for stored in store.list(_folder(model)):
        if named := _FILE.fullmatch(stored.key.removeprefix(f"{_folder(model)}/")):
            files.append((stored.key, int(named[1]), int(named[2] or named[1])))
    return files


def _read(store: Store, key: str) -> bytes:
    try:
        return store.read(key)
    except KeyError:  # became one with others since
        return b""


def _folder(model: str) -> str:
    return f"predictions/{model}/ids"


def _digest(id: str) -> bytes:
    return hashlib.sha256(id.encode()).digest()[:8]


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(milliseconds=1)
