"""Hashes of a table's files: what is stored is what was written, or it is told."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from perennial.data import compaction, hashes, tables
from perennial.data.log import read_log
from perennial.data.snapshots import Snapshot
from perennial.data.tables import Table
from perennial.errors import StoredDataDamaged, StoreUnreachable
from perennial.specs import DatasetSpec
from perennial.store import FolderStore

# A table and digests as they were written before hashes were kept.
BEFORE = Path(__file__).parent / "stored"
DIGESTS_BEFORE = {
    1: "e41c0b8963768cb5ae7d2b99401b6f07a3fe9ae7d64974f207352e07ea59cf1d",
    2: "f04cfda1032d7ffec33fabc78026e596b7cf563582e6d62402506d23a43c1433",
}


@pytest.fixture
def table(store: FolderStore) -> Table:
    return Table(store, "sales")


@pytest.fixture
def old(tmp_path: Path) -> Table:
    """The table from before hashes were kept."""
    shutil.copytree(BEFORE, tmp_path / "old")
    return Table(FolderStore(str(tmp_path / "old")), "sales")


def fill(table: Table, make_sales, days: range) -> None:
    for day in days:
        table.append(make_sales(3, datetime(2013, 1, 1) + timedelta(days=day)), f"batch {day}")


def sha256(table: Table, path: str) -> str:
    return hashlib.sha256(Path(table.uri, path).read_bytes()).hexdigest()


def change_a_byte(table: Table, path: str, place: int) -> None:
    data = bytearray(Path(table.uri, path).read_bytes())
    data[place] ^= 0x10
    Path(table.uri, path).write_bytes(data)


def test_a_commit_keeps_the_hash_of_each_file(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-17: Of an append and of a compaction, read from no file; older snapshots keep theirs."""
    monkeypatch.setattr(compaction, "MANY", 4)
    fill(table, make_sales, range(6))
    monkeypatch.setattr(FolderStore, "sha256", lambda *_: pytest.fail("a file was read"))
    assert any(entry["operation"] == compaction.OPERATION for entry in DeltaTable(table.uri).history())
    for version in (3, None):
        found = table.hashes(version).files
        assert found == {file["path"]: sha256(table, file["path"]) for file in table.files(version)}
        assert found


def test_each_changed_byte_is_noticed(table: Table, rows: pa.Table, spec: DatasetSpec) -> None:
    """MO-17: Wherever in the file, and whether or not other data would have been read; the digest of the snapshot
    stays what it was written as."""
    table.append(rows, "one")
    snapshot, path = Snapshot(spec, 1, table.store), table.files()[0]["path"]
    digest = snapshot.digest
    snapshot.refuse_damaged()
    places = random.Random(1).sample(range(table.files()[0]["size_bytes"]), 40)
    for place in places:
        change_a_byte(table, path, place)
        with pytest.raises(
            StoredDataDamaged, match=rf"tables/sales/{path} was changed after it was written: .* Restore the file from a backup"
        ):
            snapshot.refuse_damaged()
        change_a_byte(table, path, place)
    snapshot.refuse_damaged()
    assert snapshot.digest == digest
    Path(table.uri, path).unlink()
    with pytest.raises(StoredDataDamaged, match=rf"tables/sales/{path} is missing from the store: restore it"):
        snapshot.refuse_damaged()


def test_each_changed_byte_of_the_log_is_noticed(table: Table, make_sales) -> None:
    """MO-17: Of every commit, the newest too: a log that is read otherwise gives other rows from sound files."""
    fill(table, make_sales, range(3))
    log = sorted(Path(table.uri, "_delta_log").glob("*.json"))
    assert len(log) == 4
    for file in log:
        whole = file.read_bytes()
        for place in random.Random(2).sample(range(len(whole)), 10):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert any(f"_delta_log/{file.name} " in sentence for sentence in read_log(table.store, "sales").damage), (file, place)
        file.write_bytes(whole)
    table.refuse_damaged()
    text = log[2].read_text()
    log[2].write_text(text.replace('numRecords\\":3', 'numRecords\\":4'))
    assert log[2].read_text() != text
    with pytest.raises(StoredDataDamaged, match=rf"_delta_log/{log[2].name} was changed after it was written: .*Restore the file"):
        table.refuse_damaged()


