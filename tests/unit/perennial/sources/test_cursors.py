"""Values of a cursor as watermarks keep them."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from perennial.sources.cursors import as_text, as_value


@pytest.mark.parametrize(
    "value",
    [
        7,
        -1.5,
        0.1,
        "a:b",
        "",
        date(2026, 3, 1),
        datetime(2026, 3, 1, 8, 0, 0, 5),
        datetime(2026, 3, 1, tzinfo=timezone.utc),
        Decimal("1.10"),
    ],
)
def test_a_cursor_comes_back_as_it_was(value: Any) -> None:
    """DM-01: Its value and its type."""
    back = as_value(as_text(value))
    assert (back, type(back)) == (value, type(value))


def test_a_cursor_of_another_type() -> None:
    """DM-01: Is refused with its type; none is none."""
    assert as_value(None) is None
    with pytest.raises(TypeError, match="a cursor cannot be of the type list"):
        as_text([1])
