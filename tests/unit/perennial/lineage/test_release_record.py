"""What a release showed at each look is kept, bounded, and never stands in a release's way."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from perennial.errors import StoredDataDamaged
from perennial.lineage import release_record as release_record_module
from perennial.lineage.release_record import (
    KEPT,
    Latency,
    Limits,
    Look,
    Plan,
    Record,
    Tally,
    begin_record,
    keep_look,
    release_record,
)
from perennial.store import FolderStore

BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
PLAN = Plan(candidate=2, champion=1, steps=(5, 50, 100), limits=Limits(requests=100, seconds=10, longest_seconds=3600))
KEY = "releases/churn/looks/00000004.json"
BUSY = {
    "tallies": {name: Tally(candidate_requests=10**9, champion_requests=10**9, evidence=-1234.5678) for name in "abcd"},
    "latency": Latency(candidate=tuple((2.0**power, 10**9) for power in range(20)), champion=((None, 10**9),)),
    "sentence": "Nothing speaks against the candidate; it has answered 40 of the 100 requests that this step wants.",
}


def look(second: float, step: int = 5, **given: object) -> Look:
    """A look at so many seconds after noon."""
    return Look(time=BEGIN + timedelta(seconds=second), step=step, **{"share": 0.05, "action": "hold", "sentence": "It waits.", **given})


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(str(tmp_path))
    begin_record(store, "churn", 4, PLAN, BEGIN)
    return store


def seconds(store: FolderStore) -> list[float]:
    record = release_record(store, "churn", 4)
    assert record
    return [(one.time - BEGIN).total_seconds() for one in record.looks]


def test_a_record_reads_back_as_it_was_written(store: FolderStore) -> None:
    """SE-06: every figure of a look, and the plan of the newest one."""
    told = look(3, tallies={"errors": Tally(candidate_requests=5, candidate_events=1, evidence=0.5)}, rare=None, not_worse=-0.25)
    stricter = PLAN.model_copy(update={"limits": PLAN.limits.model_copy(update={"requests": 500})})
    keep_look(store, "churn", 4, stricter, told)
    record = release_record(store, "churn", 4)
    assert record
    assert record.looks[1:] == (told,)
    assert (record.looks[0].step, record.looks[0].action, record.plan) == (4, "started", stricter)


def test_what_was_kept_already_is_not_kept_twice(store: FolderStore) -> None:
    """SE-10: a look that was killed and is done again, a beginning that is repeated, and a look that was overtaken."""
    for one in (look(3), look(3), look(6), look(4)):
        keep_look(store, "churn", 4, PLAN, one)
    begin_record(store, "churn", 4, PLAN, BEGIN + timedelta(days=1))
    assert seconds(store) == [0, 3, 6]


def test_a_long_release_is_thinned_out_evenly_and_keeps_the_ends_of_its_steps(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-06: a few looks, spread over the whole time, stand for many; each step keeps its first and its last."""
    monkeypatch.setattr(release_record_module, "KEPT", 20)
    for at in range(1, 121):
        keep_look(store, "churn", 4, PLAN, look(3 * at, step=5 if at <= 30 else 6))
    kept = seconds(store)
    record = release_record(store, "churn", 4)
    assert record
    assert (len(kept), record.left_out) == (20, 121 - 20)
    assert {0.0, 3.0, 90.0, 93.0, 360.0} <= set(kept)
    assert max(after - before for before, after in pairwise(kept)) <= 4 * 360 / 20


def test_a_record_is_small(store: FolderStore) -> None:
    """SE-06: as many looks as are kept, each with all that it can hold, in a quarter of a megabyte."""
    looks = tuple(look(at, **BUSY) for at in range(KEPT))
    assert len(Record(plan=PLAN, looks=looks).model_dump_json(exclude_defaults=True)) < 256 * 1024


def test_a_release_of_many_steps_keeps_the_ends_of_all(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-07: many steps of a look or two: none of their ends is left out, even where these alone are too many."""
    monkeypatch.setattr(release_record_module, "KEPT", 20)
    for at in range(1, 30):
        keep_look(store, "churn", 4, PLAN, look(at, step=5 + at // 2))
    record = release_record(store, "churn", 4)
    assert record
    assert (len(record.looks), record.left_out) == (30, 0)


def test_a_damaged_record_is_said_and_stops_no_release(store: FolderStore) -> None:
    """OP-09: who reads it is told where it lies; the next look begins it anew. A release of before looks were recorded has none."""
    store.write(KEY, b'{"plan": 1}')
    with pytest.raises(StoredDataDamaged, match=KEY):
        release_record(store, "churn", 4)
    keep_look(store, "churn", 4, PLAN, look(9))
    assert seconds(store) == [9]
    assert release_record(store, "churn", 5) is None
