"""The gate refuses what is worse, as often as it says, and names the reason."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from perennial.registry import promotion
from perennial.registry.promotion import (
    SLICE_ROWS,
    Check,
    Excess,
    Losses,
    beats_champion,
    excess,
    has_every_class,
    improves,
    judge,
    keeps_its_meaning,
    old_context,
    passes_floors,
    student,
)
from perennial.registry.signatures import Changes
from perennial.specs import GateSpec

GATE = GateSpec(floors={"log_loss": 0.6, "roc_auc": 0.6}, resamples=300)
GOOD = {"log_loss": 0.5, "roc_auc": 0.7}
MATCHING = Check("golden", True, "its golden rows match")


def losses(rng, worse, *, days=7, rows=300, day_spread=0.006):
    """Losses of two versions; the candidate is worse by that share of the champion's loss."""
    day = np.repeat(np.arange(days), rows)
    champion = rng.exponential(0.45, days * rows)
    return Losses(champion + worse * 0.45 + rng.normal(0, 0.12, days * rows) + rng.normal(0, day_spread, days)[day], champion, day)


def share_that_passes(worse, gate=GATE, runs=300, **shape):
    rng = np.random.default_rng(11)
    return sum(beats_champion(losses(rng, worse, **shape), gate).passed for _ in range(runs)) / runs


@pytest.mark.parametrize("shape", [{"days": 7}, {"days": 14}, {"days": 2, "day_spread": 0.0}])
def test_a_candidate_at_the_margin_seldom_passes(shape):
    """MO-13: With a chance of at most alpha (and three standard errors of this simulation), whole days drawn or rows."""
    gate = GATE.model_copy(update={"alpha": 0.1})
    assert share_that_passes(gate.margin, gate, runs=500, **shape) <= 0.1 + 3 * (0.1 * 0.9 / 500) ** 0.5


def test_a_clearly_worse_candidate_does_not_pass():
    """MO-13: Twice the margin."""
    assert share_that_passes(2 * GATE.margin, runs=100, rows=860) == 0


@pytest.mark.parametrize(("worse", "least"), [(0.0, 0.8), (-0.02, 0.99)])
def test_equal_and_better_candidates_pass(worse, least):
    """MO-13: On six thousand rows of seven days."""
    assert share_that_passes(worse, runs=100, rows=860) >= least


def test_drawing_rows_would_promise_too_much():
    """MO-13: Rows of one day are not independent: taking them so lets through several times alpha."""
    rng, runs = np.random.default_rng(12), 150
    passed = sum(
        excess(Losses(x.candidate, x.champion, np.zeros(len(x.days))), GATE.margin, GATE.alpha, 300).high < 0
        for x in (losses(rng, GATE.margin, rows=860) for _ in range(runs))
    )
    assert passed / runs > 2 * GATE.alpha


@pytest.mark.parametrize(("better", "least", "most"), [(0.0, 0.0, 0.09), (-0.01, 0.0, 0.09), (0.05, 0.97, 1.0)])
def test_a_recalibration_must_be_shown_to_be_better(better, least, most):
    """MO-13, MN-10: One that changes nothing passes with a chance of alpha (and three standard errors of this simulation), a worse one less
    often, a better one nearly always."""
    rng, runs = np.random.default_rng(21), 200
    passed = sum(improves(losses(rng, -better, days=5, rows=860), GATE.alpha, GATE.resamples).passed for _ in range(runs)) / runs
    assert least <= passed <= most


def test_a_recalibration_is_told_by_how_much():
    """MO-13, MN-10: Both losses, the interval and what it must be; a loss that is no number passes nothing."""
    sample = losses(np.random.default_rng(22), -0.2)
    good = improves(sample, GATE.alpha, GATE.resamples)
    assert good.sentence.startswith("it is better than the champion: its loss is 0.")
    assert "7 whole days drawn), and its upper end must be below 0" in good.sentence
    assert good.numbers["difference"] == pytest.approx(good.numbers["candidate_loss"] - good.numbers["champion_loss"])
    assert improves(losses(np.random.default_rng(23), 0.2), GATE.alpha, GATE.resamples).sentence.startswith("it is not shown to be better")
    sample.candidate[5] = np.nan
    assert not improves(sample, GATE.alpha, GATE.resamples).passed


