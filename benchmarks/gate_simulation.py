"""How often the gate is right: `python benchmarks/gate_simulation.py`.

Two versions are measured on the same rows. The candidate's losses are the champion's plus a difference that varies from
row to row and, where said, from day to day: weather makes whole days easier for one of them. Prints one table: how many of
2,000 candidates pass, by how much worse they truly are, for the gate and for three simpler rules.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from perennial.registry.promotion import Losses, beats_champion, excess
from perennial.specs import GateSpec

GATE = GateSpec(floors={}, resamples=500)
CHAMPION_LOSS, ROW_SPREAD = 0.48, 0.18  # as measured between two trainings of flight_delays; its days spread by .02 to .045
TRUTHS = (0.20, 0.10, GATE.margin, 0.0, -0.05, -0.10)  # how much worse the candidate truly is, as a share
SETTINGS = (
    (7, 857, 0.0),
    (7, 857, 0.02),
    (14, 857, 0.02),
    (28, 857, 0.04),
    (2, 300, 0.0),
    (7, 100, 0.0),
)  # days, rows of each, spread between days


def draw(rng: np.random.Generator, truth: float, days: int, rows: int, day_spread: float) -> Losses:
    """Losses of two versions on days x rows rows."""
    day = np.repeat(np.arange(days), rows)
    champion = rng.exponential(CHAMPION_LOSS, days * rows)
    difference = truth * CHAMPION_LOSS + rng.normal(0, ROW_SPREAD, days * rows) + rng.normal(0, day_spread, days)[day]
    return Losses(champion + difference, champion, day)


def gate(losses: Losses) -> bool:
    """The gate."""
    return beats_champion(losses, GATE).passed


def lower_mean(losses: Losses) -> bool:
    """Passes whatever has the lower mean."""
    return bool(losses.candidate.mean() < losses.champion.mean())


def shown_better(losses: Losses) -> bool:
    """Passes what is shown to be better."""
    return excess(losses, 0.0, GATE.alpha, GATE.resamples).high < 0


def by_rows(losses: Losses) -> bool:
    """The gate's rule with rows drawn as if days did not matter."""
    return excess(Losses(losses.candidate, losses.champion, np.zeros(len(losses.days))), GATE.margin, GATE.alpha, GATE.resamples).high < 0


RULES: dict[str, Callable[[Losses], bool]] = {"gate": gate, "rows drawn": by_rows, "shown better": shown_better, "lower mean": lower_mean}


def passing(rule: Callable[[Losses], bool], truth: float, days: int, rows: int, day_spread: float, *, runs: int, seed: int = 7) -> float:
    """Share of candidates that pass."""
    rng = np.random.default_rng(seed)
    return sum(rule(draw(rng, truth, days, rows, day_spread)) for _ in range(runs)) / runs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="candidates in each cell")
    runs = parser.parse_args().runs
    print(f"margin {GATE.margin:.0%}, alpha {GATE.alpha:g}; {runs} candidates in each cell; share that passes\n")
    print("| days | rows | spread between days | rule | " + " | ".join(f"{truth:+.0%}" if truth else "equal" for truth in TRUTHS) + " |")
    print("| --- | --- | --- | --- |" + " --- |" * len(TRUTHS))
    for days, rows, spread in SETTINGS:
        for name, rule in RULES.items():
            shares = (passing(rule, truth, days, rows, spread, runs=runs) for truth in TRUTHS)
            print(
                f"| {days} | {days * rows:,} | {spread:g} | {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True
            )


if __name__ == "__main__":
    main()
