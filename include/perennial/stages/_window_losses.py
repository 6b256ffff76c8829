"""The performance of a window: losses, estimate, slices, the days before it, and whether the loss jumped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.lineage.version_notes import evaluated_metrics
from perennial.monitoring import performance
from perennial.monitoring.figures import DayPerformance, Estimate, Jump, LiveMetrics, Performance, Slice
from perennial.monitoring.live_metrics import live_metrics
from perennial.monitoring.outcomes import Counts, join, outcomes_of
from perennial.monitoring.report.numbers import KnownOutcomes
from perennial.monitoring.windows import Window
from perennial.served_tables import INPUT
from perennial.specs import ModelSpec
from perennial.stages._references import References
from perennial.stages._traffic import Traffic
from perennial.stages.evaluate import calendar_slices

JUDGED = ["prediction_id", "model_version", "served_at", "event_time", "scores"]  # what a loss is made of
_PLACE = "_place"
HISTORY_DAYS = 30  # before the end of a window, for what loss is usual


@dataclass(frozen=True)
class WindowLosses:
    """Performance of one training in a window and on the days before."""

    answered: pa.Table  # predictions of the training's versions, with outcomes
    figures: Performance
    estimate: Estimate | None
    slices: list[Slice]
    outcomes: KnownOutcomes
    days: list[DayPerformance]  # by whichever version
    metrics: LiveMetrics
    jump: Jump

    @property
    def is_labelled(self) -> bool:
        """Whether enough outcomes of the window are known to tell."""
        return self.figures.labelled >= performance.MIN_LABELLED


def window_losses(traffic: Traffic, window: Window, rows: pa.Table, version: int, family: frozenset[int]) -> WindowLosses:
    """Join what was answered with what happened, and measure.

    Args:
        traffic: of the model.
        window: the window that is looked at.
        rows: its predictions.
        version: that answered most of it.
        family: versions of the same training.
    """
    references, task = traffic.references, traffic.spec.task
    spec = _with_slices_of(traffic.spec, references.as_of(version), rows)
    slices = [INPUT + name for name in spec.slices if INPUT + name in rows.column_names]
    history = traffic.predictions(Window(window.last - timedelta(days=HISTORY_DAYS), window.last), JUDGED)
    outcomes = outcomes_of([rows, history], traffic.outcomes([rows, history]))
    joined, counts = _in_order(rows.select([*JUDGED, *slices]), outcomes)
    answered = joined.filter(pc.field("model_version").isin(sorted(family)))
    history = _in_order(history, outcomes)[0]
    evaluated = (
        {} if task != "regression" else _evaluated(traffic, history["model_version"].unique().to_pylist() if history.num_rows else [])
    )
    days = performance.by_day(task, history, evaluated)
    seen = performance.up_to_training(days, family)
    return WindowLosses(
        answered=answered,
        figures=performance.over_window(task, answered, window.seed),
        estimate=performance.estimate(task, answered),
        slices=performance.by_slice(task, answered, slices_of(spec, answered), window.seed),
        outcomes=KnownOutcomes(**asdict(counts), unknown=traffic.waiting_outcomes()),
        days=days,
        metrics=live_metrics(task, traffic.spec.classes, answered, history),
        jump=performance.find_jump(seen, spec.monitoring.excess_loss, _first_unseen(references, version, family, seen)),
    )


def _in_order(predictions: pa.Table, outcomes: pa.Table) -> tuple[pa.Table, Counts]:
    """What `join` gives, in the order of the predictions: a sum in another order has other last digits, and would be another answer."""
    placed = predictions.append_column(_PLACE, pa.array(np.arange(predictions.num_rows)))
    joined, counts = join(placed, outcomes)
    return joined.sort_by(_PLACE).drop_columns([_PLACE]), counts


def _evaluated(traffic: Traffic, versions: Sequence[int]) -> dict[int, float]:
    """The mean loss that versions of a regression had at their evaluation, by version, as far as it is stored."""
    known = {
        number: evaluated_metrics(traffic.store, traffic.spec.name, traffic.digests[number])
        for number in versions
        if number in traffic.digests
    }
    return {number: metrics["mse"] for number, metrics in known.items() if metrics.get("mse", 0.0) > 0}


def slices_of(spec: ModelSpec, rows: pa.Table) -> dict[str, Any]:
    """The slice of each row, by column of the spec: inputs that a prediction has, and month, weekday and hour of its event time."""
    if not rows.num_rows:
        return {}
    calendar = calendar_slices(rows["event_time"].cast(pa.timestamp("us")).to_numpy())
    slices = {}
    for name in spec.slices:
        if INPUT + name in rows.column_names:
            slices[name] = np.array(["missing" if v is None else str(v) for v in rows[INPUT + name].to_pylist()])
        elif name in calendar:
            slices[name] = calendar[name].astype(str)
    return slices


def _with_slices_of(spec: ModelSpec, own: ModelSpec, rows: pa.Table) -> ModelSpec:
    """The spec with those slices alone that are no input, or an input that the version reads."""
    slices = tuple(name for name in spec.slices if name in own.inputs or INPUT + name not in rows.column_names)
    return spec.model_copy(update={"slices": slices})


def _first_unseen(references: References, version: int, family: frozenset[int], days: list[DayPerformance]) -> date:
    """First day that may show that the training of a version has been overtaken by a jump of the loss."""
    newest, labels = references.snapshot(version)[0].newest().date(), references.manifest(version).labels
    trained_to = newest - timedelta(days=ceil(references.dataset.label_delay_days))
    if labels and labels.newest_day:
        trained_to = labels.newest_day
    trained = min(family)  # its recalibrations have later numbers
    first_answer = min((d.day for d in days if d.version in family), default=newest + timedelta(days=1))
    return performance.first_unseen(references.manifest(trained).cause, trained_to, first_answer)
