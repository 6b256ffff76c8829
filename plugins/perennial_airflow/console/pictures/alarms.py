"""The alarms of each month, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perennial.incidents.kinds import KINDS, Kind
from perennial.views.incidents import MonthOfAlarms

COLOURS = (  # one for each kind, on light and dark
    "#2e6fb7", "#c2571a", "#3f8f5f", "#8a5cb8", "#b8860b", "#c04a6b", "#5b7c99", "#7d6b57", "#2f9aa0", "#9a9a2f", "#a0522d",
)  # fmt: skip


def option(months: Sequence[MonthOfAlarms]) -> dict[str, Any]:
    """The picture: a bar for each month, its parts the kinds.

    Args:
        months: oldest first.
    """
    return {
        "legend": {"data": list(kinds_in(months))},
        "grid": {"left": 50, "right": 20, "top": 60, "bottom": 30},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "category", "data": [month.month for month in months]},
        "yAxis": {"type": "value", "minInterval": 1, "name": "alarms"},
        "series": [
            {
                "name": kind,
                "type": "bar",
                "stack": "alarms",
                "barMaxWidth": 40,
                "itemStyle": {"color": COLOURS[KINDS.index(kind)]},
                "data": [month.alarms.get(kind, 0) for month in months],
            }
            for kind in kinds_in(months)
        ],
    }


def head(months: Sequence[MonthOfAlarms]) -> list[str]:
    """Heads of the table behind it."""
    return ["month", *kinds_in(months), "all"]


def rows(months: Sequence[MonthOfAlarms]) -> list[list[object]]:
    """The same as cells of a table, newest first."""
    kinds = kinds_in(months)
    return [[month.month, *(month.alarms.get(kind, 0) for kind in kinds), sum(month.alarms.values())] for month in reversed(months)]


def kinds_in(months: Sequence[MonthOfAlarms]) -> tuple[Kind, ...]:
    """The kinds of which there was an alarm."""
    return tuple(kind for kind in KINDS if any(month.alarms.get(kind) for month in months))
