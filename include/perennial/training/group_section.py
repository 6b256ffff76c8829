"""The part of an evaluation's page that shows whether groups are represented in a version's snapshot, and whether labels and gaps differ
between them.

>>> line = {"column": "origin", "too_many": 312}
>>> sections([line])
['<h2>Groups by origin</h2>', '<p class=quiet>312 different values are too many to be groups.</p>']
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from perennial.counted import percent
from perennial.pages import Span, spans, table_of
from perennial.training.pictures import figure, number

_STATES = {"as usual": "", "more": "more than in training", "less": "less than in training", "vanished": "not in the test rows"}
_STATES |= {"new": "not in the training rows", "few rows": "too few rows for a test"}


def sections(columns: Sequence[dict[str, Any]]) -> list[str]:
    """HTML of each column of groups (`stages/_groups.py`); empty if the dataset names none."""
    return [piece for column in columns for piece in _column(column)]


def _column(column: dict[str, Any]) -> list[str]:
    head = f"<h2>Groups by {escape(column['column'])}</h2>"
    if "too_many" in column:
        return [head, f"<p class=quiet>{column['too_many']:,} different values are too many to be groups.</p>"]
    return [head, _shares(column), _labels(column["labels"], column["column"]), _gaps(column["gaps"], column["column"])]


def _shares(column: dict[str, Any]) -> str:
    rows = [
        [
            escape(each["group"]), f"{each['train']:,}", "" if each["usual"] is None else percent(each["usual"]), f"{each['test']:,}",
            figure(each["share"], (each["low"], each["high"]), percent), escape(_STATES[each["state"]]),
        ]
        for each in column["shares"]
    ]  # fmt: skip
    lines = [Span(each["group"], each["share"], each["low"], each["high"], each["usual"]) for each in column["shares"]]
    picture = spans(lines, f"Share of each group of {column['column']} among the test rows, and among the training rows")
    table = table_of(["group", "training rows", "share", "test rows", "share", ""], rows)
    said = f"Share of the test rows with its 95 % interval; dashed, of the training rows. Cramér's V {column['effect']:.2f}"
    return f"<figure>{picture}{table}</figure><p class='quiet small'>{escape(said + _chance(column['p']))}.</p>"


def _labels(labels: dict[str, Any], column: str) -> str:
    head = ["group", "rows", "with a label", *(f"{name}, share" if name != "mean" else "mean" for name in labels["of"]), ""]
    form = number if labels["of"] == ["mean"] else percent
    rows, lines = [], []
    for each in labels["groups"]:
        cells = [figure(value, None if low is None or high is None else (low, high), form) for value, low, high in each["rates"]]
        said = "differs from the others" if each["differs"] else "too few rows for a test" if each["p"] is None else ""
        rows.append([escape(each["group"]), f"{each['rows']:,}", f"{each['labelled']:,}", *cells, said])
        value, low, high = each["rates"][0]
        if value is not None and low is not None:
            lines.append(Span(each["group"], value, low, high))
    picture = spans(lines, f"{labels['of'][0]} by group of {column}") if len(labels["of"]) == 1 else ""
    said = f"Label by group, training and test rows together, with 95 % intervals. {labels['measure']} {labels['effect']:.2f}"
    return f"<figure>{picture}{table_of(head, rows)}</figure><p class='quiet small'>{escape(said + _chance(labels['p']))}.</p>"


def _gaps(gaps: Sequence[dict[str, Any]], column: str) -> str:
    if not gaps:
        return f"<p class=quiet>No column is missing in some groups of {escape(column)} noticeably more than in others.</p>"
    rows = [
        [
            escape(gap["column"]), f"{percent(gap['most_share'])} of {escape(gap['most'])}",
            f"{percent(gap['least_share'])} of {escape(gap['least'])}", f"{gap['effect']:.2f}",
        ]
        for gap in gaps
    ]  # fmt: skip
    return table_of(["missing unevenly", "most", "least", "Cramér's V"], rows)


def _chance(p: float | None) -> str:
    return ", not tested: too few rows" if p is None else f", chance {p:.2g} if there were no difference"
