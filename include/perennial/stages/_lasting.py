"""Decides whether drift lasts, from the windows before; those not yet judged are judged now."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass

from perennial.errors import StoredDataDamaged
from perennial.monitoring.report.numbers import WindowReport, decoded
from perennial.monitoring.windows import Window, report_folder, windows_before
from perennial.stages._judged_windows import JudgedWindows
from perennial.stages._traffic import Traffic
from perennial.stages._window import Judge, Judged

log = logging.getLogger("perennial.monitor")


@dataclass(frozen=True)
class Lasting:
    """The drift that a window shares with the windows before it."""

    earlier: tuple[str, ...]  # names of the windows before it that count
    confirmed: tuple[str, ...]  # what drifted in all of them and in this one
    drifts: bool  # whether anything drifted in any of them


def lasting_drift(traffic: Traffic, windows: JudgedWindows, window: Window, judged: Judged, family: frozenset[int]) -> Lasting:
    """Look at as many windows before a window as the spec wants to see drift in.

    Args:
        traffic: of the model.
        windows: judges earlier windows whose report is missing or of other predictions.
        window: the window that is looked at.
        judged: its verdict.
        family: versions of the same training as the one that answered most of it.
    """
    wanted = traffic.spec.retrain.drift_windows - 1
    earlier = windows_before(window, list(traffic.days), wanted)
    drifted = judged.verdict.alarming
    before = [_drifted_before(traffic, windows, w, judged.version, family) for w in earlier]
    lasting = set(drifted).intersection(*before)
    confirmed = tuple(c for c in drifted if c in lasting) if len(earlier) == wanted else ()
    return Lasting(tuple(w.name for w in earlier), confirmed, bool(drifted) or any(before))


def judged_by(judge: Judge, version: int) -> str:
    """A hash of everything besides the predictions on which a drift verdict depends."""
    references = judge.references
    parts = [references.snapshot(version)[1], references.spec.monitoring.model_dump(mode="json"), list(references.as_of(version).inputs)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _drifted_before(traffic: Traffic, windows: JudgedWindows, window: Window, version: int, family: frozenset[int]) -> set[str]:
    """Columns that drifted in an earlier window against the same training's snapshot.

    It is judged now if it has not been, or if more predictions came in.
    """
    rows, known = traffic.predictions(window), _report(traffic, window)
    is_same = known is not None and known.requests == rows.num_rows and known.version in family
    if known is not None and is_same and known.drift.judged_by == judged_by(windows.judge, version):
        return set(known.drift.alarming)
    if not rows.num_rows:
        return set()
    judged = windows.verdict(window, rows)
    return set(judged.verdict.alarming) if judged.version in family else set()


def _report(traffic: Traffic, window: Window) -> WindowReport | None:
    place = f"{report_folder(traffic.spec.name, window)}/report.json"
    try:
        return decoded(traffic.store.read(place), place)
    except KeyError:
        return None
    except StoredDataDamaged as damage:
        log.warning("%s Whether it drifted is judged again.", damage)
        return None
