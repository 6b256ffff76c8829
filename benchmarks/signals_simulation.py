"""How often and how soon signals that a team adds are right: `python benchmarks/signals_simulation.py`.

Releases of three steps (5, 25, 50 %) with forty looks each; a look reads 200 answers. Callers are not alike: their answers come in runs of
one caller, with scores of his own, which fall on either version by the weights alone, and the level of all wanders from look to look.
First both versions are alike; a false alarm is evidence beyond the limit of a single guardrail, a quarter of the release's alpha of 1 %.
Then the candidate is worse; counted are answers of the candidate until it is rolled back, from the first step on.
"""

from __future__ import annotations

import argparse
import math
import statistics

import numpy as np
import numpy.typing as npt

from perennial.serving import canary
from perennial.serving.signals import judged
from perennial.specs import ReleaseSpec, SignalSpec

STEPS, LOOKS, ANSWERS, CALLERS = (0.05, 0.25, 0.5), 40, 200, 20
RATE = SignalSpec(name="alarms", column="score", event="> 0.9")
TOLERANT = SignalSpec(name="alarms", column="score", event="> 0.9", max_ratio=1.5)
MEAN = SignalSpec(name="sure", column="score", low=0, high=1)
BY_DIFFERENCE = SignalSpec(name="alarms", column="score", event="> 0.9", max_difference=0.02)


def answers(rng: np.random.Generator, level: float) -> npt.NDArray[np.float64]:
    """Scores of one look, callers one after the other; their mean is near `level`."""
    wandering = level * math.exp(rng.normal(0, 0.2))
    own = np.clip(rng.normal(wandering, 0.1, CALLERS), 0.02, 0.98)
    means = own.repeat(ANSWERS // CALLERS)
    return rng.beta(8 * means, 8 * (1 - means))


def release(rng: np.random.Generator, spec: SignalSpec, worse: float, level: float = 0.5, most: int = LOOKS * len(STEPS)) -> int:
    """Answers of the candidate until it is rolled back; 0 if it is not. `worse` is added to its scores."""
    known = canary.signals(ReleaseSpec(signals=(spec,)))[spec.name]
    limit, tally = 1 / (ReleaseSpec().alpha * known.share), canary.Tally()
    for look in range(most):
        scores, share = answers(rng, level), STEPS[min(look // LOOKS, len(STEPS) - 1)]
        is_candidates = rng.random(ANSWERS) < share
        scores = np.where(is_candidates, np.minimum(scores + worse, 1.0), scores)
        values = scores if spec.kind == "mean" else np.where(scores > 0.9, 1.0, 0.0)
        tally = judged(spec, [(values[is_candidates], values[~is_candidates])], tally)
        if canary.average(tally.against) >= limit:
            return tally.candidate_requests
    return 0


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="releases of equal versions, of each signal")
    parser.add_argument("--faults", type=int, default=100, help="releases of each worse candidate")
    given = parser.parse_args()
    signals = (
        ("rate, nothing tolerated", RATE),
        ("rate, 1.5 times tolerated", TOLERANT),
        ("rate by difference, 0.02 tolerated", BY_DIFFERENCE),
        ("mean, nothing tolerated", MEAN),
    )
    for name, spec in signals:
        wrong = sum(release(np.random.default_rng(seed), spec, 0.0) > 0 for seed in range(given.runs))
        print(f"equal versions, {name}: rolled back in {wrong} of {given.runs:,} ({wrong / given.runs:.2%})")
    print("\n| candidate's scores are higher by | signal | found | its answers until then, median |\n| --- | --- | --- | --- |")
    for worse in (0.02, 0.05, 0.1):
        for name, spec in signals:
            found = [release(np.random.default_rng(seed), spec, worse) for seed in range(given.faults)]
            seen = [answers for answers in found if answers]
            when = f"{statistics.median(seen):,.0f}" if seen else ""
            print(f"| {worse:g} | {name} | {len(seen) / given.faults:.0%} | {when} |")


if __name__ == "__main__":
    main()
