"""Calibration: scale and shifts that fit, and no more."""

from __future__ import annotations

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
