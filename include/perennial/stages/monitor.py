"""Look at a window of live traffic: inputs, performance, service; request retraining where the policy asks.

A window is judged by its own evidence alone: the version that answered most of it, that version's snapshot, and the windows
before it. So looking at it again, however late, gives the same answer, but for outcomes that have come since.

    $ perennial monitor --model flight_delays
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta, timezone
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import dataset as arrow_dataset
from pydantic import JsonValue

from perennial import discovery
from perennial.data.snapshots import Snapshot, latest_snapshot
from perennial.data.tables import Table
from perennial.errors import ServiceUnreachable, UnknownName
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents, Kind, Severity
from perennial.lineage.ledger import Ledger, retired_words
from perennial.lineage.trainings import kin, last_training
from perennial.monitoring import performance, policy
from perennial.monitoring.anomalies import Anomalies
from perennial.monitoring.outcomes import collect_outcomes, count_unknown, join, outcome_rows, outcomes_name, outcomes_of
from perennial.monitoring.prediction_table import INPUT, SetAside, collect_predictions, predictions_name, set_aside
from perennial.monitoring.report.numbers import (
    ArmCounts,
    DayLosses,
    Decision,
    Gateway,
    KnownOutcomes,
    Losses,
    OpenIncident,
    SliceLosses,
    WindowDrift,
    WindowIncidents,
    WindowReport,
    decoded,
)
from perennial.monitoring.report.page import page
from perennial.monitoring.report.words import sentence_of
from perennial.monitoring.scores import score_shares
from perennial.monitoring.windows import Window, newest_complete, window_of, windows_before
from perennial.results import MonitorResult
from perennial.serving.backends import open_backend
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages import _agreement
from perennial.stages._service import note_service
from perennial.stages._versions import as_logged
from perennial.stages._window import FEW_REQUESTS, PREDICTIONS, Judge, Judged
from perennial.stages.evaluate import calendar_slices
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
    if given is None and settings.serving == "local":
        note_service(settings, store, model)  # before anything can end this look: what does not answer logs nothing either
    if given is None:
        _agreement.watch(settings, store, model)
    look = Look(settings, store, spec, dataset)
    look.collect()
    result = _look_at(look, given)
    damaged = "".join(f" {found.sentence}" for found in look.damaged)
    return result.model_copy(update={"sentence": f"{result.sentence}{damaged}", "damaged": sum(found.lines for found in look.damaged)})


def _look_at(look: Look, given: Window | None) -> MonitorResult:
    """Report on the given window, or the newest complete one."""
    spec, model = look.spec, look.spec.name
    retired = Ledger(look.store, model).retirement()
    if retired and given is None:
        return MonitorResult(outcome="skipped", sentence=f"Nothing is watched: {retired_words(retired)}")
    if not look.days:
        return MonitorResult(outcome="skipped", sentence=f"{model} has no predictions yet: nothing to look at.")
    newest = newest_complete(list(look.days), spec.monitoring.window_days)
    window = given or newest
    if window is None:
        if (few := sum(look.days.values())) < FEW_REQUESTS:
            known = f"{few} prediction{'' if few == 1 else 's'}"
            return MonitorResult(
                sentence=f"Too few to tell: {model} has {known}, and a window is judged from {FEW_REQUESTS} on.", requests=few
            )
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
    is_whole = window.last - window.first >= timedelta(days=spec.monitoring.window_days)  # an hour of a day is unlike whole days
    return look.report(window, rows, is_newest=newest is None or (is_whole and window.last >= newest.last))


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

    judged: Judged
    confirmed: tuple[str, ...]
    lasting: bool  # whether this window or one before it that counts drifted
    jump: performance.Jump
    labelled: bool  # whether enough of its outcomes are known to tell
    anomalies: Anomalies
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
        self.incidents = Incidents(self.store, self.spec.name)
        self.entries: list[Entry] = Ledger(self.store, self.spec.name).entries()
        self.digests = {number: digest for entry in self.entries for number, digest in entry.versions.items()}
        self.judge = Judge(self.store, self.spec, self.dataset, self.digests)
        self.days: dict[date, int] = {}
        self.newest = datetime.min
        self.damaged: tuple[SetAside, ...] = ()

    def collect(self) -> None:
        """Take the finished segments into the tables."""
        logged = as_logged(self.store, self.spec, self.dataset, self.entries)
        predictions = collect_predictions(self.store, logged, self.dataset, self.predicted)
        outcomes = collect_outcomes(self.store, self.spec, self.happened)
        for what, taken in (("predictions", predictions), ("outcomes", outcomes)):
            if taken.segments:
                log.info("Took in %d %s from %d segments.", taken.rows, what, taken.segments)
        self.damaged = tuple(
            found for what in ("predictions", "outcomes") if (found := set_aside(self.store, f"{what}/{self.spec.name}")) is not None
        )
        # A caller may name any time. One in the future would make its window the newest, and the champion old, for ever.
        latest = pa.scalar(datetime.now(timezone.utc) + timedelta(days=1), pa.timestamp("us", "UTC"))
        times = self._scan(["event_time"], ~pc.field("shadow") & (pc.field("event_time") <= latest))
        if times.num_rows:
            moments = times["event_time"]
            self.days = performance.rows_by_day(moments)
            self.newest = pc.max(moments.cast(pa.timestamp("us"))).as_py()

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
        """Judge a window, decide, write its pages. One that reaches less far than the newest that was judged writes its pages and nothing else."""
        reach = min(pc.max(rows["event_time"].cast(pa.timestamp("us"))).as_py(), self.newest)
        looks_back = self._looks_back(reach, is_newest=is_newest)
        is_newest = not looks_back
        judged = self.judge.judge(window, rows)
        verdict, version = judged.verdict, judged.version
        family = kin(self.store, self.spec.name, self.digests, version)
        earlier, confirmed, lasting = self._confirmed(window, judged, family)
        own = self.judge.as_of(version).inputs
        spec = self.spec.model_copy(update={"slices": tuple(s for s in self.spec.slices if s in own or INPUT + s not in rows.column_names)})
        slices = [INPUT + name for name in spec.slices if INPUT + name in rows.column_names]
        history = self.predictions(Window(window.last - timedelta(days=HISTORY_DAYS), window.last), JUDGED)
        happened = self.happened.dataset() if self.happened.version() is not None else arrow_dataset(outcome_rows([], ""))
        outcomes = outcomes_of([rows, history], happened)
        joined, counts = join(rows.select([*JUDGED, *slices]), outcomes)
        of_version = joined.filter(pc.field("model_version").isin(sorted(family)))
        figures = performance.over_window(self.spec.task, of_version, window.seed)
        estimate = performance.estimate(self.spec.task, of_version)
        by_slice = performance.by_slice(self.spec.task, of_version, _groups(spec, of_version), window.seed)
        days = performance.by_day(self.spec.task, join(history, outcomes)[0])
        seen = performance.up_to_training(days, family)
        jump = performance.find_jump(seen, self.spec.monitoring.excess_loss, self._unseen(version, family, seen))
        anomalies = self.judge.anomalies(version, rows, window.seed)
        found = Found(judged, confirmed, lasting, jump, figures.labelled >= performance.MIN_LABELLED, anomalies, is_newest)
        folder = self.judge.folder(window)
        link = f"{self.settings.reports_url}/{folder.removeprefix('reports/')}/index.html"
        if is_newest and not judged.few:  # before what it changes: an older look must not undo that, even if this one dies
            self.store.write(self._newest_key, json.dumps({"window": window.name, "reach": reach.isoformat()}).encode())
        changed = self._note_incidents(window, found, link) if is_newest else ()
        decision = self._decide(window, found)
        decision = decision.model_copy(update={"why": f"{decision.why} {looks_back}".strip()})
        report = WindowReport(
            model=self.spec.name,
            title=self.spec.title,
            name=window.name,
            first=window.first,
            last=window.last,
            version=version,
            by_version=dict(judged.by_version),
            requests=rows.num_rows,
            sentence=sentence_of(
                rows.num_rows,
                verdict,
                judged.breaks,
                confirmed=bool(confirmed),
                figures=figures,
                estimate=estimate,
                decision=decision.why,
            ),
            drift=WindowDrift(
                **dict(verdict),
                confirmed=confirmed,
                windows=self.spec.retrain.drift_windows,
                alpha=self.spec.monitoring.alpha,
                earlier=tuple(earlier),
                judged_by=self._judged_by(version),
            ),
            breaks=judged.breaks,
            anomalies=anomalies,
            performance=Losses.model_validate(figures),
            estimate=estimate,
            slices=tuple(SliceLosses(column=s.column, name=s.name, **dict(Losses.model_validate(s.performance))) for s in by_slice),
            outcomes=KnownOutcomes(**asdict(counts), unknown=count_unknown(happened, self.predicted.dataset())),
            days=tuple(DayLosses.model_validate(day) for day in days),
            jump=jump,
            scores=score_shares(self.spec, of_version),
            service=performance.service_figures(rows),
            gateway=self._gateway(),
            damaged=tuple(lines.sentence for lines in self.damaged),
            decision=decision,
            incidents=self._incidents(changed),
        )
        waiting = self.inbox.active()  # this window's or an earlier one's: a look that died before it told anybody loses nothing
        self.store.write(f"{folder}/index.html", page(report).encode())
        self.store.write(f"{folder}/report.json", report.encoded())
        return MonitorResult(
            sentence=report.sentence,
            links={"Report": link},
            report=f"{folder}/report.json",
            requests=rows.num_rows,
            labelled=counts.labelled,
            drifted=verdict.alarming,
            retraining=waiting.key if waiting else None,
            cause=waiting.cause if waiting else None,
            incidents=changed,
        )

    @property
    def _newest_key(self) -> str:
        """Where the newest window that was judged is written down."""
        return f"reports/{self.spec.name}/newest_window.json"

    def _looks_back(self, reach: datetime, *, is_newest: bool) -> str:
        """A sentence if a window may write its report and change nothing else; empty if it decides.

        Args:
            reach: its newest event time. Of two windows the one that reaches farther is newer, wherever they are cut.
            is_newest: whether it is whole and no complete window is newer.
        """
        try:
            known = json.loads(self.store.read(self._newest_key))
        except KeyError:
            known = None
        decides = is_newest and not (known and reach < datetime.fromisoformat(known["reach"]))
        return "" if decides else "This look wrote its report and changed nothing else: the newest whole window that was judged decides."

    def _confirmed(self, window: Window, judged: Judged, family: frozenset[int]) -> tuple[list[str], tuple[str, ...], bool]:
        """Windows before this one that count, what drifted in all of them and in this one, and whether anything drifted in any."""
        wanted = self.spec.retrain.drift_windows - 1
        earlier = windows_before(window, list(self.days), wanted)
        drifted = judged.verdict.alarming
        before = [self._drifted_before(w, judged.version, family) for w in earlier]
        lasting = set(drifted).intersection(*before)
        confirmed = tuple(c for c in drifted if c in lasting) if len(earlier) == wanted else ()
        return [w.name for w in earlier], confirmed, bool(drifted) or any(before)

    def _unseen(self, version: int, family: frozenset[int], days: list[performance.DayPerformance]) -> date:
        """First day that may show that the training of a version has been overtaken by a jump of the loss."""
        newest = self.judge.snapshot(version)[0].newest().date()
        trained_to = newest - timedelta(days=ceil(self.dataset.label_delay_days))
        trained = min(family)  # its recalibrations have later numbers
        first_answer = min((d.day for d in days if d.version in family), default=newest + timedelta(days=1))
        return performance.first_unseen(self.judge.manifest(trained).cause, trained_to, first_answer)

    def _drifted_before(self, window: Window, version: int, family: frozenset[int]) -> set[str]:
        """Columns that drifted in an earlier window against the same training's snapshot; judged now if it has not been, or if more predictions came in."""
        rows, key = self.predictions(window), f"{self.judge.folder(window)}/report.json"
        try:
            known = decoded(self.store.read(key), key)
        except KeyError:
            known = None
        if known and known.requests == rows.num_rows and known.version in family and known.drift.judged_by == self._judged_by(version):
            return set(known.drift.alarming)
        if not rows.num_rows:
            return set()
        judged = self.judge.judge(window, rows)
        return set(judged.verdict.alarming) if judged.version in family else set()

    def _judged_by(self, version: int) -> str:
        """Identity of what a drift verdict depends on besides the predictions."""
        parts = [self.judge.snapshot(version)[1], self.spec.monitoring.model_dump(mode="json"), list(self.judge.as_of(version).inputs)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _note_incidents(self, window: Window, found: Found, link: str) -> tuple[str, ...]:
        """Open an incident for what is wrong, and resolve those that are over; ids of both."""
        seen = _wrong(found, self.spec.retrain.drift_windows)
        evidence: dict[str, JsonValue] = {
            "window": window.name,
            "first": window.first.isoformat(),  # event time of what is wrong: from here
            "last": window.last.isoformat(),  # to before here at least
            "version": found.judged.version,
            "Report": link,
        }
        changed = [self.incidents.open(kind, key, severity, sentence, evidence) for (kind, key), (severity, sentence) in seen.items()]
        for incident in self.incidents.open_ones():
            about = incident.kind, incident.key
            if about in seen or not _is_over(incident.kind, incident.key, found):
                continue
            unseen = f"No longer seen from {window.first:%Y-%m-%d} to {window.last:%Y-%m-%d} (event time)."
            over = max(window.first.isoformat(), str(incident.evidence.get("last", "")))  # a look over many days begins before the break
            if self.incidents.resolve(incident.id, unseen, {"over_since": over}):
                changed.append(incident.id)
        return tuple(id for id in changed if id is not None)

    def _incidents(self, changed: tuple[str, ...]) -> WindowIncidents:
        """The open incidents, what this look changed, and how often the model calls for attention."""
        now = datetime.now(timezone.utc)
        still_open = tuple(OpenIncident.model_validate(incident) for incident in self.incidents.open_ones())
        return WindowIncidents(open=still_open, changed=changed, rate=self.incidents.alarm_rate(now).sentence)

    def _decide(self, window: Window, found: Found) -> Decision:
        """Why or why not, and the cause and key of the request that this window made, now or at an earlier look."""
        if found.is_newest:
            settle(self.inbox, self.store, self.spec.name)
        for request in self.inbox.all():
            if request.evidence.get("window") == window.name:
                ended = f" It ended: {request.sentence}" if request.state == "ended" else ""
                why = f"{request.evidence.get('why')} Requested retraining {request.key}.{ended}"
                return Decision(cause=request.cause, why=why, request=request.key)
        newest_data = latest_snapshot(self.store, self.dataset)
        evidence = self._evidence(found, newest_data)
        asked = policy.ask(evidence, self.spec.retrain)
        if isinstance(asked, policy.Held) or newest_data is None:
            return Decision(cause=None, why=asked.why, request=None)
        facts: dict[str, object] = {
            "window": window.name,
            "champion": found.judged.version,
            "columns": list(found.confirmed),
            "why": asked.why,
        }
        key = self.inbox.ask(asked.cause, newest_data.version, facts)
        if key is None:
            why = f"{asked.why} It was asked for before on snapshot {newest_data.version}, or another request is open."
            return Decision(cause=None, why=why, request=None)
        return Decision(cause=asked.cause, why=f"{asked.why} Requested retraining {key}.", request=key)

    def _evidence(self, found: Found, newest_data: Snapshot | None) -> policy.Evidence:
        champion = self.entries[-1].champion if self.entries else None
        family = frozenset[int]() if champion is None else kin(self.store, self.spec.name, self.digests, champion)
        version = found.judged.version
        last = last_training(self.store, self.spec.name)
        requests = self.inbox.all()
        active = self.inbox.active()
        answered = [
            r.evidence.get("columns")
            for r in requests
            if r.cause == "drift" and r.outcome == "trained" and r.evidence.get("champion") in family
        ]
        refused = next(
            (r.sentence for r in reversed(requests) if newest_data and r.outcome == "refused" and r.snapshot == newest_data.version), ""
        )
        return policy.Evidence(
            now=max(self.newest, newest_data.newest()) if newest_data else self.newest,
            newest_window=found.is_newest,
            served_by=champion if version in family else version,
            champion=champion,
            champion_newest=self.judge.snapshot(champion)[0].newest() if champion is not None else None,
            drifted=found.judged.verdict.alarming,
            confirmed=found.confirmed,
            answered=frozenset(str(column) for columns in answered if isinstance(columns, list) for column in columns),
            jump=found.jump.found,
            worse=found.jump.worse,
            jump_sentence=found.jump.sentence,
            new_data=newest_data is not None and (last is None or last[1].snapshot_digest not in newest_data.digests),
            refusal=refused,
            quality_break=" ".join(i.sentence for i in self.incidents.open_ones() if i.blocks_training),
            last_training_newest=Snapshot(self.dataset, last[1].snapshot, self.store).newest() if last else None,
            active=active.key if active else "",
        )

    def _gateway(self) -> Gateway:
        """Counts of the gateway at the time of the look: they know what never reached a version's log."""
        try:
            arms = open_backend(self.settings).observe(self.spec)
        except ServiceUnreachable as error:
            return Gateway(sentence=f"The gateway's own counts are missing: {error}", versions={})
        if not arms:
            return Gateway(sentence="The gateway serves no version of this model now.", versions={})
        return Gateway(
            sentence="The gateway's own counts, since each version began to serve until this look:",
            versions={str(v): _arm(arm) for v, arm in sorted(arms.items())},
        )


def _wrong(found: Found, windows: int) -> dict[tuple[Kind, str], tuple[Severity, str]]:
    """What is wrong in a window, by kind and key: how bad it is, and a sentence."""
    seen: dict[tuple[Kind, str], tuple[Severity, str]] = {}
    for broken in found.judged.breaks:
        seen["data quality", broken.key] = "critical", broken.sentence
    explained = {b.column for b in found.judged.breaks}
    drifted = [f for f in found.judged.verdict.columns if f.alarms]
    for key, findings in (
        ("inputs", [f for f in drifted if f.kind != PREDICTIONS and f.column not in explained]),
        (PREDICTIONS, [f for f in drifted if f.kind == PREDICTIONS]),
    ):
        # Where a feed is broken, correlations, scores and all columns together follow it: they are no second alarm.
        if findings and not (explained and all(f.kind in (PREDICTIONS, "correlation", "joint") for f in findings)):
            lasts = any(f.column in found.confirmed for f in findings)
            others = len(findings) - 1
            more = f" And {others} more finding{'s' if others > 1 else ''}." if others else ""
            seen["drift", key] = (
                "warning",
                f"{findings[0].sentence}{more} {f'It lasts through {windows} windows.' if lasts else 'Not confirmed yet.'}",
            )
    if found.jump.found:
        seen["performance", "loss"] = "critical", found.jump.sentence
    if found.anomalies.unusual and not drifted:  # where the world has changed, its rows are strange: no second alarm
        seen["anomaly", "requests"] = "warning", found.anomalies.sentence
    return seen


def _is_over(kind: Kind, key: str, found: Found) -> bool:
    """Whether a window without it ends an incident: only what monitoring opens, and only where it could have been seen."""
    if found.judged.few:
        return False
    could_see = bool(found.judged.verdict.columns) and not found.judged.verdict.power.startswith("Nothing")
    if kind == "drift":
        return could_see and not found.lasting
    if kind == "data quality":
        return could_see and key.startswith(("unit of ", "missing values of "))
    if kind == "performance":
        return found.labelled and not found.jump.worse
    return kind == "anomaly" and found.anomalies.threshold is not None and not found.anomalies.unusual


def _groups(spec: ModelSpec, rows: pa.Table) -> dict[str, Any]:
    """The slice of each row, for those columns of the spec that a prediction knows: inputs, and month, weekday and hour of its event time."""
    if not rows.num_rows:
        return {}
    calendar = calendar_slices(rows["event_time"].cast(pa.timestamp("us")).to_numpy())
    found = {}
    for name in spec.slices:
        if INPUT + name in rows.column_names:
            found[name] = np.array(["missing" if v is None else str(v) for v in rows[INPUT + name].to_pylist()])
        elif name in calendar:
            found[name] = calendar[name].astype(str)
    return found


def _arm(arm: Arm) -> ArmCounts:
    p50, p99 = (performance.latency_quantile(arm.latency_ms, share) for share in (0.5, 0.99))
    return ArmCounts(requests=arm.requests, errors=arm.errors, p50_ms=p50, p99_ms=p99)


def _utc(when: datetime) -> datetime:
    return when.astimezone(timezone.utc) if when.tzinfo else when.replace(tzinfo=timezone.utc)
