"""Rows of which another one has the same key, among any number of rows.

Of each key a hash of eight bytes goes to a file. Only rows whose hash came twice are looked at again, so a file without repeated keys is
read once, and memory holds a part of the hashes and the rows that are suspected.

>>> import pyarrow as pa
>>> rides = pa.table({"ride": ["r1", "r2", "r1"], "row": [0, 1, 2]})
>>> keys = RepeatedKeys(["ride"])
>>> keys.take(rides)
>>> count, first = keys.found(lambda: [rides], "row", most=5)
>>> count, first["row"].to_pylist()
(2, [0, 2])
>>> keys.close()
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

PART = 1 << 20  # hashes that are sorted, or suspected rows that are compared, at once
Hashes = NDArray[np.uint64]


class RepeatedKeys:
    """Finds the rows whose key another row has too. A missing value is a value like any other, and NaN is missing."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self._file: Any = None
        self._rows = 0
        self._connection: Any = None

    def take(self, rows: pa.Table) -> None:
        """Take the keys of a block of rows."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="perennial-keys-")  # noqa: SIM115  `close` closes it
        self._file.write(self._hashes(rows).tobytes())
        self._rows += rows.num_rows

    def suspects(self, read: Callable[[], Iterable[pa.Table]]) -> Iterator[pa.Table]:
        """The rows whose key may be another one's too, in tables: rows with the same key are in the same one, in their order.

        Args:
            read: gives the same blocks of rows again, in the same order; they may have further columns.
        """
        import pyarrow as pa

        for repeated in self._repeated():
            found = [block.filter(pa.array(_among(self._hashes(block), repeated))) for block in read()]
            yield pa.concat_tables([part for part in found if part.num_rows])

    def found(self, read: Callable[[], Iterable[pa.Table]], row: str, most: int) -> tuple[int, pa.Table | None]:
        """How many rows have a key that another has too, and the first of them, by the column `row`; none at all if there are none."""
        import pyarrow as pa

        count, first = 0, list[pa.Table]()
        for rows in self.suspects(read):
            again = rows.select(self.columns).to_pandas().duplicated(keep=False).to_numpy()
            if again.any():
                count += int(again.sum())
                first.append(rows.filter(pa.array(again)).slice(0, most))
        return count, pa.concat_tables(first).sort_by(row).slice(0, most) if first else None

    def close(self) -> None:
        """Let go of the hashes."""
        if self._file is not None:
            self._file.close()
        if self._connection is not None:
            self._connection.close()
        self._file = self._connection = None

    def _repeated(self) -> Iterator[Hashes]:
        """Hashes that came more than once, in arrays that stand for about so many rows."""
        parts = -(-self._rows // PART)
        waiting, rows = list[Hashes](), 0
        for part in range(parts):
            hashes, counts = np.unique(self._part(part, parts), return_counts=True)
            again = counts > 1
            if not again.any():
                continue
            if rows and rows + int(counts[again].sum()) > PART:
                yield np.sort(np.concatenate(waiting))
                waiting, rows = [], 0
            waiting.append(hashes[again])
            rows += int(counts[again].sum())
        if waiting:
            yield np.sort(np.concatenate(waiting))

    def _part(self, part: int, parts: int) -> Hashes:
        """The hashes of one of several ranges of about the same size."""
        self._file.seek(0)
        found = []
        while len(content := self._file.read(8 * PART)):
            hashes = np.frombuffer(content, np.uint64)
            found.append(hashes[((hashes >> np.uint64(32)) * np.uint64(parts)) >> np.uint64(32) == part] if parts > 1 else hashes)
        return np.concatenate(found)

    def _hashes(self, rows: pa.Table) -> Hashes:
        import duckdb

        if self._connection is None:
            self._connection = duckdb.connect(config={"threads": 1})
        names = [f"c{place}" for place in range(len(self.columns))]
        self._connection.register("keys", _plain(rows.select(self.columns)).rename_columns(names))
        try:
            hashes = self._connection.execute(f"SELECT hash({', '.join(names)}) AS h FROM keys").fetchnumpy()["h"]  # noqa: S608  c0, c1 ...
        finally:
            self._connection.unregister("keys")
        return np.asarray(hashes, np.uint64)


def _among(hashes: Hashes, some: Hashes) -> NDArray[np.bool_]:
    """Which hashes are among some others, which are sorted. NumPy's `isin` would sort the many for the few."""
    places = np.minimum(np.searchsorted(some, hashes), len(some) - 1)
    return np.asarray(some[places] == hashes)


def _plain(rows: pa.Table) -> pa.Table:
    """Rows in which equal values have equal bytes: NaN is null, and zero has no sign."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            values = rows.column(place)
            numbers = pc.if_else(pc.is_nan(values), pa.scalar(None, field.type), pc.add(values, pa.scalar(0.0, field.type)))
            rows = rows.set_column(place, field.name, numbers)
    return rows
