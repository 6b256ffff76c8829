"""Which class is taken for which, against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from perennial.classes import MOST_CLASSES
from perennial.training.confusion import confusion

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=50)
@given(PAIRS)
def test_figures_of_a_class_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """MO-08: The matrix, and precision, recall and F1 of every class; None where scikit-learn would divide by nothing."""
    labels, predicted = (np.array(values) for values in zip(*pairs, strict=True))
    found = confusion("abcd", labels.astype(float), predicted, np.zeros(len(pairs)), resamples=5)
    json.dumps(found, allow_nan=False)
    assert found["counts"] == reference.confusion_matrix(labels, predicted, labels=range(4)).tolist()
    precision, recall, f1, rows = reference.precision_recall_fscore_support(labels, predicted, labels=range(4), zero_division=np.nan)
    for place, each in enumerate(found["each"]):
        assert (each["rows"], each["predicted"]) == (rows[place], (predicted == place).sum())
        for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
            assert each[name] == (None if np.isnan(expected[place]) else pytest.approx(expected[place]))


def test_the_classes_with_most_rows_are_shown_and_the_others_are_one() -> None:
    """MO-08: In the spec's order; the rest has a line and a column of its own, so that no row is left out. 21 classes need no rest."""
    labels = np.concatenate([np.arange(30), np.repeat(np.arange(10, 30), 5)])
    predicted = np.where(labels < 10, 29, labels)
    names = [f"class {place}" for place in range(30)]
    found = confusion(names, labels, predicted, np.zeros(len(labels)), resamples=5)
    assert found["classes"] == names[10:]
    assert found["rest"] == 10
    counts = np.array(found["counts"])
    assert counts.shape == (MOST_CLASSES + 1, MOST_CLASSES + 1)
    assert counts.sum() == len(labels)
    assert (counts[-1, -2], counts[-1, -1]) == (10, 0)  # of the rest, all taken for the last class
    assert len(found["each"]) == MOST_CLASSES
    assert confusion(names[:21], labels % 21, labels % 21, labels)["rest"] == 0


def test_intervals_of_a_class_hold_its_figures_and_know_that_days_differ() -> None:
    """MO-07: Whole units are drawn, as for all other figures."""
    labels = np.ones(2000, dtype=int)
    days = np.repeat(np.arange(10), 200)
    predicted = (days % 3 > 0).astype(int)

    def recall(units: np.ndarray) -> list[float]:
        each = confusion(("no", "yes"), labels, predicted, units)["each"][1]
        assert each["recall_interval"][0] <= each["recall"] <= each["recall_interval"][1]
        interval: list[float] = each["recall_interval"]
        return interval

    by_day, by_row = recall(days), recall(np.zeros(2000))
    assert by_day[1] - by_day[0] > 4 * (by_row[1] - by_row[0])
