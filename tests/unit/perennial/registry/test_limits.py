"""Absolute limits: what is refused, and how figures are said."""

from __future__ import annotations

import pytest

from perennial.registry.limits import measured_words, with_energy, within_limits
from perennial.specs import Limited, LimitSpec

MEASURED = {"p95_ms": 3.21, "wall_p95_ms": 9.0, "cpu_ms": 2.0, "memory_mb": 91.26, "folder_mb": 0.004, "joules": 7.0}


def limit(at_most: float) -> LimitSpec:
    """A limit of the desk's."""
    return LimitSpec(at_most=at_most, requirement="R-12: answers at once", owner="dispatch desk")


@pytest.mark.parametrize(
    ("name", "called", "unit"),
    [("p95_ms", "p95 latency", "ms"), ("memory_mb", "memory", "MB"), ("folder_mb", "folder", "MB"), ("joules", "energy", "J")],
)
def test_a_limit_names_its_requirement_and_owner(name: Limited, called: str, unit: str) -> None:
    """SE-04, SE-15, MO-24: At the limit a version passes, above it is refused, with the figure, the limit, whose it is and why."""
    value = MEASURED[name]
    limits = {name: limit(value)}
    (kept,) = within_limits(limits, MEASURED, "at its server")
    assert (kept.name, kept.passed, kept.numbers["at_most"]) == (f"limit {name}", True, value)
    assert kept.sentence == (
        f"its {called} is {value:.3g} {unit} at its server and may be at most {value:g} {unit} "
        "(requirement R-12: answers at once; owner dispatch desk)"
    )
    (broken,) = within_limits(limits, {**MEASURED, name: value * 1.01}, "at its server")
    assert not broken.passed
    assert f"and must be at most {value:g} {unit} (requirement R-12" in broken.sentence
    assert broken.numbers["measured"][name] == pytest.approx(value * 1.01, abs=1e-4)


def test_each_limit_is_a_check_of_its_own() -> None:
    """SE-15: In the order of the spec; how the energy is known is said."""
    limits = {"joules": limit(1), "p95_ms": limit(50)}
    energy, latency = within_limits(limits, MEASURED, "here", "estimated")
    assert (latency.name, latency.passed, energy.name, energy.passed) == ("limit p95_ms", True, "limit joules", False)
    assert energy.sentence.startswith("its energy is 7 J for 1,000 requests (estimated) here and must be at most 1 J (")
    assert "for 1,000" not in latency.sentence


def test_what_could_not_be_measured_keeps_no_limit() -> None:
    """SE-15: Nothing passes unmeasured."""
    (check,) = within_limits({"memory_mb": limit(100)}, {"p95_ms": 1.0}, "here")
    assert (check.passed, check.sentence[:60]) == (False, "its memory could not be measured here, and must be at most 1")


def test_without_limits_what_was_measured_is_told() -> None:
    """SE-15: So that a limit can be set; figures are kept beside."""
    (check,) = within_limits({}, MEASURED, "here", "counted")
    assert (check.name, check.passed, check.numbers) == ("limits", True, {"measured": MEASURED})
    assert check.sentence == (
        "it has no absolute limits; here it showed p95 latency 3.21 ms, memory 91.3 MB, folder 0.004 MB, "
        "energy 7 J for 1,000 requests (counted)"
    )
    assert measured_words({"memory_mb": 12345.6}, "") == "memory 12,346 MB"
    assert measured_words({"memory_mb": 1000}, "") == "memory 1,000 MB"
    assert measured_words({"memory_mb": 999.4}, "") == "memory 999 MB"
    assert measured_words({"memory_mb": 999.6}, "") == "memory 1,000 MB"
    assert measured_words({"memory_mb": 75.55}, "") == "memory 75.5 MB"
    (precise,) = within_limits({}, {"memory_mb": 0.123456789}, "here")
    assert precise.numbers == {"measured": {"memory_mb": 0.1235}}


def test_energy_is_estimated_where_it_is_not_counted() -> None:
    """SE-15: A thousand requests of 2 ms of CPU time are 2 s of a CPU that takes 3.5 W; a counter goes before that."""
    estimated, how = with_energy({"cpu_ms": 2.0}, 3.5)
    assert (estimated["joules"], how) == (7.0, "estimated from CPU time and 3.5 W a CPU")
    counted, how = with_energy({"cpu_ms": 2.0, "joules": 40.0}, 3.5)
    assert (counted["joules"], how) == (40.0, "counted by the machine, with all else that ran on it")
