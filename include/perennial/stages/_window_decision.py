"""Decides whether a window calls for retraining: the evidence for `policy.ask`, and the request that follows."""

from __future__ import annotations

from perennial.data.snapshots import Snapshot, model_snapshot
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.trainings import kin, last_training
from perennial.monitoring import policy
from perennial.monitoring.report.numbers import Decision
from perennial.monitoring.windows import Window
from perennial.stages._snapshots import digests_since, served_with
from perennial.stages._traffic import Traffic
from perennial.stages._window_incidents import Findings
from perennial.stages.validate import settle


def decide(traffic: Traffic, inbox: Inbox, incidents: Incidents, window: Window, findings: Findings) -> Decision:
    """Why or why not, and the cause and key of the request that this window made, now or at an earlier look."""
    if findings.is_newest:
        settle(inbox, traffic.store, traffic.spec.name)
    for request in inbox.all():
        if request.evidence.get("window") == window.name:
            ended = f" It ended: {request.sentence}" if request.state == "ended" else ""
            why = f"{request.evidence.get('why')} Requested retraining {request.key}.{ended}"
            return Decision(cause=request.cause, why=why, request=request.key)
    newest_data = model_snapshot(traffic.store, traffic.spec)
    asked = policy.ask(_evidence(traffic, inbox, incidents, findings, newest_data), traffic.spec.retrain)
    if isinstance(asked, policy.Held) or newest_data is None:
        return Decision(cause=None, why=asked.why, request=None)
    facts: dict[str, object] = {
        "window": window.name,
        "champion": findings.judged.version,
        "columns": list(findings.confirmed),
        "why": asked.why,
    }
    labels = newest_data.labels.version if newest_data.labels else None
    key = inbox.ask(asked.cause, newest_data.version, facts if labels is None else {**facts, "labels": labels}, labels)
    if key is None:
        why = f"{asked.why} It was asked for before on snapshot {newest_data.version}, or another request is open."
        return Decision(cause=None, why=why, request=None)
    return Decision(cause=asked.cause, why=f"{asked.why} Requested retraining {key}.", request=key)


def _evidence(traffic: Traffic, inbox: Inbox, incidents: Incidents, findings: Findings, newest_data: Snapshot | None) -> policy.Evidence:
    store, model = traffic.store, traffic.spec.name
    champion = traffic.last.champion if traffic.last else None
    family = frozenset[int]() if champion is None else kin(store, model, traffic.digests, champion)
    version = findings.judged.version
    last = last_training(store, model)
    requests = inbox.all()
    active = inbox.active()
    answered = [
        r.evidence.get("columns")
        for r in requests
        if r.cause == "drift" and r.outcome == "trained" and r.evidence.get("champion") in family
    ]
    newest = (newest_data.version, newest_data.labels.version if newest_data.labels else None) if newest_data else None
    refused = next(
        (r.sentence for r in reversed(requests) if r.outcome == "refused" and (r.snapshot, r.evidence.get("labels")) == newest), ""
    )
    return policy.Evidence(
        now=max(traffic.newest, newest_data.newest()) if newest_data else traffic.newest,
        newest_window=findings.is_newest,
        served_by=champion if version in family else version,
        champion=champion,
        champion_newest=traffic.references.snapshot(champion)[0].newest() if champion is not None else None,
        drifted=findings.judged.verdict.alarming,
        confirmed=findings.confirmed,
        answered=frozenset(str(column) for columns in answered if isinstance(columns, list) for column in columns),
        jump=findings.jump.found,
        worse=findings.jump.worse,
        jump_sentence=findings.jump.sentence,
        new_data=newest_data is not None and (last is None or last[1].snapshot_digest not in digests_since(newest_data, last[1])),
        refusal=refused,
        quality_break=" ".join(i.sentence for i in incidents.open_ones() if i.blocks_training),
        last_training_newest=served_with(Snapshot(traffic.dataset, last[1].snapshot, store), last[1]).newest() if last else None,
        active=active.key if active else "",
    )
