"""What both kinds of store promise: each test runs in a folder and in S3, which is moto's, in this process."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from perennial.store import FolderStore, Store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(botocore|moto|responses|werkzeug).*")


def test_what_is_written_is_read_listed_and_deleted(store: Store) -> None:
    """DM-08, SY-02: A key holds the last bytes written; a deleted one is gone, and deleting it again is no error."""
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"two"
    assert [(item.key, item.size) for item in store.list("a")] == [("a/b.txt", 3)]
    store.delete("a/b.txt")
    store.delete("a/b.txt")
    assert not store.exists("a/b.txt")
    assert list(store.list("a")) == []


def test_absent_keys_raise_key_error(store: Store, tmp_path: Path) -> None:
    """DM-08: Reading, downloading or copying what is not there is a KeyError that names the key; its stat is None."""
    with pytest.raises(KeyError, match="nothing/here"):
        store.read("nothing/here")
    with pytest.raises(KeyError, match="nothing/here"):
        store.download("nothing/here", tmp_path / "target")
    with pytest.raises(KeyError, match="nothing/here"):
        store.copy("nothing/here", "there")
    assert store.stat("nothing/here") is None


def test_a_listing_is_in_key_order_and_within_its_folder(store: Store) -> None:
    """DM-08: `a` does not list `ab/`, and folders below it are walked."""
    for key in ("a/2", "a/10", "a/x/1", "ab/1", "b"):
        store.write(key, b"x")
    assert [item.key for item in store.list("a")] == ["a/10", "a/2", "a/x/1"]


def test_the_identity_of_an_object_changes_when_it_is_written_again(store: Store) -> None:
    """DM-08: A listing and a stat tell the same, and other content has another identity."""
    store.write("k", b"one")
    first = store.stat("k")
    assert first is not None
    store.write("k", b"eno")
    second = store.stat("k")
    assert second is not None
    assert (first.size, second.size) == (3, 3)
    assert first.etag != second.etag


def test_listing_and_stat_agree(store: Store) -> None:
    """DM-08: What a listing tells of an object is what `stat` tells."""
    store.write("f/k", b"one")
    assert list(store.list("f")) == [store.stat("f/k")]


def test_files_go_up_down_and_across(store: Store, tmp_path: Path) -> None:
    """DM-08: Upload, copy and download keep the bytes; the copy outlives its source."""
    (tmp_path / "local").write_bytes(b"x" * 100_000)
    store.upload(tmp_path / "local", "up")
    store.copy("up", "deep/copy")
    store.delete("up")
    store.download("deep/copy", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x" * 100_000


def test_the_hash_is_over_the_bytes(store: Store) -> None:
    """DM-08: Whatever their number; an object that is not there has none."""
    data = bytes(range(256)) * 10_000
    store.write("f/k", data)
    assert store.sha256("f/k") == hashlib.sha256(data).hexdigest()
    with pytest.raises(KeyError):
        store.sha256("f/absent")


def test_copying_twice_changes_nothing(store: Store) -> None:
    """DM-08: A copy onto its own copy leaves one object and no unfinished file."""
    store.write("a", b"x")
    store.copy("a", "f/b")
    store.copy("a", "f/b")
    assert [item.key for item in store.list("f")] == ["f/b"]
    if isinstance(store, FolderStore):
        assert os.listdir(store.path / "f") == ["b"]


def test_put_if_absent_writes_once(store: Store) -> None:
    """DM-08: The first writer wins and the loser changes nothing."""
    assert store.put_if_absent("k", b"first")
    assert not store.put_if_absent("k", b"second")
    assert store.read("k") == b"first"


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", ".."])
def test_keys_cannot_leave_the_store(store: Store, key: str) -> None:
    """DM-09: A key that climbs out of the root is a mistake of the caller, in every method."""
    for act in (lambda: store.read(key), lambda: store.write(key, b""), lambda: list(store.list(key)), lambda: store.stat(key)):
        with pytest.raises(ValueError, match="not a key"):
            act()


def test_one_thread_of_many_wins(store: Store) -> None:
    """DE-22, DM-08: Sixteen threads that put one key: exactly one is told that it wrote, and its bytes are there."""
    barrier, won = threading.Barrier(16), []

    def put(number: int) -> None:
        barrier.wait()
        if store.put_if_absent("race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if isinstance(store, FolderStore):  # moto's dictionary is not atomic among threads; a real server is tested in integration
        assert len(won) == 1
        assert store.read("race") == str(won[0]).encode()
    assert store.exists("race")


def test_folders_are_those_that_hold_an_object(store: Store) -> None:
    """The folders right below one are named once each, in order, however deep their objects lie; unfinished writes do not count."""
    for key in ("ledger/b/00000000.json", "ledger/b/00000001.json", "ledger/a/deep/er/x", "ledger/file", "other/c/x"):
        store.write(key, b"x")
    store.make_folder("ledger/empty")
    if isinstance(store, FolderStore):
        store.make_folder("ledger/begun")
        (store.path / "ledger/begun/.x.0.unfinished").write_bytes(b"")
    assert list(store.folders("ledger")) == ["a", "b"]
    assert list(store.folders("nothing")) == list(store.folders("ledger/file")) == []
