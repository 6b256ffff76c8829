"""The index of requests that were answered: small files, of which many become one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import served_ids
from perennial.served_ids import MERGED, Indexed, find_ids, write_ids
from perennial.store import FolderStore, open_store

WHEN = datetime(2013, 7, 4, 6, 0, 0, 123000, tzinfo=timezone.utc)


def keys(store: FolderStore) -> list[str]:
    return [stored.key.removeprefix("predictions/digits/ids/") for stored in store.list("predictions/digits/ids")]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def test_many_files_become_one(store: FolderStore) -> None:
    """SC-03: However often the log is taken in, a search opens few files, and finds each request once, the first and the last too."""
    for number in range(1, 2 * MERGED + 2):
        write_ids(store, "digits", number, [Indexed(f"r{number}", number, 1, WHEN, False)])
    assert keys(store) == ["00000001-00000064.ids", "00000065-00000128.ids", "00000129.ids"]
    assert [one.version for number in (1, 64, 65, 128, 129) for one in find_ids(store, "digits", f"r{number}")] == [1, 64, 65, 128, 129]
    assert find_ids(store, "digits", "r130") == []
    assert find_ids(store, "others", "r1") == []


def test_what_a_killed_merge_left_is_found_once(store: FolderStore) -> None:
    """DE-22: A process that is killed between writing the one file and deleting the many leaves nothing doubled and nothing lost."""

    class Dying(FolderStore):
        """A store whose process dies before it deletes."""

        def delete(self, key: str) -> None:
            """Die."""
            raise KeyboardInterrupt

    dying = Dying(store.root)
    for number in range(1, MERGED):
        write_ids(dying, "digits", number, [Indexed(f"r{number}", 1, 1, WHEN, False)])
    with pytest.raises(KeyboardInterrupt):
        write_ids(dying, "digits", MERGED, [Indexed(f"r{MERGED}", 1, 1, WHEN, False)])
    assert len(keys(store)) == MERGED + 1
    assert all(len(find_ids(store, "digits", f"r{number}")) == 1 for number in range(1, MERGED + 1))
    write_ids(store, "digits", MERGED + 1, [Indexed("more", 1, 1, WHEN, False)])
    assert keys(store) == ["00000001-00000064.ids", "00000001-00000065.ids"]
    assert len(find_ids(store, "digits", "r7")) == len(find_ids(store, "digits", "more")) == 1


@pytest.mark.parametrize("id", ["a-" + "9" * 5000, "a-²", "-1", "a-", "-"])
def test_an_id_with_an_odd_place_is_found_nowhere(store: FolderStore, id: str) -> None:
    """What can be no place of a row is none, and breaks nothing."""
    write_ids(store, "digits", 1, [Indexed("a", 1, 5, WHEN, False)])
    assert find_ids(store, "digits", id) == []


@given(
    requests=st.lists(
        st.builds(
            Indexed,
            st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,12}", fullmatch=True),
            st.integers(0, 2**32 - 1),
            st.integers(1, 2**32 - 1),
            st.integers(-(2**40), 2**40).map(lambda milliseconds: WHEN + timedelta(milliseconds=milliseconds)),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_what_is_written_is_found(tmp_path_factory: pytest.TempPathFactory, requests: list[Indexed]) -> None:
    """Whatever the ids: each request is found with all that was said of it, and so is its last row; the row behind that is not."""
    store = open_store(str(tmp_path_factory.mktemp("ids")))
    write_ids(store, "digits", 1, requests)
    by_id = {one.id: {other for other in requests if other.id == one.id} for one in requests}
    for one in requests:
        assert by_id[one.id] <= set(find_ids(store, "digits", one.id))
        assert one in find_ids(store, "digits", f"{one.id}-{one.rows - 1}")
        assert one not in find_ids(store, "digits", f"{one.id}-{one.rows}")


def test_bytes_that_look_like_an_id_between_two_records_are_none(store: FolderStore) -> None:
    """A record begins each 25 bytes; a file that was cut off tells what it has."""
    digest = served_ids._digest("wanted")
    write_ids(store, "digits", 1, [Indexed("first", int.from_bytes(digest[:4]), int.from_bytes(digest[4:]), WHEN, False)])
    assert find_ids(store, "digits", "wanted") == []
    write_ids(store, "digits", 2, [Indexed("wanted", 3, 1, WHEN, True), Indexed("cut", 4, 1, WHEN, True)])
    store.write("predictions/digits/ids/00000002.ids", store.read("predictions/digits/ids/00000002.ids")[:-1])
    assert find_ids(store, "digits", "wanted") == [Indexed("wanted", 3, 1, WHEN, True)]
    assert find_ids(store, "digits", "cut") == []


def test_no_more_than_the_newest_bytes_are_looked_through(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much was served, a search reads a bounded amount, of the newest first."""
    monkeypatch.setattr(served_ids, "BYTES", 30)
    for number, id in enumerate(("old", "new", "newest"), start=1):
        write_ids(store, "digits", number, [Indexed(id, number, 1, WHEN, False)])
    assert [len(find_ids(store, "digits", id)) for id in ("newest", "new", "old")] == [1, 1, 0]
