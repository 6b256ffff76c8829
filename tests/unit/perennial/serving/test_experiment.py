"""An experiment's decisions: intervals that may be looked at, units as evidence, shares that move, harm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perennial.serving import canary, split
from perennial.serving.experiment import (
    Arrivals,
    Estimate,
    Plan,
    Values,
    decide,
    estimate,
    harm,
    mismatch,
    mismatch_words,
    share_of_unchanged,
    together,
)
from perennial.specs import ReleaseSpec

PLAN = Plan(alpha=0.05, power=0.8, least=0.1)


def test_the_interval_is_robbins_mixture() -> None:
    """SE-09: by the formula, and as narrow as can be where the plan ends."""
    assert PLAN.prior == pytest.approx(PLAN.information / (-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)))
    r = PLAN.prior
    for information in (10.0, 500.0, 4000.0):
        wanted = math.sqrt((information + r) * math.log((information + r) / (r * 0.0025))) / information
        assert PLAN.radius(information) == pytest.approx(wanted)
    assert PLAN.radius(PLAN.information) + 0.8416212 / math.sqrt(PLAN.information) == pytest.approx(0.1)
    assert Plan(0.05, 0.8, 0.1).information == pytest.approx(1503, abs=1)
    assert Plan(0.05, 0.8, 0.05).information == pytest.approx(4 * PLAN.information)
    assert Plan(0.05, 0.9, 0.1).information > PLAN.information
    assert Plan(0.01, 0.8, 0.1).information > PLAN.information


def test_the_estimate_is_the_difference_of_means_of_units() -> None:
    """SE-09: with one share it is the plain one, and its information that of Welch's test."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1, 2, 300), rng.normal(0.5, 1, 700)
    values = Values([*ours, *theirs], [True] * 300 + [False] * 700, [0.3] * 1000)
    seen = estimate(values)
    assert (seen.tried_units, seen.champion_units, seen.units) == (300, 700, 1000)
    assert seen.tried_mean == pytest.approx(ours.mean())
    assert seen.champion_mean == pytest.approx(theirs.mean())
    assert seen.difference == pytest.approx(ours.mean() - theirs.mean())
    assert 1 / seen.information == pytest.approx(ours.var(ddof=1) / 300 + theirs.var(ddof=1) / 700)


def test_units_weigh_by_the_share_with_which_they_came() -> None:
    """SE-09: of two parts with other shares and other usual values the plain difference is wrong, the weighted one right."""
    early = Values([1.0] * 100 + [1.0] * 900, [True] * 100 + [False] * 900, [0.1] * 1000)
    late = Values([0.0] * 500 + [0.0] * 500, [True] * 500 + [False] * 500, [0.5] * 1000)
    both = Values([*early.means, *late.means], [*early.tried, *late.tried], [*early.shares, *late.shares])
    seen = estimate(both)
    assert seen.difference == pytest.approx(0)
    assert (seen.tried_mean, seen.champion_mean) == (pytest.approx(0.5), pytest.approx(0.5))
    weights = np.array([10.0] * 100 + [2.0] * 500)
    residuals = np.array([0.5] * 100 + [-0.5] * 500)
    ours = np.square(weights * residuals).sum() / weights.sum() ** 2 * 600 / 599
    weights = np.array([1 / 0.9] * 900 + [2.0] * 500)
    residuals = np.array([0.5] * 900 + [-0.5] * 500)
    theirs = np.square(weights * residuals).sum() / weights.sum() ** 2 * 1400 / 1399
    assert 1 / seen.information == pytest.approx(ours + theirs)


def test_without_both_versions_there_is_no_estimate() -> None:
    """SE-09: nor where the units of one are all alike: the next one may be another."""
    for tried in (True, False):
        seen = estimate(Values([1.0, 2.0], [tried] * 2, [0.5] * 2))
        assert (seen.tried_units, seen.champion_units) == ((2, 0) if tried else (0, 2))
        assert math.isnan(seen.difference)
        assert seen.information == 0
    assert estimate(Values((), (), ())).units == 0
    alike = Values([0.0] * 200 + [0.0, 1.0] * 100, [True] * 200 + [False] * 200, [0.5] * 400)
    assert estimate(alike).information == 0
    one = estimate(Values([0.0, 1.0, 0.0], [True, False, False], [0.5] * 3))
    assert one.information == 0


def seen(difference: float, information: float = 800.0, units: int = 400, tried: int = 400) -> Estimate:
    return Estimate(units, tried, 0.5, 0.5 + difference, information)


