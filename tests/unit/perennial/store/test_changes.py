"""What is new or changed in a store is found look by look; a look costs the same however much there is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import StoreUnreachable
from perennial.store import Changes, FolderStore, S3Store, Store, StoredObject, changes
from perennial.store.changes import FolderChanges, PrefixChanges


def keys(found: Changes) -> list[str]:
    return sorted(item.key.removeprefix("landing/sales/") for item in found.look())


def settle(store: FolderStore, *folders: str) -> None:
    """Let folders have been changed long ago, each at another time."""
    for number, folder in enumerate(folders or ("landing/sales",)):
        os.utime(store.path / folder, (1_000_000 + number, 1_000_000 + number))


def test_the_first_look_gives_all_and_the_next_what_is_new(store: Store) -> None:
    """DM-16: In a folder and in S3; what is not below the folder is not there, and a look at nothing gives nothing."""
    found = store.changes("landing/sales")
    assert keys(found) == []
    for name in ("sales/b.csv", "sales/2024/a.csv", "sales2/c.csv"):
        store.write(f"landing/{name}", b"x")
    found = store.changes("landing/sales")
    assert keys(found) == ["2024/a.csv", "b.csv"]
    assert keys(found) == []
    store.write("landing/sales/c.csv", b"x")
    store.write("landing/sales/2024/0/a.csv", b"x")
    assert "c.csv" in keys(found)
    assert {item.key for item in store.list("landing/sales")} == set(store.keys("landing/sales"))


def test_what_it_gives_is_what_a_listing_gives(store: Store) -> None:
    """DM-16: With the same size, time and state, so that a file has one identity."""
    store.write("landing/sales/a.csv", b"abc")
    (found,) = store.changes("landing/sales").look()
    assert [found] == list(store.list("landing/sales")) == [store.stat("landing/sales/a.csv")]
    assert (found.key, found.size) == ("landing/sales/a.csv", 3)
    assert abs(found.modified - time.time()) < 3_600


def test_the_documents_tell_how_much_a_look_looks_at() -> None:
    """DM-16: Who reads docs/store.md knows after how long a change is seen that shows late."""
    root = Path(__file__).parents[4]
    page, decision = ((root / "docs" / name).read_text() for name in ("store.md", "decisions/0100-looks-that-find-what-is-new.md"))
    assert f"two seconds for each {changes.FILES_A_TURN} files" in page
    assert f"{changes.PAGE_SECONDS:.0f} seconds for each {changes.PAGE:,} keys" in page
    assert f"the {changes.RECENT} folders changed last" in decision
    assert f"the {changes.NEWEST} files written last" in decision
    assert f"{changes.FOLDERS_A_TURN} other folders, {changes.FILES_A_TURN} other files" in decision
    assert f"the {changes.PEEK} keys after one of {changes.PLACES} places" in decision
    assert f"within {changes.SETTLED_SECONDS:.0f} seconds" in decision


# -------------------------------------------------------------------------------------------------------------- folders


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A store with few files a turn, so that few files show what happens among many."""
    for name, value in {"NEWEST": 2, "RECENT": 1, "FOLDERS_A_TURN": 2, "FILES_A_TURN": 3}.items():
        monkeypatch.setattr(changes, name, value)
    return FolderStore(str(tmp_path))


def fill(store: FolderStore, count: int, folder: str = "") -> None:
    for number in range(count):
        path = store.path / "landing/sales" / folder / f"{number:04d}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (2_000_000 + number, 2_000_000 + number))


@pytest.mark.parametrize("name", ["0000a.csv", "zzz.csv", "new/folder/a.csv"])
def test_a_new_file_is_seen_at_the_next_look_whatever_its_name(folder: FolderStore, name: str) -> None:
    """DM-16: Also one that has a time from long ago, as copying programs give it."""
    fill(folder, 20)
    found = folder.changes("landing/sales")
    settle(folder)
    assert len(keys(found)) == 20
    folder.write(f"landing/sales/{name}", b"x")
    os.utime(folder.path / "landing/sales" / name, (1, 1))
    assert keys(found) == [name]
    assert keys(found) == []


def test_a_file_that_takes_the_place_of_another_is_seen_at_the_next_look(folder: FolderStore) -> None:
    """DM-16: Programs write beside it and rename: the folder tells of it, the file's time and size need not."""
    fill(folder, 20)
    settle(folder)
    found = folder.changes("landing/sales")
    keys(found)
    path = folder.path / "landing/sales/0007.csv"
    (other := folder.path / "landing/sales/.beside").write_bytes(b"y")
    os.utime(other, (2_000_007, 2_000_007))
    other.rename(path)
    assert "0007.csv" in keys(found)


