"""Drift and performance of one model, in lines: its windows, its features, incidents, slices, and when the next look is."""

from __future__ import annotations

from perennial.counted import counted
from perennial.monitoring.report.timeline import WindowPoint
from perennial.monitoring.report.words import metric_words, titled
from perennial.pages import shortened
from perennial.store import Store
from perennial.views.drift import DriftView, Feature, drift_view

WINDOWS, FEATURES = 12, 30  # shown at most; `--json` has all
NAME = 60  # letters of a column


def show(store: Store, name: str) -> tuple[DriftView, list[str]]:
    """The model's page of drift and performance as text. Raises UnknownName if there is no such model."""
    view = drift_view(store, name)
    windows = f"{counted(len(view.windows), 'window')} of live traffic" if view.windows else "no window of live traffic was judged yet"
    lines = [f"{view.row.name}: {windows}.", *view.damage, *(f"  {note}" for note in view.notes)]
    if view.next_look:
        lines.append(f"  The next look is at {view.next_look:%Y-%m-%d %H:%M} UTC, unless {view.row.name}_monitoring is paused.")
    lines.append(f"  {view.needs}")
    parts = {
        "Windows, newest first": [
            f"{one.name.replace('_', ' to ')}, version {one.version}: {one.sentence}" for one in reversed(view.windows[-WINDOWS:])
        ],
        "Metrics of answers with outcomes, newest first": [
            f"{one.name.replace('_', ' to ')}, version {one.version}, {one.labelled:,} outcomes: {metrics_line(one)}"
            for one in reversed(view.windows[-WINDOWS:])
            if one.metrics
        ],
        "Features, in units of the effect that alarms; confirmed first, then those that moved farthest": [
            _feature_line(feature, len(view.windows)) for feature in view.features[:FEATURES]
        ],
        "Incidents, newest first": [
            f"{one.severity} {one.kind}, {one.window.replace('_', ' to ')}"
            f"{', over by ' + one.over_in.replace('_', ' to ') if one.over_in else ''}: {one.sentence}"
            for one in reversed(view.incidents)
        ],
        "Losses of the newest window by slice, the worst first": [
            f"{part.column} {part.name}: {part.realised:.4g}"
            + ("" if part.low is None else f" ({part.low:.4g} to {part.high:.4g})")
            + f" on {part.labelled:,} outcomes"
            for part in view.slices
            if part.realised is not None
        ],
    }
    lines += [line for head, told in parts.items() if told for line in (f"{head}:", *(f"  {each}" for each in told))]
    if (more := len(view.features) - FEATURES + view.more_columns) > 0:
        lines.append(f"{more} more features moved less: --json has {len(view.features)} of them.")
    return view, lines


def metrics_line(window: WindowPoint) -> str:
    """The metrics of a window with their 95 % intervals, in a line."""
    return ", ".join(f"{title} {metric_words(metric)}" for title, metric in titled(window.metrics))


def _feature_line(feature: Feature, windows: int) -> str:
    together = "" if feature.with_loss is None else f"; goes with the loss {feature.with_loss:+.2f}"
    return (
        f"{shortened(feature.column, NAME)}{' (confirmed)' if feature.confirmed else ''}: {feature.largest:.3g} in "
        f"{feature.largest_in.replace('_', ' to ')}; drifted in {feature.drifted} and alarmed in {feature.alarmed} of {windows}{together}"
    )
