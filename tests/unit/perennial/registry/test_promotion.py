"""The gate refuses what is worse, as often as it says, and names the reason."""

from statistics import NormalDist

import numpy as np
import pytest

from perennial.registry import promotion
from perennial.registry.promotion import (
    SLICE_ROWS,
    Check,
    Losses,
    beats_champion,
    excess,
    improves,
    judge,
    old_context,
    passes_floors,
    student,
)
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
    """Five days, the fewest that are drawn whole, at the usual level: a ten-thousandth apart; among twenty slices half a percent."""
    assert student(0.95, 4) == pytest.approx(by_expansion(0.95, 4), rel=2e-4)
    assert student(1 - 0.05 / 20, 4) == pytest.approx(by_expansion(1 - 0.05 / 20, 4), rel=5e-3)
    candidates = [losses(np.random.default_rng(number), worse) for number, worse in enumerate(np.linspace(-0.05, 0.1, 31))]
    now = [beats_champion(candidate, GATE).passed for candidate in candidates]
    monkeypatch.setattr(promotion, "student", by_expansion)
    assert [beats_champion(candidate, GATE).passed for candidate in candidates] == now
    assert set(now) == {True, False}
