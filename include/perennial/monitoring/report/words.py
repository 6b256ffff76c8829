"""The words of a window's report: its sentence, the headline of its page, and how figures are written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from perennial.counted import percent
from perennial.monitoring.figures import Break, Estimate, LiveMetrics, Metric, Performance
from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.verdict import ColumnDrift, DriftVerdict


def sentence_of(
    requests: int,
    verdict: DriftVerdict,
    breaks: tuple[Break, ...],
    *,
    confirmed: bool,
    figures: Performance,
    estimate: Estimate | None,
    decision: str,
) -> str:
    """The findings and the decision of a look, in one line."""
    alarming = [c for c in verdict.columns if c.alarms]
    drifted = [c for c in verdict.columns if c.drifted]
    if alarming:
        world = f"Drift{' (confirmed)' if confirmed else ''}: {_first_of(alarming)}"
    elif drifted:
        world = f"No drift worth an alarm: {_first_of(drifted)}"
    else:
        world = "No drift." if verdict.columns and not verdict.power.startswith("Nothing") else f"No verdict on drift. {verdict.power}"
    broken = "".join(f" {b.sentence}" for b in breaks if not alarming or b.sentence != alarming[0].sentence)
    return f"{requests} predictions. {world}{broken} {_loss(figures, estimate)}. {decision}"


def _first_of(findings: list[ColumnDrift]) -> str:
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{findings[0].sentence.rstrip('.')}{more}."


def _loss(figures: Performance, estimate: Estimate | None) -> str:
    if figures.realised is not None:
        loss = f"{figures.loss} {figures.realised:.3f} [{figures.low:.3f}, {figures.high:.3f}] on {figures.labelled} outcomes"
    elif estimate is not None:
        loss = f"no outcomes yet; the scores alone expect {figures.loss} {estimate.loss:.3f}"
    else:
        loss = "no outcomes yet"
    return f"{loss[0].upper()}{loss[1:]}"


def headline_of(report: WindowReport) -> tuple[str, str]:
    """Class and headline of the verdict: the first that holds, the worst first."""
    drift = report.drift
    rules = (
        (report.breaks, " alarm", "A feed looks broken."),
        (report.jump.found, " alarm", "The model has become worse."),
        (drift.confirmed, " changed", f"The world has changed: drift in {drift.windows} windows in a row."),
        (drift.alarming, " changed", "Something has changed; it is not confirmed yet."),
        (any(rule.state == "broken" for rule in report.rules), " changed", "What the model answers is beyond a limit of its owner."),
        (report.anomalies.unusual, " changed", "Unusually many strange requests."),
        (report.decision.cause, " changed", "Retraining was asked for."),
        (drift.drifted, "", "Small changes, none worth an alarm."),
    )
    return next(((f"verdict{mark}", headline) for holds, mark, headline in rules if holds), ("verdict", "Nothing stands out."))


def effect_words(finding: ColumnDrift) -> str:
    """An effect and its interval."""
    return f"{finding.effect:.3g}{'' if finding.low is None else f' ({finding.low:.3g} to {finding.high:.3g})'}"


METRICS = {  # how they are written
    "accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "f1": "F1", "rmse": "RMSE", "mae": "MAE",
}  # fmt: skip


def titled(metrics: Mapping[str, Metric]) -> list[tuple[str, Metric]]:
    """Metrics with their titles, in the order in which people read them."""
    return [(title, metrics[name]) for name, title in METRICS.items() if name in metrics]


def metric_words(metric: Metric | None) -> str:
    """A metric and its interval."""
    if metric is None:
        return "nothing to tell"
    return f"{metric.value:.4g}{'' if metric.low is None else f' ({metric.low:.4g} to {metric.high:.4g})'}"


def units_words(metrics: LiveMetrics) -> str:
    """What the intervals rest on."""
    too_narrow = " With fewer than three days they take rows as independent of each other: too narrow, where rows of a day are alike."
    return f"95 % intervals, by {metrics.units}.{too_narrow if metrics.units == 'rows' else ''}" if metrics.units else ""


def share_words(value: float) -> str:
    """A share as percent; what is no share as a number."""
    if abs(value) > 1 or value < 0:
        return f"{value:.2f}"
    return percent(value)


def time_words(when: datetime) -> str:
    """A time to the minute."""
    return f"{when:%Y-%m-%d %H:%M}"


def milliseconds_words(value: float | None) -> str:
    """Milliseconds, or that they are not known."""
    return "?" if value is None else f"{value:g} ms"
