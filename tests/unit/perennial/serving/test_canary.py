"""The canary's decisions are right as often as the spec says, at every look, whatever the weights do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.serving import canary
from perennial.serving.canary import Counts, Evidence, add, average, compare, decide, increment, latency_edge, next_step, stakes
from perennial.serving.route import Arm
from perennial.serving.split import Mismatch, Split
from perennial.specs import ReleaseSpec, SignalSpec

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
    """SE-06, SE-09: At most alpha (here .1, to be measurable) of equal candidates are rolled back, with forty looks each while weights
    climb."""
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
    """SE-10: At least nineteen of twenty."""
    rng = np.random.default_rng(6)
    found = sum(release_under(rng, candidate, champion, signal=signal)[0] > 0 for _ in range(60))
    assert found >= 57


def test_a_candidate_that_only_fails_is_found_within_one_look():
    """SE-10: Four failures in a row against none of the champion's suffice at 5 %."""
    evidence = add(Evidence(), {"errors": Counts(4, 4, 76, 0)}, 0.05, RELEASE)
    assert decide(evidence, RELEASE, 1.0, last_step=False).action == "roll_back"


def test_a_drifting_error_rate_convicts_nobody():
    """SE-10: Both arms get worse while the candidate's share grows: pooled counts would blame it."""
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
    """SE-09: Where both arms fail alike (or the candidate less than tolerated) the expected likelihood ratio is at most one, exactly."""
    events = min(events, ours + theirs)
    win, lose = stakes(ours, theirs, ratio * tolerance, tolerance)
    total = math.comb(ours + theirs, events)
    expected = sum(
        math.comb(ours, k) * math.comb(theirs, events - k) / total * math.exp(k * win + (events - k) * lose) for k in range(events + 1)
    )
    assert expected <= 1 + 1e-9


def test_requests_that_only_the_candidate_cannot_read_convict_it():
    """SE-10: Old callers lack what it asks for; requests that neither arm can read are their callers' doing, however many they are."""
    counted = compare(Arm(100, 0, (), 100, 40), Arm(1900, 0, (), 1900, 0), None)
    assert counted["unreadable"] == Counts(100, 40, 1900, 0)
    decision = decide(add(Evidence(), counted, 0.05, RELEASE), RELEASE, 5, last_step=False)
    assert decision.action == "roll_back"
    assert decision.sentence.startswith("40 of the candidate's 100 requests could not be read, 0 of the champion's 1,900.")
    alike = compare(Arm(100, 0, (), 100, 80), Arm(1900, 0, (), 1900, 1520), None)
    assert decide(add(Evidence(), alike, 0.05, RELEASE), RELEASE, 5, last_step=False).action == "hold"


def test_bursts_are_discounted():
    """SE-04: Ten slow requests of one pause weigh as much as one slow request would."""
    ten = add(Evidence(), {"latency": Counts(50, 10, 950, 0)}, 0.05, RELEASE)
    assert average(ten.tallies["latency"].against) < 20
    assert decide(ten, RELEASE, 0.0, last_step=False).action == "hold"


def test_steps_want_time_and_requests():
    """DE-20, SE-06: Neither alone advances; both do."""
    few = add(Evidence(), {"errors": Counts(99, 0, 900, 0)}, 0.05, RELEASE)
    enough = add(few, {"errors": Counts(1, 0, 9, 0)}, 0.05, RELEASE)
    assert decide(few, RELEASE, 60, last_step=False).action == "hold"
    assert "99 of the 100 requests" in decide(few, RELEASE, 60, last_step=False).sentence
    assert "3 of 10 s" in decide(enough, RELEASE, 3, last_step=False).sentence
    assert decide(enough, RELEASE, 60, last_step=False).action == "advance"
    assert decide(next_step(enough), RELEASE, 60, last_step=False).action == "hold"
    assert decide(few, RELEASE, RELEASE.max_seconds, last_step=False).action == "ask"


def test_promotion_without_errors_wants_enough_requests():
    """SE-06: No error in 314 requests shows a rate below 1 % at .05; in fewer it does not."""
    evidence = add(Evidence(), {"errors": Counts(313, 0, 313, 0)}, 0.5, RELEASE)
    assert decide(evidence, RELEASE, 60, last_step=True).action == "hold"
    evidence = add(evidence, {"errors": Counts(1, 0, 1, 0)}, 0.5, RELEASE)
    decision = decide(evidence, RELEASE, 60, last_step=True)
    assert decision.action == "promote"
    assert "below 1.00%" in decision.sentence


def test_promotion_with_errors_wants_them_alike():
    """SE-06: With errors in both arms the ratio decides, and one at the limit is promoted with a chance of at most .05."""
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
    """SE-06: One failed request among many does not block for ever."""
    evidence = add(Evidence(), {"errors": Counts(1500, 1, 1500, 1)}, 0.5, RELEASE)
    assert decide(evidence, RELEASE, 60, last_step=True).action == "promote"


def test_silence_needs_two_looks_and_ends_with_a_request():
    """SE-10: One look without requests may be chance or a slow gateway."""
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
    """SE-10: Even where there is no traffic to miss it; one that comes back in time stays."""
    evidence = Evidence()
    for _ in range(canary.UNHEALTHY_LOOKS):
        assert decide(evidence, RELEASE, 5, last_step=False).action == "hold"
        evidence = add(evidence, {"errors": Counts()}, 0.05, RELEASE, healthy=False)
    assert decide(evidence, RELEASE, 5, last_step=False).action == "roll_back"
    assert decide(add(evidence, {"errors": Counts()}, 0.05, RELEASE), RELEASE, 5, last_step=False).action == "hold"


