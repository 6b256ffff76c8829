"""How a regression errs, recounted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.training.residuals import CELLS, MOST_SPANS, QUANTILES, grid, residuals

VALUES = st.one_of(st.integers(-5, 5).map(float), st.floats(-1e9, 1e9, width=32))


@settings(max_examples=50)
@given(st.lists(st.tuples(VALUES, VALUES, st.integers(0, 200)), min_size=1, max_size=40))
def test_every_row_is_in_each_part_once(rows: list[tuple[float, float, int]]) -> None:
    """MO-09: Tenths, cells and days each have all of the rows, whatever values are equal, and their means weigh up to the mean residual."""
    labels, predicted = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    days = np.datetime64("2024-01-01") + np.array([row[2] for row in rows])
    found = residuals(labels, predicted[:, None], np.zeros(len(rows)), days, resamples=2)
    json.dumps(found, allow_nan=False)
    assert sum(map(sum, found["grid"]["counts"])) == len(rows)
    for part in (found["tenths"], found["days"]):
        assert sum(one["rows"] for one in part) == len(rows)
        assert sum(one["rows"] * one["residual"] for one in part) / len(rows) == pytest.approx(found["bias"][0], rel=1e-6, abs=1e-3)
        assert all(one["low"] <= one["high"] for one in part)
    assert len(found["days"]) <= MOST_SPANS
    assert [one["predicted"] for one in found["tenths"]] == sorted(one["predicted"] for one in found["tenths"])
    for one, following in zip(found["days"], found["days"][1:], strict=False):
        assert one["first"] <= one["last"] < following["first"]
    assert found["days"][-1]["last"] == str(days.max())


def test_a_residual_is_above_nothing_where_the_model_says_too_little() -> None:
    """MO-09: The sign, the quantiles and the bias are those of the formula, and each interval has its figure."""
    rng = np.random.default_rng(3)
    labels = rng.normal(100, 20, 4000)
    predicted = labels - rng.exponential(3, 4000)
    found = residuals(labels, predicted[:, None], np.repeat(np.arange(40), 100))
    assert found["bias"][0] == pytest.approx(np.mean(labels - predicted))
    assert found["bias"][0] > 0
    assert [share for share, *_ in found["quantiles"]] == list(QUANTILES)
    for share, error, low, high in found["quantiles"]:
        assert error == pytest.approx(np.quantile(labels - predicted, share))
        assert low <= error <= high
        assert high - low < 0.5 * error
    assert found["days"] == []  # no days were given


def test_intervals_of_errors_know_that_days_differ() -> None:
    """MO-07: Where whole days go well or badly, drawing rows would claim an interval several times too narrow."""
    days = np.repeat(np.arange(10), 200)
    errors = np.where(days % 3 == 0, 5.0, 1.0)

    def width(units: np.ndarray) -> float:
        _, low, high = residuals(errors, np.zeros((2000, 1)), units)["bias"]
        return high - low

    assert width(days) > 4 * width(np.zeros(2000))


def test_a_cell_has_the_actual_value_upwards_and_the_prediction_to_the_right() -> None:
    """MO-09: Two clouds far from the line: low values predicted high, and nothing else."""
    found = np.array(grid(np.array([0.0] * 99 + [10.0]), np.array([10.0] * 99 + [0.0]))["counts"])
    assert (found[0, CELLS - 1], found[CELLS - 1, 0], found.sum()) == (99, 1, 100)
    assert np.array(grid(np.full(7, 3.0), np.full(7, 3.0))["counts"]).sum() == 7  # one value alone has no width
