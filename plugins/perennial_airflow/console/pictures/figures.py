"""Metrics of two versions beside one another: for each metric its own scale, a bar for each version's interval, a dot for its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from perennial.lineage.version_notes import Figure
from perennial.pages import shortened
from perennial.views.comparison import MetricLine, SliceLine

LINE, TOP, HEAD = 58, 34, 20  # heights in pixels: of a metric, of the legend, of a metric's name
COLOURS = ("var(--before)", "var(--after)")
MOST = 12  # metrics or slices in a picture; the table has all
FIGURES_HEAD = ("metric", "A", "B", "B less A", "shown to be better")
SLICES_HEAD = ("column", "value", "rows of A", "rows of B", "A", "B", "B less A", "shown to be better")
BETTER = {"a": "A", "b": "B", "neither": "neither", "unknown": ""}


def option(lines: Sequence[MetricLine], names: tuple[str, str]) -> dict[str, Any]:
    """The picture of metrics, each on a scale of its own.

    Args:
        lines: the metrics; those that neither version has an interval or a value of are left out.
        names: of the first and the second version.
    """
    shown = [line for line in lines if line.a or line.b][:MOST]
    return {
        "legend": {"data": list(names), "top": 0},
        "grid": [{"left": 12, "right": 24, "top": TOP + HEAD + LINE * place, "height": 18} for place in range(len(shown))],
        "title": [
            {
                "text": line.name.replace("_", " "),
                "left": 8,
                "top": TOP + LINE * place,
                "textStyle": {"fontSize": 12, "color": "var(--ink)"},
            }
            for place, line in enumerate(shown)
        ],
        "tooltip": {"trigger": "item"},
        "xAxis": [_scale(place, [line.a, line.b]) for place, line in enumerate(shown)],
        "yAxis": [
            {"type": "category", "data": ["", " "], "inverse": True, "gridIndex": place, "show": False} for place in range(len(shown))
        ],
        "series": [one for place, line in enumerate(shown) for one in _of(line, place, names)],
    }


def slices_option(lines: Sequence[SliceLine], names: tuple[str, str]) -> dict[str, Any]:
    """The picture of one metric by slice, all on one scale, the largest differences first."""
    shown = sorted(lines, key=lambda line: -abs(line.metric.difference or 0.0))[:MOST]
    places = [shortened(f"{line.column} {line.value}", 24) for line in shown]
    every = [figure for line in shown for figure in (line.metric.a, line.metric.b)]
    series = []
    for side, name in enumerate(names):
        figures = [(line.metric.a, line.metric.b)[side] for line in shown]
        shift = 0.16 if side else -0.16
        series += [_bar(name, side, figure, place + shift, 0) for place, figure in enumerate(figures) if figure and figure.low is not None]
        points = [[figure.value, place + shift] for place, figure in enumerate(figures) if figure]
        series.append(_dots(name, side, points, 0))
    return {
        "legend": {"data": list(names), "top": 0},
        "grid": {"left": 8, "right": 24, "top": TOP, "bottom": 8, "containLabel": True},
        "tooltip": {"trigger": "item"},
        "xAxis": _scale(None, every),
        "yAxis": [
            {"type": "value", "min": -0.5, "max": len(shown) - 0.5, "inverse": True, "show": False},
            {
                "type": "category",
                "data": places,
                "inverse": True,
                "position": "left",
                "axisTick": {"show": False},
                "axisLine": {"onZero": False},
            },
        ],
        "series": series,
    }


def rows(lines: Sequence[MetricLine]) -> list[list[object]]:
    """The metrics as cells of a table."""
    return [[line.name.replace("_", " "), _told(line.a), _told(line.b), difference(line), BETTER[line.better]] for line in lines]


def slice_rows(lines: Sequence[SliceLine]) -> list[list[object]]:
    """The slices as cells of a table."""
    return [
        [line.column, line.value, _count(line.rows_a), _count(line.rows_b), *rows([line.metric])[0][1:]]
        for line in lines
    ]  # fmt: skip


def difference(line: MetricLine) -> str:
    """The second's less the first's, with its interval where both were measured on the same rows."""
    if line.difference is None:
        return ""
    span = f" ({line.low:+.4g} to {line.high:+.4g})" if line.low is not None and line.high is not None else ""
    return f"{line.difference:+.4g}{span}"


def _told(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.value:.4g}" + (f" ({figure.low:.4g} to {figure.high:.4g})" if figure.low is not None else "")


def _count(rows: int | None) -> str:
    return "" if rows is None else f"{rows:,}"


def _scale(grid: int | None, figures: Sequence[Figure | None]) -> dict[str, Any]:
    ends = [end for figure in figures if figure for end in (figure.value, figure.low, figure.high) if end is not None]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 0.05
    axis: dict[str, Any] = {
        "type": "value", "min": _round(low - room, room), "max": _round(high + room, room), "splitNumber": 3, "axisLine": {"show": False},
        "axisLabel": {"fontSize": 10, "hideOverlap": True, "showMinLabel": False, "showMaxLabel": False},
    }  # fmt: skip
    return axis if grid is None else axis | {"gridIndex": grid}


def _of(line: MetricLine, place: int, names: tuple[str, str]) -> list[dict[str, Any]]:
    drawn = []
    for side, figure in enumerate((line.a, line.b)):
        if figure and figure.low is not None:
            drawn.append(_bar(names[side], side, figure, side, place))
        if figure:
            drawn.append(_dots(names[side], side, [[figure.value, side]], place))
    return drawn


def _bar(name: str, side: int, figure: Figure, height: float, grid: int) -> dict[str, Any]:
    return {
        "name": name, "type": "line", "xAxisIndex": grid, "yAxisIndex": grid, "data": [[figure.low, height], [figure.high, height]],
        "symbol": "none", "silent": True, "lineStyle": {"width": 7, "color": COLOURS[side], "opacity": 0.45},
        "itemStyle": {"color": COLOURS[side]},
    }  # fmt: skip


def _dots(name: str, side: int, points: Sequence[Sequence[float]], grid: int) -> dict[str, Any]:
    return {
        "name": name, "type": "scatter", "xAxisIndex": grid, "yAxisIndex": grid, "data": list(points), "symbolSize": 9,
        "symbol": ("circle", "diamond")[side], "itemStyle": {"color": COLOURS[side]},
    }  # fmt: skip


def _round(value: float, room: float) -> float:
    """A figure to a tenth of the room beside it, so that an axis has short numbers and still differs at both ends."""
    return round(value, 1 - math.floor(math.log10(room)))
