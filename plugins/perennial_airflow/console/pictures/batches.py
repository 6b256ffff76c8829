"""Rows by day, as stacked bars: accepted, late, corrected, refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perennial.views.data import DayOfData

HEAD = ("day", "files", "rows accepted", "late", "corrected", "refused", "files that could not be read")
COLOURS = {"accepted": "var(--good)", "late": "var(--before)", "corrected": "var(--after)", "refused": "var(--bad)"}


def option(days: Sequence[DayOfData]) -> dict[str, Any]:
    """The picture.

    Args:
        days: oldest first, at least one.
    """
    return {
        "legend": {"data": list(COLOURS), "top": 0},
        "grid": {"left": 10, "right": 10, "top": 36, "bottom": 10, "containLabel": True},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "xAxis": {"type": "category", "data": [f"{one.day}" for one in days]},
        "yAxis": {"type": "value", "name": "rows"},
        "series": [
            {
                "name": name,
                "type": "bar",
                "stack": "rows",
                "barMaxWidth": 36,
                "itemStyle": {"color": colour, "borderColor": "var(--paper)", "borderWidth": 0.5},
                "data": [getattr(one, name) for one in days],
            }
            for name, colour in COLOURS.items()
        ],
    }


def rows(days: Sequence[DayOfData]) -> list[list[object]]:
    """The same as cells of a table, newest first."""
    return [
        [one.day, *(f"{count:,}" for count in (one.files, one.accepted, one.late, one.corrected, one.refused, one.unreadable))]
        for one in reversed(days)
    ]