def test_a_file_that_grows_is_seen_at_once_if_it_was_among_the_last_and_else_in_its_turn(folder: FolderStore) -> None:
    """DM-16: A log that grows all day is among the files written last. No other change is lost: each file has its turn."""
    fill(folder, 20)
    settle(folder)
    found = folder.changes("landing/sales")
    keys(found)
    for name in ("0019.csv", "0003.csv"):
        with open(folder.path / "landing/sales" / name, "ab") as file:
            file.write(b"more")
    assert "0019.csv" in keys(found)
    assert "0003.csv" in [key for _ in range(20 // 3 + 1) for key in keys(found)]


@pytest.mark.parametrize("count", [20, 400])
def test_a_look_costs_the_same_however_many_files_there_are(folder: FolderStore, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """DM-16, OP-06: It asks for as many files and reads as many names after 400 files as after 20, in one folder or in many."""
    fill(folder, count)
    for number in range(count // 10):
        fill(folder, 1, f"day-{number:03d}")
    settle(folder, *(f"landing/sales/day-{number:03d}" for number in range(count // 10)), "landing/sales")
    found = folder.changes("landing/sales")
    assert len(keys(found)) == count + count // 10
    asked = _Asked(monkeypatch)
    for _ in range(5):
        asked.names = asked.states = 0
        assert keys(found) == []
        assert asked.names <= 5  # those of a turn, and the folders between them
        assert asked.states <= 1 + 1 + 2 + 2  # folders changed last and the top, those whose turn it is, files written last


class _Asked:
    """Counts the names that are read and the files and folders that are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names = self.states = 0
        scandir, stat = os.scandir, os.stat

        class Counting:
            def __init__(here, path: str) -> None:
                here.entries = scandir(path)

            def __enter__(here) -> Counting:
                return here

            def __exit__(here, *_: object) -> None:
                here.entries.close()

            def __iter__(here) -> Iterator[os.DirEntry[str]]:
                for entry in here.entries:
                    self.names += 1
                    yield entry

        def counted(*args: Any, **options: Any) -> os.stat_result:
            self.states += 1
            return stat(*args, **options)

        monkeypatch.setattr(os, "scandir", Counting)
        monkeypatch.setattr(os, "stat", counted)


def test_a_folder_among_many_is_looked_at_in_its_turn(folder: FolderStore) -> None:
    """DM-16: A file in the one that was changed longest ago is found after so many looks as there are turns of folders, not of files."""
    names = [f"shop-{number}" for number in range(8)]
    for name in names:
        fill(folder, 10, name)
    settle(folder, *(f"landing/sales/{name}" for name in names), "landing/sales")
    found = folder.changes("landing/sales")
    keys(found)
    folder.write("landing/sales/shop-0/new.csv", b"x")
    os.utime(folder.path / "landing/sales/shop-0", (900_000, 900_000))  # as if the clock of the disk were behind
    assert "shop-0/new.csv" in [key for _ in range(8 // 2 + 2) for key in keys(found)]


def test_a_folder_that_changed_just_now_is_read_again(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16: Two files of one moment: the folder's time of change may be the same after the first and after the second."""
    monkeypatch.setattr(changes, "FILES_A_TURN", 0)
    fill(folder, 1)
    found = folder.changes("landing/sales")
    keys(found)
    before = (folder.path / "landing/sales").stat()
    folder.write("landing/sales/second.csv", b"x")
    os.utime(folder.path / "landing/sales", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert keys(found) == ["second.csv"]


def test_folders_and_files_may_go_and_come_again(folder: FolderStore) -> None:
    """DM-16: What was deleted is no error, and what comes in its place is new."""
    fill(folder, 3, "a")
    found = folder.changes("landing/sales")
    assert len(keys(found)) == 3
    for path in (folder.path / "landing/sales/a").iterdir():
        path.unlink()
    (folder.path / "landing/sales/a").rmdir()
    assert keys(found) == []
    (folder.path / "landing/sales").rmdir()
    assert keys(found) == keys(found) == []
    folder.write("landing/sales/a/0000.csv", b"another")
    folder.write("landing/sales/a/0004.csv", b"x")
    assert {key for _ in range(2) for key in keys(found)} == {"a/0000.csv", "a/0004.csv"}


def test_links_and_unfinished_writes_are_seen_as_a_listing_sees_them(folder: FolderStore) -> None:
    """DM-16: A link to a file is a file; one to a folder, to nothing or to itself is none."""
    folder.write("elsewhere/a.csv", b"x")
    (folder.path / "landing/sales").mkdir(parents=True)
    for name, target in {"a.csv": "elsewhere/a.csv", "b": "elsewhere", "c": "nowhere", "d": "landing/sales/d"}.items():
        (folder.path / "landing/sales" / name).symlink_to(folder.path / target)
    (folder.path / "landing/sales/.e.1.unfinished").write_bytes(b"x")
    found = folder.changes("landing/sales")
    assert keys(found) == ["a.csv"]
    assert keys(found) == []
    assert list(folder.keys("landing/sales")) == [item.key for item in folder.list("landing/sales")] == ["landing/sales/a.csv"]


def test_a_folder_without_rights_is_a_sentence(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-18: It does not look like an empty one."""
    fill(folder, 3)
    found = folder.changes("landing/sales")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", forbidden)
    with pytest.raises(StoreUnreachable, match=r"Permission denied.*landing/sales"):
        keys(found)


def test_the_files_written_last_and_the_folders_changed_last_are_so_by_time(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16: Not by name: what is appended to the newest file, and lands in the newest folder, is seen at once among many."""
    monkeypatch.setattr(changes, "FILES_A_TURN", 0)
    monkeypatch.setattr(changes, "FOLDERS_A_TURN", 0)
    for number in range(9):
        fill(folder, 2, f"{number}")
    newest = folder.path / "landing/sales/0/0000.csv"
    os.utime(newest, (3_000_000, 3_000_000))
    settle(folder, *(f"landing/sales/{number}" for number in ("", *range(8, -1, -1))))
    found = folder.changes("landing/sales")
    assert len(keys(found)) == 18
    newest.write_bytes(b"more")
    assert keys(found) == ["0/0000.csv"]
    folder.write("landing/sales/0/new.csv", b"x")
    assert keys(found) == ["0/new.csv"]


def test_files_that_are_gone_are_not_among_the_last(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16: Else a file that grows would be seen in its turn only; and what has the place on the disk of one that is gone is new."""
    fill(folder, 9)
    found = folder.changes("landing/sales")
    keys(found)
    monkeypatch.setattr(changes, "FILES_A_TURN", 0)
    (folder.path / "elsewhere").hardlink_to(folder.path / "landing/sales/0007.csv")
    for name in ("0007.csv", "0008.csv"):
        (folder.path / "landing/sales" / name).unlink()
    path = folder.path / "landing/sales/a.csv"
    path.write_bytes(b"x")
    os.utime(path, (2_000_006, 2_000_006))
    assert keys(found) == ["a.csv"]
    path.write_bytes(b"more")
    assert keys(found) == ["a.csv"]
    (folder.path / "elsewhere").write_bytes(b"other")
    (folder.path / "landing/sales/0007.csv").hardlink_to(folder.path / "elsewhere")
    assert keys(found) == ["0007.csv"]


def test_what_no_time_of_change_shows_is_found_by_the_round(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16: A folder that comes by a clock that is behind, what lands in it, and what changes below it."""
    monkeypatch.setattr(changes, "FOLDERS_A_TURN", 0)
    fill(folder, 9)
    settle(folder)
    found = folder.changes("landing/sales")
    keys(found)
    fill(folder, 2, "late")
    settle(folder, "landing/sales", "landing/sales/late")
    assert sorted(key for _ in range(5) for key in keys(found)) == ["late/0000.csv", "late/0001.csv"]
    fill(folder, 3, "late")
    assert keys(found) == ["late/0002.csv"]
    settle(folder, "landing/sales/late")
    for _ in range(5):
        keys(found)
    (folder.path / "landing/sales/late/0000.csv").write_bytes(b"more")
    assert [key for _ in range(5) for key in keys(found)] == ["late/0000.csv"]


def test_a_folder_that_comes_again_is_found_at_once(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16: By the one above it, though others were changed later."""
    monkeypatch.setattr(changes, "FOLDERS_A_TURN", 0)
    monkeypatch.setattr(changes, "FILES_A_TURN", 0)
    for name in ("a", "b"):
        fill(folder, 1, name)
    settle(folder)
    found = folder.changes("landing/sales")
    keys(found)
    (folder.path / "landing/sales/b").rename(folder.path / "elsewhere")
    assert keys(found) == []
    fill(folder, 2, "b")
    os.utime(folder.path / "landing/sales/b", (1, 1))
    assert set(keys(found)) >= {"b/0001.csv"}


# ------------------------------------------------------------------------------------------------------------------- S3


class Listing:
    """A listing of S3 as the server gives it, and the requests for it."""

    def __init__(self, *names: str) -> None:
        self.etags = dict.fromkeys(names, "1")
        self.requests: list[tuple[str, int]] = []
        self.now = 0.0

    def page(self, after: str, most: int) -> Sequence[StoredObject]:
        self.requests.append((after, most))
        return [StoredObject(name, 1, 0.0, self.etags[name]) for name in sorted(self.etags) if name > after][:most]

    def look(self, changes: PrefixChanges, seconds: float = 2.0) -> list[str]:
        self.now += seconds
        self.requests.clear()
        return [item.key for item in changes.look()]


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Listing:
    """Twenty names on pages of five."""
    monkeypatch.setattr(changes, "PAGE", 5)
    monkeypatch.setattr(changes, "PEEK", 2)
    monkeypatch.setattr(changes, "PLACES", 2)
    return Listing(*(f"m{number:02d}" for number in range(20)))


@pytest.fixture
def found(listing: Listing) -> PrefixChanges:
    found = PrefixChanges(listing.page, lambda: listing.now)
    assert listing.look(found) == sorted(listing.etags)
    assert [after for after, _ in listing.requests] == ["", "m04", "m09", "m14", "m19"]
    return found


def test_names_at_the_end_are_seen_at_once(listing: Listing, found: PrefixChanges) -> None:
    """DM-16: With one request; more than a page of them are seen with one request a page."""
    assert listing.look(found) == []
    assert listing.requests == [("m19", 5)]
    listing.etags["m20"] = "1"
    assert listing.look(found) == ["m20"]
    new = [f"n{number}" for number in range(8)]
    listing.etags |= dict.fromkeys(new, "1")
    assert listing.look(found) == new
    assert listing.requests == [("m20", 5), ("n4", 5)]


def test_names_in_the_middle_are_seen_in_their_turn_and_then_at_once(listing: Listing, found: PrefixChanges) -> None:
    """DM-16: A page has its turn every ten seconds. Where new names came, more are looked for at each look."""
    listing.etags |= {"m02-a": "1", "m12-a": "1"}
    seen = [(look, key) for look in range(1, 26) for key in listing.look(found)]
    assert seen == [(5, "m02-a"), (15, "m12-a")]
    listing.etags |= {"m02-b": "1", "m12-b": "1"}
    assert sorted(listing.look(found) + listing.look(found)) == ["m02-b", "m12-b"]
    listing.etags |= {"m02-c": "1", "m02-d": "1", "m02-e": "1"}
    assert listing.look(found) + listing.look(found) == ["m02-c", "m02-d", "m02-e"]


def test_an_object_that_was_written_again_is_seen_in_its_turn(listing: Listing, found: PrefixChanges) -> None:
    """DM-16: Its ETag is another; it is no place where new names come."""
    listing.etags["m07"] = "2"
    assert [key for _ in range(20) for key in listing.look(found)] == ["m07"]
    assert listing.look(found, 0) == []
    assert listing.requests == [("m19", 5)]


def test_names_that_come_after_the_end_was_deleted_are_seen(listing: Listing, found: PrefixChanges) -> None:
    """DM-16: The end is then another, from the next round on."""
    listing.etags = {name: "1" for name in listing.etags if name < "m15"}
    for _ in range(25):
        assert listing.look(found) == []
    listing.etags["m15-a"] = "1"
    assert listing.look(found, 0) == ["m15-a"]


def test_requests_of_a_look_do_not_grow(listing: Listing, found: PrefixChanges) -> None:
    """DM-16, OP-06: At most three: the end, one place in the middle and a page whose turn it is, after 20 names as after 2,000."""
    for count in (20, 2_000):
        listing.etags |= {f"m{number:04d}": "1" for number in range(count)}
        for _ in range(count):
            listing.look(found, 10.0)  # until all are known
        for _ in range(50):
            assert listing.look(found) == []
            assert len(listing.requests) <= 3
            assert sum(most for _, most in listing.requests) <= 5 + 2 + 5


def test_pages_of_a_real_prefix(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-16: The server's pages are asked for by the key after which they begin."""
    monkeypatch.setattr(changes, "PAGE", 3)
    for number in range(8):
        s3.write(f"landing/sales/{number}.csv", b"x")
    found = s3.changes("landing/sales")
    assert isinstance(found, PrefixChanges)
    assert keys(found) == [f"{number}.csv" for number in range(8)]
    s3.write("landing/sales/8.csv", b"x")
    assert keys(found) == ["8.csv"]


def test_a_folder_of_a_disk_has_changes_of_its_own(folder: FolderStore) -> None:
    """DM-16: Each kind of store finds them its way."""
    assert isinstance(folder.changes("landing/sales"), FolderChanges)
