"""The steady watch alarms when it should, at the look at which it should, and says what it saw."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from perennial.counted import wilson
from perennial.serving import steady
from perennial.serving.canary import average
from perennial.serving.route import Arm
from perennial.serving.steady import (
    ALARMS_A_MONTH,
    MONTH_SECONDS,
    OVER,
    STAKES,
    Limits,
    Seen,
    State,
    add,
    add_value,
    bake_limits,
    fits,
    limited,
    seen_between,
    steady_limits,
    suspected,
)
from perennial.specs import ReleaseSpec, SignalSpec

RELEASE = ReleaseSpec()
LIMITS = steady_limits(RELEASE, look_seconds=2)
ONE = Limits({"errors": 0.01}, odds=100.0)


def looks(*seen: Seen, limits: Limits = LIMITS, state: State | None = None) -> State:
    """The evidence after these looks."""
    state = state or State()
    for one in seen:
        state = add(state, one, limits)
    return state


def looks_to(signal: str, seen: Seen, limits: Limits = LIMITS) -> int:
    """The number of equal looks until the alarm."""
    state = State()
    for look in range(1, 10_000):
        state = add(state, seen, limits)
        if signal in state.alarms:
            return look
    raise AssertionError("no alarm")


def test_the_limits_are_those_of_the_spec_and_of_half_a_false_alarm_a_month() -> None:
    """MN-04: Three signals share one false alarm in two months, however often it looks."""
    assert LIMITS.rates == {"errors": 0.01, "severe errors": 0.25, "latency": 0.05}
    assert LIMITS.odds == pytest.approx(30.4375 * 86_400 / 2 * 3 / 0.5)
    assert LIMITS.begins_anew
    assert steady_limits(RELEASE, look_seconds=20).odds == pytest.approx(LIMITS.odds / 10)


@pytest.mark.parametrize(
    ("errors", "requests", "usual"),
    [(0, 0, 1.0), (0, 2000, wilson(0, 2000)[1]), (40, 2000, wilson(40, 2000)[1])],
)
def test_in_its_bake_time_the_limit_is_the_last_good_version_s_record(errors: int, requests: int, usual: float) -> None:
    """SE-10: Twice the upper bound of its rate of errors; at least a fifth of what is no alarm, at most nine tenths."""
    limits = bake_limits(RELEASE, Arm(requests=requests, errors=errors))
    assert limits.rates == {"errors": pytest.approx(min(0.9, max(0.002, 2 * usual)))}
    assert (limits.odds, limits.begins_anew) == (pytest.approx(100.0), False)


def test_who_never_failed_is_no_record_of_perfection() -> None:
    """SE-10: A million answers without an error: the limit stays at a fifth of the spec's."""
    assert bake_limits(RELEASE, Arm(requests=1_000_000)).rates == {"errors": pytest.approx(0.002)}


@pytest.mark.parametrize(("limit", "rates"), [(0.01, [0.02, 0.05, 0.2, 0.8]), (0.25, [0.5, 0.875, 1 - 0.75 / 21, 1 - 0.75 / 81])])
def test_suspected_rates_lie_above_the_limit_and_below_one(limit: float, rates: list[float]) -> None:
    """MN-04: Multiples of the limit where they are rates, else what is as many times nearer to one."""
    assert list(suspected(limit)) == pytest.approx(rates)


@pytest.mark.parametrize(
    ("signal", "seen", "expected"),
    [
        ("severe errors", Seen(20, 20), 4),
        ("errors", Seen(20, 20), 4),
        ("severe errors", Seen(1, 1), 13),
        ("errors", Seen(20, 2), 21),
        ("latency", Seen(20, 0, 20, 20), 4),
        ("latency", Seen(20, 0, 20, 5), 39),
    ],
)
def test_the_look_of_the_alarm(signal: str, seen: Seen, expected: int) -> None:
    """MN-04: How many equal looks it takes: four at least, whatever is seen; fewer requests take more looks."""
    assert looks_to(signal, seen) == expected


def test_one_look_counts_for_so_much_at_most() -> None:
    """MN-04: A burst of a million failures in one look weighs 64 to 1."""
    assert max(looks(Seen(1_000_000, 1_000_000)).logs["errors"]) == pytest.approx(math.log(64))


def test_one_look_says_what_the_likelihood_says() -> None:
    """MN-04: Of each suspected rate, with the power of a burst of three."""
    state = looks(Seen(100, 2))
    expected = [(2 * math.log(rate / 0.01) + 98 * math.log((1 - rate) / 0.99)) / 3 for rate in (0.02, 0.05, 0.2, 0.8)]
    assert state.logs["errors"] == pytest.approx([max(0.0, log) for log in expected])


def test_of_latency_only_those_count_whose_time_is_known() -> None:
    """MN-04: And errors are no slow requests."""
    state = looks(Seen(requests=100, errors=100, timed=0, slow=0))
    assert "latency" not in state.logs
    assert looks(Seen(0, 0, 50, 50)).since == {"latency": (50, 50)}


