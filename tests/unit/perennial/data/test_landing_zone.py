"""The landing zone: what waits is the listing minus the receipts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.data import landing
from perennial.data.landing import ANEW_SECONDS, LARGE, Watch, landed_as, listing, pause, receipt_key, waiting_files
from perennial.data.receipts import Receipt, read_receipt, receipts, withdraw_receipt, write_receipt
from perennial.errors import StoredDataDamaged, StoreUnreachable
from perennial.store import FolderStore, StoredObject


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


def watched(watch: Watch, store: FolderStore, settle: float = 2, *, sure: bool = False) -> tuple[list[str], list[str]]:
    ready, still = watch.look(store, settle, 1_000_000, sure=sure)
    return [f.name for f in ready], [f.name for f in still]


def give_receipts(store: FolderStore, *names: str) -> None:
    for file in listing(store, "sales"):
        if file.name in names:
            write_receipt(store, "sales", _receipt(file.id))


@pytest.mark.parametrize("count", [1, 30])
def test_a_watch_sees_what_waits(store: FolderStore, count: int) -> None:
    """DM-16, DM-01: As a look at everything does: files wait until they are still, and until they have a receipt or are gone."""
    watch = Watch("sales")
    assert watched(watch, store) == ([], [])
    old, new = [f"old-{number:02d}.csv" for number in range(count)], [f"new-{number:02d}.csv" for number in range(count)]
    for name in old:
        land(store, name)
    for name in new:
        land(store, name, age=1)
    for name in (".hidden", "a.csv.part", "sub/.b.csv"):
        land(store, name)
    assert watched(watch, store) == names(store) == (old, new)
    for name in new:
        os.utime(Path(store.root, "landing/sales", name), (1, 1))
    assert watched(watch, store) == names(store) == (new + old, [])
    give_receipts(store, *old)
    assert watched(watch, store) == names(store) == (new, [])
    for name in new:
        Path(store.root, "landing/sales", name).unlink()
    assert watched(watch, store) == ([], [])
    assert watched(Watch("sales"), store) == ([], [])


def test_a_file_that_was_taken_waits_again_when_it_grows(store: FolderStore) -> None:
    """DM-16: It is another file, whether it has grown or is what it was again."""
    watch = Watch("sales")
    land(store, "a.csv")
    assert watched(watch, store)[0] == ["a.csv"]
    give_receipts(store, "a.csv")
    assert watched(watch, store)[0] == []
    path = Path(store.root, "landing/sales/a.csv")
    path.write_bytes(b"xy")
    assert watched(watch, store)[1] == ["a.csv"]
    os.utime(path, (1, 1))
    assert watched(watch, store)[0] == ["a.csv"]
    path.write_bytes(b"x")
    os.utime(path, (999_900, 999_900))
    assert watched(watch, store)[0] == []


def test_a_file_waits_again_when_its_receipt_is_withdrawn(store: FolderStore) -> None:
    """DM-16, DM-11: It is asked for every ten seconds, and everything is looked at anew."""
    now = [0.0]
    watch = Watch("sales", lambda: now[0])
    for name in ("a.csv", "b.csv"):
        land(store, name)
    give_receipts(store, "a.csv", "b.csv")
    assert watched(watch, store)[0] == []
    receipt = receipts(store, "sales")[0]
    withdraw_receipt(store, "sales", receipt)
    now[0] = 9.9
    assert watched(watch, store)[0] == []
    now[0] = 10.0
    assert len(watched(watch, store)[0]) == 1
    write_receipt(store, "sales", receipt)
    now[0] = 20.0
    assert watched(watch, store)[0] == []


def test_everything_is_looked_at_anew_once_an_hour(store: FolderStore) -> None:
    """DM-16: Whatever was remembered: a receipt that somebody deleted by hand is seen then, at the latest."""
    now = [5.0]
    watch = Watch("sales", lambda: now[0])
    land(store, "a.csv")
    give_receipts(store, "a.csv")
    assert watched(watch, store)[0] == []
    store.delete(receipt_key("sales", listing(store, "sales")[0].id))
    now[0] += ANEW_SECONDS - 0.1
    assert watched(watch, store)[0] == []
    now[0] += 0.1
    assert watched(watch, store)[0] == ["a.csv"]


def test_many_files_that_wait_are_looked_at_by_turns(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16, OP-06: A look asks for some of them, a sure one for all, so that nothing is told again that was dealt with."""
    for name, value in {"AGAIN": 3, "AGAIN_IN_S3": 1}.items():
        monkeypatch.setattr(landing, name, value)
    for number in range(6):
        land(store, f"{number}.csv")
    watch = Watch("sales")
    assert len(watched(watch, store)[0]) == 6
    give_receipts(store, "0.csv", "4.csv")
    watched(watch, store)  # looks at three of the six
    assert watched(watch, store)[0] == ["1.csv", "2.csv", "3.csv", "5.csv"]
    give_receipts(store, "1.csv", "2.csv", "3.csv")
    assert watched(watch, store, sure=True)[0] == ["5.csv"]
    land(store, "6.csv")
    store.appears_whole = True
    give_receipts(store, "5.csv", "6.csv")
    assert watched(watch, store)[0] == []


