"""The metrics of a model's live traffic over its windows: accuracy, precision, recall and F1, or RMSE and MAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perennial.monitoring.report.timeline import WindowPoint
from perennial.monitoring.report.words import METRICS, metric_words
from perennial_airflow.console.pictures.axes import band, line, milliseconds

# Told apart without colour too: by symbol and by the type of the stroke.
LOOKS = (("var(--after)", "circle", "solid"), ("var(--before)", "rect", "dashed"), ("var(--good)", "triangle", "dotted"),
         ("var(--ink)", "diamond", "solid"))  # fmt: skip


def names(windows: Sequence[WindowPoint]) -> list[str]:
    """Metrics that any window has; none where no outcome is known."""
    return [name for name in METRICS if any(name in window.metrics for window in windows)]


def option(windows: Sequence[WindowPoint]) -> dict[str, Any]:
    """The picture: a line of each metric, and the interval of the first as a band.

    Args:
        windows: oldest first; at least one has a metric.
    """
    shown = names(windows)
    points = [(milliseconds(window.last), window.metrics) for window in windows]
    first = [(at, metrics[shown[0]]) for at, metrics in points if shown[0] in metrics]
    edges = [(at, metric.low, metric.high) for at, metric in first if metric.low is not None and metric.high is not None]
    return {
        "legend": {"data": [METRICS[name] for name in shown]},
        "grid": {"left": 60, "right": 20, "top": 40, "bottom": 28},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "time"},
        "yAxis": {"type": "value", "scale": True},
        "series": [
            *band(METRICS[shown[0]], LOOKS[0][0], edges),
            *(
                line(METRICS[name], colour, [[at, m[name].value if name in m else None] for at, m in points], symbol=symbol, type=kind)
                for name, (colour, symbol, kind) in zip(shown, LOOKS, strict=False)
            ),
        ],
    }


def head(windows: Sequence[WindowPoint]) -> list[str]:
    """Heads of the table's columns."""
    return ["window", "version", "outcomes", *(METRICS[name] for name in names(windows))]


def rows(windows: Sequence[WindowPoint]) -> list[list[object]]:
    """The same as cells of a table, newest first."""
    return [
        [
            window.name.replace("_", " to "),
            window.version,
            window.labelled,
            *(metric_words(window.metrics[name]) if name in window.metrics else "" for name in names(windows)),
        ]
        for window in reversed(windows)
    ]
