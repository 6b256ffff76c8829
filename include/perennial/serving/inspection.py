"""Inspects a version before it may have traffic: inputs made from its signature, the requests of contracts, and a load probe.

What is inspected is a server that is ready, or a folder that a process has loaded (`folder_inspection`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from perennial.serving import processes
from perennial.serving.aside import Aside
from perennial.serving.generated_inputs import Found, generated, try_all
from perennial.serving.probe import load
from perennial.serving.request import read_signature


@dataclass(frozen=True)
class Inspected:
    """What was seen of a version."""

    inputs: Found
    answers: tuple[tuple[int, Any], ...]  # status and document, for each request that was handed in
    measured: dict[str, float]  # by the names of the limits, and `cpu_ms` and `wall_p95_ms`; joules only where they are counted


def inspect(aside: Aside, folder: Path, requests: Sequence[Any], limit_ms: float | None = None) -> Inspected:
    """Send a version what is to be sent to it before it gets traffic, and measure it.

    Args:
        aside: the way to it, aside of all that counts.
        folder: its folder.
        requests: bodies of contracts' cases; a text is sent as it is.
        limit_ms: its limit of latency.
    """
    signature = _read(folder / "signature.json")
    golden = _read(folder / "golden.json")["rows"]
    classes = bool(signature.get("classes"))
    inputs = try_all(aside.ask, generated(read_signature(signature), golden), classes=classes)
    answers = answers_to(aside, requests)
    bodies = [orjson.dumps({"data": {"rows": [row]}}) for row in golden]
    seen = load(
        aside.ask,
        bodies,
        waited=partial(processes.waited_seconds, {os.getpid(), *aside.pids}),
        worked=time.process_time if aside.pids == (os.getpid(),) else partial(processes.cpu_seconds, aside.pids),
        energy=processes.energy_counter,
        limit_ms=limit_ms,
    )
    measured = {
        "p95_ms": seen.p95_ms,
        "wall_p95_ms": seen.wall_p95_ms,
        "cpu_ms": seen.cpu_ms,
        "memory_mb": processes.peak_memory_mb(aside.pids),
        "folder_mb": processes.folder_mb(folder),
        **({} if seen.joules is None else {"joules": seen.joules}),
    }
    return Inspected(inputs, answers, measured)


def answers_to(aside: Aside, requests: Sequence[Any]) -> tuple[tuple[int, Any], ...]:
    """Status and document of the answer to each request of contracts."""
    return tuple(_answered(*aside.ask(body_of(request))) for request in requests)


def body_of(request: Any) -> bytes:
    """The bytes of a request of a contract: JSON, or a text as it is."""
    return request.encode() if isinstance(request, str) else orjson.dumps(request)


def _answered(status: int, body: bytes) -> tuple[int, Any]:
    """Status and document of an answer; the text where it is no JSON."""
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode(errors="replace")


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document
