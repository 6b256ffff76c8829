"""The releases of a model are what the ledger's entries say, with and without the note that saves reading them all."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial.lineage import releases as releases_module
from perennial.lineage.ledger import Entry, Ledger
from perennial.lineage.releases import note_releases, releases
from perennial.store import FolderStore

BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
NOTE = "views/releases/churn.json"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def write(store: FolderStore, kind: Any, version: int, champion: int | None, actor: str = "perennial", reason: str = "") -> Entry:
    """The next entry, a minute after the one before."""
    ledger = Ledger(store, "churn")
    last = ledger.last()
    seq = -1 if last is None else last.seq
    return ledger.append(
        kind, version=version, champion=champion, weights={champion: 10_000} if champion else {}, actor=actor, reason=reason or f"{kind}.",
        versions={number: f"{number:064d}" for number in range(1, 10)}, after_seq=None if last is None else seq,
        now=BEGIN + timedelta(minutes=seq + 1),
    )  # fmt: skip


def told(store: FolderStore) -> list[tuple[int, int, int | None, str | None, bool]]:
    """Of each release its beginning, version, end, how it ended, and whether that was undone later."""
    return [(one.began, one.version, one.ended, one.end, one.undone_at is not None) for one in releases(store, "churn").newest_first]


STORY: list[tuple[str, int, int | None]] = [
    ("started", 1, None), ("released", 1, 1),
    ("started", 2, 1), ("weights", 2, 1), ("paused", 2, 1), ("rolled_back", 2, 1),
    ("rejected", 3, 1),
    ("started", 2, 1), ("promoted", 2, 2),
    ("started", 4, 2), ("promoted", 4, 4), ("rolled_back", 4, 2), ("rolled_back", 2, 1),
    ("started", 5, 1), ("retired", 1, None),
    ("started", 5, None),
]  # fmt: skip
TOLD = [
    (15, 5, None, None, False),
    (13, 5, 14, "retired", False),
    (9, 4, 10, "promoted", True),
    (7, 2, 8, "promoted", True),
    (2, 2, 5, "rolled back", False),
    (0, 1, 1, "promoted", False),
]


@pytest.mark.parametrize("noted", [(), (0,), tuple(range(len(STORY)))], ids=["no note", "an old note", "a note kept at each entry"])
def test_a_ledger_tells_its_releases(store: FolderStore, noted: tuple[int, ...]) -> None:
    """SC-03: began, ended, how, and what was rolled back later; a note changes no answer, whenever it was kept."""
    for place, (kind, version, champion) in enumerate(STORY):
        write(store, kind, version, champion)
        if place in noted:
            note_releases(store, "churn")
    assert told(store) == TOLD
    assert [one.began_at for one in releases(store, "churn").newest_first][-1] == BEGIN


def test_a_version_that_keeps_its_traffic_after_all_was_not_undone(store: FolderStore) -> None:
    """SE-11: going back failed, as the version before could not take the traffic: the ledger says that it keeps it."""
    for kind, version, champion in (("started", 2, 1), ("promoted", 2, 2), ("rolled_back", 2, 1), ("promoted", 2, 2)):
        write(store, kind, version, champion)
    assert told(store) == [(0, 2, 1, "promoted", False)]


@pytest.mark.parametrize("note", [b"", b"[]", b'{"read_to": 1, "hash": "else"}', b'{"read_to": 99, "hash": "x", "newest_first": []}'])
def test_a_note_of_something_else_is_not_believed(store: FolderStore, note: bytes) -> None:
    """SC-09: garbled, of another ledger, or from after a ledger was restored: the entries are read again."""
    for kind, version, champion in STORY:
        write(store, kind, version, champion)
    store.write(NOTE, note)
    assert told(store) == TOLD


def test_without_a_note_a_long_ledger_is_read_in_part(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """SC-03: the newest are told, and that there are older ones; whoever writes the next entry notes them all, but for a cap."""
    for kind, version, champion in STORY:
        write(store, kind, version, champion)
    monkeypatch.setattr(releases_module, "READ", 4)
    known = releases(store, "churn")
    assert ([one.began for one in known.newest_first], known.more) == ([15, 13], True)
    monkeypatch.setattr(releases_module, "NOTED", 3)
    note_releases(store, "churn")
    known = releases(store, "churn")
    assert ([one.began for one in known.newest_first], known.more) == ([15, 13, 9], True)


def test_a_damaged_entry_is_said_and_not_noted(store: FolderStore) -> None:
    """SC-03: what is newer than it is told; a note that lacks what it hides would outlive its repair."""
    for kind, version, champion in STORY:
        write(store, kind, version, champion)
    whole = store.read("ledger/churn/00000008.json")
    store.write("ledger/churn/00000008.json", b"{}")
    known = releases(store, "churn")
    assert [one.began for one in known.newest_first] == [15, 13, 9]
    assert known.more
    assert "ledger/churn/00000008.json" in known.damage[0]
    note_releases(store, "churn")
    assert not store.exists(NOTE)
    store.write("ledger/churn/00000008.json", whole)
    assert told(store) == TOLD


def test_a_model_without_a_ledger_has_no_releases(store: FolderStore) -> None:
    """SC-03: nothing is told and nothing is wrong."""
    known = releases(store, "churn")
    assert (known.newest_first, known.more, known.damage) == ((), False, ())
