"""An evaluation as one self-contained HTML page, without scripts or network access: what `perennial evaluate` writes beside its figures.

>>> import json
>>> from pathlib import Path
>>> from perennial import discovery
>>> for file in Path("reports/flight_delays").glob("*/evaluation.json"):  # draw them again
...     drawn = file.with_suffix(".html").write_text(page(discovery.model("flight_delays"), json.loads(file.read_text())))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from perennial.counted import percent
from perennial.pages import code, document, shortened, table_of, tiles
from perennial.specs import ModelSpec
from perennial.training import alarm_section, group_section, pictures
from perennial.training.pictures import COLOURS, Range, figure, figure_of, key_of, number

_NEWEST_DAYS = 60  # of which the page shows how many rows have a label
_MOST_LETTERS = 80  # of a key's value among the worst rows
_GATE = "<section id=gate aria-label='The verdict of the gate'>{}</section>"
_UNITS = {"days": "whole days", "groups": "whole groups", "rows": "single rows"}


def page(spec: ModelSpec, evaluation: dict[str, Any]) -> str:
    """The page of an evaluation document (`stages/evaluate.py`)."""
    parts, test = evaluation["parts"], evaluation["parts"]["test"]
    sections = [
        f"<h1>{escape(spec.title)}: candidate {escape(evaluation['digest'][:12])}</h1>",
        _GATE.format("<p class='verdict changed'><strong>The gate has not judged it yet.</strong> What it says will stand here.</p>"),
        _introduction(spec, evaluation),
        _tiles(spec, test),
        "<h2>All figures on the test rows</h2>",
        _metrics(test),
        f"<p class='quiet small'>{_methods(spec, test)}</p>",
        *_closer(spec, test),
    ]
    if evaluation["coverage"]:
        sections += ["<h2>Labels by day</h2>", _coverage(evaluation["coverage"])]
    if "old_context" in parts:
        old = parts["old_context"]
        timed = old["drawn"] == "days"
        of = f"days, {escape(old['days'][0])} to {escape(old['days'][1])}" if timed else f"rows, {old['rows']:,} of its own snapshot"
        sections += [
            f"<h2>Older {'days' if timed else 'rows'}</h2>",
            f"<p class=quiet>The champion's own test {of}: has the candidate forgotten them?</p>",
            _metrics(old),
        ]
    sections += group_section.sections(evaluation.get("groups", []))
    for column in spec.slices:
        sections += [f"<h2>By {escape(column)}</h2>", _slices(test, column, spec.gate.metric)]
    return document(f"{spec.title}: evaluation", sections)


def _closer(spec: ModelSpec, test: dict[str, Any]) -> list[str]:
    """How the versions err, and on which rows most; of an anomaly model its scores and alarms."""
    if spec.task == "anomaly":
        return [*alarm_section.sections(test), *alarm_section.unusual(test["worst"], spec.label)]
    return [*(_regression(spec, test) if spec.task == "regression" else _classes(spec, test)), *_worst(spec, test)]


def with_verdict(html: str, verdict: Mapping[str, Any]) -> str:
    """An evaluation's page with what the gate said on top; what it said before is replaced.

    Args:
        html: the page, also one from before pages had a place for it.
        verdict: `passed`, `sentence` and `checks`, as the gate's decision is stored.
    """
    passed = verdict["passed"]
    rows = [
        (escape(str(check["name"])), "yes" if check["passed"] else "<span class='mark bad'>no</span>", code(str(check["sentence"])))
        for check in verdict.get("checks", ())
    ]
    told = (
        f"<p class='verdict{'' if passed else ' alarm'}'><strong>The gate {'let it in' if passed else 'refused it'}.</strong><br>"
        f"{code(str(verdict['sentence']))}</p>"
    )
    if rows:
        told += f"<details><summary>What it looked at</summary>{table_of(('check', 'passed', 'what it says'), rows)}</details>"
    before, found, after = html.partition(_GATE.partition("{}")[0])
    if found:
        return before + _GATE.format(told) + after.partition("</section>")[2]
    before, found, after = html.partition("</h1>")
    return before + found + _GATE.format(told) + after if found else html


def rows_words(part: dict[str, Any], split: dict[str, Any], bounds: Sequence[str]) -> str:
    """Which rows are the test rows: the newest days, whole groups, or rows at random.

    Args:
        part: of the evaluation: its rows, and what is drawn again.
        split: how the snapshot was split.
        bounds: first day, and the day after the last.
    """
    rows = f"{part['rows']:,} test rows"
    if split["by"] == "group":
        return f"{rows}: all rows of {part['units']:,} groups by {', '.join(split['group'])}, of which no row was trained on"
    if split["by"] == "random":
        return f"{rows}, each chosen at random whatever its time"
    return f"{rows} from {bounds[0]} to before {bounds[1]}"


def _introduction(spec: ModelSpec, evaluation: dict[str, Any]) -> str:
    champion, test = evaluation["champion"], evaluation["parts"]["test"]
    rows = rows_words(test, evaluation["split"], evaluation["bounds"]["test"])
    beside = (
        f"Beside it, on the same rows: version {escape(str(champion['version']))}, the champion."
        if champion
        else escape(evaluation["incomparable"]) or "There is no champion to compare it with."
    )
    said = f"<p>Snapshot {evaluation['snapshot']} of {escape(spec.dataset)}; {escape(rows)}. {beside}</p>"
    if evaluation["champion_saw_test_days"]:
        said += (
            "<p><strong>The champion was trained or recalibrated on some of these days</strong>, "
            "so its figures here are better than they will be on new ones.</p>"
        )
    return said


def _tiles(spec: ModelSpec, test: dict[str, Any]) -> str:
    """The gate's metric of whoever was measured."""
    metric = spec.gate.metric
    words = metric.replace("_", " ")
    shown = []
    for who, name in (("candidate", "candidate"), ("champion", "champion"), ("rule", "simple rule")):
        value = test.get(who, {}).get("metrics", {}).get(metric)
        if value is not None:
            shown.append((number(value), f"{words}, {name}"))
    return tiles(shown) if shown else ""


