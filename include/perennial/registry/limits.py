"""Is a version within its absolute limits? Pure.

>>> from perennial.specs import LimitSpec
>>> limits = {"p95_ms": LimitSpec(at_most=50, requirement="R-12", owner="desk")}
>>> within_limits(limits, {"p95_ms": 61.0}, "in the serving environment")[0].sentence
'its p95 latency is 61 ms in the serving environment and must be at most 50 ms (requirement R-12; owner desk)'
"""

from __future__ import annotations

from collections.abc import Mapping

from perennial.registry.promotion import Check
from perennial.specs import Limited, LimitSpec

NAMES: dict[str, tuple[str, str]] = {
    "p95_ms": ("p95 latency", "ms"),
    "memory_mb": ("memory", "MB"),
    "folder_mb": ("folder", "MB"),
    "joules": ("energy", "J"),
}


def with_energy(measured: Mapping[str, float], watts: float) -> tuple[dict[str, float], str]:
    """What was measured with the energy of 1,000 requests, joules, and how that is known.

    Args:
        measured: with `joules` where the machine's counters said it, and `cpu_ms`, the CPU time of a request.
        watts: of one CPU that works.
    """
    if "joules" in measured:
        return dict(measured), "counted by the machine, with all else that ran on it"
    return {**measured, "joules": measured["cpu_ms"] * watts}, f"estimated from CPU time and {watts:g} W a CPU"


def measured_words(measured: Mapping[str, float], energy: str) -> str:
    """What was measured, in a clause."""
    parts = [f"{name} {_figure(measured[key])} {unit}" for key, (name, unit) in NAMES.items() if key in measured and key != "joules"]
    if "joules" in measured:
        parts.append(f"energy {_figure(measured['joules'])} J for 1,000 requests ({energy})")
    return ", ".join(parts)


def within_limits(limits: Mapping[Limited, LimitSpec], measured: Mapping[str, float], where: str, energy: str = "") -> list[Check]:
    """A check for each limit that is set, or one that says what was measured where none is.

    Args:
        limits: of the spec.
        measured: by the names of the limits.
        where: it was measured, as it is said behind a figure.
        energy: how the energy is known.
    """
    figures = {name: round(value, 4) for name, value in measured.items()}
    if not limits:
        return [
            Check("limits", True, f"it has no absolute limits; {where} it showed {measured_words(measured, energy)}", {"measured": figures})
        ]
    checks = []
    for name, limit in limits.items():
        called, unit = NAMES[name]
        per = f" for 1,000 requests ({energy})" if name == "joules" and energy else ""
        value = measured.get(name)
        if value is None:
            said, passed = f"its {called} could not be measured {where}, and must be", False
        else:
            passed = value <= limit.at_most
            said = f"its {called} is {_figure(value)} {unit}{per} {where} and {'may' if passed else 'must'} be"
        sentence = f"{said} at most {limit.at_most:g} {unit} ({limit.words})"
        checks.append(Check(f"limit {name}", passed, sentence, {"measured": figures, "at_most": limit.at_most}))
    return checks


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
