"""An evaluation as one self-contained HTML page, without scripts or network access."""

from __future__ import annotations

from html import escape
from typing import Any

from perennial.specs import ModelSpec

_STYLE = """\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1b1f24}
h1{font-size:1.5rem}
h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #d8dee4}
td:first-child,th:first-child{text-align:left}
.note{color:#57606a}
svg text{font:11px system-ui,sans-serif;fill:#57606a}
"""
_NEWEST_DAYS = 60  # of which the page shows how many rows have a label
_COLOURS = {"candidate": "#0969da", "champion": "#bf8700"}


def page(spec: ModelSpec, document: dict[str, Any]) -> str:
    """The page of an evaluation document (`stages/evaluate.py`)."""
    parts, champion = document["parts"], document["champion"]
    first, end = document["bounds"]["test"]
    sections = [
        f"<h1>{escape(spec.title)}: candidate {escape(document['digest'][:12])}</h1>",
        f"<p>Snapshot {document['snapshot']} of {escape(spec.dataset)}; {parts['test']['rows']:,} test rows from {escape(first)} "
        f"to before {escape(end)}. "
        + (
            f"Beside it, on the same rows: version {escape(str(champion['version']))}, the champion."
            if champion
            else escape(document["incomparable"]) or "There is no champion to compare it with."
        )
        + "</p>",
    ]
    if document["champion_saw_test_days"]:
        sections.append(
            "<p><strong>The champion was trained or recalibrated on some of these days</strong>, "
            "so its figures here are better than they will be on new ones.</p>"
        )
    if document["coverage"]:
        sections += ["<h2>Labels by day</h2>", _coverage(document["coverage"])]
    sections += ["<h2>Test split</h2>", _metrics(parts["test"])]
    if spec.task != "regression":
        sections += [
            "<h2>Calibration</h2>",
            _curve(parts["test"]),
            '<p class="note">Share that came true against the mean score of each tenth; the line is a perfect forecast.</p>',
        ]
    if "old_context" in parts:
        old = parts["old_context"]
        sections += [
            "<h2>Older days</h2>",
            f'<p class="note">The champion\'s own test days, {escape(old["days"][0])} to {escape(old["days"][1])}: '
            "has the candidate forgotten them?</p>",
            _metrics(old),
        ]
    for column in spec.slices:
        sections += [f"<h2>By {escape(column)}</h2>", _slices(parts["test"], column, spec.gate.metric)]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(spec.title)}: '
        f"evaluation</title><style>{_STYLE}</style><body>{''.join(sections)}</body></html>"
    )


def _coverage(days: dict[str, list[int]], height: int = 90, width: int = 12) -> str:
    """Bars of the newest days: rows in grey, those of them whose label the training knew in blue."""
    newest = list(days.items())[-_NEWEST_DAYS:]
    most, bars = max(rows for _, (rows, _) in newest), []
    for place, (day, (rows, labelled)) in enumerate(newest):
        title = f"<title>{escape(day)}: {labelled:,} of {rows:,} rows ({labelled / rows:.0%}) have a label</title>"
        for count, colour in ((rows, "#d8dee4"), (labelled, _COLOURS["candidate"])):
            tall = height * count / most
            bars.append(
                f'<rect x="{place * width}" y="{height - tall:.1f}" width="{width - 2}" height="{tall:.1f}" fill="{colour}">{title}</rect>'
            )
    rows, labelled = (sum(counts) for counts in zip(*days.values(), strict=True))
    return (
        f'<svg width="{len(newest) * width}" height="{height}" role="img" aria-label="Labels by day">{"".join(bars)}</svg>'
        f'<p class="note">{escape(newest[0][0])} to {escape(newest[-1][0])}: rows of each day, in blue those whose label was known; '
        f"of all {rows:,} rows {labelled:,} ({labelled / rows:.0%}).</p>"
    )


def _metrics(part: dict[str, Any]) -> str:
    who = [name for name in _COLOURS if name in part]
    rows = []
    for metric, value in part["candidate"]["metrics"].items():
        interval = part["candidate"].get("intervals", {}).get(metric)
        cells = [f"{value:.4f}" + (f' <span class="note">({interval[0]:.4f} to {interval[1]:.4f})</span>' if interval else "")]
        cells += [f"{part[name]['metrics'].get(metric, float('nan')):.4f}" for name in who[1:]]
        rows.append([escape(metric.replace("_", " ")), *cells])
    return _table(["metric", *who], rows)


def _slices(part: dict[str, Any], column: str, metric: str) -> str:
    who = [name for name in _COLOURS if name in part]
    rows = []
    for value, figures in part["candidate"]["slices"][column].items():
        others = [part[name]["slices"][column].get(value, {}).get(metric) for name in who]
        rows.append([escape(value), f"{figures['rows']:,.0f}", *("" if other is None else f"{other:.4f}" for other in others)])
    return _table([column, "rows", *(f"{metric.replace('_', ' ')}, {name}" for name in who)], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["".join(f"<th>{escape(name)}</th>" for name in head), *("".join(f"<td>{cell}</td>" for cell in row) for row in rows)]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _curve(part: dict[str, Any], size: int = 320) -> str:
    def place(score: float, observed: float) -> tuple[float, float]:
        return 40 + score * (size - 60), size - 30 - observed * (size - 60)

    (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
    marks = [
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="#d0d7de"/>',
        f'<polyline points="{x0},{y1} {x0},{y0} {x1},{y0}" fill="none" stroke="#8c959f"/>',
    ]
    marks += [
        f'<text x="{x0 - 6}" y="{y0 + 4}" text-anchor="end">0</text><text x="{x0 - 6}" y="{y1 + 4}" '
        f'text-anchor="end">1</text><text x="{x1}" y="{y0 + 16}" text-anchor="middle">1</text>'
    ]
    for number, name in enumerate(name for name in _COLOURS if name in part):
        colour, dots = _COLOURS[name], [(*place(score, observed), share) for score, observed, share in part[name]["curve"]]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
        marks.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}"/>'
            + "".join(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2 + 10 * share**0.5:.1f}" fill="{colour}" fill-opacity=".6"/>'
                for x, y, share in dots
            )
        )
        marks.append(f'<text x="{x0 + 10}" y="{y1 + 14 + 16 * number}" style="fill:{colour}">{name}</text>')
    return f'<svg width="{size}" height="{size}" role="img" aria-label="Calibration">{"".join(marks)}</svg>'
