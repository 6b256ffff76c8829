"""The pictures of an evaluation, each an SVG without script or style of its own. What it shows is said in its label, too; the page has its
figures as a table beside it.

    >>> curves({"candidate": [(0.1, 0.2, 0.5), (0.9, 0.8, 0.5)]}, "score", "share that came true").count("<circle")
    2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from perennial.counted import percent

COLOURS = {"candidate": "var(--after)", "champion": "var(--before)"}
WIDTH, SIDE = 360, 300  # of every plot, in its own units: a phone shows it at about that size, so its text stays readable
LEFT, BOTTOM, TOP = 60, 34, 8  # room for the words at the axes
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Range:
    """A place on the lower axis, with a value and the range around it."""

    where: str  # in words
    value: float
    low: float
    high: float


def number(value: float) -> str:
    """A figure as people read it."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        return f"{value:.4g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.2f}" if size >= 10 else f"{value:.4f}"


def at_axis(value: float) -> str:
    """A figure as it fits beside an axis, of eight signs at most: the page's table has it whole.

    >>> at_axis(-120114.0), at_axis(9876.5)
    ('-120k', '9,876')
    """
    near = float(f"{value:.3g}")
    if abs(near) >= 1e12 or 0 < abs(near) < 1e-3:
        return f"{value:.1e}"
    unit, sign = next(((size, sign) for size, sign in _UNITS if abs(near) >= size), (1.0, ""))
    return f"{near / unit:g}{sign}" if abs(near) >= 1e4 else number(value) if abs(value) >= 1e-3 else f"{value:.4f}"


def figure(value: float | None, interval: Sequence[float] | None = None, words: Callable[[float], str] = number) -> str:
    """A figure as HTML, its interval below it where it has one; `none` where nothing can be said."""
    if value is None:
        return "<span class=quiet>none</span>"
    span = f"<br><span class='quiet small n'>{words(interval[0])} to {words(interval[1])}</span>" if interval else ""
    return f"<span class=n>{words(value)}</span>{span}"


def curves(points: Mapping[str, Sequence[Sequence[float]]], across: str, up: str) -> str:
    """Points [x, y, share of rows] of each version, x and y from 0 to 1, and the line of a perfect forecast; larger where more rows are."""
    drawn = [*_square(0.0, 1.0, across, up)]
    for who, dots in points.items():
        places = [(*_place(x, y), share) for x, y, share in dots]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        drawn.append(f"<polyline points='{line}' fill=none stroke='{COLOURS[who]}'/>")
        drawn += [
            f"<circle cx={x:.1f} cy={y:.1f} r={2 + 10 * share**0.5:.1f} fill='{COLOURS[who]}' fill-opacity=.6 />" for x, y, share in places
        ]
    said = ". ".join(
        f"The {who}: " + "; ".join(f"{across} {x:.2f}: {up} {y:.2f}, {percent(share)} of rows" for x, y, share in dots)
        for who, dots in points.items()
    )
    return _svg(said, WIDTH, SIDE, drawn)


def cells(grid: Mapping[str, Any], across: str, up: str) -> str:
    """Rows in square cells of two values, darker where more are, and the line on which both are equal."""
    counts, low, high = grid["counts"], grid["low"], grid["high"]
    size, rows, most = len(counts), sum(map(sum, counts)), max(map(max, counts)) or 1
    side = (SIDE - BOTTOM - TOP) / size
    drawn = []
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            where = f"x={LEFT + j * side:.1f} y={SIDE - BOTTOM - (i + 1) * side:.1f} width={side:.1f} height={side:.1f}"
            dark = 0.12 + 0.88 * (count / most) ** 0.5
            drawn.append(f"<rect {where} fill='{COLOURS['candidate']}' fill-opacity={dark:.2f} />" if count else "")
    near = sum(count for i, row in enumerate(counts) for j, count in enumerate(row) if abs(i - j) <= 1)
    said = (
        f"{rows:,} rows by {across} and {up}, both from {number(low)} to {number(high)} in {size} steps: "
        f"{percent(near / rows)} of them are at most a step off the line on which both are equal"
    )
    return _svg(said, WIDTH, SIDE, [*_square(low, high, across, up), *drawn])


