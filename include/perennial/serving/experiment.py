"""Decides on an experiment from what its units have shown: a winner, "no difference shown", harm, or go on. Pure functions of numbers.

What is randomised is the unit (such as a user), so a unit is one piece of evidence: the mean of its values, however many requests it sent.
Requests of one unit are alike, and counting each would make evidence of repetition.

The difference between the two versions' mean units weighs each unit by the share with which it could have got its version when it came, so
that a change of shares in the middle leaves it honest (Hájek's estimator; Lunceford, Davidian 2004, "Stratification and weighting via the
propensity score"). Around it stands a confidence sequence: an interval that contains the true difference at *all* looks together with
probability 1 - alpha, so one may look as often as one likes and stop by what is seen. It is Robbins' normal mixture at the information I
(one over the estimate's variance):

    difference ± sqrt((I + r) log((I + r) / (r alpha²))) / I

(Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences", theorem 2.2 and
equation 24 for r.) It holds for large numbers of units: nothing is decided before each version has had `FIRST` of them. Information, not a
count of units, is its clock: so it holds, too, while units come back and their means become more certain.

What power asks for is an amount of information that follows from alpha, power and the least difference worth knowing alone. Once it is
there and zero is still inside, no difference was shown; how many units that takes follows from how much they differ.

`benchmarks/experiment_simulation.py` shows false alarms under peeking, and power, with units that come back.

    >>> plan = Plan(alpha=0.05, power=0.8, least=0.1)
    >>> alike = [0.0, 1.0] * 500
    >>> decide(plan, estimate(Values((*alike, *alike), (False,) * 1000 + (True,) * 1000, (0.5,) * 2000)), higher=True).verdict
    'no_difference'
    >>> better = [0.0, 1.0, 1.0, 1.0] * 250
    >>> decide(plan, estimate(Values((*alike, *better), (False,) * 1000 + (True,) * 1000, (0.5,) * 2000)), higher=True).verdict
    'better'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from perennial.serving import canary, split
from perennial.specs import ReleaseSpec

FIRST = 100  # units of each version before anything is decided: the interval holds for large numbers
GUARDS = ("errors", "latency", "unreadable")  # the signals of every release that end an experiment

Verdict = Literal["", "better", "worse", "no_difference"]


@dataclass(frozen=True)
class Plan:
    """How sure an experiment is to be."""

    alpha: float  # chance that an interval ever misses the true difference
    power: float  # chance to show a difference of `least`
    least: float  # least difference worth knowing, in the metric's unit

    @property
    def prior(self) -> float:
        """The mixture's r: it makes the interval as narrow as can be at the planned information."""
        return self.information * _relative_prior(self.alpha)

    @property
    def information(self) -> float:
        """The information at which a difference of `least` has been shown with the wanted power."""
        return ((_width(self.alpha) + NormalDist().inv_cdf(self.power)) / self.least) ** 2

    def radius(self, information: float) -> float:
        """Half the width of the interval."""
        r = self.prior
        return math.sqrt((information + r) * math.log((information + r) / (r * self.alpha**2))) / information


@dataclass(frozen=True)
class Values:
    """What units have shown: the mean of each, whether it got the version that is tried, and the share with which it could have."""

    means: Sequence[float]
    tried: Sequence[bool]
    shares: Sequence[float]


@dataclass(frozen=True)
class Estimate:
    """The difference between the versions, and how sure it is."""

    champion_units: int
    tried_units: int
    champion_mean: float = math.nan
    tried_mean: float = math.nan
    information: float = 0.0  # one over the variance of the difference; 0 while it cannot be told

    @property
    def difference(self) -> float:
        """How much greater the mean of the version is that is tried."""
        return self.tried_mean - self.champion_mean

    @property
    def units(self) -> int:
        """Units of both."""
        return self.champion_units + self.tried_units


@dataclass(frozen=True)
class Decision:
    """What the metric says."""

    verdict: Verdict
    low: float | None  # the interval; none while it cannot be told
    high: float | None
    planned: int | None  # units that power asks for, by what they have shown so far


def share_of_unchanged(shares: Sequence[float]) -> float:
    """The share of the version that is tried among the units that have had one version under all these shares, and the other otherwise.

    Units that change their version count no more: they have seen both, and would be looked at for other times than the rest.

    >>> round(share_of_unchanged([0.1, 0.5]), 3)
    0.167
    """
    tried, champion = min(shares), 1 - max(shares)
    return tried / (tried + champion)


