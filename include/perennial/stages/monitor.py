"""Look at a window of live traffic: inputs, performance, service; request retraining where the policy asks.

A window is judged by its own evidence alone: the version that answered most of it, that version's snapshot, and the windows
before it. So looking at it again, however late, gives the same answer, but for outcomes that have come since.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial import discovery
from perennial.data.snapshots import Snapshot, latest_snapshot
from perennial.data.tables import Table
from perennial.errors import ServiceUnreachable, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.lineage.trainings import last_training
from perennial.lineage.version_folder import read_manifest
from perennial.monitoring import performance, policy
from perennial.monitoring.drift import DriftVerdict, find_drift
from perennial.monitoring.outcomes import collect_outcomes, join, outcome_rows, outcomes_name
from perennial.monitoring.prediction_table import INPUT, collect_predictions, predictions_name
from perennial.monitoring.profile import profile_days
from perennial.monitoring.reference import reference, watched
from perennial.monitoring.report import page
from perennial.monitoring.requests import Inbox
from perennial.monitoring.windows import Window, newest_complete, window_of, windows_before
from perennial.results import MonitorResult
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.specs import Cause, DatasetSpec, ModelSpec
from perennial.stages.validate import settle
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.lineage.ledger import Entry
    from perennial.serving.route import Arm

log = logging.getLogger("perennial.monitor")

JUDGED = ["prediction_id", "model_version", "served_at", "event_time", "scores"]  # what a loss is made of
HISTORY_DAYS = 30  # before the end of a window, for what loss is usual


def run(settings: Settings, store: Store, model: str, first: datetime | None = None, last: datetime | None = None) -> MonitorResult:
    """Take in what was logged, report on a window of event time and decide whether it asks for retraining.

    Args:
        settings: where the gateway and the reports are.
        store: where everything durable is.
        model: name of the model.
        first: begin of the window; the newest complete window if absent.
        last: its end; one window's length after `first` if absent.

    Raises:
        UnknownName: there is no such model, or the window ends before it begins.
    """
    spec = discovery.model(model)
    dataset = discovery.dataset(spec.dataset)
    given = None if first is None and last is None else _window(first, last, spec.monitoring.window_days)
    look = Look(settings, store, spec, dataset)
    look.collect()
    if not look.days:
        return MonitorResult(outcome="skipped", sentence=f"{model} has no predictions yet: nothing to look at.")
    newest = newest_complete(list(look.days), spec.monitoring.window_days)
    window = given or newest
    if window is None:
        wanted = window_of(max(look.days), spec.monitoring.window_days)
        return MonitorResult(
            outcome="skipped",
            sentence=f"The predictions of {model} reach into the window that ends on {wanted.last:%Y-%m-%d}, and none before it is complete: it is over once a later prediction comes.",
        )
    rows = look.predictions(window)
    if not rows.num_rows:
        return MonitorResult(
            outcome="skipped",
            sentence=f"{model} answered nothing from {window.first:%Y-%m-%d %H:%M} to {window.last:%Y-%m-%d %H:%M}: choose a window with predictions.",
        )
    return look.report(window, rows, is_newest=newest is None or window.last >= newest.last)


def _window(first: datetime | None, last: datetime | None, days: int) -> Window:
    length = timedelta(days=days)
    if first is None:
        assert last is not None
        first = last - length
    first, last = _utc(first), _utc(last or first + length)
    if first >= last:
        raise UnknownName(
            f"The window from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} does not run forward: give the earlier time to --from."
        )
    return Window(first, last)


@dataclass(frozen=True)
class Found:
    """What a window showed, for the decision."""

    version: int  # that answered most of it
    verdict: DriftVerdict
    confirmed: tuple[str, ...]
    jump: performance.Jump
    is_newest: bool


@dataclass
class Look:
    """One look at one model."""

    settings: Settings
    store: Store
    spec: ModelSpec
    dataset: DatasetSpec

    def __post_init__(self) -> None:
        self.predicted = Table(self.store, predictions_name(self.spec.name))
        self.happened = Table(self.store, outcomes_name(self.spec.name))
        self.inbox = Inbox(self.store, self.spec.name)
        self.entries: list[Entry] = Ledger(self.store, self.spec.name).entries()
        self.days: dict[date, int] = {}
        self.newest = datetime.min

    def collect(self) -> None:
        """Take the finished segments into the tables."""
        predictions = collect_predictions(self.store, self.spec, self.dataset, self.predicted)
        outcomes = collect_outcomes(self.store, self.spec, self.happened)
        for what, taken in (("predictions", predictions), ("outcomes", outcomes)):
            if taken.segments:
                log.info("Took in %d %s from %d segments.", taken.rows, what, taken.segments)
            if taken.damaged:
                log.warning("%d lines of %s could not be read and are left out.", taken.damaged, what)
        # A caller may name any time. One in the future would make its window the newest, and the champion old, for ever.
        latest = pa.scalar(datetime.now(timezone.utc) + timedelta(days=1), pa.timestamp("us", "UTC"))
        times = self._scan(["event_time"], ~pc.field("shadow") & (pc.field("event_time") <= latest))
        if times.num_rows:
            moments = times["event_time"].cast("timestamp[us]").to_numpy()
            found, counts = np.unique(moments.astype("datetime64[D]"), return_counts=True)
            self.days = dict(zip(found.astype(object), counts.tolist(), strict=True))
            self.newest = moments.max().astype("datetime64[us]").astype(object)

    def predictions(self, window: Window, columns: list[str] | None = None) -> pa.Table:
        """What was answered in a window; not what a shadow said."""
        field = pc.field("event_time")
        where = (
            (field >= pa.scalar(window.first, pa.timestamp("us", "UTC")))
            & (field < pa.scalar(window.last, pa.timestamp("us", "UTC")))
            & ~pc.field("shadow")
        )
        return self._scan(columns, where)

    def _scan(self, columns: list[str] | None, where: pc.Expression) -> pa.Table:
        return self.predicted.scan(columns, where) if self.predicted.version() is not None else pa.table({})

    def report(self, window: Window, rows: pa.Table, *, is_newest: bool) -> MonitorResult:
        """Judge a window, decide, write its pages."""
        verdict, version = self.drift(window, rows)
        earlier, confirmed = self._confirmed(window, verdict, version)
        outcomes = (
            self.happened.scan(["prediction_id", "outcome", "time", "source", "line"])
            if self.happened.version() is not None
            else outcome_rows([], "")
        )
        joined, counts = join(rows.select(JUDGED), outcomes, known_ids=self._scan(["prediction_id"], pc.scalar(True)))
        of_version = joined.filter(pc.field("model_version") == version)
        figures = performance.over_window(self.spec.task, of_version, window.seed)
        days = self._history(window, version, outcomes)
        jump = performance.find_jump(days, self.spec.monitoring.excess_loss)
        decision, cause, key = self._decide(window, Found(version, verdict, confirmed, jump, is_newest))
        by_version = {
            str(v): n
            for v, n in sorted(zip(*(c.tolist() for c in np.unique(rows["model_version"].to_numpy(), return_counts=True)), strict=True))
        }
        document: dict[str, Any] = {
            "model": self.spec.name,
            "title": self.spec.title,
            "name": window.name,
            "first": window.first.isoformat(),
            "last": window.last.isoformat(),
            "version": version,
            "by_version": by_version,
            "requests": rows.num_rows,
            "sentence": _sentence(rows.num_rows, verdict, confirmed, figures, decision),
            "drift": {
                **verdict.model_dump(mode="json"),
                "drifted": list(verdict.drifted),
                "confirmed": list(confirmed),
                "windows": self.spec.retrain.drift_windows,
                "earlier": earlier,
                "judged_by": self._judged_by(version),
            },
            "performance": {**asdict(figures), "coverage": figures.coverage},
            "outcomes": asdict(counts),
            "days": [{**asdict(d), "day": d.day.isoformat(), "excess": d.excess, "coverage": d.coverage} for d in days],
            "jump": asdict(jump),
            "scores": _scores(self.spec, of_version),
            "service": asdict(performance.service_figures(rows)),
            "gateway": self._gateway(),
            "decision": {"cause": cause, "why": decision, "request": key},
        }
        waiting = self.inbox.active()  # this window's or an earlier one's: a look that died before it told anybody loses nothing
        folder = self._folder(window)
        self.store.write(f"{folder}/index.html", page(document).encode())
        self.store.write(f"{folder}/report.json", json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode())
        return MonitorResult(
            sentence=document["sentence"],
            links={"Report": f"{self.settings.reports_url}/{folder.removeprefix('reports/')}/index.html"},
            report=f"{folder}/report.json",
            requests=rows.num_rows,
            labelled=counts.labelled,
            drifted=verdict.drifted,
            retraining=waiting.key if waiting else None,
            cause=waiting.cause if waiting else None,
        )

    def drift(self, window: Window, rows: pa.Table) -> tuple[DriftVerdict, int]:
        """The drift test of a window, against the snapshot of the version that answered most of it."""
        versions, counts = np.unique(rows["model_version"].to_numpy(), return_counts=True)
        version = int(versions[counts.argmax()])
        source, digest = self._snapshot(version)
        columns, skipped = watched(self.spec, self.dataset)

        def read(wanted: list[str]) -> pa.Table:
            since = datetime.combine(source.newest().date() + timedelta(days=1 - self.spec.monitoring.reference_days), time())
            return source.table.scan(wanted, pc.field(self.dataset.event_time) >= since, source.version)

        before = reference(self.store, self.spec, self.dataset, digest, read)
        known = [name for name in columns if INPUT + name in rows.column_names]
        skipped |= {name: "was not logged when this window was served" for name in columns if name not in known}
        plain = rows.select(["event_time", *(INPUT + name for name in known)]).rename_columns(["event_time", *known])
        current = profile_days(plain, "event_time", known, before.grids)
        past = [day.model_copy(update={"columns": {name: day.columns[name] for name in known}}) for day in before.days]
        verdict = find_drift(past, current, self.spec.monitoring, window.seed)
        return verdict.model_copy(update={"skipped": {**skipped, **verdict.skipped}}), version

    def _snapshot(self, version: int) -> tuple[Snapshot, str]:
        manifest = read_manifest(self.store, self.spec.name, self._digest(version))
        return Snapshot(self.dataset, manifest.snapshot, self.store), manifest.snapshot_digest

    def _digest(self, version: int) -> str:
        for entry in reversed(self.entries):
            if version in entry.versions:
                return entry.versions[version]
        raise ServiceUnreachable(
            f"Version {version} of {self.spec.name} answered predictions, but the ledger does not know it yet: look again once its release is recorded."
        )

    def _confirmed(self, window: Window, verdict: DriftVerdict, version: int) -> tuple[list[str], tuple[str, ...]]:
        """Windows before this one that count, and the columns that drifted in all of them and in this one."""
        wanted = self.spec.retrain.drift_windows - 1
        earlier = windows_before(window, list(self.days), wanted)
        lasting = set(verdict.drifted)
        for before in earlier:
            lasting &= self._drifted_before(before, version)
        names = [w.name for w in earlier]
        return names, tuple(c for c in verdict.drifted if c in lasting) if len(earlier) == wanted else ()

    def _drifted_before(self, window: Window, version: int) -> set[str]:
        """Columns that drifted in an earlier window against the same version's snapshot; judged now if it has not been, or if more predictions came in."""
        rows = self.predictions(window)
        try:
            known = json.loads(self.store.read(f"{self._folder(window)}/report.json"))
        except KeyError:
            known = {}
        if (
            known.get("requests") == rows.num_rows
            and known["version"] == version
            and known["drift"]["judged_by"] == self._judged_by(version)
        ):
            return set(known["drift"]["drifted"])
        if not rows.num_rows:
            return set()
        verdict, served_by = self.drift(window, rows)
        return set(verdict.drifted) if served_by == version else set()

    def _judged_by(self, version: int) -> str:
        """Identity of what a drift verdict depends on besides the predictions."""
        parts = [self._snapshot(version)[1], self.spec.monitoring.model_dump(mode="json"), list(self.spec.inputs)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _history(self, window: Window, version: int, outcomes: pa.Table) -> list[performance.DayPerformance]:
        span = Window(window.last - timedelta(days=HISTORY_DAYS), window.last)
        rows = self.predictions(span, JUDGED)
        joined, _ = join(rows, outcomes)
        return performance.by_day(self.spec.task, joined.filter(pc.field("model_version") == version))

    def _decide(self, window: Window, found: Found) -> tuple[str, Cause | None, str | None]:
        """Why or why not, and the cause and key of the request that this window made, now or at an earlier look."""
        settle(self.inbox, self.store, self.spec.name)
        for request in self.inbox.all():
            if request.evidence.get("window") == window.name:
                ended = f" It ended: {request.sentence}" if request.state == "ended" else ""
                return f"{request.evidence.get('why')} Requested retraining {request.key}.{ended}", request.cause, request.key
        newest_data = latest_snapshot(self.store, self.dataset)
        evidence = self._evidence(found, newest_data)
        asked = policy.ask(evidence, self.spec.retrain)
        if isinstance(asked, policy.Held) or newest_data is None:
            return asked.why, None, None
        facts: dict[str, object] = {"window": window.name, "champion": found.version, "columns": list(found.confirmed), "why": asked.why}
        key = self.inbox.ask(asked.cause, newest_data.version, facts)
        if key is None:
            return f"{asked.why} It was asked for before on snapshot {newest_data.version}, or another request is open.", None, None
        return f"{asked.why} Requested retraining {key}.", asked.cause, key

    def _evidence(self, found: Found, newest_data: Snapshot | None) -> policy.Evidence:
        champion = self.entries[-1].champion if self.entries else None
        last = last_training(self.store, self.spec.name)
        requests = self.inbox.all()
        active = self.inbox.active()
        answered = [
            r.evidence.get("columns")
            for r in requests
            if r.cause == "drift" and r.outcome == "trained" and r.evidence.get("champion") == champion
        ]
        refused = next(
            (r.sentence for r in reversed(requests) if newest_data and r.outcome == "refused" and r.snapshot == newest_data.version), ""
        )
        return policy.Evidence(
            now=max(self.newest, newest_data.newest()) if newest_data else self.newest,
            newest_window=found.is_newest,
            served_by=found.version,
            champion=champion,
            champion_newest=self._snapshot(champion)[0].newest() if champion is not None else None,
            drifted=found.verdict.drifted,
            confirmed=found.confirmed,
            answered=frozenset(str(column) for columns in answered if isinstance(columns, list) for column in columns),
            jump=found.jump.found,
            worse=found.jump.worse,
            jump_sentence=found.jump.sentence,
            new_data=newest_data is not None and (last is None or newest_data.digest != last[1].snapshot_digest),
            refusal=refused,
            last_training_newest=Snapshot(self.dataset, last[1].snapshot, self.store).newest() if last else None,
            active=active.key if active else "",
        )

    def _gateway(self) -> dict[str, Any]:
        """Counts of the gateway at the time of the look: they know what never reached a version's log."""
        try:
            arms = open_backend(self.settings).observe(self.spec)
        except ServiceUnreachable as error:
            return {"sentence": f"The gateway's own counts are missing: {error}", "versions": {}}
        if not arms:
            return {"sentence": "The gateway serves no version of this model now.", "versions": {}}
        return {
            "sentence": "The gateway's own counts, since each version began to serve until this look:",
            "versions": {str(v): _arm(arm) for v, arm in sorted(arms.items())},
        }

    def _folder(self, window: Window) -> str:
        return f"reports/{self.spec.name}/windows/{window.name}"


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "requests": arm.requests,
        "errors": arm.errors,
        "p50_ms": performance.latency_quantile(arm.latency_ms, 0.5),
        "p99_ms": performance.latency_quantile(arm.latency_ms, 0.99),
    }