def ranges(series: Mapping[str, Sequence[Range]], what: str, *, height: int = 200) -> str:
    """Values with their ranges along an axis of words, for each version, around the line of 0."""
    every = [one for points in series.values() for one in points]
    low, high = min(0.0, *(one.low for one in every)), max(0.0, *(one.high for one in every))
    scale = (height - BOTTOM - TOP) / ((high - low) or 1.0)
    drawn = [
        f"<text class=soft x={LEFT - 6} y={height - BOTTOM + 4} text-anchor=end>{at_axis(low)}</text>" if low else "",
        f"<text class=soft x={LEFT - 6} y={TOP + 8} text-anchor=end>{at_axis(high)}</text>" if high else "",
        f"<text class=soft x={LEFT - 6} y={TOP + high * scale + 4:.1f} text-anchor=end>0</text>" if _apart(low, high) else "",
        f"<line x1={LEFT} x2={WIDTH - 4} y1={TOP + high * scale:.1f} y2={TOP + high * scale:.1f} stroke='var(--quiet)' />",
    ]
    for place, (who, points) in enumerate(reversed(list(series.items()))):  # the candidate last, on top
        step = (WIDTH - LEFT - 20) / max(1, len(points) - 1)
        aside = (3.0 if step > 14 else 1.0) * (place - (len(series) - 1) / 2)
        for spot, one in enumerate(points):
            x = LEFT + 8 + (step * spot if len(points) > 1 else (WIDTH - LEFT) / 2) + aside * 2
            drawn.append(
                f"<line x1={x:.1f} x2={x:.1f} y1={TOP + (high - one.high) * scale:.1f} y2={TOP + (high - one.low) * scale:.1f} "
                f"stroke='{COLOURS[who]}' stroke-width=2 stroke-opacity=.5 />"
                f"<circle cx={x:.1f} cy={TOP + (high - one.value) * scale:.1f} r={3 if step > 8 else 2} fill='{COLOURS[who]}'/>"
            )
    first = next(iter(series.values()))
    drawn.append(f"<text class=soft x={LEFT} y={height - 8}>{escape(first[0].where)}</text>")
    if len(first) > 1:
        drawn.append(f"<text class=soft x={WIDTH - 4} y={height - 8} text-anchor=end>{escape(first[-1].where)}</text>")
    return _svg(f"{what}. " + ". ".join(_highest(who, points) for who, points in series.items()), WIDTH, height, drawn)


def bars(days: Mapping[str, Sequence[int]], height: int = 110) -> str:
    """Rows of each day, and in colour those of them that have a label."""
    most, step = max(rows for rows, _ in days.values()), WIDTH / len(days)
    drawn = []
    for place, (day, (rows, labelled)) in enumerate(days.items()):
        title = f"<title>{escape(day)}: {labelled:,} of {rows:,} rows ({labelled / rows:.0%}) have a label</title>"
        for count, colour in ((rows, "var(--line)"), (labelled, COLOURS["candidate"])):
            tall = (height - 18) * count / most
            drawn.append(
                f"<rect x={place * step:.1f} y={height - 18 - tall:.1f} width={step * 0.85:.1f} height={tall:.1f} fill='{colour}'>"
                f"{title}</rect>"
            )
    first, last = next(iter(days)), next(reversed(list(days)))
    drawn += [f"<text class=soft x=0 y={height - 4}>{escape(first)}</text>"]
    drawn += [f"<text class=soft x={WIDTH} y={height - 4} text-anchor=end>{escape(last)}</text>"] if last != first else []
    least = min(days, key=lambda day: days[day][1] / days[day][0])
    rows, labelled = (sum(counts) for counts in zip(*days.values(), strict=True))
    said = f"Labels by day, {first} to {last}: {labelled:,} of {rows:,} rows have one; the smallest share is that of {least}, "
    return _svg(f"{said}{percent(days[least][1] / days[least][0])}", WIDTH, height, drawn)


