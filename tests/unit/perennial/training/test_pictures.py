"""How the figures of an evaluation are written."""

from __future__ import annotations

import pytest

from perennial.training.pictures import Range, number, percent, ranges


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.0000"), (0.12345, "0.1235"), (-12.345, "-12.35"), (1234.5, "1,234"), (2e12, "2e+12"), (0.00012345, "0.0001234")],
)
def test_a_figure_has_as_many_digits_as_can_be_read(value: float, words: str) -> None:
    """MO-07: Losses of a small and of a large scale are told apart, and thousands can be read."""
    assert number(value) == words


def test_a_small_share_is_not_none() -> None:
    """MO-07: One of two thousand rows is no 0.0 %."""
    assert [percent(share) for share in (0.0, 0.0005, 0.25, 1.0)] == ["0.0 %", "0.05 %", "25.0 %", "100.0 %"]


def test_a_picture_without_spread_can_be_drawn() -> None:
    """MO-09: A perfect model has residuals of 0 alone."""
    drawn = ranges({"candidate": [Range("Monday", 0.0, 0.0, 0.0)]}, "Mean residual")
    assert "nan" not in drawn
    assert "The candidate: between 0.0000 (Monday) and 0.0000 (Monday)" in drawn