def _methods(spec: ModelSpec, test: dict[str, Any]) -> str:
    units = test["drawn"] if test["units"] > 1 or test["drawn"] == "rows" else "rows"
    rule = (
        "the mean of the training rows' labels" if spec.task == "regression" else "the shares that the classes have among the training rows"
    )
    said = f"Below each figure its 95 % interval, from {_UNITS[units]} drawn again."
    return said + (f" The simple rule looks at no input: it always answers {rule}. A model must do better." if "rule" in test else "")


def _metrics(part: dict[str, Any]) -> str:
    who = [name for name in (*COLOURS, "rule") if name in part]
    rows = []
    for metric in part["candidate"]["metrics"]:
        cells = []
        for name in who:
            value, interval = part[name]["metrics"].get(metric), part[name].get("intervals", {}).get(metric)
            cells.append(figure(value, interval))
        rows.append([escape(metric.replace("_", " ")), *cells])
    return table_of(["metric", *("simple rule" if name == "rule" else name for name in who)], rows)


def _slices(part: dict[str, Any], column: str, metric: str) -> str:
    who = [name for name in COLOURS if name in part]
    rows = []
    for value, figures in part["candidate"]["slices"][column].items():
        others = [part[name]["slices"][column].get(value, {}).get(metric) for name in who]
        rows.append([escape(value), f"{figures['rows']:,.0f}", *("" if other is None else number(other) for other in others)])
    if not rows:
        return "<p class=quiet>No value of it has rows enough for figures of its own.</p>"
    return table_of([column, "rows", *(f"{metric.replace('_', ' ')}, {name}" for name in who)], rows)


