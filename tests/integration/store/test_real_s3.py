"""The store on a real S3 server: credentials are checked, and put-if-absent has one winner."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.commands import verify
from perennial.data import compaction
from perennial.data.landing import listing
from perennial.data.tables import Table
from perennial.errors import StoredDataDamaged, StoreUnreachable
from perennial.settings import Settings
from perennial.store import S3Store


def _at_once(count: int, act) -> list[object]:
    barrier, found = threading.Barrier(count), []

    def wait_and_act(number: int) -> None:
        barrier.wait()
        found.append(act(number))

    threads = [threading.Thread(target=wait_and_act, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_one_of_many_writers_wins(store: S3Store) -> None:
    """DM-08, SY-02: Ten keys, twelve writers each: one is told that it wrote, and its bytes are there."""
    for key in range(10):
        won = [
            n for n in _at_once(12, lambda n, key=key: n if store.put_if_absent(f"race/{key}", str(n).encode()) else None) if n is not None
        ]
        assert [str(n).encode() for n in won] == [store.read(f"race/{key}")]


def test_a_batch_is_appended_once_by_many(store: S3Store) -> None:
    """DM-06, DM-08: Six writers of one batch into an absent table: one commit has it."""
    rows = pa.table({"sold": pa.array([datetime(2013, 1, 1)], pa.timestamp("us")), "shop": ["a"]})
    _at_once(6, lambda _: Table(store, "sales").append(rows, "one", key=("shop", "sold"), event_time="sold"))
    assert (Table(store, "sales").version(), Table(store, "sales").count()) == (1, 1)


def test_files_move_within_the_store(store: S3Store, tmp_path: Path) -> None:
    """DM-08, SY-02: Upload, listing, copy, download and removal; what is listed is unchanged until it is written again."""
    (tmp_path / "local").write_bytes(b"x" * 100_000)
    store.upload(tmp_path / "local", "landing/sales/a.csv")
    (file,) = listing(store, "sales")
    assert file.is_unchanged(store.stat(file.key))
    store.copy(file.key, "quarantine/sales/d/a.csv")
    store.write(file.key, b"y" * 100_000)
    assert not file.is_unchanged(store.stat(file.key))
    store.delete(file.key)
    store.download("quarantine/sales/d/a.csv", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 100_000
    assert not store.exists(file.key)


@pytest.mark.parametrize(("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody")])
def test_wrong_credentials_are_told(store: S3Store, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """DM-09: The sentence names both variables, in the store and in its tables alike."""
    monkeypatch.setenv(name, value)
    other = S3Store(store.root)
    for act in (lambda: other.read("k"), lambda: other.write("k", b""), lambda: list(other.list("k")), lambda: other.exists("k")):
        with pytest.raises(StoreUnreachable, match="refuses the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            act()
    with pytest.raises(StoreUnreachable, match=r"The table sales .* credentials are right"):
        Table(other, "sales").version()


def test_damage_is_told_and_a_batch_leaves(store: S3Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """MO-17, DM-08: As in a folder: hashes of each commit, also of a compaction; a changed byte is named; rows of others stay when a batch
    leaves their file."""
    monkeypatch.setattr(compaction, "MANY", 3)
    table = Table(store, "sales")
    for day in range(1, 5):
        table.append(pa.table({"sold": pa.array([datetime(2013, 1, day)], pa.timestamp("us"))}), f"batch {day}")
    assert len(table.files()) == 2
    table.refuse_damaged()
    assert verify.run(Settings(), store) == 0
    key = f"tables/sales/{max(table.files(), key=lambda file: file['num_records'])['path']}"
    whole = store.read(key)
    store.write(key, whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(StoredDataDamaged, match=f"{key} was changed after it was written"):
        table.remove("batch 2", {"by": "ada", "reason": "wrong"})
    assert verify.run(Settings(), store) == 1
    assert f"{key} was changed" in capsys.readouterr().out
    store.write(key, whole)
    table.remove("batch 2", {"by": "ada", "reason": "wrong"})
    assert sorted(when.day for when in table.scan(["sold"])["sold"].to_pylist()) == [1, 3, 4]
    assert verify.run(Settings(), store) == 0
