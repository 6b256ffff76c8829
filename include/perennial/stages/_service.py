"""Opens and ends incidents about a gateway, or a version with traffic, that does not answer callers."""

from __future__ import annotations

from perennial.incidents.incidents import Incidents
from perennial.incidents.kinds import Severity
from perennial.lineage.ledger import Ledger
from perennial.serving import caller
from perennial.settings import Settings
from perennial.stages._routes import route_of
from perennial.store import Store

GATEWAY, VERSION = "gateway", "version "  # keys of the incidents, the latter before a number
PATIENCE_SECONDS = 10.0  # a busy machine is no outage


def note_service(settings: Settings, store: Store, model: str) -> tuple[str, ...]:
    """Ask as a caller does, open an incident for what does not answer, and resolve those of what answers again or serves no more.

    A version that gets no traffic, such as one that is just being started, is not asked; nor is anything before a model's first release.

    Returns:
        The ids of the incidents that were opened and resolved.
    """
    incidents = Incidents(store, model)
    entry = Ledger(store, model).last()
    route = route_of(entry) if entry and entry.champion is not None else None
    wrong: dict[str, tuple[Severity, str]] = {}
    if entry and route:
        if trouble := caller.gateway_trouble(settings, PATIENCE_SECONDS):
            wrong[GATEWAY] = "critical", f"The gateway does not answer: {trouble} Run `perennial status`; `perennial up` starts it anew."
        else:
            for answer in caller.ask(settings, model, route, PATIENCE_SECONDS):
                if answer.trouble and answer.weight:
                    severity: Severity = "critical" if answer.version == entry.champion else "warning"
                    share = f"{answer.weight / 100:g} % of the traffic"
                    wrong[f"{VERSION}{answer.version}"] = (
                        severity,
                        f"Version {answer.version}, which has {share}, does not answer through the gateway: {answer.trouble} "
                        "Run `perennial status`; `perennial up` starts it anew.",
                    )
    changed = [incidents.open("service", key, severity, sentence) for key, (severity, sentence) in wrong.items()]
    for open_one in incidents.open_ones():
        of_versions = open_one.key.startswith(VERSION) and GATEWAY not in wrong  # else they could not be asked
        is_ours = open_one.kind == "service" and (open_one.key == GATEWAY or of_versions)
        if (
            is_ours
            and open_one.key not in wrong
            and incidents.resolve(open_one.id, "It answers again." if route else "Nothing serves now.")
        ):
            changed.append(open_one.id)
    return tuple(id for id in changed if id is not None)
