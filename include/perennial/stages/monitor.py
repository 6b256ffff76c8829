"""Monitor a window of live traffic: inputs, performance, service; request retraining if the policy calls for it.

    $ perennial monitor --model flight_delays --from 2013-05-29 --to 2013-06-01

A window is judged by its own evidence alone: the version that answered most of it, that version's snapshot, and the windows
before it. So looking at it again, however late, gives the same answer, but for outcomes that have come since.

A look at the newest window also measures earlier ones anew whose outcomes came since (`_late_outcomes.py`).

The stage takes traffic in (`_traffic.py`), has the window judged (`_window.py`, `_lasting.py`, `_window_losses.py`), notes incidents and
decides (`_window_incidents.py`, `_window_decision.py`), and writes one report with its page.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, get_args

import pyarrow as pa

from perennial import discovery
from perennial.errors import ServiceUnreachable, StoredDataDamaged, UnknownName
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger, retired_words
from perennial.lineage.trainings import kin
from perennial.monitoring.performance import latency_quantile, service_figures
from perennial.monitoring.report.numbers import (
    ArmCounts,
    DayLosses,
    Decision,
    Gateway,
    Losses,
    SliceLosses,
    WindowDrift,
    WindowIncidents,
    WindowReport,
)
from perennial.monitoring.report.page import page
from perennial.monitoring.report.sizes import note_sizes
from perennial.monitoring.report.timeline import note_windows
from perennial.monitoring.report.words import sentence_of
from perennial.monitoring.rules import judge_rules
from perennial.monitoring.scores import score_shares
from perennial.monitoring.windows import FEW_REQUESTS, Window, newest_complete, report_folder, window_of
from perennial.results import MonitorResult
from perennial.serving.backends import open_backend
from perennial.serving.route import FRESH
from perennial.settings import Settings
from perennial.specs import DriftKind, ModelSpec
from perennial.stages import _agreement
from perennial.stages._contracts import note_contracts
from perennial.stages._deadlines import note_deadlines
from perennial.stages._lasting import Lasting, judged_by, lasting_drift
from perennial.stages._late_outcomes import add_late_outcomes
from perennial.stages._service import note_service
from perennial.stages._traffic import Traffic, newest_time
from perennial.stages._window import Judge, predictions_words
from perennial.stages._window_decision import decide
from perennial.stages._window_incidents import Findings, incidents_now, note_incidents
from perennial.stages._window_losses import WindowLosses, window_losses
from perennial.store import Store

if TYPE_CHECKING:
    from perennial.serving.route import Arm


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
    dataset = discovery.dataset_of(spec)
    given = None if first is None and last is None else _window(first, last, spec.monitoring.window_days)
    if given is None and settings.serving == "local":
        note_service(settings, store, model)  # before anything can end this look: what does not answer logs nothing either
    if given is None:
        note_deadlines(store, spec, datetime.now(timezone.utc))
        _agreement.watch(settings, store, model)
        note_contracts(settings, store, spec)
    traffic = Traffic(store, spec, dataset)
    traffic.collect()
    result = _look_at(settings, traffic, given)
    if given is None and traffic.days:
        add_late_outcomes(traffic, result.report.split("/")[-2] if result.report else "")
    damaged = "".join(f" {unread.sentence}" for unread in traffic.damaged)
    return result.model_copy(update={"sentence": f"{result.sentence}{damaged}", "damaged": sum(u.lines for u in traffic.damaged)})


def _look_at(settings: Settings, traffic: Traffic, given: Window | None) -> MonitorResult:
    """Report on the given window, or the newest complete one."""
    spec, model = traffic.spec, traffic.spec.name
    retired = Ledger(traffic.store, model).retirement()
    if retired and given is None:
        return _skipped(f"Nothing is watched: {retired_words(retired)}")
    if not traffic.days:
        return _skipped(f"{model} has no predictions yet: nothing to look at.")
    newest = newest_complete(list(traffic.days), spec.monitoring.window_days)
    window = given or newest
    if window is None:
        if (few := sum(traffic.days.values())) < FEW_REQUESTS:
            sentence = f"Too few to tell: {model} has {predictions_words(few)}, and a window is judged from {FEW_REQUESTS} on."
            return MonitorResult(sentence=sentence, requests=few)
        unfinished = window_of(max(traffic.days), spec.monitoring.window_days)
        return _skipped(
            f"The predictions of {model} reach into the window that ends on {unfinished.last:%Y-%m-%d}, "
            "and none before it is complete: it is over once a later prediction comes."
        )
    rows = traffic.predictions(window)
    if not rows.num_rows:
        return _skipped(
            f"{model} answered nothing from {window.first:%Y-%m-%d %H:%M} to {window.last:%Y-%m-%d %H:%M}: "
            "choose a window with predictions."
        )
    is_whole = window.last - window.first >= timedelta(days=spec.monitoring.window_days)  # an hour of a day is unlike whole days
    is_newest = newest is None or (is_whole and window.last >= newest.last)
    return Look(settings, traffic, window, rows).report(is_newest=is_newest)


def _skipped(sentence: str) -> MonitorResult:
    return MonitorResult(outcome="skipped", sentence=sentence)


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
class Look:
    """One look at one window."""

    settings: Settings
    traffic: Traffic
    window: Window
    rows: pa.Table  # its predictions

    def report(self, *, is_newest: bool) -> MonitorResult:
        """Judge, note incidents, decide, write.

        A window that reaches less far than the newest that was judged writes its pages and nothing else.

        Args:
            is_newest: whether it is whole and no complete window is newer.
        """
        traffic, window, spec = self.traffic, self.window, self.traffic.spec
        reach = min(newest_time(self.rows), traffic.newest)
        is_newest = is_newest and self._reaches_farthest(reach)
        judge = Judge(traffic.references)
        judged = judge.judge(window, self.rows)
        family = kin(traffic.store, spec.name, traffic.digests, judged.version)
        lasting = lasting_drift(traffic, judge, window, judged, family)
        losses = window_losses(traffic, window, self.rows, judged.version, family)
        anomalies = judge.anomalies(judged.version, self.rows, window.seed)
        rules = judge_rules(spec, self.rows)
        findings = Findings(judged, lasting.confirmed, lasting.drifts, losses.jump, losses.is_labelled, anomalies, is_newest, rules)
        folder = report_folder(spec.name, window)
        link = self.settings.report_url(f"{folder}/index.html")
        if is_newest and not judged.few:  # before what it changes: an older look must not undo that, even if this one dies
            traffic.store.write(self._newest_key, json.dumps({"window": window.name, "reach": reach.isoformat()}).encode())
        incidents, inbox = Incidents(traffic.store, spec.name), Inbox(traffic.store, spec.name)
        changed = note_incidents(incidents, window, findings, spec.retrain.drift_windows, link) if is_newest else ()
        decision = decide(traffic, inbox, incidents, window, findings)
        if not is_newest:
            looks_back = "This look wrote its report and changed nothing else: the newest whole window that was judged decides."
            decision = decision.model_copy(update={"why": f"{decision.why} {looks_back}"})
        report = self._told(judge, findings, lasting, losses, decision, incidents_now(incidents, changed))
        waiting = inbox.active()  # this window's or an earlier one's: a look that died before it told anybody loses nothing
        traffic.store.write(f"{folder}/index.html", page(report).encode())
        traffic.store.write(f"{folder}/report.json", report.encoded())
        note_windows(traffic.store, spec.name)
        note_sizes(traffic.store, spec.name)
        return MonitorResult(
            sentence=report.sentence,
            links={"Report": link},
            report=f"{folder}/report.json",
            requests=report.requests,
            labelled=report.outcomes.labelled,
            drifted=report.drift.alarming,
            retraining=waiting.key if waiting else None,
            cause=waiting.cause if waiting else None,
            incidents=changed,
        )

    @property
    def _newest_key(self) -> str:
        """Where the newest window that was judged is written down."""
        return f"reports/{self.traffic.spec.name}/newest_window.json"

    def _reaches_farthest(self, reach: datetime) -> bool:
        """Whether no window was judged that reaches farther: of two windows that one is newer, wherever they are cut."""
        try:
            known = self.traffic.store.read(self._newest_key)
        except KeyError:
            return True
        try:
            return reach >= datetime.fromisoformat(json.loads(known)["reach"])
        except (ValueError, KeyError, TypeError):
            raise StoredDataDamaged(
                f"{self._newest_key} cannot be read. Restore it from a copy of the store, or delete it: "
                "then the next window that is looked at counts as the newest."
            ) from None

    def _told(
        self,
        judge: Judge,
        found: Findings,
        lasting: Lasting,
        losses: WindowLosses,
        decision: Decision,
        incidents: WindowIncidents,
    ) -> WindowReport:
        """All that was found, as one report."""
        traffic, window, spec, figures, judged = self.traffic, self.window, self.traffic.spec, losses.figures, found.judged
        sentence = sentence_of(
            self.rows.num_rows,
            judged.verdict,
            judged.breaks,
            confirmed=bool(lasting.confirmed),
            figures=figures,
            estimate=losses.estimate,
            decision=decision.why,
        )
        drift = WindowDrift(
            **dict(judged.verdict),
            confirmed=lasting.confirmed,
            windows=spec.retrain.drift_windows,
            alpha=spec.monitoring.alpha,
            earlier=lasting.earlier,
            judged_by=judged_by(judge, judged.version),
            limits={kind: spec.monitoring.limits(kind) for kind in get_args(DriftKind)},
        )
        return WindowReport(
            model=spec.name,
            title=spec.title,
            name=window.name,
            first=window.first,
            last=window.last,
            version=judged.version,
            by_version=dict(judged.by_version),
            requests=self.rows.num_rows,
            sentence=sentence,
            drift=drift,
            breaks=judged.breaks,
            anomalies=found.anomalies,
            performance=Losses.model_validate(figures),
            estimate=losses.estimate,
            slices=tuple(SliceLosses.of(part) for part in losses.slices),
            outcomes=losses.outcomes,
            days=tuple(DayLosses.model_validate(day) for day in losses.days),
            metrics=losses.metrics,
            rules=found.rules,
            jump=losses.jump,
            scores=score_shares(spec, losses.answered),
            service=service_figures(self.rows),
            gateway=gateway_counts(self.settings, spec),
            damaged=tuple(unread.sentence for unread in traffic.damaged),
            decision=decision,
            incidents=incidents,
        )


def gateway_counts(settings: Settings, spec: ModelSpec) -> Gateway:
    """Counts of the gateway at the time of the look: they know what never reached a version's log."""
    try:
        arms = open_backend(settings).observe(spec)
    except ServiceUnreachable as error:
        return Gateway(sentence=f"The gateway's own counts are missing: {error}", versions={})
    if not arms:
        return Gateway(sentence="The gateway serves no version of this model now.", versions={})
    return Gateway(
        sentence="The gateway's own counts, since each version began to serve until this look:",
        versions={str(v): _arm(arm) for v, arm in sorted(arms.items()) if v > FRESH},
    )


def _arm(arm: Arm) -> ArmCounts:
    p50, p99 = (latency_quantile(arm.latency_ms, share) for share in (0.5, 0.99))
    return ArmCounts(requests=arm.requests, errors=arm.errors, p50_ms=p50, p99_ms=p99)


def _utc(when: datetime) -> datetime:
    return when.astimezone(timezone.utc) if when.tzinfo else when.replace(tzinfo=timezone.utc)