def test_the_verdict_names_numbers():
    """MO-13: A refusal says by how much, on how many rows, and what is allowed."""
    rng = np.random.default_rng(13)
    worse = beats_champion(losses(rng, 0.2), GATE)
    assert not worse.passed
    assert worse.sentence.startswith("it is worse than the champion: its loss is 0.5")
    assert "2,100 rows" in worse.sentence
    assert "7 whole days drawn" in worse.sentence
    assert beats_champion(losses(rng, -0.2), GATE).sentence.startswith("it is better than the champion")
    unclear = beats_champion(losses(rng, 0.0, rows=10, days=3), GATE)
    assert (unclear.passed, unclear.sentence.split(":")[0]) == (False, "it is not shown to be as good as the champion")
    assert "rows drawn" in unclear.sentence


def test_the_same_evidence_gives_the_same_verdict():
    """MO-13: A repeated stage decides alike."""
    sample = losses(np.random.default_rng(14), 0.01)
    assert beats_champion(sample, GATE) == beats_champion(sample, GATE)


def test_a_loss_that_is_no_number_passes_nothing():
    """MO-13: Neither on the test split nor on older data."""
    sample = losses(np.random.default_rng(16), -0.2)
    sample.candidate[5] = np.nan
    assert not beats_champion(sample, GATE).passed
    assert not old_context({"all older rows": sample}, GATE).passed


def test_identical_versions_pass():
    """MO-13: A version compared with itself differs by nothing."""
    same = losses(np.random.default_rng(15), 0.0)
    assert beats_champion(Losses(same.champion, same.champion, same.days), GATE).passed


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"log_loss": 0.7, "roc_auc": 0.7}, ["log loss is 0.7000 and must be at most 0.6"]),
        ({"log_loss": 0.5, "roc_auc": 0.5}, ["roc auc is 0.5000 and must be at least 0.6"]),
        (
            {"log_loss": float("nan")},
            ["log loss could not be computed, and its floor is 0.6", "roc auc could not be computed, and its floor is 0.6"],
        ),
        (GOOD, []),
    ],
)
def test_floors(metrics, words):
    """MO-13: Each missed floor is named with both figures; a metric that could not be computed is missed."""
    assert passes_floors(metrics, GATE) == words


def test_good_on_new_and_bad_on_old_is_refused():
    """MO-20: A slice of older data that got worse beyond the margin and beyond chance."""
    rng = np.random.default_rng(16)
    slices = {
        "all older rows": losses(rng, 0.0),
        "carrier UA": losses(rng, 0.3),
        "carrier AA": losses(rng, -0.1),
        "carrier XX": losses(rng, 3.0, rows=2),
    }
    check = old_context(slices, GATE)
    assert not check.passed
    assert "carrier UA" in check.sentence
    assert "carrier AA" not in check.sentence
    assert "carrier XX" not in check.numbers["slices"], f"fewer than {SLICE_ROWS} rows"
    verdict = judge(GATE, GOOD, MATCHING, losses=losses(rng, -0.1), older=slices)
    assert (verdict.passed, [c.name for c in verdict.checks if not c.passed]) == (False, ["old_context"])


def test_many_equal_slices_seldom_refuse():
    """MO-20: Alpha is divided among the slices: noise in some of twenty refuses at most one in twenty equal candidates."""
    rng, runs = np.random.default_rng(17), 60
    refused = sum(
        not old_context({str(i): losses(rng, 0.0, rows=40, day_spread=0.004) for i in range(20)}, GATE).passed for _ in range(runs)
    )
    assert refused <= 5


def test_the_first_version_meets_floors_and_golden_rows_only():
    """MO-13: Without a champion there is nothing to compare."""
    assert judge(GATE, GOOD, MATCHING).passed
    assert not judge(GATE, {"log_loss": 0.9, "roc_auc": 0.7}, MATCHING).passed
    broken = judge(GATE, GOOD, Check("golden", False, "golden row 3 differs"))
    assert (broken.passed, broken.sentence) == (False, "Golden row 3 differs.")
    assert broken.as_json()["checks"][1] == {"name": "golden", "passed": False, "sentence": "golden row 3 differs"}


