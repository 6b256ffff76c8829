"""Realised and expected loss, their intervals, and what counts as a jump."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from perennial.counted import latency_quantile
from perennial.monitoring.figures import DayPerformance
from perennial.monitoring.performance import (
    by_day,
    by_slice,
    estimate,
    expected_roc_auc,
    find_jump,
    first_unseen,
    jump_errors,
    losses,
    over_window,
    service_figures,
    up_to_training,
)

START = datetime(2013, 2, 1, 6, tzinfo=timezone.utc)


def joined(scores, outcomes, days, versions=None):
    """Predictions with outcomes, on days counted from 1 February 2013."""
    when = [START + timedelta(days=int(d)) for d in days]
    return pa.table(
        {
            "event_time": pa.array(when, pa.timestamp("us", "UTC")),
            "scores": pa.array([list(s) for s in scores], pa.list_(pa.float64())),
            "outcome": pa.array(outcomes, pa.float64()),
            "model_version": pa.array([1] * len(when) if versions is None else versions, pa.int64()),
        }
    )


def test_losses_follow_their_formulas():
    """MN-03: Log loss, entropy and squared error of single rows; an unknown outcome has no loss."""
    realised, expected = losses("binary", np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]), np.array([0.0, 1.0, np.nan]))
    np.testing.assert_allclose(realised[:2], [-np.log(0.9), np.log(2)])
    assert np.isnan(realised[2])
    np.testing.assert_allclose(expected, [-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)), np.log(2), -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))])
    realised, expected = losses("regression", np.array([[3.0]]), np.array([1.0]))
    assert (realised[0], expected) == (4.0, None)
    assert np.isfinite(losses("binary", np.array([[1.0, 0.0]]), np.array([1.0]))[0]).all()


@pytest.mark.parametrize("absurd", [1.7e308, 1e154, 1e71])
def test_absurd_outcomes_leave_figures_that_can_be_written(absurd):
    """MN-03: A server takes any finite outcome: two that are absurd make the loss of their days huge, never infinite, which no report could
    hold."""
    rows = joined([[-absurd], [1.0], [2.0]] * 40, [absurd, -absurd, 2.0] * 40, list(range(4)) * 30)
    written = [*map(asdict, by_day("regression", rows)), asdict(over_window("regression", rows, 1))]
    assert json.dumps(written, allow_nan=False, default=str)
    assert by_day("regression", rows)[0].realised > 1e100


def test_calibrated_scores_have_no_excess_and_others_do():
    """MN-03: Where outcomes follow the scores the excess vanishes; where the world changed it shows."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 20000)
    scores, days = np.column_stack([1 - p, p]), np.arange(20000) % 10
    honest = over_window("binary", joined(scores, (rng.random(20000) < p).astype(float), days), 1)
    changed = over_window("binary", joined(scores, (rng.random(20000) < 1 - p).astype(float), days), 1)
    assert abs(honest.excess) < 0.01
    assert changed.excess > 0.3
    assert honest.low < honest.realised < honest.high
    assert (honest.labelled, honest.coverage, honest.blocks) == (20000, 1.0, "days")


def test_the_interval_knows_that_days_differ():
    """MN-03: Days whose losses differ make the interval several times as wide as their rows alone would."""
    rng = np.random.default_rng(1)
    level = np.repeat(rng.uniform(0.1, 0.9, 20), 500)
    table = joined(np.column_stack([1 - level, level]), np.ones(10000), np.repeat(np.arange(20), 500))
    found = over_window("binary", table, 1)
    by_rows = 1.96 * 2 * np.std(-np.log(level)) / np.sqrt(10000)
    assert found.high - found.low > 5 * by_rows


def test_the_interval_covers_the_truth():
    """MN-03: Over 100 simulations with day effects, 95 % intervals from 20 days hold the true mean in at least 86."""
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = rng.normal(2, 0.5, 20).repeat(10) + rng.normal(0, 0.2, 200)
        table = joined(np.zeros((200, 1)), np.sqrt(np.abs(values)), np.repeat(np.arange(20), 10))
        found = over_window("regression", table, seed)
        hits += found.low <= 2.0 <= found.high
    assert hits >= 86


def test_few_days_fall_back_to_rows_and_say_so():
    """MN-03: With one labelled day there are no days to resample."""
    found = over_window("regression", joined([[1.0], [2.0], [4.0]], [1.0, 1.0, None], [0, 0, 1]), 1)
    assert (found.blocks, found.labelled, found.predictions) == ("rows", 2, 3)
    many = over_window("regression", joined(np.ones((12000, 1)), np.random.default_rng(0).normal(size=12000), np.zeros(12000)), 1)
    assert many.low < many.realised < many.high