def test_zero_outside_of_the_interval_is_a_winner() -> None:
    """SE-09: for whom, by which value is better."""
    radius = PLAN.radius(800)
    for higher, up, down in ((True, "better", "worse"), (False, "worse", "better")):
        assert decide(PLAN, seen(radius * 1.01), higher=higher).verdict == up
        assert decide(PLAN, seen(-radius * 1.01), higher=higher).verdict == down
        assert decide(PLAN, seen(radius * 0.99), higher=higher).verdict == ""
        assert decide(PLAN, seen(-radius * 0.99), higher=higher).verdict == ""
    decision = decide(PLAN, seen(0.02), higher=True)
    assert decision.low == pytest.approx(0.02 - radius)
    assert decision.high == pytest.approx(0.02 + radius)
    assert decision.planned == math.ceil(800 * PLAN.information / 800)


def test_no_difference_is_shown_within_the_least_one_or_at_the_plans_end() -> None:
    """SE-09: the interval alone may show it before; a winner is a winner at the end, too."""
    width = PLAN.radius(1400)
    assert width < 0.1
    room = 0.1 - width
    assert decide(PLAN, seen(0.98 * room, 1400), higher=True).verdict == "no_difference"
    assert decide(PLAN, seen(-0.98 * room, 1400), higher=True).verdict == "no_difference"
    assert decide(PLAN, seen(1.02 * room, 1400), higher=True).verdict == ""
    assert decide(PLAN, seen(-1.02 * room, 1400), higher=True).verdict == ""
    assert decide(PLAN, seen(1.02 * room + 0.005, PLAN.information), higher=True).verdict == "no_difference"
    assert decide(PLAN, seen(0.09, PLAN.information), higher=True).verdict == "better"
    assert decide(PLAN, seen(0.0, PLAN.information - 1), higher=True).verdict == "no_difference"


class Fixed(Plan):
    """A plan whose interval is as wide as one wants."""

    def radius(self, information: float) -> float:
        """A quarter."""
        return 0.25


def test_an_interval_that_just_touches_shows_nothing() -> None:
    """SE-09: zero at its edge is inside of it, and so is the least difference."""
    plan = Fixed(alpha=0.05, power=0.8, least=0.25)
    assert decide(plan, Estimate(200, 200, 0.0, 0.25, 1.0), higher=True).verdict == ""
    assert decide(plan, Estimate(200, 200, 0.25, 0.0, 1.0), higher=True).verdict == ""
    assert decide(plan, Estimate(200, 200, 0.5, 0.5, 1.0), higher=True).verdict == ""
    wider = Fixed(alpha=0.05, power=0.8, least=0.26)
    assert decide(wider, Estimate(200, 200, 0.5, 0.5, 1.0), higher=True).verdict == "no_difference"
    assert decide(wider, Estimate(200, 200, 0.5, 0.5, 0.5), higher=True).low == -0.25, "little is known, and it is told"


def test_each_part_has_its_part_of_the_alarm_rate() -> None:
    """SE-09: the k-th one over k (k + 1) of it."""
    for part, limit in ((1, 2), (2, 6), (3, 12)):
        before = [Arrivals(0.5, 0, 0)] * (part - 1)
        counts = {units: split.odds(units, 2_000, 0.5) for units in range(1_000, 1_200)}
        below = max(units for units, odds in counts.items() if odds < split.limit(limit))
        assert mismatch([*before, Arrivals(0.5, below, 2_000)]) is None
        assert mismatch([*before, Arrivals(0.5, below + 1, 2_000)]) is not None


def test_nothing_is_decided_by_few_units() -> None:
    """SE-09: a hundred of each at least, and some that differ."""
    for champion, tried, information in ((99, 500, 800.0), (500, 99, 800.0), (500, 500, 0.0)):
        decision = decide(PLAN, seen(1.0, information, champion, tried), higher=True)
        assert (decision.verdict, decision.low, decision.high, decision.planned) == ("", None, None, None)
    assert decide(PLAN, seen(1.0, 800, 100, 100), higher=True).verdict == "better"


def test_units_that_changed_their_version_are_left_out_of_shares() -> None:
    """SE-09: among those that stayed the version that is tried has its least share beside the champion's least."""
    assert share_of_unchanged([0.5]) == 0.5
    assert share_of_unchanged([0.1, 0.5]) == pytest.approx(0.1 / 0.6)
    assert share_of_unchanged([0.5, 0.1]) == pytest.approx(0.1 / 0.6)
    assert share_of_unchanged([0.2, 0.6, 0.4]) == pytest.approx(0.2 / 0.6)


