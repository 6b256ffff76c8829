"""False alarms a month of the watch over what serves, and the time to an alarm: `python benchmarks/steady_watch_simulation.py --months 12`.

A version serves around the clock, 5 requests a second on average and ten times as many by day as by night. It stays within its limits, but
not quietly: its error rate is 0.2 % and wanders from hour to hour, every three hours some requests fail together, once a week all requests
of a look fail (a server that starts again), the share of slow requests wanders around 1 %, and every ten minutes a pause slows most
requests of a look. Then the same with a fault. Limits are those of a spec that says nothing.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterator

import numpy as np

from perennial.serving.steady import MONTH_SECONDS, Seen, State, add, steady_limits
from perennial.specs import ReleaseSpec

LOOK_SECONDS = 2.0
LIMITS = steady_limits(ReleaseSpec(), LOOK_SECONDS)
FAULTS = (  # share of errors and of slow requests, requests a second
    ("every request fails", 1.0, 0.01, 5.0),
    ("half of the requests fail", 0.5, 0.01, 5.0),
    ("5 % of the requests fail", 0.05, 0.01, 5.0),
    ("2 % of the requests fail", 0.02, 0.01, 5.0),
    ("a quarter of the requests are slow", 0.002, 0.25, 5.0),
    ("every request fails, one request in 10 s", 1.0, 0.01, 0.1),
)


def looks_of_a_month(rng: np.random.Generator) -> Iterator[Seen]:
    """What the looks of a month see, of a version that is well."""
    looks = int(MONTH_SECONDS / LOOK_SECONDS)
    hour = np.arange(looks) * LOOK_SECONDS / 3600
    requests = rng.poisson(5 * (1 + 0.82 * np.sin(2 * np.pi * hour / 24)) * LOOK_SECONDS)
    errors = rng.binomial(requests, _wandering(rng, 0.002, 0.5, looks, 1800))
    together = np.where(rng.random(looks) < LOOK_SECONDS / (3 * 3600), rng.geometric(0.25, looks), 0)
    errors = np.minimum(requests, errors + together)
    errors = np.where(rng.random(looks) < LOOK_SECONDS / (7 * 86_400), requests, errors)
    slow = rng.binomial(requests, _wandering(rng, 0.01, 0.3, looks, 300))
    pause = rng.random(looks) < LOOK_SECONDS / 600
    slow = np.where(pause, np.maximum(slow, (requests * 0.8).astype(int)), slow)
    for counts in np.stack([requests, errors, slow], axis=1)[requests > 0].tolist():
        yield Seen(counts[0], counts[1], counts[0], counts[2])


def _wandering(rng: np.random.Generator, rate: float, spread: float, looks: int, each: int) -> np.ndarray:
    """A rate that is another one after so many looks."""
    return np.minimum(1.0, rate * np.exp(rng.normal(0, spread, looks // each + 1))).repeat(each)[:looks]


def alarms(seen: Iterator[Seen]) -> Counter[str]:
    """How often each signal opened an alarm."""
    state, opened = State(), Counter[str]()
    for look in seen:
        before, state = state, add(state, look, LIMITS)
        opened.update(state.alarms.keys() - before.alarms.keys())
    return opened


def seconds_to_alarm(rng: np.random.Generator, errors: float, slow: float, rate: float) -> float:
    """From the beginning of a fault to the first alarm."""
    state, looks = State(), 0
    while not state.alarms:
        looks += 1
        requests = int(rng.poisson(rate * LOOK_SECONDS))
        state = add(state, Seen(requests, int(rng.binomial(requests, errors)), requests, int(rng.binomial(requests, slow))), LIMITS)
    return looks * LOOK_SECONDS


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=12, help="months without a fault")
    parser.add_argument("--faults", type=int, default=200, help="faults of each kind")
    given = parser.parse_args()
    opened = Counter[str]()
    for month in range(given.months):
        opened += alarms(looks_of_a_month(np.random.default_rng(month)))
    print(f"false alarms in {given.months} months of one version, all signals: {opened.total()} {dict(opened)}")
    print(f"{'fault':<42}{'seconds to the alarm, median':>30}{'95 %':>8}")
    for name, errors, slow, rate in FAULTS:
        times = sorted(seconds_to_alarm(np.random.default_rng(seed), errors, slow, rate) for seed in range(given.faults))
        print(f"{name:<42}{statistics.median(times):>30.0f}{times[int(0.95 * len(times))]:>8.0f}")


if __name__ == "__main__":
    main()
