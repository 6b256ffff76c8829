"""The log of what was collected: what is missing or damaged there is told, and every file gets a name of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from perennial.errors import SourceRefused, StoredDataDamaged
from perennial.sources.collected import CollectedLog
from perennial.sources.interface import Piece, Tally
from perennial.specs import Column, DatasetSpec, SqlSource
from perennial.store import FolderStore
from perennial.testing.collecting import Collecting


@pytest.fixture
def orders(tmp_path: Path) -> Collecting:
    """Five orders in a database, one in each file."""
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("create table orders (id integer, at timestamp)")
        database.executemany("insert into orders values (?, '2026-03-01 08:00:00')", [(number,) for number in range(1, 6)])
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    source = SqlSource(url=f"sqlite:///{tmp_path}/shop.db", table="orders", cursor="id", file_rows=1)
    spec = DatasetSpec(name="orders", title="Orders", owner="shop", key=("id",), event_time="at", columns=columns, source=source)
    return Collecting(spec, tmp_path / "store")


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_missing_entry_is_told_and_nothing_is_read_again(orders: Collecting, number: int) -> None:
    """DM-01: Where an entry of the log is missing, nobody begins before it: what came after it would land a second time."""
    orders.collect()
    orders.store.delete(f"collected/orders/0000000{number}.json")
    landed = [item.key for item in orders.store.list("landing")]
    with pytest.raises(StoredDataDamaged, match=f"0000000{number}.json is missing"):
        orders.collect()
    assert [item.key for item in orders.store.list("landing")] == landed


def test_a_damaged_memory_is_told(orders: Collecting) -> None:
    """DM-01: What was read of the overlap is told as damaged, and by hand the source is read from its beginning."""
    orders.collect()
    for item in list(orders.store.list("collected/orders/memory")):
        orders.store.write(item.key, b"garbage")
    with pytest.raises(StoredDataDamaged, match="is damaged"):
        orders.collect()
    assert orders.collect(anew=True).rows == 5


def test_a_strange_file_beside_the_log_stops_nobody(orders: Collecting) -> None:
    """DM-01: What somebody put where files wait to land is left there."""
    orders.store.write("collected/orders/aside/.DS_Store", b"x")
    assert orders.collect().rows == 5
    assert orders.store.exists("collected/orders/aside/.DS_Store")


def test_what_was_accepted_lands_after_its_source_is_gone(orders: Collecting) -> None:
    """DM-01: A look was killed between its entry and the landing, and the source was taken out of the spec: the file lands yet."""
    killed = next(n for n in range(1, 9) if orders.collect_killed(n) and orders.store.exists("collected/orders/00000001.json"))
    assert killed
    assert not list(orders.store.list("landing"))
    orders.spec = orders.spec.model_copy(update={"source": None})
    with pytest.raises(SourceRefused, match="has no source"):
        orders.collect()
    assert [item.key for item in orders.store.list("landing")] == ["landing/orders/orders-00000001.parquet"]


def test_each_file_of_a_piece_has_a_name_that_any_store_takes(tmp_path: Path) -> None:
    """DM-01: Names that are too long are cut at their beginning, equal ones are told apart, and none replaces another."""
    store = FolderStore(str(tmp_path / "store"))
    names = ["2__a.csv", "a.csv", "a.csv", "a.csv", "漢" * 120 + ".csv.gz", "漢" * 119 + ".csv.gz", "." * 200]
    files = []
    for number, name in enumerate(names):
        path = tmp_path / str(number)
        path.write_text(str(number))
        files.append((name, path))
    entry = CollectedLog(store, "orders", "landing/orders").add("there", Piece({}, tuple(files), Tally()), 0, "")
    landed = {item.key.removeprefix("landing/orders/"): store.read(item.key).decode() for item in store.list("landing")}
    cut = "漢" * 57 + "-00000001.csv.gz"
    assert landed == {
        "2__a-00000001.csv": "0",
        "a-00000001.csv": "1",
        "1__a-00000001.csv": "2",
        "3__a-00000001.csv": "3",
        cut: "4",
        f"1__{cut}": "5",
        "rows-00000001": "6",
    }
    assert [file.name for file in entry.files] == sorted(landed, key=lambda name: landed[name])