def test_a_margin_on_the_root_is_one_on_squares():
    """MO-13: For rmse the losses are squared errors: two percent of the root are four of the square."""
    sample = losses(np.random.default_rng(18), 0.0)
    allowed = {m: beats_champion(sample, GateSpec(metric=m, floors={}, margin=0.02)).numbers["allowed"] for m in ("rmse", "mse")}
    assert allowed["rmse"] == pytest.approx(allowed["mse"] * 2.02)


def test_a_small_but_certain_loss_is_refused():
    """MO-13: Within the margin and shown to be worse: many of these would add up."""
    champion = np.random.default_rng(19).exponential(0.45, 7000)
    check = beats_champion(Losses(champion * 1.01, champion, np.repeat(np.arange(7), 1000)), GATE)
    assert check.numbers["interval"][1] < check.numbers["allowed"]
    assert not check.passed
    assert "worse than the champion" in check.sentence


@pytest.mark.parametrize(("level", "freedom", "value"), [(0.95, 4, 2.1318), (0.95, 6, 1.9432), (0.975, 10, 2.2281), (0.99, 30, 2.4573)])
def test_students_quantile(level, freedom, value):
    """MO-13: Within one percent of the tables."""
    assert student(level, freedom) == pytest.approx(value, rel=0.01)


def by_expansion(level, freedom):
    """What earlier states took for Student's quantile: an expansion (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def test_the_gate_decides_as_it_did_by_the_expansion(monkeypatch):
    """MO-13: Five days, the fewest that are drawn whole, at the usual level: a ten-thousandth apart; among twenty slices half a percent."""
    assert student(0.95, 4) == pytest.approx(by_expansion(0.95, 4), rel=2e-4)
    assert student(1 - 0.05 / 20, 4) == pytest.approx(by_expansion(1 - 0.05 / 20, 4), rel=5e-3)
    candidates = [losses(np.random.default_rng(number), worse) for number, worse in enumerate(np.linspace(-0.05, 0.1, 31))]
    now = [beats_champion(candidate, GATE).passed for candidate in candidates]
    monkeypatch.setattr(promotion, "student", by_expansion)
    assert [beats_champion(candidate, GATE).passed for candidate in candidates] == now
    assert set(now) == {True, False}


# What follows: small cases worked by hand, what happens at each border, and the whole sentence of each verdict.

QUARTERS = GateSpec(floors={}, margin=0.25, old_context_margin=0.25, alpha=0.125, resamples=300)


def flat(difference, *, champion=1.0, days=7, rows=40):
    """Losses that differ by the same on every row, so that every interval is a point. Exact where the numbers are quarters."""
    count = days * rows
    return Losses(np.full(count, champion + difference), np.full(count, champion), np.repeat(np.arange(days), rows))


@pytest.mark.parametrize(("days", "drawn"), [(4, "rows"), (5, "5 whole days"), (7, "7 whole days")])
def test_a_difference_that_never_varies_is_known_exactly(days, drawn):
    """MO-13: the mean of candidate minus (1 + margin) x champion, without any spread; days are drawn from five on."""
    point = excess(flat(0.5, champion=2.0, days=days), 0.25, 0.05, 300)
    assert (point.value, point.low, point.high, point.drawn) == (0, 0, 0, drawn)
    assert excess(flat(0.25, champion=2.0, days=days), 0.0, 0.05, 300) == Excess(0.25, 0.25, 0.25, drawn)
    assert excess(flat(-0.5, champion=2.0, days=days), 0.5, 0.05, 300).value == -1.5


def test_days_count_by_their_rows():
    """MO-13: a mean over rows, not over days, however many rows each day has."""
    days = np.repeat(np.arange(5), (1, 2, 3, 4, 90))
    differences = np.where(days == 4, 1.0, 0.0)
    point = excess(Losses(differences, np.zeros(100), days), 0.0, 0.05, 300)
    assert point.value == pytest.approx(0.9)
    assert point.high > point.value > point.low


def test_an_interval_of_five_days_worked_by_hand():
    """MO-13: the quantiles of all 3,125 draws of five days, widened by sqrt(5/4) and by Student's quantile over the normal one."""
    day_means, alpha = np.array([-3.0, -1.0, 0.0, 2.0, 7.0]), 0.1
    losses_of_days = Losses(np.repeat(day_means, 10), np.zeros(50), np.repeat(np.arange(5), 10))
    every = np.array([np.mean(drawn) for drawn in itertools.product(day_means, repeat=5)]) - day_means.mean()
    widening = math.sqrt(5 / 4) * stats.t.ppf(1 - alpha, 4) / stats.norm.ppf(1 - alpha)
    point = excess(losses_of_days, 0.0, alpha, 20_000)
    assert point.value == pytest.approx(1)
    assert point.low == pytest.approx(1 + widening * np.quantile(every, alpha), abs=0.08)
    assert point.high == pytest.approx(1 + widening * np.quantile(every, 1 - alpha), abs=0.08)


