"""One finding of the drift test: what a column was before and in the window, how far it moved over the windows, and losses by slice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from perennial.monitoring.report.numbers import SliceLosses
from perennial.monitoring.report.words import share_words
from perennial.monitoring.verdict import Bin, ColumnDrift
from perennial.pages import shortened
from perennial.views.drift import WindowSize
from perennial_airflow.console.words import window_link

HEAD = ("value", "before", "in the window", "change")
HISTORY_HEAD = ("window", "version", "size", "")
SLICE_HEAD = ("slice", "realised", "95 % interval", "expected", "outcomes", "predictions")
MOST_BARS = 20  # categories that are drawn, those that changed most
NAME = 28  # letters of a category's name
ROW = 22  # pixels of one
NUMBER = r"-?(\d+(\.\d+)?(e[+-]?\d+)?|inf)"
RANGE = re.compile(rf"below {NUMBER}|from {NUMBER}|{NUMBER} to {NUMBER}|any value")


def are_ranges(bins: Sequence[Bin]) -> bool:
    """Whether the bars are the ranges of a number, in order, as the drift test names them."""
    return len(bins) > 1 and all(RANGE.fullmatch(b.label) for b in bins)


def option(found: ColumnDrift) -> dict[str, Any]:
    """Numbers as two steps over their ranges; all else as pairs of bars, what changed most on top."""
    return _steps(found.bins) if are_ranges(found.bins) else _bars(found.bins)


def height(found: ColumnDrift) -> int:
    """Of the picture, pixels."""
    return 300 if are_ranges(found.bins) else 70 + ROW * len(_most_changed(found.bins))


def words(found: ColumnDrift) -> str:
    """What the picture shows, in a sentence."""
    if are_ranges(found.bins):
        return (
            "Share of rows in each range of the values, before (the snapshot that the version learned from) and in the window. "
            "Ranges hold about as many rows each, both together."
        )
    if found.kind in ("correlation", "joint"):
        return "Before (the snapshot that the version learned from) and in the window."
    more = len(found.bins) - MOST_BARS
    rest = f" {more} more changed less; the table has them." if more > 0 else ""
    return f"Share of rows, before (the snapshot that the version learned from) and in the window, what changed most on top.{rest}"


def rows(found: ColumnDrift) -> list[list[object]]:
    """The same as cells of a table."""
    ordered = found.bins if are_ranges(found.bins) else sorted(found.bins, key=_change)
    return [[b.label, share_words(b.reference), share_words(b.window), f"{b.window - b.reference:+.3f}"] for b in ordered]


def history(sizes: Sequence[WindowSize]) -> dict[str, Any]:
    """How far the column moved in each window; the line is the effect that alarms."""
    series = {
        "type": "bar",
        "barMaxWidth": 36,
        "data": [
            {"value": [place, one.size], "itemStyle": {"color": _colour(one)}} for place, one in enumerate(sizes) if one.size is not None
        ],
        "markLine": {
            "silent": True,
            "symbol": "none",
            "lineStyle": {"color": "var(--bad)", "type": "dashed"},
            "data": [{"yAxis": 1, "label": {"formatter": "alarms", "position": "insideEndTop", "color": "var(--bad)"}}],
        },
    }
    largest = max((one.size for one in sizes if one.size is not None), default=0.0)
    return {
        "tooltip": {"trigger": "item"},
        "grid": {"left": 50, "right": 20, "top": 20, "bottom": 30},
        "xAxis": {"type": "category", "data": [one.window.split("_")[0] for one in sizes]},
        "yAxis": {"type": "value", "min": 0, **({"max": 1.2} if largest < 1.2 else {})},
        "series": [series],
    }


def history_rows(sizes: Sequence[WindowSize], path: str, column: str) -> list[list[object]]:
    """The same as cells of a table, newest first, each leading to its finding."""
    link = Markup("<a href='{}'>{}</a>")
    return [
        [
            link.format(window_link(path, one.window, column), one.window.replace("_", " to ")),
            one.version,
            "" if one.size is None else f"{one.size:.3g}",
            one.mark,
        ]
        for one in reversed(sizes)
    ]


def slices(parts: Sequence[SliceLosses]) -> dict[str, Any]:
    """Losses of the slices of one column: realised with its interval, and what the scores expect. The worst is on top."""
    known = [(place, part) for place, part in enumerate(parts) if part.low is not None and part.high is not None]
    interval = {"type": "bar", "stack": "interval", "barWidth": 6, "silent": True, "tooltip": {"show": False}}
    return {
        "legend": {"data": ["realised", "expected"]},
        "tooltip": {"trigger": "item"},
        "grid": {"left": 118, "right": 20, "top": 34, "bottom": 28},
        "xAxis": {"type": "value"},
        "yAxis": {**_categories([part.name for part in parts]), "inverse": True},
        "series": [
            {**interval, "data": [[part.low, place] for place, part in known], "itemStyle": {"color": "transparent"}},
            {
                **interval,
                "data": [[(part.high or 0.0) - (part.low or 0.0), place] for place, part in known],
                "itemStyle": {"color": "var(--after)", "opacity": 0.35},
            },
            _points("realised", "circle", "var(--after)", [[part.realised, place] for place, part in enumerate(parts)]),
            _points("expected", "diamond", "var(--before)", [[part.expected, place] for place, part in enumerate(parts) if part.expected]),
        ],
    }


def slices_height(parts: Sequence[SliceLosses]) -> int:
    """Of that picture, pixels."""
    return 70 + ROW * len(parts)


def slice_rows(parts: Sequence[SliceLosses]) -> list[list[object]]:
    """The same as cells of a table."""
    return [
        [
            part.name,
            _figure(part.realised),
            "" if part.low is None else f"{_figure(part.low)} to {_figure(part.high)}",
            _figure(part.expected),
            part.labelled,
            part.predictions,
        ]
        for part in parts
    ]


def _steps(bins: Sequence[Bin]) -> dict[str, Any]:
    step = {"type": "line", "step": "middle", "symbol": "none"}
    return {
        "legend": {"data": ["before", "in the window"]},
        "tooltip": {"trigger": "axis"},
        "grid": {"left": 50, "right": 20, "top": 40, "bottom": 70},
        "xAxis": {"type": "category", "data": [b.label for b in bins], "axisLabel": {"rotate": 40}},
        "yAxis": {"type": "value", "name": "share of rows"},
        "series": [
            {
                **step, "name": name, "data": [getattr(b, side) for b in bins], "lineStyle": {"color": colour, "width": 2},
                "itemStyle": {"color": colour}, "areaStyle": {"color": colour, "opacity": 0.15},
            }
            for name, side, colour in (("before", "reference", "var(--before)"), ("in the window", "window", "var(--after)"))
        ],
    }  # fmt: skip


def _bars(bins: Sequence[Bin]) -> dict[str, Any]:
    shown = _most_changed(bins)
    return {
        "legend": {"data": ["before", "in the window"]},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}},
        "grid": {"left": 118, "right": 30, "top": 34, "bottom": 28},
        "xAxis": {"type": "value"},
        "yAxis": {**_categories([b.label for b in shown]), "inverse": True},
        "series": [
            {"type": "bar", "name": name, "data": [getattr(b, side) for b in shown], "itemStyle": {"color": colour}, "barGap": "10%"}
            for name, side, colour in (("before", "reference", "var(--before)"), ("in the window", "window", "var(--after)"))
        ],
    }


def _most_changed(bins: Sequence[Bin]) -> list[Bin]:
    return sorted(bins, key=_change)[:MOST_BARS]


def _change(b: Bin) -> float:
    return -abs(b.window - b.reference)


def _categories(names: Sequence[str]) -> dict[str, Any]:
    label = {"interval": 0, "width": 106, "overflow": "truncate", "hideOverlap": False}
    return {"type": "category", "data": [shortened(name, NAME) for name in names], "axisLabel": label, "axisTick": {"show": False}}


def _points(name: str, symbol: str, colour: str, data: list[list[Any]]) -> dict[str, Any]:
    return {"name": name, "type": "scatter", "symbol": symbol, "symbolSize": 9, "data": data, "itemStyle": {"color": colour}}


def _colour(one: WindowSize) -> str:
    return {"alarms": "var(--bad)", "drifted": "var(--after)"}.get(one.mark, "var(--before)")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
