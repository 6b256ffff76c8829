"""The loss of a model's live traffic over its windows: realised with its interval, what the scores expect, and where it is a jump."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from perennial.monitoring.report.timeline import WindowPoint
from perennial.pages import shortened
from perennial_airflow.console.pictures.axes import band, line, mark, milliseconds

HEAD = (
    "window",
    "version",
    "realised",
    "95 % interval",
    "expected of the rows with outcomes",
    "estimated of all rows",
    "a jump above",
    "incidents opened",
)
COLOUR = {"critical": "var(--bad)", "warning": "var(--warn)"}
SYMBOL = {"critical": "triangle", "warning": "diamond"}


def option(windows: Sequence[WindowPoint]) -> dict[str, Any]:
    """The picture, with a dashed line where the version changed, and a lane of incidents below.

    Args:
        windows: oldest first, at least one.
    """
    ends = [milliseconds(window.last) for window in windows]
    incidents = lane(
        [
            (at, one.severity, one.kind, one.sentence, f"{window.name}")
            for at, window in zip(ends, windows, strict=True)
            for one in window.opened
        ]
    )
    return {
        "legend": {"data": names(windows)},
        "grid": [{"left": 60, "right": 20, "top": 40, "bottom": 52}, {"left": 60, "right": 20, "height": 18, "bottom": 28}],
        "tooltip": {"trigger": "item"},
        "xAxis": [
            {"type": "time", "axisLabel": {"show": False}, "axisTick": {"show": False}},
            {"type": "time", "gridIndex": 1, "min": min(ends), "max": max(ends)},
        ],
        "yAxis": [{"type": "value", "scale": True, "name": windows[-1].loss}, {"type": "category", "gridIndex": 1, "data": ["incidents"]}],
        "series": [
            *lines(windows, ends, [milliseconds(window.first) for window in windows]),
            {**incidents, "xAxisIndex": 1, "yAxisIndex": 1},
        ],
    }


def names(windows: Sequence[WindowPoint]) -> list[str]:
    """What the legend says."""
    return ["realised", "expected", *(["a jump above"] if any(window.alarm is not None for window in windows) else [])]


def lines(windows: Sequence[WindowPoint], places: Sequence[int], begins: Sequence[int]) -> list[dict[str, Any]]:
    """The band of the interval in two halves, realised and expected loss, and the loss above which it is a jump where that is known.

    Args:
        windows: oldest first.
        places: where each stands on the axis.
        begins: where it begins there: another version is marked at that place.
    """
    edges = [(at, w.low, w.high) for at, w in zip(places, windows, strict=True) if w.low is not None and w.high is not None]
    changes = [(at, now.version) for at, (before, now) in zip(begins[1:], pairwise(windows), strict=True) if now.version != before.version]
    realised = line("realised", "var(--after)", [[at, w.realised] for at, w in zip(places, windows, strict=True)])
    realised["markLine"] = mark(
        [{"xAxis": at, "label": {"formatter": f"version {version}", "color": "var(--quiet)"}} for at, version in changes]
    )
    expected = [w.estimated if w.estimated is not None else w.expected for w in windows]
    alarms = [[at, w.alarm] for at, w in zip(places, windows, strict=True)]
    return [
        *band("realised", "var(--after)", edges),
        realised,
        line("expected", "var(--before)", list(zip(places, expected, strict=True)), type="dotted"),
        *([line("a jump above", "var(--bad)", alarms, symbol="none", type="dashed")] if "a jump above" in names(windows) else []),
    ]


def lane(incidents: Sequence[tuple[int, str, str, str, str]]) -> dict[str, Any]:
    """Incidents beside each other: place on the axis, severity, kind, sentence and window of each."""
    return {
        "name": "incidents",
        "type": "scatter",
        "symbolSize": 11,
        "tooltip": {"formatter": "{b}"},
        "data": [
            {
                "name": f"{severity} {kind}, {window.replace('_', ' to ')}\n{shortened(sentence, 90)}",
                "value": [at, 0],
                "symbol": SYMBOL.get(severity, "circle"),
                "itemStyle": {"color": COLOUR.get(severity, "var(--quiet)")},
            }
            for at, severity, kind, sentence, window in incidents
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
            _figure(window.alarm),
            "; ".join(f"{one.severity} {one.kind}" for one in window.opened),
        ]
        for window in reversed(windows)
    ]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