@pytest.mark.parametrize(("rows", "days"), [(40, 1), (300, 4), (12_000, 1)])
def test_an_interval_of_rows_is_the_usual_one(rows, days):
    """MO-13: about the normal quantile times the standard error, whether rows are drawn or groups of them; few are widened."""
    rng = np.random.default_rng(41)
    candidate = rng.normal(size=rows)
    point = excess(Losses(candidate, np.zeros(rows), np.sort(rng.integers(0, days, rows))), 0.0, 0.05, 4000)
    usual = stats.t.ppf(0.95, min(rows, 2000) - 1) * candidate.std(ddof=1) / math.sqrt(rows)
    assert (point.high - point.value, point.value - point.low) == pytest.approx((usual, usual), rel=0.07)
    assert point.drawn == "rows"


def test_students_quantile_of_few_degrees_by_its_formula():
    """MO-13: of one degree the tangent of the angle, of two a square root; and there is no less than one degree."""
    for level in (0.75, 0.95):
        assert student(level, 1) == student(level, 0) == pytest.approx(math.tan(math.pi * (level - 0.5)))
        assert student(level, 2) == pytest.approx((2 * level - 1) / math.sqrt(2 * level * (1 - level)))
    two = excess(Losses(np.array([0.0, 1.0]), np.zeros(2), np.zeros(2)), 0.0, 0.1, 300)
    widening = math.sqrt(2) * math.tan(0.4 * math.pi) / stats.norm.ppf(0.9)
    assert (two.low, two.high) == pytest.approx((0.5 - 0.5 * widening, 0.5 + 0.5 * widening))


def test_the_interval_is_symmetric_and_grows_with_what_is_asked():
    """MO-13: exchanging the versions mirrors it; a smaller chance of error makes it wider; all resamples count."""
    sample = losses(np.random.default_rng(42), 0.0)
    other = Losses(sample.champion, sample.candidate, sample.days)
    one, mirrored = excess(sample, 0.0, 0.05, 300), excess(other, 0.0, 0.05, 300)
    assert (one.value, one.low, one.high) == pytest.approx((-mirrored.value, -mirrored.high, -mirrored.low))
    wider, narrower = excess(sample, 0.0, 0.01, 300), excess(sample, 0.0, 0.2, 300)
    assert wider.low < one.low < narrower.low < narrower.high < one.high < wider.high
    assert len({excess(sample, 0.0, 0.05, resamples).high for resamples in (250, 251, 300, 500, 501)}) == 5


@pytest.mark.parametrize(
    ("difference", "passed", "verdict"),
    [
        (2**-20, False, "worse than the champion"),
        (0.0, True, "shown to be less than 25% worse than the champion, not to be better"),
        (-(2**-20), True, "better than the champion"),
    ],
)
def test_the_champion_at_its_borders(difference, passed, verdict):
    """MO-13: worse by however little and certain is refused; just as good passes and is not called better."""
    check = beats_champion(flat(difference), QUARTERS)
    assert (check.name, check.passed) == ("champion", passed)
    assert check.sentence.startswith(f"it is {verdict}: ")


def test_without_a_margin_the_same_is_not_enough():
    """MO-13: an upper end of just zero is not below it."""
    none = QUARTERS.model_copy(update={"margin": 0.0})
    same = beats_champion(flat(0.0), none)
    assert (same.passed, same.sentence.split(":")[0]) == (False, "it is not shown to be as good as the champion")
    assert beats_champion(flat(-(2**-20)), none).passed


