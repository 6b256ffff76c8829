"""How far each feature moved in each window, with the loss, the versions and the incidents above it on the same axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from perennial.monitoring.report.timeline import WindowPoint
from perennial.pages import shortened
from perennial.views.drift import DriftView, Feature
from perennial_airflow.console.pictures import loss
from perennial_airflow.console.words import window_link

LEFT, RIGHT = 128, 14  # of the picture, pixels: names of features stand to the left
LOSS, LANE, ROW, FOOT = 150, 16, 16, 34  # heights
TOP = 40 + LOSS + 8 + LANE + 8  # where the heat map begins
NAME = 40  # letters of a feature's name that are given to the picture
FEW = 30  # features of which the table behind the picture has every window
TABLE_WINDOWS = 14  # of more features than that, the newest


def height(features: Sequence[Feature]) -> int:
    """Of the whole picture, pixels."""
    return TOP + ROW * len(features) + FOOT


def option(view: DriftView, features: Sequence[Feature]) -> dict[str, Any]:
    """The picture.

    Args:
        view: has the windows, at least one.
        features: those that are shown, from the top down.
    """
    windows, places = view.windows, list(range(len(view.windows)))
    order = {window.name: place for place, window in enumerate(windows)}
    marks = [(order[one.window], one.severity, one.kind, one.sentence, one.window) for one in view.incidents]
    cells = [
        (place, row, size, mark)
        for row, feature in enumerate(features)
        for place, (size, mark) in enumerate(zip(feature.sizes, feature.marks, strict=True))
        if size is not None
    ]
    labels = [_label(window) for window in windows]
    bare = {"show": False}
    return {
        "legend": {"data": loss.names(windows)},
        "tooltip": {"trigger": "item"},
        "grid": [
            {"left": LEFT, "right": RIGHT, "top": 40, "height": LOSS},
            {"left": LEFT, "right": RIGHT, "top": 40 + LOSS + 8, "height": LANE},
            {"left": LEFT, "right": RIGHT, "top": TOP, "height": ROW * len(features)},
        ],
        "xAxis": [
            {"type": "category", "data": labels, "axisLabel": bare, "axisTick": bare},
            {"type": "category", "gridIndex": 1, "data": labels, "axisLabel": bare, "axisTick": bare, "axisLine": bare},
            {"type": "category", "gridIndex": 2, "data": labels, "axisTick": bare},
        ],
        "yAxis": [
            {"type": "value", "scale": True, "name": windows[-1].loss},
            {"type": "category", "gridIndex": 1, "data": ["incidents"], "axisTick": bare, "axisLine": bare},
            {
                "type": "category",
                "gridIndex": 2,
                "inverse": True,
                "data": [shortened(feature.column, NAME) for feature in features],
                "axisTick": bare,
                "axisLabel": {"interval": 0, "width": LEFT - 20, "overflow": "truncate", "hideOverlap": False},
            },
        ],
        "visualMap": [
            _colours(6, ["var(--card)", "var(--before)"]),
            _colours(7, ["var(--warn-bg)", "var(--after)", "var(--bad)"]),
        ],
        "series": [
            *_filled(loss.lines(windows, places, places)),
            {**loss.lane(marks), "xAxisIndex": 1, "yAxisIndex": 1},
            _cells("no drift", [cell[:3] for cell in cells if cell[3] == ""]),
            _cells("drift", [cell[:3] for cell in cells if cell[3] != ""]),
            {
                "name": "alarms", "type": "scatter", "symbol": "diamond", "symbolSize": 6, "silent": True, "xAxisIndex": 2, "yAxisIndex": 2,
                "z": 5, "itemStyle": {"color": "var(--paper)", "borderColor": "var(--ink)", "borderWidth": 1},
                "data": [cell[:2] for cell in cells if cell[3] == "alarms"],
            },
        ],
    }  # fmt: skip


def cells(view: DriftView, features: Sequence[Feature], path: str) -> dict[str, Any]:
    """What the cells of the picture are, and where each leads: to its finding."""
    return {
        "x": [window.name for window in view.windows],
        "y": [feature.column for feature in features],
        "path": path,
        "unit": "of the effect that alarms",
    }


def head(view: DriftView, features: Sequence[Feature]) -> list[str]:
    """Heads of the table behind the picture."""
    return ["feature", *(_label(window) for window in reversed(_tabled(view, features)))]


def rows(view: DriftView, features: Sequence[Feature], path: str) -> list[list[object]]:
    """The picture as cells of a table: where a feature drifted the size leads to the finding."""
    shown = _tabled(view, features)
    first = len(view.windows) - len(shown)
    return [
        [feature.column, *(_cell(feature, first + place, window, path) for place, window in reversed(list(enumerate(shown))))]
        for feature in features
    ]


def _tabled(view: DriftView, features: Sequence[Feature]) -> Sequence[WindowPoint]:
    return view.windows if len(features) <= FEW else view.windows[-TABLE_WINDOWS:]


def _cell(feature: Feature, place: int, window: WindowPoint, path: str) -> object:
    size, mark = feature.sizes[place], feature.marks[place]
    if size is None or not mark:
        return "" if size is None else f"{size:.3g}"
    word = "alarms" if mark == "alarms" else "drifted"
    return Markup("<a href='{}'>{}</a> {}").format(window_link(path, window.name, feature.column), f"{size:.3g}", word)


def _label(window: WindowPoint) -> str:
    return f"{window.first:%Y-%m-%d}" if "T" not in window.name else f"{window.first:%Y-%m-%d %H:%M}"


def _filled(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Five series, whether or not a limit of the loss is known: the colours go by their number."""
    return lines if len(lines) == 5 else [*lines, {"type": "line", "data": [], "silent": True}]


def _colours(series: int, colours: list[str]) -> dict[str, Any]:
    """From no effect to twice the one that alarms."""
    return {
        "type": "continuous", "show": False, "seriesIndex": series, "dimension": 2, "min": 0, "max": 2, "inRange": {"color": colours},
        "outOfRange": {"color": colours[-1:]},
    }  # fmt: skip


def _cells(name: str, data: Sequence[tuple[int, int, float]]) -> dict[str, Any]:
    return {
        "name": name, "type": "heatmap", "xAxisIndex": 2, "yAxisIndex": 2, "data": data, "progressive": 0, "animation": False,
        "itemStyle": {"borderColor": "var(--paper)", "borderWidth": 1},
        "emphasis": {"itemStyle": {"borderColor": "var(--ink)", "borderWidth": 2}},
    }  # fmt: skip
