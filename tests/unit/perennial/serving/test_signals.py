"""Evidence of the signals that a team adds: to the letter, and how often it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perennial.serving import canary
from perennial.serving.canary import ADDED_RATIOS, Tally, average, stakes
from perennial.serving.signals import STAKES, WITHIN, judged
from perennial.specs import SignalSpec

RATE = SignalSpec(name="alarms", column="score", event="> 0.9", max_ratio=1.5)
MEAN = SignalSpec(name="sure", column="score", low=10, high=20, max_difference=1)


def logs_of(values: list[float], tolerated: float, sign: float = 1.0) -> list[float]:
    """By stake: what pairs that differ by so much, of a whole of 1, are worth."""
    highest = 1 / (1 + sign * tolerated)
    return [sum(math.log1p(stake * highest * sign * (value - tolerated)) for value in values) for stake in STAKES]


def test_a_rate_is_judged_by_the_ratio_of_both() -> None:
    """SE-09: each event counts by the odds that it fell on its arm, as errors do; beyond the ratio that is tolerated."""
    tally = judged(RATE, [([1.0, 0.0], [1.0, 0.0, 0.0]), ([1.0], [0.0])])
    first = [stakes(2, 3, 1.5 * ratio, 1.5) for ratio in ADDED_RATIOS]
    second = [stakes(1, 1, 1.5 * ratio, 1.5) for ratio in ADDED_RATIOS]
    assert tally.against == pytest.approx([sum(a) + b[0] for a, b in zip(first, second, strict=True)])
    assert tally.shown == pytest.approx([sum(stakes(2, 3, 1.5 * share, 1.5)) + stakes(1, 1, 1.5 * share, 1.5)[0] for share in WITHIN])
    assert (tally.candidate_requests, tally.candidate_events, tally.champion_requests, tally.champion_events) == (3, 2, 4, 1)
    assert (tally.candidate_mean, tally.champion_mean) == (None, None)


def test_where_a_higher_rate_is_better_fewer_events_count_against_it() -> None:
    """SE-09: the ratios are turned around."""
    higher = RATE.model_copy(update={"direction": "higher"})
    tally = judged(higher, [([1.0, 0.0], [1.0, 0.0, 0.0])])
    assert tally.against == pytest.approx([sum(stakes(2, 3, 1 / (1.5 * ratio), 1 / 1.5)) for ratio in ADDED_RATIOS])
    assert tally.shown == pytest.approx([sum(stakes(2, 3, 1 / (1.5 * share), 1 / 1.5)) for share in WITHIN])
    fewer = judged(higher, [([0.0] * 50 + [1.0] * 5, [1.0] * 50 + [0.0] * 5)] * 5)
    assert average(fewer.against) > 1000 > 1 > average(fewer.shown)
    beyond = SignalSpec(name="sure", column="score", quantile=0.1, direction="higher")  # values below it are counted: more are worse
    assert judged(beyond, [([1.0, 0.0], [1.0, 0.0, 0.0])]).against == pytest.approx([sum(stakes(2, 3, r, 1)) for r in ADDED_RATIOS])


def test_a_mean_is_bet_on_pair_by_pair() -> None:
    """SE-09: values go in order into as many groups as the smaller arm has, scaled to their range, less what is tolerated."""
    tally = judged(MEAN, [([12.0, 18.0], [10.0, 12.0, 14.0, 16.0, 20.0])])
    differences = [0.2 - 0.1, 0.8 - (0.4 + 0.6 + 1.0) / 3]
    assert tally.against == pytest.approx(logs_of(differences, 0.1))
    assert tally.shown == pytest.approx(logs_of(differences, 0.1, -1.0))
    assert (tally.candidate_mean, tally.champion_mean) == (15.0, 14.4)
    assert (tally.candidate_requests, tally.candidate_events, tally.champion_requests, tally.champion_events) == (2, 0, 5, 0)
    turned = judged(MEAN.model_copy(update={"direction": "higher"}), [([12.0, 18.0], [10.0, 12.0, 14.0, 16.0, 20.0])])
    assert turned.against == pytest.approx(logs_of([-value for value in differences], 0.1))
    other_way = judged(MEAN, [([10.0, 12.0, 14.0, 16.0, 20.0], [12.0, 18.0])])
    assert other_way.against == pytest.approx(logs_of([-value for value in differences], 0.1))


def test_a_rate_may_be_judged_by_its_difference() -> None:
    """SE-09: then each value is 0 or 1, its range is 0 to 1, and the counts are those of events."""
    spec = SignalSpec(name="alarms", column="score", event="> 0.9", max_difference=0.25)
    tally = judged(spec, [([1.0, 0.0], [0.0, 1.0, 0.0, 0.0])])
    assert tally.against == pytest.approx(logs_of([0.5, 0.0], 0.25))
    assert (tally.candidate_events, tally.champion_events, tally.candidate_mean) == (1, 1, None)
    none = judged(spec.model_copy(update={"max_difference": 0.0}), [([1.0, 0.0], [0.0, 1.0])])
    assert none.against == pytest.approx(logs_of([1.0, -1.0], 0.0))
    assert judged(MEAN.model_copy(update={"max_difference": None}), [([15.0], [10.0])]).against == pytest.approx(logs_of([0.5], 0.0))


def test_what_is_no_number_and_what_is_alone_is_no_evidence() -> None:
    """SE-09: neither good nor bad; what is alone is counted all the same, what is no number is not."""
    assert judged(MEAN, []) == Tally(against=(0.0,) * len(STAKES), shown=(0.0,) * len(STAKES))
    tally = judged(MEAN, [([math.nan, math.inf], [10.0]), ([12.0], []), ([], [11.0, -math.inf])])
    assert (tally.candidate_requests, tally.champion_requests, tally.candidate_mean, tally.champion_mean) == (1, 2, 12.0, 10.5)
    assert {*tally.against, *tally.shown} == {0.0}
    with_nan = judged(MEAN, [([12.0, math.nan, 18.0], [10.0, 12.0, 14.0, math.nan, 16.0, 20.0])])
    assert with_nan == judged(MEAN, [([12.0, 18.0], [10.0, 12.0, 14.0, 16.0, 20.0])])


def test_a_value_beyond_the_range_counts_as_its_end() -> None:
    """SE-09: so that no single one can say more than the range allows."""
    assert judged(MEAN, [([1e9, -5.0], [0.0, 99.0])]) == judged(MEAN, [([20.0, 10.0], [10.0, 20.0])])


def test_evidence_goes_on_from_what_it_was() -> None:
    """SE-09: two readings one after the other are one of both."""
    groups = [([12.0, 18.0], [10.0, 13.0]), ([11.0], [14.0, 15.0])]
    for spec, both in ((MEAN, groups), (RATE, [([1.0, 0.0], [0.0, 1.0]), ([1.0], [0.0, 0.0])])):
        at_once, later = judged(spec, both), judged(spec, both[1:], judged(spec, both[:1]))
        assert later.against == pytest.approx(at_once.against)
        assert later.shown == pytest.approx(at_once.shown)
        assert later.model_dump(exclude={"against", "shown"}) == pytest.approx(at_once.model_dump(exclude={"against", "shown"}))


@pytest.mark.parametrize("stake", range(len(STAKES)))
def test_no_outcome_loses_all(stake: int) -> None:
    """SE-09: the worst pair for a bet leaves more than a twentieth of what was staked on it; the best does not go beyond what it can."""
    worst = judged(MEAN, [([10.0], [20.0])]).against[stake], judged(MEAN, [([20.0], [10.0])]).shown[stake]
    assert worst == pytest.approx((math.log(1 - STAKES[stake]), math.log(1 - STAKES[stake])))


@pytest.mark.parametrize("spec", [MEAN, RATE, RATE.model_copy(update={"max_ratio": 1.0, "max_difference": 0.1})])
def test_arms_that_are_alike_are_rarely_parted(spec: SignalSpec) -> None:
    """SE-09: at the very border of what is tolerated at most a tenth reaches ten to one, ever."""
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(200):
        tally = Tally()
        for _ in range(20):
            if spec.kind == "mean":
                group = rng.uniform(12, 20, 5).tolist(), rng.uniform(11, 19, 45).tolist()
            else:
                rate = 0.15 if spec.by_ratio else 0.2
                group = rng.binomial(1, rate, 5).tolist(), rng.binomial(1, 0.1, 45).tolist()
            tally = judged(spec, [group], tally)
            if average(tally.against) >= 10:
                wrong += 1
                break
    assert wrong <= 20


def test_a_clearly_worse_candidate_is_found_and_a_better_one_is_shown() -> None:
    """SE-09: a thousand of its answers are enough for either."""
    rng = np.random.default_rng(4)
    worse = judged(MEAN, [(rng.uniform(13, 19, 50).tolist(), rng.uniform(10, 16, 450).tolist()) for _ in range(20)])
    assert average(worse.against) > canary.LARGEST > 1 > average(worse.shown)
    alike = judged(MEAN, [(rng.uniform(10, 16, 50).tolist(), rng.uniform(10, 16, 450).tolist()) for _ in range(20)])
    assert average(alike.shown) > 20 > 1 > average(alike.against)


def test_what_is_bet_on_stays_what_it_was() -> None:
    """OP-08: evidence that a release has kept goes on only beside bets of the same kind."""
    assert STAKES == (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
    assert WITHIN == (0.9, 0.75, 0.5, 0.25)
    assert ADDED_RATIOS == (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


def test_evidence_of_what_a_signal_was_before_is_left_out() -> None:
    """SE-09: A spec that makes another signal of one in the middle of a release begins its evidence anew; no look breaks."""
    was = judged(SignalSpec(name="one", column="score", event="> 0.5"), [([1.0, 0.0], [0.0, 0.0])])
    now = SignalSpec(name="one", source="prometheus", query="v{version}", low=0, high=1)
    assert judged(now, [([0.4], [0.6])], was) == judged(now, [([0.4], [0.6])])
