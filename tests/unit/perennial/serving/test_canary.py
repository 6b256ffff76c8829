"""The canary's decisions are right as often as the spec says, at every look, whatever the weights do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.serving import canary
from perennial.serving.canary import Counts, Evidence, add, average, compare, decide, increment, latency_edge, next_step, stakes
from perennial.serving.route import Arm
from perennial.specs import ReleaseSpec

RELEASE = ReleaseSpec()
INFINITE = math.inf


def release_under(rng, candidate, champion, *, signal="errors", looks=40, requests=500, ramp=(0.05, 0.25, 0.5), spec=RELEASE, burst=1):
    """The first look at which evidence rolls a candidate back, or the number of looks and the evidence."""
    evidence = Evidence()
    for look in range(looks):
        share = ramp[min(look * len(ramp) // looks, len(ramp) - 1)]
        ours = round(requests * share)
        counts = Counts(
            ours,
            int(rng.binomial(ours // burst, candidate)) * burst,
            requests - ours,
            int(rng.binomial((requests - ours) // burst, champion)) * burst,
        )
        seen = {"errors": counts} if signal == "errors" else {"errors": Counts(ours, 0, requests - ours, 0), signal: counts}
        evidence = add(evidence, seen, share, spec)
        if decide(evidence, spec, 0.0, last_step=False).action == "roll_back":
            return look + 1, evidence
    return 0, evidence


@pytest.mark.parametrize(
    ("signal", "rate", "burst"),
    [("errors", 0.02, 1), ("latency", 0.1, 1), ("latency", 0.05, 10), ("outcomes", 0.25, 1), ("unreadable", 0.1, 1)],
)
def test_arms_that_are_alike_are_rarely_parted(signal, rate, burst):
    """At most alpha (here .1, to be measurable) of equal candidates are rolled back, with forty looks each while weights climb."""
    rng = np.random.default_rng(5)
    spec = RELEASE.model_copy(update={"alpha": 0.1})
    runs = 300
    wrong = sum(release_under(rng, rate, rate, signal=signal, spec=spec, burst=burst)[0] > 0 for _ in range(runs))
    assert wrong / runs <= 0.1


@pytest.mark.parametrize(
    ("signal", "champion", "candidate"),
    [("errors", 0.005, 0.03), ("latency", 0.05, 0.4), ("outcomes", 0.2, 0.35), ("unreadable", 0.01, 0.06)],
)
def test_a_clearly_worse_candidate_is_found(signal, champion, candidate):
    """At least nineteen of twenty."""
    rng = np.random.default_rng(6)
    found = sum(release_under(rng, candidate, champion, signal=signal)[0] > 0 for _ in range(60))
    assert found >= 57


def test_a_candidate_that_only_fails_is_found_within_one_look():
    """Four failures in a row against none of the champion's suffice at 5 %."""
    evidence = add(Evidence(), {"errors": Counts(4, 4, 76, 0)}, 0.05, RELEASE)
    assert decide(evidence, RELEASE, 1.0, last_step=False).action == "roll_back"


def test_a_drifting_error_rate_convicts_nobody():
    """Both arms get worse while the candidate's share grows: pooled counts would blame it."""
    rng, evidence, spec = np.random.default_rng(7), Evidence(), RELEASE
    for look in range(120):
        share, rate = (0.05, 0.25, 0.5)[look // 40], 0.002 + 0.02 * look / 120
        ours = round(1000 * share)
        evidence = add(
            evidence,
            {"errors": Counts(ours, int(rng.binomial(ours, rate)), 1000 - ours, int(rng.binomial(1000 - ours, rate)))},
            share,
            spec,
        )
        assert decide(evidence, spec, 0.0, last_step=False).action != "roll_back"
    pooled = canary.figures(evidence, spec)["errors"]
    assert pooled["candidate_events"] / pooled["candidate_requests"] > 1.3 * pooled["champion_events"] / pooled["champion_requests"]


@settings(max_examples=200)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 12), st.floats(1.01, 30), st.floats(1, 4))
def test_the_evidence_is_a_fair_bet(ours, theirs, events, ratio, tolerance):
    """Where both arms fail alike (or the candidate less than tolerated) the expected likelihood ratio is at most one, exactly."""
    events = min(events, ours + theirs)
    win, lose = stakes(ours, theirs, ratio * tolerance, tolerance)
    total = math.comb(ours + theirs, events)
    expected = sum(
        math.comb(ours, k) * math.comb(theirs, events - k) / total * math.exp(k * win + (events - k) * lose) for k in range(events + 1)
    )
    assert expected <= 1 + 1e-9


