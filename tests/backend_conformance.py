"""What every serving backend does, as tests that run against each: inherit from `BackendConformance` where its `served` fixture is."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from perennial import testing
from perennial.errors import ReleaseRefused
from perennial.lineage import version_folder
from perennial.serving import traffic
from perennial.serving.backends import Backend
from perennial.serving.load import Call, Load, send
from perennial.serving.route import WHOLE, Route
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import Store

READY_SECONDS = 180
SEEN_SECONDS = 90


class Killed(BaseException):
    """Ends a process that is in the middle of something, as far as the code in it can tell."""


@dataclass
class Served:
    """One model of one backend, and how a test lays hands on it. Backends derive theirs."""

    settings: Settings
    store: Store
    model: ModelSpec
    scratch: Path
    versions: dict[int, str] = field(default_factory=dict)

    def backend(self) -> Backend:
        """As a new process has it."""
        raise NotImplementedError

    def dying_backend(self, after: int) -> Backend:
        """One whose process is killed when it is about to change something for the time after `after` changes."""
        raise NotImplementedError

    def kill_server(self, version: int) -> None:
        """End a version's server without a warning; something starts it again."""
        raise NotImplementedError

    def footprint(self) -> Any:
        """What runs and what is described: equal if nothing was touched."""
        raise NotImplementedError

    def running(self) -> set[int]:
        """Versions that have a server."""
        raise NotImplementedError

    def route(self, weights: dict[int, int], shadow: int | None = None, champion: int | None = None) -> Route:
        """A route in percent; versions that it names are published if they were not."""
        for version in (*weights, *(() if shadow is None else (shadow,))):
            if version not in self.versions:
                self.versions[version] = testing.publish_small_version(
                    self.store, self.scratch / f"v{version}", model=self.model.name, seed=version
                )
        named = {version: self.versions[version] for version in (*weights, *(() if shadow is None else (shadow,)))}
        return Route({version: weight * WHOLE // 100 for version, weight in weights.items()}, shadow, named, champion)

    def publish_wrong(self, version: int) -> None:
        """Publish a version whose golden rows do not score as they say."""
        folder = testing.small_version(self.scratch / f"wrong{version}", model=self.model.name, seed=100 + version)
        golden = json.loads((folder / "golden.json").read_text())
        golden["scores"][3][1] += 0.25
        (folder / "golden.json").write_text(json.dumps(golden))
        manifest = testing.small_manifest(self.model.name, seed=version, run_key=f"{version:024d}")
        self.versions[version] = version_folder.publish(self.store, self.model.name, folder, manifest)

    def serve(self, weights: dict[int, int], shadow: int | None = None, champion: int | None = None) -> Route:
        """Make a route the model's and wait until all its versions are ready."""
        route = self.route(weights, shadow, champion)
        backend = self.backend()
        traffic.move(backend, self.model, route)
        for version in route.versions:
            backend.wait_ready(self.model, version, READY_SECONDS)
        return route

    def send(self, count: int) -> Load:
        """So many requests."""
        return send(self.settings, self.model, calls(count))

    def seen(self, version: int, requests: int) -> Any:
        """The arm of a version once so many requests were counted."""

        def enough() -> Any:
            arm = self.backend().observe(self.model)[version]
            return arm if arm.requests >= requests and arm.latency_ms[-1][1] >= requests else None

        return testing.wait_until(enough, SEEN_SECONDS, f"{requests} requests of version {version}")


class Background:
    """Requests in the background until the block ends."""

    def __init__(self, served: Served, rate: float = 60) -> None:
        self.served, self.rate, self.stop = served, rate, threading.Event()

    def __enter__(self) -> Background:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        self.traffic = send(self.served.settings, self.served.model, calls(100_000), rate=self.rate, stop=self.stop)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()


def calls(count: int) -> Iterator[Call]:
    """So many requests, their rows repeating."""
    rows = testing.small_rows(200, seed=3)
    for number in range(count):
        yield Call([rows[number % len(rows)]])


def within(count: int, total: int, share: float) -> bool:
    """Whether a count is what a share of so many drawn requests gives, but for once in 100,000."""
    return abs(count - total * share) <= 4.5 * math.sqrt(total * share * (1 - share)) + 1


class BackendConformance:
    """The interface's promises."""

    def test_a_route_is_applied_gets_ready_and_answers(self, served: Served) -> None:
        """Before there is a route there is none; then it is read back exactly and every request is answered by its version."""
        backend = served.backend()
        assert backend.route(served.model) is None
        assert backend.observe(served.model) == {}
        route = served.serve({1: 100}, champion=1)
        assert served.backend().route(served.model) == route
        load = served.send(40)
        assert load.failures == []
        assert load.by_version == {1: 40}

    def test_weights_are_honoured_and_what_has_none_gets_nothing(self, served: Served) -> None:
        """Shares of 1,000 requests are the weights' within chance; a version without a weight is ready, healthy and never asked."""
        served.serve({1: 70, 2: 30, 3: 0}, champion=1)
        load = served.send(1000)
        print(load.sentence())
        assert load.failures == []
        assert set(load.by_version) == {1, 2}
        assert within(load.by_version[2], 1000, 0.3)
        served.seen(1, load.by_version[1])
        arms = served.backend().observe(served.model)
        assert {version: arm.requests for version, arm in arms.items()} == {**load.by_version, 3: 0}
        assert all(arm.healthy for arm in arms.values())
        assert all(arm.errors == 0 for arm in arms.values())

    def test_a_shadow_is_asked_and_its_answers_are_unseen(self, served: Served) -> None:
        """Every answer is the champion's; the shadow counts a copy of each request."""
        served.serve({1: 100}, shadow=2)
        load = served.send(200)
        assert load.failures == []
        assert load.by_version == {1: 200}
        assert served.seen(2, 195).requests <= 200

    def test_counts_never_fall_though_servers_are_killed(self, served: Served) -> None:
        """What was seen before a kill stays in the totals, what comes after is added, and other processes see the same."""
        served.serve({1: 100})
        assert served.send(60).failures == []
        assert served.seen(1, 60).requests == 60
        before = served.backend().observe(served.model)[1]
        served.kill_server(1)
        after = served.backend().observe(served.model)[1]
        assert after.requests >= before.requests
        served.backend().wait_ready(served.model, 1, READY_SECONDS)
        assert served.send(40).failures == []
        last = served.seen(1, 100)
        assert last.requests == 100
        assert last.latency_ms[-1][1] == 100

    def test_a_version_that_fails_its_golden_rows_is_refused_and_gets_nothing(self, served: Served) -> None:
        """The refusal names the row and the difference; whatever its weight no request reaches it, and the champion answers all."""
        served.serve({1: 100}, champion=1)
        served.publish_wrong(2)
        backend = served.backend()
        backend.apply(served.model, served.route({1: 50, 2: 50}, champion=1))
        with pytest.raises(ReleaseRefused, match=r"Golden row 3 scores .* differ by 0\.25"):
            backend.wait_ready(served.model, 2, READY_SECONDS)
        load = served.send(100)
        assert load.failures == []
        assert load.by_version == {1: 100}
        arms = backend.observe(served.model)
        assert not arms[2].healthy
        assert arms[2].requests == 0
        traffic.move(backend, served.model, served.route({1: 100}, champion=1))
        assert served.send(40).by_version == {1: 40}

    def test_a_release_and_a_rollback_under_load_lose_no_request(self, served: Served) -> None:
        """While traffic goes to a candidate, wholly over to it, back to the warm champion and the candidate goes, every caller is answered;
        once it is back the candidate answers nobody, and its server goes.
        """
        served.serve({1: 100}, champion=1)
        backend = served.backend()
        with Background(served) as load:
            for weights, champion in (({1: 75, 2: 25}, 1), ({1: 50, 2: 50}, 1), ({2: 100, 1: 0}, 2)):
                traffic.move(backend, served.model, served.route(weights, champion=champion))
                time.sleep(1)
            begun = time.monotonic()
            traffic.move(backend, served.model, served.route({1: 100}, champion=1))
            back = time.monotonic()
            time.sleep(1)
        print(load.traffic.sentence(), f"back in {back - begun:.1f} s")
        assert load.traffic.failures == []
        assert min(load.traffic.by_version[1], load.traffic.by_version[2]) > 20
        assert load.traffic.last_answer[2] < back
        testing.wait_until(lambda: served.running() == {1}, 90, "the end of the candidate's server")

    def test_applying_a_route_again_changes_nothing(self, served: Served) -> None:
        """The same servers run on and nothing is written anew."""
        route = served.serve({1: 90, 2: 10, 3: 0}, champion=1)
        before = served.footprint()
        for _ in range(3):
            served.backend().apply(served.model, route)
        assert served.footprint() == before

    def test_what_a_killed_call_left_is_completed_by_the_next(self, served: Served) -> None:
        """Wherever a change is cut off, repeating it makes it whole; nobody's request is lost meanwhile."""
        served.serve({1: 100}, champion=1)
        wanted = served.route({1: 40, 2: 60, 3: 0}, champion=1)
        cuts = 0
        with Background(served, rate=20) as load:
            for after in range(20):
                try:
                    traffic.move(served.dying_backend(after), served.model, wanted)
                except Killed:
                    cuts += 1
                    continue
                break
            backend = served.backend()
            traffic.move(backend, served.model, wanted)
            for version in wanted.versions:
                backend.wait_ready(served.model, version, READY_SECONDS)
        assert cuts > 0
        assert load.traffic.failures == []
        assert backend.route(served.model) == wanted
        assert served.running() == {1, 2, 3}
        found = served.send(400)
        assert found.failures == []
        assert set(found.by_version) == {1, 2}
        assert within(found.by_version[2], 400, 0.6)

    def test_reset_takes_the_model_away(self, served: Served) -> None:
        """Afterwards there is no route, no server and no answer; doing it again is no error, and the model can be served anew."""
        served.serve({1: 100})
        served.backend().reset(served.model)
        assert served.backend().route(served.model) is None
        assert served.backend().observe(served.model) == {}
        testing.wait_until(lambda: served.running() == set(), 90, "the end of the server")
        assert len(served.send(5).failures) == 5
        served.backend().reset(served.model)
        served.serve({1: 100})
        assert served.send(10).failures == []
