"""What versions learned from, and when they served, is read of all of them at once and is what manifests and ledger say."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial.lineage import learned as module
from perennial.lineage.learned import Readers, learned, note_learned
from perennial.lineage.ledger import Ledger
from perennial.lineage.manifest import LabelsUsed
from perennial.lineage.registrations import note_registration, numbered
from perennial.lineage.served_windows import served_windows
from perennial.lineage.version_folder import publish
from perennial.specs import LabelSpec
from perennial.store import FolderStore
from perennial.testing import small_manifest, small_version

BEGIN = datetime(2026, 3, 1, tzinfo=timezone.utc)
BOUNDS = {"train": ["2013-01-01", "2013-01-11"], "validation": ["2013-01-11", "2013-01-13"], "test": ["2013-01-13", "2013-01-15"]}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))


@pytest.fixture
def sealed(store: FolderStore, tmp_path: Path) -> Any:
    def seal(seed: int, bounds: dict[str, list[str]] | None = BOUNDS, **facts: Any) -> str:
        folder = small_version(tmp_path / f"v{seed}")
        if bounds is not None:
            (folder / "training.json").write_text(json.dumps({"bounds": bounds, "rows": {"train": 7}}))
        return publish(store, "small_delays", folder, small_manifest(seed=seed, run_key=f"{seed:024d}", **facts))

    return seal


@pytest.mark.parametrize(
    ("days", "how"),
    [
        (("2013-01-10", "2013-01-10"), "learned"),
        (("2013-01-12", "2013-01-20"), "learned"),
        (("2013-01-13", "2013-01-13"), "measured"),
        (("2013-01-15", "2013-01-15"), None),
        (("2012-12-01", "2012-12-31"), None),
        (None, "learned"),
    ],
)
def test_a_version_learned_from_the_days_of_its_parts(sealed: Any, store: FolderStore, days: Any, how: str | None) -> None:
    """DM-07: Rows of training or validation days were learned from, those of test days only measured on; where days are not known, the
    worse is taken."""
    digest = sealed(1, snapshot=3)
    (one,) = learned(store, "small_delays", {})
    assert (one.digest, one.snapshot, one.rows) == (digest, 3, {"train": 7})
    assert list(one.days) == ["train", "validation", "test"]
    assert one.how("flights", days and (date.fromisoformat(days[0]), date.fromisoformat(days[1]))) == how


def test_the_versions_that_a_batch_reached(sealed: Any, store: FolderStore) -> None:
    """SC-05, DM-07: Those whose snapshot has it, released, registered or neither; also by their label feed, of whatever days."""
    digests = {snapshot: sealed(snapshot, snapshot=snapshot) for snapshot in (1, 2, 3, 4)}
    feed = LabelSpec(dataset="labels", key=("id",), columns=("late",), known_at="at")
    facts = {"digest": "f", "rows_digest": "r", "known_by": BEGIN, "delay_days": 1, "newest_day": None}
    fed = sealed(9, snapshot=1, labels=LabelsUsed(feed=feed, snapshot=5, **facts))
    note_registration(store, "small_delays", 1, digests[2], {})
    Ledger(store, "small_delays").append(
        "released", version=7, champion=7, weights={7: 10_000}, versions={7: digests[3]}, reason="", actor="", after_seq=None
    )
    damage: list[str] = []
    of_day = (date(2013, 1, 2), date(2013, 1, 2))
    readers = Readers(store, "flights", damage)
    assert [one.words for one in readers.of(2, 4, of_day)] == ["small_delays/1", "small_delays/7"]
    assert [one.words for one in readers.of(3, None, of_day)] == ["small_delays/7", f"candidate {digests[4][:12]} of small_delays"]
    assert readers.models == {"small_delays"}
    assert [one.digest for one in Readers(store, "labels", damage).of(5, None, (date(1999, 1, 1), date(1999, 1, 1)))] == [fed]
    assert Readers(store, "other", damage).of(1, None, None) == []
    assert damage == []


def test_noted_versions_are_read_from_the_note(sealed: Any, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once noted, no manifest is read again; a new version is read beside the note."""
    sealed(1)
    note_learned(store, "small_delays")
    digest = sealed(2, bounds=None)
    read: list[str] = []
    monkeypatch.setattr(
        module, "read_manifest", lambda _, model, digest, inner=module.read_manifest: (read.append(digest), inner(_, model, digest))[1]
    )
    assert {one.digest: bool(one.days) for one in learned(store, "small_delays", {})}[digest] is False
    assert read == [digest]


@pytest.mark.parametrize("lost", ["manifest.json", "training.json"])
def test_a_damaged_version_is_said_and_hides_no_other(sealed: Any, store: FolderStore, lost: str) -> None:
    """SC-05: Of a version whose files cannot be read a sentence tells that it is not known; the others are told."""
    broken, whole = sealed(1), sealed(2)
    store.write(f"models/small_delays/versions/{broken}/{lost}", b"{")
    damage: dict[str, str] = {}
    assert [one.digest for one in learned(store, "small_delays", damage)] == [whole]
    assert list(damage) == [broken]
    said: list[str] = []
    assert len(Readers(store, "flights", said).of(1, None, None)) == 1
    assert [f"Whether candidate {broken[:12]} of small_delays learned from it is not known." in one for one in said] == [True]


def test_numbers_are_read_from_one_note(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that the registry gave, without those it skipped; a damaged receipt that is not noted is a sentence."""
    for number in (1, 2, 4):
        note_registration(store, "m", number, f"{number}" * 64, {})
    assert numbered(store, "m", []) == {1: "1" * 64, 2: "2" * 64, 4: "4" * 64}
    store.delete("views/registered/m.json")
    store.write("models/m/numbers/00000002.json", b"{")
    damage: list[str] = []
    assert list(numbered(store, "m", damage)) == [1, 4]
    assert "numbers/00000002.json" in damage[0]


def append(ledger: Ledger, after: int | None, kind: str, version: int, weights: dict[int, int], **facts: Any) -> int:
    digests = {number: f"{number:064d}" for number in range(1, 9)}
    time = BEGIN + timedelta(hours=0 if after is None else after + 1)
    fields = {"reason": "", "actor": "", "champion": max(weights, default=None), "now": time, **facts}
    return ledger.append(kind, version=version, weights=weights, versions=digests, after_seq=after, **fields).seq


def test_windows_are_the_stretches_with_one_share(store: FolderStore) -> None:
    """SC-03: From each change of weight to the next; what goes on is one window, a rejection ends none, a shadow has no share."""
    ledger, after = Ledger(store, "m"), None
    for kind, version, weights, shadow in (
        ("started", 1, {}, None),
        ("released", 1, {1: 10_000}, None),
        ("started", 2, {1: 10_000}, 2),
        ("weights", 2, {1: 9_000, 2: 1_000}, None),
        ("rejected", 3, {1: 9_000, 2: 1_000}, None),
        ("promoted", 2, {2: 10_000}, None),
        ("retired", 2, {}, None),
    ):
        after = append(ledger, after, kind, version, weights, shadow=shadow)
    windows = served_windows(reversed(ledger.lines()))
    hours = {
        number: [((w.begin - BEGIN).seconds // 3600, w.end and (w.end - BEGIN).seconds // 3600, w.share, w.shadow) for w in each]
        for number, each in windows.items()
    }
    assert hours == {
        1: [(0, 3, 1.0, False), (3, 5, 0.9, False)],
        2: [(2, 3, 0.0, True), (3, 5, 0.1, False), (5, 6, 1.0, False)],
    }