def test_the_whole_sentence_and_all_figures_of_a_comparison():
    """MO-13: both losses, rows, the difference, what was drawn, and what of the champion's loss is allowed."""
    check = beats_champion(flat(0.25, champion=2.0, days=6, rows=500), QUARTERS)
    assert check.sentence == (
        "it is worse than the champion: its loss is 2.2500 and the champion's 2.0000 on the same 3,000 rows; the difference is +0.2500 to "
        "+0.2500 (6 whole days drawn); with 25% of the champion's loss allowed its upper end is -0.2500, and must be below 0"
    )
    figures = {
        "rows": 3000,
        "candidate_loss": 2.25,
        "champion_loss": 2.0,
        "difference": 0.25,
        "interval": [0.25, 0.25],
        "alpha": 0.125,
        "drawn": "6 whole days",
    }
    assert check.numbers == {**figures, "allowed": 0.5}
    better = improves(flat(0.25, champion=2.0, days=6, rows=500), 0.125, 300)
    assert better.numbers == figures
    assert better.name == "champion"
    assert better.sentence == (
        "it is not shown to be better than the champion: its loss is 2.2500 and the champion's 2.0000 on the same 3,000 rows; "
        "the difference is +0.2500 to +0.2500 (6 whole days drawn), and its upper end must be below 0"
    )


def test_the_root_has_the_margin_of_its_square():
    """MO-13: 25 % more of a root is 56.25 % more of the square, on the newest data and on older."""
    gate = QUARTERS.model_copy(update={"metric": "rmse"})
    assert beats_champion(flat(0.0), gate).numbers["allowed"] == 0.5625
    assert old_context({"a": flat(0.5625)}, gate).passed
    assert not old_context({"a": flat(0.5626)}, gate).passed


@pytest.mark.parametrize(("difference", "passed"), [(2**-20, False), (0.0, False), (-(2**-20), True)])
def test_a_recalibration_at_its_border(difference, passed):
    """MO-13: only what is shown to be better passes."""
    assert improves(flat(difference), 0.125, 300).passed is passed


@pytest.mark.parametrize(("difference", "passed"), [(0.25, True), (0.25 + 2**-20, False), (-1.0, True)])
def test_older_data_at_the_border_of_the_margin(difference, passed):
    """MO-20: what is allowed passes, and a little more does not."""
    assert old_context({"a": flat(difference)}, QUARTERS).passed is passed


def test_older_data_that_are_worse_by_chance_pass():
    """MO-20: beyond the margin, yet zero lies within the interval."""
    days = np.repeat(np.arange(5), 40)
    noisy = Losses(1 + np.array([3.0, -2.0, 3.0, -2.0, 0.0])[days], np.ones(200), days)
    check = old_context({"a": noisy}, QUARTERS)
    assert check.passed
    assert check.numbers["slices"]["a"]["low"] < 0 < check.numbers["slices"]["a"]["allowed"] < check.numbers["slices"]["a"]["difference"]


def test_what_is_not_shown_to_be_as_good_has_its_figures_too():
    """MO-13: neither worse nor within the margin: refused, with what was measured."""
    days = np.repeat(np.arange(5), 40)
    noisy = Losses(1 + np.array([3.0, -2.0, 3.0, -2.0, 0.0])[days], np.ones(200), days)
    check = beats_champion(noisy, QUARTERS)
    assert (check.passed, check.sentence[:30]) == (False, "it is not shown to be as good ")
    assert {name: check.numbers[name] for name in ("rows", "difference", "allowed")} == {"rows": 200, "difference": 0.4, "allowed": 0.25}
    assert check.numbers["interval"][0] < 0 < check.numbers["interval"][1]


def test_two_hundred_rows_are_a_slice():
    """MO-20: with one fewer it is too noisy to be looked at."""
    slices = {"enough": flat(1.0, days=5, rows=40), "few": flat(1.0, days=1, rows=199)}
    check = old_context(slices, QUARTERS)
    assert set(check.numbers["slices"]) == {"enough"}
    assert check.sentence == "it is worse than the champion on older data: enough (+1.0000, 0.2500 is allowed)"
    assert check.name == "old_context"
    assert check.numbers["slices"]["enough"] == {"rows": 200, "difference": 1.0, "low": 1.0, "allowed": 0.25}


