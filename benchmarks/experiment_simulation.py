"""How often an experiment names a winner where there is none, and finds one where there is: `python benchmarks/experiment_simulation.py`.

Units (such as users) come back: each has a rate of its own, and sends requests of which each meets the event at that rate. The experiment
looks after each part of its traffic and stops by what it sees. Beside it stand two habits that peek as often: a z-test over requests, which
counts a unit's requests as if they were strangers', and a z-test over units, which is right at one look only.

Traffic is of three kinds: new units all the time; a fixed set of units that come back and back; and both, while the rate of all drifts and
the version that is tried gets 10 % of the units first and 50 % later.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np

from perennial.serving.experiment import FIRST, Plan, Values, decide, estimate, share_of_unchanged

LOOKS = 60
NEW = {"new units": 120, "units that come back": 0, "both, drifting, re-weighted": 60}  # units at each look
FIXED = {"new units": 0, "units that come back": 3000, "both, drifting, re-weighted": 1000}  # units there from the beginning
PLAN = Plan(alpha=0.05, power=0.8, least=0.04)
BASE, SPREAD = 0.2, 1.2  # usual rate of an event, and how much units differ (standard deviation of its log-odds)


@dataclass
class End:
    """How one experiment ended, and what the two habits would have said at some look."""

    verdict: str
    looks: int
    units: int
    by_requests: bool
    by_units: bool


def experiment(rng: np.random.Generator, traffic: str, effect: float) -> End:
    """One experiment whose version that is tried meets the event more often by `effect`."""
    drifts = "drift" in traffic
    size = FIXED[traffic] + NEW[traffic] * LOOKS
    came = np.concatenate([np.zeros(FIXED[traffic], dtype=int), np.repeat(np.arange(LOOKS), NEW[traffic])])
    early = drifts & (came < LOOKS // 3)
    place = rng.random(size)
    tried = place < np.where(early, 0.1, 0.5)
    changes = early & (place >= 0.1) & (place < 0.5)  # it gets the other version after the change of shares: then it counts no more
    own = rng.normal(0, SPREAD, size)
    often = rng.gamma(0.7, 1.5, size) * (0.35 if FIXED[traffic] else 1.0)  # requests at each look
    sums, counts = np.zeros(size), np.zeros(size)
    by_requests = by_units = False
    seen = estimate(Values((), (), ()))
    for look in range(LOOKS):
        rate = BASE + (0.1 * math.sin(2 * math.pi * look / LOOKS) if drifts else 0.0)
        odds = math.log(rate / (1 - rate)) + own
        chance = np.clip(1 / (1 + np.exp(-odds)) + effect * tried, 0, 1)
        asked = rng.poisson(often) * (came <= look)
        met = rng.binomial(asked, chance)
        counts += asked
        sums += met
        has = (counts > 0) & ~(changes & (look >= LOOKS // 3))
        shares = np.where(early, 0.1 if look < LOOKS // 3 else share_of_unchanged([0.1, 0.5]), 0.5)
        seen = estimate(Values(sums[has] / counts[has], tried[has], shares[has]))
        if min(seen.champion_units, seen.tried_units) >= FIRST:
            by_units |= abs(seen.difference) * math.sqrt(seen.information) > 1.96
            of = [(sums[arm & has].sum() / counts[arm & has].sum(), counts[arm & has].sum()) for arm in (tried, ~tried)]
            error = math.sqrt(sum(mean * (1 - mean) / many for mean, many in of))
            by_requests |= abs(of[0][0] - of[1][0]) > 1.96 * error
        decision = decide(PLAN, seen, higher=True)
        if decision.verdict:
            return End(decision.verdict, look + 1, seen.units, by_requests, by_units)
    return End("", LOOKS, seen.units, by_requests, by_units)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="experiments of each kind")
    runs = parser.parse_args().runs
    columns = ("traffic", "true difference", "names a winner", "of them the wrong one", "no difference shown", "units, median")
    print(f"| {' | '.join((*columns, 'z by units', 'z by requests'))} |\n{'| --- ' * 8}|")
    for traffic in NEW:
        for effect in (0.0, PLAN.least, 2 * PLAN.least):
            ends = [experiment(np.random.default_rng([seed, round(1000 * effect)]), traffic, effect) for seed in range(runs)]
            won, lost = (sum(end.verdict == verdict for end in ends) for verdict in ("better", "worse"))
            wrong = won + lost if effect == 0 else lost
            none = sum(end.verdict == "no_difference" for end in ends)
            units = int(np.median([end.units for end in ends]))
            by_units, by_requests = (sum(getattr(end, name) for end in ends) for name in ("by_units", "by_requests"))
            shown = " | ".join(f"{count / runs:.1%}" for count in (won + lost, wrong, none))
            print(f"| {traffic} | {effect:g} | {shown} | {units:,} | {by_units / runs:.1%} | {by_requests / runs:.1%} |", flush=True)


if __name__ == "__main__":
    main()