def test_alpha_is_shared_by_all_signals():
    """SE-09: The shares add up to one, so the promise holds for the release and not for each signal."""
    assert sum(signal.share for signal in canary.signals(RELEASE).values()) == pytest.approx(1)


def test_increments_survive_a_restart():
    """SE-06: Counts that fell began anew: what they show now is what is new."""
    before = Arm(100, 5, ((10.0, 90), (INFINITE, 100)))
    assert increment(before, Arm(130, 6, ((10.0, 110), (INFINITE, 130)))) == Arm(30, 1, ((10.0, 20), (INFINITE, 30)))
    assert increment(before, Arm(20, 1, ((10.0, 20), (INFINITE, 20)))).requests == 20
    assert increment(Arm(), before) == before
    assert increment(Arm(5, 0, (), 5, 2), Arm(9, 0, (), 8, 3)) == Arm(4, 0, (), 3, 1)


def test_the_edge_parts_a_twentieth():
    """SE-04: The bucket bound that is nearest to the champion's 95th percentile; none while it has little past or no bound parts."""
    champion = Arm(1000, 0, ((1.0, 0), (5.0, 600), (10.0, 960), (25.0, 999), (INFINITE, 1000)))
    assert latency_edge(champion) == 10
    assert latency_edge(Arm(100, 0, ((10.0, 90), (INFINITE, 100)))) is None
    assert latency_edge(Arm(1000, 0, ((1.0, 100), (INFINITE, 1000)))) is None
    assert latency_edge(Arm()) is None
    seen = compare(Arm(10, 1, ((10.0, 4), (INFINITE, 10))), champion, 10)
    assert (seen["latency"], seen["errors"]) == (Counts(10, 6, 1000, 40), Counts(10, 1, 1000, 0))
    assert set(compare(Arm(10), champion, 10)) == {"errors"}


# What follows says what the figures must achieve, not what they are.

STEADY = RELEASE.model_copy(update={"min_seconds": 0.0, "min_requests": 1})


def bets(signal, counts):
    """Log likelihood ratios of a signal after one look at these counts."""
    seen = {"errors": Counts(counts.candidate_requests, 0, counts.champion_requests, 0), signal: counts}
    return np.array(add(Evidence(), seen, 0.5, RELEASE).tallies[signal].against)


def evidence_of(signal, odds):
    """Evidence in which one signal speaks against the candidate with these odds."""
    ratios = canary.signals(RELEASE)[signal].ratios
    return Evidence(tallies={signal: canary.Tally(against=(math.log(odds),) * len(ratios))}, step_requests=100)


def share_of_events(requests_share, ratio):
    """Of all events, those that fall on a candidate with this share of the requests that has them `ratio` times as often."""
    return requests_share * ratio / (requests_share * ratio + 1 - requests_share)


def growth(share, events_share, usual_share):
    """Mean log likelihood ratio per event of who bets on `share` where the candidate has `events_share` of the events."""
    return events_share * math.log(share / usual_share) + (1 - events_share) * math.log((1 - share) / (1 - usual_share))


@settings(max_examples=100)
@given(st.integers(1, 500), st.integers(1, 500), st.floats(1.01, 30), st.floats(1, 4))
def test_a_bet_is_fair_exactly_at_what_is_tolerated(ours, theirs, ratio, tolerance):
    """SE-10: the expected likelihood ratio of one event is one where the candidate fails as often as tolerated."""
    win, lose = stakes(ours, theirs, ratio * tolerance, tolerance)
    share = ours / (ours + theirs)
    at_limit = share_of_events(share, tolerance)
    assert at_limit * math.exp(win) + (1 - at_limit) * math.exp(lose) == pytest.approx(1)
    assert win > 0 > lose
    bolder = stakes(ours, theirs, 2 * ratio * tolerance, tolerance)
    assert bolder[0] > win
    assert bolder[1] < lose


def test_a_bet_worked_by_hand():
    """SE-10: with half the requests, three times the failures are three quarters of them: 3/4 to 1/2, and 1/4 to 1/2."""
    assert stakes(100, 100, 3) == pytest.approx((math.log(1.5), math.log(0.5)))
    assert stakes(100, 100, 6, 2) == pytest.approx((math.log(9 / 7), math.log(3 / 7)))
    assert stakes(100, 300, 3) == pytest.approx((math.log(2), math.log(2 / 3)))


@pytest.mark.parametrize("signal", ["errors", "latency", "outcomes", "unreadable"])
def test_a_conviction_wants_the_odds_that_keep_alpha(signal):
    """SE-10: at its limit a signal convicts, just below it does not; the limits' reciprocals add up to alpha."""
    limits = {}
    for name in canary.signals(RELEASE):
        low, high = 1.0, 1e9
        while high / low > 1 + 1e-12:
            middle = math.sqrt(low * high)
            convicted = decide(evidence_of(name, middle), RELEASE, 5, last_step=False).action == "roll_back"
            low, high = (low, middle) if convicted else (middle, high)
        limits[name] = high
        assert canary.figures(evidence_of(name, high), RELEASE)[name]["limit"] == round(high)
    assert sum(1 / limit for limit in limits.values()) == pytest.approx(RELEASE.alpha, rel=1e-6)
    assert limits[signal] < 10 / RELEASE.alpha, "no signal is so poor that it could never convict"


