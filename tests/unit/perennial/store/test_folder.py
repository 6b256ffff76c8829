"""A store in a folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from perennial.errors import StoreUnreachable
from perennial.store import FolderStore

_PUT = """
import sys
from perennial.store import open_store
store, number = open_store(sys.argv[1]), sys.argv[2]
sys.stdin.read(1)  # all begin together
print(*[key for key in range(20) if store.put_if_absent(f"race/{key}", number.encode())])
"""


def test_one_process_of_many_wins_in_a_folder(tmp_path: Path) -> None:
    """DE-22, DM-08: Four processes that put the same twenty keys: each key is won exactly once."""
    processes = [
        subprocess.Popen([sys.executable, "-c", _PUT, str(tmp_path), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
    won = [int(key) for process in processes for key in process.communicate(timeout=240)[0].split()]
    assert sorted(won) == list(range(20))


def test_unfinished_writes_are_not_listed(tmp_path: Path) -> None:
    """DM-08: What a killed writer left behind is invisible."""
    store = FolderStore(str(tmp_path))
    store.write("a/whole", b"x")
    (tmp_path / "a" / ".half.0123.unfinished").write_bytes(b"ha")
    assert [item.key for item in store.list("a")] == ["a/whole"]


@pytest.mark.parametrize("name", ["売" * 83 + ".csv", "é" * 125 + ".csv", "x" * 251 + ".csv"])
def test_an_object_may_have_the_longest_name_that_the_system_allows(tmp_path: Path, name: str) -> None:
    """DM-08: In whatever letters: a file that landed with it can be copied away, written and put."""
    store = FolderStore(str(tmp_path))
    (tmp_path / name).write_bytes(b"landed")
    store.copy(name, f"quarantine/{name}")
    store.write(f"written/{name}", b"landed")
    assert store.put_if_absent(f"put/{name}", b"landed")
    assert [item.key for item in store.list("quarantine")] == [f"quarantine/{name}"]
    assert {store.read(f"{place}/{name}") for place in ("quarantine", "written", "put")} == {b"landed"}


def test_a_link_that_leads_nowhere_is_no_object(tmp_path: Path) -> None:
    """DM-08: Neither one to a file that is gone nor one to itself keeps the others from being listed."""
    store = FolderStore(str(tmp_path))
    store.write("landing/sales/day.csv", b"x")
    for name, target in (("gone", "nowhere"), ("round", "round")):
        (tmp_path / "landing/sales" / name).symlink_to(target)
    assert [item.key for item in store.list("landing/sales")] == ["landing/sales/day.csv"]
    assert store.stat("landing/sales/round") is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("act", ["write", "put_if_absent", "upload"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, act: str) -> None:
    """DM-08: The sentence names the store and says what to do; no half-written file stays."""
    store = FolderStore(str(tmp_path / "store"))
    (tmp_path / "local").write_bytes(b"x")

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnreachable, match=r"has no room left: free some space \(at f/k\)"):
        store.upload(tmp_path / "local", "f/k") if act == "upload" else getattr(store, act)("f/k", b"x")
    assert list((tmp_path / "store" / "f").iterdir()) == []


def test_a_file_in_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    """DM-08: A root or folder that has become a file is told as such when it is written to, and holds nothing when it is read."""
    (tmp_path / "store").write_text("I was a folder")
    store = FolderStore(str(tmp_path / "store"))
    with pytest.raises(StoreUnreachable, match="check the folder"):
        store.write("a/b", b"x")
    with pytest.raises(StoreUnreachable, match="check the folder"):
        store.put_if_absent("a/b", b"x")
    assert store.stat("a/b") is None
    with pytest.raises(KeyError):
        store.read("a/b")


def test_a_folder_in_place_of_an_object_is_a_sentence(tmp_path: Path) -> None:
    """DM-08: Writing a key that is a folder of other keys says so; reading it is a KeyError."""
    store = FolderStore(str(tmp_path))
    store.write("a/b", b"x")
    with pytest.raises(StoreUnreachable, match="check the folder"):
        store.write("a", b"x")
    with pytest.raises(KeyError):
        store.read("a")
    assert [item.key for item in store.list("a")] == ["a/b"]


def test_a_folder_that_may_not_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-09: Missing rights are told as such, also when a listing meets them."""
    store = FolderStore(str(tmp_path))
    store.write("a/b", b"x")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    entries = MagicMock()
    entries.__enter__.return_value = entries
    entries.__iter__.return_value = [SimpleNamespace(name="b", is_dir=lambda **_: False, stat=forbidden)]
    monkeypatch.setattr(os, "scandir", lambda _: entries)
    monkeypatch.setattr(Path, "stat", forbidden)
    for act in (lambda: store.stat("a/b"), lambda: list(store.list("a"))):
        with pytest.raises(StoreUnreachable, match="Permission denied"):
            act()


def test_a_listing_does_not_pass_over_a_folder_that_it_cannot_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: A folder without rights is an error: silence would look like an empty landing zone."""
    store = FolderStore(str(tmp_path))
    store.write("a/b", b"x")

    def forbidden(_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "a"))

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(StoreUnreachable, match="Permission denied"):
        list(store.list("a"))


def test_a_copy_is_made_where_links_are_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-08: Without hard links the bytes are copied."""
    store = FolderStore(str(tmp_path))
    store.write("a", b"x")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", forbidden)
    store.copy("a", "b")
    assert store.read("b") == b"x"


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that lets all others read what it writes."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_a_folder_store_writes_only_its_user_can_read(tmp_path: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-09: Landing files, tables of people, reports: whatever the process lets others read by default, and by whichever way it comes
    in."""
    store, local = FolderStore(str(tmp_path / "new" / "store")), tmp_path / "local"
    local.write_bytes(b"x")
    store.write("a/b/written", b"x")
    store.put_if_absent("a/put", b"x")
    store.upload(local, "c/uploaded")
    store.copy("c/uploaded", "d/linked")
    store.make_folder("landing/flights")
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "across devices")))
        store.copy("c/uploaded", "e/copied")
    found = list((tmp_path / "new").rglob("*"))
    assert {p.name for p in found if p.is_file()} == {"written", "put", "uploaded", "linked", "copied"}
    assert {p.stat().st_mode & 0o777 for p in found if p.is_file()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in found if p.is_dir()} == {0o700}
    assert (store.path / "landing/flights").is_dir()


def test_an_open_store_is_closed_to_others(tmp_path: Path, open_umask: None) -> None:
    """DM-09: One of an earlier release; a folder beside it that is none of the store's stays as it is."""
    for name in ("ledger/digits", "shared"):
        (tmp_path / name).mkdir(parents=True)
    FolderStore(str(tmp_path)).make_private()
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "landing").exists()
