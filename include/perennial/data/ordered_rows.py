"""Rows sorted by some columns, in memory as long as they fit there, else in files: read back in order, a piece at a time.

Rows that do not fit are sorted in runs, each in a file of its own; reading merges the runs.

>>> rows = OrderedRows(["n"], Room(0, "."))
>>> for some in ([5, 1, 9], [2, 7]):
...     rows.add(pa.table({"n": some}))
>>> [piece["n"].to_pylist() for piece in rows.pieces(2)]
[[1, 2], [5, 7], [9]]
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from perennial.engine.room import Room

log = logging.getLogger("perennial.train")

PIECE_ROWS = 1 << 14
RUN_ROWS = 1 << 13  # of a run that are read at a time
_RUN, _MORE = "_run", "_more"  # of a row: its run, and whether the next of that run was not read yet


class OrderedRows:
    """Rows that are added in any order and read by the order of some columns, nulls last; no two rows have the same place in it.

    Args:
        order: the columns.
        room: that they may take in memory; without one all stay there.
        what: they are, for the log.
    """

    def __init__(self, order: Sequence[str], room: Room | None = None, what: str = "rows") -> None:
        self.order, self.room, self.what = list(order), room, what
        self._rows = self._waiting_bytes = 0
        self._waiting: list[pa.Table] = []  # that are in no run, not sorted
        self._sorted: pa.Table | None = None  # all, once they were read
        self._runs: list[tuple[IO[bytes], int]] = []  # file and number of rows

    def __len__(self) -> int:
        return self._rows

    @property
    def in_memory(self) -> bool:
        """Whether all rows are."""
        return not self._runs

    def add(self, rows: pa.Table) -> None:
        """Take more rows. Raises OSError where the disk is full."""
        if not len(rows) and self._waiting:
            return
        self._rows += len(rows)
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if self.room and self._waiting_bytes > self.room.memory:
            if self.in_memory:
                sizes = f"{self.room.memory / 1e9:.2f} GB of memory that they may take"
                log.info("The %s need more than the %s: they lie in files in %s meanwhile.", self.what, sizes, self.room.folder)
            self._write_run(self.room)

    def table(self) -> pa.Table:
        """All rows in order, in memory."""
        return pa.concat_tables(self.pieces())

    def pieces(self, rows: int | None = None) -> Iterator[pa.Table]:
        """All rows in order: in one piece if they are in memory, else so many at a time, PIECE_ROWS if absent."""
        if self.room and not self.in_memory:
            if self._waiting:
                self._write_run(self.room)
            yield from _even(self._merged(), rows or PIECE_ROWS)
            return
        if self._waiting:
            known = [] if self._sorted is None else [self._sorted]
            self._sorted, self._waiting = self._in_order(pa.concat_tables([*known, *self._waiting])), []
        if self._sorted is not None:
            yield self._sorted

    def _in_order(self, rows: pa.Table) -> pa.Table:
        return rows.sort_by([(name, "ascending") for name in self.order])

    def _write_run(self, room: Room) -> None:
        rows, self._waiting, self._waiting_bytes = self._in_order(pa.concat_tables(self._waiting)), [], 0
        file = room.file(self)
        with pa.ipc.new_file(pa.PythonFile(file, "w"), rows.schema) as writer:
            writer.write_table(rows, max_chunksize=RUN_ROWS)
        self._runs.append((file, len(rows)))

    def _merged(self) -> Iterator[pa.Table]:
        """Rows of all runs in order. A few of each run are held, of one whose turn has not come the first alone; given are those behind
        which none can come that was not read yet."""
        runs = [_read(file, number, rows) for number, (file, rows) in enumerate(self._runs)]
        held = pa.concat_tables(next(run) for run in runs)
        while len(held):
            held = self._in_order(held)
            last = pc.index(held[_MORE], True).as_py()
            ready = held if last < 0 else held.slice(0, last + 1)
            yield ready.drop_columns([_RUN, _MORE])
            held = held.slice(len(ready))
            if last >= 0:
                held = pa.concat_tables([held, next(runs[ready[_RUN][last].as_py()])])


def _read(file: IO[bytes], number: int, left: int) -> Iterator[pa.Table]:
    """The rows of a run in order: the first one, then some at a time, each with the run's number; of each but the last time the last row is
    marked."""
    file.seek(0)
    with pa.ipc.open_file(pa.PythonFile(file, "r")) as reader:
        for place in range(reader.num_record_batches):
            rows = pa.Table.from_batches([reader.get_batch(place)])
            for part in (rows.slice(0, 1), rows.slice(1)) if place == 0 else (rows,):
                left -= len(part)
                if len(part):
                    more = [False] * (len(part) - 1) + [left > 0]
                    yield part.append_column(_RUN, pa.repeat(number, len(part))).append_column(_MORE, pa.array(more))


def _even(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows, so many at a time."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        while (count := sum(map(len, held))) >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows)
            held = [whole.slice(rows)] if count > rows else []
    if held:
        yield pa.concat_tables(held)
