"""Traffic moves between real servers behind a real Envoy while requests run. Module of tests in order, each on its own platform."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from perennial import testing
from perennial.errors import ReleaseRefused
from perennial.lineage import version_folder
from perennial.serving.backends.local import LocalBackend
from perennial.serving.load import Call, send
from perennial.serving.route import FRESH, Route


class Background:
    """Requests in the background until the block ends."""

    def __init__(self, platform, rate: float = 150) -> None:
        self.platform, self.rate, self.stop = platform, rate, threading.Event()

    def __enter__(self) -> "Background":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        self.traffic = send(self.platform.settings, self.platform.model, calls(20_000), rate=self.rate, seconds=90, stop=self.stop)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()


def calls(count: int, seed: int = 3) -> Iterator[Call]:
    """So many requests, their rows repeating."""
    rows = testing.small_rows(500, seed=seed)
    for number in range(count):
        yield Call([rows[number % len(rows)]], id=f"call-{number}")


def test_nothing_is_lost_while_weights_move_a_server_is_killed_and_the_candidate_goes(platform):
    """SE-12: Five re-weights, a kill -9 of the candidate's server and a rollback under load fail no request, and the candidate's answers
    end."""
    digests = {1: platform.version(1), 2: platform.version(2)}
    platform.serve({1: 100}, {1: digests[1]})
    with Background(platform) as load:
        platform.serve({1: 100, 2: 0}, digests)
        for percent in (5, 25, 50, 25, 75):
            platform.backend.apply(platform.model, Route({1: (100 - percent) * 100, 2: percent * 100}, None, digests, champion=1))
            time.sleep(0.8)
        for pid in platform.server_pids(2):
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.5)
        platform.backend.wait_ready(platform.model, 2, 60)
        time.sleep(0.5)
        rolled_back = time.monotonic()
        platform.backend.apply(platform.model, Route({1: 10_000}, None, {1: digests[1]}))
        applied = time.monotonic()
        time.sleep(1)
    traffic = load.traffic
    print(
        traffic.sentence(),
        f"last candidate answer {traffic.last_answer[2] - rolled_back:.3f} s after the rollback began; apply took "
        f"{applied - rolled_back:.3f} s",
    )
    assert traffic.failures == []
    assert traffic.by_version[1] > 100
    assert traffic.by_version[2] > 100
    assert traffic.last_answer[2] < applied  # when apply returns, the traffic has moved
    assert set(platform.programs.programs()) == {"gateway", "serving-small_delays-v1"}


def test_a_candidate_that_fails_loses_no_request_and_its_errors_show(new_platform):
    """SC-07, SE-10: A candidate that fails 30 % of its requests costs no caller an answer; observe counts its requests and errors, and each
    request once."""
    platform = new_platform()
    good = platform.version(1)
    digests = {1: good, 2: platform.saboteur(good, share=0.3)}
    platform.serve({1: 50, 2: 50}, digests)
    traffic = send(platform.settings, platform.model, calls(800))
    arms = testing.wait_until(lambda: complete(platform.backend.observe(platform.model), 800), 60, "the histograms")
    print(traffic.sentence(), {version: (arm.requests, arm.errors) for version, arm in arms.items()})
    assert traffic.failures == []
    assert arms[1].errors == 0
    assert arms[1].requests + arms[2].requests == 800  # what the stable one is asked again says nothing of how it fares beside the other
    assert 0.2 < arms[2].errors / arms[2].requests < 0.4
    assert traffic.by_version[2] == arms[2].requests - arms[2].errors
    bounds = [bound for bound, _ in arms[2].latency_ms]
    counts = [count for _, count in arms[2].latency_ms]
    assert bounds == sorted(bounds)
    assert bounds[-1] == float("inf")
    assert counts == sorted(counts)


@pytest.mark.parametrize("stricter", [1, 2])
def test_what_one_version_cannot_read_the_other_answers(new_platform, stricter):
    """SC-07, SE-09: Whichever of the two it is: callers get scores, it counts against the version that was given the request, and what
    nobody can read is refused and counted once."""
    platform = new_platform()
    folder = testing.small_version(platform.scratch / "strict", seed=7)
    signature, golden = (json.loads((folder / f"{name}.json").read_text()) for name in ("signature", "golden"))
    next(field for field in signature["inputs"] if field["name"] == "temp")["nullable"] = False
    read = [place for place, row in enumerate(golden["rows"]) if row["temp"] is not None]
    golden |= {name: [golden[name][place] for place in read] for name in ("rows", "scores")}
    for name, document in (("signature", signature), ("golden", golden)):
        (folder / f"{name}.json").write_text(json.dumps(document))
    strict = version_folder.publish(platform.store, "small_delays", folder, testing.small_manifest(seed=7, run_key="7" * 24))
    tolerant = 3 - stricter
    platform.serve({1: 50, 2: 50}, {stricter: strict, tolerant: platform.version(1)})
    rows = [{**row, "temp": None if place % 2 else 40.0} for place, row in enumerate(testing.small_rows(400, seed=3))]
    traffic = send(platform.settings, platform.model, (Call([row]) for row in rows))
    arms = testing.wait_until(lambda: complete(platform.backend.observe(platform.model), 400), 60, "the histograms")
    assert traffic.failures == []
    assert (arms[1].requests + arms[2].requests, arms[1].errors, arms[2].errors) == (400, 0, 0)
    assert 50 < arms[stricter].unreadable < 150
    assert arms[tolerant].unreadable == 0
    assert traffic.by_version[stricter] == arms[stricter].requests - arms[stricter].unreadable
    before = arms[stricter].unreadable
    refused = send(platform.settings, platform.model, (Call([{**row, "distance": "far"}]) for row in rows[:100]))
    assert {failure[:3] for failure in refused.failures} == {"400"}
    assert len(refused.failures) == 100
    arms = testing.wait_until(lambda: complete(platform.backend.observe(platform.model), 500), 60, "the histograms")
    assert arms[1].requests + arms[2].requests == 500
    assert arms[1].unreadable + arms[2].unreadable == 100 + before
    assert arms[tolerant].unreadable > 20


def test_a_new_process_of_the_champion_takes_as_much_as_the_candidate(new_platform):
    """SE-06, SE-12: With a fresh baseline it answers as the champion's version, has counts of its own, loses no request when it comes
    and goes, and is gone with the release; what one version cannot read the other is asked, not the same one again."""
    platform = new_platform()
    platform.model = platform.model.model_copy(
        update={"release": platform.model.release.model_copy(update={"fresh_baseline": True}), "serving": platform.model.serving}
    )
    digests = {1: platform.version(1), 2: platform.version(2)}
    platform.serve({1: 100}, {1: digests[1]})
    with Background(platform, rate=60) as load:
        platform.serve({1: 100, 2: 0}, digests)
        assert "serving-small_delays-v0" not in platform.programs.programs()
        platform.backend.apply(platform.model, Route({1: 7500, 2: 2500}, None, digests, champion=1))
        time.sleep(8)
        arms = platform.backend.observe(platform.model)
        assert "serving-small_delays-v0" in platform.programs.programs()
        platform.backend.apply(platform.model, Route({1: 5000, 2: 5000}, None, digests, champion=1))
        at_half = platform.backend.observe(platform.model)[1].requests
        time.sleep(3)
        later = platform.backend.observe(platform.model)
        platform.backend.apply(platform.model, Route({1: 10_000}, None, {1: digests[1]}, champion=1))
        time.sleep(1)
    assert load.traffic.failures == []
    assert set(load.traffic.by_version) == {1, 2}
    assert min(arms[FRESH].requests, arms[2].requests) > 60
    assert 0.6 < arms[FRESH].requests / arms[2].requests < 1.6
    assert later[1].requests - at_half < 10  # at half of the traffic the new process has all of the champion's
    assert later[FRESH].requests > arms[FRESH].requests + 30
    assert set(platform.backend.observe(platform.model)) == {1}
    assert set(platform.programs.programs()) == {"gateway", "serving-small_delays-v1"}


def complete(arms, requests):
    """The arms once every request is in a histogram too."""
    return arms if sum(arm.latency_ms[-1][1] for arm in arms.values() if arm.latency_ms) >= requests else None


def test_a_shell_with_other_settings_starts_no_server_anew(new_platform):
    """SE-12, OP-08: Whoever moves traffic, the servers that run keep the settings of `perennial up`: else all would be gone at once."""
    platform = new_platform()
    digests = {1: platform.version(1), 2: platform.version(2)}
    platform.serve({1: 50, 2: 50}, digests)
    pids = [platform.server_pids(version) for version in (1, 2)]
    other = platform.settings.model_copy(update={"log_format": "json", "log_level": "DEBUG", "server": "seldon"})
    with Background(platform, rate=60) as load:
        backend = LocalBackend(other, platform.programs)
        backend.apply(platform.model, Route({1: 9000, 2: 1000}, None, digests, champion=1))
        time.sleep(1)
    assert load.traffic.failures == []
    assert [platform.server_pids(version) for version in (1, 2)] == pids


def test_counters_go_on_when_the_gateway_begins_anew(new_platform):
    """MN-04: After Envoy is killed and started again, observe shows what was before plus what came after."""
    platform = new_platform()
    platform.serve({1: 100}, {1: platform.version(1)})
    send(platform.settings, platform.model, calls(60))
    before = platform.backend.observe(platform.model)[1]
    os.kill(platform.programs.programs()["gateway"].pid, signal.SIGKILL)
    platform.start_gateway()
    platform.backend.wait_ready(platform.model, 1, 60)
    platform.backend.observe(platform.model)
    traffic = send(platform.settings, platform.model, calls(25))
    assert traffic.failures == []
    assert before.requests == 60
    assert platform.backend.observe(platform.model)[1].requests == 85


def test_a_version_whose_golden_rows_differ_never_takes_traffic(new_platform):
    """DE-11, MO-14: A version that does not score its golden rows as training did is refused with the row and the difference, and gets no
    request at any weight."""
    platform = new_platform()
    good = platform.version(1)
    folder = testing.small_version(platform.scratch / "wrong", seed=5)
    golden = json.loads((folder / "golden.json").read_text())
    golden["scores"][3][1] += 0.25
    (folder / "golden.json").write_text(json.dumps(golden))
    wrong = version_folder.publish(platform.store, "small_delays", folder, testing.small_manifest(seed=5, run_key="5" * 24))
    platform.serve({1: 100}, {1: good})
    platform.backend.apply(platform.model, Route({1: 5000, 2: 5000}, None, {1: good, 2: wrong}))
    with pytest.raises(ReleaseRefused, match=r"Golden row 3 scores .* differ by 0\.25"):
        platform.backend.wait_ready(platform.model, 2, 60)
    traffic = send(platform.settings, platform.model, calls(100))
    assert traffic.failures == []
    assert traffic.by_version == {1: 100}
    arms = platform.backend.observe(platform.model)
    assert not arms[2].healthy
    assert arms[2].requests == 0
