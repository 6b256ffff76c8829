"""How a version learned: its losses against the epoch, or the round of trees; and how far its scores can be believed: its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = {"train_loss": "var(--before)", "validation_loss": "var(--after)"}
CURVE_HEAD = ("mean score", "share that came true", "share of the rows")


def option(history: Sequence[Mapping[str, float]], counted: str = "epoch") -> dict[str, Any]:
    """The picture of the losses.

    Args:
        history: figures of each epoch or round, first to last, at least one.
        counted: which of the two.
    """
    names = _names(history)
    return {
        "legend": {"data": [name.replace("_", " ") for name in names]},
        "grid": {"left": 56, "right": 20, "top": 40, "bottom": 40},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "value", "name": counted, "nameLocation": "middle", "nameGap": 24, "min": "dataMin", "max": "dataMax"},
        "yAxis": {"type": "value", "scale": True},
        "series": [
            {
                "name": name.replace("_", " "), "type": "line", "symbolSize": 5,
                "data": [[_epoch(each, place), each.get(name)] for place, each in enumerate(history)],
                "lineStyle": {"color": COLOURS.get(name, "var(--quiet)"), "type": "dashed" if name == "train_loss" else "solid"},
                "itemStyle": {"color": COLOURS.get(name, "var(--quiet)")},
            }
            for name in names
        ],
    }  # fmt: skip


def head(history: Sequence[Mapping[str, float]], counted: str = "epoch") -> list[str]:
    """Heads of the table behind the losses."""
    return [counted, *(name.replace("_", " ") for name in _names(history))]


def rows(history: Sequence[Mapping[str, float]]) -> list[list[object]]:
    """The losses as cells of a table."""
    return [
        [_epoch(each, place), *("" if name not in each else f"{each[name]:.4g}" for name in _names(history))]
        for place, each in enumerate(history)
    ]


def curve_option(curve: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The picture of the calibration: points by tenths of the score, and the line of a perfect forecast."""
    return {
        "legend": {"data": ["this version", "perfect"]},
        "grid": {"left": 56, "right": 20, "top": 40, "bottom": 40},
        "tooltip": {"trigger": "item"},
        "xAxis": {"type": "value", "min": 0, "max": 1, "name": "mean score", "nameLocation": "middle", "nameGap": 24},
        "yAxis": {"type": "value", "min": 0, "max": 1},
        "series": [
            {
                "name": "this version", "type": "line", "data": [[x, y] for x, y, _ in curve], "symbolSize": 8,
                "lineStyle": {"color": "var(--after)"}, "itemStyle": {"color": "var(--after)"},
            },
            {
                "name": "perfect", "type": "line", "data": [[0, 0], [1, 1]], "symbol": "none", "silent": True,
                "lineStyle": {"color": "var(--quiet)", "type": "dashed"}, "itemStyle": {"color": "var(--quiet)"},
            },
        ],
    }  # fmt: skip


def curve_rows(curve: Sequence[Sequence[float]]) -> list[list[object]]:
    """The calibration as cells of a table."""
    return [[f"{x:.3f}", f"{y:.3f}", f"{100 * share:.1f} %"] for x, y, share in curve]


def _names(history: Sequence[Mapping[str, float]]) -> list[str]:
    """What is drawn: everything but the epoch's number and the learning rate, which is on another scale."""
    every = dict.fromkeys(name for each in history for name in each)
    return [name for name in every if name not in ("epoch", "learning_rate")]


def _epoch(each: Mapping[str, float], place: int) -> float:
    return each.get("epoch", float(place + 1))
