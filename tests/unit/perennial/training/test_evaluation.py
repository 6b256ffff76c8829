"""Metrics: equal to scikit-learn's, and honest about days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from perennial.specs import METRICS
from perennial.training.evaluation import calibration_curve, calibration_error, intervals, metrics, per_row_loss, roc_auc, slice_metrics

RNG = np.random.default_rng(0)


def classes(rows: int, count: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores that know something of them."""
    labels = RNG.integers(0, count, rows)
    logits = RNG.normal(size=(rows, count)) + 1.5 * np.eye(count)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if ties:
        scores = np.round(scores, 1)
        scores[:, 0] = 1 - scores[:, 1:].sum(axis=1)
    return labels, scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rows", [5, 40, 3000])
def test_binary_metrics_are_scikit_learns(rows: int, ties: bool) -> None:
    """MO-08: every one, ties and scores of 0 and 1 included."""
    labels, scores = classes(rows, 2, ties=ties)
    labels[:2] = (0, 1)
    found, predicted = metrics("binary", labels, scores), (scores[:, 1] >= 0.5).astype(int)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    precision, recall, f1, _ = reference.precision_recall_fscore_support(labels, predicted, average="binary", zero_division=0)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, f1))
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(labels, scores[:, 1]))
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, scores))


@pytest.mark.parametrize("count", [3, 10])
def test_multiclass_metrics_are_scikit_learns(count: int) -> None:
    """MO-08: Macro averages; ROC AUC of each class against the rest."""
    labels, scores = classes(500, count)
    found, predicted = metrics("multiclass", labels, scores), scores.argmax(axis=1)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, f1))
    assert found["roc_auc"] == pytest.approx(reference.roc_auc_score(labels, scores, multi_class="ovr", average="macro"))
    assert found["log_loss"] == pytest.approx(reference.log_loss(labels, scores))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))


def test_regression_metrics_are_scikit_learns() -> None:
    """MO-09: MSE, its root and MAE."""
    labels, scores = RNG.normal(size=200), RNG.normal(size=(200, 1))
    found = metrics("regression", labels, scores)
    assert found["mse"] == pytest.approx(reference.mean_squared_error(labels, scores))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(labels, scores))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(labels, scores))
    assert per_row_loss("regression", labels, scores).mean() == pytest.approx(found["mse"])


