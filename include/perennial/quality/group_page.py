"""The part of a page of Data Docs that shows whether the groups of a batch are represented.

>>> from perennial.quality.groups import coverage
>>> section([coverage("origin", {"EWR": 480, "JFK": 450}, None)]).count("<tr>")
3
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from perennial.counted import percent
from perennial.pages import Span, spans, table_of
from perennial.quality.groups import MOST_GROUPS, Coverage, State

_STATES: dict[State, str] = {
    "as usual": "",
    "more": "more than usual",
    "less": "less than usual",
    "vanished": "vanished",
    "new": "new",
    "few rows": "too few rows for a test",
}


def section(coverages: Sequence[Coverage]) -> str:
    """A table and a picture for each column whose groups must be represented; empty if there is none."""
    parts = [_column(coverage) for coverage in coverages]
    return f'<main class="page"><h2>Groups</h2>{"".join(parts)}</main>' if parts else ""


def _column(coverage: Coverage) -> str:
    if len(coverage.groups) > MOST_GROUPS:
        many = f"<p>{len(coverage.groups):,} different values are too many to be groups.</p>"
        return f"<h3>{escape(coverage.column)}</h3>{many}"
    lines = [Span(each.group, each.share, each.low, each.high, each.usual) for each in coverage.groups]
    rows = [
        [
            escape(each.group),
            f"{each.rows:,}",
            f"{percent(each.share)} ({percent(each.low)} to {percent(each.high)})",
            "" if each.usual is None else percent(each.usual),
            escape(_STATES[each.state]),
        ]
        for each in coverage.groups
    ]
    said = (
        f"Compared with the rows that are in the table (dashed marks): Cramér's V {coverage.effect:.2f}, chance {coverage.p:.2g} if "
        f"nothing had changed; batches scatter {coverage.scatter:.1f} times as much as single rows would."
        if coverage.p is not None
        else "Not compared with the rows that are in the table: there are none yet, or too few of each group."
    )
    picture = spans(lines, f"Share of each group of {coverage.column}")
    table = table_of(["group", "rows", "share, 95 % interval", "usually", ""], rows)
    return f"<h3>{escape(coverage.column)}</h3><figure>{picture}{table}</figure><p>{escape(said)}</p>"