def _regression(spec: ModelSpec, test: dict[str, Any]) -> list[str]:
    who = [name for name in COLOURS if "residuals" in test.get(name, {})]
    if not who:  # an evaluation from before there were any
        return []
    candidate = test["candidate"]["residuals"]
    tenths = {name: test[name]["residuals"]["tenths"] for name in who}
    days = {name: test[name]["residuals"]["days"] for name in who}
    label = shortened(spec.label, 24)
    parts = [
        "<h2>Predicted against actual</h2>",
        figure_of(
            "Rows of the candidate by prediction and actual value, darker where more are; on the dashed line both are equal. "
            "The outermost cells hold what lies beyond.",
            pictures.cells(candidate["grid"], f"predicted {label}", "actual"),
            _tenths_table(tenths["candidate"]),
        ),
        "<h2>Residuals by prediction</h2>",
        figure_of(
            "Actual minus predicted, for tenths of the rows by what was predicted: the mean, and where eight of ten rows lie. "
            f"Above 0 the model says too little.{key_of(who)}",
            pictures.ranges(
                {name: [_range(one, f"predicted {number(one['predicted'])}") for one in rows] for name, rows in tenths.items()},
                "Mean residual by prediction",
            ),
            "".join(f"<h3>The {name}</h3>{_tenths_table(rows)}" for name, rows in tenths.items()),
        ),
    ]
    if days["candidate"]:
        parts += [
            "<h2>Residuals over time</h2>",
            figure_of(
                f"The same by day of the event: does the error grow, or come and go?{key_of(who)}",
                pictures.ranges(
                    {name: [_range(one, one["first"]) for one in rows] for name, rows in days.items()}, "Mean residual over time"
                ),
                "".join(f"<h3>The {name}</h3>{_days_table(rows)}" for name, rows in days.items()),
            ),
        ]
    return [*parts, "<h2>Size of the errors</h2>", _sizes(test, who)]


def _range(one: dict[str, Any], where: str) -> Range:
    return Range(where, one["residual"], one["low"], one["high"])


def _tenths_table(rows: Sequence[dict[str, Any]]) -> str:
    return table_of(
        ("rows", "mean predicted", "mean actual", "mean residual", "eight of ten residuals"),
        [(f"{one['rows']:,}", number(one["predicted"]), number(one["actual"]), number(one["residual"]), _span(one)) for one in rows],
    )


def _days_table(rows: Sequence[dict[str, Any]]) -> str:
    return table_of(
        ("days", "rows", "mean residual", "eight of ten residuals"),
        [
            (
                escape(one["first"] if one["first"] == one["last"] else f"{one['first']} to {one['last']}"),
                f"{one['rows']:,}",
                number(one["residual"]),
                _span(one),
            )
            for one in rows
        ],
    )


def _span(one: dict[str, Any]) -> str:
    return f"<span class=n>{number(one['low'])} to {number(one['high'])}</span>"


def _sizes(test: dict[str, Any], who: Sequence[str]) -> str:
    """Quantiles of the absolute error, and the mean residual."""
    rows = []
    for place, (share, *_) in enumerate(test["candidate"]["residuals"]["quantiles"]):
        cells = [test[name]["residuals"]["quantiles"][place] for name in who]
        rows.append([f"{percent(share).replace('.0', '')} of the rows err by at most", *(figure(value, span) for _, value, *span in cells)])
    biases = [test[name]["residuals"]["bias"] for name in who]
    rows.append(["mean residual", *(figure(value, span) for value, *span in biases)])
    return table_of(["error", *who], rows)


def _classes(spec: ModelSpec, test: dict[str, Any]) -> list[str]:
    top = "score" if spec.task == "binary" else "highest score"
    true = f"came true ({spec.classes[1]})" if spec.task == "binary" else "were of that class"
    share = "share that came true" if spec.task == "binary" else "share that was right"
    who = [name for name in COLOURS if name in test]
    curves = {name: test[name]["curve"] for name in who}
    parts = []
    if "confusion" in test["candidate"]:
        parts += ["<h2>Which class is taken for which</h2>", _matrix(test["candidate"]["confusion"])]
        if "confusion" in test.get("champion", {}):
            parts.append(f"<details><summary>The same of the champion</summary>{_matrix(test['champion']['confusion'])}</details>")
        parts += ["<h2>Each class</h2>", _each_class(test, [name for name in who if "confusion" in test[name]])]
    return [
        *parts,
        "<h2>Calibration</h2>",
        figure_of(
            f"Rows by their {top}, in tenths of it: the mean {top}, and the share of those rows that {escape(true)}. Larger dots are more "
            f"rows; the dashed line is a perfect forecast.{key_of(who)}",
            pictures.curves(curves, f"mean {top}", share),
            table_of(
                ("version", f"mean {top}", share, "share of rows"),
                [(name, f"{x:.3f}", f"{y:.3f}", percent(rows)) for name, points in curves.items() for x, y, rows in points],
            ),
        ),
    ]