@pytest.mark.parametrize(("signal", "level", "least"), [("errors", 0.05, 0.02), ("outcomes", 0.05, 0.02), ("unreadable", 0.05, 0.02)])
def test_villes_bound_holds_and_is_nearly_used(signal, level, least):
    """SE-10: in 2,000 events the evidence against an equal candidate ever reaches 1 / level with nearly the chance of the level."""
    rng, runs, events, share = np.random.default_rng(31), 2000, 2000, 0.25
    win, lose = bets(signal, Counts(1, 1, 3, 0)), bets(signal, Counts(1, 0, 3, 1))
    logs, highest = np.zeros((runs, len(win))), np.full(runs, -np.inf)
    for _ in range(events):
        logs += np.where(rng.random((runs, 1)) < share, win, lose)
        np.maximum(highest, np.exp(np.minimum(logs, 50)).mean(axis=1), out=highest)
    convicted = np.mean(highest >= 1 / level)
    assert convicted <= level + 3 * (level * (1 - level) / runs) ** 0.5
    assert convicted >= least


@pytest.mark.parametrize(
    ("signal", "least_ratio", "most_ratio", "efficiency", "tolerance", "burst"),
    [
        ("errors", 1.5, 20, 0.92, 1, 1),
        ("unreadable", 1.5, 20, 0.92, 1, 1),
        ("latency", 1.5, 10, 0.92, RELEASE.max_latency_ratio, 10),
        ("outcomes", 1.1, 3, 0.83, 1, 1),
    ],
)
def test_some_bet_is_nearly_the_best_one(signal, least_ratio, most_ratio, efficiency, tolerance, burst):
    """SE-06: whatever the ratio of a bad candidate, one of the bets grows nearly as fast as that of who knows it; none is made twice."""
    requests, events = 10**6, 10**7
    usual = share_of_events(0.05, tolerance)
    for ratio in np.geomspace(least_ratio, most_ratio, 40):
        share = share_of_events(0.05, ratio * tolerance)
        ours = round(share * events)
        best = bets(signal, Counts(5 * requests, ours, 95 * requests, events - ours)).max() * burst / events
        assert best >= efficiency * growth(share, share, usual)
    once = bets(signal, Counts(requests, 1, requests, 0))
    assert (np.diff(once) > 0).all()


def test_a_burst_counts_as_one_event():
    """SE-10: ten slow requests that all fall on one arm are worth one event, and such bursts are a fair bet."""
    ours, theirs = bets("latency", Counts(100, 10, 100, 0)), bets("latency", Counts(100, 0, 100, 10))
    assert ours == pytest.approx([stakes(1, 1, ratio * 2, 2)[0] for ratio in canary.signals(RELEASE)["latency"].ratios])
    at_limit = share_of_events(0.5, RELEASE.max_latency_ratio)
    assert at_limit * np.exp(ours) + (1 - at_limit) * np.exp(theirs) == pytest.approx(1)


@pytest.mark.parametrize(("ratio", "expected"), [(2.0, 1.0), (2.5, 0.95)])
def test_evidence_for_a_promotion_is_fair_at_the_limit(ratio, expected):
    """SE-06: of a candidate at `max_error_ratio` the expected evidence for "not worse" is one exactly, of a worse one less."""
    n, share = 12, share_of_events(0.25, ratio)
    logs = np.array([add(Evidence(), {"errors": Counts(100, k, 300, n - k)}, 0.25, RELEASE).not_worse for k in range(n + 1)])
    chance = np.array([math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)])
    mean = chance @ np.exp(logs)
    assert mean == pytest.approx(1) if expected == 1 else (mean < expected).all()


@pytest.mark.parametrize(("rate", "expected"), [(0.01, 1.0), (0.02, 0.9)])
def test_evidence_that_errors_are_rare_is_fair_at_the_limit(rate, expected):
    """SE-06: of a candidate at `max_error_rate` the expected evidence for "rare" is one exactly, of a worse one less."""
    n = 40
    logs = np.array([add(Evidence(), {"errors": Counts(n, k, 0, 0)}, 0.25, RELEASE).rare for k in range(n + 1)])
    chance = np.array([math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)])
    mean = chance @ np.exp(logs)
    assert mean == pytest.approx(1) if expected == 1 else (mean < expected).all()
    assert canary.figures(Evidence(), RELEASE)["not_worse"]["rare"] == 1
    assert canary.figures(Evidence(), RELEASE)["not_worse"]["evidence"] == 1


def test_an_alike_or_better_candidate_is_promoted_nearly_as_soon_as_can_be():
    """SE-06: whatever its error rate below a limit, one bet grows nearly as fast as that of who knows it; so for both limits."""
    requests, events, usual = 10**6, 10**7, share_of_events(0.25, RELEASE.max_error_ratio)
    for ratio in np.geomspace(0.25, 1, 30):
        share = share_of_events(0.25, ratio)
        ours = round(share * events)
        seen = {"errors": Counts(25 * requests, ours, 75 * requests, events - ours)}
        assert max(add(Evidence(), seen, 0.25, RELEASE).not_worse) / events >= 0.94 * growth(share, share, usual)
    limit, answered = RELEASE.max_error_rate, 10**9
    for part in np.geomspace(0.02, 0.5, 30):
        rate = part * limit
        best = rate * math.log(part) + (1 - rate) * math.log((1 - rate) / (1 - limit))
        seen = {"errors": Counts(answered, round(rate * answered), 0, 0)}
        assert max(add(Evidence(), seen, 0.25, RELEASE).rare) / answered >= 0.84 * best


