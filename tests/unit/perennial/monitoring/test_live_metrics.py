"""The metrics of answers with outcomes: their values, their intervals, classes, days; by hand and against scikit-learn."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix

from perennial.classes import MOST_CLASSES
from perennial.counted import wilson
from perennial.monitoring.figures import LiveMetrics
from perennial.monitoring.live_metrics import live_metrics, mean_of, of_classes, of_values
from perennial.training.evaluation import metrics as evaluated

START = datetime(2013, 2, 1, 6, tzinfo=timezone.utc)
T95 = {2: 4.3027, 3: 3.1824}  # Student's t by degrees of freedom


def rows(scores, outcomes, days, versions=None):
    """Predictions with outcomes, on days counted from 1 February 2013."""
    return pa.table(
        {
            "event_time": pa.array([START + timedelta(days=int(d)) for d in days], pa.timestamp("us", "UTC")),
            "scores": pa.array([list(map(float, s)) for s in scores], pa.list_(pa.float64())),
            "outcome": pa.array(outcomes, pa.float64()),
            "model_version": pa.array([1] * len(outcomes) if versions is None else versions, pa.int64()),
        }
    )


def days(*counts):
    """So many rows of each day."""
    return np.repeat(np.arange(len(counts)), counts).astype("datetime64[D]")


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_values_are_those_of_an_evaluation(task):
    """MN-03: Live metrics and those of the gate's test rows are one definition: the same rows give the same values."""
    rng = np.random.default_rng(1)
    size = {"binary": 2, "multiclass": 4, "regression": 1}[task]
    scores = rng.dirichlet(np.ones(size), 300) if size > 1 else rng.normal(0, 5, (300, 1))
    outcomes = rng.normal(0, 5, 300) if size == 1 else rng.integers(0, max(size - 1, 2), 300).astype(float)  # of four classes one never is
    joined = rows(scores, outcomes, np.arange(300) % 6)
    found = live_metrics(task, tuple("abcd"[:size]) if size > 1 else (), joined, joined)
    wanted = evaluated(task, outcomes, scores)
    assert {name: metric.value for name, metric in found.metrics.items()} == pytest.approx({name: wanted[name] for name in found.metrics})
    assert list(found.metrics) == (["rmse", "mae"] if size == 1 else ["accuracy", "precision", "recall", "f1"])
    if size > 1:
        answers = (scores[:, 1] >= 0.5) if size == 2 else scores.argmax(axis=1)
        assert [list(row) for row in found.confusion] == confusion_matrix(outcomes, answers, labels=range(size)).tolist()


def test_a_probability_of_one_half_is_the_positive_class():
    """MN-03: The threshold is the one that the version answers with."""
    joined = rows([[0.5, 0.5], [0.51, 0.49]], [1.0, 0.0], [0, 0])
    assert live_metrics("binary", ("a", "b"), joined, joined).metrics["accuracy"].value == 1.0


def test_the_interval_is_the_jackknife_over_days():
    """MN-03: By hand: four days of ten rows with 9, 8, 4 and 7 right. Student's t with three degrees of freedom."""
    right = [9, 8, 4, 7]
    outcomes = np.zeros(40, dtype=np.int64)
    answers = np.concatenate([[0] * r + [1] * (10 - r) for r in right])
    found = of_classes(("a", "b"), outcomes, answers, days(10, 10, 10, 10), 1).metrics["accuracy"]
    without = np.array([(28 - r) / 30 for r in right])
    reach = T95[3] * math.sqrt(3 / 4 * ((without - without.mean()) ** 2).sum())
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7 - reach, min(0.7 + reach, 1.0)), abs=1e-4)


