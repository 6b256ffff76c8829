"""Parts of which pictures over time are made: lines, bands of intervals, and marks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any


def milliseconds(when: datetime) -> int:
    """Since 1970, as ECharts counts time; a time without a zone is UTC."""
    return round((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp() * 1000)


def line(name: str, colour: str, points: Sequence[Any], *, symbol: str = "circle", type: str = "solid") -> dict[str, Any]:
    """A line; its symbol and the type of its stroke tell it from others without colour."""
    return {
        "id": name, "name": name, "type": "line", "data": list(points), "symbol": symbol, "symbolSize": 5, "showSymbol": len(points) <= 60,
        "connectNulls": False, "lineStyle": {"color": colour, "type": type, "width": 2}, "itemStyle": {"color": colour},
    }  # fmt: skip


def band(name: str, colour: str, edges: Sequence[tuple[int, float, float]]) -> list[dict[str, Any]]:
    """Intervals, each with its place, low and high: the lower edge, and stacked on that the distance to the upper one, filled."""
    shared = {
        "type": "line", "stack": f"{name}'s interval", "stackStrategy": "all", "symbol": "none", "silent": True,
        "lineStyle": {"opacity": 0}, "tooltip": {"show": False},
    }  # fmt: skip
    lower = {"id": f"{name} from", "data": [[at, low] for at, low, _ in edges], "areaStyle": {"opacity": 0}}
    width = {
        "id": f"{name} to",
        "data": [[at, high - low] for at, low, high in edges],
        "areaStyle": {"color": colour, "opacity": 0.16},
    }
    return [{**shared, **lower}, {**shared, **width}]


def mark(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lines across a picture, at a time or at a height."""
    return {"silent": True, "symbol": "none", "lineStyle": {"color": "var(--quiet)", "type": "dashed"}, "data": list(lines)}


def over_time(axis: dict[str, Any], series: Sequence[dict[str, Any]], legend: Sequence[str]) -> dict[str, Any]:
    """A picture of these series over time, with one axis of values."""
    return {
        "legend": {"data": list(legend)},
        "grid": {"left": 62, "right": 40, "top": 44, "bottom": 30},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time"},
        "yAxis": {"type": "value", **axis},
        "series": list(series),
    }