def test_one_error_refutes_that_there_are_none():
    """SE-06: for good, however many requests go well afterwards."""
    evidence = add(Evidence(), {"errors": Counts(1, 1, 1, 0)}, 0.5, RELEASE)
    evidence = add(evidence, {"errors": Counts(10**6, 0, 10**6, 0)}, 0.5, RELEASE)
    assert average(evidence.rare[:1]) == 0
    assert average(evidence.rare[1:]) > 1


def test_looks_add_up():
    """SE-06: counts and logarithms of two looks are those of both; an arm without requests tells nothing of the other, but is counted."""
    one = add(Evidence(), {"errors": Counts(100, 2, 300, 1), "outcomes": Counts(7, 3, 5, 2)}, 0.25, RELEASE)
    both = add(one, {"errors": Counts(100, 1, 300, 4)}, 0.25, RELEASE)
    alone = add(both, {"errors": Counts(0, 0, 50, 6)}, 0.25, RELEASE)
    tally = alone.tallies["errors"]
    assert (tally.candidate_requests, tally.candidate_events, tally.champion_requests, tally.champion_events) == (200, 3, 650, 11)
    other = one.tallies["outcomes"]
    assert (other.candidate_requests, other.candidate_events, other.champion_requests, other.champion_events) == (7, 3, 5, 2)
    win, lose = np.array([stakes(1, 3, ratio) for ratio in canary.signals(RELEASE)["errors"].ratios]).T
    assert both.tallies["errors"].against == pytest.approx(3 * win + 5 * lose)
    assert (alone.tallies["errors"].against, alone.not_worse) == (both.tallies["errors"].against, both.not_worse)
    assert both.not_worse == pytest.approx(np.array(one.not_worse) + add(Evidence(), {"errors": Counts(1, 1, 3, 4)}, 1, RELEASE).not_worse)
    nobody = add(Evidence(), {"errors": Counts(0, 0, 0, 0)}, 0.5, RELEASE)
    assert (average(nobody.tallies["errors"].against), nobody.rare, nobody.step_requests) == (1, Evidence().rare, 0)
    assert (one.step_requests, both.step_requests, alone.step_requests) == (100, 200, 200)
    assert Counts() == Counts(0, 0, 0, 0)


def test_what_a_look_that_is_not_of_errors_leaves_alone():
    """SE-06: outcomes alone, without a count of requests, are no silence that convicts, and no request of the step."""
    only = add(Evidence(), {"outcomes": Counts(5, 1, 5, 1)}, 0.5, RELEASE)
    assert (only.step_requests, only.silent_requests, only.silent_looks) == (0, 0, 0)
    assert "errors" not in only.tallies
    waiting = decide(only, STEADY, 5, last_step=True)
    assert (waiting.action, waiting.numbers["not_worse"]["rare"]) == ("hold", 1)


def test_silence_convicts_at_thirty_requests_that_were_due():
    """SE-10: 30 of them at two looks; one request fewer, or all at one look, does not. Looks at which none were due do not count."""
    one = add(Evidence(), {"errors": Counts(0, 0, 58, 0)}, 0.5, RELEASE)
    nearly = add(one, {"errors": Counts(0, 0, 1, 0)}, 0.5, RELEASE)
    enough = add(nearly, {"errors": Counts(0, 0, 1, 0)}, 0.5, RELEASE)
    assert (nearly.silent_requests, nearly.silent_looks) == (29.5, 2)
    assert decide(nearly, RELEASE, 5, last_step=False).action == "hold"
    convicted = decide(enough, RELEASE, 5, last_step=False)
    assert (convicted.action, "30 were due" in convicted.sentence) == ("roll_back", True)
    idle = add(add(Evidence(), {"errors": Counts(0, 0, 60, 0)}, 0.5, RELEASE), {"errors": Counts(0, 0, 0, 0)}, 0.5, RELEASE)
    assert (idle.silent_looks, decide(idle, RELEASE, 5, last_step=False).action) == (1, "hold")
    again = add(enough, {"errors": Counts(1, 0, 1, 0)}, 0.5, RELEASE)
    assert (again.silent_requests, again.silent_looks) == (0, 0)


def test_the_fourth_unhealthy_look_convicts():
    """SE-10: three in a row may be a restart."""
    evidence = Evidence()
    actions = []
    for _ in range(4):
        evidence = add(evidence, {"errors": Counts()}, 0.5, RELEASE, healthy=False)
        actions.append(decide(evidence, RELEASE, 5, last_step=False).action)
    assert actions == ["hold", "hold", "hold", "roll_back"]
    assert decide(evidence, RELEASE, 5, last_step=False).sentence.endswith("unhealthy at 4 looks in a row.")


def test_a_step_begins_with_nothing_of_the_last_one_but_its_evidence():
    """SE-06: requests and silence are counted anew, what speaks for or against the candidate stays."""
    before = add(add(Evidence(), {"errors": Counts(100, 5, 300, 1)}, 0.25, RELEASE), {"errors": Counts(0, 0, 9, 1)}, 0.25, RELEASE)
    after = next_step(before)
    assert (after.step_requests, after.silent_requests, after.silent_looks) == (0, 0, 0)
    assert (after.tallies, after.not_worse, after.rare) == (before.tallies, before.not_worse, before.rare)


