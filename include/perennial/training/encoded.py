"""Encoded rows in memory as long as they fit there, else in files that are mapped into it: arrays of NumPy either way, with the same bits.

A mapped array is read from the disk as its rows are asked for, and what was read is given up again where memory is short.

>>> room = Room(0, ".")
>>> arrays = encode_rows(lambda columns: {"x": columns["x"] * 2}, iter([{"x": np.array([1.0, 2.0])}, {"x": np.array([3.0])}]), 3, room)
>>> is_mapped(arrays["x"]), arrays["x"].tolist()
(True, [2.0, 4.0, 6.0])
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import IO

import numpy as np

from perennial.encoding import Columns
from perennial.engine.room import Room

log = logging.getLogger("perennial.training")

PIECE_ROWS = 1 << 14
_SAMPLE = 1000  # rows whose size tells that of all

Encode = Callable[[Columns], dict[str, np.ndarray]]


def encode_rows(encode: Encode, pieces: Iterator[Columns], rows: int, room: Room | None) -> dict[str, np.ndarray]:
    """The tensors of all rows.

    Args:
        encode: makes tensors of the columns of some rows.
        pieces: the columns, some rows at a time.
        rows: how many there are.
        room: that tensors may take in memory; without one all lie there.
    """
    first = next(pieces)
    sample = encode({name: values[:_SAMPLE] for name, values in first.items()})
    row_bytes = sum(values.nbytes // max(1, len(values)) for values in sample.values())
    mappable = all(values.dtype.kind in "fiub" for values in sample.values())
    if room is None or not mappable or room.holds(rows=rows, row_bytes=row_bytes):
        encoded = [encode(piece) for piece in itertools.chain([first], pieces)]
        return {name: np.concatenate([part[name] for part in encoded]) if len(encoded) > 1 else encoded[0][name] for name in sample}
    size = f"{rows:,} rows take {rows * row_bytes / 1e9:.2f} GB encoded, and may take {room.memory / 1e9:.2f} GB of memory"
    log.info("%s: they are mapped from files in %s meanwhile.", size, room.folder)
    files = {name: GrowingFile(room) for name in sample}
    for piece in _cut(itertools.chain([first], pieces)):
        for name, values in encode(piece).items():
            files[name].add(values)
    return {name: file.mapped() for name, file in files.items()}


def is_mapped(values: np.ndarray) -> bool:
    """Whether an array lies in a file."""
    return isinstance(values, np.memmap)


def mapped_rows(parts: Iterable[np.ndarray], room: Room) -> np.ndarray:
    """Arrays [rows, ...] one after the other, in a file."""
    file = GrowingFile(room)
    for part in parts:
        file.add(part)
    return file.mapped()


def taken(values: np.ndarray, places: np.ndarray, room: Room | None) -> np.ndarray:
    """Some of the rows, as often as they are named: in a file if they came from one."""
    if not is_mapped(values) or room is None:
        chosen: np.ndarray = values[places]
        return chosen
    return mapped_rows((values[places[begin : begin + PIECE_ROWS]] for begin in range(0, len(places), PIECE_ROWS)), room)


class GrowingFile:
    """A file of rows, written piece by piece: a full disk is an error then, and not a process that dies as it reads."""

    def __init__(self, room: Room) -> None:
        self.file: IO[bytes] = room.file(self)
        self.rows, self.shape, self.kind = 0, tuple[int, ...](), np.dtype(np.float32)

    def add(self, values: np.ndarray) -> None:
        """Write more rows."""
        self.rows, self.shape, self.kind = self.rows + len(values), values.shape[1:], values.dtype
        self.file.write(np.ascontiguousarray(values).data)

    def mapped(self) -> np.ndarray:
        """All rows. Nobody changes them: the mapping can be written to since torch takes no other."""
        if not self.rows:
            return np.zeros((0, *self.shape), self.kind)
        self.file.flush()
        values: np.ndarray = np.memmap(self.file, self.kind, mode="r+", shape=(self.rows, *self.shape))
        return values


def _cut(pieces: Iterable[Columns]) -> Iterator[Columns]:
    """The same rows, at most PIECE_ROWS at a time."""
    for piece in pieces:
        rows = len(next(iter(piece.values())))
        for begin in range(0, rows, PIECE_ROWS):
            yield {name: values[begin : begin + PIECE_ROWS] for name, values in piece.items()}
