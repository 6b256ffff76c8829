"""Two tables side by side: the sentences of a comparison, its table as text, and its page with the plots.

>>> import pyarrow as pa
>>> from perennial.monitoring.report.comparison import headline
>>> from perennial.monitoring.two_tables import compare_tables
>>> headline(compare_tables(pa.table({"a": range(99)}), pa.table({"a": range(99)})))
'Nothing differs by more than chance.'
"""

from __future__ import annotations

from html import escape

from perennial.monitoring.report.findings import MAX_COLUMNS, cards, key, mark, not_tested, together
from perennial.monitoring.report.words import effect_words
from perennial.monitoring.two_tables import Comparison
from perennial.monitoring.verdict import ColumnDrift
from perennial.pages import code, document, table_of

NEAREST = 2  # findings shown with a plot where nothing drifted
WIDTH = 48  # letters of a column's name in the table


def headline(comparison: Comparison) -> str:
    """The result in one sentence."""
    verdict = comparison.verdict
    if verdict.drifted:
        return f"Drift in {_names(verdict.drifted)}{'' if verdict.alarming else ', too little to act on'}."
    if comparison.cannot_tell:
        return "No verdict."
    return "Nothing differs by more than chance." if verdict.columns else "There is nothing to compare."


def meaning(comparison: Comparison) -> list[str]:
    """What was compared, what a p-value of it means, and what it rests on."""
    verdict, days = comparison.verdict, comparison.blocks == "days"
    blocks = f"days of {comparison.time}" if days else "bundles of rows"
    drawn = "".join(
        f" Of the {which}, {used:,} of {rows:,} rows were used."
        for which, used, rows in zip(("first", "second"), comparison.rows_used, comparison.rows, strict=True)
        if used < rows
    )
    sentences = [
        f"Compared: {blocks}, {verdict.reference_days} of the first with {verdict.window_days} of the second, "
        f"by {verdict.labellings} ways to exchange whole {'days' if days else 'bundles'}"
        f"{', which are all there are' if verdict.exact else ''}.{drawn}",
        "p: the chance that anything compared here would stand out as much if both came from the same source. "
        f"If they do, anything at all is called drift in {comparison.alpha * 100:g} of 100 comparisons at most; "
        "besides, an effect must be large enough to matter.",
    ]
    if not days:
        sentences.append(
            "Rows were taken as independent of each other: if neighbouring rows are alike, as those of one day or one machine are, "
            "p is too small. Name the column of their time then (--time COLUMN)."
        )
    for name, rows in comparison.infinite.items():
        of = " and ".join(f"{infinite:,} of {all_of_them:,}" for infinite, all_of_them in zip(rows, comparison.rows, strict=True))
        sentences.append(f"{name} is infinite in {of} rows: counted beyond all its other values, not as missing.")
    return [
        sentence for sentence in (comparison.why_rows, comparison.cannot_tell or (verdict.power if days else ""), *sentences) if sentence
    ]


def text(comparison: Comparison) -> str:
    """The whole comparison as text for a terminal."""
    lines = [headline(comparison), *(f"  {f.sentence}" for f in comparison.verdict.columns if f.drifted)]
    if comparison.verdict.columns:
        lines += ["", f"  {'what':<{WIDTH}} {'kind':<13} {'effect (95 % interval)':<26} {'usual':>8} {'p':>7}"]
        lines += [_line(finding) for finding in comparison.verdict.columns]
    lines += ["", *(f"  not compared: {name}: {why}" for name, why in _skipped(comparison).items()), *meaning(comparison)]
    return "\n".join(lines)


def comparison_page(comparison: Comparison, first: str, second: str) -> str:
    """The page of a comparison: one self-contained HTML file."""
    findings = [f for f in comparison.verdict.columns if f.kind not in ("correlation", "joint")]
    drifted = [f for f in findings if f.drifted]
    shown = drifted[:MAX_COLUMNS] or findings[:NEAREST]
    rows = [(f"{mark(f)}{code(f.sentence)}", effect_words(f), f"{f.p_value:.3g}") for f in findings if f not in shown]
    rest = table_of(("What was compared", "Effect", "p"), rows) if rows else ""
    state = " changed" if comparison.verdict.alarming else ""
    sections = [
        f"<h1>{escape(first)} and {escape(second)}</h1>",
        f"<p class=quiet>{comparison.rows[0]:,} and {comparison.rows[1]:,} rows.</p>",
        f"<div class='verdict{state}'><b>{code(headline(comparison))}</b></div>",
        f"<h2>Columns</h2>{key(first, second)}{cards(shown)}" if shown else "",
        f"<details><summary>{len(rows)} more that moved less</summary>{rest}</details>" if rows else "",
        together(comparison.verdict),
        "<h2>How it was judged</h2>",
        *(f"<p class=small>{escape(sentence)}</p>" for sentence in meaning(comparison)),
        not_tested(_skipped(comparison)),
    ]
    return document(f"{first} and {second}", sections)


def _line(finding: ColumnDrift) -> str:
    name = finding.column if len(finding.column) <= WIDTH else f"{finding.column[: WIDTH - 1]}…"
    drift = "  drift" if finding.alarms else "  a little" if finding.drifted else ""
    return f"  {name:<{WIDTH}} {finding.kind:<13} {effect_words(finding):<26} {finding.usual:>8.3g} {finding.p_value:>7.3g}{drift}"


def _skipped(comparison: Comparison) -> dict[str, str]:
    return {**comparison.not_compared, **comparison.verdict.skipped}


def _names(columns: tuple[str, ...]) -> str:
    names = [name if name == "all columns" else f"`{name}`" for name in columns]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
