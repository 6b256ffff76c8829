"""A release over its time: share of the traffic, evidence against its limits, errors and latency of both versions with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from perennial.counted import counted, percent
from perennial.views._estimates import Estimate
from perennial.views.release import SIGNALS, Point, ReleaseView, odds
from perennial_airflow.console.pictures.axes import band, line, mark, milliseconds, over_time

ROWS = 25  # of a table at most: as many looks, the newest
LOW, HIGH = -3.0, 12.0  # evidence below and above is drawn at these edges (decimal logarithms)
STYLES = {  # no signal is told by its colour alone
    "errors": ("var(--bad)", "circle", "solid"),
    "latency": ("var(--warn)", "triangle", "dashed"),
    "outcomes": ("var(--champion)", "diamond", "solid"),
    "unreadable": ("var(--quiet)", "rect", "dotted"),
}
SHARE_HEAD = ("look", "wanted", "got on this step", "95 % interval", "what the evidence said")
BETTER_HEAD = ("look", "within the multiple of the champion's error rate", "below the highest error rate")
ERRORS_HEAD = ("look", "candidate failed", "95 % interval", "champion failed", "95 % interval")
DIFFERENCE_HEAD = ("look", "difference", "95 % interval", "tolerated")
LATENCY_HEAD = ("look", "candidate's p95, ms", "95 % interval", "champion's p95, ms", "95 % interval")


def shares(view: ReleaseView) -> dict[str, Any]:
    """The staircase of the candidate's wanted share, what it got with its interval, and the decision that ended it or waits."""
    stairs = [[milliseconds(step.began), step.percent or 0] for step in view.steps if step.began]
    if view.release:
        stairs.insert(0, [milliseconds(view.release.began_at), 0])
    ended = view.release.ended_at if view.release else None
    if ended and view.state != "promoted":
        stairs.append([milliseconds(ended), 0])
    elif view.points and stairs and milliseconds(view.points[-1].time) > stairs[-1][0]:
        stairs.append([milliseconds(view.points[-1].time), stairs[-1][1]])
    decided = {"paused": "asks a person", "promoted": "promoted", "rolled_back": "rolled back", "retired": "retired"}
    marks = [(milliseconds(one.time), decided[one.kind]) for one in view.decisions if one.kind in decided]
    got = [(milliseconds(point.time), point.got) for point in view.points]
    wanted = line("wanted", "var(--candidate)", stairs, symbol="none") | {"step": "end", "areaStyle": {"opacity": 0.12}}
    wanted["markLine"] = mark([{"xAxis": at, "label": {"formatter": word, "color": "var(--quiet)"}} for at, word in marks])
    return over_time(
        {"name": "% of the traffic", "min": 0, "max": min(100, max(10, 2 * max((share for _, share in stairs), default=100)))},
        [*band("got", "var(--ink)", _intervals(got, 100)), wanted, line("got", "var(--ink)", _values(got, 100), type="dotted")],
        ["wanted", "got"],
    )


def worse(view: ReleaseView) -> dict[str, Any]:
    """The evidence of each signal that the candidate is worse, on a log scale; from its lowest limit on it is rolled back."""
    limits = dict(view.plan.limits.worse) if view.plan else {}
    series = []
    drawn = [signal for signal in view.signals if signal.role == "guardrail"]
    for signal in drawn:
        colour, symbol, dash = STYLES.get(signal.name, ("var(--ink)", "circle", "solid"))
        data = [[milliseconds(point.time), _drawn(point.worse[signal.name])] for point in view.points if signal.name in point.worse]
        one = line(signal.name, colour, data, symbol=symbol, type=dash)
        if signal.name in limits:
            label = {"formatter": "rolled back", "color": "var(--bad)", "position": "insideStartTop", "show": signal is drawn[0]}
            one["markLine"] = mark(
                [{"yAxis": _drawn(limits[signal.name]), "label": label, "lineStyle": {"color": colour, "type": "dashed"}}]
            )
        series.append(one)
    return over_time(_odds_axis(limits.values(), series), series, [signal.name for signal in drawn])