def heights(bins: Sequence[Sequence[float]], above: float, height: int = 150) -> str:
    """Rows by their score, and in colour those that are known anomalies; a dashed line at the score above which there is an alarm.

    Args:
        bins: lower end, upper end, rows and known anomalies of each, side by side.
        above: the threshold.
        height: of the picture.
    """
    low, high, most = bins[0][0], bins[-1][1], max(rows for _, _, rows, _ in bins)
    across, drawn = (WIDTH - 8) / (high - low), []
    for first, last, rows, unusual in bins:
        for count, colour in ((rows, "var(--line)"), (unusual, COLOURS["candidate"])):
            tall = (height - 26) * (count / most) ** 0.5
            drawn.append(
                f"<rect x={4 + (first - low) * across:.1f} y={height - 18 - tall:.1f} width={(last - first) * across * 0.9:.1f} "
                f"height={tall:.1f} fill='{colour}'><title>{number(first)} to {number(last)}: {rows:,} rows</title></rect>"
            )
    x = 4 + (min(max(above, low), high) - low) * across
    drawn += [
        f"<line x1={x:.1f} x2={x:.1f} y1=4 y2={height - 18} stroke='var(--quiet)' stroke-dasharray='4 4' />",
        f"<text class=soft x=4 y={height - 4}>{at_axis(low)}</text>",
        f"<text class=soft x={WIDTH - 4} y={height - 4} text-anchor=end>{at_axis(high)}</text>",
    ]
    every = sum(rows for _, _, rows, _ in bins)
    said = f"{every:,} rows by score, from {number(low)} to {number(high)}; an alarm is raised above {number(above)}"
    return _svg(said, WIDTH, height, drawn)


def key_of(who: Sequence[str]) -> str:
    """Which colour is which version; nothing where there is one."""
    if len(who) < 2:
        return ""
    return "<br><span class=key>" + "".join(f"<i style='background:{COLOURS[name]}'></i>{name}" for name in who) + "</span>"


def figure_of(said: str, picture: str, behind: str) -> str:
    """A picture, what it shows, and its figures as a table."""
    return (
        f"<figure><figcaption class='quiet small'>{said}</figcaption>{picture}"
        f"<details><summary class=small>The figures of this picture</summary>{behind}</details></figure>"
    )


def _highest(who: str, points: Sequence[Range]) -> str:
    top, bottom = max(points, key=lambda one: one.value), min(points, key=lambda one: one.value)
    return (
        f"The {who}: between {number(bottom.value)} ({bottom.where}) and {number(top.value)} ({top.where}); "
        f"the ranges around reach from {number(min(one.low for one in points))} to {number(max(one.high for one in points))}"
    )


def _apart(low: float, high: float) -> bool:
    """Whether 0 is far enough from both ends of an axis for words of its own."""
    return (bool(low and high) and 0.1 < high / (high - low) < 0.9) or not (low and high)


def _place(x: float, y: float) -> tuple[float, float]:
    side = SIDE - BOTTOM - TOP
    return LEFT + x * side, SIDE - BOTTOM - y * side


def _square(low: float, high: float, across: str, up: str) -> list[str]:
    """Axes from `low` to `high`, named, and the diagonal."""
    (x0, y0), (x1, y1) = _place(0, 0), _place(1, 1)
    ends = [f"{end:g}" if (low, high) == (0.0, 1.0) else at_axis(end) for end in (low, high)]
    return [
        f"<line x1={x0} y1={y0} x2={x1} y2={y1} stroke='var(--quiet)' stroke-dasharray='4 4' />",
        f"<polyline points='{x0},{y1} {x0},{y0} {x1},{y0}' fill=none stroke='var(--line)' />",
        f"<text class=soft x={x0 - 6} y={y0} text-anchor=end>{ends[0]}</text>",
        f"<text class=soft x={x0 - 6} y={y1 + 8} text-anchor=end>{ends[1]}</text>",
        f"<text class=soft x={x0} y={y0 + 14}>{ends[0]}</text>",
        f"<text class=soft x={x1} y={y0 + 14} text-anchor=end>{ends[1]}</text>",
        f"<text x={(x0 + x1) / 2} y={y0 + 28} text-anchor=middle>{escape(across)}</text>",
        f"<text x={x0 + 6} y={y1 + 8}>{escape(up)}</text>",
    ]


def _svg(said: str, width: float, height: float, drawn: Sequence[str]) -> str:
    return f"<svg role=img aria-label='{escape(said)}' viewBox='0 0 {width} {height}'>{''.join(drawn)}</svg>"
