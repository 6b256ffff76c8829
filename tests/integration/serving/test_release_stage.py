"""Whole releases between real servers behind a real Envoy, under load, look by look."""

import threading
import time
from collections.abc import Iterator

import pytest

from perennial import testing
from perennial.lineage.release_record import release_record
from perennial.lineage.releases import releases
from perennial.serving.load import Call, send
from perennial.specs import ReleaseSpec
from perennial.stages._routes import route_of
from perennial.stages.rollback import go_back
from perennial.testing import World
from perennial.views._estimates import quantile

RELEASE = ReleaseSpec(min_seconds=3, observe_seconds=1)


@pytest.fixture(scope="module")
def world(platform) -> World:
    """With a first version that serves."""
    spec = platform.model.model_copy(update={"release": RELEASE})
    world = World(platform.scratch, spec=spec, settings=platform.settings, store=platform.store, backend=platform.backend)
    return world.with_champion(platform.version(1))


class Load:
    """Requests until the block ends."""

    def __init__(self, world: World, rate: float) -> None:
        self.world, self.rate, self.stop = world, rate, threading.Event()

    def __enter__(self) -> "Load":
        def calls() -> Iterator[Call]:
            rows = testing.small_rows(500, seed=3)
            for number in range(200_000):
                yield Call([rows[number % len(rows)]])

        def run() -> None:
            self.traffic = send(self.world.settings, self.world.spec, calls(), rate=self.rate, stop=self.stop)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()


def test_a_release_a_sabotaged_candidate_and_a_rollback_lose_no_request(world, platform):
    """SE-10, SE-12: Every caller is answered.

    An equal version is promoted, one that fails part of its traffic is rolled back by evidence, and the button goes back.
    """
    name = world.spec.name
    with Load(world, 120) as load:
        time.sleep(3)
        begin = time.monotonic()
        second = world.registry.add(name, platform.version(2))
        promoted = world.until_end()
        print(f"{time.monotonic() - begin:.1f} s: {promoted.sentence}")

        begin = time.monotonic()
        third = world.registry.add(name, platform.saboteur(second.digest, share=0.3))
        sabotaged = world.until_end()
        print(f"{time.monotonic() - begin:.1f} s: {sabotaged.sentence}")
        last = world.ledger.last()

        fourth = world.registry.add(name, platform.version(4))
        assert world.release().look().action == "started"
        ended = go_back(world.release(), "looks wrong", "jo")
        time.sleep(1)
    print(load.traffic.sentence())
    assert (promoted.action, promoted.version) == ("promoted", second.number), promoted.sentence
    assert (sabotaged.action, sabotaged.version, sabotaged.champion) == ("rolled_back", third.number, second.number)
    assert "requests failed" in sabotaged.sentence
    assert last.evidence["errors"]["evidence"] > last.evidence["errors"]["limit"]
    assert (ended.version, ended.champion) == (fourth.number, second.number)
    assert load.traffic.failures == []
    assert world.ledger.verify() == []
    assert world.backend.route(world.spec) == route_of(world.ledger.last())
    recorded = {one.version: release_record(world.store, name, one.began) for one in releases(world.store, name).newest_first}
    ends = {version: record.looks[-1].action for version, record in recorded.items()}
    assert (ends[second.number], ends[third.number], ends[fourth.number]) == ("promote", "roll_back", "started")
    assert recorded[third.number].looks[-1].tallies["errors"].evidence >= recorded[third.number].plan.limits.worse["errors"]
    for timed in (recorded[second.number].looks[-1].latency.candidate, recorded[second.number].looks[-1].latency.champion):
        assert quantile(timed, 0.5).value > 0


def test_going_back_takes_no_start(world, monkeypatch):
    """SE-11: The version before the champion still runs: its traffic is back when the call returns."""
    last = world.ledger.last()
    monkeypatch.setattr("perennial.stages.rollback.REPEAT_SECONDS", 0)
    begin = time.monotonic()
    result = go_back(world.release(), "asked for", "jo")
    took = time.monotonic() - begin
    print(f"rolled back in {took:.2f} s")
    traffic = send(world.settings, world.spec, [Call([row]) for row in testing.small_rows(40)])
    assert result.champion == last.last_good
    assert traffic.by_version == {last.last_good: 40}
    assert traffic.failures == []