def test_alpha_is_divided_among_the_slices_that_count():
    """MO-20: the lower end is that of alpha over their number."""
    sample, others = losses(np.random.default_rng(43), 0.0), {"b": flat(0.0), "c": flat(0.0), "few": flat(0.0, rows=1)}
    check = old_context({"a": sample, **others}, QUARTERS)
    assert check.numbers["slices"]["a"]["low"] == excess(sample, 0.0, QUARTERS.alpha / 3, QUARTERS.resamples).low
    assert (check.passed, check.sentence) == (True, "none of 3 slices of older data got worse")
    assert old_context({}, QUARTERS).sentence == "none of 0 slices of older data got worse"


@pytest.mark.parametrize(("count", "more"), [(1, ""), (3, ""), (4, " and 1 more"), (6, " and 3 more")])
def test_the_worst_slices_are_named_first(count, more):
    """MO-20: three of them by how far each is beyond what is allowed, and how many more there are."""
    check = old_context({f"s{number}": flat(0.5 + number) for number in range(count)}, QUARTERS)
    worst = ", ".join(f"s{number} (+{number}.5000, 0.2500 is allowed)" for number in range(count - 1, max(count - 4, -1), -1))
    assert check.sentence == f"it is worse than the champion on older data: {worst}{more}"
    one_of_two = old_context({"champion of large losses": flat(1.5, champion=4.0), "other": flat(1.0)}, QUARTERS)
    assert one_of_two.sentence.index("other") < one_of_two.sentence.index("champion of large losses")


@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1", "roc_auc"])
def test_a_floor_of_what_should_be_high(metric):
    """MO-13: at the floor it is met, below it is not."""
    gate = GateSpec(floors={metric: 0.5})
    assert passes_floors({metric: 0.5}, gate) == []
    words = metric.replace("_", " ")
    assert passes_floors({metric: 0.4999}, gate) == [f"{words} is 0.4999 and must be at least 0.5"]


@pytest.mark.parametrize("metric", ["log_loss", "rmse", "mean_absolute_error"])
def test_a_floor_of_what_should_be_low(metric):
    """MO-13: at the floor it is met, above it is not; infinity is met by nothing."""
    gate = GateSpec(floors={metric: 0.5})
    assert passes_floors({metric: 0.5}, gate) == []
    words = metric.replace("_", " ")
    assert passes_floors({metric: 0.5001}, gate) == [f"{words} is 0.5001 and must be at most 0.5"]
    assert passes_floors({metric: -math.inf}, gate) == [f"{words} could not be computed, and its floor is 0.5"]


def test_a_verdict_without_a_champion():
    """MO-13: says so, in the caller's words where it has some, and keeps each check with its figures."""
    verdict = judge(GATE, GOOD, MATCHING)
    assert (verdict.passed, verdict.sentence) == (True, "There is no champion yet.")
    assert verdict.as_json() == {
        "passed": True,
        "sentence": "There is no champion yet.",
        "checks": [
            {
                "name": "floors",
                "passed": True,
                "sentence": "every floor is met",
                "metrics": GOOD,
                "floors": {"log_loss": 0.6, "roc_auc": 0.6},
            },
            {"name": "golden", "passed": True, "sentence": "its golden rows match"},
            {"name": "champion", "passed": True, "sentence": "there is no champion yet"},
        ],
    }
    assert judge(GATE, GOOD, MATCHING, not_compared="the champion cannot be loaded").sentence == "The champion cannot be loaded."
    missing = judge(GATE, {"log_loss": 0.7}, Check("golden", False, "golden row 3 differs"))
    assert not missing.passed
    assert missing.sentence == (
        "Log loss is 0.7000 and must be at most 0.6; roc auc could not be computed, and its floor is 0.6; golden row 3 differs."
    )
    assert missing.checks[0].numbers["metrics"] == {"log_loss": 0.7, "roc_auc": None}
    assert (missing.checks[0].name, missing.checks[0].passed) == ("floors", False)


