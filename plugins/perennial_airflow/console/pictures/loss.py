"""The loss of a model's live traffic over its windows: realised with its interval, and what the scores expect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

from perennial.monitoring.report.timeline import WindowPoint

HEAD = ("window", "version", "realised", "95 % interval", "expected of the rows with outcomes", "estimated of all rows")


def option(windows: Sequence[WindowPoint]) -> dict[str, Any]:
    """The picture: a line each for realised and expected loss, the interval as a band, a dashed line where the version changed.

    Args:
        windows: oldest first, at least one.
    """
    ends = [_milliseconds(window.last) for window in windows]
    band = [(at, w.low, w.high) for at, w in zip(ends, windows, strict=True) if w.low is not None and w.high is not None]
    changes = [(_milliseconds(now.first), now.version) for before, now in pairwise(windows) if now.version != before.version]
    realised = _line("realised", "var(--after)", [[at, w.realised] for at, w in zip(ends, windows, strict=True)])
    realised["markLine"] = {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"color": "var(--quiet)", "type": "dashed"},
        "data": [{"xAxis": at, "label": {"formatter": f"version {version}", "color": "var(--quiet)"}} for at, version in changes],
    }
    expected = [w.estimated if w.estimated is not None else w.expected for w in windows]
    return {
        "legend": {"data": ["realised", "expected"]},
        "grid": {"left": 60, "right": 20, "top": 40, "bottom": 30},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time"},
        "yAxis": {"type": "value", "scale": True, "name": windows[-1].loss},
        "series": [
            _edge([[at, low] for at, low, _ in band], filled=False),
            _edge([[at, high - low] for at, low, high in band], filled=True),
            realised,
            _line("expected", "var(--before)", list(zip(ends, expected, strict=True)), type="dotted"),
        ],
    }


def rows(windows: Sequence[WindowPoint]) -> list[list[object]]:
    """The same as cells of a table, newest first."""
    return [
        [
            window.name.replace("_", " to "),
            window.version,
            _figure(window.realised),
            "" if window.low is None else f"{_figure(window.low)} to {_figure(window.high)}",
            _figure(window.expected),
            _figure(window.estimated),
        ]
        for window in reversed(windows)
    ]


def _line(name: str, colour: str, points: Sequence[Any], **style: str) -> dict[str, Any]:
    return {
        "name": name, "type": "line", "data": points, "symbolSize": 6, "connectNulls": False, "lineStyle": {"color": colour, **style},
        "itemStyle": {"color": colour},
    }  # fmt: skip


def _edge(points: Sequence[Any], *, filled: bool) -> dict[str, Any]:
    """Half of a band: its lower edge, and stacked on that the distance to the upper one, which is filled."""
    return {
        "type": "line", "stack": "band", "data": points, "symbol": "none", "silent": True, "lineStyle": {"opacity": 0},
        "tooltip": {"show": False},
        "areaStyle": {"color": "var(--after)", "opacity": 0.18 if filled else 0},
    }  # fmt: skip


def _milliseconds(when: datetime) -> int:
    """Since 1970; a time without a zone is UTC."""
    return round((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp() * 1000)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
