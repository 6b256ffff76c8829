"""The newest landed files are found by notes, and whatever became of the notes, they are what the receipts say."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perennial.data import receipt_notes
from perennial.data.batches import UNNOTED, Batches, note_batches
from perennial.data.landing import receipt_key
from perennial.data.receipts import Receipt, correct_receipt, read_receipt, withdraw_receipt, write_receipt
from perennial.store import FolderStore

BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
NAME = "sales"


def receipt(id: str, hours: float = 0, **facts: Any) -> Receipt:
    fields = {"outcome": "appended", "rows": 3, "version": 1, "since": 1, "sentence": "In.", **facts}
    return Receipt(id=id, name=f"{id}.csv", size=1, digest=id * 64, time=BEGIN + timedelta(hours=hours), **fields)


def shown(store: FolderStore) -> list[tuple[str, str]]:
    return [(one.id, one.outcome) for one in Batches(store, NAME).newest_first()]


def right(store: FolderStore) -> list[tuple[str, str]]:
    every = [read_receipt(store, NAME, item.key.rpartition("/")[2].removesuffix(".json")) for item in store.list(f"receipts/{NAME}")]
    return [(one.id, one.outcome) for one in sorted((one for one in every if one), key=lambda one: one.time, reverse=True)]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "correct", "withdraw", "killed", "note", "garble", "forget", "lose"]),
        st.sampled_from("abc"),
        st.integers(0, 2),
    ),
    max_size=14,
)


WITHDRAWN = [("note", "a", 0), ("write", "c", 2), ("note", "a", 0), ("withdraw", "c", 0)]


@settings(max_examples=40, deadline=None)
@given(STEPS)
@example([*WITHDRAWN, ("killed", "c", 0)])
@example([*WITHDRAWN, ("write", "c", 1)])
def test_the_files_are_those_of_the_receipts(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]) -> None:
    """DM-02: Receipts written, corrected, withdrawn; writers killed before their receipt; notes made, garbled, lost whole or in part: the
    files that are shown are those that have a receipt, as it is now, newest first."""
    store = FolderStore(str(tmp_path_factory.mktemp("store")))
    for step, id, day in steps:
        if step == "write":
            write_receipt(store, NAME, receipt(id, 24 * day + ord(id) / 1000))
        elif step == "correct" and (known := read_receipt(store, NAME, id)):
            correct_receipt(store, NAME, known.model_copy(update={"outcome": "removed"}))
        elif step == "withdraw" and (known := read_receipt(store, NAME, id)):
            withdraw_receipt(store, NAME, known)
        elif step == "killed":
            receipt_notes.owe(store, NAME, id, BEGIN + timedelta(days=day))
        elif step == "note":
            note_batches(store, NAME, "sold")
            assert not receipt_notes.owed(store, NAME)
        elif step == "garble":
            for item in list(store.list(f"views/batches/{NAME}/days")):
                store.write(item.key, b"[{")
        elif step == "forget":
            for item in list(store.list(f"views/batches/{NAME}")):
                store.delete(item.key)
        assert shown(store) == right(store)
    note_batches(store, NAME, "sold")
    assert shown(store) == right(store)


def test_of_two_that_note_at_a_time_none_loses_what_the_other_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: Two ingestions of one dataset end at the same moment: the note has the files of both."""
    store = FolderStore(str(tmp_path))
    note_batches(store, NAME, "sold")
    write_receipt(store, NAME, receipt("a"))
    put, raced = store.put_if_absent, []

    def put_late(key: str, data: bytes) -> bool:
        if "/days/" in key and not raced:
            raced.append(key)
            write_receipt(store, NAME, receipt("b", 1))
            note_batches(store, NAME, "sold")
        return put(key, data)

    monkeypatch.setattr(store, "put_if_absent", put_late)
    note_batches(store, NAME, "sold")
    assert raced
    assert shown(store) == [("b", "appended"), ("a", "appended")]
    assert not receipt_notes.owed(store, NAME)


