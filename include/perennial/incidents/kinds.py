"""The kinds and severities of incidents. Light."""

from __future__ import annotations

from typing import Literal

from perennial.specs import INCIDENT_KINDS, IncidentKind

Kind = IncidentKind
Severity = Literal["info", "warning", "critical"]

KINDS: tuple[Kind, ...] = INCIDENT_KINDS
QUESTION = "question"  # begins the key of an incident that a question waits for a person
REGISTRY_DIFFERS: tuple[Kind, str] = ("service", "registry")  # kind and key of: the registry is not what the ledger tells of
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


def is_alarm(severity: Severity, key: str) -> bool:
    """Whether an incident counts as an alarm, and a person is asked what it was: not what is for the record, nor a question that waits."""
    return severity != "info" and not key.startswith(QUESTION)
