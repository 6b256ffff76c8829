"""How often and how soon a split that is not as wanted is seen: `python benchmarks/split_simulation.py`.

Releases of three steps (5, 25, 50 %) with forty looks each; a look sees 200 requests on average, ten times as many at noon as at night.
First all is split as wanted, request by request; then the requests of a caller stay together on one version, three at a time, which is no
longer a split of requests: the check is to doubt it. Then requests reach the candidate in another share than wanted. Counted are the
requests of both versions on the step until it is seen.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from perennial.serving.split import Split, add

STEPS, LOOKS, REQUESTS = (0.05, 0.25, 0.5), 40, 200
FAULTS = (
    ("the candidate gets nothing", 0.05, 0.0),
    ("1 % instead of 5 %", 0.05, 0.01),
    ("4 % instead of 5 %", 0.05, 0.04),
    ("10 % instead of 5 %", 0.05, 0.10),
    ("old weights: 5 % instead of 25 %", 0.25, 0.05),
    ("22 % instead of 25 %", 0.25, 0.22),
    ("48 % instead of 50 %", 0.50, 0.48),
    ("45 % instead of 50 %", 0.50, 0.45),
)


def released(rng: np.random.Generator, together: int = 1) -> Split:
    """A whole release whose traffic is split as wanted; so many requests of one caller go to one arm together."""
    split = Split()
    for step, share in enumerate(STEPS):
        for look in range(LOOKS):
            callers = int(rng.poisson(REQUESTS * (1 + 0.82 * np.sin(2 * np.pi * look / LOOKS)) / together))
            ours = int(rng.binomial(callers, share)) * together
            split = add(split, step=step, share=share, candidate=ours, champion=callers * together - ours, steps=len(STEPS))
    return split


def until_seen(rng: np.random.Generator, due: float, got: float) -> int:
    """Requests of a step until its split is seen not to be as wanted."""
    split = add(Split(), step=0, share=due, candidate=0, champion=0, steps=len(STEPS))
    while split.mismatch is None:
        requests = int(rng.poisson(REQUESTS))
        ours = int(rng.binomial(requests, got))
        split = add(split, step=0, share=due, candidate=ours, champion=requests - ours, steps=len(STEPS))
    return split.mismatch.requests


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000, help="releases that are as wanted")
    parser.add_argument("--faults", type=int, default=200, help="faults of each kind")
    given = parser.parse_args()
    for together in (1, 3):
        wrong = sum(released(np.random.default_rng(seed), together).mismatch is not None for seed in range(given.runs))
        how = "each request by itself" if together == 1 else f"{together} requests of a caller together"
        print(f"split as wanted, {how}: doubted in {wrong} of {given.runs:,} releases ({wrong / given.runs:.2%})")
    print("\n| requests until it is seen | median | 95 % |\n| --- | --- | --- |")
    for name, due, got in FAULTS:
        seen = sorted(until_seen(np.random.default_rng(seed), due, got) for seed in range(given.faults))
        print(f"| {name} | {statistics.median(seen):,.0f} | {seen[int(0.95 * len(seen))]:,} |")


if __name__ == "__main__":
    main()
