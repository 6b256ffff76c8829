"""Corrections: each row of a batch comes to the outcome that its dataset declares, and the counts add up."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from perennial.data.merging import BATCH, Rule, merge, one_per_key
from perennial.data.receipts import Receipt
from perennial.data.row_counts import RowCounts
from perennial.data.tables import Table
from perennial.errors import BatchRefused, Fault, StoredDataDamaged
from perennial.specs import Column, DatasetSpec
from perennial.store import FolderStore

KEY = ("id",)
REPLACE, KEEP, REFUSE = (Rule(KEY, by_row=True, on_known_key=how) for how in ("replace", "keep_first", "refuse"))
NEWEST = Rule(KEY, by_row=True, on_known_key="replace", newest_by="at", deleted="gone")


def rows(*lines: tuple[Any, ...], names: str = "id x") -> pa.Table:
    return pa.table({name: [line[n] for line in lines] for n, name in enumerate(names.split())})


def batch(*lines: tuple[Any, ...]) -> pa.Table:
    return rows(*lines, names="id at x gone")


IN = rows((1, "a"), (2, None), (3, "c")).append_column(BATCH, pa.array(["old", "old", "new"]))


@pytest.mark.parametrize(
    ("rule", "counts", "written", "taken"),
    [
        (REPLACE, RowCounts(added=1, replaced=2, unchanged=1), [(2, "b"), (3, None), (9, "i")], {"old": 1, "new": 1}),
        (KEEP, RowCounts(added=1, kept=2, unchanged=1), [(9, "i")], {}),
        (REFUSE, RowCounts(added=1, refused=2, unchanged=1), [(9, "i")], {}),
    ],
)
def test_a_row_whose_key_is_known(rule: Rule, counts: RowCounts, written: list[tuple[Any, ...]], taken: dict[str, int]) -> None:
    """DM-02, DM-10: With the same values it changes nothing; with others, a missing one included, the rule says what becomes of it."""
    merged = merge(rows((1, "a"), (2, "b"), (3, None), (9, "i")), IN, rule)
    assert (merged.counts, [tuple(row.values()) for row in merged.rows.to_pylist()], merged.taken) == (counts, written, taken)
    assert (merged.refused is None) == (rule is not REFUSE)


@pytest.mark.parametrize(
    ("kind", "one", "same", "other"),
    [
        (pa.float64(), float("nan"), float("nan"), None),
        (pa.int64(), 2**53 + 1, 2**53 + 1, 2**53),
        (pa.timestamp("us"), datetime(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 1)),
        (pa.list_(pa.string()), ["a", "b"], ["a", "b"], ["b", "a"]),
        (pa.bool_(), None, None, False),
    ],
)
def test_what_counts_as_the_same_values(kind: pa.DataType, one: object, same: object, other: object) -> None:
    """DM-02: Missing ones, those that are no number, whole numbers to the last digit, times to the last fraction, lists in their order."""
    known = pa.table({"id": [1], "x": pa.array([one], kind), BATCH: ["old"]})
    for value, unchanged in ((same, 1), (other, 0)):
        assert merge(pa.table({"id": [1], "x": pa.array([value], kind)}), known, REPLACE).counts.unchanged == unchanged


def test_a_row_does_not_take_the_place_of_several() -> None:
    """DM-10: Whoever changes the key of a dataset that has rows does not lose those that the new one cannot tell apart."""
    known = rows((1, "a"), (1, "b"), (2, "c")).append_column(BATCH, pa.array(["old"] * 3))
    with pytest.raises(BatchRefused, match=r"has 1 row more than one for each key \(id\) of this batch: they landed under another key"):
        merge(rows((1, "z"), (2, "z")), known, REPLACE)
    assert merge(rows((2, "z")), known, REPLACE).counts == RowCounts(replaced=1)


def test_the_newest_row_by_the_declared_column() -> None:
    """DM-10: Against the table: an older row or deletion is left out, an equally old one replaces; a deletion needs no values."""
    known = batch((1, 5, "a", None), (2, 5, "b", None), (3, 5, "c", None), (4, 5, "d", None)).append_column(BATCH, pa.array(["old"] * 4))
    given = batch((1, 4, "z", False), (2, 5, "z", False), (3, 4, None, True), (4, 6, None, True), (5, 1, None, True), (6, 1, "n", None))
    merged = merge(given, known, NEWEST)
    assert merged.counts == RowCounts(added=1, replaced=1, older=2, deleted=1, unchanged=1)
    assert merged.leaving is not None
    assert sorted(merged.leaving["id"].to_pylist()) == [2, 4]


def test_rows_of_one_file_with_one_key() -> None:
    """DM-10: Identical ones count once; of different ones the newest; where nothing says which that is, the file is refused."""
    same = rows((1, "a"), (2, "b"), (1, "a"), (1, "a"))
    assert one_per_key(same, REFUSE) == (rows((1, "a"), (2, "b")), RowCounts(repeated=2))
    kept, counts = one_per_key(batch((1, 5, "a", None), (1, 7, "b", None), (1, 7, "b", None), (1, 6, "a", None)), NEWEST)
    assert (kept["x"].to_pylist(), counts) == (["b"], RowCounts(repeated=1, older=2))
    with pytest.raises(BatchRefused, match=r'2 keys \(id\) occur more than once with different .* newest_by="..." in the spec; .* id 1'):
        one_per_key(rows((1, "a"), (3, "c"), (1, "b"), (2, "x"), (2, None)), REPLACE)
    with pytest.raises(BatchRefused, match=r"1 key \(id\) .* and the newest by at too; the first is id 1"):
        one_per_key(batch((1, 5, "a", None), (1, 5, "b", None), (1, 4, "b", None)), NEWEST)


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.float64(), pa.timestamp("us"), pa.bool_()])
def test_a_missing_part_of_a_key_is_a_value_like_any_other(store: FolderStore, kind: pa.DataType) -> None:
    """DM-10: Its row is found again, as within a file, and does not come a second time."""
    key = ("id", "part")
    first = pa.table({"id": [1, 1], "part": pa.array([None, None], kind), "x": ["a", "b"]}).slice(0, 1)
    filler = pa.table({"id": [1], "part": pa.array([0]).cast(kind), "x": ["filler"]})
    table = Table(store, "t")
    table.merge(pa.concat_tables([first, filler]), "d1", Rule(key, by_row=True, on_known_key="replace"))
    done = table.merge(first.set_column(2, "x", pa.array(["z"])), "d2", Rule(key, by_row=True, on_known_key="replace"))
    assert done.counts == RowCounts(replaced=1)
    assert sorted(table.scan(["x"])["x"].to_pylist()) == ["filler", "z"]
    with pytest.raises(BatchRefused, match="1 of 1 rows have a key that is already in the table t, from batch d2; the first is id 1, part"):
        table.append(first, "d3", key=key)


def test_the_way_out_of_rows_that_are_named_by_their_place(store: FolderStore) -> None:
    """MN-18: Such a dataset takes no corrections, so that none are proposed; and a table with a key is not told to make one up."""
    table, named = Table(store, "t"), pa.table({"_row": ["a.csv:1"], "x": [1]})
    table.append(named, "d1", key=("_row",))
    with pytest.raises(BatchRefused, match="Rows are named by their file and place: land the file under a name that no other had"):
        table.append(named, "d2", key=("_row",))
    Table(store, "keyed").append(pa.table({"id": [1]}), "d1", key=("id",))
    keyed = Table(store, "keyed", pa.schema([pa.field("id", pa.int64()), pa.field("_row", pa.string(), nullable=False)]))
    with pytest.raises(Fault, match=r"has no column _row: its rows have a key: give it back to the spec of keyed, or make another dataset"):
        keyed.append(pa.table({"id": [2], "_row": ["x"]}), "d2", key=("_row",))


def test_a_table_takes_corrections(store: FolderStore) -> None:
    """DM-06, DE-22: One commit; files without a touched key are not written anew; old versions stay; rows say who brought them."""
    table = Table(store, "t")
    table.merge(rows((1, "a"), (2, "b")), "d1", REPLACE, label="one")
    table.merge(rows((3, "c"), (4, "d")), "d2", REPLACE, label="two")
    untouched = next(file["path"] for file in table.files() if file["min.id"] == 3)
    planned: list[dict[str, int]] = []
    done = table.merge(
        rows((2, "B"), (3, "c"), (5, "e")), "d3", REPLACE, label="three", before=RowCounts(repeated=1),
        planned=lambda merged: planned.append(dict(merged.taken)),
    )  # fmt: skip
    assert (done.version, done.counts, planned) == (3, RowCounts(added=1, replaced=1, unchanged=1, repeated=1), [{"one": 1}])
    now = {row["id"]: (row["x"], row[BATCH]) for row in table.scan(["id", "x", BATCH]).to_pylist()}
    assert now == {1: ("a", "one"), 2: ("B", "three"), 3: ("c", "two"), 4: ("d", "two"), 5: ("e", "three")}
    assert untouched in {file["path"] for file in table.files()}
    assert sorted(table.scan(["x"], version=2)["x"].to_pylist()) == ["a", "b", "c", "d"]
    assert table.merge(rows((2, "C")), "d3", REPLACE).counts is None, "it is in, whatever the rows are said to be"
    commit = table.commit_of("d3")
    assert commit is not None
    newest, *_, first = table.batches()
    assert (newest.counts, newest.rows, newest.taken) == (done.counts, 2, {"one": 1})
    assert (first.rows, first.lost, first.lost_to) == (2, 1, ("three",))
    assert set(table.hashes().files) == {file["path"] for file in table.files()}
    table.refuse_damaged()


def test_removal_of_batches_that_met(store: FolderStore) -> None:
    """DM-06: What others left of a batch goes; one that replaced rows stays, with the next step, for they would not come back."""
    table, said = Table(store, "t"), {"by": "ada", "reason": "wrong"}
    table.merge(rows((1, "a"), (2, "b")), "d1", REPLACE, label="one")
    table.merge(rows((2, "B"), (3, "c")), "d2", REPLACE, label="two")
    with pytest.raises(BatchRefused, match=r"two cannot be taken out of the table t: it replaced or deleted 1 row .* Land a file with"):
        table.remove("d2", said)
    gone = table.remove("d1", said)
    assert (gone.rows, gone.lost, table.remove("d1", said).lost) == (2, 1, 1)
    assert sorted(table.scan(["id"])["id"].to_pylist()) == [2, 3]
    table.merge(rows((1, "a"), (2, "b")), "d1", REPLACE, label="one", again=True)
    assert table.batches()[0].lost == 0
    assert (table.batches()[1].lost, table.batches()[1].lost_to) == (1, ("one",))


def test_a_batch_that_changes_no_row_makes_no_snapshot(store: FolderStore) -> None:
    """DM-06, DM-16: It is in all the same: once more it is known, and trains nothing."""
    table = Table(store, "t")
    table.merge(rows((1, "a")), "d1", KEEP)
    done = table.merge(rows((1, "b")), "d2", KEEP)
    assert (done.version, done.counts, table.version(), table.has_batch("d2")) == (1, RowCounts(kept=1), 1, True)
    assert table.merge(rows((2, "b")), "d3", KEEP).version == 3


def test_a_damaged_file_is_not_written_anew(store: FolderStore) -> None:
    """MO-17: A correction of another of its rows would make what was damaged look right."""
    table = Table(store, "t")
    table.merge(rows((1, "a"), (2, "b")), "d1", REPLACE)
    (file,) = table.files()
    path = Path(table.uri, file["path"])
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StoredDataDamaged, match="was changed after it was written"):
        table.merge(rows((1, "b")), "d2", REPLACE)


def test_a_file_of_refused_rows_alone_is_refused(store: FolderStore) -> None:
    """DM-10: Nothing of it could be taken; the sentence has the line for the spec."""
    table = Table(store, "t")
    table.merge(rows((1, "a"), (2, "b")), "d1", REFUSE, label="monday.csv")
    with pytest.raises(BatchRefused, match=r'2 of 2 rows .* from batch monday.csv; the first is id 1, with other .*on_known_key="replace"'):
        table.merge(rows((1, "b"), (2, "c")), "d2", REFUSE)
    assert not table.has_batch("d2")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"on_known_key": "replace"}, 'on_known_key is set, and rows="final" says that no row ever changes: write rows="corrected"'),
        ({"deleted": "flag"}, 'deleted is set, and rows="final"'),
        ({"newest_by": "name"}, "newest_by names name: it must be a column of type timestamp, int or float"),
        ({"newest_by": "nothing"}, "newest_by names nothing"),
        ({"newest_by": "at"}, "newest_by names at: .* no key"),
        ({"rows": "corrected", "deleted": "n"}, "deleted names n: it must be a column of type bool"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(fields: dict[str, Any], said: str) -> None:
    """MN-18: At once, by the spec, with what to write."""
    columns = (
        Column(name="at", type="timestamp"),
        Column(name="name", type="string"),
        Column(name="flag", type="bool"),
        Column(name="n", type="int"),
    )
    whole = {"name": "t", "title": "T", "owner": "t", "key": ("at",), "event_time": "at", "columns": columns}
    DatasetSpec(**whole, rows="corrected", on_known_key="replace", newest_by="n", deleted="flag")
    with pytest.raises(ValidationError, match=said):
        DatasetSpec(**whole | fields)


def test_counts_that_do_not_add_up_are_no_receipt() -> None:
    """DM-02: Rows in are what became of them."""
    given = {"id": "1", "name": "a.csv", "size": 3, "outcome": "appended", "rows": 3, "sentence": ""}
    assert Receipt(**given).counts is None, "as it was before rows were counted"
    assert Receipt(**given, counts={"added": 2, "kept": 1}).counts == RowCounts(added=2, kept=1)
    with pytest.raises(ValidationError, match="3 rows, and 2 of them came to an outcome: 2 added"):
        Receipt(**given, counts={"added": 2})