def test_a_watch_outlives_an_outage(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16, DE-22: What a look that failed had seen already is seen by the next one."""
    watch = Watch("sales")
    assert watched(watch, store) == ([], [])
    for number in range(3):
        land(store, f"{number}.csv")
    with monkeypatch.context() as outage:
        outage.setattr(store, "exists", _silent)
        with pytest.raises(StoreUnreachable):
            watched(watch, store)
    assert watched(watch, store)[0] == ["0.csv", "1.csv", "2.csv"]


def _silent(_: str) -> bool:
    raise StoreUnreachable("The store does not answer.")


class Asking(FolderStore):
    """A store that counts for what it is asked."""

    asked = 0

    def stat(self, key: str) -> StoredObject | None:
        self.asked += 1
        return super().stat(key)

    def keys(self, prefix: str) -> Iterator[str]:
        for key in super().keys(prefix):
            self.asked += 1
            yield key

    def list(self, prefix: str) -> Iterator[StoredObject]:
        raise AssertionError(f"{prefix} was listed")


@pytest.mark.parametrize("taken", [10, 200])
def test_a_look_asks_for_no_file_that_was_taken(tmp_path: Path, taken: int) -> None:
    """DM-16, OP-06: After 200 files as after 10: nothing while nothing is new, and two questions for each new file."""
    plain = FolderStore(str(tmp_path))
    for number in range(taken):
        land(plain, f"{number:04d}.csv")
    give_receipts(plain, *(f"{number:04d}.csv" for number in range(taken)))
    store, watch = Asking(str(tmp_path)), Watch("sales")
    assert watched(watch, store) == ([], [])
    store.asked = 0
    for _ in range(3):
        assert watched(watch, store) == ([], [])
    assert store.asked == 0
    land(plain, "0000a.csv")
    assert watched(watch, store) == (["0000a.csv"], [])
    assert watched(watch, store) == (["0000a.csv"], [])
    assert store.asked == 3  # for its receipt, then for the file and its receipt


def test_a_landed_file_is_found_by_its_name(store: FolderStore) -> None:
    """DM-01: Also one whose name is no text; hidden ones and those that are not there are not."""
    land(store, "sub/a.csv")
    land(store, ".a.csv")
    (Path(store.root) / "landing" / "sales" / os.fsdecode(b"caf\xe9.csv")).write_bytes(b"x")
    found = {file.name: file for file in listing(store, "sales")}
    assert set(found) == {"sub/a.csv", "caf\\xe9.csv"}
    for name, file in found.items():
        assert landed_as(store, "sales", name) == file
    assert landed_as(store, "sales", ".a.csv") is landed_as(store, "sales", "b.csv") is landed_as(store, "sales", "\\") is None


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