def _scores(spec: ModelSpec, rows: pa.Table) -> list[dict[str, Any]]:
    """Ten bins of the positive score, the mean score of each class, or ten bins of a regression's values: label, share, and of what."""
    if not rows.num_rows:
        return []
    scores = np.asarray(pc.list_flatten(rows["scores"].combine_chunks()).to_numpy(zero_copy_only=False), dtype=float).reshape(
        rows.num_rows, -1
    )
    if spec.task == "multiclass":
        counts = np.bincount(scores.argmax(axis=1), minlength=len(spec.classes)) / len(scores)
        return [
            {"label": name, "share": round(float(share), 6), "of": "share of predictions by the likeliest class"}
            for name, share in zip(spec.classes, counts, strict=True)
        ]
    column = scores[:, -1]
    edges = np.linspace(0, 1, 11) if spec.task == "binary" else np.linspace(column.min(), max(column.max(), column.min() + 1e-9), 11)
    counts = np.histogram(column, edges)[0] / len(column)
    of = f"share of predictions by the score of {spec.classes[-1]}" if spec.task == "binary" else "share of predictions by predicted value"
    return [{"label": f"{edges[i]:.3g} to {edges[i + 1]:.3g}", "share": round(float(counts[i]), 6), "of": of} for i in range(10)]


def _sentence(requests: int, verdict: DriftVerdict, confirmed: tuple[str, ...], figures: performance.Performance, decision: str) -> str:
    drifted = [c for c in verdict.columns if c.drifted]
    if drifted:
        more = f" and {len(drifted) - 1} more" if len(drifted) > 1 else ""
        world = f"Drift{' (confirmed)' if confirmed else ''}: {drifted[0].sentence.rstrip('.')}{more}."
    else:
        world = "No drift." if verdict.columns and not verdict.power.startswith("Nothing") else f"No verdict on drift. {verdict.power}"
    loss = (
        f"{figures.loss} {figures.realised:.3f} [{figures.low:.3f}, {figures.high:.3f}] on {figures.labelled} outcomes"
        if figures.realised is not None
        else "no outcomes yet"
    )
    return f"{requests} predictions. {world} {loss[0].upper()}{loss[1:]}. {decision}"


def _utc(when: datetime) -> datetime:
    return when.astimezone(timezone.utc) if when.tzinfo else when.replace(tzinfo=timezone.utc)
