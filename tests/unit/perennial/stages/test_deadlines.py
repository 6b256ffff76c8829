"""Deadlines of batches and versions as incidents: opened when they pass in vain, ended by what comes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from perennial import discovery
from perennial.data.receipts import Receipt, write_receipt
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import publish
from perennial.specs import BudgetSpec, DatasetSpec, ModelSpec
from perennial.stages._deadlines import note_deadlines
from perennial.store import FolderStore
from perennial.testing import small_manifest, small_model, small_version

NEW_YORK = "America/New_York"


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A moment of January 2026."""
    return datetime(2026, 1, day, hour, minute, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))


def known(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> DatasetSpec:
    """The dataset of the small model, with these changes."""
    dataset = DatasetSpec.model_validate(discovery.dataset("flights").model_dump() | changes)
    monkeypatch.setattr(discovery, "dataset", lambda name: dataset)
    return dataset


def lands(store: FolderStore, when: datetime, outcome: str = "appended") -> None:
    """A file of that moment, taken or refused."""
    receipt = Receipt(id=f"file{when:%d%H%M}", name="f.csv", size=1, outcome=outcome, sentence="It was.", time=when)
    assert write_receipt(store, "flights", receipt)


def serves(store: FolderStore, tmp_path, number: int, sealed: datetime) -> None:
    """A version that was sealed then and has all traffic."""
    folder = tmp_path / f"version{number}"
    small_version(folder)
    manifest = small_manifest("small_delays", run_key=f"{number:024d}", seed=number).model_copy(update={"created": sealed})
    digest = publish(store, "small_delays", folder, manifest)
    ledger = Ledger(store, "small_delays")
    last = ledger.last()
    told = {"version": number, "champion": number, "weights": {number: 10000}, "versions": {number: digest}, "reason": "r", "actor": "a"}
    ledger.append("released", **told, after_seq=last.seq if last else None)


def told(store: FolderStore) -> list[tuple[str, str, bool, str]]:
    """Kind, key, whether it is open, and what was said last of each incident."""
    return [(i.kind, i.key, i.is_open, i.sentence if i.is_open else i.resolution) for i in Incidents(store, "small_delays").all()]


def test_no_batch_today_is_an_incident_until_one_comes(store, monkeypatch):
    """MN-17: By five in New York; a refused file is no batch; one that comes late ends it, by itself, and it opens anew another day."""
    known(monkeypatch, expected="05:00", time_zone=NEW_YORK)
    spec = small_model()
    assert note_deadlines(store, spec, at(15, 12)) == ()  # it never had one
    lands(store, at(14, 9))
    assert note_deadlines(store, spec, at(15, 9, 59)) == ()
    lands(store, at(15, 9), outcome="refused")
    opened = note_deadlines(store, spec, at(15, 10))
    assert len(opened) == 1
    assert told(store) == [
        (
            "deadline", "batch of flights", True,
            "No batch of flights has come by 05:00 (America/New_York) on 2026-01-15: the newest was taken in at 2026-01-14 09:00 UTC. "
            "Look whether its source delivers, and whether files wait in landing/flights or were refused.",
        )
    ]  # fmt: skip
    assert note_deadlines(store, spec, at(15, 11)) == ()  # once
    lands(store, at(15, 11, 30))
    assert note_deadlines(store, spec, at(15, 12)) == opened
    assert told(store)[0][2:] == (False, "A batch was taken in at 2026-01-15 11:30 UTC.")
    assert len(note_deadlines(store, spec, at(16, 10))) == 1


def test_fresh_by_wants_a_version_of_the_same_day(store, tmp_path, monkeypatch):
    """MN-17, DE-20: The version that serves for good must have been trained since midnight, by the dataset's clock."""
    known(monkeypatch, time_zone=NEW_YORK)
    spec = small_model().model_copy(update={"budget": BudgetSpec(fresh_by="06:00")})
    assert note_deadlines(store, spec, at(15, 12)) == ()  # nothing serves yet
    serves(store, tmp_path, 1, at(15, 4, 59))  # before midnight in New York
    opened = note_deadlines(store, spec, at(15, 11))
    assert told(store) == [
        (
            "deadline", "version of today", True,
            "No version of this day serves small_delays by 06:00 (America/New_York) on 2026-01-15: version 1, which was trained at "
            "2026-01-15 04:59 UTC, still does. Look at small_delays_training and small_delays_release.",
        )
    ]  # fmt: skip
    serves(store, tmp_path, 2, at(15, 11, 20))
    assert note_deadlines(store, spec, at(15, 12)) == opened
    assert told(store)[0][2:] == (False, "Version 2 serves, which was trained at 2026-01-15 11:20 UTC.")


def test_a_deadline_that_is_asked_for_no_more_ends(store, monkeypatch):
    """MN-17: Whoever takes it out of the spec is not reminded of it for ever; incidents of other kinds are left alone."""
    known(monkeypatch, expected="05:00")
    lands(store, at(14, 9))
    Incidents(store, "small_delays").open("service", "gateway", "critical", "It is silent.")
    note_deadlines(store, small_model(), at(15, 10))
    known(monkeypatch, expected=None)
    note_deadlines(store, small_model(), at(15, 11))
    assert told(store) == [
        ("service", "gateway", True, "It is silent."),
        ("deadline", "batch of flights", False, "It is asked for no more."),
    ]


def test_a_retired_model_is_not_late(store, tmp_path, monkeypatch):
    """MN-17: Nothing serves any more."""
    known(monkeypatch)
    spec = small_model().model_copy(update={"budget": BudgetSpec(fresh_by="06:00")})
    serves(store, tmp_path, 1, at(10, 9))
    ledger = Ledger(store, "small_delays")
    last = ledger.last()
    ledger.append(
        "retired", version=1, champion=None, weights={}, versions=last.versions, reason="r", actor="a", after_seq=last.seq, now=at(11, 9)
    )
    assert note_deadlines(store, spec, at(15, 12) + timedelta(days=1)) == ()


def test_a_batch_may_be_due_on_some_days_alone(store, monkeypatch):
    """MN-17: On Friday it is still Thursday's that is missed."""
    known(monkeypatch, expected={"by": "05:00", "days": ["thu"]})
    lands(store, at(14, 9))
    spec: ModelSpec = small_model()
    assert len(note_deadlines(store, spec, at(16, 12))) == 1
    assert "on 2026-01-15" in told(store)[0][3]