def test_a_log_without_words_of_its_end_is_no_damage(old: Table, make_sales) -> None:
    """MO-17: Of a table from before, or one whose writer was killed just after its commit: the next commit vouches for the one before
    it."""
    assert read_log(old.store, "sales").damage == []
    old.append(make_sales(1, shop="west"), "3" * 64)
    old.store.delete("tables/sales/_sha256/last.json")
    assert read_log(old.store, "sales").damage == []
    old.append(make_sales(1, shop="east"), "4" * 64)
    for version in (2, 3):
        file = Path(old.uri, "_delta_log", f"{version:020}.json")
        whole = file.read_bytes()
        file.write_bytes(whole.replace(b"WRITE", b"WROTE"))
        assert [f"{version:020}.json was changed" in sentence for sentence in read_log(old.store, "sales").damage] == [True]
        file.write_bytes(whole)
    old.store.write("tables/sales/_sha256/last.json", b"rubbish")
    assert read_log(old.store, "sales").damage == [
        "tables/sales/_sha256/last.json cannot be read: delete it; the next commit writes it anew."
    ]


def test_a_missing_end_of_the_log_is_noticed(table: Table, make_sales) -> None:
    """MO-17: The table would read as the version before, without the newest batch, and nobody would be told."""
    fill(table, make_sales, range(2))
    last = table.version()
    table.store.delete(f"tables/sales/_delta_log/{last:020}.json")
    assert [f"Commit {last} of the table sales is missing" in sentence for sentence in read_log(table.store, "sales").damage] == [True]
    for refused in (table.refuse_damaged, lambda: fill(table, make_sales, range(2, 3))):
        with pytest.raises(StoredDataDamaged, match=f"Commit {last} of the table sales is missing"):
            refused()
    table.store.delete("tables/sales/_sha256/last.json")
    fill(table, make_sales, range(1, 3))
    assert table.version() == last + 1


def test_the_digest_is_over_bytes(store: FolderStore, tmp_path: Path, rows: pa.Table, make_sales, spec: DatasetSpec) -> None:
    """DM-06: The same rows give the same digest in another store, under other names of files; other rows another, and it
    says how it was made."""
    here, there = Table(store, "sales"), Table(FolderStore(str(tmp_path / "there")), "sales")
    for table in (here, there):
        table.append(rows, "one")
    digest = Snapshot(spec, 1, here.store).digest
    assert digest.startswith("sha256-bytes:")
    assert digest == Snapshot(spec, 1, there.store).digest
    assert here.files()[0]["path"] != there.files()[0]["path"]
    there.append(make_sales(3, shop="south"), "two")
    assert Snapshot(spec, 2, there.store).digest != digest


