"""How the figures of an evaluation are written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.counted import percent
from perennial.training.pictures import LEFT, Range, at_axis, cells, number, ranges


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.0000"), (0.12345, "0.1235"), (-12.345, "-12.35"), (1234.5, "1,234"), (2e12, "2e+12"), (0.00012345, "0.0001234")],
)
def test_a_figure_has_as_many_digits_as_can_be_read(value: float, words: str) -> None:
    """MO-07: Losses of a small and of a large scale are told apart, and thousands can be read."""
    assert number(value) == words


@given((st.floats(-1e15, 1e15) | st.floats(-1.0, 1.0)).filter(lambda value: not value or abs(value) > 1e-90))
def test_a_figure_beside_an_axis_fits_and_says_the_value(value: float) -> None:
    """MO-09: No sign of it is cut off at the left, and it is the value to three digits."""
    words = at_axis(value)
    assert len(words) <= 8
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    told = float(words.rstrip("kMG").replace(",", "")) * units.get(words[-1], 1.0)
    assert told == pytest.approx(value, rel=0.051)


@pytest.mark.parametrize("low", [-120114.0, -98_765_432.0, -0.00012345])
def test_the_figures_at_the_left_of_a_picture_are_not_cut(low: float) -> None:
    """MO-09: Residuals in the hundred thousands too: a sign is 6.5 units wide at most on average."""
    grid = {"low": low, "high": -low, "counts": [[1, 0], [0, 1]]}
    for drawn in (ranges({"candidate": [Range("Monday", 0.0, low, -low)]}, "Mean residual"), cells(grid, "predicted", "actual")):
        words = re.findall(rf"x={LEFT - 6} [^>]*text-anchor=end>([^<]*)<", drawn)
        assert len(words) >= 2
        assert all(6.5 * len(word) <= LEFT - 6 for word in words)


def test_a_small_share_is_not_none() -> None:
    """MO-07: One of two thousand rows is no 0.0 %."""
    assert [percent(share) for share in (0.0, 0.0005, 0.25, 1.0)] == ["0.0 %", "0.05 %", "25.0 %", "100.0 %"]


def test_a_picture_without_spread_can_be_drawn() -> None:
    """MO-09: A perfect model has residuals of 0 alone."""
    drawn = ranges({"candidate": [Range("Monday", 0.0, 0.0, 0.0)]}, "Mean residual")
    assert "nan" not in drawn
    assert "The candidate: between 0.0000 (Monday) and 0.0000 (Monday)" in drawn
