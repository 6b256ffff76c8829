"""The report of a window of live traffic, made up: for tests of what shows windows, in the Airflow environment too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.verdict import ColumnDrift, in_order
from perennial.monitoring.windows import Window


def window_report(
    model: str,
    first: datetime,
    findings: Sequence[ColumnDrift] = (),
    *,
    version: int = 1,
    realised: float | None = None,
    expected: float | None = None,
    above: float | None = None,
    estimated: float | None = None,
    confirmed: Sequence[str] = (),
    limits: Mapping[str, Any] | None = None,
    skipped: Mapping[str, str] | None = None,
    slices: Sequence[Mapping[str, Any]] = (),
    opened: Sequence[Mapping[str, Any]] = (),
    resolved: Sequence[str] = (),
    metrics: Mapping[str, Any] | None = None,
    sentence: str = "It was looked at.",
) -> WindowReport:
    """The report of a day.

    Args:
        model: name of the model.
        first: begin of the day.
        findings: of the drift test.
        version: that answered.
        realised: loss; its interval is 0.1 to either side.
        expected: by the scores.
        above: excess loss from which on it is a jump.
        estimated: loss of all rows, by the scores alone.
        confirmed: columns that have drifted for as many windows as count.
        limits: of the kinds of findings; none as in a report from before they were kept.
        skipped: why columns were not tested.
        slices: of each what differs from a slice without outcomes.
        opened: of each incident that the look opened: id, kind, severity, sentence.
        resolved: ids of those that it found to be over.
        metrics: accuracy and the like; none as in a report from before they were kept.
        sentence: what it was.
    """
    window = Window(first, first + timedelta(days=1))
    losses = {"loss": "log loss", "predictions": 100, "labelled": 0, "coverage": 0.0, "excess": None, "blocks": "", "realised": None}
    losses |= {"low": None, "high": None, "expected": expected}
    interval = {} if realised is None else {"realised": realised, "low": realised - 0.1, "high": realised + 0.1, "labelled": 80}
    drift = {
        "columns": in_order(findings), "skipped": dict(skipped or {}), "reference_days": 40, "window_days": 1, "labellings": 2000,
        "exact": False, "confirmed": tuple(confirmed), "windows": 2, "alpha": 0.05, "earlier": (), "judged_by": "x",
        "limits": dict(limits or {}),
    }  # fmt: skip
    return WindowReport.model_validate(
        {
            "model": model, "title": model, "name": window.name, "first": window.first, "last": window.last, "version": version,
            "by_version": {version: 100}, "requests": 100, "sentence": sentence, "drift": drift, "breaks": (),
            "anomalies": {"detector": "multivariate", "alarms_per_day": 3.0, "sentence": "None."},
            "performance": losses | interval,
            "estimate": None if estimated is None else {"rows": 100, "loss": estimated, "accuracy": 0.8, "roc_auc": None},
            "slices": [losses | dict(part) for part in slices],
            "outcomes": {"predictions": 100, "labelled": 0, "repeated": 0, "contradicted": 0, "predicted_twice": 0, "unknown": 0},
            "days": (), **({} if metrics is None else {"metrics": metrics}),
            "jump": {"found": False, "sentence": "No.", "above": above}, "scores": (),
            "service": {"predictions": 100, "seconds": 60.0, "per_second": 1.7, "p50_ms": None, "p99_ms": None},
            "gateway": {"sentence": "", "versions": {}},
            "decision": {"cause": None, "why": "Nothing asks for retraining.", "request": None},
            "incidents": {
                "open": [{"opened": window.last, "verdict": None, "blocks_training": False, **incident} for incident in opened],
                "changed": (*(incident["id"] for incident in opened), *resolved),
                "rate": "",
            },
        }
    )  # fmt: skip
