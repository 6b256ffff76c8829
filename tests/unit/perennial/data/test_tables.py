"""Tables: a batch goes in exactly once."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from perennial.data import commits, compaction, hashes, tables
from perennial.data.tables import BATCH, Table
from perennial.errors import BatchRefused, Fault, StoreUnreachable
from perennial.store import FolderStore

KEY = ("shop", "sold")


@pytest.fixture
def table(store: FolderStore) -> Table:
    return Table(store, "sales")


def test_an_absent_table_is_empty(table: Table) -> None:
    """DM-06: No version, no rows, no batches."""
    assert table.version() is None
    assert table.count() == 0
    assert table.scan().num_rows == 0
    assert not table.has_batch("d")
    assert table.commit_of("d") is None
    assert table.files() == []


def test_a_batch_goes_in_once(table: Table, rows: pa.Table) -> None:
    """DM-06, SY-14: Appending the same batch again changes nothing and tells the version."""
    assert table.append(rows, "one", metadata={"file": "f"}) == 1
    assert table.append(rows, "one") == 1
    assert table.append(rows, "two") == 2
    assert table.append(rows, "one") == 2
    assert (table.version(), table.count(), table.count(1), table.count(0)) == (2, 6, 3, 0)
    commit = table.commit_of("one")
    assert commit is not None
    assert commit.version == 1
    assert commit.metadata == {"perennial.batch": "one", "perennial.label": "one", "perennial.rows": "3", "perennial.file": "f"}


def test_rows_come_back_as_they_went_in(table: Table, rows: pa.Table) -> None:
    """DM-06: Types, nulls and naive times survive; the batch column shows only when asked for."""
    table.append(rows, "one", label="file one")
    assert sorted(table.scan().to_pylist(), key=lambda row: row["sold"]) == rows.to_pylist()
    assert set(table.scan([BATCH])[BATCH].to_pylist()) == {"file one"}
    assert table.scan(["shop"], pc.field("sold") > datetime(2013, 1, 1, 1)).num_rows == 1
    assert table.scan().schema.field("sold").type == pa.timestamp("us")


def test_an_old_version_stays(table: Table, make_sales) -> None:
    """DM-06: A snapshot does not see what came later."""
    table.append(make_sales(3), "one")
    table.append(make_sales(4, shop="south"), "two")
    assert set(table.scan(version=1)["shop"].to_pylist()) == {"north"}


def test_keys_that_are_in_are_refused_with_their_batch(table: Table, make_sales) -> None:
    """DM-10: The sentence counts them and says which batch has them; nothing is appended."""
    table.append(make_sales(3), "one", label="monday.csv", key=KEY, event_time="sold")
    table.append(make_sales(3, shop="south"), "two", label="tuesday.csv", key=KEY, event_time="sold")
    both = pa.concat_tables([make_sales(4), make_sales(1, shop="west")])
    with pytest.raises(
        BatchRefused,
        match=r"3 of 5 rows have a key that is already in the table sales, from batch monday.csv; the first is shop north, sold 2013-01-01",
    ):
        table.append(both, "three", key=KEY, event_time="sold")
    assert table.count() == 6


def test_keys_without_event_time_are_looked_up_in_the_whole_table(table: Table, make_sales) -> None:
    """DM-10: A key that has no time in it is compared with all rows."""
    table.append(make_sales(1), "one", key=("shop",))
    with pytest.raises(BatchRefused, match="from batch one"):
        table.append(make_sales(1, begin=datetime(2019, 1, 1)), "two", key=("shop",))


def test_keys_that_repeat_in_a_batch_are_refused(table: Table, make_sales) -> None:
    """DM-10: Twice in one file is no batch."""
    with pytest.raises(BatchRefused, match=r"2 keys \(shop, sold\) occur more than once"):
        table.append(pa.concat_tables([make_sales(3), make_sales(2)]), "one", key=KEY)
    assert table.version() is None


def test_a_new_column_is_added(table: Table, rows: pa.Table) -> None:
    """DM-06: A column that the spec gained is null in older rows; one that it lost is null in newer ones."""
    table.append(rows, "one")
    table.append(rows.append_column("colour", pa.array(["red"] * 3)), "two")
    table.append(rows.drop_columns(["items"]), "three")
    found = table.scan(["colour", "items"])
    assert (found["colour"].null_count, found["items"].null_count) == (6, 3 + 1 + 1)


def test_an_older_version_has_null_in_a_column_that_came_later(table: Table, rows: pa.Table) -> None:
    """DM-06: The newest version knows its type; a column that no version has is named, in a filter too."""
    table.append(rows, "one")
    table.append(rows.append_column("colour", pa.array(["red"] * 3)), "two")
    found = table.scan(["shop", "colour"], version=1)
    assert (found["colour"].null_count, found["colour"].type, found.num_rows) == (3, pa.string(), 3)
    with pytest.raises(Fault, match="Version 2 of the table sales has no column color: correct its name; the table has sold, shop"):
        table.scan(["color"])
    with pytest.raises(Fault, match=r"Version 2 of the table sales cannot be read: No match for FieldRef.Name\(color\)"):
        table.scan(["shop"], pc.field("color") == "red")


def test_threads_that_append_with_a_new_column_append_each_batch_once(table: Table, make_sales) -> None:
    """DE-22: The column is added once, whoever is first; each batch is in once although two try to append it."""
    table.append(make_sales(2, shop="before"), "before")
    barrier = threading.Barrier(6)

    def append(number: int) -> None:
        barrier.wait()
        rows = make_sales(2, shop=str(number))
        table.append(rows.append_column("colour", pa.array(["red"] * 2)), str(number), key=KEY, event_time="sold")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, (0, 1, 2, 0, 1, 2)))
    assert (table.count(), table.version(), table.scan(["colour"])["colour"].null_count) == (8, 4, 2)


def test_threads_that_append_the_same_batch_append_it_once(table: Table, rows: pa.Table) -> None:
    """DE-22: Eight writers of one batch into an absent table: one commit."""
    barrier, versions = threading.Barrier(8), []

    def append() -> None:
        barrier.wait()
        versions.append(table.append(rows, "one", key=KEY, event_time="sold"))

    threads = [threading.Thread(target=append) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions == [1] * 8
    assert table.count() == 3


def test_threads_that_append_different_batches_append_all(table: Table, make_sales) -> None:
    """DE-22: Six writers, six batches, no loss."""
    barrier = threading.Barrier(6)

    def append(number: int) -> None:
        barrier.wait()
        table.append(make_sales(2, shop=str(number)), str(number), key=KEY, event_time="sold")

    threads = [threading.Thread(target=append, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (table.version(), table.count()) == (6, 12)


def test_of_two_batches_with_the_same_keys_one_gets_in(table: Table, make_sales) -> None:
    """DM-10, DE-22: Two files with the same rows, taken in at the same time: the loser sees the winner's keys and is refused."""
    barrier, said = threading.Barrier(4), []

    def append(number: int) -> None:
        barrier.wait()
        try:
            table.append(make_sales(3), str(number), key=KEY, event_time="sold")
        except BatchRefused as refusal:
            said.append(str(refusal))

    threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.count() == 3
    assert len(said) == 3


