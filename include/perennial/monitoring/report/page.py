"""The page of a window: one self-contained HTML file, the verdict on top. No script, no network; light, dark, printed, on a phone.

>>> from pathlib import Path
>>> from perennial.monitoring.report import numbers, page
>>> for file in Path("reports").glob("*/windows/*/report.json"):  # draw them again
...     drawn = file.with_name("index.html").write_text(page.page(numbers.decoded(file.read_bytes(), str(file))))
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from perennial.monitoring.figures import Anomalies, Anomaly, DayMetrics, LiveMetrics, RuleFinding
from perennial.monitoring.report import pictures
from perennial.monitoring.report.findings import MAX_COLUMNS, cards, key, mark, not_tested, together
from perennial.monitoring.report.numbers import Losses, SliceLosses, WindowDrift, WindowIncidents, WindowReport
from perennial.monitoring.report.words import (
    METRICS,
    effect_words,
    headline_of,
    metric_words,
    milliseconds_words,
    time_words,
    titled,
    units_words,
)
from perennial.monitoring.verdict import Bin
from perennial.pages import code, document, table_of, tiles

MAX_ANOMALIES = 15
NEAREST = 2  # findings shown with a plot where nothing drifted


def page(report: WindowReport) -> str:
    """The HTML of a window's report."""
    state, headline = headline_of(report)
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        f"<p class=quiet>{time_words(report.first)} to {time_words(report.last)}, event time. "
        f"Version {report.version} answered {report.answered} of {report.requests} predictions.</p>",
        f"<div class='{state}'><b>{escape(headline)}</b>{code(report.sentence.removesuffix(report.decision.why))}</div>",
        _tiles(report),
        f"<h2>What was decided and why</h2><p>{code(report.decision.why)}</p>",
        _incidents(report.incidents),
        _inputs(report),
        together(report.drift),
        _scores(report),
        _rules(report.rules),
        _anomalies(report.anomalies),
        _performance(report),
        _metrics(report.metrics),
        _slices(report.slices, report.performance.loss),
        _service(report),
        _method(report.drift),
    ]
    return document(f"{report.title} {report.name}", sections)


def _tiles(report: WindowReport) -> str:
    drift, losses, anomalies, incidents = report.drift, report.performance, report.anomalies, report.incidents.open
    if losses.realised is not None:
        loss = f"{losses.realised:.3f}", f"{losses.loss}, {losses.low:.3f} to {losses.high:.3f}"
    elif report.estimate is not None:
        loss = f"≈ {report.estimate.loss:.3f}", f"{losses.loss} by the scores alone"
    else:
        loss = "?", f"{losses.loss}: no outcomes yet"
    figures = [
        (f"{report.requests:,}", "predictions"),
        (str(len(drift.alarming)), f"drifted of {len(drift.columns)} findings"),
        loss,
        (f"{losses.coverage * 100:.0f} %", f"outcomes known, {losses.labelled:,} of {losses.predictions:,}"),
        (str(anomalies.found), f"strange requests, {anomalies.alarms_per_day:g} a day expected"),
        (str(len(incidents)), f"open incident{'' if len(incidents) == 1 else 's'}"),
    ]
    return tiles(figures)


def _incidents(incidents: WindowIncidents) -> str:
    rows = []
    for i in incidents.open:
        sentence = f"{code(i.sentence)}{' <b>Training waits for it.</b>' if i.blocks_training else ''}"
        since = f"{i.id}, {'new at this look' if i.id in incidents.changed else 'open since ' + time_words(i.opened)}"
        judged = f", judged {escape(i.verdict)}" if i.verdict else ""
        rows.append(
            (
                f"<span class='mark{' bad' if i.severity == 'critical' else ''}'>{escape(i.severity)}</span><div>{escape(i.kind)}</div>",
                f"{sentence}<div class='quiet small'>{escape(since)}{judged}</div>",
            )
        )
    table = table_of(("Incident", "What was seen"), rows) if rows else "<p>None is open.</p>"
    return f"<h2>Incidents</h2>{table}<p class='quiet small'>{escape(incidents.rate)}</p>"


