"""Figures of every model as gauges for Prometheus: who serves, how a release goes, what drifts, what is open.

>>> print(text([Gauge("perennial_version_share", "Share of the traffic.", [({"model": "churn", "version": "7"}, 0.95)])]), end="")
# HELP perennial_version_share Share of the traffic.
# TYPE perennial_version_share gauge
perennial_version_share{model="churn",version="7"} 0.95
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from perennial.errors import StoredDataDamaged
from perennial.incidents.incidents import Incidents, known_names
from perennial.incidents.kinds import REGISTRY_DIFFERS
from perennial.lineage.delivery import Delivery
from perennial.monitoring.report.timeline import noted_timeline
from perennial.store import Store
from perennial.views.delivery import delivery_of
from perennial.views.models import ModelRow, models
from perennial.views.release import release_view

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True)
class Gauge:
    """One metric and its samples, each with its labels."""

    name: str
    meaning: str
    samples: Sequence[Sample]
    kind: str = "gauge"  # or counter


def of_models(store: Store) -> list[Gauge]:
    """The gauges of all models. What is damaged of one has no samples; the list of models says what."""
    rows = models(store).rows
    shares: list[Sample] = [
        ({"model": row.name, "version": str(one.version), "role": one.role}, one.share) for row in rows for one in row.serving
    ]
    moved: list[Sample] = [({"model": row.name}, row.since.timestamp()) for row in rows if row.since is not None]
    waits: list[Sample] = [({"model": row.name}, float(row.state == "paused")) for row in rows if row.serving]
    return [
        Gauge("perennial_version_share", "Share of a model's traffic that the ledger gives a version, by its role.", shares),
        Gauge("perennial_route_moved_timestamp_seconds", "When the traffic of a model was moved last.", moved),
        Gauge("perennial_release_waits", "Whether a release of the model waits for a person.", waits),
        Gauge(
            "perennial_release_evidence_ratio",
            "How much of the way to the limit at which it is rolled back the evidence against a candidate has gone, by signal.",
            [sample for row in rows for sample in _evidence(store, row)],
        ),
        *_windows(store, rows),
        *_delivery(store, rows),
        Gauge("perennial_open_incidents", "Open incidents of a model or dataset, by kind and severity.", _incidents(store)),
        Gauge("perennial_registry_differs", "Whether the registry was found not to be what the ledger tells of.", _differing(store, rows)),
    ]


def _evidence(store: Store, row: ModelRow) -> list[Sample]:
    if row.state not in ("releasing", "paused"):
        return []
    release = release_view(store, row.name)
    version = str(release.release.version) if release.release else ""
    return [({"model": row.name, "version": version, "signal": signal.name}, signal.way) for signal in release.signals]


def _windows(store: Store, rows: Sequence[ModelRow]) -> list[Gauge]:
    """What the newest window of live traffic of each model was."""
    newest = {row.name: points[-1] for row in rows if row.serving and (points := noted_timeline(store, row.name, []))}

    def gauge(name: str, meaning: str, values: Mapping[str, float | None]) -> Gauge:
        return Gauge(name, meaning, [({"model": key}, value) for key, value in values.items() if value is not None])

    return [
        gauge(
            "perennial_window_end_timestamp_seconds",
            "End of the newest window.",
            {name: point.last.timestamp() for name, point in newest.items()},
        ),
        gauge(
            "perennial_window_drifted_columns",
            "Columns that drifted in the newest window.",
            {name: float(len(point.changes) + point.more_changes) for name, point in newest.items()},
        ),
        gauge(
            "perennial_window_largest_drift_ratio",
            "The farthest that a column drifted in the newest window, in units of the effect that alarms.",
            {name: max((change.size for change in point.changes), default=0.0) for name, point in newest.items()},
        ),
        gauge(
            "perennial_window_loss", "Loss on the outcomes of the newest window.", {name: point.realised for name, point in newest.items()}
        ),
        gauge(
            "perennial_window_loss_limit", "Loss above which those would be a jump.", {name: point.alarm for name, point in newest.items()}
        ),
    ]


def _delivery(store: Store, rows: Sequence[ModelRow]) -> list[Gauge]:
    """How well new versions of each model that serves got into traffic in the last 90 days."""
    known = {row.name: delivery_of(store, row.name) for row in rows if row.serving}

    def gauge(name: str, meaning: str, value: Callable[[Delivery], float | None]) -> Gauge:
        return Gauge(name, meaning, [({"model": key}, v) for key, one in known.items() if (v := value(one)) is not None])

    return [
        gauge("perennial_delivery_promoted", "Versions that got all traffic in the last 90 days.", lambda one: float(one.promoted)),
        gauge("perennial_delivery_failed", "Releases of these days that were rolled back.", lambda one: float(one.failed)),
        gauge("perennial_delivery_failure_ratio", "Share of these days' releases that failed.", lambda one: one.failure_rate),
        gauge("perennial_delivery_lead_seconds", "From a training's beginning to all traffic, median.", lambda one: one.lead_seconds),
        gauge("perennial_delivery_restore_seconds", "From trouble to its end, median.", lambda one: one.restore_seconds),
    ]


def _incidents(store: Store) -> list[Sample]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for name in known_names(store):
        try:
            counts.update((name, one.kind, one.severity) for one in Incidents(store, name).summary().open)
        except StoredDataDamaged:
            counts[name, "unreadable", "critical"] += 1
    return [({"model": name, "kind": kind, "severity": severity}, float(count)) for (name, kind, severity), count in sorted(counts.items())]


def _differing(store: Store, rows: Sequence[ModelRow]) -> list[Sample]:
    """By the open incidents; of a model whose incidents cannot be read nothing is said."""
    samples: list[Sample] = []
    for row in rows:
        try:
            samples.append(({"model": row.name}, float(Incidents(store, row.name).find(*REGISTRY_DIFFERS) is not None)))
        except StoredDataDamaged:
            continue
    return samples


def text(gauges: Iterable[Gauge]) -> str:
    """Gauges in the form that Prometheus reads (exposition format 0.0.4)."""
    return "".join(
        f"# HELP {gauge.name} {gauge.meaning}\n# TYPE {gauge.name} {gauge.kind}\n"
        + "".join(f"{gauge.name}{_labels(labels)} {value:.12g}\n" for labels, value in gauge.samples)
        for gauge in gauges
    )


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    quoted = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{','.join(quoted)}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