@pytest.mark.parametrize(
    ("seconds", "requests", "action"),
    [(9.99, 100, "hold"), (10, 99, "hold"), (10, 100, "advance"), (3599.9, 99, "hold"), (3600, 99, "ask"), (3600, 100, "advance")],
)
def test_the_borders_of_a_step(seconds, requests, action):
    """SE-06: what is asked for suffices, a little less does not; a person is asked at the end of the time and not before."""
    evidence = add(Evidence(), {"errors": Counts(requests, 0, requests, 0)}, 0.5, RELEASE)
    decision = decide(evidence, RELEASE, seconds, last_step=False)
    assert decision.action == action
    assert (decision.numbers["step_requests"], decision.numbers["step_seconds"]) == (requests, round(seconds, 1))
    if action == "advance":
        assert decision.sentence.startswith("100 requests on this step")
    if action == "ask":
        assert decision.sentence.startswith("After 3600 s on this step there is no verdict: it has answered 99 of the 100 requests")


def test_seconds_are_told_to_a_tenth():
    """SE-06: the ledger keeps a figure that a person reads."""
    assert decide(Evidence(), RELEASE, 3.14159, last_step=False).numbers["step_seconds"] == 3.1


@pytest.mark.parametrize("kind", ["not_worse", "rare"])
def test_a_promotion_wants_the_odds_that_keep_its_alpha(kind):
    """SE-06: at 1 / promotion_alpha the candidate is promoted, just below it is held, by whichever of the two kinds of evidence."""
    spec = RELEASE.model_copy(update={"promotion_alpha": 0.25})
    enough = (math.log(4),) * 4
    assert average(enough) == average(enough, canary.RARE_WEIGHTS) == 4
    below = (math.log(3.99),) * 4
    tallies = {"errors": canary.Tally(candidate_requests=100, champion_requests=1000, champion_events=1)}
    promoted = decide(Evidence(tallies=tallies, step_requests=100, **{kind: enough}), spec, 60, last_step=True)
    held = decide(Evidence(tallies=tallies, step_requests=100, **{kind: below}), spec, 60, last_step=True)
    assert (promoted.action, held.action) == ("promote", "hold")
    shown = "2 times the champion's" if kind == "not_worse" else "1.00%"
    assert promoted.sentence == (
        "0 of the candidate's 100 requests failed, 1 of the champion's 1,000; its error rate is shown to be below "
        f"{shown} and nothing speaks against it."
    )
    assert "is 4 to 1 of the 4 to 1 that promotion wants" in held.sentence
    assert promoted.numbers["not_worse"]["wanted"] == 4


def test_ten_errors_are_no_longer_rare():
    """SE-06: with nine in both arms together the absolute limit may decide, with ten only the comparison may."""
    rare = (math.log(1000),) * 4
    for ours, theirs, action in ((4, 5, "promote"), (4, 6, "hold")):
        tallies = {"errors": canary.Tally(candidate_requests=100, candidate_events=ours, champion_requests=100, champion_events=theirs)}
        decision = decide(Evidence(tallies=tallies, rare=rare, step_requests=100), RELEASE, 60, last_step=True)
        assert decision.action == action
    assert "is 1 to 1 of the 20 to 1" in decision.sentence
    few = {"errors": canary.Tally(candidate_requests=100, champion_requests=100)}
    held = decide(Evidence(tallies=few, rare=(math.log(2),) + (-math.inf,) * 3, step_requests=100), RELEASE, 60, last_step=True)
    assert "is 1.4 to 1 of the 20 to 1" in held.sentence, "no error at all has the greatest weight"


def test_a_mean_of_likelihood_ratios():
    """SE-10: of none it is one, weights are used as they are, and no logarithm is too large or too small."""
    assert average(()) == 1
    assert average((math.log(2), math.log(4))) == pytest.approx(3)
    assert average((math.log(2), math.log(4)), (0.25, 0.75)) == pytest.approx(3.5)
    assert average((600.0,)) == pytest.approx(math.exp(600))
    assert 1e300 < average((1e9, 0.0)) < math.inf
    assert average((-1e9,)) == 0


@pytest.mark.parametrize(
    ("odds", "said"),
    [(2.345, "2.3 to 1"), (9.94, "9.9 to 1"), (10, "10 to 1"), (15.4, "15 to 1"), (1234, "1,234 to 1"), (1e12, "1,000,000,000 to 1")],
)
def test_odds_as_a_person_reads_them(odds, said):
    """SE-10: two digits of small ones, whole large ones, and no more than a billion."""
    spec = RELEASE.model_copy(update={"alpha": 0.4999})
    convicted = decide(evidence_of("errors", odds), spec, 5, last_step=False)
    if odds > 1 / (0.4999 * 0.45):
        assert f"The evidence that it is worse is {said}, the limit 4.4 to 1." in convicted.sentence
    else:
        held = Evidence(step_requests=100, not_worse=(math.log(odds),) * 4)
        assert f"within limits is {said} of the 20 to 1" in decide(held, RELEASE, 60, last_step=True).sentence