def _inputs(report: WindowReport) -> str:
    drift = report.drift
    findings = [f for f in drift.columns if f.kind in ("shift", "nulls", "new category")]
    drifted = [f for f in findings if f.drifted]  # those that alarm come first
    parts = [f"<h2>Inputs against the champion's snapshot ({drift.reference_days} days)</h2>"]
    if drift.power:
        parts.append(f"<p>{escape(drift.power)}</p>")
    parts += [f"<p><span class='mark bad'>Diagnosis:</span> {code(b.sentence)}</p>" for b in report.breaks]
    if drift.confirmed:
        parts.append(f"<p>Confirmed over {drift.windows} windows in a row: {escape(', '.join(drift.confirmed))}.</p>")
    if not drifted and findings:
        parts.append("<p>No input drifted. The nearest to it:</p>")
    elif drifted and not any(f.alarms for f in drifted):
        parts.append("<p>Inputs changed for certain, but too little to act on.</p>")
    shown = drifted[:MAX_COLUMNS] or findings[:NEAREST]
    parts.append(key() if shown else "")
    parts.append(cards(shown))
    if others := [f for f in findings if f not in shown]:
        rows = [(code(f.sentence), effect_words(f), f"{f.p_value:.3g}", mark(f)) for f in others]
        table = table_of(("What was compared", "Effect", "p", ""), rows)
        parts.append(f"<details><summary>{len(others)} more that moved less</summary>{table}</details>")
    return "".join(parts)


def _scores(report: WindowReport) -> str:
    findings = [f for f in report.drift.columns if f.kind == "predictions"]
    if not findings and not report.scores:
        return ""
    parts = ["<h2>Scores</h2>"]
    if findings:
        parts += ["<p class=quiet>Against days of the snapshot that the training did not see.</p>", key(), cards(findings)]
    else:
        bins = [Bin(label=b.label, reference=0.0, window=b.share) for b in report.scores]
        picture = pictures.bars(bins, "scores", both=False)
        parts.append(f"<figure><figcaption>{escape(report.scores[0].of)}</figcaption>{picture}</figure>")
    return "".join(parts)


def _rules(rules: Sequence[RuleFinding]) -> str:
    """What the window says of the rules on the model's answers; nothing where there are none."""
    if not rules:
        return ""
    words = {"broken": "<span class='mark bad'>beyond</span>", "kept": "within", "open": "cannot tell", "few": "too few"}
    rows = [(escape(rule.name), code(rule.sentence), words[rule.state]) for rule in rules]
    return f"<h2>Rules on the answers</h2>{table_of(('Rule', 'What was answered', ''), rows)}"


def _anomalies(anomalies: Anomalies) -> str:
    parts = [f"<h2>Strange requests</h2><p>{escape(anomalies.sentence)}</p>"]
    if anomalies.shown:
        alike: dict[str, list[Anomaly]] = {}
        for request in anomalies.shown:
            alike.setdefault(request.sentence, []).append(request)
        listed = list(alike.items())[:MAX_ANOMALIES]
        parts.append(table_of(("What is strange", "Score"), [_alike(sentence, requests) for sentence, requests in listed]))
        left = anomalies.found - sum(len(requests) for _, requests in listed)
        if left > 0:
            parts.append(f"<p class='quiet small'>{left} more; report.json has the first {len(anomalies.shown)}.</p>")
    if anomalies.threshold is not None:
        held_out = (
            f" On {anomalies.held_out_days} held-out days of the reference, at this traffic, "
            f"{anomalies.achieved:.3g} a day were, {anomalies.highest:.3g} on the worst."
            if anomalies.achieved is not None
            else ""
        )
        parts.append(
            f"<p class='quiet small'>Detector {escape(anomalies.detector)}; a request counts from a score of {anomalies.threshold:.4g}, "
            f"so that while nothing is wrong no more than {anomalies.alarms_per_day:g} a day do in the mean.{held_out}</p>"
        )
    return "".join(parts)


