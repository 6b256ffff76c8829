"""Hands the trace of a task on to the stage that it starts. Airflow itself makes the spans of runs and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.configuration import conf

from perennial.tracing import SERVICE
from perennial_airflow.stage_pod import main_container

PART_OF_AIRFLOW, PART_OF_STAGES = "-airflow", "-stage"  # ends of the names by which a receiver tells services apart


def handed_on() -> dict[str, str]:
    """Variables that make a process a part of the task that runs here; none where Airflow's tracing is off."""
    if not conf.getboolean("traces", "otel_on", fallback=False):
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return {name.upper(): value for name, value in carrier.items()}


def of_a_stage(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child process needs beside this environment, which it inherits: the trace, and a service name that is not Airflow's."""
    name = environment.get(SERVICE, "")
    return {**handed_on(), **({SERVICE: name.removesuffix(PART_OF_AIRFLOW) + PART_OF_STAGES} if name else {})}


def give_trace(pod: dict[str, Any]) -> dict[str, Any]:
    """Write the trace of the task that runs here into a pod; returns the same pod, unchanged where Airflow's tracing is off."""
    if variables := handed_on():
        container = main_container(pod)
        others = [one for one in container.get("env") or [] if one["name"] not in variables]
        container["env"] = [*others, *({"name": name, "value": value} for name, value in variables.items())]
    return pod
