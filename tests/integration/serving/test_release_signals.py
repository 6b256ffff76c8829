"""Releases between real servers behind a real Envoy that are judged by signals of a team's own, which are read from the servers' log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perennial import discovery, testing
from perennial.lineage.release_record import release_record
from perennial.lineage.version_folder import publish
from perennial.results import ReleaseResult
from perennial.serving.load import Call, send
from perennial.specs import ReleaseSpec, SignalSpec
from perennial.testing import World
from perennial.testing.versions import small_manifest, small_version

DATASET = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="small_flights", title="F", owner="tests", key=("flight",), event_time="scheduled_departure", columns=(
    Column(name="flight", type="int"), Column(name="scheduled_departure", type="timestamp"), Column(name="carrier", type="string"),
    Column(name="origin", type="string"), Column(name="distance", type="int"), Column(name="temp", type="float", nullable=True),
    Column(name="late", type="int")))
"""
SURE = SignalSpec(name="sure", column="score", low=0, high=1, max_difference=0.05)
SHOWN = SignalSpec(name="shown", column="score", low=0, high=1, max_difference=0.1, role="success")
RELEASE = ReleaseSpec(steps=(50, 100), min_seconds=3, min_requests=40, observe_seconds=1, signals=(SURE, SHOWN))


def released(world: World, digest: str) -> ReleaseResult:
    """The end of a version's release under load; no caller is failed."""
    stop, rows, traffic = threading.Event(), testing.small_rows(500, seed=3), list[Any]()

    def calls() -> Iterator[Call]:
        for number in range(200_000):
            yield Call([rows[number % len(rows)]])

    sending = threading.Thread(target=lambda: traffic.append(send(world.settings, world.spec, calls(), rate=120, stop=stop)), daemon=True)
    sending.start()
    try:
        world.registry.add(world.spec.name, digest)
        result = world.until_end()
    finally:
        stop.set()
        sending.join()
    assert traffic[0].failures == []
    return result


def test_what_a_candidate_says_decides(platform: Any, tmp_path: Path) -> None:
    """SE-09, SE-10: one that fails nothing, is as fast and says something else is rolled back by the log of real servers; one that says
    the same is shown to, and promoted. Traffic is split as wanted all the time.
    """
    (tmp_path / "include" / "perennial_datasets").mkdir(parents=True)
    (tmp_path / "include" / "perennial_datasets" / "small_flights.py").write_text(DATASET)
    spec = platform.model.model_copy(update={"release": RELEASE, "dataset": "small_flights"})
    with discovery.also_in(tmp_path):
        world = World(platform.scratch, spec=spec, settings=platform.settings, store=platform.store, backend=platform.backend)
        world.with_champion(platform.version(1))
        other = released(world, platform.version(4))  # with a mean score of .78 instead of .53
        same = small_version(tmp_path / "same", seed=1)
        alike = released(world, publish(platform.store, spec.name, same, small_manifest(spec.name, run_key="9" * 24)))
    assert other.action == "rolled_back", other.sentence
    assert "The signal sure (mean of score) shows mean 0.7" in other.sentence
    assert alike.action == "promoted", alike.sentence
    assert alike.evidence["shown"]["within"] >= 20
    assert alike.evidence["sure"]["candidate_requests"] >= 40
    began = next(entry.seq for entry in world.ledger.newest_first() if entry.kind == "started")
    record = release_record(world.store, spec.name, began)
    assert record
    split = record.looks[-1].split
    assert split
    assert not split.mismatched