def better(view: ReleaseView) -> dict[str, Any]:
    """The evidence that the candidate's error rate is within limits, on a log scale; a promotion wants one of the two at its limit."""
    limits = view.plan.limits if view.plan else None
    beside = f"below {limits.error_ratio:g} times the champion's" if limits else "beside the champion's"
    alone = f"below {percent(limits.error_rate)}" if limits else "by itself"
    first = line(beside, "var(--good)", [[milliseconds(point.time), _drawn(point.not_worse)] for point in view.points])
    rare = [[milliseconds(point.time), None if point.rare is None else _drawn(point.rare)] for point in view.points]
    series = [first, line(alone, "var(--champion)", rare, symbol="diamond", type="dashed")]
    if limits:
        label = {"formatter": f"promotion wants {odds(limits.promotion)}", "color": "var(--good)", "position": "insideStartTop"}
        first["markLine"] = mark(
            [{"yAxis": _drawn(limits.promotion), "label": label, "lineStyle": {"color": "var(--good)", "type": "dashed"}}]
        )
    return over_time(_odds_axis([limits.promotion] if limits else [], series), series, [beside, alone])


def errors(view: ReleaseView) -> dict[str, Any]:
    """The share of failed requests of both versions since the release began, each with its interval."""
    return _both(view.points, lambda point: (point.candidate_errors, point.champion_errors), {"name": "% failed"}, 100)


def latency(view: ReleaseView) -> dict[str, Any]:
    """The 95th percentile of both versions' latency since the release began, each with its interval."""
    return _both(view.points, lambda point: (point.candidate_p95, point.champion_p95), {"name": "p95, ms"}, 1)


def difference(view: ReleaseView) -> dict[str, Any]:
    """The candidate's error rate less the champion's with its interval, and the difference that is tolerated."""
    differences = [(milliseconds(point.time), point.difference) for point in view.points]
    allowed = [[milliseconds(point.time), None if point.allowed is None else round(100 * point.allowed, 4)] for point in view.points]
    series = [
        *band("difference", "var(--candidate)", _intervals(differences, 100)),
        line("difference", "var(--candidate)", _values(differences, 100))
        | {"markLine": mark([{"yAxis": 0, "label": {"show": False}, "lineStyle": {"color": "var(--quiet)", "type": "solid"}}])},
        line("tolerated", "var(--bad)", allowed, symbol="none", type="dashed"),
    ]
    edges = _edges([point.difference for point in view.points], 100)
    return over_time({"name": "percentage points", **edges}, series, ["difference", "tolerated"])


def share_rows(points: Sequence[Point]) -> list[list[object]]:
    """The table behind `shares`."""
    return _rows(points, lambda p: [_percent(p.wanted), *_estimate(p.got, 100, "%"), p.action.replace("_", " ")])


def worse_head(view: ReleaseView) -> tuple[str, ...]:
    """The head of the table behind `worse`: the signals of every release, then those that a team added."""
    return ("look", *SIGNALS, *(signal.name for signal in view.signals if signal.role == "guardrail" and signal.name not in SIGNALS))


def worse_rows(view: ReleaseView) -> list[list[object]]:
    """The table behind `worse`."""
    return _rows(view.points, lambda p: [odds(p.worse[name]) if name in p.worse else "" for name in worse_head(view)[1:]])


def better_rows(points: Sequence[Point]) -> list[list[object]]:
    """The table behind `better`."""
    return _rows(points, lambda p: [odds(p.not_worse), "" if p.rare is None else odds(p.rare)])


def error_rows(points: Sequence[Point]) -> list[list[object]]:
    """The table behind `errors`."""
    return _rows(points, lambda p: [*_estimate(p.candidate_errors, 100, "%"), *_estimate(p.champion_errors, 100, "%")])


def difference_rows(points: Sequence[Point]) -> list[list[object]]:
    """The table behind `difference`."""
    return _rows(points, lambda p: [*_estimate(p.difference, 100, "points"), "" if p.allowed is None else f"{100 * p.allowed:.3g} points"])