def test_days_of_unlike_size_count_by_their_rows():
    """MN-03: Each day is left out whole, the other days with all of their rows."""
    errors = np.array([1.0] * 10 + [2.0] * 30 + [4.0] * 20)
    found = of_values(np.zeros(60), errors, days(10, 30, 20)).metrics["mae"]
    without = np.array([140 / 50, 90 / 30, 70 / 40])
    reach = T95[2] * math.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    assert (found.value, found.low, found.high) == pytest.approx((2.5, max(2.5 - reach, 0), 2.5 + reach), abs=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_from_three_days_on_the_days_are_what_is_independent(count):
    """MN-03: With fewer the rows are taken, and the metrics say so."""
    outcomes = np.arange(60) % 2
    answers = np.where(np.arange(60) % 5 == 0, 1 - outcomes, outcomes)
    found = of_classes(("a", "b"), outcomes, answers, days(*[60 // count] * count), 1)
    assert found.units == ("days" if count >= 3 else "rows")
    values = of_values(np.zeros(60), np.ones(60), days(*[60 // count] * count))
    assert values.units == found.units
    assert (values.metrics["mae"].low, values.metrics["mae"].high) == (None, None)  # nothing shows how far chance moves it


def test_no_share_is_surer_than_of_independent_rows():
    """MN-03: Where all was right on each day, days do not differ, and that is no certainty: Wilson's interval stands."""
    outcomes = np.tile([0, 1], 45)
    found = of_classes(("a", "b"), outcomes, outcomes, days(30, 30, 30), 1)
    for name, of in (("accuracy", 90), ("precision", 45), ("recall", 45)):
        assert (found.metrics[name].low, found.metrics[name].high) == pytest.approx((wilson(of, of)[0], 1.0))
    low = wilson(45, 45)[0]
    assert found.metrics["f1"].low == pytest.approx(2 * low / (1 + low))
    assert found.each[0].precision.low == pytest.approx(wilson(45, 45)[0])


def test_f1_of_rows_holds_by_way_of_the_hits():
    """MN-03: Eight hits in ten hits and misses: F1 is 16 of 18, and no surer than that share of ten."""
    outcomes, answers = np.array([1] * 9 + [0]), np.array([1] * 8 + [0, 1])
    found = of_classes(("a", "b"), outcomes, answers, days(10), 1).metrics["f1"]
    low, high = wilson(8, 10)
    assert found.value == pytest.approx(16 / 18)
    assert found.low <= 2 * low / (1 + low) + 1e-12
    assert found.high >= 2 * high / (1 + high) - 1e-12


@pytest.mark.parametrize(("count", "each"), [(3, 200), (5, 100), (14, 50)])
def test_the_intervals_cover_the_truth_where_days_differ(count, each):
    """MN-03: Days whose accuracy differs: the truth lies within in 90 of 100 windows at least, as little as three days there are; Wilson's
    interval alone would miss it in every fifth."""
    rng = np.random.default_rng(count)
    covered = {"accuracy": 0, "f1": 0, "mae": 0, "rmse": 0}
    alone = 0
    for _ in range(300):
        good = np.clip(rng.normal(0.8, 0.06, count), 0, 1)
        day = np.repeat(np.arange(count), each)
        outcomes = rng.integers(0, 2, count * each)
        answers = np.where(rng.random(count * each) < good[day], outcomes, 1 - outcomes)
        spread = np.exp(rng.normal(0, 0.3, count))[day]
        found = of_classes(("a", "b"), outcomes, answers, day.astype("datetime64[D]"), 1).metrics
        found |= of_values(np.zeros(len(day)), rng.normal(0, spread), day.astype("datetime64[D]")).metrics
        truth = {"accuracy": 0.8, "f1": 0.8, "mae": math.sqrt(2 / math.pi) * math.exp(0.045), "rmse": math.exp(0.09)}
        for name in covered:
            covered[name] += found[name].low <= truth[name] <= found[name].high
        low, high = wilson(float((answers == outcomes).sum()), len(day))
        alone += low <= 0.8 <= high
    assert covered["accuracy"] >= 276
    assert min(covered.values()) >= 255
    assert alone < 240


def test_each_class_and_what_nothing_can_be_said_of():
    """MN-03: A class that was never answered has no precision; the mean counts it as 0, as an evaluation does."""
    outcomes, answers = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 0, 0, 1])
    found = of_classes(("a", "b", "c", "d"), outcomes, answers, days(2, 2, 2), None)
    each = {c.name: c for c in found.each}
    assert [(c.rows, c.predicted) for c in found.each] == [(2, 4), (2, 2), (2, 0), (0, 0)]
    assert (each["a"].precision.value, each["a"].recall.value, each["b"].precision.value) == (0.5, 1.0, 0.5)
    assert (each["c"].precision, each["c"].recall.value, each["d"].recall, each["d"].f1) == (None, 0.0, None, None)
    assert found.metrics["precision"].value == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert found.metrics["recall"].value == pytest.approx((1 + 0.5 + 0) / 3)


def test_of_many_classes_the_most_frequent_are_shown_and_the_others_are_one():
    """MN-03: The matrix stays small; the means are over all classes."""
    size = MOST_CLASSES + 5
    outcomes = np.concatenate([np.repeat(np.arange(MOST_CLASSES), 4), np.arange(MOST_CLASSES, size)])
    found = of_classes(tuple(map(str, range(size))), outcomes, outcomes, days(*[17] * 5), None)
    assert found.classes == (*map(str, range(MOST_CLASSES)), "the rest")
    assert (len(found.each), len(found.confusion), found.confusion[-1][-1]) == (MOST_CLASSES, MOST_CLASSES + 1, 5)
    assert found.metrics["f1"].value == 1.0


def test_an_anomaly_model_is_measured_by_its_alarms():
    """MN-03: Of rows that somebody judged: precision and recall of the alarms, by score and alarm."""
    joined = rows([[9.0, 1], [8.0, 1], [1.0, 0], [2.0, 0], [3.0, 0]], [1.0, 0.0, 0.0, 1.0, None], [0] * 5)
    found = live_metrics("anomaly", (), joined, joined)
    assert (found.labelled, found.metrics["precision"].value, found.metrics["recall"].value) == (4, 0.5, 0.5)
    assert found.confusion == ((1, 1), (1, 1))


def test_a_line_by_day_is_of_the_version_that_answered_most_of_it():
    """MN-03: Days without outcomes are left out; those of another version count for their day, not for the window."""
    scores = [[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.9, 0.1]]
    joined = rows(scores, [0.0, 0.0, 0.0, 1.0, None], [0, 1, 1, 2, 3], [1, 2, 1, 2, 2])
    found = live_metrics("binary", ("a", "b"), joined.slice(3), joined)
    assert (found.labelled, found.metrics["accuracy"].value) == (1, 0.0)
    assert [(day.day, day.version, day.labelled, day.metrics["accuracy"].value) for day in found.days] == [
        (date(2013, 2, 1), 1, 1, 1.0),
        (date(2013, 2, 2), 1, 1, 0.0),
        (date(2013, 2, 3), 2, 1, 0.0),
    ]


def test_without_outcomes_there_is_nothing():
    """MN-03: No rows, or none with an outcome: no metric, rather than one of nothing."""
    empty = rows([], [], [])
    assert live_metrics("binary", ("a", "b"), empty, empty) == LiveMetrics()
    unknown = rows([[0.9, 0.1]], [None], [0])
    assert live_metrics("binary", ("a", "b"), unknown, unknown) == LiveMetrics()


def test_one_row_has_no_interval_of_its_own():
    """MN-03: A single row shows no spread: Wilson's interval of a share, none of a mean."""
    found = of_classes(("a", "b"), np.array([1]), np.array([1]), days(1), 1).metrics
    assert found["accuracy"].low == pytest.approx(wilson(1, 1)[0])
    value = of_values(np.zeros(1), np.array([3.0]), days(1)).metrics["rmse"]
    assert (value.value, value.low, value.high) == (3.0, None, None)


def test_absurd_values_stay_finite():
    """MN-03: Two outcomes that are absurd make huge figures, never infinite ones, which no report could hold."""
    found = of_values(np.array([1e308, -1e308, 2.0, 3.0]), np.array([-1e308, 1e308, 2.0, 1.0]), days(1, 1, 1, 1))
    assert all(math.isfinite(end) for metric in found.metrics.values() for end in (metric.value, metric.low, metric.high))
    assert of_values(np.zeros(4), np.array([9.0, 0.1, 0.1, 0.1]), days(1, 1, 1, 1)).metrics["rmse"].low == 0.0


def test_three_days_are_enough_for_classes():
    """MN-03: By hand: three days of ten rows with 9, 8 and 4 right, so unlike that rows alone would say too much."""
    answers = np.concatenate([[0] * r + [1] * (10 - r) for r in (9, 8, 4)])
    found = of_classes(("a", "b"), np.zeros(30, dtype=np.int64), answers, days(10, 10, 10), 1).metrics["accuracy"]
    without = np.array([12 / 20, 13 / 20, 17 / 20])
    reach = T95[2] * math.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum())
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7 - reach, 1.0), abs=1e-4)


def test_a_day_may_lack_what_other_days_have():
    """MN-03: The last day has answers of one class alone."""
    outcomes, answers = np.array([0, 1, 1, 0, 1, 0, 0, 0]), np.array([0, 1, 0, 1, 1, 0, 0, 0])
    found = of_classes(("a", "b"), outcomes, answers, days(3, 3, 2), 1)
    assert (found.labelled, found.metrics["accuracy"].value, found.confusion) == (8, 0.75, ((4, 1), (1, 2)))


def test_classes_without_a_rest_have_none():
    """MN-03: The matrix has as many names as rows."""
    found = of_classes(("a", "b"), np.array([0, 1]), np.array([0, 1]), days(2), 1)
    assert (found.classes, len(found.confusion)) == (("a", "b"), 2)


def test_a_class_of_one_row_counts_in_the_mean():
    """MN-03: Answered once and never right: its precision is 0, and the mean is over three."""
    found = of_classes(("a", "b", "c"), np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), days(4), None).metrics
    assert found["precision"].value == pytest.approx(2 / 3)


def test_the_accuracy_of_unlike_days_is_never_surer_than_of_its_rows():
    """MN-03: Three days of the same accuracy: Wilson's interval of all rows."""
    answers = np.concatenate([[0] * 8 + [1] * 2 for _ in range(3)])
    found = of_classes(("a", "b"), np.zeros(30, dtype=np.int64), answers, days(10, 10, 10), 1).metrics["accuracy"]
    assert (found.low, found.high) == pytest.approx(wilson(24, 30))


def test_the_metrics_of_the_positive_class_have_its_own_limits():
    """MN-03: Its precision is bounded by its ten answers, not by the ninety of the other class."""
    outcomes = np.array([1] * 10 + [0] * 90)
    found = of_classes(("a", "b"), outcomes, outcomes, days(100), 1).metrics
    assert found["precision"].low == pytest.approx(wilson(10, 10)[0])
    assert found["recall"].low == pytest.approx(wilson(10, 10)[0])


def test_two_rows_have_an_interval():
    """MN-03: One is left out, one remains; with one degree of freedom that says little."""
    found = of_values(np.zeros(2), np.array([1.0, 2.0]), days(2)).metrics["mae"]
    assert (found.value, found.low, found.high) == pytest.approx((1.5, 0.0, 1.5 + 12.7062 * 0.5), abs=1e-3)


def test_the_mean_of_some_values_has_the_same_interval():
    """MN-02: Days left out in turn, and a share no surer than of its rows."""
    values = np.array([1.0] * 10 + [2.0] * 30 + [4.0] * 20)
    found, units = mean_of(values, days(10, 30, 20), share=False)
    same = of_values(np.zeros(60), values, days(10, 30, 20)).metrics["mae"]
    assert (found.value, found.high, max(found.low, 0), units) == (same.value, same.high, same.low, "days")
    right, units = mean_of(np.array([1.0] * 12 + [0.0] * 8), days(20), share=True)
    assert (right.value, units) == (0.6, "rows")
    assert right.low <= wilson(12, 20)[0]
    surest, _ = mean_of(np.ones(30), days(10, 10, 10), share=True)
    assert (surest.low, surest.high) == pytest.approx((wilson(30, 30)[0], 1.0))
    assert mean_of(np.ones(30), days(10, 10, 10), share=False)[0].low is None


def test_the_positive_class_alone_bounds_the_metrics():
    """MN-03: All metrics of the positive class are its own, whatever the order of the classes."""
    outcomes = np.array([1] * 90 + [0] * 10)
    found = of_classes(("a", "b"), outcomes, outcomes, days(100), 1).metrics
    assert found["precision"].low == pytest.approx(wilson(90, 90)[0])
    several = of_classes(("a", "b"), outcomes, outcomes, days(100), None).metrics
    assert (several["precision"].low, several["precision"].high) == (None, None)
    first = of_classes(("a", "b"), outcomes, outcomes, days(100), 0).metrics
    assert first["precision"].low == pytest.approx(wilson(10, 10)[0])
