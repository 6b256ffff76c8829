"""A load probe: how fast a version answers, and what it uses, on a machine that may be busy with other things.

Requests of one row go one after the other in several windows. Off the time of each is taken what the kernel says that threads waited for
a CPU; the least 95th percentile of all windows counts. What disturbs a window makes it slower and never faster, so the least is nearest to
the truth, and while it is above the limit more windows are tried.

>>> seconds = iter([0.0, 0.004] * 10_000)
>>> load(lambda body: (200, b""), [b"{}"], waited=lambda: 0.0, worked=lambda: 0.0, clock=lambda: next(seconds)).p95_ms
4.0
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Ask = Callable[[bytes], tuple[int, bytes]]  # a request's body -> status and body of the answer

WARM_UP = 20  # requests before the first window
WINDOWS = 5
MOST_WINDOWS = 20  # while the limit is not kept
REQUESTS = 100  # of a window
FEWEST_REQUESTS = 20  # of a window of a slow version
WINDOW_SECONDS = 1.0  # after which a window has no more than the fewest requests


@dataclass(frozen=True)
class Load:
    """What a load probe saw."""

    requests: int
    p95_ms: float  # least of the windows, of the time on a free CPU
    wall_p95_ms: float  # of the same window, with the time that it waited for a CPU
    cpu_ms: float  # CPU time of one request, on average over all windows
    joules: float | None  # of 1,000 requests, as the machine's counters say; None where they cannot be read


def load(
    ask: Ask,
    bodies: Sequence[bytes],
    *,
    waited: Callable[[], float],
    worked: Callable[[], float],
    energy: Callable[[], float | None] = lambda: None,
    limit_ms: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Load:
    """Send windows of requests.

    Args:
        ask: answers a request.
        bodies: requests, sent in turn, again and again.
        waited: seconds for which the threads of asker and server have waited for a CPU.
        worked: seconds for which they have worked.
        energy: joules that the machine has used.
        limit_ms: more windows are tried while the least 95th percentile is above this.
        clock: seconds.
    """
    turn = itertools.cycle(bodies)
    for _ in range(WARM_UP):
        ask(next(turn))
    windows: list[tuple[float, float]] = []
    requests, seconds, joules_before = 0, 0.0, energy()
    while len(windows) < WINDOWS or (limit_ms is not None and min(windows)[0] > limit_ms and len(windows) < MOST_WINDOWS):
        free, wall, busy = _window(ask, turn, waited, worked, clock)
        requests, seconds = requests + len(free), seconds + busy
        windows.append((_p95(free), _p95(wall)))
    joules_after = energy()
    joules = None
    if joules_before is not None and joules_after is not None and joules_after > joules_before:
        joules = (joules_after - joules_before) / requests * 1000
    return Load(requests, *min(windows), seconds / requests * 1e3, joules)


def _window(
    ask: Ask,
    turn: itertools.cycle[bytes],
    waited: Callable[[], float],
    worked: Callable[[], float],
    clock: Callable[[], float],
) -> tuple[list[float], list[float], float]:
    """Milliseconds of each request, without and with the time that it waited for a CPU; and seconds of CPU time of all."""
    free, wall, busy = list[float](), list[float](), 0.0
    while len(wall) < REQUESTS and (len(wall) < FEWEST_REQUESTS or sum(wall) < WINDOW_SECONDS * 1e3):
        body, waited_before, worked_before, began = next(turn), waited(), worked(), clock()
        ask(body)
        took = (clock() - began) * 1e3
        busy += worked() - worked_before
        wall.append(took)
        free.append(max(0.0, took - (waited() - waited_before) * 1e3))
    return free, wall, busy


def _p95(milliseconds: Sequence[float]) -> float:
    ordered = sorted(milliseconds)
    return ordered[int(0.95 * (len(ordered) - 1))]
