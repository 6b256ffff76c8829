"""What was read of an overlap, to the letter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from perennial.sources.overlap import Overlap


def _rows(*rows: tuple[int, str], **more: Sequence[Any]) -> pa.Table:
    return pa.table({"id": [row[0] for row in rows], "city": [row[1] for row in rows], **more})


def _again(overlap: Overlap, tmp_path: Path) -> Overlap:
    overlap.write(tmp_path / "overlap.parquet")
    return Overlap.read(tmp_path / "overlap.parquet")


def _read(overlap: Overlap, rows: pa.Table, cursors: Sequence[Any], since: Any = None, keys: tuple[str, ...] = ("id",)) -> tuple[Any, Any]:
    sifted = overlap.sift(rows, keys)
    overlap.keep(sifted, cursors, since)
    return sifted.fresh, sifted.changed


def test_a_row_is_fresh_once(tmp_path: Path) -> None:
    """DM-01: What was read and kept does not come again; in the same look and in the next."""
    overlap = Overlap()
    assert _read(overlap, _rows((1, "a"), (2, "b")), [1, 2]) == ([True, True], [False, False])
    overlap = _again(overlap, tmp_path)
    sifted = overlap.sift(_rows((2, "b"), (3, "c"), (1, "a")), ("id",))
    assert (sifted.fresh, sifted.changed, sifted.repeated) == ([False, True, False], [False] * 3, 2)


def test_equal_rows_are_counted(tmp_path: Path) -> None:
    """DM-01: Without a key, of three equal rows that are there now and two that were read, one is fresh; over the files of a look."""
    overlap = Overlap()
    assert _read(overlap, _rows((1, "a"), (1, "a")), [5, 5], keys=())[0] == [True, True]
    overlap = _again(overlap, tmp_path)
    assert _read(overlap, _rows((1, "a"), (1, "a")), [5, 5], keys=())[0] == [False, False]
    assert _read(overlap, _rows((1, "a"), (1, "b")), [5, 5], keys=()) == ([True, True], [False, False])
    overlap = _again(overlap, tmp_path)
    assert _read(overlap, _rows((1, "a"), (1, "a"), (1, "a"), (1, "a")), [5] * 4, keys=())[0] == [False, False, False, True]


def test_a_key_with_other_values_has_changed(tmp_path: Path) -> None:
    """DM-01: Whether its other values were read before or are of this very look; and the old ones, if they come again, have not."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a"), (2, "b")), [1, 2])
    overlap = _again(overlap, tmp_path)
    assert _read(overlap, _rows((1, "z"), (2, "b"), (3, "c")), [1, 2, 3]) == ([True, False, True], [True, False, False])
    assert _read(_again(overlap, tmp_path), _rows((1, "a"), (1, "z"), (3, "d")), [1, 1, 3]) == ([False, False, True], [False, False, True])


def test_what_is_not_read_again_is_forgotten(tmp_path: Path) -> None:
    """DM-01: Rows before the value from which the next look reads are kept no longer, and rows at it are."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a"), (2, "b"), (3, "c")), [1, 2, 3], since=2)
    assert len(overlap) == 2
    assert _read(overlap, _rows((4, "d")), [4], since=3) == ([True], [False])
    overlap = _again(overlap, tmp_path)
    assert len(overlap) == 2
    sifted = overlap.sift(_rows((1, "a"), (2, "z"), (3, "c"), (3, "z"), (4, "d")), ("id",))
    assert (sifted.fresh, sifted.changed) == ([True, True, False, True, False], [False, False, False, True, False])


def test_an_old_version_of_a_key_goes_and_the_new_one_stays(tmp_path: Path) -> None:
    """DM-01: A key counts as known as long as any of its values is kept."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a")), [1], since=1)
    _read(overlap, _rows((1, "b")), [2], since=2)
    overlap = _again(overlap, tmp_path)
    assert (len(overlap), overlap.sift(_rows((1, "c")), ("id",)).changed) == (1, [True])
    assert overlap.sift(_rows((1, "b")), ("id",)).fresh == [False]


