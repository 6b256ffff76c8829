"""Calibration: scale and shifts that fit, and no more."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perennial.training.calibration import Calibration, fit_calibration
from perennial.training.evaluation import metrics


@pytest.mark.parametrize("classes", [2, 4])
def test_it_finds_what_was_done_to_the_scores(classes: int) -> None:
    """MO-03: Labels drawn from softmax(scale * logits + shift) give that scale and those shifts back, up to a constant."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(60_000, classes))
    shift = np.linspace(-0.5, 0.5, classes)
    probabilities = Calibration(0.6, tuple(shift)).apply(logits)
    labels = (probabilities.cumsum(axis=1) < rng.random((len(logits), 1))).sum(axis=1)
    found = fit_calibration(logits, labels, weight=1e-6)
    assert found.scale == pytest.approx(0.6, abs=0.02)
    assert np.array(found.shift) - np.mean(found.shift) == pytest.approx(shift, abs=0.03)


def test_it_never_raises_the_loss_it_was_fitted_on() -> None:
    """MO-03: Overconfident scores become better ones on the same rows."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500)
    logits = np.stack([np.zeros(500), 6 * (labels - 0.5) + rng.normal(scale=6, size=500)], axis=1)
    before, after = (
        metrics("binary", labels, calibration.apply(logits))["log_loss"]
        for calibration in (Calibration(1.0, (0.0, 0.0)), fit_calibration(logits, labels))
    )
    assert after < before


def test_perfect_separation_stays_finite() -> None:
    """MO-03: Where the best scale would be infinite, the penalty holds it."""
    labels = np.array([0, 1] * 50)
    found = fit_calibration(np.stack([-labels, labels], axis=1).astype(float), labels)
    assert np.isfinite([found.scale, *found.shift]).all()
    assert found.scale > 1


def test_absent_classes_are_no_trouble() -> None:
    """MO-03: A class that the validation days lack keeps a finite score."""
    rng = np.random.default_rng(2)
    found = fit_calibration(rng.normal(size=(100, 3)), rng.integers(0, 2, 100))
    assert np.isfinite([found.scale, *found.shift]).all()


def test_one_bad_week_moves_it_part_of_the_way() -> None:
    """MO-03: A validation week with more than twice the usual rate does not become the forecast for the next one, which may be good
    again."""
    logits = np.tile(np.log([[0.8, 0.2]]), (6000, 1))
    labels = np.repeat([0, 1], 3000)
    moved = fit_calibration(logits, labels).apply(logits[:1])[0, 1]
    assert 0.25 < moved < 0.45


def test_many_rows_are_thinned() -> None:
    """MO-03: A million rows are fitted as some thousands of them, to nearly the same."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(100_000, 2))
    labels = (rng.random(100_000) < 0.3).astype(int)
    whole, thin = fit_calibration(logits[:20_000], labels[:20_000]), fit_calibration(logits, labels)
    assert np.array(whole.shift) == pytest.approx(np.array(thin.shift), abs=0.02)


def penalised(logits: np.ndarray, labels: np.ndarray, weight: float, parameters: np.ndarray) -> float:
    """The mean log loss plus `weight` times the squared distance from no change, term by term."""
    scaled = parameters[0] * logits + parameters[1:]
    losses = [math.log(sum(math.exp(value - row[label]) for value in row)) for row, label in zip(scaled, labels, strict=True)]
    return float(np.mean(losses) + weight * np.sum((parameters - np.array([1.0] + [0.0] * logits.shape[1])) ** 2))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weight", [0.1, 0.01, 1.0])
def test_nothing_near_the_fit_is_better(classes: int, weight: float) -> None:
    """MO-03: a step of a thousandth in any direction, of the scale or of a shift, costs more, and the slope is zero."""
    rng = np.random.default_rng(4)
    logits, labels = rng.normal(scale=3, size=(60, classes)), rng.integers(0, classes, 60)
    fitted = fit_calibration(logits, labels, weight=weight)
    parameters = np.array([fitted.scale, *fitted.shift])
    least = penalised(logits, labels, weight, parameters)
    for place in range(len(parameters)):
        for step in (1e-3, -1e-3):
            moved = parameters.copy()
            moved[place] += step
            assert penalised(logits, labels, weight, moved) > least
    for step in (1e-6, -1e-6):  # the slope itself is zero
        along = [penalised(logits, labels, weight, parameters + step * unit) - least for unit in np.eye(len(parameters))]
        assert np.abs(along).max() < 1e-10


def test_one_step_worked_by_hand() -> None:
    """MO-03: scores that say nothing, three quarters of class 0: the first step is 1/4 over the curvature 1/2 and twice the weight."""
    logits, labels = np.zeros((8, 2)), np.array([0, 0, 0, 1] * 2)
    for weight, shift in ((0.25, 0.25), (0.1, 0.25 / 0.7)):
        fitted = fit_calibration(logits, labels, weight=weight, rounds=1)
        assert fitted.scale == pytest.approx(1)
        assert fitted.shift == pytest.approx((shift, -shift))
    assert fit_calibration(logits, labels, rounds=1).shift == pytest.approx((0.25 / 0.7, -0.25 / 0.7)), "a tenth is the usual weight"
    assert fit_calibration(logits, labels, rounds=0) == Calibration(1.0, (0.0, 0.0))


def test_no_step_is_longer_than_one() -> None:
    """MO-03: where the first one would leap, it is shortened to one, so that Newton's method cannot run away."""
    labels = np.array([0, 1] * 50)
    logits = 0.01 * np.stack([-labels, labels], axis=1)
    assert fit_calibration(logits, labels, weight=1e-9, rounds=1).scale == pytest.approx(2)
    assert fit_calibration(logits, labels, weight=1e-9, rounds=3).scale == pytest.approx(4)


def test_twenty_thousand_rows_are_enough() -> None:
    """MO-03: of 39,999 every second one is taken, the first and the last among them; of 20,000 all are."""
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(39_999, 2)).astype(np.float32)
    labels = (rng.random(39_999) < 0.3).astype(np.int8)
    assert fit_calibration(logits, labels) == fit_calibration(logits[::2], labels[::2])
    other = labels[::2].copy()
    for row in (-1, 0, 1):
        other[row] = 1 - other[row]
        assert fit_calibration(logits[::2], other) != fit_calibration(logits[::2], labels[::2])


def test_probabilities_worked_by_hand() -> None:
    """MO-03: odds of 2 to the power of the scale, times the shift's 3; in float64, of any size, each row by itself."""
    calibration = Calibration(2.0, (0.0, math.log(3)))
    probabilities = calibration.apply(np.array([[0.0, math.log(2)], [math.log(2), 0.0]]))
    assert probabilities == pytest.approx(np.array([[1 / 13, 12 / 13], [4 / 7, 3 / 7]]))
    huge = calibration.apply(np.array([[1000.0, 0.0], [-1000.0, 0.0], [0.0, 0.0]], dtype=np.float32))
    assert huge.dtype == np.float64
    assert huge == pytest.approx(np.array([[1, 0], [0, 1], [0.25, 0.75]]))