def test_without_requests_the_evidence_stays() -> None:
    """MN-04: No traffic is no evidence."""
    before = looks(Seen(20, 5, 20, 5))
    assert add(before, Seen(), LIMITS) == before


def test_evidence_that_is_gone_begins_anew_and_so_do_its_counts() -> None:
    """MN-04: A good stretch takes nothing from what follows it, and the alarm tells of the bad one alone."""
    bad = Seen(20, 20)
    good = looks(*[Seen(1000, 0)] * 5)
    assert good.logs["errors"] == (0.0,) * 4
    assert good.since["errors"] == (1000, 0)
    assert looks(*[bad] * 4, state=good).alarms["errors"] == (80, 80)


def test_one_test_from_the_beginning_counts_all() -> None:
    """SE-10: In the bake time good looks count for the version, and the alarm tells of all that was seen."""
    limits = bake_limits(RELEASE, Arm(requests=2000))
    state = looks(*[Seen(100, 0)] * 10, limits=limits)
    assert max(state.logs["errors"]) < 0
    assert state.since["errors"] == (1000, 0)
    later = looks(*[Seen(100, 100)] * 4, limits=limits, state=state)
    assert later.alarms == {"errors": (1200, 200)}
    assert looks(*[Seen(100, 100)] * 4, limits=limits).alarms == {"errors": (200, 200)}


def test_an_alarm_lasts_until_evidence_ends_it() -> None:
    """MN-09: It tells what it told, whatever follows, and ends at odds of twenty that the rate is below its limit again."""
    alarmed = looks(Seen(20, 20), Seen(20, 20), limits=ONE)
    assert alarmed.alarms == {"errors": (40, 40)}
    assert alarmed.well == {"errors": (0.0,) * len(alarmed.well["errors"])}
    more = add(alarmed, Seen(20, 20), ONE)
    assert more.alarms == alarmed.alarms
    assert max(more.well["errors"]) == 0.0
    state, healthy = more, 0
    while "errors" in state.alarms:
        state, healthy = add(state, Seen(100, 0), ONE), healthy + 1
    assert healthy == 10
    assert state == State()
    assert looks(Seen(20, 20), Seen(20, 20), limits=ONE, state=state).alarms == {"errors": (40, 40)}


def test_odds_are_reached_and_not_passed() -> None:
    """MN-04: The mean over the suspected rates, against the odds."""
    mean = sum(math.exp(log) for log in looks(Seen(100, 10)).logs["errors"]) / 4
    at, above = (Limits({"errors": 0.01}, odds=mean * factor) for factor in (1 - 1e-9, 1 + 1e-9))
    assert looks(Seen(100, 10), limits=at).alarms == {"errors": (100, 10)}
    assert looks(Seen(100, 10), limits=above).alarms == {}


