"""What callers sent last is found again as they sent it, and a candidate that fails it gets no traffic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perennial.data.tables import Table
from perennial.monitoring.prediction_table import collect_predictions
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.stages import _release_evaluator
from perennial.stages._recent_requests import recent_rows
from perennial.store import FolderStore
from perennial.testing import World

DATASET = DatasetSpec(
    name="flights",
    title="Flights",
    owner="tests",
    columns=(
        Column(name="id", type="int"),
        Column(name="when", type="timestamp"),
        Column(name="carrier", type="string", nullable=True),
        Column(name="distance", type="int", nullable=True),
        Column(name="legs", type="list", of="int", nullable=True),
    ),
    key=("id",),
    event_time="when",
)
MODEL = ModelSpec(
    name="delays", title="Delays", owner="tests", dataset="flights", task="binary", classes=("on_time", "late"), label="late",
    inputs=("when", "carrier", "distance", "legs"), gate=GateSpec(floors={}),
)  # fmt: skip


def row(distance: int | None) -> dict[str, object]:
    """A row as a caller sends it."""
    return {"when": "2013-02-01T06:30:00", "carrier": "UA", "distance": distance, "legs": [1, 2]}


def logged(store: FolderStore, segment: str, *rows: dict[str, object], **more: object) -> None:
    """A segment of the servers' log with these rows, served a second apart."""
    lines = [
        {"id": f"{segment}-{place}", "model": "delays", "version": 7, "time": f"2026-11-01T10:00:{place:02d}+00:00",
         "event_time": "2013-02-01T06:30:00", "row": one, "scores": [0.5, 0.5], "ms": 1.0, **more}
        for place, one in enumerate(rows)
    ]  # fmt: skip
    store.write(f"predictions/delays/{segment}.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines).encode())


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(str(tmp_path))


def test_the_newest_rows_come_first_from_log_and_table(store: FolderStore) -> None:
    """SE-06, DM-05: As callers sent them, whether or not monitoring has collected them: whole numbers, nulls, times and lists."""
    logged(store, "v7-a", row(1), row(None))
    collect_predictions(store, MODEL, DATASET, Table(store, "delays_predictions"))
    logged(store, "v7-b", row(3), row(4))
    assert recent_rows(store, MODEL, DATASET, 10) == [row(4), row(3), row(None), row(1)]
    assert recent_rows(store, MODEL, DATASET, 3) == [row(4), row(3), row(None)]
    assert recent_rows(store, MODEL, DATASET, 1) == [row(4)]


def test_what_nobody_asked_for_is_no_request(store: FolderStore) -> None:
    """SE-14: A shadow's answers, and lines that cannot be read."""
    logged(store, "v7-a", row(1), shadow=True)
    collect_predictions(store, MODEL, DATASET, Table(store, "delays_predictions"))
    logged(store, "v7-b", row(2), shadow=True)
    store.write("predictions/delays/v7-c.jsonl", b'{"row": 3}\ncut o\n[]\n{"id": "x"}\n')
    assert recent_rows(store, MODEL, DATASET, 10) == []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A champion whose callers have asked, and a candidate to which a hundred requests are to be replayed."""
    world = World(tmp_path, replay=100, max_error_rate=0.02).with_champion()
    monkeypatch.setattr(_release_evaluator, "recent_rows", lambda store, model, dataset, count: [{}] * min(count, 100))
    monkeypatch.setattr(_release_evaluator.discovery, "dataset", lambda name: DATASET)
    world.candidate()
    return world


@pytest.mark.parametrize(("failed", "action"), [(0, "started"), (2, "started"), (3, "rolled_back")])
def test_a_candidate_that_fails_recent_requests_gets_none_of_a_caller(world: World, failed: int, action: str) -> None:
    """SE-06, SE-10: Up to the limit on errors it goes on; beyond it ends before any traffic, and the ledger says what failed."""
    world.backend.replay_failures[2] = failed
    assert world.look().action == action
    last = world.ledger.last()
    assert last is not None
    if failed > 2:
        assert "failed 3 of 100 recent requests that were sent to it before it got traffic (2.0 % are allowed)" in last.reason
        assert "500: rehearsed" in last.reason
        assert not [route for route in world.backend.history if route.weights.get(2)]


def test_replayed_requests_are_no_evidence(world: World) -> None:
    """SE-06: They count for no arm, and a step still wants its requests of callers."""
    world.look()
    assert world.backend.observe(world.spec)[2].requests == 0
    assert world.look().action == "hold"


def test_nothing_is_replayed_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-06: Without `release.replay`, and for the first version of a model, whose callers nobody knows."""

    def never(*_: object) -> list[dict[str, object]]:
        raise AssertionError("asked for recent requests")

    monkeypatch.setattr(_release_evaluator, "recent_rows", never)
    world = World(tmp_path / "a").with_champion()
    world.candidate()
    assert world.look().action == "started"
    assert World(tmp_path / "b", replay=100).with_champion().ledger.last() is not None