def test_requests_that_only_the_candidate_cannot_read_convict_it():
    """Old callers lack what it asks for; requests that neither arm can read are their callers' doing, however many they are."""
    counted = compare(Arm(100, 0, (), 100, 40), Arm(1900, 0, (), 1900, 0), None)
    assert counted["unreadable"] == Counts(100, 40, 1900, 0)
    decision = decide(add(Evidence(), counted, 0.05, RELEASE), RELEASE, 5, last_step=False)
    assert decision.action == "roll_back"
    assert decision.sentence.startswith("40 of the candidate's 100 requests could not be read, 0 of the champion's 1,900.")
    alike = compare(Arm(100, 0, (), 100, 80), Arm(1900, 0, (), 1900, 1520), None)
    assert decide(add(Evidence(), alike, 0.05, RELEASE), RELEASE, 5, last_step=False).action == "hold"


def test_bursts_are_discounted():
    """Ten slow requests of one pause weigh as much as one slow request would."""
    ten = add(Evidence(), {"latency": Counts(50, 10, 950, 0)}, 0.05, RELEASE)
    assert average(ten.tallies["latency"].against) < 20
    assert decide(ten, RELEASE, 0.0, last_step=False).action == "hold"


def test_steps_want_time_and_requests():
    """Neither alone advances; both do."""
    few = add(Evidence(), {"errors": Counts(99, 0, 900, 0)}, 0.05, RELEASE)
    enough = add(few, {"errors": Counts(1, 0, 9, 0)}, 0.05, RELEASE)
    assert decide(few, RELEASE, 60, last_step=False).action == "hold"
    assert "99 of the 100 requests" in decide(few, RELEASE, 60, last_step=False).sentence
    assert "3 of 10 s" in decide(enough, RELEASE, 3, last_step=False).sentence
    assert decide(enough, RELEASE, 60, last_step=False).action == "advance"
    assert decide(next_step(enough), RELEASE, 60, last_step=False).action == "hold"
    assert decide(few, RELEASE, RELEASE.max_seconds, last_step=False).action == "ask"


def test_promotion_without_errors_wants_enough_requests():
    """No error in 314 requests shows a rate below 1 % at .05; in fewer it does not."""
    evidence = add(Evidence(), {"errors": Counts(313, 0, 313, 0)}, 0.5, RELEASE)
    assert decide(evidence, RELEASE, 60, last_step=True).action == "hold"
    evidence = add(evidence, {"errors": Counts(1, 0, 1, 0)}, 0.5, RELEASE)
    decision = decide(evidence, RELEASE, 60, last_step=True)
    assert decision.action == "promote"
    assert "below 1.00%" in decision.sentence


def test_promotion_with_errors_wants_them_alike():
    """With errors in both arms the ratio decides, and one at the limit is promoted with a chance of at most .05."""
    rng, runs = np.random.default_rng(8), 200
    outcomes = {}
    for name, rate in (("alike", 0.02), ("at the limit", 0.04)):
        promoted = 0
        for _ in range(runs):
            evidence = Evidence()
            for _ in range(20):
                evidence = add(
                    evidence, {"errors": Counts(200, int(rng.binomial(200, rate)), 200, int(rng.binomial(200, 0.02)))}, 0.5, RELEASE
                )
                action = decide(evidence, RELEASE, 60, last_step=True).action
                if action in ("promote", "roll_back"):
                    promoted += action == "promote"
                    break
        outcomes[name] = promoted / runs
    assert outcomes["at the limit"] <= 0.05
    assert outcomes["alike"] >= 0.9