def _alike(sentence: str, requests: Sequence[Anomaly]) -> tuple[str, str]:
    """A row for the requests of which the same is strange, the strangest first."""
    strangest = requests[0]
    which = strangest.prediction_id
    if len(requests) > 1:
        which = f"{len(requests)} requests, the strangest is {which}"
    return f"{code(sentence)}<div class='quiet small'>{escape(which)}</div>", f"{strangest.score:.4g}"


def _performance(report: WindowReport) -> str:
    losses, counts = report.performance, report.outcomes
    rows = [
        ("Outcomes known", f"{losses.labelled} of {losses.predictions} predictions ({losses.coverage * 100:.0f} %)"),
        *_realised(losses),
        *_estimated(report),
        (
            "Outcomes that repeat, are overruled, have no prediction yet",
            f"{counts.repeated}, {counts.contradicted}, {counts.unknown}",
        ),
        *(("Could not be read", sentence) for sentence in report.damaged),
    ]
    table = "".join(f"<tr><th scope=row>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    curve = pictures.curve(report.days, losses.loss)
    return f"<h2>Performance</h2><div class=scroll tabindex=0><table>{table}</table></div><p>{escape(report.jump.sentence)}</p>{curve}"


def _metrics(found: LiveMetrics) -> str:
    """Accuracy and the like of the window, each class, the confusion matrix, and the line by day; nothing without outcomes."""
    if not found.metrics and not found.days:
        return ""
    parts = ["<h2>Metrics</h2>"]
    if found.metrics:
        rows = [(title, metric_words(metric)) for title, metric in titled(found.metrics)]
        parts += [
            table_of((f"On {found.labelled:,} outcomes", "95 % interval in brackets"), rows),
            f"<p class=small>{units_words(found)}</p>",
        ]
    if len(found.each) > 1:
        classes = [
            (escape(c.name), f"{c.rows:,}", f"{c.predicted:,}", *(metric_words(m) for m in (c.precision, c.recall, c.f1)))
            for c in found.each
        ]
        parts.append(table_of(("Class", "Outcomes", "Answers", "Precision", "Recall", "F1"), classes))
    if found.confusion:
        parts.append(_confusion(found))
    if len(found.days) > 1:
        parts.append(_by_day(found.days))
    return "".join(parts)


def _confusion(found: LiveMetrics) -> str:
    heads = "".join(f"<th scope=col>{escape(name)}</th>" for name in found.classes)
    body = "".join(
        f"<tr><th scope=row>{escape(name)}</th>{''.join(f'<td>{count:,}</td>' for count in row)}</tr>"
        for name, row in zip(found.classes, found.confusion, strict=True)
    )
    return (
        "<div class=scroll tabindex=0><table class=matrix><caption>Rows: what happened. Columns: what was answered.</caption>"
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _by_day(days: Sequence[DayMetrics]) -> str:
    """The first metric of each day as a line, and all of them as a table."""
    names = [name for name in METRICS if any(name in day.metrics for day in days)]
    rows = [
        (str(day.day), str(day.version), f"{day.labelled:,}", *(metric_words(day.metrics.get(name)) for name in names))
        for day in reversed(days)
    ]
    table = table_of(("Day", "Version", "Outcomes", *(METRICS[name] for name in names)), rows)
    note = "<p class=small>Intervals of a day take its rows as independent of each other: too narrow, where they are alike.</p>"
    picture = pictures.metric_by_day(days, names[0], METRICS[names[0]])
    return f"{picture}<details><summary>The metrics of each day</summary>{table}{note}</details>"


def _realised(losses: Losses) -> list[tuple[str, str]]:
    rows = []
    if losses.realised is not None:
        resampled = f"{losses.blocks} resampled{', too narrow: rows of one day are alike' if losses.blocks == 'rows' else ''}"
        interval = f"95 % interval {losses.low:.4f} to {losses.high:.4f} ({resampled})"
        rows.append((f"Realised {losses.loss}", f"{losses.realised:.4f}, {interval}"))
    if losses.expected is not None:
        rows.append(("Expected by the model's own scores, same rows", f"{losses.expected:.4f} (excess {losses.excess:+.4f})"))
    return rows


def _estimated(report: WindowReport) -> list[tuple[str, str]]:
    if (estimate := report.estimate) is None:
        return []
    area = f", ROC AUC {estimate.roc_auc:.4f}" if estimate.roc_auc is not None else ""
    until = "" if report.performance.realised is not None else " until outcomes come"
    figures = f"{report.performance.loss} {estimate.loss:.4f}, accuracy {estimate.accuracy:.4f}{area} on {estimate.rows} predictions."
    return [
        (
            "By the scores alone, without outcomes",
            f"{figures} An estimate{until}: it follows inputs that become harder, "
            "and is blind to a changed concept, where the same inputs lead to other outcomes.",
        )
    ]


def _slices(slices: Sequence[SliceLosses], loss: str) -> str:
    if not slices:
        return ""
    top = max(s.high or 0.0 for s in slices)
    parts = [f"<h2>Performance by slice</h2><p class=quiet>Realised {escape(loss)}, 95 % interval; the worst first.</p>"]
    for column in dict.fromkeys(s.column for s in slices):
        worst_first = sorted((s for s in slices if s.column == column), key=lambda s: -(s.realised or 0.0))
        parts.append(table_of((column, "", "Loss", "Excess", "Outcomes known"), [_slice(s, top) for s in worst_first]))
    return "".join(parts)


def _slice(part: SliceLosses, top: float) -> tuple[str, ...]:
    assert part.realised is not None  # a slice is shown from thirty outcomes on
    return (
        escape(part.name),
        pictures.interval(part.realised, part.low, part.high, top=top),
        f"{part.realised:.3f} <span class='quiet small n'>{part.low:.3f} to {part.high:.3f}</span>",
        "" if part.excess is None else f"{part.excess:+.3f}",
        f"{part.labelled} of {part.predictions}",
    )


def _service(report: WindowReport) -> str:
    service, gateway = report.service, report.gateway
    times = ""
    if service.p50_ms is not None:
        times = f"; half within {service.p50_ms:.1f} ms, 99 % within {service.p99_ms:.1f} ms in the serving process"
    rows = "".join(
        f"<tr><th scope=row>Version {escape(version)}</th><td>{counts.requests} requests, {counts.errors} errors, "
        f"p50 ≤ {milliseconds_words(counts.p50_ms)}, p99 ≤ {milliseconds_words(counts.p99_ms)}</td></tr>"
        for version, counts in gateway.versions.items()
    )
    table = f"<div class=scroll tabindex=0><table>{rows}</table></div>" if rows else ""
    rate = f"{service.predictions} predictions within {max(service.seconds, 1):.0f} s of serving ({service.per_second:.1f} a second)"
    return f"<h2>Service</h2><p>{rate}{times}.</p><p class=quiet>{escape(gateway.sentence)}</p>{table}"


def _method(drift: WindowDrift) -> str:
    how = "all there are" if drift.exact else "drawn at random"
    parts = [
        f"<h2>How it was judged</h2><p class=small>{drift.window_days} days of the window against {drift.reference_days} of the reference, "
        f"by {drift.labellings} labellings of whole days ({how}). If nothing changed, anything at all is called drift in "
        f"{drift.alpha * 100:g} of 100 windows at most; besides, an effect must be large enough to matter.</p>"
    ]
    parts.append(not_tested(drift.skipped))
    return "".join(parts)