def latency_rows(points: Sequence[Point]) -> list[list[object]]:
    """The table behind `latency`."""
    return _rows(points, lambda p: [*_estimate(p.candidate_p95, 1, "ms"), *_estimate(p.champion_p95, 1, "ms")])


def _both(
    points: Sequence[Point], of: Callable[[Point], tuple[Estimate | None, Estimate | None]], axis: dict[str, Any], scale: float
) -> dict[str, Any]:
    axis = {**axis, **_edges([estimate for point in points for estimate in of(point)], scale, lowest=0.0)}
    at = [milliseconds(point.time) for point in points]
    ours = list(zip(at, (of(point)[0] for point in points), strict=True))
    theirs = list(zip(at, (of(point)[1] for point in points), strict=True))
    series = [
        *band("candidate", "var(--candidate)", _intervals(ours, scale)),
        *band("champion", "var(--champion)", _intervals(theirs, scale)),
        line("candidate", "var(--candidate)", _values(ours, scale)),
        line("champion", "var(--champion)", _values(theirs, scale), symbol="diamond", type="dashed"),
    ]
    return over_time(axis, series, ["candidate", "champion"])


def _edges(estimates: Sequence[Estimate | None], scale: float, lowest: float | None = None) -> dict[str, float]:
    """The ends of an axis: the first looks know little, so that their intervals would leave no room for what is known by now."""
    known = [estimate for estimate in estimates if estimate is not None]
    if not known:
        return {}
    late = known[len(known) // 2 :]
    high = scale * max([one.high for one in late] + [one.value for one in known])
    low = scale * min([one.low for one in late] + [one.value for one in known]) if lowest is None else lowest
    room = 0.0 if lowest is not None else 0.1 * (high - low)
    step = _round((high - low) / 5 or 0.2)
    return {"min": round(math.floor((low - room) / step) * step, 9), "max": round(math.ceil((1.1 * high - 0.1 * low) / step) * step, 9)}


def _round(value: float) -> float:
    """The next greater of 1, 2 or 5 times a power of ten: a step of an axis."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= value)


def _odds_axis(limits: Any, series: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A log axis on which the limits can be seen, whatever the evidence is."""
    seen = [value for one in series for _, value in one["data"] if value is not None]
    top = max([10.0, *(10 * 10**limit for limit in limits), *seen])
    bottom = min([0.1, *seen])
    edges = {"min": 10.0 ** math.floor(math.log10(bottom)), "max": 10.0 ** math.ceil(math.log10(top))}
    return {"type": "log", "name": "odds, to 1", **edges}


def _drawn(log: float) -> float:
    """Evidence as it is drawn: odds to 1, between the edges."""
    return float(f"{10 ** min(max(log, LOW), HIGH):.3g}")


def _intervals(points: Sequence[tuple[int, Estimate | None]], scale: float) -> list[tuple[int, float, float]]:
    return [(at, round(scale * known.low, 5), round(scale * known.high, 5)) for at, known in points if known is not None]


def _values(points: Sequence[tuple[int, Estimate | None]], scale: float) -> list[list[float | None]]:
    return [[at, None if known is None else round(scale * known.value, 4)] for at, known in points]


def _rows(points: Sequence[Point], cells: Callable[[Point], list[object]]) -> list[list[object]]:
    """A row for each look, newest first; how many older ones are left out."""
    rows: list[list[object]] = [[f"{point.time:%Y-%m-%d %H:%M:%S} UTC", *cells(point)] for point in reversed(points[-ROWS:])]
    older = len(points) - ROWS
    return [*rows, [f"{counted(older, 'older look')}: perennial show release --json"]] if older > 0 else rows


def _estimate(known: Estimate | None, scale: float, unit: str) -> list[object]:
    if known is None:
        return ["", ""]
    return [f"{scale * known.value:.3g} {unit}", f"{scale * known.low:.3g} to {scale * known.high:.3g}"]


def _percent(known: float | None) -> str:
    return "a copy" if known is None else f"{100 * known:g} %"