@pytest.mark.parametrize(
    ("signal", "words"),
    [
        ("errors", "requests failed"),
        ("latency", "requests were slow"),
        ("outcomes", "answers turned out wrong"),
        ("unreadable", "requests could not be read"),
    ],
)
def test_a_conviction_says_what_was_counted(signal, words):
    """SE-10: in both arms, in the words of the signal; the ledger has the same figures, rounded to four digits."""
    against = (math.log(123456.0),) * len(canary.signals(RELEASE)[signal].ratios)
    tally = canary.Tally(candidate_requests=1200, candidate_events=34, champion_requests=5600, champion_events=7, against=against)
    decision = decide(Evidence(tallies={signal: tally}), RELEASE, 5, last_step=False)
    assert decision.sentence.startswith(
        f"34 of the candidate's 1,200 {words}, 7 of the champion's 5,600. The evidence that it is worse is 123,456 to 1"
    )
    shown = {"candidate_requests": 1200, "candidate_events": 34, "champion_requests": 5600, "champion_events": 7, "evidence": 123500}
    assert {key: decision.numbers[signal][key] for key in shown} == shown
    assert set(decision.numbers[signal]) == {*shown, "limit"}
    assert set(decision.numbers) == {"step_requests", "step_seconds", signal, "not_worse"}
    assert canary.figures(evidence_of(signal, 1e15), RELEASE)[signal]["evidence"] == 1e12


def test_evidence_is_kept_as_it_is():
    """SC-03: a stored one opens again to the same, one of a field that is not known is refused, and none can be changed."""
    evidence = add(Evidence(), {"errors": Counts(100, 2, 300, 1), "latency": Counts(100, 9, 300, 1)}, 0.25, RELEASE, healthy=False)
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence
    assert Evidence.model_validate({}) == Evidence()
    empty = Evidence()
    assert (empty.step_requests, empty.silent_requests, empty.silent_looks, empty.unhealthy_looks) == (0, 0, 0, 0)
    assert (average(empty.not_worse), average(empty.rare), empty.tallies) == (1, 1, {})
    for kept, field in ((evidence, "step_requests"), (evidence.tallies["errors"], "candidate_events")):
        with pytest.raises(ValueError, match="unheard_of"):
            type(kept).model_validate({"unheard_of": 1})
        with pytest.raises(ValueError, match="frozen"):
            setattr(kept, field, 3)


def test_increments_at_their_borders():
    """SE-06: counts that stand still show nothing; one that fell began anew; a part that lags behind shows nothing less than zero."""
    before = Arm(100, 5, ((10.0, 90), (INFINITE, 100)), 80, 8)
    assert increment(before, before) == Arm(0, 0, ((10.0, 0), (INFINITE, 0)), 0, 0)
    fewer_errors = Arm(100, 4, ((10.0, 91), (INFINITE, 101)), 81, 9)
    assert increment(before, fewer_errors) == fewer_errors
    fewer_requests = Arm(99, 5, (), 81, 9)
    assert increment(before, fewer_requests) == fewer_requests
    lagging = Arm(103, 7, ((10.0, 89), (20.0, 50), (INFINITE, 99)), 79, 7)
    assert increment(before, lagging) == Arm(3, 2, ((10.0, 0), (20.0, 50), (INFINITE, 0)), 0, 0)


def test_an_edge_wants_two_hundred_requests_and_fast_ones():
    """SE-06: 200 of the champion's tell it, 199 do not; a bound that half of them or more exceed parts nothing."""
    assert latency_edge(Arm(200, 0, ((10.0, 190), (INFINITE, 200)))) == 10
    assert latency_edge(Arm(199, 0, ((10.0, 190), (INFINITE, 199)))) is None
    assert latency_edge(Arm(1000, 0, ((10.0, 501), (INFINITE, 1000)))) == 10
    assert latency_edge(Arm(1000, 0, ((10.0, 500), (INFINITE, 1000)))) is None
    assert latency_edge(Arm(1000, 0, ((10.0, 700), (INFINITE, 1000)))) == 10


@pytest.mark.parametrize(
    ("counts", "edge"),
    [
        ((900, 976), 1),  # twice as many as a twentieth are nearer than less than half as many
        ((899, 975), 2),
        ((960, 990), 1),
        ((700, 1000), 1),  # none at all parts nothing that could be compared
        ((1000, 1000), 1),
    ],
)
def test_the_edge_is_the_nearest_as_ratios_go(counts, edge):
    """SE-06: of two bounds the one that as many times more or fewer than a twentieth of the requests exceed."""
    assert latency_edge(Arm(1000, 0, ((1.0, counts[0]), (2.0, counts[1]), (INFINITE, 1000)))) == edge


def test_what_is_compared():
    """SE-06: a request just at the edge is fast; what was refused counts among the answers; a part that either arm lacks is left out."""
    ours, theirs = Arm(10, 1, ((5.0, 3), (10.0, 4), (INFINITE, 10)), 8, 9), Arm(20, 2, ((5.0, 6), (10.0, 9), (INFINITE, 21)), 0, 0)
    assert compare(ours, theirs, 5.0) == {
        "errors": Counts(10, 1, 20, 2),
        "unreadable": Counts(8, 8, 0, 0),
        "latency": Counts(10, 7, 21, 15),
    }
    assert compare(ours, theirs, 1.0)["latency"] == Counts(10, 10, 21, 21)
    assert compare(theirs, ours, None) == {"errors": Counts(20, 2, 10, 1), "unreadable": Counts(0, 0, 8, 8)}
    assert set(compare(Arm(1), Arm(1), None)) == {"errors"}
    assert set(compare(Arm(1), theirs, 5.0)) == set(compare(theirs, Arm(1), 5.0)) == {"errors"}


