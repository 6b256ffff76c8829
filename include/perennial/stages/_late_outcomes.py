"""Outcomes that came after their window was judged: its losses and metrics are measured anew. What was decided then stays as it was."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from perennial.lineage.trainings import kin
from perennial.monitoring.outcomes import join, outcomes_of
from perennial.monitoring.report.numbers import DayLosses, Losses, SliceLosses, WindowReport, decoded
from perennial.monitoring.report.timeline import WindowPoint, note_windows, noted_timeline
from perennial.monitoring.report.words import sentence_of
from perennial.monitoring.windows import Window, report_folder
from perennial.stages._traffic import Traffic
from perennial.stages._window_losses import HISTORY_DAYS, window_losses
from perennial.stages._window_reports import write_report

AT_ONCE = 3  # windows that one look measures anew, the newest first: the others are due at the next look
LEAST_SHARE = 0.01  # of a window's predictions whose outcomes must be new


def add_late_outcomes(traffic: Traffic, looked_at: str) -> tuple[str, ...]:
    """Measure those windows anew that have more outcomes than their report knows; names of these windows.

    Args:
        traffic: of the model, collected.
        looked_at: name of the window that was judged just now.
    """
    model = traffic.spec.name
    points = [point for point in noted_timeline(traffic.store, model, []) if point.name != looked_at][-HISTORY_DAYS:]
    known = _outcomes_known(traffic, points)
    late = [
        point
        for point, outcomes in zip(points, known, strict=True)
        if outcomes - (point.labelled if point.outcomes is None else point.outcomes) >= max(LEAST_SHARE * point.requests, 1)
    ]
    names = []
    for point in late[::-1][:AT_ONCE]:
        folder = report_folder(model, _window(point))
        place = f"{folder}/report.json"
        report = _measured(traffic, decoded(traffic.store.read(place), place))
        if report is not None:
            write_report(traffic.store, folder, report)
            names.append(point.name)
    if names:
        note_windows(traffic.store, model, names)
    return tuple(names)


def _measured(traffic: Traffic, before: WindowReport) -> WindowReport | None:
    """A report with the losses and metrics that the outcomes of now give; None if no prediction of the window is left."""
    window = Window(_utc(before.first), _utc(before.last))
    rows = traffic.predictions(window)
    if not rows.num_rows or before.version not in traffic.digests:
        return None
    losses = window_losses(traffic, window, rows, before.version, kin(traffic.store, before.model, traffic.digests, before.version))
    sentence = sentence_of(
        before.requests,
        before.drift,
        before.breaks,
        confirmed=bool(before.drift.confirmed),
        figures=losses.figures,
        estimate=losses.estimate,
        decision=before.decision.why,
    )
    return before.model_copy(
        update={
            "sentence": sentence,
            "performance": Losses.model_validate(losses.figures),
            "estimate": losses.estimate,
            "slices": tuple(SliceLosses.of(part) for part in losses.slices),
            "outcomes": losses.outcomes,
            "days": tuple(DayLosses.model_validate(day) for day in losses.days),
            "metrics": losses.metrics,
            "jump": losses.jump,
        }
    )


def _outcomes_known(traffic: Traffic, points: list[WindowPoint]) -> list[int]:
    """Predictions of each window whose outcome is known now."""
    if not points:
        return []
    windows = [_window(point) for point in points]
    span = Window(min(w.first for w in windows), max(w.last for w in windows))
    rows = traffic.predictions(span, ["prediction_id", "served_at", "event_time"])
    if not rows.num_rows:
        return [0] * len(points)
    joined, _ = join(rows, outcomes_of([rows], traffic.outcomes([rows])))
    known = joined.filter(joined["outcome"].is_valid())
    times = np.sort(known["event_time"].cast(pa.timestamp("us")).to_numpy())
    edges = [[np.datetime64(when.replace(tzinfo=None), "us") for when in (w.first, w.last)] for w in windows]
    return [int(np.searchsorted(times, last) - np.searchsorted(times, first)) for first, last in edges]


def _window(point: WindowPoint) -> Window:
    return Window(_utc(point.first), _utc(point.last))


def _utc(when: datetime) -> datetime:
    return when.astimezone(timezone.utc) if when.tzinfo else when.replace(tzinfo=timezone.utc)
