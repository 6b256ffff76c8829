"""Has a version inspected before it is registered, where it will be served, and again before it gets traffic, at its own server."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perennial import discovery
from perennial.errors import Fault, ReleaseRefused
from perennial.lineage.measurements import Measurement, note_measurement
from perennial.lineage.version_folder import fetch
from perennial.prices import Prices
from perennial.registry.contracts import breaches, contracts_in, kept, requests_of
from perennial.registry.limits import measured_words, with_energy, within_limits
from perennial.registry.promotion import Check
from perennial.serving.backends import Backend
from perennial.settings import Settings
from perennial.specs import ModelSpec
from perennial.store import Store

log = logging.getLogger("perennial.inspection")

INSPECTION_SECONDS = 300


def inspected(settings: Settings, store: Store, spec: ModelSpec, digest: str) -> tuple[Check, list[Check]]:
    """Replay the golden rows where the version will be served, and if they match inspect it there.

    That is the serving environment of this machine, or else this one: in pods the server replays the golden rows again.

    Returns:
        The check of the golden rows, and the others.

    Raises:
        UnknownName: the store has no such version.
        SpecBroken: a contract of a consumer cannot be read.
        StoredDataDamaged: its files were changed.
        Fault: the serving environment does not run.
    """
    python = settings.venv("serving") / "bin" / "python"
    is_there = settings.runtime == "process" and python.exists()
    where = "the serving environment" if is_there else "the workload environment"
    contracts = contracts_in(discovery.model_folder(spec.name))
    with tempfile.TemporaryDirectory(prefix="perennial-inspection-") as scratch:
        folder = fetch(store, spec.name, digest, Path(scratch) / "version")
        limit = spec.serving.limits.get("p95_ms")
        asked = {"limit_ms": limit.at_most if limit else None, "requests": requests_of(contracts)}
        answer = _inspected_by(python if is_there else Path(sys.executable), folder, asked)
    golden = answer["golden"]
    later = "" if is_there else "; the server replays them again before it is ready"
    differs = f": {str(golden['sentence']).rstrip('.')}" if not golden["matches"] else ""
    sentence = f"its golden rows {'match' if golden['matches'] else 'do not match'} in {where}{differs or later}"
    check = Check("golden", bool(golden["matches"]), sentence, {"environment": golden["environment"]})
    if not golden["matches"]:
        return check, []
    broken = breaches(contracts, [(status, document) for status, document in answer["answers"]])
    return check, [*_checks(settings, store, spec, digest, answer, f"in {where}"), *kept(contracts, broken), *_fallback(settings, spec)]


def inspect_server(settings: Settings, store: Store, spec: ModelSpec, backend: Backend, version: int, digest: str) -> None:
    """Inspect a version that is ready at its own server, before it gets traffic. Does nothing where there is no way to it aside of traffic.

    Raises:
        ReleaseRefused: it fails; the sentence says what.
    """
    aside = backend.aside(spec, version)
    if aside is None:
        log.info("Version %d of %s is not inspected at its server: there is no way to it aside of traffic.", version, spec.name)
        return
    from perennial.serving.inspection import inspect

    limit = spec.serving.limits.get("p95_ms")
    contracts = contracts_in(discovery.model_folder(spec.name))
    with tempfile.TemporaryDirectory(prefix="perennial-inspection-") as scratch, closing(aside):
        folder = fetch(store, spec.name, digest, Path(scratch) / "version")
        seen = inspect(aside, folder, requests_of(contracts), limit.at_most if limit else None)
    checks = [*_checks(settings, store, spec, digest, asdict(seen), "at its server"), *kept(contracts, breaches(contracts, seen.answers))]
    if failed := [check for check in checks if not check.passed]:
        raise ReleaseRefused(f"Version {version} of {spec.name} gets no traffic: {'; '.join(check.sentence for check in failed)}.")
    log.info("Version %d of %s was inspected at its server.", version, spec.name)


def _checks(settings: Settings, store: Store, spec: ModelSpec, digest: str, answer: Mapping[str, Any], where: str) -> list[Check]:
    from perennial.serving.generated_inputs import Found

    found = Found(**answer["inputs"])
    measured, energy = with_energy(answer["measured"], Prices.read(settings.prices).watts_cpu)
    words = measured_words(measured, energy)
    note_measurement(store, spec.name, digest, Measurement(time=datetime.now(timezone.utc), where=where, words=words, figures=measured))
    counts = {"requests": found.requests, "rows": found.rows, "refused": found.refused}
    return [
        Check("generated inputs", not found.failure, found.sentence, counts),
        *within_limits(spec.serving.limits, measured, where, energy),
    ]


def _fallback(settings: Settings, spec: ModelSpec) -> list[Check]:
    """Whether what serves can give the fallback that the spec wants; it holds no version back, and is said where it cannot."""
    if spec.serving.fallback == "none" or settings.serving == "local":
        return []
    sentence = f"its spec wants the fallback {spec.serving.fallback}, which Seldon Core cannot give: there callers get the error itself"
    return [Check("fallback", True, sentence)]


def _inspected_by(python: Path, folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    said = ""
    try:
        ran = subprocess.run(
            [str(python), "-m", "perennial.serving.folder_inspection", str(folder)],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=INSPECTION_SECONDS,
            check=False,
        )
        said = "".join(ran.stderr.strip().splitlines()[-1:])
        answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise Fault(f"The serving environment {python} could not inspect the version: {said or error}. Run `make setup` again.") from error
    return answer