def test_a_receipt_that_is_changed_while_the_note_is_made_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction between the reading of a receipt and the end of the note leaves its mark, so that the next reader sees it."""
    store = FolderStore(str(tmp_path))
    note_batches(store, NAME, "sold")
    write_receipt(store, NAME, receipt("a"))
    put = store.put_if_absent

    def put_late(key: str, data: bytes) -> bool:
        if "/days/" in key:
            correct_receipt(store, NAME, receipt("a", outcome="removed"))
        return put(key, data)

    monkeypatch.setattr(store, "put_if_absent", put_late)
    note_batches(store, NAME, "sold")
    assert shown(store) == [("a", "removed")]


def test_a_damaged_receipt_is_said_until_it_is_restored(tmp_path: Path) -> None:
    """A receipt that cannot be read is a sentence for every reader, also after a note; all others are shown."""
    store = FolderStore(str(tmp_path))
    for id, hours in (("a", 0), ("b", 1)):
        write_receipt(store, NAME, receipt(id, hours))
    whole = store.read(receipt_key(NAME, "b"))
    store.write(receipt_key(NAME, "b"), b"{")
    for _ in range(2):
        note_batches(store, NAME, "sold")
        batches = Batches(store, NAME)
        assert [one.id for one in batches.newest_first()] == ["a"]
        assert [receipt_key(NAME, "b") in sentence for sentence in batches.damage] == [True]
    store.write(receipt_key(NAME, "b"), whole)
    assert shown(store) == [("b", "appended"), ("a", "appended")]


def test_ten_thousand_files_are_not_read_for_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten thousand noted files on a hundred days the newest two hundred cost the notes of three days."""
    store = FolderStore(str(tmp_path))
    note_batches(store, NAME, "sold")
    for day in range(100):
        made = [receipt(f"{day:03d}{place:03d}", 24 * day + place / 100) for place in range(100)]
        data = json.dumps([one.model_dump(mode="json", exclude_defaults=True) for one in made]).encode()
        store.write(f"views/batches/{NAME}/days/{made[0].time:%Y-%m-%d}/00000001.json", data)
    reads: list[str] = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda key: (reads.append(key), read(key))[1])
    newest = [one for _, one in zip(range(201), Batches(store, NAME).newest_first(), strict=False)]
    assert len(newest) == 201
    assert len(reads) == 3
    older = list(Batches(store, NAME).newest_first(before=(BEGIN + timedelta(days=1), "")))
    assert (len(older), older[0].id) == (100, "000099")
    assert len(reads) <= 3 + 2


def test_without_notes_the_newest_are_read_and_the_rest_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store from before there were notes is read one by one, up to a limit; how many are left out is told."""
    store = FolderStore(str(tmp_path))
    monkeypatch.setattr("perennial.data.batches.UNNOTED", 2)
    for place in range(3):
        write_receipt(store, NAME, receipt(f"{place}", place))
    batches = Batches(store, NAME)
    assert len(list(batches.newest_first())) == 2
    assert batches.left_out == 1
    assert UNNOTED > 1_000


def test_days_and_versions_of_old_receipts_come_from_the_log(tmp_path: Path) -> None:
    """DM-02: Receipts from before days were kept get them, and their first snapshot, from the table's log, in notes and without."""
    store = FolderStore(str(tmp_path))
    stats = {"minValues": {"sold": "2013-01-05T01:00:00.000Z"}, "maxValues": {"sold": "2013-01-06T02:00:00.000Z", "_batch": "x"}}
    info = {"perennial.batch": "a" * 64, "perennial.label": "a.csv (aaaa)", "perennial.rows": "3"}
    lines = [{"commitInfo": info}, {"add": {"path": "f", "stats": json.dumps(stats)}}]
    store.write(f"tables/{NAME}/_delta_log/{4:020}.json", b"\n".join(json.dumps(line).encode() for line in lines))
    store.write(f"tables/{NAME}/_delta_log/{5:020}.json", b"no json")
    write_receipt(store, NAME, receipt("a", since=None, outcome="removed", version=7))
    for _ in range(2):
        (one,) = Batches(store, NAME, "sold").newest_first()
        assert (one.since, one.oldest, one.newest) == (4, datetime(2013, 1, 5, 1), datetime(2013, 1, 6, 2))
        note_batches(store, NAME, "sold")
    correct_receipt(store, NAME, receipt("a", since=4, outcome="removed", version=7, sentence="Out."))
    note_batches(store, NAME, "sold")
    (one,) = Batches(store, NAME).newest_first()
    assert (one.sentence, one.oldest, one.newest) == ("Out.", datetime(2013, 1, 5, 1), datetime(2013, 1, 6, 2))
