"""Findings of the drift test as HTML: the parts that the page of a window and the page of two tables have in common.

>>> from perennial.monitoring.report.findings import key
>>> key("January", "July")
"<p class='key quiet small'><i style='background:var(--before)'></i>January<i style='background:var(--after)'></i>July, share of rows</p>"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from perennial.monitoring.report import pictures
from perennial.monitoring.report.words import effect_words
from perennial.monitoring.verdict import ColumnDrift, DriftVerdict
from perennial.pages import code, table_of

MAX_COLUMNS = 12


def together(drift: DriftVerdict) -> str:
    """What changed between columns, as a section; nothing if nothing was compared."""
    findings = [f for f in drift.columns if f.kind in ("correlation", "joint")]
    if not findings:
        return ""
    rows = [
        (
            f"{mark(f)}{code(f.sentence)}",
            pictures.interval(f.effect, f.low, f.high, top=max(f.effect, f.usual, f.high or 0.0), usual=f.usual),
            effect_words(f),
            f"{f.p_value:.3g}",
        )
        for f in findings[:MAX_COLUMNS]
    ]
    return f"<h2>Columns together</h2>{table_of(('What was compared', 'Change; grey: usual', 'Effect', 'p'), rows)}"


def cards(findings: Iterable[ColumnDrift]) -> str:
    """A plot for each finding, with its sentence."""
    drawn = []
    for f in findings:
        effect = f"effect {effect_words(f)}, usual up to {f.usual:.3g}, p = {f.p_value:.3g}"
        caption = f"{mark(f)}{code(f.sentence)} <span class='quiet small'>{effect}</span>"
        drawn.append(f"<figure><figcaption>{caption}</figcaption>{pictures.bars(f.bins, f.column)}</figure>")
    return f"<div class=cards>{''.join(drawn)}</div>" if drawn else ""


def mark(finding: ColumnDrift) -> str:
    """How far a finding drifted, in a word."""
    if finding.alarms:
        return "<span class=mark>drifted</span> "
    return "<span class=quiet>a little</span> " if finding.drifted else ""


def key(before: str = "reference", after: str = "window") -> str:
    """Which colour stands for what in the plots."""
    names = f"<i style='background:var(--before)'></i>{escape(before)}<i style='background:var(--after)'></i>{escape(after)}"
    return f"<p class='key quiet small'>{names}, share of rows</p>"


def not_tested(reasons: Mapping[str, str]) -> str:
    """Why some columns were not tested; nothing if all were."""
    return table_of(("Not tested", "Why"), [(escape(name), escape(why)) for name, why in reasons.items()]) if reasons else ""
