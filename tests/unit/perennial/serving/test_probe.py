"""A load probe: windows, what waiting for a CPU takes off, and when it stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from perennial.serving.probe import FEWEST_REQUESTS, MOST_WINDOWS, REQUESTS, WARM_UP, WINDOWS, Load, load


class Machine:
    """A clock that each request moves, and counters of waiting and work."""

    def __init__(self, took: Callable[[int], float], waited: Callable[[int], float] = lambda n: 0.0, joules: float | None = None) -> None:
        self.took, self.waits, self.joules = took, waited, joules
        self.now = self.waited = self.worked = 0.0
        self.asked: list[bytes] = []

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Take some time."""
        number = len(self.asked) - WARM_UP
        self.asked.append(body)
        self.now += self.took(number)
        self.waited += self.waits(number)
        self.worked += 0.002
        return 200, b""

    def load(self, limit_ms: float | None = None, bodies: tuple[bytes, ...] = (b"a", b"b", b"c")) -> Load:
        """Probe it."""
        return load(
            self.ask, bodies, waited=lambda: self.waited, worked=lambda: self.worked, clock=lambda: self.now,
            energy=lambda: self.joules and self.joules + self.now, limit_ms=limit_ms,
        )  # fmt: skip


def test_the_least_window_counts() -> None:
    """SE-04: Five windows of a hundred requests after a warm-up; what disturbs one of them makes no version slow."""
    machine = Machine(lambda n: 0.001 if n < 0 else 0.5 / 1000 * (1 if REQUESTS <= n < 2 * REQUESTS else 20))
    seen = machine.load()
    assert (seen.requests, len(machine.asked)) == (WINDOWS * REQUESTS, WINDOWS * REQUESTS + WARM_UP)
    assert seen.p95_ms == pytest.approx(0.5)
    assert seen.wall_p95_ms == pytest.approx(0.5)
    assert machine.asked[:4] == [b"a", b"b", b"c", b"a"]
    assert {*machine.asked} == {b"a", b"b", b"c"}
    assert (WARM_UP, WINDOWS, MOST_WINDOWS, REQUESTS, FEWEST_REQUESTS) == (20, 5, 20, 100, 20)  # as docs/limits.md says


def test_the_95th_percentile_is_of_each_window() -> None:
    """SE-04: Of a hundred times the 95th, so that four slow ones do not count and six do."""
    assert Machine(lambda n: 0.05 if n % 100 >= 96 else 0.001).load().p95_ms == pytest.approx(1)
    assert Machine(lambda n: 0.05 if n % 100 >= 95 else 0.001).load().p95_ms == pytest.approx(1)
    assert Machine(lambda n: 0.05 if n % 100 >= 94 else 0.001).load().p95_ms == pytest.approx(50)


def test_waiting_for_a_cpu_is_not_the_versions() -> None:
    """SE-04: On a busy machine the time without a CPU is taken off, never below nothing, and the whole time is told beside it."""
    seen = Machine(lambda n: 0.010, lambda n: 0.007).load()
    assert (seen.p95_ms, seen.wall_p95_ms) == (pytest.approx(3), pytest.approx(10))
    assert Machine(lambda n: 0.010, lambda n: 0.020).load().p95_ms == 0
    assert Machine(lambda n: 0.010, lambda n: 0.007).load(limit_ms=5).requests == WINDOWS * REQUESTS  # it is held to that too


@pytest.mark.parametrize(("limit", "windows"), [(None, WINDOWS), (10.0, WINDOWS), (9.0, MOST_WINDOWS)])
def test_more_windows_are_tried_while_the_limit_is_not_kept(limit: float | None, windows: int) -> None:
    """SE-04: Up to twenty; a version at its limit keeps it."""
    machine = Machine(lambda n: 10 / 1024)  # binary, so that sums are exact
    seen = machine.load(limit and limit * 1000 / 1024)
    assert seen.requests == windows * REQUESTS


def test_it_stops_at_the_first_window_that_keeps_the_limit() -> None:
    """SE-04: A machine that is busy for six windows refuses nobody."""
    busy = 6 * FEWEST_REQUESTS
    seen = Machine(lambda n: 0.001 if n >= busy else 0.1).load(limit_ms=2)
    assert (seen.p95_ms, seen.requests) == (pytest.approx(1), busy + REQUESTS)


def test_a_slow_version_is_asked_less() -> None:
    """SE-04: A window of a version that takes a second has twenty requests."""
    assert Machine(lambda n: 1.0).load().requests == WINDOWS * FEWEST_REQUESTS


def test_a_window_ends_after_a_second_of_requests() -> None:
    """SE-04: Forty requests of 1/32 s are more than a second: a window has as many as begin before it is over."""
    assert Machine(lambda n: 1 / 32).load().requests == WINDOWS * 32


def test_work_and_energy_are_of_the_requests() -> None:
    """SE-15: CPU time of one request; joules of a thousand where the machine counts them, none where it does not or began anew."""
    assert Machine(lambda n: 0.001).load().cpu_ms == pytest.approx(2)
    assert Machine(lambda n: 0.001).load().joules is None
    assert Machine(lambda n: 0.001, joules=5).load().joules == pytest.approx(1)
    readings: Iterator[float] = iter([9.0, 8.0])
    anew = load(lambda body: (200, b""), [b"a"], waited=lambda: 0.0, worked=lambda: 0.0, energy=lambda: next(readings))
    assert anew.joules is None
    assert load(lambda body: (200, b""), [b"a"], waited=lambda: 0.0, worked=lambda: 0.0, energy=lambda: 9.0).joules is None