def test_a_key_is_known_as_long_as_any_of_its_values(tmp_path: Path) -> None:
    """DM-01: Two values of one key, of which the older is forgotten, then the other; what a look has read counts at once."""
    overlap = Overlap()
    assert _read(overlap, _rows((1, "a"), (1, "b"), (2, "c")), [1, 3, 9], since=1)[1] == [False] * 3
    _read(overlap, _rows((3, "d")), [4], since=2)
    assert overlap.sift(_rows((1, "z")), ("id",)).changed == [True]
    overlap = _again(overlap, tmp_path)
    assert len(overlap) == 3
    assert overlap.sift(_rows((1, "z")), ("id",)).changed == [True]
    _read(overlap, _rows((4, "e")), [5], since=5)
    assert len(overlap) == 2
    assert overlap.sift(_rows((1, "y"), (3, "y"), (2, "y")), ("id",)).changed == [False, False, True]
    overlap = _again(overlap, tmp_path)
    assert overlap.sift(_rows((1, "y"), (2, "y")), ("id",)).changed == [False, True]


def test_nothing_is_left_of_a_key_that_is_forgotten(tmp_path: Path) -> None:
    """DM-01: In the look that read it, and in one that found two of its values."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a")), [1], since=1)
    _read(overlap, _rows((2, "b")), [2], since=2)
    assert overlap.sift(_rows((1, "z")), ("id",)).changed == [False]
    twice = Overlap()
    _read(twice, _rows((1, "a"), (1, "b")), [1, 3], since=1)
    twice = _again(twice, tmp_path)
    _read(twice, _rows((2, "c")), [4], since=2)
    assert twice.sift(_rows((1, "z")), ("id",)).changed == [True]


def test_rows_without_a_cursor_are_kept(tmp_path: Path) -> None:
    """DM-01: All of them, for a table that is compared whole."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a"), (2, "b")), [None, None])
    overlap = _again(overlap, tmp_path)
    assert _read(overlap, _rows((1, "a"), (2, "c")), [None, None]) == ([False, True], [False, True])
    assert len(_again(overlap, tmp_path)) == 3


def test_columns_that_change_twice(tmp_path: Path) -> None:
    """DM-01: Within a look, too: the keys of all that was kept count."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a")), [1])
    _read(overlap, _rows((2, "a")).rename_columns(["id", "b"]), [2])
    assert overlap.sift(_rows((1, "x"), (2, "x"), (3, "x")).rename_columns(["id", "c"]), ("id",)).fresh == [False, False, True]


def test_other_columns_are_compared_by_key(tmp_path: Path) -> None:
    """DM-01: A column that was renamed or added does not make every row of the overlap new; rows without a key come again."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a"), (2, "b")), [1, 2])
    overlap = _again(overlap, tmp_path)
    renamed = _rows((1, "a"), (2, "other"), (3, "c")).rename_columns(["id", "town"])
    assert _read(overlap, renamed, [1, 2, 3]) == ([False, False, True], [False] * 3)
    overlap = _again(overlap, tmp_path)
    assert _read(overlap, renamed, [1, 2, 3])[0] == [False] * 3
    nameless = Overlap()
    _read(nameless, _rows((1, "a")), [1], keys=())
    assert _again(nameless, tmp_path).sift(renamed, ()).fresh == [True] * 3


def test_values_are_told_apart_by_type() -> None:
    """DM-01: 1 is not "1", and none is not the word."""
    overlap = Overlap()
    for value in (1, "1", 1.5, None, "None", True, b"1"):
        sifted = overlap.sift(pa.table({"v": [value]}), ())
        assert sifted.fresh == [True]
        overlap.keep(sifted, [None], None)


def test_texts_that_may_be_equal_for_a_database_are_kept(tmp_path: Path) -> None:
    """DM-01: Of texts those are forgotten that differ from the border in more than case, accents and blanks around them: no database reads
    them again, whatever its order is."""
    overlap = Overlap()
    marks = ["Été", "ete ", "ETE", "eté", "etez", "zebra", "a"]
    rows = _rows(*((number, mark) for number, mark in enumerate(marks)))
    _read(overlap, rows, marks, since="ete")
    assert len(overlap) == 4
    overlap = _again(overlap, tmp_path)
    assert overlap.sift(rows, ("id",)).fresh == [False] * 4 + [True] * 3
    _read(overlap, _rows((9, "x")), ["X"], since="x")
    assert len(overlap) == 1


def test_what_is_met_again_in_a_look_counts_anew() -> None:
    """DM-01: Of rows that a look may meet twice, such as on two pages, those that were kept are not fresh."""
    overlap = Overlap()
    _read(overlap, _rows((1, "a"), (2, "b")), [1, 2])
    overlap.meet_again()
    assert _read(overlap, _rows((2, "b"), (3, "c")), [2, 3])[0] == [False, True]
    overlap.meet_again()
    assert overlap.sift(_rows((3, "c")), ("id",)).fresh == [False]
