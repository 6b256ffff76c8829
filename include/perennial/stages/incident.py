"""Record a person's verdict on an incident (real, a false alarm, or known), or silence its kind for a time.

$ perennial incident --model flight_delays --id 3 --verdict "false alarm" --by anna
$ perennial incident --model flight_delays --silence drift --hours 4 --by anna --note "the source moves"
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Literal, cast

from perennial import discovery
from perennial.errors import Refused
from perennial.incidents.incidents import Incidents, known_names
from perennial.incidents.kinds import Kind
from perennial.incidents.silences import Silences
from perennial.results import IncidentResult
from perennial.settings import Settings
from perennial.specs import Verdict
from perennial.store import Store


def run(
    settings: Settings,
    store: Store,
    *,
    model: str,
    id: str = "",
    verdict: Verdict | None = None,
    silence: Kind | Literal["all", "its kind"] | None = None,
    hours: float | None = None,
    by: str = "perennial",
    note: str = "",
    unless_judged: bool = False,
) -> IncidentResult:
    """Record a verdict; the last one counts, and an incident that is over is judged as well. Or silence a kind: nobody is told of it for a
    time, while it is recorded and shown as ever.

    Args:
        settings: not needed.
        store: where incidents are kept.
        model: name of the model, also of one whose files are broken or gone, or of a broken dataset.
        id: the incident's id, or its number.
        verdict: what it was.
        silence: kind of incident that nobody is told of, `all`, or `its kind`, that of the incident.
        hours: for which.
        by: who says so.
        note: their words.
        unless_judged: leave a verdict that somebody gave before as it is.

    Raises:
        UnknownName: there is no such model or incident.
        Refused: neither a verdict nor a silence is given, or half of one.
    """
    del settings
    (name,) = discovery.models_asked_about(model, known_names(store))
    incidents = Incidents(store, name)
    if silence:
        return _silenced(store, name, incidents, silence, hours, id, by, note)
    if verdict is None or not id:
        raise Refused("A verdict needs --id and --verdict; a silence needs --silence, --hours and --note. Give those of one.")
    judged = incidents.verdict(id, verdict, by, note, unless_judged=unless_judged)
    if unless_judged and (judged.verdict, judged.by, judged.note) != (verdict, by, note):
        sentence = f"{judged.by} was faster and judged {judged.id} of {model} {judged.verdict}: that stays."
        return IncidentResult(outcome="skipped", sentence=sentence, id=judged.id, verdict=judged.verdict)
    rate = incidents.alarm_rate(datetime.now(timezone.utc))
    words = f": {judged.note}" if judged.note else ""
    return IncidentResult(sentence=f"{by} judged {judged.id} of {model} {verdict}{words}. {rate.sentence}", id=judged.id, verdict=verdict)


def _silenced(
    store: Store, model: str, incidents: Incidents, silence: str, hours: float | None, id: str, by: str, note: str
) -> IncidentResult:
    """Silence a kind of incident."""
    if hours is None or not note:
        raise Refused("A silence needs --hours, how long it holds, and --note, why: give both.")
    if silence == "its kind" and not id:
        raise Refused("`its kind` is that of an incident: give its --id, or name a kind.")
    kind = incidents.get(id).kind if silence == "its kind" else None if silence == "all" else cast(Kind, silence)
    now = datetime.now(timezone.utc)
    made = Silences(store, model).add(kind, now, now + timedelta(hours=hours), by, note)
    said = f"{model}: {made.sentence.rstrip('.')}. What opens meanwhile is recorded and shown, and told if it is still open then."
    return IncidentResult(sentence=said, id=id)