@pytest.mark.parametrize(
    ("settings", "requests"),
    [
        ({}, 314),
        ({"max_error_rate": 0.1}, 30),
        ({"max_error_rate": 0.5}, 5),
        ({"promotion_alpha": 0.001}, 710),
        ({"max_error_rate": 0.9, "promotion_alpha": 0.4}, 1),
    ],
)
def test_how_many_requests_show_an_error_rate_below_its_limit(settings, requests):
    """SE-06: The fewest without a failure that do: one request fewer does not yet."""
    release = ReleaseSpec(**settings)
    assert canary.requests_to_promote(release) == requests
    for count in (requests - 1, requests):
        evidence = [canary._rarity(Counts(candidate_requests=count), share, release.max_error_rate) for share in canary.RARE]
        assert (average(evidence, canary.RARE_WEIGHTS) >= 1 / release.promotion_alpha) == (count == requests)


@pytest.mark.parametrize(
    ("logs", "weights", "mean"),
    [((), None, 1.0), ((0.0, 0.0), None, 1.0), ((math.log(4), math.log(2)), None, 3.0), ((math.log(4), 0.0), (0.25, 0.75), 1.75)],
)
def test_evidence_as_a_decimal_logarithm(logs, weights, mean):
    """SE-06: the same as the mean of the likelihood ratios, of those too that are beyond what a number holds."""
    assert canary.log_average(logs, weights) == pytest.approx(math.log10(average(logs, weights))) == pytest.approx(math.log10(mean))
    if logs:
        beyond = [log + 5000.0 for log in logs]
        assert canary.log_average(beyond, weights) == pytest.approx(math.log10(mean) + 5000 / math.log(10))


def test_evidence_within_limits_is_told_as_it_is_judged():
    """SE-06: beside the champion's rate, and by itself as long as errors are too rare to compare."""
    seen = {"errors": Counts(400, 0, 400, 9)}
    evidence = add(Evidence(), seen, 0.5, RELEASE)
    beside, alone = canary.within_limits(evidence)
    assert beside == pytest.approx(math.log10(average(evidence.not_worse)))
    assert alone == pytest.approx(math.log10(average(evidence.rare, canary.RARE_WEIGHTS)))
    assert canary.within_limits(add(evidence, {"errors": Counts(1, 0, 1, 1)}, 0.5, RELEASE))[1] is None


def with_signals(**dry_run):
    """A release with guardrails, each a dry run or not, and a success metric."""
    guardrails = [SignalSpec(name=name, column="score", event="> 0.9", dry_run=dry) for name, dry in dry_run.items()]
    return RELEASE.model_copy(update={"signals": (*guardrails, SUCCESS)})


SUCCESS = SignalSpec(name="won", column="score", low=0, high=1, max_difference=0.1, role="success")


@pytest.mark.parametrize(
    ("dry_run", "shares"),
    [
        ({}, {"errors": 0.45, "latency": 0.25, "outcomes": 0.15, "unreadable": 0.15}),
        ({"a": True}, {"errors": 0.45, "latency": 0.25, "outcomes": 0.15, "unreadable": 0.15, "a": 0.25}),
        ({"a": False}, {"errors": 0.3375, "latency": 0.1875, "outcomes": 0.1125, "unreadable": 0.1125, "a": 0.25}),
        ({"a": False, "b": True, "c": False}, {"a": 0.125, "b": 0.25 / 3, "c": 0.125, "errors": 0.3375}),
    ],
)
def test_signals_that_are_added_share_a_quarter_of_alpha(dry_run, shares):
    """SE-09: of those that may roll back the shares add up to one; a dry run takes none and shows the limit that it would have."""
    known = canary.signals(with_signals(**dry_run))
    assert {name: known[name].share for name in shares} == pytest.approx(shares)
    assert sum(signal.share for signal in known.values() if not signal.dry_run) == pytest.approx(1)
    assert {name: signal.dry_run for name, signal in known.items() if name in dry_run} == dry_run
    assert "won" not in known
    assert all(known[name].ratios == canary.ADDED_RATIOS for name in dry_run)


def test_nothing_changes_for_a_release_without_signals():
    """SE-06: to the last digit."""
    assert [signal.share for signal in canary.signals(RELEASE).values()] == [0.45, 0.25, 0.15, 0.15]


def tallied(share, *, alpha=RELEASE.alpha, over=1.0):
    """A tally of a signal whose evidence is so many times its limit."""
    return canary.Tally(
        candidate_requests=10, candidate_events=4, champion_requests=90, champion_events=2, against=(math.log(over / (alpha * share)),)
    )


def test_a_signal_rolls_back_at_its_limit_and_a_dry_run_never_does():
    """SE-10: the limit is that of its share of alpha; the sentence says what it watches and what both showed."""
    release = with_signals(a=False, b=True)
    for name, over, action in (("a", 1.001, "roll_back"), ("a", 0.999, "hold"), ("b", 1000, "hold"), ("won", 1000, "hold")):
        evidence = add(Evidence(), {}, 0.1, release, judged={name: tallied(canary.ADDED, over=over)})
        decision = decide(evidence, release, 60, last_step=False)
        assert decision.action == action
        if action == "roll_back":
            assert decision.sentence == (
                "The signal a (score > 0.9) shows 4 of 10 of the candidate's requests, 2 of 90 of the champion's. "
                "The evidence that it is worse is 400 to 1, the limit 400 to 1."
            )


