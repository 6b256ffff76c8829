"""Rows in order, in memory or in files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perennial.data import ordered_rows
from perennial.data.ordered_rows import OrderedRows
from perennial.engine.room import Room


@pytest.mark.parametrize("seed", range(12))
def test_files_give_the_order_of_memory(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-23: Of rows that came in order or in none, nulls last; in pieces of equal size, as often as they are read."""
    monkeypatch.setattr(ordered_rows, "RUN_ROWS", 7)
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 300))
    places = [np.arange(count), rng.permutation(count), np.arange(count)[::-1]][seed % 3]
    table = pa.table({"a": pa.array((places // 5).tolist(), mask=places % 11 == 0), "b": [f"k{n:05}" for n in places], "v": places * 1.5})
    in_files = OrderedRows(["a", "b"], Room(int(rng.integers(0, 2000)), tmp_path))
    begin = 0
    while begin < count:
        many = int(rng.integers(0, 40))
        in_files.add(table.slice(begin, many))
        begin += many
    expected, size = table.sort_by([("a", "ascending"), ("b", "ascending")]), int(rng.integers(1, 50))
    for _ in range(2):
        pieces = list(in_files.pieces(size))
        assert pa.concat_tables(pieces).equals(expected)
        assert in_files.in_memory or {len(piece) for piece in pieces[:-1]} <= {size}
    assert in_files.table().equals(expected)
    assert len(in_files) == count
    assert list(tmp_path.iterdir()) == []


def test_of_a_run_few_rows_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-23: Of twenty runs that follow one another no more than those of one and the first of the others are sorted at a time."""
    monkeypatch.setattr(ordered_rows, "RUN_ROWS", 10)
    rows, sizes = OrderedRows(["n"], Room(0, tmp_path)), []
    for begin in range(0, 2000, 100):
        rows.add(pa.table({"n": np.arange(begin, begin + 100)}))
    in_order = rows._in_order
    monkeypatch.setattr(rows, "_in_order", lambda held: sizes.append(len(held)) or in_order(held))
    assert pa.concat_tables(rows.pieces(64))["n"].to_pylist() == list(range(2000))
    assert max(sizes) <= 10 + 20


def test_they_go_to_files_when_they_need_more_than_their_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """MO-23: Not before; and once, with one line of the log."""
    caplog.set_level(logging.INFO)
    some = pa.table({"n": np.arange(100)})
    rows = OrderedRows(["n"], Room(some.nbytes * 2, tmp_path), "rows to train delays on")
    rows.add(some)
    rows.add(some)
    assert rows.in_memory
    assert not caplog.text
    for _ in range(4):
        rows.add(some)
    assert not rows.in_memory
    assert [record.message for record in caplog.records] == [
        f"The rows to train delays on need more than the 0.00 GB of memory that they may take: they lie in files in {tmp_path} meanwhile."
    ]


def test_rows_stay_in_memory_without_a_room() -> None:
    """MO-23: Such as those that a notebook asks for; more may be added after they were read."""
    rows = OrderedRows(["n"])
    assert list(rows.pieces()) == []
    rows.add(pa.table({"n": [3, 1]}))
    rows.add(pa.table({"n": pa.array([], pa.int64())}))
    assert [piece["n"].to_pylist() for piece in rows.pieces(1)] == [[1, 3]]
    rows.add(pa.table({"n": [2]}))
    assert [piece["n"].to_pylist() for piece in rows.pieces(1)] == [[1, 2, 3]]
    assert len(rows) == 3