def test_a_compaction_changes_no_digest(table: Table, make_sales, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: A version that was trained on is the same snapshot after its files were gathered in another."""
    fill(table, make_sales, range(4))
    before = Snapshot(spec, 4, table.store).digests
    monkeypatch.setattr(compaction, "MANY", 4)
    fill(table, make_sales, range(4, 5))
    assert len(table.files()) == 2
    assert Snapshot(spec, 4, table.store).digests == before


def test_a_compaction_does_not_hide_damage(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-17: A changed file is told, and not written anew with a hash of its own."""
    fill(table, make_sales, range(3))
    path = table.files()[1]["path"]
    change_a_byte(table, path, 30)
    monkeypatch.setattr(compaction, "MANY", 3)
    with pytest.raises(StoredDataDamaged, match=path):
        fill(table, make_sales, range(3, 4))
    assert table.version() == 3


def test_a_table_from_before_opens(old: Table, spec: DatasetSpec, make_sales) -> None:
    """DM-06: Its rows are read, its digests are those of then, more is appended."""
    for version, digest in DIGESTS_BEFORE.items():
        assert Snapshot(spec, version, old.store).digests[1] == digest
    assert old.append(make_sales(1, shop="west"), "3" * 64, key=spec.key, event_time="sold") == 3
    assert old.append(make_sales(1, shop="west"), "1" * 64) == 3
    assert old.count() == 6
    assert Snapshot(spec, 2, old.store).digests[1] == DIGESTS_BEFORE[2]


def test_files_from_before_are_hashed_once_and_noted(old: Table, spec: DatasetSpec, caplog: pytest.LogCaptureFixture) -> None:
    """MO-17: From then on a changed byte is noticed; since when the bytes are known is kept."""
    begin = datetime.now().astimezone()
    with caplog.at_level(logging.INFO, "perennial"):
        digest = Snapshot(spec, 2, old.store).digest
    assert "2 files of the table sales were written before their hashes were kept" in caplog.text
    assert all(begin <= when <= datetime.now().astimezone() for when in old.hashes().late.values())
    assert len(old.hashes().late) == 2
    path = old.files()[0]["path"]
    change_a_byte(old, path, 30)
    assert Snapshot(spec, 2, old.store).digest == digest
    with pytest.raises(StoredDataDamaged, match=path):
        Snapshot(spec, 2, old.store).refuse_damaged()


def test_a_store_that_takes_no_note_is_told(old: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """MO-17: Who only reads gets the hashes all the same."""

    def refuse(*_: object) -> bool:
        raise StoreUnreachable("The store may not be written.")

    monkeypatch.setattr(FolderStore, "put_if_absent", refuse)
    assert old.hashes().files == {file["path"]: sha256(old, file["path"]) for file in old.files()}
    assert "are not noted, and found anew next time: The store may not be written." in caplog.text


def test_a_long_history_is_read_once(table: Table, make_sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: What many commits say is gathered in a note; later ones are read beside it, older versions without it."""
    monkeypatch.setattr(hashes, "NOTE_AFTER", 3)
    fill(table, make_sales, range(5))
    found = table.hashes()
    asked: list[int] = []
    info = hashes.commit_info
    monkeypatch.setattr(hashes, "commit_info", lambda store, name, version: asked.append(version) or info(store, name, version))
    assert table.hashes() == found
    assert asked == []
    fill(table, make_sales, range(5, 7))
    asked.clear()
    assert table.hashes().files == {file["path"]: sha256(table, file["path"]) for file in table.files()}
    assert asked == [6, 7]
    assert table.hashes(2).files == {file["path"]: sha256(table, file["path"]) for file in table.files(2)}


def test_a_damaged_note_is_told(table: Table, rows: pa.Table) -> None:
    """MO-17: It is named with what to do."""
    table.append(rows, "one")
    table.store.write(f"tables/sales/_sha256/{1:020}.json", json.dumps({"files": 3}).encode())
    with pytest.raises(StoredDataDamaged, match=r"tables/sales/_sha256/0+1.json cannot be read .*: restore it from a backup"):
        table.hashes()


@pytest.mark.parametrize("other", [True, False])
def test_a_damaged_checkpoint_of_the_log_is_noticed(
    table: Table, make_sales, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: bool
) -> None:
    """MO-17: One that cannot be read, and one that can and tells of other files; what is to be deleted is said, and helps."""
    monkeypatch.setattr(tables, "_CHECKPOINT", 2)
    fill(table, make_sales, range(3))
    table.refuse_damaged()
    another = Table(FolderStore(str(tmp_path / "another")), "sales")
    fill(another, make_sales, range(2))
    checkpoint = Path(table.uri, "_delta_log", f"{2:020}.checkpoint.parquet")
    checkpoint.write_bytes(Path(another.uri, "_delta_log", checkpoint.name).read_bytes() if other else b"rubbish")
    with pytest.raises((StoredDataDamaged, StoreUnreachable), match="checkpoint"):
        table.refuse_damaged()
    for file in (checkpoint, checkpoint.with_name("_last_checkpoint")):
        file.unlink()
    table.refuse_damaged()
    assert table.count() == 9
