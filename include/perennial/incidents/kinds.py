"""The kinds and severities of incidents. Light."""

from __future__ import annotations

from typing import Literal

from perennial.specs import INCIDENT_KINDS, IncidentKind

Kind = IncidentKind
Severity = Literal["info", "warning", "critical"]

KINDS: tuple[Kind, ...] = INCIDENT_KINDS
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
