"""Rows by day, as stacked bars: accepted, late, corrected, refused; a mark above them where a file could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perennial.views.data import DayOfData

UNREADABLE = "files that could not be read"
HEAD = ("day", "files", "rows accepted", "late", "corrected", "refused", UNREADABLE)
COLOURS = {"accepted": "var(--good)", "late": "var(--before)", "corrected": "var(--after)", "refused": "var(--bad)"}


def option(days: Sequence[DayOfData]) -> dict[str, Any]:
    """The picture.

    Args:
        days: oldest first, at least one.
    """
    unreadable = [[place, sum(getattr(one, name) for name in COLOURS), one.unreadable] for place, one in enumerate(days) if one.unreadable]
    marks = {
        "name": UNREADABLE,
        "type": "scatter",
        "symbol": "triangle",
        "symbolSize": 11,
        "symbolOffset": [0, -9],
        "itemStyle": {"color": "var(--bad)"},
        "encode": {"x": 0, "y": 1, "tooltip": 2},
        "data": unreadable,
    }
    return {
        "legend": {"data": [*COLOURS, *([UNREADABLE] if unreadable else [])], "top": 0},
        "grid": {"left": 10, "right": 10, "top": 36, "bottom": 10, "containLabel": True},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "xAxis": {"type": "category", "data": [f"{one.day}" for one in days]},
        "yAxis": {"type": "value", "name": "rows"},
        "series": [
            *(
                {
                    "name": name,
                    "type": "bar",
                    "stack": "rows",
                    "barMaxWidth": 36,
                    "itemStyle": {"color": colour, "borderColor": "var(--paper)", "borderWidth": 0.5},
                    "data": [getattr(one, name) for one in days],
                }
                for name, colour in COLOURS.items()
            ),
            *([marks] if unreadable else []),
        ],
    }


def rows(days: Sequence[DayOfData]) -> list[list[object]]:
    """The same as cells of a table, newest first."""
    return [
        [one.day, *(f"{count:,}" for count in (one.files, one.accepted, one.late, one.corrected, one.refused, one.unreadable))]
        for one in reversed(days)
    ]
