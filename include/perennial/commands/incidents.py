"""Lists the incidents of a model and its rate of alarms and false alarms.

$ perennial incidents --model flight_delays
"""

from __future__ import annotations

from datetime import datetime, timezone

from perennial import discovery
from perennial.errors import EXIT_DONE
from perennial.incidents.incidents import Incident, Incidents, known_names
from perennial.lineage.ledger import known_models
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store


def run(settings: Settings, store: Store, *, model: str | None = None) -> int:
    """Print the incidents of one model or of all, the newest last, and the alarm rate; also of what is broken or gone.

    Raises:
        UnknownName: there is no such model.
    """
    del settings
    for name in discovery.models_asked_about(model, {*known_names(store), *known_models(store)}):
        incidents = Incidents(store, name)
        known = incidents.all()
        going_on = sum(incident.is_open for incident in known)
        print(
            f"{name}: {len(known)} {'incident' if len(known) == 1 else 'incidents'}, {going_on} open. "
            f"{incidents.alarm_rate(datetime.now(timezone.utc)).sentence}"
        )
        for incident in known:
            print(on_terminal("\n".join(describe(incident))))
    return EXIT_DONE


def describe(incident: Incident) -> list[str]:
    """The lines that describe one incident and its history."""
    until = f"until {incident.resolved:%Y-%m-%d %H:%M}" if incident.resolved else "open"
    lines = [f"  {incident.id}  {incident.severity}  {incident.opened:%Y-%m-%d %H:%M} UTC, {until}: {incident.sentence}"]
    if incident.resolution:
        lines.append(f"    over: {incident.resolution}")
    if incident.verdict:
        lines.append(f"    {incident.by}: {incident.verdict}{f', {incident.note}' if incident.note else ''}")
    lines += [f"    not told on {channel}: {why}" for channel, why in sorted(incident.missed.items())]
    lines += [f"    {title}: {address}" for title, address in incident.links.items()]
    return lines