def test_without_outcomes_there_is_no_loss():
    """MN-03: No label, no figure; no predictions, no day."""
    found = over_window("binary", joined([[0.5, 0.5]], [None], [0]), 1)
    assert (found.realised, found.labelled, found.predictions, found.coverage) == (None, 0, 1, 0.0)
    assert by_day("binary", joined([[0.5, 0.5]], [None], [0]))[0].excess is None
    empty = joined([[0.5, 0.5]], [None], [0]).slice(0, 0)
    assert by_day("binary", empty) == []
    assert over_window("binary", empty, 1).coverage == 0.0


def test_days_are_told_apart():
    """MN-03: Each day has its own coverage and loss."""
    found = by_day("regression", joined([[1.0], [1.0], [3.0]], [0.0, None, 1.0], [0, 0, 2]))
    assert [(d.day, d.predictions, d.labelled, d.realised) for d in found] == [(date(2013, 2, 1), 2, 1, 1.0), (date(2013, 2, 3), 1, 1, 4.0)]
    assert found[0].coverage == 0.5


def test_a_day_is_that_of_the_version_that_answered_most_of_it():
    """MN-03: While a canary takes a share of the requests, its loss is no part of the champion's day."""
    rows = joined([[1.0], [1.0], [9.0], [3.0]], [0.0, 0.0, 0.0, 1.0], [0, 0, 0, 1], versions=[4, 4, 5, 5])
    assert [(d.version, d.predictions, d.realised) for d in by_day("regression", rows)] == [(4, 2, 1.0), (5, 1, 4.0)]


def a_day(number, excess, labelled=500, predictions=500, version=None):
    """A day with that excess loss."""
    return DayPerformance(START.date() + timedelta(days=number), predictions, labelled, 0.5 + excess, 0.5, version)


def jump_of(excess, limit=0.01, since=0):
    """The verdict on days with these excess losses."""
    return find_jump([a_day(i, e) for i, e in enumerate(excess)], limit, START.date() + timedelta(days=since))


CALM = [0.0, 0.03, -0.03, 0.01, -0.02, 0.02, 0.0, -0.01, 0.01, 0.03, -0.03, 0.02]


@pytest.mark.parametrize(
    ("excess", "found"),
    [
        ([*CALM, 0.2, 0.25, 0.3], True),
        ([*CALM, 0.2, 0.25, 0.005], False),  # the last day is as expected
        ([*CALM, 0.011, 0.011, 0.011], False),  # within what is usual
        ([0.0, 0.3, -0.3, 0.2, -0.2, 0.1, 0.1, 0.1], False),
        ([0.0, 0.01, -0.01, 0.2, 0.25, 0.3], False),  # too few days before
        ([0.0, 0.03, -0.03, 0.01, 0.1, 0.1, 0.1], False),  # so few days before that chance may do it,
        ([0.0, 0.03, -0.03, 0.01, 0.4, 0.4, 0.4], True),  # unless it is far beyond them
        ([0.2, 0.25], False),
        ([0.2, 0.21, 0.19, 0.2, 0.2, 0.2, 0.21, 0.2], False),  # always as bad: nothing jumped
        ([*CALM, 0.5, 0.4, 0.6, 0.5, 0.4, 0.2, 0.2, 0.2], True),  # it lasts: its own first days are not what is usual
        ([*CALM[:6], 0.9, *CALM[6:], 0.2, 0.25, 0.3], True),  # nor is one bad day
    ],
)
def test_jumps(excess, found):
    """MN-03: Three bad days in a row beyond what is usual make a jump; less does not."""
    verdict = jump_of(excess)
    assert verdict.found is found
    assert verdict.sentence.endswith(".")


@pytest.mark.parametrize("days", [4, 5, 8, 12, 27, 1000])
def test_few_days_before_are_exceeded_as_seldom_as_many(days):
    """MN-03: What chance alone reaches once in two thousand times asks for more, the fewer days say what is usual."""
    errors, drawn = jump_errors(days), np.random.default_rng(days).standard_t(days - 1, 400_000)
    assert (drawn > errors).mean() == pytest.approx(1 / 2069, rel=0.25)
    assert jump_errors(days + 1) < errors


def by_expansion(days):
    """What earlier states took for the same: the first terms of an expansion (Abramowitz and Stegun 26.7.5)."""
    z, freedom = 3.3, days - 1
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def test_what_was_no_jump_by_the_expansion_is_none():
    """MN-03: The expansion asked for too little where there are few days, by 1.5 % with eleven and 6 % with seven; never for more."""
    apart = {days: jump_errors(days) / by_expansion(days) - 1 for days in range(4, 61)}
    assert all(more > 0 for more in apart.values())
    assert max(more for days, more in apart.items() if days >= 11) < 0.015
    assert max(more for days, more in apart.items() if days >= 7) < 0.06