def test_evidence_that_is_read_anew_takes_the_place_of_what_was():
    """SE-09: and a look that reads none keeps it."""
    release = with_signals(a=False)
    first = add(Evidence(), {}, 0.1, release, judged={"a": tallied(0.1)})
    assert add(first, {"errors": Counts(5, 0, 5, 0)}, 0.1, release).tallies["a"] == tallied(0.1)
    assert add(first, {}, 0.1, release, judged={"a": tallied(0.5)}).tallies == {"a": tallied(0.5)}


def ready(release, **tallies):
    """Evidence of a candidate that has all that a promotion wants but what signals want."""
    counts = {"errors": Counts(2000, 0, 2000, 0)}
    return add(Evidence(), counts, 0.5, release, judged=tallies)


def test_a_success_metric_is_wanted_before_a_promotion_alone():
    """SE-09: from its limit on; not on an earlier step, and not by a dry run."""
    release = with_signals()
    for odds, action in ((20.001, "promote"), (19.999, "hold")):
        shown = canary.Tally(candidate_requests=10, champion_requests=90, candidate_mean=0.5, champion_mean=0.25, shown=(math.log(odds),))
        decision = decide(ready(release, won=shown), release, 60, last_step=True)
        assert decision.action == action
        assert decision.numbers["won"] == {
            "candidate_requests": 10, "candidate_events": 0, "champion_requests": 90, "champion_events": 0,
            "candidate_mean": 0.5, "champion_mean": 0.25, "within": 20.0, "wanted": 20,
        }  # fmt: skip
    wanting = decide(ready(release), release, 60, last_step=True)
    assert (wanting.action, "won" in wanting.numbers) == ("hold", False)
    assert (
        "the evidence that it is within what won (mean of score) tolerates is 1 to 1 of the 20 to 1 that promotion wants"
        in wanting.sentence
    )
    assert decide(ready(release), release, 60, last_step=False).action == "advance"
    dry = release.model_copy(update={"signals": (SUCCESS.model_copy(update={"dry_run": True}),)})
    assert decide(ready(dry), dry, 60, last_step=True).action == "promote"
    assert decide(ready(dry, won=canary.Tally(shown=(1.0,))), dry, 60, last_step=True).numbers["won"]["dry_run"] is True
    assert canary.successes(dry) == []
    assert canary.successes(with_signals(a=False)) == [SUCCESS]


def test_figures_of_signals_that_are_added():
    """SE-09: as the ledger keeps them: a dry run is marked, means are there where there are any."""
    release = with_signals(a=False, b=True)
    numbers = canary.figures(add(Evidence(), {}, 0.1, release, judged={"a": tallied(0.25), "b": tallied(0.125)}), release)
    counts = {"candidate_requests": 10, "candidate_events": 4, "champion_requests": 90, "champion_events": 2}
    assert numbers["a"] == {**counts, "evidence": 400.0, "limit": 400}
    assert numbers["b"] == {**counts, "evidence": 800.0, "limit": 800, "dry_run": True}


MISMATCH = Mismatch(share=0.05, candidate=100, requests=1000)


@pytest.mark.parametrize(("reaction", "action"), [("hold", "ask"), ("roll_back", "roll_back"), ("warn", "advance")])
def test_a_split_that_is_not_as_wanted_ends_in_what_the_spec_says(reaction, action):
    """SE-06: a person is asked unless the spec says otherwise; what is worse is rolled back all the same."""
    release = RELEASE.model_copy(update={"on_split_mismatch": reaction})
    evidence = ready(release).model_copy(update={"split": Split(step=1, mismatch=MISMATCH)})
    decision = decide(evidence, release, 60, last_step=False)
    assert decision.action == action
    assert (MISMATCH.sentence in decision.sentence) == (reaction != "warn")
    failing = add(evidence, {"errors": Counts(500, 400, 500, 0)}, 0.5, release)
    assert failing.split == evidence.split
    assert "requests failed" in decide(failing, release, 60, last_step=False).sentence
    assert RELEASE.on_split_mismatch == "hold"


def test_figures_tell_how_requests_are_split():
    """SE-06: once there are any on the step; next to the limit of a release of so many steps."""
    assert "split" not in canary.figures(Evidence(), RELEASE)
    evidence = Evidence(split=Split(step=1, candidate=5, requests=100, evidence=math.log(2)))
    assert canary.figures(evidence, RELEASE)["split"] == {"candidate_requests": 5, "requests": 100, "evidence": 2.0, "limit": 3000}
    assert [canary.shared_steps(RELEASE.model_copy(update={"steps": steps})) for steps in ((100,), (1, 99, 100))] == [0, 2]


def test_a_success_metric_of_events_has_no_mean():
    """SE-09: in the figures."""
    won = SignalSpec(name="won", column="score", event="> 0.9", max_ratio=2, role="success")
    release = RELEASE.model_copy(update={"signals": (won,)})
    evidence = add(Evidence(), {}, 0.1, release, judged={"won": canary.Tally(candidate_requests=3, shown=(0.0,))})
    assert canary.figures(evidence, release)["won"] == {
        "candidate_requests": 3, "candidate_events": 0, "champion_requests": 0, "champion_events": 0, "within": 1.0, "wanted": 20,
    }  # fmt: skip


def test_what_signals_bet_on_stays_what_it_was():
    """OP-08: evidence that a release has kept goes on only beside bets of the same kind."""
    assert canary.ADDED_RATIOS == (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
