"""Evidence of the signals that a team adds to a release, from the values that both arms have shown. Pure functions of numbers.

A rate that is judged by its ratio is judged as errors are (`canary.stakes`). A mean, and a rate that is judged by its difference, is judged
by betting (Waudby-Smith, Ramdas 2023, "Estimating means of bounded random variables by betting"): values are scaled to 0...1, and those of
both arms are put into pairs of groups in order of time. Let z be how much worse the candidate's group is than the champion's, beyond what
is tolerated. While the candidate is not worse, z is at most 0 on average whatever came before, so that for each fixed stake s the product
of 1 + s z is an e-process as long as 1 + s z is not negative, and so is the mean over several stakes (their "diversified Kelly").
Nothing is assumed of how values are distributed, and both arms may drift. The same with -z is evidence that the candidate is within what is
tolerated.

Values that are no number are left out, and a time in which one arm has none is no evidence, of good or of bad.

    >>> spec = SignalSpec(name="sure", column="score", low=0, high=1, max_difference=0.05)
    >>> tally = judged(spec, [([0.9, 0.8, 0.9, 0.7] * 10, [0.2, 0.3, 0.4, 0.1] * 30)])
    >>> round(tally.candidate_mean, 3), round(tally.champion_mean, 3), canary.average(tally.against) > 1000
    (0.825, 0.25, True)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from perennial.serving import canary
from perennial.specs import SignalSpec

STAKES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)  # of the highest that cannot lose all
NOTHING = canary.Tally()
WITHIN = (0.9, 0.75, 0.5, 0.25)  # of what is tolerated: ratios that speak for "within it"

Group: TypeAlias = tuple[Sequence[float], Sequence[float]]  # values of the candidate and of the champion, in order of time
_Floats = npt.NDArray[np.float64]


def judged(spec: SignalSpec, groups: Sequence[Group], before: canary.Tally = NOTHING) -> canary.Tally:
    """The evidence of a signal from all values that it has had.

    Args:
        spec: of the signal. Of an event and a quantile values are 1 where it was so, else 0.
        groups: values that came together; only values of one group are compared.
        before: evidence that is added to; that of a signal which the spec has made another one since is left out.
    """
    worse, within = _stakes(spec)
    if before.against and (len(before.against), len(before.shown)) != (len(worse), len(within)):
        before = NOTHING
    against, shown = list(before.against or (0.0,) * len(worse)), list(before.shown or (0.0,) * len(within))
    counts, sums = [before.candidate_requests, before.champion_requests], [_sum_of(before, 0), _sum_of(before, 1)]
    for group in groups:
        arms = [known[np.isfinite(known)] for known in map(np.asarray, group)]
        for place, values in enumerate(arms):
            counts[place] += len(values)
            sums[place] += float(_bounded(spec, values).sum())
        if not all(map(len, arms)):
            continue
        for logs, more in ((against, _worth(spec, arms, worse, 1.0)), (shown, _worth(spec, arms, within, -1.0))):
            logs[:] = [log + added for log, added in zip(logs, more, strict=True)]
    return canary.Tally(
        candidate_requests=counts[0],
        candidate_events=0 if spec.kind == "mean" else round(sums[0]),
        champion_requests=counts[1],
        champion_events=0 if spec.kind == "mean" else round(sums[1]),
        candidate_mean=sums[0] / counts[0] if spec.kind == "mean" and counts[0] else None,
        champion_mean=sums[1] / counts[1] if spec.kind == "mean" and counts[1] else None,
        against=tuple(against),
        shown=tuple(shown),
    )


def _stakes(spec: SignalSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What is bet on: of a ratio the ratios of rates that are suspected, of a difference the shares of the highest stake."""
    if not spec.by_ratio:
        return STAKES, STAKES
    worse = tuple(spec.max_ratio * ratio for ratio in canary.ADDED_RATIOS)
    within = tuple(spec.max_ratio * share for share in WITHIN)
    if spec.less_is_better:
        return worse, within
    return tuple(1 / ratio for ratio in worse), tuple(1 / ratio for ratio in within)


def _worth(spec: SignalSpec, arms: Sequence[_Floats], stakes: Sequence[float], sign: float) -> list[float]:
    """What one group of values adds to the logarithms, by stake."""
    candidate, champion = arms
    if spec.by_ratio:
        tolerated = spec.max_ratio if spec.less_is_better else 1 / spec.max_ratio
        pairs = [canary.stakes(len(candidate), len(champion), ratio, tolerated) for ratio in stakes]
        return [float(candidate.sum()) * ours + float(champion.sum()) * theirs for ours, theirs in pairs]
    low, high = (0.0, 1.0) if spec.low is None or spec.high is None else (spec.low, spec.high)
    tolerated = (spec.max_difference or 0.0) / (high - low)
    ours, theirs = _paired((_bounded(spec, candidate) - low) / (high - low), (_bounded(spec, champion) - low) / (high - low))
    worse = ours - theirs if spec.less_is_better else theirs - ours
    z = sign * (worse - tolerated)
    return [float(np.log1p(stake / (1 + sign * tolerated) * z).sum()) for stake in stakes]


def _paired(candidate: _Floats, champion: _Floats) -> tuple[_Floats, _Floats]:
    """Means of as many groups of either arm as the smaller one has values, each of values that came one after the other."""
    pairs = min(len(candidate), len(champion))

    def means(values: _Floats) -> _Floats:
        starts = np.arange(pairs) * len(values) // pairs
        found: _Floats = np.add.reduceat(values, starts) / np.diff(np.append(starts, len(values)))
        return found

    return means(candidate), means(champion)


def _bounded(spec: SignalSpec, values: _Floats) -> _Floats:
    if spec.low is None or spec.high is None:
        return values
    return np.clip(values, spec.low, spec.high)


def _sum_of(tally: canary.Tally, place: int) -> float:
    mean, count, events = (
        (tally.candidate_mean, tally.candidate_requests, tally.candidate_events),
        (tally.champion_mean, tally.champion_requests, tally.champion_events),
    )[place]
    return events if mean is None else mean * count
