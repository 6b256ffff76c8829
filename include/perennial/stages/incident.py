"""Record a person's verdict on an incident: real, a false alarm, or known.

$ perennial incident --model flight_delays --id 3 --verdict "false alarm" --by anna
"""

from __future__ import annotations

from datetime import datetime, timezone

from perennial import discovery
from perennial.incidents.incidents import Incidents, known_names
from perennial.results import IncidentResult
from perennial.settings import Settings
from perennial.specs import Verdict
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    *,
    model: str,
    id: str,
    verdict: Verdict,
    by: str = "perennial",
    note: str = "",
    unless_judged: bool = False,
) -> IncidentResult:
    """Record a verdict; the last one counts, and an incident that is over is judged as well.

    Args:
        settings: not needed.
        store: where incidents are kept.
        model: name of the model, also of one whose files are broken or gone, or of a broken dataset.
        id: the incident's id, or its number.
        verdict: what it was.
        by: who says so.
        note: their words.
        unless_judged: leave a verdict that somebody gave before as it is.

    Raises:
        UnknownName: there is no such model or incident.
    """
    del settings
    (name,) = discovery.models_asked_about(model, known_names(store))
    incidents = Incidents(store, name)
    judged = incidents.verdict(id, verdict, by, note, unless_judged=unless_judged)
    if unless_judged and (judged.verdict, judged.by, judged.note) != (verdict, by, note):
        sentence = f"{judged.by} was faster and judged {judged.id} of {model} {judged.verdict}: that stays."
        return IncidentResult(outcome="skipped", sentence=sentence, id=judged.id, verdict=judged.verdict)
    rate = incidents.alarm_rate(datetime.now(timezone.utc))
    words = f": {judged.note}" if judged.note else ""
    return IncidentResult(sentence=f"{by} judged {judged.id} of {model} {verdict}{words}. {rate.sentence}", id=judged.id, verdict=verdict)
