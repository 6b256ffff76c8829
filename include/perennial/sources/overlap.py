"""What was read of the overlap: a look reads some rows again, and each must land once.

A source is read again from its watermark on, or from a lag before it. A row is known by its content, and how often it was read: of two
equal rows that are both there twice counts. A row whose key was read with other values has changed.

    >>> import pyarrow as pa
    >>> rows = pa.table({"id": [1, 2], "km": [4.2, 1.0]})
    >>> overlap = Overlap()
    >>> sifted = overlap.sift(rows, keys=("id",))
    >>> sifted.fresh
    [True, True]
    >>> overlap.keep(sifted, cursors=[10, 11], since=11)
    >>> overlap.write(Path("overlap.parquet"))
    >>> again = Overlap.read(Path("overlap.parquet")).sift(pa.table({"id": [2, 2], "km": [1.0, 3.0]}), keys=("id",))
    >>> again.fresh, again.changed
    ([False, True], [False, True])
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perennial.sources.cursors import as_text, as_value

_HASH = 16  # bytes: two of a billion rows are alike by chance once in 10^20 times


@dataclass(frozen=True)
class Sifted:
    """Of each row, whether it is to land, and whether it is a change of a row that was read before."""

    fresh: list[bool]
    changed: list[bool]
    hashes: list[tuple[bytes, bytes]]  # of the key, empty without keys, and of all values

    @property
    def repeated(self) -> int:
        """Rows that were read before and have not changed."""
        return len(self.fresh) - sum(self.fresh)


class Overlap:
    """The rows that were read at or after some value of the cursor."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()  # by content: how often it was read
        self._of: dict[bytes, tuple[bytes, Any]] = {}  # by content: the key's hash, and the cursor
        self._keys: Counter[bytes] = Counter()  # contents of each key
        self._met: Counter[bytes] = Counter()  # by content: how often this look has met it
        self._columns: list[str] = []  # of the rows that were kept; of others the contents cannot be compared
        self._known: frozenset[bytes] = frozenset()  # keys that were kept of rows with other columns

    def sift(self, rows: pa.Table, keys: Sequence[str]) -> Sifted:
        """Tell which of the next rows of a look are to land.

        Args:
            rows: as they were read.
            keys: columns that identify a row; none if nothing does.
        """
        fresh, changed = [], []
        if self._of and rows.column_names != self._columns:  # renamed, added or left out since: the keys alone say what was read
            self._known |= frozenset(self._keys)
            self._seen, self._of, self._keys = Counter(), {}, Counter()
        self._columns = rows.column_names
        hashes = list(_hashes(rows, keys))
        for key, content in hashes:
            self._met[content] += 1
            new = self._met[content] > self._seen[content] and not (key and key in self._known)
            fresh.append(new)
            changed.append(new and bool(key) and content not in self._of and self._keys[key] > 0)
        return Sifted(fresh, changed, hashes)

    def meet_again(self) -> None:
        """What comes next in this look may have been met in it: what has its content is no second row, but the same one once more.

        For pages, between which rows move while they are read. Only where rows have keys is it known that they are the same.
        """
        self._met = Counter()

    def keep(self, sifted: Sifted, cursors: Sequence[Any], since: Any) -> None:
        """Remember rows that a look has read, and forget those before a value of the cursor.

        Args:
            sifted: the rows, the repeated ones included.
            cursors: value of the cursor of each row; all None where there is none.
            since: the next look reads from here on; None keeps all.
        """
        for (key, content), cursor in zip(sifted.hashes, cursors, strict=True):
            if since is not None and _before(cursor, since):
                continue
            self._seen[content] = max(self._seen[content], self._met[content])
            if content not in self._of:
                self._keys[key] += 1
                self._of[content] = (key, cursor)
        if since is not None:
            self.forget(since)

    def forget(self, since: Any) -> None:
        """Forget the rows before a value of the cursor, from which the next look reads."""
        for content in [content for content, (_, cursor) in self._of.items() if _before(cursor, since)]:
            self._forget(content)

    def _forget(self, content: bytes) -> None:
        key, _ = self._of.pop(content)
        self._keys[key] -= 1
        del self._seen[content]

    def __len__(self) -> int:
        return len(self._of)

    def write(self, path: Path) -> None:
        """Write it to a file, for the next look."""
        columns = {
            "content": list(self._of),
            "key": [key for key, _ in self._of.values()],
            "times": [self._seen[content] for content in self._of],
            "cursor": [None if cursor is None else as_text(cursor) for _, cursor in self._of.values()],
        }
        pq.write_table(pa.table(columns).replace_schema_metadata({"columns": json.dumps(self._columns)}), path)

    @classmethod
    def read(cls, path: Path) -> Overlap:
        """That of a file which `write` wrote."""
        overlap, table = cls(), pq.read_table(path)
        overlap._columns = json.loads(table.schema.metadata[b"columns"])
        for row in table.to_pylist():
            overlap._seen[row["content"]] = row["times"]
            overlap._of[row["content"]] = (row["key"], as_value(row["cursor"]))
            overlap._keys[row["key"]] += 1
        return overlap


def _before(cursor: Any, since: Any) -> bool:
    """Whether a row with this cursor is not read again from a value on.

    A database orders texts as it was told, and may take those for equal that differ in case, accents or blanks at the end.
    """
    if isinstance(cursor, str):
        return _plainest(cursor) != _plainest(since)
    return bool(cursor < since)


def _plainest(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign)).casefold().strip()


def _hashes(rows: pa.Table, keys: Sequence[str]) -> Iterator[tuple[bytes, bytes]]:
    """Hash of the key, empty without keys, and hash of all values, of each row."""
    names = rows.column_names
    columns = [rows[name].to_pylist() for name in names]
    places = [names.index(key) for key in keys]
    for values in zip(*columns, strict=True):
        yield _hash([values[place] for place in places]) if places else b"", _hash(values)


def _hash(values: Sequence[Any]) -> bytes:
    return hashlib.blake2b(repr(tuple(values)).encode(), digest_size=_HASH).digest()
