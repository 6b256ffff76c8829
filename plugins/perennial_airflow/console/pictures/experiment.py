"""An experiment over its time: the difference between the versions with its interval, and the units of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perennial.lineage.experiments import Look
from perennial.views.experiment import ExperimentView
from perennial_airflow.console.pictures.axes import band, line, mark, milliseconds, over_time

ROWS = 25  # of a table at most: as many looks, the newest
DIFFERENCE_HEAD = ("look", "difference", "interval", "verdict")
UNITS_HEAD = ("look", "units of the champion", "units of the version that is tried", "planned for both")


def difference(view: ExperimentView) -> dict[str, Any]:
    """How much greater the mean of the version is that is tried, with its interval, against zero and the least difference."""
    told = [(look, look.low, look.high) for look in view.looks if look.low is not None and look.high is not None]
    intervals = [(milliseconds(look.time), low, high) for look, low, high in told]
    least = view.plan.least if view.plan else 0.0
    edges = [least, -least, *(value for look, _, _ in told[len(told) // 4 :] for value in (look.low or 0, look.high or 0))]
    values = line("difference", "var(--candidate)", [[milliseconds(look.time), _rounded(look.difference)] for look, _, _ in told])
    dashed = {"color": "var(--quiet)", "type": "dashed"}
    values["markLine"] = mark(
        [
            {
                "yAxis": 0,
                "label": {"formatter": "no difference", "position": "insideStartTop"},
                "lineStyle": {"color": "var(--ink)", "type": "solid"},
            },
            {"yAxis": _rounded(least), "label": {"formatter": "least difference", "position": "insideStartTop"}, "lineStyle": dashed},
            {"yAxis": _rounded(-least), "label": {"show": False}, "lineStyle": dashed},
        ]
    )
    axis = {"name": "difference", "min": _rounded(1.1 * min(edges)), "max": _rounded(1.1 * max(edges))}
    return over_time(axis, [*band("difference", "var(--candidate)", intervals), values], ["difference"])


def units(view: ExperimentView) -> dict[str, Any]:
    """Units of both versions with a value, and how many the plan asks for in all. Where shares were changed nothing was counted."""
    looks = [look for look in view.looks if look.champion_units or look.tried_units]
    series = [
        line("champion", "var(--champion)", [[milliseconds(look.time), look.champion_units] for look in looks]),
        line("tried", "var(--candidate)", [[milliseconds(look.time), look.tried_units] for look in looks], symbol="diamond"),
        line("both", "var(--ink)", [[milliseconds(look.time), look.champion_units + look.tried_units] for look in looks], type="dotted"),
        line(
            "planned for both",
            "var(--good)",
            [[milliseconds(look.time), look.planned] for look in looks],
            symbol="none",
            type="dashed",
        ),
    ]
    return over_time({"name": "units", "min": 0}, series, ["champion", "tried", "both", "planned for both"])


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def difference_rows(looks: Sequence[Look]) -> list[list[object]]:
    """The table behind `difference`."""
    return [
        [
            f"{look.time:%Y-%m-%d %H:%M:%S}",
            "" if look.difference is None else f"{look.difference:+.4g}",
            "" if look.low is None or look.high is None else f"{look.low:+.4g} to {look.high:+.4g}",
            look.verdict.replace("_", " ") or "goes on",
        ]
        for look in reversed(looks[-ROWS:])
    ]


def unit_rows(looks: Sequence[Look]) -> list[list[object]]:
    """The table behind `units`."""
    return [
        [
            f"{look.time:%Y-%m-%d %H:%M:%S}",
            f"{look.champion_units:,}",
            f"{look.tried_units:,}",
            "" if look.planned is None else f"{look.planned:,}",
        ]
        for look in reversed(looks[-ROWS:])
    ]