def test_a_verdict_on_a_comparison():
    """MO-13: what refuses is said and nothing else; what passes is said of the champion, with what callers should know."""
    noted, silent = Check("signature", True, "callers may go on", {"compatible": ["a"]}), Check("signature", True, "all as before")
    absent = Check("classes", True, "no row is `rare`", {"absent": ["rare"]})
    passed = judge(QUARTERS, {}, MATCHING, losses=flat(-0.5), older={"a": flat(0.0)}, besides=[noted, silent, absent])
    assert [check.name for check in passed.checks] == ["floors", "golden", "champion", "old_context", "signature", "signature", "classes"]
    assert passed.sentence.startswith("It is better than the champion: ")
    assert passed.sentence.endswith("; callers may go on; no row is `rare`.")
    assert passed.sentence.count("; ") == 4
    refused = judge(QUARTERS, {}, MATCHING, losses=flat(-0.5), older={"a": flat(9.0)}, besides=[noted, silent, absent])
    assert (refused.passed, refused.sentence) == (
        False,
        "It is worse than the champion on older data: a (+9.0000, 0.2500 is allowed); no row is `rare`.",
    )
    changed = judge(
        QUARTERS, {}, MATCHING, losses=flat(-0.5), besides=[Check("signature", False, "it means something else", {"meaning": ["b"]})]
    )
    assert (changed.passed, changed.sentence) == (False, "It means something else.")
    assert [check.name for check in changed.checks] == ["floors", "golden", "champion", "old_context", "signature"]
    assert judge(QUARTERS, {}, MATCHING, losses=flat(0.5)).sentence.startswith("It is worse than the champion: its loss is 1.5000")


@pytest.mark.parametrize(
    ("changes", "passed", "sentence"),
    [
        (Changes(), True, "callers send what they sent before"),
        (Changes(compatible=("c1", "c2")), True, "callers of version 3 may go on as they are: c1; c2"),
        (
            Changes(breaking=("b1", "b2"), compatible=("c",)),
            True,
            "it breaks callers of version 3: b1; b2; a person must let it take traffic",
        ),
        (
            Changes(("m1", "m2"), ("b",), ("c",)),
            False,
            "it means something else than version 3: m1; m2. One route cannot answer both, and outcomes would change their meaning: "
            "`perennial retire` the model and give the new meaning a name of its own, or set the spec back",
        ),
    ],
)
def test_what_a_candidate_changes_for_callers(changes, passed, sentence):
    """SE-12: another meaning refuses, a broken caller needs a person, and what nobody notices is said; of each kind what there is."""
    check = keeps_its_meaning(changes, "version 3")
    assert (check.name, check.passed, check.sentence) == ("signature", passed, sentence)
    assert check.numbers == {kind: said for kind, said in changes.as_json().items() if said}


@pytest.mark.parametrize(
    ("rows", "days", "absent", "sentence"),
    [
        ({}, [], [], "the test days have rows of every class"),
        ({"a": 1, "b": 5}, ["2013-01-01", "2013-01-07"], [], "the test days have rows of every class"),
        (
            {"a": 0, "b": 5},
            ["2013-01-01", "2013-01-07"],
            ["a"],
            "no row of the test days (2013-01-01 to 2013-01-07) is `a`, so nothing is shown of such rows: "
            "more of split.test_days may have some",
        ),
        (
            {"a": 0, "b": 5, "c": 0},
            [],
            ["a", "c"],
            "no row of the test days is `a` or `c`, so nothing is shown of such rows: more of split.test_days may have some",
        ),
    ],
)
def test_a_class_that_no_test_row_has(rows, days, absent, sentence):
    """MO-13: is named with the days, and refuses nothing."""
    check = has_every_class(rows, days)
    assert (check.name, check.passed, check.sentence) == ("classes", True, sentence)
    assert check.numbers == ({"absent": absent} if absent else {})


def test_some_rows_of_two_versions():
    """MO-20: both versions' losses and the days of the same rows."""
    every = Losses(np.arange(4.0), np.arange(4.0) * 10, np.arange(4) * 100)
    some = every.where(np.array([False, True, False, True]))
    assert (some.candidate.tolist(), some.champion.tolist(), some.days.tolist()) == ([1, 3], [10, 30], [100, 300])


def test_absent_classes_of_a_split_by_group_are_no_matter_of_days():
    """DM-12, MO-13: The sentence names what would help: a larger share, not more days."""
    said = has_every_class({"late": 0, "on_time": 9}, ["2013-01-01", "2013-01-07"], "groups").sentence
    assert said == "no row of the test part is `late`, so nothing is shown of such rows: a larger split.test_share may have some"
    assert has_every_class({"late": 1}, ["2013-01-01", "2013-01-07"], "random").sentence == "the test part has rows of every class"
