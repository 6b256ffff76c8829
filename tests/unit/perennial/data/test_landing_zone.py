"""The landing zone: what waits is the listing minus the receipts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perennial.data.landing import LARGE, listing, pause, receipt_key, waiting_files
from perennial.data.receipts import Receipt, read_receipt, receipts, write_receipt
from perennial.errors import StoredDataDamaged
from perennial.store import FolderStore


def land(store: FolderStore, name: str, data: bytes = b"x", age: float = 100) -> None:
    store.write(f"landing/sales/{name}", data)
    path = Path(store.root, "landing/sales", name)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))


def names(store: FolderStore, settle: float = 2, now: float = 1_000_000) -> tuple[list[str], list[str]]:
    ready, still = waiting_files(store, "sales", settle, now)
    return [f.name for f in ready], [f.name for f in still]


def test_nothing_waits_in_an_empty_landing_zone(store: FolderStore) -> None:
    """DM-01: No folder, no files."""
    assert names(store) == ([], [])


def test_a_file_waits_until_it_is_still(store: FolderStore) -> None:
    """DM-01: A file that was written a moment ago may still grow; one from before the settling time is ready."""
    land(store, "new.csv", age=1)
    land(store, "old.csv", age=3)
    assert names(store) == (["old.csv"], ["new.csv"])
    assert names(store, now=1_000_010) == (["new.csv", "old.csv"], [])


def test_a_large_file_must_have_been_still_for_longer(store: FolderStore) -> None:
    """DM-01: Its writer may pause for longer; the time is bounded, and in S3, where objects appear whole, size does not count."""
    assert pause(0, 2) == 2
    assert pause(LARGE, 2) == 4
    assert pause(10**12, 2) == 30
    land(store, "large.csv", age=3)
    os.truncate(Path(store.root, "landing/sales/large.csv"), 4 * LARGE)
    os.utime(Path(store.root, "landing/sales/large.csv"), (1_000_000 - 3, 1_000_000 - 3))
    assert names(store) == ([], ["large.csv"])
    assert names(store, now=1_000_007) == (["large.csv"], [])
    store.appears_whole = True
    assert names(store) == (["large.csv"], [])


@pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="only Linux tells which files are open")
def test_a_file_that_a_program_has_open_for_writing_waits(store: FolderStore) -> None:
    """DM-01: However long it pauses; one that reads it holds nothing up; once it is closed, the file is ready."""
    land(store, "a.csv")
    land(store, "b.csv")
    path = Path(store.root, "landing/sales/a.csv")
    writer = subprocess.Popen(
        [sys.executable, "-c", f"file = open({str(path)!r}, 'a'); print('open', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"open\n"
    try:
        with path.open("rb"):
            assert names(store) == (["b.csv"], ["a.csv"])
    finally:
        writer.communicate(b"\n", timeout=240)
    with path.open("rb"):
        assert names(store) == (["a.csv", "b.csv"], [])


@pytest.mark.parametrize("name", ["a.csv.part", "a.csv.tmp", ".a.csv", "sub/.hidden/a.csv", "A.CSV.PART", "a.csv.filepart"])
def test_names_that_say_unfinished_are_not_there_yet(store: FolderStore, name: str) -> None:
    """DM-01: Hidden files and the suffixes of usual copying programs neither wait nor are ready."""
    land(store, name)
    assert names(store) == ([], [])


def test_folders_below_the_landing_zone_count(store: FolderStore) -> None:
    """DM-01: A file's name is its path below the landing zone."""
    land(store, "2013/01/a.csv")
    assert names(store)[0] == ["2013/01/a.csv"]


def test_a_receipt_ends_the_wait_of_that_file_alone(store: FolderStore) -> None:
    """DM-16: The same name with other content, or the same content landed again, is another file."""
    land(store, "a.csv")
    land(store, "b.csv")
    first = listing(store, "sales")[0]
    store.write(receipt_key("sales", first.id), b"{}")
    assert names(store)[0] == ["b.csv"]
    land(store, "a.csv", b"y", age=50)
    assert names(store)[0] == ["a.csv", "b.csv"]


def test_a_file_knows_whether_it_changed(store: FolderStore) -> None:
    """DM-01: What was listed is unchanged until it is written again or removed."""
    land(store, "a.csv")
    file = listing(store, "sales")[0]
    assert file.is_unchanged(store.stat(file.key))
    with open(Path(store.root, file.key), "ab") as stream:
        stream.write(b"more")
    assert not file.is_unchanged(store.stat(file.key))
    assert not file.is_unchanged(None)


def test_a_name_that_is_not_text_still_waits(store: FolderStore) -> None:
    """DM-01: A name with undecodable bytes does not keep others from being taken in."""
    land(store, "ok.csv")
    (Path(store.root) / "landing" / "sales" / os.fsdecode(b"caf\xe9.csv")).write_bytes(b"x")
    assert len(names(store, now=1e12)[0]) == 2


def _receipt(file_id: str, outcome: str = "appended") -> Receipt:
    return Receipt(id=file_id, name="a.csv", size=1, digest="d", outcome=outcome, rows=2, sentence="It is in.")  # type: ignore[arg-type]


def test_a_receipt_is_written_once(store: FolderStore) -> None:
    """DE-22: The first one stays: a second writer learns that it is late."""
    assert write_receipt(store, "sales", _receipt("one"))
    assert not write_receipt(store, "sales", _receipt("one", "refused"))
    found = read_receipt(store, "sales", "one")
    assert found is not None
    assert (found.outcome, found.rows) == ("appended", 2)
    assert read_receipt(store, "sales", "two") is None


def test_receipts_come_oldest_first(store: FolderStore) -> None:
    """DM-07: All of a dataset's receipts, in the order in which they were written."""
    for name in ("z", "a", "m"):
        write_receipt(store, "sales", _receipt(name))
    assert [r.id for r in receipts(store, "sales")] == ["z", "a", "m"]


def test_a_damaged_receipt_says_what_to_do(store: FolderStore) -> None:
    """MN-18: The sentence names the key."""
    store.write(receipt_key("sales", "one"), b"{]")
    with pytest.raises(StoredDataDamaged, match=r"receipts/sales/one.json cannot be read .* delete it"):
        read_receipt(store, "sales", "one")
