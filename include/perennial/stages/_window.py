"""Compares a window of live traffic with the champion's snapshot: drift, broken feeds, anomalous requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.monitoring.anomalies import find_anomalies, fit_watch
from perennial.monitoring.drift import DriftVerdict, find_drift, in_order
from perennial.monitoring.feeds import broken_feeds
from perennial.monitoring.figures import Anomalies, Break
from perennial.monitoring.performance import event_days
from perennial.monitoring.windows import FEW_REQUESTS, Window
from perennial.profiles.layout import measured_columns
from perennial.profiles.reference import watched
from perennial.served_tables import INPUT
from perennial.specs import NO_SCALARS
from perennial.stages._references import References
from perennial.stages._window_profiles import WindowProfiles

PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Judged:
    """The result of the drift test for a window, and signs of a broken feed."""

    version: int  # that answered most of it
    verdict: DriftVerdict
    by_version: Mapping[int, int]  # rows that each version answered
    breaks: tuple[Break, ...] = ()
    few: bool = False  # too few requests to tell anything: such a window opens no drift and ends no incident


@dataclass(frozen=True)
class Judge:
    """Judges windows of one model against the snapshots of its versions."""

    references: References

    def judge(self, window: Window, rows: pa.Table) -> Judged:
        """The drift test of a window, against the snapshot of the version that answered most of it."""
        versions, counts = np.unique(rows["model_version"].to_numpy(), return_counts=True)
        by_version = dict(zip(versions.tolist(), counts.tolist(), strict=True))
        version = int(versions[counts.argmax()])
        if rows.num_rows < FEW_REQUESTS:
            few = f"Too few to tell: the window has {predictions_words(rows.num_rows)}, and {FEW_REQUESTS} are needed."
            nothing = DriftVerdict(columns=(), reference_days=0, window_days=0, labellings=1, exact=True, power=few)
            return Judged(version, nothing, by_version, few=True)
        references, spec = self.references, self.references.spec
        own = references.as_of(version)
        columns, skipped = watched(own, references.dataset)
        skipped |= {name: "is not in this version" for name in spec.inputs if name not in own.inputs}
        before = references.profile(version)
        known = [name for name in columns if INPUT + name in rows.column_names and name in before.layout.sources]
        for name in (name for name in columns if name not in known):
            logged = INPUT + name in rows.column_names
            skipped[name] = "is younger than the dataset's layout" if logged else "was not logged when this window was served"
        before = before.only(known)
        profiles = WindowProfiles(references)
        after = profiles.inputs(window, rows, before.layout, by_version)
        scores_before = references.scores(version)
        alpha, days = spec.monitoring.alpha, len(after.blocks)
        half = spec.monitoring.model_copy(update={"alpha": alpha / 2})
        if isinstance(scores_before, str):
            skipped[PREDICTIONS] = scores_before
        elif 1 / comb(len(scores_before.blocks) + days, days) > half.alpha:
            skipped[PREDICTIONS] = f"{len(scores_before.blocks)} days that the training did not see are too few to tell {days} from chance"
        if isinstance(scores_before, str) or PREDICTIONS in skipped:
            verdict = find_drift(before, after, spec.monitoring, window.seed)
        else:
            own_rows = rows.filter(pc.field("model_version") == version)
            scores_after = profiles.scores(window, own_rows, scores_before.layout)
            verdict = _together(
                find_drift(before, after, half, window.seed),
                find_drift(scores_before, scores_after, half, window.seed, predictions=scores_before.layout.names),
                alpha,
            )
        meaning = {c.name: references.dataset.column(c.source or c.name).meaning for c in before.layout.columns}
        breaks = broken_feeds(verdict, before, after, meaning.__getitem__)
        return Judged(version, verdict.model_copy(update={"skipped": {**skipped, **verdict.skipped}}), by_version, breaks)

    def anomalies(self, version: int, rows: pa.Table, seed: int) -> Anomalies:
        """Requests that are unlike all rows of the reference."""
        references = self.references
        columns = [name for name in watched(references.as_of(version), references.dataset)[0] if INPUT + name in rows.column_names]
        rows = rows.filter(pc.field("model_version").isin(references.readers(columns, rows["model_version"].unique().to_pylist())))
        spec = references.spec.monitoring
        layout = references.layout()
        counted = [name for name in columns if references.dataset.column(name).type not in NO_SCALARS or name in layout.sources]
        past = references.sampled(version, [references.dataset.time_column, *counted])
        watch = (
            "No input is watched."
            if not counted
            else fit_watch(
                measured_columns(past.select(counted), layout),
                event_days(past[references.dataset.time_column]),
                spec.anomaly_detector,
                seed,
            )
        )
        plain = measured_columns(rows.select([INPUT + name for name in counted]).rename_columns(counted), layout)
        ids: list[str] = rows["prediction_id"].to_pylist()
        return find_anomalies(
            watch, plain, event_days(rows["event_time"]), ids, name=spec.anomaly_detector, alarms_per_day=spec.alarms_per_day
        )


def _together(inputs: DriftVerdict, predictions: DriftVerdict, alpha: float) -> DriftVerdict:
    """One verdict of two tests at half the false-alarm rate each: p-values are doubled (Bonferroni), so they compare with alpha."""
    doubled = [f.model_copy(update={"p_value": min(2 * f.p_value, 1.0)}) for f in (*inputs.columns, *predictions.columns)]
    smallest = min(2 * min(inputs.p_value, predictions.p_value), 1.0)
    return inputs.model_copy(
        update={
            "columns": in_order(doubled),
            "p_value": smallest,
            "significant": smallest <= alpha,
        }
    )


def predictions_words(count: int) -> str:
    """A number of predictions in words, such as `3 predictions`."""
    return f"{count} prediction{'' if count == 1 else 's'}"