def estimate(values: Values) -> Estimate:
    """The weighted difference of the means of units, and its information."""
    means = np.asarray(values.means, dtype=np.float64)
    tried = np.asarray(values.tried, dtype=bool)
    shares = np.asarray(values.shares)
    ours, theirs = int(tried.sum()), int((~tried).sum())
    if not ours or not theirs:
        return Estimate(theirs, ours)
    weights = np.reciprocal(np.where(tried, shares, 1 - shares))
    of_tried, of_champion = (float((weights * means)[arm].sum() / weights[arm].sum()) for arm in (tried, ~tried))
    variances = [
        float(np.square(weights[arm] * (means[arm] - mean)).sum() / np.square(weights[arm].sum()) * count / max(count - 1, 1))
        for arm, mean, count in ((tried, of_tried, ours), (~tried, of_champion, theirs))
    ]
    # Units of one version that are all alike tell nothing yet of how much they differ: their next one may be another.
    return Estimate(theirs, ours, of_champion, of_tried, 1 / sum(variances) if min(variances) > 0 else 0.0)


def decide(plan: Plan, seen: Estimate, *, higher: bool) -> Decision:
    """What the metric says by now.

    Args:
        plan: how sure it is to be.
        seen: of all units.
        higher: whether a higher value is better.
    """
    if min(seen.champion_units, seen.tried_units) < FIRST or seen.information <= 0:
        return Decision("", None, None, None)
    radius, planned = plan.radius(seen.information), math.ceil(seen.units * plan.information / seen.information)
    low, high = seen.difference - radius, seen.difference + radius
    verdict: Verdict = ""
    if low > 0:
        verdict = "better" if higher else "worse"
    elif high < 0:
        verdict = "worse" if higher else "better"
    elif seen.information >= plan.information or max(-low, high) < plan.least:
        verdict = "no_difference"
    return Decision(verdict, low, high, planned)


@dataclass(frozen=True)
class Arrivals:
    """How many units came for the first time while shares were the same, and how many of them got the version that is tried."""

    share: float
    tried: int
    units: int


def mismatch(arrivals: Sequence[Arrivals]) -> split.Mismatch | None:
    """The first part of an experiment whose units are not shared out as wanted; None if all are.

    The k-th part is tested with 1/(k (k + 1)) of the alarm rate of `split`, so that it holds for all together however many come.
    """
    for part, came in enumerate(arrivals, start=1):
        if 0 < came.share < 1 and split.odds(came.tried, came.units, came.share) >= split.limit(part * (part + 1)):
            return split.Mismatch(share=came.share, candidate=came.tried, requests=came.units)
    return None


def mismatch_words(seen: split.Mismatch) -> str:
    """What was seen of units that are not shared out as wanted."""
    return (
        f"Units are not shared out as wanted: the version that is tried got {seen.candidate:,} of {seen.requests:,} "
        f"({100 * seen.candidate / seen.requests:.3g} %), {100 * seen.share:g} % were due to it."
    )


def together(requests: Sequence[int]) -> float:
    """How many requests of one unit stand beside a request on average, itself included, by how many each sent; 1 if each sent one."""
    total = sum(requests)
    return sum(count * count for count in requests) / total if total else 1.0


def harm(evidence: canary.Evidence, release: ReleaseSpec, burst: float) -> str:
    """The sentence on the release's own signal that shows the version that is tried to do harm; empty if none does.

    Args:
        evidence: of both versions' requests since the experiment began.
        release: the limits.
        burst: requests of one unit that may fail together (`together`). They are all on one version, whatever is wrong with them: so
            their evidence counts once. (An e-value to the power 1/burst is one still, by Jensen's inequality.)
    """
    for name, signal in canary.signals(release).items():
        tally = evidence.tallies.get(name)
        if name not in GUARDS or tally is None:
            continue
        if canary.average([log / max(burst, 1.0) for log in tally.against]) >= 1 / (release.alpha * signal.share):
            verb = {"errors": "failed", "latency": "were slow", "unreadable": "could not be read"}[name]
            return (
                f"{tally.candidate_events:,} of the {tally.candidate_requests:,} requests of the version that is tried {verb}, "
                f"{tally.champion_events:,} of the champion's {tally.champion_requests:,}."
            )
    if evidence.unhealthy_looks >= canary.UNHEALTHY_LOOKS:
        return f"The gateway has found the server of the version that is tried unhealthy at {evidence.unhealthy_looks} looks in a row."
    return ""


def _relative_prior(alpha: float) -> float:
    return 1 / (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1))


def _width(alpha: float) -> float:
    """Half the width of the interval at the information for which it is narrowest, in standard errors."""
    rho = _relative_prior(alpha)
    return math.sqrt((1 + rho) * math.log((1 + rho) / (rho * alpha**2)))