def test_units_that_are_not_shared_out_as_wanted_are_seen() -> None:
    """SE-09: in any part; each later part is held to a stricter limit, so that all together keep the alarm rate."""
    assert mismatch([]) is None
    assert mismatch([Arrivals(0.5, 500, 1000), Arrivals(0.2, 210, 1000)]) is None
    found = mismatch([Arrivals(0.5, 500, 1000), Arrivals(0.2, 300, 1000)])
    assert found is not None
    assert (found.share, found.candidate, found.requests) == (0.2, 300, 1000)
    assert mismatch_words(found) == (
        "Units are not shared out as wanted: the version that is tried got 300 of 1,000 (30 %), 20 % were due to it."
    )
    skewed = Arrivals(0.5, 558, 1000)
    assert mismatch([skewed]) is None
    skewed = Arrivals(0.5, 570, 1000)
    assert mismatch([skewed]) is not None
    assert mismatch([Arrivals(0.5, 0, 0)] * 9 + [skewed]) is None
    assert mismatch([Arrivals(0.0, 5, 1000), Arrivals(1.0, 5, 1000)]) is None


def test_requests_of_a_unit_stand_together() -> None:
    """SE-09: as many as stand beside a request on average, itself included."""
    assert together([]) == 1
    assert together([1, 1, 1]) == 1
    assert together([2, 2]) == 2
    assert together([1, 3]) == 2.5


def evidence(signal: str, candidate: int, champion: int, looks: int = 1, requests: int = 1000) -> canary.Evidence:
    counts = {"errors": canary.Counts(requests, 0, requests, 0)}
    counts[signal] = canary.Counts(requests, candidate, requests, champion)
    found = canary.Evidence()
    for _ in range(looks):
        found = canary.add(found, counts, 0.5, RELEASE)
    return found


RELEASE = ReleaseSpec()


def test_harm_is_told_by_the_releases_own_signals() -> None:
    """SE-09, SE-10: each with its share of alpha, in words."""
    assert harm(canary.Evidence(), RELEASE, 1) == ""
    assert harm(evidence("errors", 10, 9), RELEASE, 1) == ""
    assert (
        harm(evidence("errors", 60, 5), RELEASE, 1)
        == "60 of the 1,000 requests of the version that is tried failed, 5 of the champion's 1,000."
    )
    assert "could not be read" in harm(evidence("unreadable", 60, 5), RELEASE, 1)
    assert "were slow" in harm(evidence("latency", 900, 50, looks=3), RELEASE, 1)
    assert harm(evidence("outcomes", 900, 50), RELEASE, 1) == "", "what came of it is the metric's to say"


def test_harm_is_found_at_its_limit() -> None:
    """SE-10: one over alpha's share; not before."""
    limit = 1 / (RELEASE.alpha * canary.signals(RELEASE)["errors"].share)
    for below, said in ((0.999, False), (1.001, True)):
        tally = canary.Tally(candidate_requests=9, champion_requests=9, against=(math.log(limit * below),) * 6)
        assert bool(harm(canary.Evidence(tallies={"errors": tally}), RELEASE, 1)) is said
        twice = tally.model_copy(update={"against": tuple(2 * log for log in tally.against)})
        assert bool(harm(canary.Evidence(tallies={"errors": twice}), RELEASE, 2)) is said, "requests that stand together count once"
    assert harm(canary.Evidence(tallies={"errors": tally}), RELEASE, 0.5), "never as more than they are"


def test_a_server_that_stays_unhealthy_does_harm() -> None:
    """SE-10: after as many looks as end a release."""
    assert harm(canary.Evidence(unhealthy_looks=3), RELEASE, 1) == ""
    assert "unhealthy at 4 looks" in harm(canary.Evidence(unhealthy_looks=4), RELEASE, 1)


def test_arms_that_are_alike_rarely_have_a_winner() -> None:
    """SE-09: peeking at each of 40 looks at units that come back names one in 5 of 100 experiments at most; benchmarks/ has more."""
    plan, wrong, found, runs = Plan(0.05, 0.8, 0.15), 0, 0, 150
    for effect in (0.0, 0.15):
        for seed in range(runs):
            rng = np.random.default_rng([seed, round(100 * effect)])
            size = 900
            tried, own = rng.random(size) < 0.5, rng.beta(1, 3, size)
            chance = np.clip(own + effect * tried, 0, 1)
            came = rng.integers(0, 20, size)
            sums, counts = np.zeros(size), np.zeros(size)
            for look in range(40):
                asked = rng.poisson(0.6, size) * (came <= look)
                counts += asked
                sums += rng.binomial(asked, chance)
                has = counts > 0
                verdict = decide(plan, estimate(Values(sums[has] / counts[has], tried[has], np.full(has.sum(), 0.5))), higher=True).verdict
                if verdict:
                    break
            wrong += effect == 0 and verdict in ("better", "worse")
            found += effect > 0 and verdict == "better"
    assert wrong <= 11  # 5 % of 150 are 7.5; so many or fewer come with a chance of 93 % at exactly 5 %
    assert found >= 0.8 * runs