_APPEND = """
import sys
from datetime import datetime
import pyarrow as pa
from perennial.data.tables import Table
from perennial.store import open_store
rows = pa.table({"sold": pa.array([datetime(2013, 1, 1)], pa.timestamp("us")), "shop": ["a"]})
sys.stdin.read(1)
for number in range(5):
    batch = rows.set_column(1, "shop", pa.array([str(number)]))
    Table(open_store(sys.argv[1]), "sales").append(batch, f"batch {number}", key=("shop", "sold"))
"""


def test_processes_that_append_the_same_batches_append_each_once(store: FolderStore) -> None:
    """DE-22: Three processes, the same five batches."""
    processes = [subprocess.Popen([sys.executable, "-c", _APPEND, store.root], stdin=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=240)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(Table(store, "sales").scan()["shop"].to_pylist()) == ["0", "1", "2", "3", "4"]


def test_conflicts_without_end_are_a_fault(table: Table, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: Whoever always loses says so and can be tried again."""
    table.append(rows, "one")

    monkeypatch.setattr(FolderStore, "put_if_absent", lambda *_: False)
    monkeypatch.setattr(tables.time, "sleep", lambda _: None)
    with pytest.raises(Fault, match="being written by others"):
        table.append(rows, "two")


def test_a_full_store_is_a_sentence(table: Table, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-18: The table, the store and the reason are named."""

    def full(*_: object, **__: object) -> None:
        raise OSError("Generic LocalFileSystem error: No space left on device (os error 28)\nmore")

    monkeypatch.setattr(commits, "write_deltalake", full)
    with pytest.raises(StoreUnreachable, match=r"The table sales in the store .* No space left on device .*has room"):
        table.append(rows, "one")


def test_a_file_in_place_of_the_table_is_a_sentence(store: FolderStore, rows: pa.Table) -> None:
    """MN-18: Not a traceback of another library."""
    store.write("tables/sales", b"I am no folder")
    with pytest.raises(StoreUnreachable, match="The table sales"):
        Table(store, "sales").append(rows, "one")


def test_a_killed_append_leaves_no_rows(table: Table, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: Data files without a commit are not part of the table, and the batch can go in afterwards."""
    table.append(rows, "one")
    Path(table.uri, "part-orphan.parquet").write_bytes(b"PAR1 half")
    assert table.count() == 3
    assert table.append(rows, "two") == 2
    assert table.scan().num_rows == 6


@pytest.mark.parametrize("amounts", [[1.5, 2.5], ["1", "x"]])
def test_a_column_keeps_its_type(table: Table, amounts: list[object]) -> None:
    """DM-02, DM-10: Delta Lake would cast 1.5 to 1 without a word; nothing is appended instead."""
    table.append(pa.table({"amount": [1, 2]}), "one")
    with pytest.raises(Fault, match=r"The column amount of the table sales holds int64, and (double|string) was to be appended"):
        table.append(pa.table({"amount": amounts}), "two")
    assert (table.version(), table.scan()["amount"].to_pylist()) == (1, [1, 2])


@pytest.mark.parametrize(("held", "given"), [(pa.int64(), pa.float64()), (pa.float64(), pa.int64()), (pa.string(), pa.int64())])
def test_a_column_of_lists_keeps_what_they_are_of(table: Table, held: pa.DataType, given: pa.DataType) -> None:
    """DM-02, DM-10: Delta Lake would cast the elements as it casts numbers, without a word."""
    table.append(pa.table({"sizes": pa.array([[1]], pa.list_(pa.int64())).cast(pa.list_(held))}), "one")
    with pytest.raises(Fault, match=f"The column sizes of the table sales holds lists of {held}, and lists of {given} was to be appended"):
        table.append(pa.table({"sizes": pa.array([[2]], pa.list_(given))}), "two")
    table.append(pa.table({"sizes": pa.array([[1]], pa.list_(pa.int64())).cast(pa.large_list(held))}), "three")
    assert table.scan().num_rows == 2


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\r\n", "\0"])
def test_a_text_may_have_any_sign(table: Table, sign: str) -> None:
    """DM-01: Also one that Python takes for the end of a line: the log of the table has the smallest and the largest text of each file."""
    table.append(pa.table({"note": [f"a{sign}b"], "tags": pa.array([[sign]])}), "one", label=f"a{sign}b.csv")
    table.append(pa.table({"note": [f"{sign}c"], "tags": pa.array([[sign]])}), "two", label=f"{sign}.csv")
    assert sorted(table.scan()["note"].to_pylist()) == sorted([f"a{sign}b", f"{sign}c"])
    assert [batch.label for batch in table.batches()] == [f"{sign}.csv", f"a{sign}b.csv"]
    table.refuse_damaged()


def test_a_label_is_looked_for_in_few_files(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-09: Files of one batch are told by their statistics; of several, the column of labels is read."""
    for number, name in enumerate(("a", "m", "z")):
        table.append(make_sales(2, datetime(2013, 1, 1 + number)), f"d{number}", label=f"{name}.csv (d{number})")
    with monkeypatch.context() as patch:
        patch.setattr(tables, "rows_of", lambda *_: pytest.fail("a file was read"))
        assert [table.may_have_label(f"{name}.csv (") for name in ("a", "b", "m", "z", "zz")] == [True, False, True, True, False]
    monkeypatch.setattr(compaction, "MANY", 3)
    table.append(make_sales(2, datetime(2013, 1, 9)), "d9", label="0.csv (d9)")
    assert [table.may_have_label(f"{name}.csv (") for name in ("a", "b", "m", "z", "zz", "0")] == [True, False, True, True, False, True]


def test_batches_keep_their_versions_while_others_are_appended(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: A commit made between the opening of the table and the reading of its history shifts no number."""
    for day in (1, 2):
        table.append(make_sales(day), f"day {day}")
    history = DeltaTable.history

    def history_late(self: DeltaTable) -> list[dict[str, object]]:
        Table(table.store, table.name).append(make_sales(3), "day 3")
        return history(self)

    monkeypatch.setattr(DeltaTable, "history", history_late)
    assert [(batch.digest, batch.added.version) for batch in table.batches()] == [("day 3", 3), ("day 2", 2), ("day 1", 1)]


def test_what_is_told_of_a_version_is_not_shifted_by_a_later_commit(
    table: Table, make_sales, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """DM-06: The table was opened, then another commit came: the newest version is that of the opened table, and no hash is taken anew."""
    for day in (1, 2):
        table.append(make_sales(2, datetime(2013, 1, day)), f"day {day}")
    opened = DeltaTable(table.uri)
    monkeypatch.setattr(compaction, "MANY", 2)
    assert compaction.compact(table.store, "sales", DeltaTable(table.uri))
    assert table._version(opened) == 2
    with caplog.at_level("INFO"):
        assert len(hashes.hashes(table.store, "sales", opened).files) == 2
    assert "they are read now" not in caplog.text


@pytest.mark.parametrize("batch", ["three", "other"])
def test_a_batch_that_came_in_during_a_compaction_is_seen(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch, batch: str) -> None:
    """DM-10, DE-22: The same batch, or another with its keys: whoever compacted looks again before it appends."""

    def compact_late(*given: object) -> bool:
        monkeypatch.undo()
        monkeypatch.setattr(compaction, "MANY", 2)
        done = compaction.compact(*given)  # type: ignore[arg-type]
        monkeypatch.undo()
        table.append(make_sales(3, datetime(2013, 3, 3)), batch, key=KEY, event_time="sold")
        return done

    for day in (1, 2):
        table.append(make_sales(2, datetime(2013, 1, day)), f"day {day}")
    monkeypatch.setattr(tables, "compact", compact_late)
    if batch == "other":
        with pytest.raises(BatchRefused, match="from batch other"):
            table.append(make_sales(3, datetime(2013, 3, 3)), "three", key=KEY, event_time="sold")
    else:
        assert table.append(make_sales(3, datetime(2013, 3, 3)), "three", key=KEY, event_time="sold") == 4
    assert table.count() == 7


def test_a_log_that_was_gathered_tells_the_same(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: A checkpoint of the log keeps what is in, what is out, and who tells the hashes."""
    monkeypatch.setattr(tables, "_CHECKPOINT", 2)
    for number in range(5):
        table.append(make_sales(2, datetime(2013, 1, 1 + number)), f"d{number}")
    table.remove("d1", {"by": "ada", "reason": "wrong"})
    assert Path(table.uri, "_delta_log", f"{6:020}.checkpoint.parquet").exists()
    assert [table.has_batch(f"d{number}") for number in range(5)] == [True, False, True, True, True]
    assert table.which([f"d{number}" for number in range(6)]) == {"d0", "d2", "d3", "d4"}
    assert (table.count(), len(table.hashes().files)) == (8, 4)
    table.refuse_damaged()
    assert table.append(make_sales(2, datetime(2013, 1, 3)), "d2") == 6
    with pytest.raises(BatchRefused, match="was taken out of the table sales"):
        table.append(make_sales(2, datetime(2013, 1, 2)), "d1")
