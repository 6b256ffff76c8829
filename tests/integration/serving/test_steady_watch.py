"""What serves is watched between real servers behind a real Envoy: a champion that fails or hangs at full traffic is left by itself."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import pytest

from perennial import testing
from perennial.incidents.incidents import Incidents
from perennial.serving.load import Call, send
from perennial.specs import ReleaseSpec
from perennial.stages import _service, _steady_watch
from perennial.stages._steady_watch import SteadyWatch
from perennial.testing import World


@pytest.fixture
def world(new_platform, monkeypatch) -> World:
    """With two versions that were released, and a platform of its own."""
    platform = new_platform(watch_seconds="0.5")
    serving = platform.model.serving.model_copy(update={"slow_ms": 100})
    spec = platform.model.model_copy(update={"release": ReleaseSpec(steps=(100,), bake_seconds=0), "serving": serving})
    world = World(platform.scratch, spec=spec, settings=platform.settings, store=platform.store, backend=platform.backend)
    world.platform = platform
    world.with_champion(platform.version(1))
    monkeypatch.setattr(_steady_watch.discovery, "models", lambda: {spec.name: spec})
    monkeypatch.setattr(_service, "PATIENCE_SECONDS", 1.0)
    return world


@pytest.fixture
def watched(world) -> Iterator[SteadyWatch]:
    """A watch that looks every half second until the test ends."""
    watch, stop = SteadyWatch(world.settings, world.store, world.spec.name, world.backend, world.registry), threading.Event()

    def look() -> None:
        while not stop.wait(world.settings.watch_seconds):
            watch.look(datetime.now(timezone.utc))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield watch
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def promoted(world: World, digest: str) -> None:
    """Release a version in one step."""
    world.registry.add(world.spec.name, digest)
    assert world.release().look().action == "promoted"


def champion(world: World) -> int:
    """Who serves by the ledger."""
    last = world.ledger.last()
    assert last is not None
    return last.champion


def open_ones(world: World) -> dict[tuple[str, str], str]:
    """Severities of the open incidents."""
    return {(one.kind, one.key): one.severity for one in Incidents(world.store, world.spec.name).open_ones()}


def calls() -> Iterator[Call]:
    """Requests without end."""
    rows, number = testing.small_rows(200, seed=3), 0
    while True:
        yield Call([rows[number % len(rows)]])
        number += 1


@contextmanager
def traffic_to(world: World, rate: float, until: str) -> Iterator[None]:
    """Requests in the background until the block ends, and how long that took."""
    began, stop = time.monotonic(), threading.Event()
    load = threading.Thread(target=lambda: send(world.settings, world.spec, calls(), rate=rate, stop=stop), daemon=True)
    load.start()
    try:
        yield
        print(f"{until} after {time.monotonic() - began:.1f} s")
    finally:
        stop.set()
        load.join(30)


def test_a_champion_that_fails_at_full_traffic_is_gone_in_some_looks(world, watched):
    """SE-10: Every request fails, nobody is there: the last good version serves, callers get answers again, and a person finds why."""
    promoted(world, world.platform.saboteur(world.platform.version(1), share=1.0))
    with traffic_to(world, rate=40, until="gone"):
        testing.wait_until(lambda: ("release", "version 2") in open_ones(world), 90, "the incident that it was rolled back")
    traffic = send(world.settings, world.spec, [Call([row]) for row in testing.small_rows(40)])
    assert traffic.failures == []
    assert traffic.by_version == {1: 40}
    assert "requests failed" in world.ledger.last().reason
    assert open_ones(world)[("release", "version 2")] == "critical"


def test_a_champion_that_slows_down_is_told_and_stays(world, watched):
    """MN-04, SE-10: Every request takes longer than `slow_ms` allows: people are told while it lasts, and nobody is rolled back for it."""
    promoted(world, world.platform.saboteur(world.platform.version(1), share=0.0, seconds=0.15))
    with traffic_to(world, rate=20, until="told"):
        testing.wait_until(lambda: ("service", "latency of version 2") in open_ones(world), 90, "the incident")
    assert open_ones(world) == {("service", "latency of version 2"): "warning"}
    assert champion(world) == 2
    (told,) = [one.sentence for one in Incidents(world.store, world.spec.name).open_ones()]
    assert "(above 100 ms)" in told


def test_a_champion_that_hangs_is_left_though_nobody_asks_it(world, watched):
    """SE-10, MN-04: Its processes are stopped, no request comes: it is asked, does not answer, and the last good version serves."""
    promoted(world, world.platform.version(2))
    pids = world.platform.server_pids(2)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        testing.wait_until(lambda: champion(world) == 1, 120, "the last good version to serve")
    finally:
        for pid in pids:
            if os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGCONT)
    assert "does not answer" in world.ledger.last().reason


def test_a_gateway_that_is_stopped_is_told_and_moves_nothing(world, watched):
    """MN-04, MN-09: An incident of its own opens while the gateway is stopped, and ends once it answers; nobody is rolled back for it."""
    promoted(world, world.platform.version(2))
    pid = world.platform.programs.programs()["gateway"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        testing.wait_until(lambda: ("service", "gateway") in open_ones(world), 120, "the incident")
    finally:
        os.kill(pid, signal.SIGCONT)
    testing.wait_until(lambda: not open_ones(world), 120, "its end")
    assert champion(world) == 2