def test_an_alarm_ends_at_odds_of_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-09: At them, not beyond: the mean over rates below the limit, the rarest weighing least."""
    assert steady.OVER == 20
    alarmed = looks(Seen(20, 20), Seen(20, 20), limits=ONE)
    odds = steady.average(add(alarmed, Seen(100, 0), ONE).well["errors"], steady.RARE_WEIGHTS)
    assert odds > 1
    for factor, is_over in ((1, True), (1 + 1e-9, False)):
        monkeypatch.setattr(steady, "OVER", odds * factor)
        assert (add(alarmed, Seen(100, 0), ONE).alarms == {}) is is_over


def test_evidence_is_a_value_of_known_fields() -> None:
    """DE-22: What is not shown is zero; nothing else is read from what was kept, and no look changes the evidence before it."""
    assert (Seen(), Seen(3)) == (Seen(0, 0, 0, 0), Seen(3, 0, 0, 0))
    with pytest.raises(ValidationError, match="frozen"):
        State().logs = {}
    with pytest.raises(ValidationError, match="Extra"):
        State.model_validate({"logs": {}, "other": 1})


def test_evidence_fits_if_it_is_of_the_same_rates() -> None:
    """DE-22: What an earlier release of the platform kept may be of other rates."""
    alarmed = looks(*[Seen(20, 20)] * 4)
    assert steady.fits(State())
    assert steady.fits(alarmed)
    assert not steady.fits(alarmed.model_copy(update={"logs": {"errors": (0.0,) * 3}}))
    assert not steady.fits(alarmed.model_copy(update={"well": {"errors": (0.0,) * 3}}))


def arm(requests: int, errors: int, *buckets: tuple[float, int]) -> Arm:
    """Counts of a version."""
    return Arm(requests=requests, errors=errors, latency_ms=buckets)


def test_what_is_seen_lies_between_two_counts() -> None:
    """MN-04: The next bound of a bucket above `slow_ms` parts slow from fast."""
    before = arm(100, 1, (10, 50), (25, 80), (math.inf, 100))
    now = arm(160, 4, (10, 80), (25, 130), (math.inf, 158))
    assert seen_between(before, now, 10) == Seen(60, 3, 58, 28)
    assert seen_between(before, now, 11) == Seen(60, 3, 58, 8)
    assert seen_between(before, now, 25) == Seen(60, 3, 58, 8)
    assert seen_between(before, now, 26) == Seen(60, 3, 58, 0)


def test_counts_that_are_odd_are_no_evidence_of_the_impossible() -> None:
    """MN-04: A restarted server counts from zero; more errors than requests are as many; without buckets nothing was timed."""
    assert seen_between(arm(100, 1), arm(7, 2), 10) == Seen(7, 2)
    assert seen_between(arm(100, 1), arm(101, 5), 10) == Seen(1, 1)
    assert seen_between(arm(5, 0, (10, 5)), arm(6, 0, (10, 6)), 20) == Seen(1, 0, 1, 1)


ORDERS = SignalSpec(name="orders", source="prometheus", query="o{version}", low=10, high=20, limit=14, direction="higher", every_seconds=60)
LOAD = ORDERS.model_copy(update={"name": "load", "direction": "lower"})
WATCHED = ReleaseSpec(signals=(ORDERS, LOAD, ORDERS.model_copy(update={"name": "free", "limit": None})))


def after(*values: float, signal: SignalSpec = LOAD, state: State | None = None) -> State:
    """The evidence after these values."""
    state = state or State()
    for value in values:
        state = add_value(state, signal, value, WATCHED)
    return state


def test_a_value_is_a_bet_that_the_mean_is_beyond_its_limit() -> None:
    """MN-04: to the letter, for either direction; evidence below 1 begins again, and a value outside of the range counts as its end."""
    assert (STAKES, [one.name for one in limited(WATCHED)]) == ((0.05, 0.2, 0.5, 0.9), ["orders", "load"])
    once = after(17.0)
    assert once.logs["load"] == pytest.approx([math.log1p(stake / 0.4 * 0.3) for stake in STAKES])
    assert (once.since["load"], once.alarms) == ((1, 1), {})
    assert after(17.0, 13.0).logs["load"] == pytest.approx(
        [max(0.0, log + math.log1p(-stake / 0.4 * 0.1)) for log, stake in zip(once.logs["load"], STAKES, strict=True)]
    )
    assert after(17.0, 13.0).since["load"] == (2, 1)
    assert after(10.0).logs["load"] == (0.0,) * 4
    assert after(10.0, 17.0).since["load"] == (1, 1)
    assert after(99.0) == after(20.0)
    assert after(14.0).since["load"] == (1, 0)
    higher = after(11.0, signal=ORDERS)
    assert higher.logs["orders"] == pytest.approx([math.log1p(stake / 0.6 * 0.3) for stake in STAKES])
    assert higher.since["orders"] == (1, 1)
    assert after(14.0, signal=ORDERS).since["orders"] == (1, 0)
    assert after(math.nan, math.inf) == State()
    assert after(17.0, signal=WATCHED.signals[2]) == State()


def test_a_signal_alarms_at_its_odds_and_ends_by_evidence() -> None:
    """MN-04: the odds are those of half a false alarm a month of all five signals, at so many values a month."""
    odds = MONTH_SECONDS / 60 * 5 / ALARMS_A_MONTH
    assert steady_limits(WATCHED, 60).odds == odds
    state, values = State(), 0
    while not state.alarms:
        state, values = after(20.0, state=state), values + 1
        assert (average(state.logs["load"]) >= odds) == bool(state.alarms)
    assert state.alarms == {"load": (values, values)}
    assert state.well == {"load": (0.0,) * 4}
    assert fits(state)
    once = after(10.0, state=state)
    assert once.well["load"] == pytest.approx([math.log1p(stake / 0.6 * 0.4) for stake in STAKES])
    assert after(20.0, state=once).well["load"] == (0.0,) * 4
    assert after(16.0, state=once).well["load"] == pytest.approx(
        [max(0.0, log + math.log1p(-stake / 0.6 * 0.2)) for log, stake in zip(once.well["load"], STAKES, strict=True)]
    )
    while state.alarms:
        before, state = state, after(10.0, state=state)
    assert average(before.well["load"]) < OVER
    assert state == State()


def test_other_signals_keep_their_evidence() -> None:
    """MN-04: of another signal, alarms too."""
    state = after(20.0, 20.0, signal=ORDERS.model_copy(update={"direction": "lower"}))
    assert after(20.0, state=state).logs["orders"] == state.logs["orders"]
    errors = State(alarms={"errors": (1, 1)}, well={"errors": (0.0,) * 4}, logs={"errors": (9.0,) * 4}, since={"errors": (1, 1)})
    assert after(20.0, state=errors).alarms == errors.alarms


def test_a_mean_within_its_limit_is_rarely_doubted() -> None:
    """MN-04: in three months of a value a minute that is at the limit on average, at most half a month each and a few by chance."""
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(3):
        state = State()
        for value in rng.uniform(10, 18, 40_000).tolist():
            had, state = bool(state.alarms), after(value, state=state)
            alarms += bool(state.alarms) and not had
    assert alarms <= 3


def test_two_kinds_of_requests_make_one_look() -> None:
    """MN-04, SE-09: Counts of each add up, each to its own."""
    assert steady.both(Seen(1, 2, 3, 4), Seen(10, 20, 30, 40)) == Seen(11, 22, 33, 44)
