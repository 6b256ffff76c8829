"""Trainings that are fitted once and kept."""

import pickle
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from perennial.training.boosted import Inputs
from perennial.training.rehearsal import Labelled, Learner, lay_out

DAYS = tuple(date(2024, 1, 1) + timedelta(days=n) for n in range(12))
ROWS = 40  # of a day; the fourth has none
LEARNER = Learner("binary", 2, train_days=5, seed=1)


def history(seed=0):
    """Twelve days; the answer is the sign of the first input."""
    sizes = [0 if n == 3 else ROWS for n in range(len(DAYS))]
    values = np.random.default_rng(seed).normal(size=(sum(sizes), 2)).astype(np.float32)
    return Labelled(DAYS, np.cumsum([0, *sizes]), Inputs(values, (False, False)), (values[:, 0] > 0).astype(float))


def test_a_training_is_fitted_once_whoever_asks(tmp_path, fits):
    """MN-10: Days in any order, another process (a copy), another replay of the same history: the first fit answers all of them."""
    rehearsal = lay_out(history(), LEARNER, tmp_path, "small")
    first = rehearsal.scores(DAYS[5], DAYS[8])
    assert first.shape == (ROWS, 2)
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-6)
    rehearsal.scores(DAYS[5], DAYS[6])
    copy = pickle.loads(pickle.dumps(rehearsal))
    np.testing.assert_array_equal(copy.scores(DAYS[5], DAYS[8]), first)
    np.testing.assert_array_equal(lay_out(history(), LEARNER, tmp_path, "small").scores(DAYS[5], DAYS[8]), first)
    assert fits == [4 * ROWS]  # days 1 to 5, of which the fourth has no rows


def test_a_training_sees_its_days_and_no_later_one(tmp_path, fits):
    """MN-10: It is fitted to the newest `train_days` days up to its own; without a limit to all of them; it answers later days only."""
    rehearsal = lay_out(history(), LEARNER, tmp_path, "small")
    rehearsal.fit(DAYS[10])
    lay_out(history(), replace(LEARNER, train_days=None), tmp_path, "small").fit(DAYS[10])
    assert fits == [5 * ROWS, 10 * ROWS]
    with pytest.raises(ValueError, match="has seen"):
        rehearsal.scores(DAYS[10], DAYS[10])
    other = history()
    other.labels[int(other.starts[7]) :] = 1 - other.labels[int(other.starts[7]) :]  # what comes later changes nothing
    np.testing.assert_array_equal(rehearsal.scores(DAYS[6], DAYS[8]), lay_out(other, LEARNER, tmp_path, "small").scores(DAYS[6], DAYS[8]))


def test_what_it_depends_on_names_the_folder(tmp_path):
    """MN-10: Other rows, other labels, another seed or other days of a training are another history; the same ones are the same."""
    same = lay_out(history(), LEARNER, tmp_path, "small").folder
    flipped = history()
    flipped.labels[0] = 1 - flipped.labels[0]
    others = [
        lay_out(history(seed=1), LEARNER, tmp_path, "small").folder,
        lay_out(flipped, LEARNER, tmp_path, "small").folder,
        lay_out(history(), replace(LEARNER, seed=2), tmp_path, "small").folder,
        lay_out(history(), replace(LEARNER, train_days=4), tmp_path, "small").folder,
    ]
    assert len({same, *others}) == 5
    assert lay_out(history(), LEARNER, tmp_path, "small").folder == same


def test_days_beyond_the_horizon_cost_one_more_fit(tmp_path, fits):
    """MN-10: A training is asked of near days first; the first question about a far one fits it again for all days, and its answers stay
    the same."""
    rehearsal = lay_out(history(), LEARNER, tmp_path, "small")
    rehearsal.fit(DAYS[5], horizon=2)
    near = rehearsal.scores(DAYS[5], DAYS[7])
    assert len(fits) == 1
    far = rehearsal.scores(DAYS[5], DAYS[11])
    assert len(fits) == 2
    assert far.shape == (ROWS, 2)
    np.testing.assert_array_equal(rehearsal.scores(DAYS[5], DAYS[7]), near)
    rehearsal.scores(DAYS[5], DAYS[10])
    assert len(fits) == 2


def test_a_fit_that_was_killed_leaves_nothing_behind(tmp_path, fits, monkeypatch):
    """MN-10: What was half written when the process died is not taken for a training."""
    rehearsal = lay_out(history(), LEARNER, tmp_path, "small")

    def dies(stream, array):
        stream.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            rehearsal.fit(DAYS[5])
    assert not rehearsal.is_fitted(DAYS[5])
    assert rehearsal.scores(DAYS[5], DAYS[6]).shape == (ROWS, 2)
    assert len(fits) == 2


def test_a_regression_answers_with_values(tmp_path):
    """MN-10: A regression's scores are its values [rows, 1]."""
    given = history()
    regression = replace(given, labels=3.0 * given.inputs.values[:, 0].astype(float))
    found = lay_out(regression, Learner("regression", 0, None, 1), tmp_path, "small").scores(DAYS[10], DAYS[11])
    assert found.shape == (ROWS, 1)
    truth = 3.0 * given.inputs.values[-ROWS:, 0]
    assert np.mean((found[:, 0] - truth) ** 2) < 0.2 * np.var(truth)
