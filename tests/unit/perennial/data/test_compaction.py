"""Compaction: fewer files, the same rows, whatever happens at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from perennial.data import compaction
from perennial.data.compaction import compact
from perennial.data.tables import BATCH, Table
from perennial.errors import StoredDataDamaged
from perennial.store import FolderStore

KEY = ("shop", "sold")


@pytest.fixture
def table(store: FolderStore) -> Table:
    return Table(store, "sales")


def append(table: Table, make_sales, number: int) -> int:
    return table.append(make_sales(3, datetime(2013, 1, 1) + timedelta(days=number)), f"batch {number}", key=KEY, event_time="sold")


def content(table: Table, version: int | None = None) -> list[dict[str, object]]:
    found = table.scan(["sold", "shop", "amount", "items", "open", BATCH], version=version)
    return sorted(found.to_pylist(), key=lambda row: row["sold"])


def test_an_append_compacts_many_small_files(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06, DM-08: A year of days stays in few files; rows, older snapshots, statistics and what was appended when are as before."""
    monkeypatch.setattr(compaction, "MANY", 5)
    versions = [append(table, make_sales, day) for day in range(5)]
    before = content(table)
    assert (versions, len(table.files())) == ([1, 2, 3, 4, 5], 5)
    assert append(table, make_sales, 5) == 7
    assert [file["num_records"] for file in table.files()] == [3, 15] or [file["num_records"] for file in table.files()] == [15, 3]
    assert content(table)[:15] == before == content(table, 5) == content(table, 6)
    assert content(table, 2) == before[:6]
    assert len(table.files(5)) == 5
    assert min(file["min.sold"] for file in table.files()) == datetime(2013, 1, 1)
    for day in range(6):
        assert append(table, make_sales, day) == 7
    assert table.count() == 18
    commit = table.commit_of("batch 2")
    assert commit is not None
    assert commit.version == 3
    for day in range(6, 30):
        append(table, make_sales, day)
    assert (table.count(), table.version(), len(table.files()) <= 6) == (90, 30 + 7, True)


def test_a_merge_is_decided_once(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: On the version that it follows, which is the compacted one where a compaction is due."""
    monkeypatch.setattr(compaction, "MANY", 3)
    decided, decide = [], Table._merge
    monkeypatch.setattr(Table, "_merge", lambda self, at, *given: decided.append(at.version()) or decide(self, at, *given))
    assert [append(table, make_sales, day) for day in range(4)] == [1, 2, 3, 5]
    assert decided == [0, 1, 2, 4]


def test_few_or_large_files_are_left_alone(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: Below the count nothing is done; files that are not small do not count."""
    for day in range(4):
        append(table, make_sales, day)
    assert not compact(table.store, "sales", DeltaTable(table.uri))
    monkeypatch.setattr(compaction, "MANY", 2)
    monkeypatch.setattr(compaction, "SMALL", 100)
    assert not compact(table.store, "sales", DeltaTable(table.uri))
    assert DeltaTable(table.uri).version() == 4


def test_one_compaction_reads_only_so_much(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: A table that was never compacted is compacted piece by piece."""
    for day in range(9):
        append(table, make_sales, day)
    size = table.files()[0]["size_bytes"]
    monkeypatch.setattr(compaction, "MANY", 2)
    monkeypatch.setattr(compaction, "LARGE", 3 * size)
    assert compact(table.store, "sales", DeltaTable(table.uri))
    assert 5 <= len(DeltaTable(table.uri).file_uris()) <= 7
    assert table.count() == 27


def test_of_compactions_at_the_same_time_one_succeeds(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: The same files are replaced once; the losers leave no file behind. (Delta's own compaction doubles the rows here.)"""
    for day in range(6):
        append(table, make_sales, day)
    monkeypatch.setattr(compaction, "MANY", 5)
    opened = [DeltaTable(table.uri) for _ in range(4)]
    barrier = threading.Barrier(4)

    def run(one: DeltaTable) -> bool:
        barrier.wait()
        return compact(table.store, "sales", one)

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(run, opened))
    assert sorted(won) == [False, False, False, True]
    assert (table.count(), len(table.files())) == (18, 1)
    assert sum(item.key.endswith(".parquet") for item in table.store.list("tables/sales")) == 7


def test_a_compaction_gives_way_to_an_append(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: What was committed since the compaction looked wins."""
    for day in range(5):
        append(table, make_sales, day)
    looked = DeltaTable(table.uri)
    append(table, make_sales, 5)
    monkeypatch.setattr(compaction, "MANY", 5)
    assert not compact(table.store, "sales", looked)
    assert (table.count(), table.version()) == (18, 6)


def test_appends_and_compactions_at_the_same_time(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: Writers that each compact on the way, two for every batch: no append fails and each batch is in once."""
    monkeypatch.setattr(compaction, "MANY", 2)
    barrier = threading.Barrier(6)

    def write(offset: int) -> None:
        barrier.wait()
        for day in range(offset, offset + 4):
            append(table, make_sales, day)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, (0, 4, 8, 0, 4, 8)))
    assert table.count() == 36
    assert any(entry["operation"] == compaction.OPERATION for entry in DeltaTable(table.uri).history())
    assert len({row["sold"] for row in content(table)}) == 36


def test_a_batch_that_is_in_stays_in_after_a_killed_append(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: Killed between compaction and append: the next try appends once, and the compaction is not taken for a version with rows."""
    from perennial.data import tables

    for day in range(3):
        append(table, make_sales, day)
    monkeypatch.setattr(compaction, "MANY", 3)
    with monkeypatch.context() as patch:
        patch.setattr(tables, "written", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            append(table, make_sales, 3)
    assert (DeltaTable(table.uri).version(), table.version(), table.count()) == (4, 3, 9)
    assert append(table, make_sales, 2) == 3
    assert append(table, make_sales, 3) == 5
    assert table.count() == 12


def test_rows_that_a_file_lacks_are_not_compacted_away(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-17: A file with other rows than the log says is told; the table stays as it was."""
    for day in range(3):
        append(table, make_sales, day)
    monkeypatch.setattr(compaction, "MANY", 3)
    monkeypatch.setattr(compaction, "_reader", lambda *_: DeltaTable(table.uri, version=2).to_pyarrow_dataset().scanner().to_reader())
    with pytest.raises(StoredDataDamaged, match="3 files of the table sales should hold 9 rows, and hold 6"):
        compact(table.store, "sales", DeltaTable(table.uri))
    assert DeltaTable(table.uri).version() == 3


def test_a_column_that_came_later_survives(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: Files from before and after it become one, null where there was none."""
    append(table, make_sales, 0)
    table.append(make_sales(2, shop="south").append_column("colour", pa.array(["red", "blue"])), "coloured")
    monkeypatch.setattr(compaction, "MANY", 2)
    assert compact(table.store, "sales", DeltaTable(table.uri))
    assert sorted(str(colour) for colour in table.scan(["colour"], version=3)["colour"].to_pylist()) == ["None"] * 3 + ["blue", "red"]
