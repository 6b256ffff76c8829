"""The pictures of a window's page, each an SVG without script or style of its own; what it shows is said in its label, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from perennial.monitoring.figures import DayMetrics
from perennial.monitoring.report.numbers import DayLosses
from perennial.monitoring.report.words import share_words
from perennial.monitoring.verdict import Bin
from perennial.pages import shortened

MAX_BINS = 20
WIDTH = 360  # of every plot, in its own units: a phone shows it at about that size, so its text stays readable
BAR = 130  # width of the longest bar
LABEL = 19  # letters of a bar's label


def bars(bins: Sequence[Bin], of: str, *, both: bool = True) -> str:
    """A row for each range or category: the reference above, the window below. Of too many, those that changed most, in their order."""
    filled = [b for b in bins if b.reference or b.window]
    most = sorted(filled, key=lambda b: -abs(b.window - b.reference))[:MAX_BINS]
    shown = [b for b in filled if b in most] if len(filled) > MAX_BINS else filled
    top = max((max(abs(b.reference), abs(b.window)) for b in shown), default=1.0) or 1.0
    height = 22 if both else 17
    drawn = [_row(b, height * i, top, both=both) for i, b in enumerate(shown)]
    label = f"{of}: " + "; ".join(f"{b.label} {share_words(b.reference)} to {share_words(b.window)}" for b in shown)
    left = f"<p class='quiet small'>{len(filled) - len(shown)} more that changed less.</p>" if len(filled) > len(shown) else ""
    size = height * max(len(shown), 1) + 4
    return f"<svg role=img aria-label='{escape(label)}' viewBox='0 0 {WIDTH} {size}'>{''.join(drawn)}</svg>{left}"


def _row(b: Bin, y: int, top: float, *, both: bool) -> str:
    before, after = BAR * abs(b.reference) / top, BAR * abs(b.window) / top
    shares = f"{share_words(b.reference)} → {share_words(b.window)}" if both else share_words(b.window)
    rectangles = (
        f"<rect x=120 y={y + 2} width={before:.1f} height=7 fill='var(--before)'/>"
        f"<rect x=120 y={y + 10} width={after:.1f} height=7 fill='var(--after)'/>"
        if both
        else f"<rect x=120 y={y + 3} width={after:.1f} height=11 fill='var(--after)'/>"
    )
    end = 126 + max(before * both, after)
    return (
        f"<text x=114 y={y + 13} text-anchor=end>{escape(shortened(b.label, LABEL))}</text>{rectangles}"
        f"<text class=soft x={end:.1f} y={y + 13}>{shares}</text>"
    )


def interval(value: float, low: float | None, high: float | None, *, top: float, usual: float | None = None) -> str:
    """A value and its interval on a line that begins at zero."""
    scale = BAR / (top or 1.0)
    drawn = [] if usual is None else [f"<rect x=4 y=3 width={usual * scale:.1f} height=10 fill='var(--line)'/>"]
    drawn.append("<line x1=4 y1=1 x2=4 y2=15 stroke='var(--before)'/>")
    span = ""
    if low is not None and high is not None:
        begin, end = 4 + low * scale, 4 + min(high, top) * scale
        drawn.append(f"<line x1={begin:.1f} x2={end:.1f} y1=8 y2=8 stroke='var(--after)' stroke-width='2.5'/>")
        span = f", interval {low:.3g} to {high:.3g}"
    drawn.append(f"<circle cx={4 + value * scale:.1f} cy=8 r=4 fill='var(--after)'/>")
    return f"<svg role=img aria-label='{value:.3g}{span}' viewBox='0 0 142 16'>{''.join(drawn)}</svg>"


def curve(days: Sequence[DayLosses], loss: str) -> str:
    """Realised and expected loss by day, and below it which share of the outcomes is known; nothing with fewer than two known days."""
    realised = [d.realised for d in days if d.realised is not None]
    if len(realised) < 2:
        return ""
    values = [*realised, *(d.expected for d in days if d.expected is not None)]
    low, high = min(values), max(values)
    step = (WIDTH - 72) / (len(days) - 1)
    scale = 100 / ((high - low) or 1.0)

    def points(value: Callable[[DayLosses], float | None]) -> list[tuple[int, float, float]]:
        known = [(i, v) for i, d in enumerate(days) if (v := value(d)) is not None]
        return [(i, 60 + step * i, 112 - (v - low) * scale) for i, v in known]

    width = min(step * 0.7, 14)
    coverage = "".join(
        f"<rect x={60 + step * i - width / 2:.1f} y={154 - 24 * d.coverage:.1f} "
        f"width={width:.1f} height={24 * d.coverage:.1f} fill='var(--before)'/>"
        for i, d in enumerate(days)
    )
    drawn = (
        f"<text class=soft x=44 y=16 text-anchor=end>{high:.3f}</text><text class=soft x=44 y=116 text-anchor=end>{low:.3f}</text>"
        f"<line x1=50 x2={WIDTH - 2} y1=112 y2=112 stroke='var(--line)'/><line x1=50 x2={WIDTH - 2} y1=154 y2=154 stroke='var(--line)'/>"
        + _line(points(lambda d: d.expected), "stroke='var(--before)' stroke-width=2 stroke-dasharray='4 4'")
        + _line(points(lambda d: d.realised), "stroke='var(--after)' stroke-width=2")
        + "".join(f"<circle cx={x:.1f} cy={y:.1f} r=2.5 fill='var(--after)'/>" for _, x, y in points(lambda d: d.realised))
        + coverage
        + f"<text class=soft x=44 y=144 text-anchor=end>known</text><text class=soft x=52 y=170>{days[0].day}</text>"
        + f"<text class=soft x={WIDTH - 4} y=170 text-anchor=end>{days[-1].day}</text>"
    )
    each_day = "; ".join(f"{d.day}: {d.realised:.3f}" for d in days if d.realised is not None)
    return (
        "<figure><figcaption>Loss by day: realised (line), expected by the scores (dashes); "
        "bars: share of the outcomes that is known</figcaption>"
        f"<svg role=img aria-label='{escape(loss)} by day. {each_day}' viewBox='0 0 {WIDTH} 176'>{drawn}</svg></figure>"
    )


def metric_by_day(days: Sequence[DayMetrics], name: str, title: str) -> str:
    """One metric by day, with its interval as a bar; nothing with fewer than two days that have it."""
    known = [(day.day, day.metrics[name]) for day in days if name in day.metrics]
    if len(known) < 2:
        return ""
    ends = [(m.value if m.low is None else m.low, m.value if m.high is None else m.high) for _, m in known]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    first, scale = known[0][0], 100 / ((high - low) or 1.0)
    step = (WIDTH - 72) / max((known[-1][0] - first).days, 1)
    at = [(60 + step * (day - first).days, 112 - (metric.value - low) * scale) for day, metric in known]
    spans = "".join(
        f"<line x1={x:.1f} x2={x:.1f} y1={112 - (begin - low) * scale:.1f} y2={112 - (end - low) * scale:.1f} "
        "stroke='var(--before)' stroke-width=2 />"
        for (x, _), (begin, end) in zip(at, ends, strict=True)
    )
    drawn = (
        f"<text class=soft x=44 y=16 text-anchor=end>{high:.3g}</text><text class=soft x=44 y=116 text-anchor=end>{low:.3g}</text>"
        f"<line x1=50 x2={WIDTH - 2} y1=112 y2=112 stroke='var(--line)'/>{spans}"
        + _line([((day - first).days, x, y) for (day, _), (x, y) in zip(known, at, strict=True)], "stroke='var(--after)' stroke-width=2")
        + "".join(f"<circle cx={x:.1f} cy={y:.1f} r=2.5 fill='var(--after)'/>" for x, y in at)
        + f"<text class=soft x=52 y=130>{first}</text><text class=soft x={WIDTH - 4} y=130 text-anchor=end>{known[-1][0]}</text>"
    )
    each_day = "; ".join(f"{day}: {metric.value:.3g}" for day, metric in known)
    return (
        f"<figure><figcaption>{escape(title)} by day, with its 95 % interval</figcaption>"
        f"<svg role=img aria-label='{escape(title)} by day. {each_day}' viewBox='0 0 {WIDTH} 136'>{drawn}</svg></figure>"
    )


def _line(points: Sequence[tuple[int, float, float]], style: str) -> str:
    """One stroke for each run of days that follow one another."""
    runs: list[list[tuple[int, float, float]]] = []
    for point in points:
        if runs and runs[-1][-1][0] == point[0] - 1:
            runs[-1].append(point)
        else:
            runs.append([point])
    return "".join(f"<polyline fill=none {style} points='{' '.join(f'{x:.1f},{y:.1f}' for _, x, y in run)}'/>" for run in runs)