def test_days_that_the_training_has_seen_show_no_jump():
    """MN-03: The three days must be new to the training in service; until then the loss is said to be worse, and no more is asked for."""
    days = [*CALM, 0.2, 0.25, 0.3]
    assert jump_of(days, since=12).found
    seen = jump_of(days, since=13)
    assert (seen.found, seen.worse) == (False, True)
    assert "days from 2013-02-14 on show" in seen.sentence


def test_what_a_training_has_not_seen():
    """MN-03: Days without a label that it knew, whoever answered them; after a jump only what it answers itself."""
    trained_to, answers = date(2013, 7, 1), date(2013, 7, 9)
    assert first_unseen("schedule", trained_to, answers) == date(2013, 7, 2)
    assert first_unseen("performance", trained_to, answers) == answers


def test_what_a_later_training_answered_is_not_held_against_one_that_came_back():
    """MN-03: Version 5 was rolled back because it was bad: its days are no jump of version 4, or of 6, which is version 4 recalibrated."""
    days = [a_day(i, e, version=4) for i, e in enumerate(CALM)] + [a_day(12 + i, 0.3, version=5) for i in range(3)]
    assert find_jump(days, 0.01, START.date()).found
    assert [d.version for d in up_to_training(days, {4, 6})] == [4] * len(CALM)
    assert not find_jump(up_to_training(days, {4, 6}), 0.01, START.date()).found
    assert up_to_training(days, {5}) == days


