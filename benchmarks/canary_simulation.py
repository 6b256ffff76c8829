"""How often and how soon canary rules are right: `python benchmarks/canary_simulation.py`.

A candidate gets a tenth of the traffic, up to 10,000 of its requests, and each rule looks after every 100 of them. Prints
tables: how many of 4,000 simulated releases are rolled back, and after how many of the candidate's requests (median).
The rules: a fixed limit of 99 % good answers, counted in windows of 500, five bad windows end it (Flagger's way); a z-test
at every look; a mixture sequential probability ratio test (Robbins 1970; Johari et al. 2017); ours.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from perennial.serving import canary
from perennial.specs import ReleaseSpec

Counts = npt.NDArray[np.int64]
LOOKS, STEP, SHARE = 100, 100, 0.1
CHAMPION_STEP = int(STEP * (1 - SHARE) / SHARE)
RELEASE = ReleaseSpec()
ERRORS = canary.signals(RELEASE)["errors"]
LATENCY = canary.signals(RELEASE)["latency"]


def draw(rng: np.random.Generator, candidate: float, champion: float, runs: int) -> tuple[Counts, Counts]:
    """Events of both arms at every look, [runs, looks]."""
    return rng.binomial(STEP, candidate, (runs, LOOKS)), rng.binomial(CHAMPION_STEP, champion, (runs, LOOKS))


def first(ends: npt.NDArray[np.bool_]) -> Counts:
    """The look (from 1) at which each run ended; 0 for never."""
    return np.where(ends.any(axis=1), ends.argmax(axis=1) + 1, 0)


def ours(signal: canary.Signal, alpha: float) -> Callable[[Counts, Counts], Counts]:
    """The e-process of one signal with its part of alpha."""

    def rule(candidate: Counts, champion: Counts) -> Counts:
        return first(
            evidence(signal, candidate, champion, np.full(LOOKS, STEP), np.full(LOOKS, CHAMPION_STEP))
            >= math.log(1 / (alpha * signal.share))
        )

    return rule


def evidence(
    signal: canary.Signal, candidate: Counts, champion: Counts, candidate_requests: Counts, champion_requests: Counts
) -> npt.NDArray[np.float64]:
    """Logarithm of the e-process at every look, [runs, looks]; requests are [looks]."""
    logs = []
    for ratio in signal.ratios:
        stakes = np.array(
            [
                canary.stakes(a, b, signal.tolerance * ratio, signal.tolerance)
                for a, b in zip(candidate_requests.tolist(), champion_requests.tolist(), strict=True)
            ]
        )
        logs.append((candidate * stakes[:, 0] + champion * stakes[:, 1]).cumsum(axis=1) / signal.burst)
    together = np.stack(logs)
    top = together.max(axis=0)
    found: npt.NDArray[np.float64] = top + np.log(np.exp(together - top).mean(axis=0))
    return found


def fixed_limit(candidate: Counts, champion: Counts) -> Counts:
    """Five windows of 500 requests with more than 1 % errors."""
    del champion
    windows = candidate.reshape(len(candidate), LOOKS // 5, 5).sum(axis=2) / (STEP * 5)
    return first((windows > 0.01).cumsum(axis=1) >= 5) * 5


def z_test(candidate: Counts, champion: Counts) -> Counts:
    """One-sided at .05, looked at every time."""
    difference, variance = _difference(candidate, champion)
    return first(difference / np.sqrt(np.maximum(variance, 1e-12)) > 1.645)


def mixture_sprt(candidate: Counts, champion: Counts) -> Counts:
    """Normal mixture of scale .01 over the difference, at .01."""
    difference, variance = _difference(candidate, champion)
    scale = 0.01**2
    ratio = np.sqrt(variance / (variance + scale)) * np.exp(
        np.minimum(scale * difference**2 / (2 * variance * (variance + scale)), canary.LARGEST)
    )
    return first((ratio > 100) & (difference > 0) & ((candidate + champion).cumsum(axis=1) >= 5))


def promoted(candidate: Counts, champion: Counts) -> Counts:
    """Look at which promotion on the error rate is allowed, as `canary.decide` has it."""
    all_candidate, all_champion = candidate.cumsum(axis=1), champion.cumsum(axis=1)
    requests = np.arange(1, LOOKS + 1) * STEP
    stakes = [canary.stakes(STEP, CHAMPION_STEP, ratio, RELEASE.max_error_ratio) for ratio in canary.BETTER]
    not_worse = np.mean([np.exp(np.minimum(all_candidate * a + all_champion * b, canary.LARGEST)) for a, b in stakes], axis=0)
    rate, rare = RELEASE.max_error_rate, np.zeros(candidate.shape)
    for weight, share in zip(canary.RARE_WEIGHTS, canary.RARE, strict=True):
        good = (requests - all_candidate) * math.log((1 - rate * share) / (1 - rate))
        rare += weight * np.where(
            all_candidate == 0, np.exp(good), 0.0 if share == 0 else np.exp(all_candidate * math.log(share or 1) + good)
        )
    few = all_candidate + all_champion < canary.TOO_FEW_ERRORS
    return first((not_worse >= 1 / RELEASE.promotion_alpha) | (few & (rare >= 1 / RELEASE.promotion_alpha)))


def _difference(candidate: Counts, champion: Counts) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    ours_all, theirs_all = candidate.cumsum(axis=1), champion.cumsum(axis=1)
    n, m = np.arange(1, LOOKS + 1) * STEP, np.arange(1, LOOKS + 1) * CHAMPION_STEP
    pooled = (ours_all + theirs_all) / (n + m)
    return ours_all / n - theirs_all / m, np.maximum(pooled * (1 - pooled), 1e-9) * (1 / n + 1 / m)


RULES: dict[str, Callable[[Counts, Counts], Counts]] = {
    "fixed 99 % limit, 5 bad windows": fixed_limit,
    "z-test at every look, .05": z_test,
    "mixture SPRT, .01": mixture_sprt,
    "e-process, .01 for errors alone": ours(canary.Signal(1.0, ERRORS.ratios), RELEASE.alpha),
    "e-process, errors' half of .01 (as released)": ours(ERRORS, RELEASE.alpha),
}
CASES = ((0.001, 0.001), (0.005, 0.005), (0.012, 0.012), (0.005, 0.001), (0.01, 0.005), (0.02, 0.005), (0.10, 0.005))


def cell(looks: Counts) -> str:
    """Share that ended, and the median of when."""
    share = float((looks > 0).mean())
    return f"{share:.1%}" + (f" after {int(np.median(looks[looks > 0])) * STEP:,}" if share > 0.02 else "")


def ramp(rng: np.random.Generator, runs: int, begin: float, end: float) -> tuple[Counts, Counts, Counts, Counts]:
    """Two arms that fail alike while weights go 5, 25, 50 % and the error rate of both drifts."""
    candidate_requests = np.repeat([50, 250, 500], [34, 33, 33])
    champion_requests = 1000 - candidate_requests
    rates = np.linspace(begin, end, LOOKS)
    return (
        rng.binomial(candidate_requests, rates, (runs, LOOKS)),
        rng.binomial(champion_requests, rates, (runs, LOOKS)),
        candidate_requests,
        champion_requests,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000, help="simulated releases in each cell")
    runs = parser.parse_args().runs
    rng = np.random.default_rng(1)

    print(f"Errors: rolled back, {runs} runs; columns are error rates champion -> candidate\n")
    print("| rule | " + " | ".join(f"{champion:.1%} -> {candidate:.1%}" for candidate, champion in CASES) + " |")
    print("| --- |" + " --- |" * len(CASES))
    drawn = [draw(rng, *case, runs) for case in CASES]
    for name, rule in RULES.items():
        print(f"| {name} | " + " | ".join(cell(rule(*both)) for both in drawn) + " |")

    print("\nErrors while weights ramp 5, 25, 50 % and both arms' rate drifts: rolled back though alike\n")
    for begin, end in ((0.005, 0.005), (0.002, 0.02), (0.02, 0.002)):
        candidate, champion, n, m = ramp(rng, runs, begin, end)
        alarm = (evidence(ERRORS, candidate, champion, n, m) >= math.log(1 / (RELEASE.alpha * ERRORS.share))).any(axis=1).mean()
        all_n, all_m = n.cumsum(), m.cumsum()
        pooled = (candidate + champion).cumsum(axis=1) / (all_n + all_m)
        z = (candidate.cumsum(axis=1) / all_n - champion.cumsum(axis=1) / all_m) / np.sqrt(
            np.maximum(pooled * (1 - pooled), 1e-9) * (1 / all_n + 1 / all_m)
        )
        print(f"* {begin:.1%} -> {end:.1%}: e-process {alarm:.1%}, pooled z-test {(z > 1.645).any(axis=1).mean():.1%}")

    print(
        f"\nLatency: share of requests slower than the edge (champion 5 %), tolerance x{LATENCY.tolerance:g}; in bursts of ten = all "
        "requests of a pause are slow together\n"
    )
    print("| candidate | " + " | ".join(("5 %", "7 %", "10 %", "15 %", "20 %", "40 %")) + " |")
    print("| --- |" + " --- |" * 6)
    rule = ours(LATENCY, RELEASE.alpha)
    shares = (0.05, 0.07, 0.10, 0.15, 0.20, 0.40)
    print("| independent | " + " | ".join(cell(rule(*draw(rng, share, 0.05, runs))) for share in shares) + " |")
    bursts = [
        (rng.binomial(STEP // 10, share, (runs, LOOKS)) * 10, rng.binomial(CHAMPION_STEP // 10, 0.05, (runs, LOOKS)) * 10)
        for share in shares
    ]
    print("| in bursts | " + " | ".join(cell(rule(*both)) for both in bursts) + " |")

    print("\nPromotion: allowed by the error rate (ratio below 2, or rate below 1 % where errors are rare)\n")
    for candidate_rate, champion_rate in (
        (0.0, 0.0),
        (0.001, 0.001),
        (0.005, 0.005),
        (0.02, 0.02),
        (0.01, 0.005),
        (0.04, 0.02),
        (0.01, 0.0),
    ):
        print(f"* {champion_rate:.1%} -> {candidate_rate:.1%}: {cell(promoted(*draw(rng, candidate_rate, champion_rate, runs)))}")


if __name__ == "__main__":
    main()