@st.composite
def labels_and_scores(draw, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A few rows, with ties, scores of exactly 0 and 1, and labels that may all be of one class."""
    rows = draw(st.integers(1, 25))
    tenths = draw(arrays.arrays(np.int64, (rows, classes), elements=st.integers(0, 10)))
    tenths[tenths.sum(axis=1) == 0] = 1
    labels = draw(arrays.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return labels, tenths / tenths.sum(axis=1, keepdims=True)


@settings(max_examples=25)
@given(labels_and_scores(2))
def test_what_a_drawn_binary_evaluation_says_is_scikit_learns(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """MO-08: also where all labels are of one class: precision, recall and F1 are of class 1, and there is no ROC AUC."""
    labels, scores = drawn
    figures, predicted = metrics("binary", labels, scores), (scores[:, 1] >= 0.5).astype(int)
    options = {"labels": [0, 1], "average": None, "zero_division": 0}
    expected = [function(labels, predicted, **options)[1] for function in (reference.precision_score, reference.recall_score)]
    assert [figures["precision"], figures["recall"]] == pytest.approx(expected)
    assert figures["f1"] == pytest.approx(reference.f1_score(labels, predicted, **options)[1])
    assert figures["accuracy"] == pytest.approx(float(np.mean(predicted == labels)))
    assert figures["log_loss"] == pytest.approx(reference.log_loss(labels, scores, labels=[0, 1]))
    assert ("roc_auc" in figures) == (len(set(labels.tolist())) == 2)
    if "roc_auc" in figures:
        assert figures["roc_auc"] == pytest.approx(reference.roc_auc_score(labels, scores[:, 1]))


@settings(max_examples=25)
@given(labels_and_scores(4))
def test_what_a_drawn_evaluation_of_four_classes_says_is_scikit_learns(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """MO-08: the average is over the classes that happened or were predicted; ROC AUC needs all of them."""
    labels, scores = drawn
    figures, predicted = metrics("multiclass", labels, scores), scores.argmax(axis=1)
    present = sorted({*labels.tolist(), *predicted.tolist()})
    for name in ("precision", "recall", "f1"):
        function = getattr(reference, f"{name}_score")
        each = [function(labels == place, predicted == place, zero_division=0) for place in present]
        assert figures[name] == pytest.approx(float(np.mean(each)))
    assert figures["log_loss"] == pytest.approx(reference.log_loss(labels, scores, labels=range(4)))
    every = all(0 < (labels == place).sum() < len(labels) for place in range(4))
    assert ("roc_auc" in figures) == every
    if every:
        expected = [reference.roc_auc_score(labels == place, scores[:, place]) for place in range(4)]
        assert figures["roc_auc"] == pytest.approx(float(np.mean(expected)))


VALUES = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20))
def test_what_a_drawn_regression_says_is_its_formula(pairs: list[tuple[float, float]]) -> None:
    """MO-09: of a single row too; scores are float32 as a network gives them, errors are of float64."""
    labels, scores = np.array([label for label, _ in pairs]), np.array([[score] for _, score in pairs], dtype=np.float32)
    figures, errors = metrics("regression", labels, scores), [float(score[0]) - label for label, score in zip(labels, scores, strict=True)]
    assert figures["mae"] == pytest.approx(sum(abs(error) for error in errors) / len(errors))
    assert figures["mse"] == pytest.approx(sum(error**2 for error in errors) / len(errors))
    assert figures["rmse"] == pytest.approx(figures["mse"] ** 0.5)


def test_a_spec_knows_every_metric() -> None:
    """MO-13: What a floor may name is what an evaluation gives."""
    labels, classes = np.array([0, 1] * 10), np.full((20, 2), 0.5)
    for task in ("binary", "multiclass", "regression"):
        assert sorted(metrics(task, labels, classes)) == sorted(METRICS[task])


def test_a_metric_that_does_not_exist_is_left_out() -> None:
    """MO-08: One class has no ROC AUC; the others stay."""
    labels, scores = np.ones(4, dtype=int), np.tile([0.3, 0.7], (4, 1))
    found = metrics("binary", labels, scores)
    assert "roc_auc" not in found
    assert found["accuracy"] == 1
    assert roc_auc(labels == 1, scores[:, 1]) is None


def test_losses_of_rows_are_finite_and_their_mean_is_the_log_loss() -> None:
    """MO-08: A score of 0 for what happened costs much, not infinity."""
    labels, scores = np.array([1, 0]), np.array([[1.0, 0.0], [0.5, 0.5]])
    losses = per_row_loss("binary", labels, scores)
    assert np.isfinite(losses).all()
    assert losses[1] == pytest.approx(np.log(2))
    assert losses.mean() == pytest.approx(metrics("binary", labels, scores)["log_loss"])


def test_the_calibration_error_is_its_formula() -> None:
    """MO-08: Two bins: half of the rows claim .15 and none came true, half claim .85 and all came true; each bin is .15 off."""
    scores = np.array([[0.85, 0.15]] * 10 + [[0.15, 0.85]] * 10)
    labels = np.array([0] * 10 + [1] * 10)
    assert calibration_error("binary", labels, scores) == pytest.approx(0.15)
    assert calibration_curve("binary", labels, scores) == [(pytest.approx(0.15), 0.0, 0.5), (pytest.approx(0.85), 1.0, 0.5)]


def test_true_probabilities_are_calibrated() -> None:
    """MO-08: Labels drawn from the scores leave an error near nothing, also of many classes."""
    for count, task in ((2, "binary"), (4, "multiclass")):
        scores = RNG.dirichlet(np.ones(count), 50_000)
        labels = (scores.cumsum(axis=1) < RNG.random((50_000, 1))).sum(axis=1)
        assert calibration_error(task, labels, scores) < 0.01


def test_slices_are_the_metrics_of_their_rows() -> None:
    """MO-21: Each value by itself; too small ones are left out."""
    labels, scores = classes(200, 2)
    names = np.array(["a"] * 150 + ["b"] * 45 + ["c"] * 5)
    found = slice_metrics("binary", labels, scores, names, min_rows=30)
    assert set(found) == {"a", "b"}
    assert found["b"] == {"rows": 45.0, **metrics("binary", labels[150:195], scores[150:195])}


def test_intervals_hold_the_figure_and_repeat() -> None:
    """MO-07: The same seed gives the same interval, and the figure itself lies within."""
    labels, scores = classes(600, 2)
    days = np.repeat(np.arange(12), 50)
    found = intervals("binary", labels, scores, days, seed=3)
    assert found == intervals("binary", labels, scores, days, seed=3)
    for name in ("log_loss", "accuracy", "roc_auc"):
        assert found[name][0] < metrics("binary", labels, scores)[name] < found[name][1]


def test_intervals_know_that_days_differ() -> None:
    """MO-07: Where whole days go well or badly, drawing rows would claim an interval several times too narrow."""
    good = np.repeat(RNG.random(10) < 0.5, 200)
    good[:200], good[200:400] = True, False
    labels = np.ones(2000, dtype=int)
    scores = np.where(good[:, None], [[0.1, 0.9]], [[0.9, 0.1]])
    by_day = intervals("binary", labels, scores, np.repeat(np.arange(10), 200))["accuracy"]
    by_row = intervals("binary", labels, scores, np.zeros(2000))["accuracy"]  # one day alone: rows are drawn
    assert by_day[1] - by_day[0] > 4 * (by_row[1] - by_row[0])


@pytest.mark.parametrize(("score", "figure"), [(np.inf, np.inf), (-np.inf, np.inf), (np.nan, np.nan)])
def test_a_score_that_is_no_number_is_a_figure_that_no_gate_takes(score, figure):
    """MO-09: A version that answers one row with no number is measured as no good, and its evaluation does not break."""
    figures = metrics("regression", np.array([1.0, 2.0, 3.0]), np.array([[1.0], [score], [3.0]], dtype=np.float32))
    assert list(figures) == ["mse", "rmse", "mae"]
    np.testing.assert_equal(list(figures.values()), [figure] * 3)
