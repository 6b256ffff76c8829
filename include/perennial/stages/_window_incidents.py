"""Opens incidents for what is wrong in a window, and ends those that are over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from pydantic import JsonValue

from perennial.incidents.incidents import Incidents
from perennial.incidents.kinds import Kind, Severity
from perennial.monitoring.figures import Anomalies, Jump, RuleFinding
from perennial.monitoring.report.numbers import OpenIncident, WindowIncidents
from perennial.monitoring.windows import Window
from perennial.stages._window import PREDICTIONS, Judged


@dataclass(frozen=True)
class Findings:
    """The findings of a window, for its incidents and the decision on retraining."""

    judged: Judged
    confirmed: tuple[str, ...]
    lasting: bool  # whether this window or one before it that counts drifted
    jump: Jump
    labelled: bool  # whether enough of its outcomes are known to tell
    anomalies: Anomalies
    is_newest: bool
    rules: tuple[RuleFinding, ...] = ()


def note_incidents(incidents: Incidents, window: Window, findings: Findings, drift_windows: int, link: str) -> tuple[str, ...]:
    """Open an incident for what is wrong, and resolve those that are over; ids of both."""
    seen = wrong(findings, drift_windows)
    evidence: dict[str, JsonValue] = {
        "window": window.name,
        "first": window.first.isoformat(),  # event time of what is wrong: from here
        "last": window.last.isoformat(),  # to before here at least
        "version": findings.judged.version,
        "Report": link,
    }
    changed = [incidents.open(kind, key, severity, sentence, evidence) for (kind, key), (severity, sentence) in seen.items()]
    for incident in incidents.open_ones():
        about = incident.kind, incident.key
        if about in seen or not is_over(incident.kind, incident.key, findings):
            continue
        unseen = f"No longer seen from {window.first:%Y-%m-%d} to {window.last:%Y-%m-%d} (event time)."
        over = max(window.first.isoformat(), str(incident.evidence.get("last", "")))  # a look over many days begins before the break
        if incidents.resolve(incident.id, unseen, {"over_since": over}):
            changed.append(incident.id)
    return tuple(id for id in changed if id is not None)


def incidents_now(incidents: Incidents, changed: tuple[str, ...]) -> WindowIncidents:
    """The open incidents, what this look changed, and how often the model calls for attention."""
    now = datetime.now(timezone.utc)
    still_open = tuple(OpenIncident.model_validate(incident) for incident in incidents.open_ones())
    return WindowIncidents(open=still_open, changed=changed, rate=incidents.alarm_rate(now).sentence)


def wrong(findings: Findings, windows: int) -> dict[tuple[Kind, str], tuple[Severity, str]]:
    """What is wrong in a window, by kind and key: how bad it is, and a sentence."""
    seen: dict[tuple[Kind, str], tuple[Severity, str]] = {}
    for broken in findings.judged.breaks:
        seen["data quality", broken.key] = "critical", broken.sentence
    explained = {b.column for b in findings.judged.breaks}
    drifted = [f for f in findings.judged.verdict.columns if f.alarms]
    for key, of_kind in (
        ("inputs", [f for f in drifted if f.kind != PREDICTIONS and f.column not in explained]),
        (PREDICTIONS, [f for f in drifted if f.kind == PREDICTIONS]),
    ):
        # Where a feed is broken, correlations, scores and all columns together follow it: they are no second alarm.
        if of_kind and not (explained and all(f.kind in (PREDICTIONS, "correlation", "joint") for f in of_kind)):
            lasts = any(f.column in findings.confirmed for f in of_kind)
            others = len(of_kind) - 1
            more = f" And {others} more finding{'s' if others > 1 else ''}." if others else ""
            so_far = f"It lasts through {windows} windows." if lasts else "Not confirmed yet."
            seen["drift", key] = "warning", f"{of_kind[0].sentence}{more} {so_far}"
    if findings.jump.found:
        seen["performance", "loss"] = "critical", findings.jump.sentence
    if findings.anomalies.unusual and not drifted:  # where the world has changed, its rows are strange: no second alarm
        seen["anomaly", "requests"] = "warning", findings.anomalies.sentence
    for rule in findings.rules:
        if rule.state == "broken":
            seen["answers", rule.name] = rule.severity, rule.sentence
    return seen


def is_over(kind: Kind, key: str, findings: Findings) -> bool:
    """Whether a window without it ends an incident: only what monitoring opens, and only where it could have been seen."""
    judged = findings.judged
    if judged.few:
        return False
    could_see = bool(judged.verdict.columns) and not judged.verdict.power.startswith("Nothing")
    if kind == "drift":
        return could_see and not findings.lasting
    if kind == "data quality":
        return could_see and key.startswith(("unit of ", "missing values of "))
    if kind == "performance":
        return findings.labelled and not findings.jump.worse
    if kind == "answers":  # by evidence, or because the rule is gone
        return all(rule.state == "kept" for rule in findings.rules if rule.name == key)
    return kind == "anomaly" and findings.anomalies.threshold is not None and not findings.anomalies.unusual
