"""A look at a window of live traffic: collects what was logged, judges the window, notes incidents, decides, and writes the report.

It takes traffic in (`_traffic.py`), has the window judged (`_window.py`, `_lasting.py`, `_window_losses.py`), notes incidents and
decides (`_window_incidents.py`, `_window_decision.py`), and writes one report with its page. What it writes it leaves as it is where
that says the same already, so a look that finds nothing new changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

import pyarrow as pa

from perennial import discovery
from perennial.errors import StoredDataDamaged
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents, alarm_rate
from perennial.lineage.ledger import Ledger, retired_words
from perennial.lineage.trainings import kin
from perennial.monitoring.performance import service_figures
from perennial.monitoring.report.numbers import (
    DayLosses,
    Decision,
    Gateway,
    Losses,
    SliceLosses,
    WindowDrift,
    WindowIncidents,
    WindowReport,
)
from perennial.monitoring.report.sizes import note_sizes
from perennial.monitoring.report.timeline import note_windows
from perennial.monitoring.report.words import sentence_of
from perennial.monitoring.rules import judge_rules
from perennial.monitoring.scores import score_shares
from perennial.monitoring.windows import FEW_REQUESTS, Window, newest_complete, report_folder, window_of
from perennial.results import MonitorResult
from perennial.settings import Settings
from perennial.specs import DriftKind, ModelSpec
from perennial.stages._judged_windows import JudgedWindows
from perennial.stages._last_look import unchanged_until
from perennial.stages._lasting import Lasting, judged_by, lasting_drift
from perennial.stages._late_outcomes import add_late_outcomes
from perennial.stages._traffic import AHEAD, Traffic, newest_time
from perennial.stages._window import Judge, predictions_words
from perennial.stages._window_decision import decide
from perennial.stages._window_incidents import Findings, incidents_now, note_incidents
from perennial.stages._window_losses import WindowLosses, window_losses
from perennial.stages._window_reports import write_report
from perennial.store import Store, write_if_other


@dataclass(frozen=True)
class Looked:
    """What a look has found, and what else it depends on."""

    result: MonitorResult
    windows: tuple[str, ...]  # names of those whose files it rests on
    until: datetime  # from when on the same look may find something else, though nothing comes


def look_at(settings: Settings, store: Store, spec: ModelSpec, gateway: Gateway, given: Window | None, now: datetime) -> Looked:
    """Take in what was logged, and report on a window.

    Args:
        settings: where the reports are.
        store: where everything durable is.
        spec: of the model.
        gateway: its own counts.
        given: the window; the newest complete one if absent. Earlier ones are then measured anew whose outcomes came since.
        now: the time of the look, UTC.
    """
    traffic = Traffic(store, spec, discovery.dataset_of(spec))
    traffic.collect()
    result, windows = _report_on(settings, traffic, gateway, given)
    if given is None and traffic.days:
        windows += add_late_outcomes(traffic, result.report.split("/")[-2] if result.report else "")
    damaged = "".join(f" {unread.sentence}" for unread in traffic.damaged)
    said = {"sentence": f"{result.sentence}{damaged}", "damaged": sum(u.lines for u in traffic.damaged)}
    return Looked(result.model_copy(update=said), windows, _until(traffic, now))


def _until(traffic: Traffic, now: datetime) -> datetime:
    """Until when nothing that a look finds changes with the clock alone: at most until the day ends."""
    next_day = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    known = Incidents(traffic.store, traffic.spec.name).all()
    rated = unchanged_until(lambda when: alarm_rate(known, when).sentence, now, next_day)
    ahead = traffic.first_after(now + AHEAD)
    return rated if ahead is None else min(rated, ahead - AHEAD)


def _report_on(settings: Settings, traffic: Traffic, gateway: Gateway, given: Window | None) -> tuple[MonitorResult, tuple[str, ...]]:
    """Report on the given window, or the newest complete one; with the names of the windows that were read for it."""
    spec, model = traffic.spec, traffic.spec.name
    retired = Ledger(traffic.store, model).retirement()
    if retired and given is None:
        return _skipped(f"Nothing is watched: {retired_words(retired)}"), ()
    if not traffic.days:
        return _skipped(f"{model} has no predictions yet: nothing to look at."), ()
    newest = newest_complete(list(traffic.days), spec.monitoring.window_days)
    window = given or newest
    if window is None:
        if (few := sum(traffic.days.values())) < FEW_REQUESTS:
            sentence = f"Too few to tell: {model} has {predictions_words(few)}, and a window is judged from {FEW_REQUESTS} on."
            return MonitorResult(sentence=sentence, requests=few), ()
        unfinished = window_of(max(traffic.days), spec.monitoring.window_days)
        return _skipped(
            f"The predictions of {model} reach into the window that ends on {unfinished.last:%Y-%m-%d}, "
            "and none before it is complete: it is over once a later prediction comes."
        ), ()
    rows = traffic.predictions(window)
    if not rows.num_rows:
        return _skipped(
            f"{model} answered nothing from {window.first:%Y-%m-%d %H:%M} to {window.last:%Y-%m-%d %H:%M}: "
            "choose a window with predictions."
        ), ()
    is_whole = window.last - window.first >= timedelta(days=spec.monitoring.window_days)  # an hour of a day is unlike whole days
    is_newest = newest is None or (is_whole and window.last >= newest.last)
    return Look(settings, traffic, window, rows, gateway).report(is_newest=is_newest)


def _skipped(sentence: str) -> MonitorResult:
    return MonitorResult(outcome="skipped", sentence=sentence)


@dataclass(frozen=True)
class Look:
    """One look at one window."""

    settings: Settings
    traffic: Traffic
    window: Window
    rows: pa.Table  # its predictions
    gateway: Gateway

    def report(self, *, is_newest: bool) -> tuple[MonitorResult, tuple[str, ...]]:
        """Judge, note incidents, decide, write.

        A window that reaches less far than the newest that was judged writes its pages and nothing else.

        Args:
            is_newest: whether it is whole and no complete window is newer.

        Returns:
            The result, and the names of the windows that were read for it.
        """
        traffic, window, spec = self.traffic, self.window, self.traffic.spec
        reach = min(newest_time(self.rows), traffic.newest)
        is_newest = is_newest and self._reaches_farthest(reach)
        judge = Judge(traffic.references)
        judged_windows = JudgedWindows(judge)
        judged = judged_windows.verdict(window, self.rows)
        family = kin(traffic.store, spec.name, traffic.digests, judged.version)
        lasting = lasting_drift(traffic, judged_windows, window, judged, family)
        losses = window_losses(traffic, window, self.rows, judged.version, family)
        anomalies = judged_windows.anomalies(window, self.rows, judged.version)
        rules = judge_rules(spec, self.rows)
        findings = Findings(judged, lasting.confirmed, lasting.drifts, losses.jump, losses.is_labelled, anomalies, is_newest, rules)
        folder = report_folder(spec.name, window)
        link = self.settings.report_url(f"{folder}/index.html")
        if is_newest and not judged.few:  # before what it changes: an older look must not undo that, even if this one dies
            write_if_other(traffic.store, self._newest_key, json.dumps({"window": window.name, "reach": reach.isoformat()}).encode())
        incidents, inbox = Incidents(traffic.store, spec.name), Inbox(traffic.store, spec.name)
        changed = note_incidents(incidents, window, findings, spec.retrain.drift_windows, link) if is_newest else ()
        decision = decide(traffic, inbox, incidents, window, findings)
        if not is_newest:
            looks_back = "This look wrote its report and changed nothing else: the newest whole window that was judged decides."
            decision = decision.model_copy(update={"why": f"{decision.why} {looks_back}"})
        report = self._told(judge, findings, lasting, losses, decision, incidents_now(incidents, changed))
        waiting = inbox.active()  # this window's or an earlier one's: a look that died before it told anybody loses nothing
        write_report(traffic.store, folder, report)
        note_windows(traffic.store, spec.name, [window.name])
        note_sizes(traffic.store, spec.name, [window.name])
        result = MonitorResult(
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
        return result, (window.name, *lasting.earlier)

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
            gateway=self.gateway,
            damaged=tuple(unread.sentence for unread in traffic.damaged),
            decision=decision,
            incidents=incidents,
        )