def _matrix(found: dict[str, Any]) -> str:
    """The confusion matrix: rows and share of the row, darker where more are."""
    names = [escape(name) for name in found["classes"]] + ([f"<em>{found['rest']} others</em>"] if found["rest"] else [])
    heads = "".join(f"<th scope=col>{name}</th>" for name in names)
    lines = []
    for place, counts in enumerate(found["counts"]):
        rows = sum(counts)
        cells = "".join(_cell(count, count / rows if rows else 0.0, right=place == other) for other, count in enumerate(counts))
        lines.append(f"<tr><th scope=row>{names[place]}</th>{cells}<td>{rows:,}</td></tr>")
    rest = f" Of {len(found['classes']) + found['rest']} classes the {len(found['classes'])} with most rows." if found["rest"] else ""
    return (
        f"<p class='quiet small'>A line for each actual class, a column for each predicted one: rows, and their share of the line.{rest}"
        "</p>"
        f"<div class=scroll tabindex=0><table class=matrix><thead><tr><td></td>{heads}<th scope=col>all</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(count: int, share: float, *, right: bool) -> str:
    """A cell, coloured by its share: in one colour what was right, in another what was taken for something else."""
    if not count:
        return "<td class=quiet>0</td>"
    colour = f"color-mix(in srgb,var(--{'good' if right else 'after'}) {45 * share**0.5:.0f}%,transparent)"
    return f"<td style='background:{colour}'>{count:,}<br><span class='small n'>{percent(share)}</span></td>"


def _each_class(test: dict[str, Any], who: Sequence[str]) -> str:
    rows = []
    for place, name in enumerate(test["candidate"]["confusion"]["classes"]):
        each = test["candidate"]["confusion"]["each"][place]
        figures = [figure(each[rate], each[f"{rate}_interval"]) for rate in ("precision", "recall", "f1")]
        others = [figure(test[other]["confusion"]["each"][place]["f1"]) for other in who[1:]]
        rows.append([escape(name), f"{each['rows']:,}", f"{each['predicted']:,}", *figures, *others])
    head = ["class", "rows", "predicted", "precision", "recall", "F1", *(f"F1, {name}" for name in who[1:])]
    note = (
        "<p class='quiet small'>Precision: the share of the rows predicted to be of a class that are. Recall: the share of a class's rows "
        "that were predicted to be. F1: the harmonic mean of both. None: no row to say it of.</p>"
    )
    return table_of(head, rows) + note


def _worst(spec: ModelSpec, test: dict[str, Any]) -> list[str]:
    if not test.get("worst"):
        return []
    names = list(test["worst"][0]["key"])
    who = [name for name in COLOURS if name in test["worst"][0]]
    regression = spec.task == "regression"
    rows = []
    for row in test["worst"]:
        cells = [escape(shortened(value, _MOST_LETTERS)) for value in row["key"].values()]
        actual = number(row["actual"]) if regression else escape(row["actual"])
        told = [number(row[name]) if regression else f"{escape(row[name][0])}<br>{_small(row[name][1])}" for name in who]
        rows.append([*cells, actual, *told])
    said = "The test rows on which the candidate loses most, by their key; look them up in the table for the rest. " + (
        "One wrong value or a missing input explains many of them."
        if regression
        else "In small the score that was given to what is right. Often it is the label that is wrong."
    )
    return ["<h2>The worst rows</h2>", f"<p class=quiet>{said}</p>", table_of([*names, f"actual {spec.label}", *who], rows)]


def _small(score: float) -> str:
    return f"<span class='quiet small'>{score:.4f}</span>"


def _coverage(days: dict[str, list[int]]) -> str:
    """Bars of the newest days, and how many rows of all have a label."""
    newest = dict(list(days.items())[-_NEWEST_DAYS:])
    rows, labelled = (sum(counts) for counts in zip(*days.values(), strict=True))
    said = (
        f"Rows of each day, in colour those whose label was known; of all {rows:,} rows {labelled:,} ({labelled / rows:.0%}). "
        f"{'The newest days alone are drawn.' if len(newest) < len(days) else ''}"
    )
    behind = table_of(
        ("day", "rows", "with a label", "share"),
        [(escape(day), f"{every:,}", f"{known:,}", percent(known / every)) for day, (every, known) in newest.items()],
    )
    return figure_of(said, pictures.bars(newest), behind)