def test_a_jump_says_which_days_and_versions_were_compared():
    """MN-03: A person reads which days are compared with which, and who answered them."""
    days = [a_day(i, e, version=3 + i // 8) for i, e in enumerate([*CALM, 0.2, 0.25, 0.3])]
    assert find_jump(days, 0.01, START.date()).sentence == (
        "The excess loss of the last 3 labelled days (2013-02-13 to 2013-02-15, answered by version 4) is 0.200, 0.250, 0.300; over the 12 "
        "labelled days before "
        "(2013-02-01 to 2013-02-12, answered by versions 3, 4) its median was 0.005, and a mean above 0.069 is a jump."
    )


def test_days_with_few_labels_do_not_judge():
    """MN-03: Half-known days, on which early outcomes may be unlike the others, take no part."""
    days = (
        [a_day(i, 0.0) for i in range(6)]
        + [a_day(6 + i, 0.4, labelled=100) for i in range(3)]
        + [a_day(9 + i, 0.4, labelled=20, predictions=20) for i in range(3)]
    )
    assert not find_jump(days, 0.01, START.date()).worse
    assert "No labelled day" in find_jump(days[6:], 0.01, START.date()).sentence


def test_a_regression_without_evaluation_has_no_jump():
    """MN-03: Values say nothing of their own error: where no evaluation does either there is no jump, and the sentence says what asks."""
    days = [DayPerformance(d.day, 500, 500, d.realised, None) for d in (a_day(i, e) for i, e in enumerate([*CALM, 5.0, 5.0, 5.0]))]
    assert "drift and age ask alone" in find_jump(days, 0.01, START.date()).sentence


def errors_of(factors, evaluated=400.0, version=1):
    """Days of a regression whose squared error is so many times that of its evaluation."""
    return [
        DayPerformance(START.date() + timedelta(days=i), 500, 500, evaluated * f, None, version, evaluated) for i, f in enumerate(factors)
    ]


USUAL = [0.6, 1.4, 0.8, 1.1, 2.0, 0.7, 0.9, 1.3, 0.5, 1.0, 1.6, 0.8]  # calm and stormy days


@pytest.mark.parametrize(
    ("last", "found", "worse"),
    [
        ([6.0, 5.0, 7.0], True, True),
        ([1.6, 1.8, 1.5], False, True),  # three bad days, as they come
        ([6.0, 5.0, 0.9], False, False),  # the last day is as at the evaluation
        ([40.0, 0.9, 0.8], False, False),  # one storm is no jump
        ([0.0, 0.0, 0.0], False, False),  # days without any error have a logarithm too
    ],
)
def test_a_regression_has_a_jump_too(last, found, worse):
    """MN-03: The squared error is measured by that of the version's evaluation, on the scale on which days differ by factors."""
    verdict = find_jump(errors_of([*USUAL, *last]), 0.01, START.date())
    assert (verdict.found, verdict.worse, verdict.above) == (found, worse, None)
    assert verdict.loss_above > 400
    assert "times that of the evaluation" in verdict.sentence


def test_the_jump_of_a_regression_in_words():
    """MN-03: A person reads how many times the error of the evaluation it was, and from where on that is a jump."""
    verdict = find_jump(errors_of([*USUAL, 6.0, 5.0, 7.0]), 0.01, START.date())
    assert verdict.sentence == (
        "The squared error of the last 3 labelled days (2013-02-13 to 2013-02-15, answered by version 1) is 6, 5, 7 times that of the "
        "evaluation; over the 12 labelled days before (2013-02-01 to 2013-02-12, answered by version 1) its median was 0.949, and a "
        f"geometric mean above {verdict.loss_above / 400:.3g} is a jump."
    )


def test_each_version_of_a_regression_is_measured_by_its_own_evaluation():
    """MN-03: A version that was better at its evaluation has jumped where an earlier one with the same error had not."""
    days = errors_of([*USUAL, 1.2, 1.1, 1.3])
    assert not find_jump(days, 0.01, START.date()).found
    better = [replace(d, evaluated=40.0, version=2) for d in days[-3:]]
    assert find_jump(days[:-3] + better, 0.01, START.date()).found


def test_the_evaluated_loss_of_a_day_is_that_of_its_version():
    """MN-03: Of a version without an evaluation none is known, and its days do not judge."""
    rows = joined([[1.0]] * 80, [3.0] * 80, [0] * 40 + [1] * 40, [1] * 40 + [2] * 40)
    days = by_day("regression", rows, {1: 2.0})
    assert [d.evaluated for d in days] == [2.0, None]
    assert days[0].surprise == pytest.approx(np.log(2))
    assert days[1].surprise is None
    assert a_day(0, 0.25).surprise == pytest.approx(0.25)


@pytest.mark.parametrize("together", [0.0, 0.5])
def test_storms_make_few_jumps_of_a_regression(together):
    """MN-03: Over 2,000 histories of a month whose days differ by a factor of two and more, fewer than one look in fifty finds a jump, and
    so with storms that last; five times the error for three days is found in more than two of three."""
    rng = np.random.default_rng(4)
    found = missed = 0
    for _ in range(1000):
        noise = rng.normal(0, 0.6, 30)
        for i in range(1, 30):
            noise[i] = together * noise[i - 1] + np.sqrt(1 - together**2) * noise[i]
        found += find_jump(errors_of(np.exp(noise)), 0.01, START.date()).found
        noise[-3:] += np.log(5)
        missed += not find_jump(errors_of(np.exp(noise)), 0.01, START.date()).found
    assert found < 20
    assert missed < 330


@pytest.mark.parametrize("days", [7, 10, 20, 30])
def test_chance_makes_few_jumps(days):
    """MN-03: Over 2,000 honest histories, fewer than one look in fifty finds a jump, however few days there are before."""
    rng = np.random.default_rng(2)
    assert sum(jump_of(rng.normal(0, 0.05, days)).found for _ in range(2000)) < 40


def test_service_figures_come_from_the_log():
    """MN-04: Rate and quantiles of answer times; an empty window has none."""
    served = [START + timedelta(milliseconds=100 * i) for i in range(101)]
    table = pa.table({"served_at": pa.array(served, pa.timestamp("us", "UTC")), "milliseconds": np.arange(101.0)})
    found = service_figures(table)
    assert (found.predictions, found.seconds, found.p50_ms, found.p99_ms) == (101, 10.0, 50.0, 99.0)
    assert found.per_second == pytest.approx(10.1)
    assert service_figures(table.slice(0, 0)).p50_ms is None
    assert service_figures(table.slice(0, 1).set_column(1, "milliseconds", pa.array([None], pa.float64()))).p99_ms is None
    scored = table.slice(0, 1).set_column(1, "milliseconds", pa.array([None], pa.float64()))
    assert service_figures(pa.concat_tables([table, scored])) == found, "no request waited for a score of a batch"


def test_quantiles_of_a_cumulative_histogram():
    """MN-04: The bound of the cell that holds the quantile; none where nothing was counted or only the open cell holds it."""
    cumulative = ((1.0, 50), (5.0, 98), (float("inf"), 100))
    assert latency_quantile(cumulative, 0.5) == 1.0
    assert latency_quantile(cumulative, 0.98) == 5.0
    assert latency_quantile(cumulative, 0.99) is None
    assert latency_quantile(((1.0, 0),), 0.5) is None
    assert latency_quantile((), 0.5) is None


def test_slices_have_their_own_loss():
    """MN-03, MO-21: A slice in which the outcomes turn against the scores shows it, the other does not; small and unlabelled ones are left
    out."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.1, 0.9, 4000)
    carrier = np.where(np.arange(4000) % 2, "AA", "B6")
    outcomes = (rng.random(4000) < np.where(carrier == "AA", p, 1 - p)).astype(float)
    carrier[:20], outcomes[20:40], carrier[20:70:1] = "ZZ", np.nan, "YY"
    table = joined(np.column_stack([1 - p, p]), [None if np.isnan(o) else o for o in outcomes], np.arange(4000) % 5)
    found = {s.name: s.performance for s in by_slice("binary", table, {"carrier": carrier}, 1)}
    assert set(found) == {"AA", "B6", "YY"}
    assert abs(found["AA"].excess) < 0.03
    assert found["B6"].excess > 0.2
    assert (found["YY"].labelled, found["YY"].predictions) == (30, 50)
    assert found["B6"].low < found["B6"].realised < found["B6"].high
    assert by_slice("binary", table.slice(0, 0), {"carrier": carrier[:0]}, 1) == []


def test_at_most_twenty_slices_of_a_column_are_shown():
    """MO-21: The most frequent ones."""
    names = np.concatenate([np.repeat(np.arange(30), 40), np.repeat(99, 100)]).astype(str)
    table = joined(np.ones((len(names), 1)), np.zeros(len(names)), np.arange(len(names)) % 4)
    found = by_slice("regression", table, {"gate": names}, 1)
    assert (len(found), found[0].name, found[0].performance.realised) == (20, "99", 1.0)


def test_the_estimate_equals_what_happens_where_scores_are_true():
    """MN-03: Loss, accuracy and ROC AUC from the scores alone agree with those of drawn outcomes; a shift of the inputs moves both
    alike."""
    rng = np.random.default_rng(4)
    for low, high in ((0.05, 0.95), (0.3, 0.6)):
        p = rng.uniform(low, high, 60000)
        outcomes = (rng.random(60000) < p).astype(float)
        table = joined(np.column_stack([1 - p, p]), outcomes, np.arange(60000) % 3)
        found = estimate("binary", table)
        assert found.loss == pytest.approx(over_window("binary", table, 1).realised, abs=0.006)
        assert found.accuracy == pytest.approx(np.mean((p >= 0.5) == outcomes), abs=0.006)
        ranks = p.argsort().argsort() + 1.0
        positives = outcomes.sum()
        area = (ranks[outcomes == 1].sum() - positives * (positives + 1) / 2) / (positives * (60000 - positives))
        assert found.roc_auc == pytest.approx(area, abs=0.006)


def test_the_expected_roc_auc_is_the_mean_over_all_outcomes():
    """MN-03: Against the definition, pair by pair, with ties; and none where no two rows can differ."""
    p = np.array([0.1, 0.4, 0.4, 0.9])
    above = sum(p[i] * (1 - p[j]) * ((p[i] > p[j]) + 0.5 * (p[i] == p[j])) for i in range(4) for j in range(4) if i != j)
    pairs = sum(p[i] * (1 - p[j]) for i in range(4) for j in range(4) if i != j)
    assert expected_roc_auc(p) == pytest.approx(above / pairs)
    assert expected_roc_auc(np.ones(5)) is None
    assert expected_roc_auc(np.array([0.3])) is None


def test_the_estimate_is_blind_to_a_changed_concept():
    """MN-03: The same inputs lead to the opposite outcomes: what happened is far worse, and the estimate has not moved."""
    rng = np.random.default_rng(5)
    p = rng.uniform(0.05, 0.95, 5000)
    scores = np.column_stack([1 - p, p])
    before, after = (joined(scores, (rng.random(5000) < q).astype(float), np.arange(5000) % 3) for q in (p, 1 - p))
    assert estimate("binary", before) == estimate("binary", after)
    assert over_window("binary", after, 1).realised > over_window("binary", before, 1).realised + 0.3


def test_only_classifiers_are_estimated():
    """MN-03: Several classes have no ROC AUC here; a regression's scores say nothing of its errors."""
    found = estimate("multiclass", joined([[0.2, 0.5, 0.3], [0.8, 0.1, 0.1]], [None, None], [0, 0]))
    assert (found.accuracy, found.roc_auc, found.rows) == (pytest.approx(0.65), None, 2)
    assert estimate("regression", joined([[2.0]], [None], [0])) is None
    assert estimate("binary", joined([[0.5, 0.5]], [None], [0]).slice(0, 0)) is None