def test_promotion_takes_a_rare_error():
    """One failed request among many does not block for ever."""
    evidence = add(Evidence(), {"errors": Counts(1500, 1, 1500, 1)}, 0.5, RELEASE)
    assert decide(evidence, RELEASE, 60, last_step=True).action == "promote"


def test_silence_needs_two_looks_and_ends_with_a_request():
    """One look without requests may be chance or a slow gateway."""
    silent = {"errors": Counts(0, 0, 2000, 0)}
    once = add(Evidence(), silent, 0.05, RELEASE)
    assert decide(once, RELEASE, 5, last_step=False).action == "hold"
    twice = add(once, silent, 0.05, RELEASE)
    assert decide(twice, RELEASE, 8, last_step=False).action == "roll_back"
    heard = add(twice, {"errors": Counts(1, 0, 10, 0)}, 0.05, RELEASE)
    assert decide(heard, RELEASE, 11, last_step=False).action == "hold"
    nobody = Evidence()
    for _ in range(50):
        nobody = add(nobody, {"errors": Counts()}, 0.5, RELEASE)
    assert decide(nobody, RELEASE, 500, last_step=False).action == "hold"


def test_a_server_that_stays_unhealthy_goes():
    """Even where there is no traffic to miss it; one that comes back in time stays."""
    evidence = Evidence()
    for _ in range(canary.UNHEALTHY_LOOKS):
        assert decide(evidence, RELEASE, 5, last_step=False).action == "hold"
        evidence = add(evidence, {"errors": Counts()}, 0.05, RELEASE, healthy=False)
    assert decide(evidence, RELEASE, 5, last_step=False).action == "roll_back"
    assert decide(add(evidence, {"errors": Counts()}, 0.05, RELEASE), RELEASE, 5, last_step=False).action == "hold"


def test_alpha_is_shared_by_all_signals():
    """The shares add up to one, so the promise holds for the release and not for each signal."""
    assert sum(signal.share for signal in canary.signals(RELEASE).values()) == pytest.approx(1)


def test_increments_survive_a_restart():
    """Counts that fell began anew: what they show now is what is new."""
    before = Arm(100, 5, ((10.0, 90), (INFINITE, 100)))
    assert increment(before, Arm(130, 6, ((10.0, 110), (INFINITE, 130)))) == Arm(30, 1, ((10.0, 20), (INFINITE, 30)))
    assert increment(before, Arm(20, 1, ((10.0, 20), (INFINITE, 20)))).requests == 20
    assert increment(Arm(), before) == before
    assert increment(Arm(5, 0, (), 5, 2), Arm(9, 0, (), 8, 3)) == Arm(4, 0, (), 3, 1)


def test_the_edge_parts_a_twentieth():
    """The bucket bound that is nearest to the champion's 95th percentile; none while it has little past or no bound parts."""
    champion = Arm(1000, 0, ((1.0, 0), (5.0, 600), (10.0, 960), (25.0, 999), (INFINITE, 1000)))
    assert latency_edge(champion) == 10
    assert latency_edge(Arm(100, 0, ((10.0, 90), (INFINITE, 100)))) is None
    assert latency_edge(Arm(1000, 0, ((1.0, 100), (INFINITE, 1000)))) is None
    assert latency_edge(Arm()) is None
    seen = compare(Arm(10, 1, ((10.0, 4), (INFINITE, 10))), champion, 10)
    assert (seen["latency"], seen["errors"]) == (Counts(10, 6, 1000, 40), Counts(10, 1, 1000, 0))
    assert set(compare(Arm(10), champion, 10)) == {"errors"}
