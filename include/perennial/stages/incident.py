"""Record what a person makes of an incident: real, a false alarm, or known."""

from __future__ import annotations

from datetime import datetime, timezone

from perennial import discovery
from perennial.monitoring.incidents import Incidents, Verdict
from perennial.results import IncidentResult
from perennial.settings import Settings
from perennial.store import Store


def run(
    settings: Settings, store: Store, *, model: str, id: str, verdict: Verdict, by: str = "perennial", note: str = ""
) -> IncidentResult:
    """Record a verdict; the last one counts, and an incident that is over is judged as well.

    Args:
        settings: not needed.
        store: where incidents are kept.
        model: name of the model.
        id: the incident's id, or its number.
        verdict: what it was.
        by: who says so.
        note: their words.

    Raises:
        UnknownName: there is no such model or incident.
    """
    del settings
    incidents = Incidents(store, discovery.model(model).name)
    judged = incidents.verdict(id, verdict, by, note)
    rate = incidents.alarm_rate(datetime.now(timezone.utc))
    words = f": {judged.note}" if judged.note else ""
    return IncidentResult(sentence=f"{by} judged {judged.id} of {model} {verdict}{words}. {rate.sentence}", id=judged.id, verdict=verdict)
