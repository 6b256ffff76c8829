"""Before a version takes traffic: may what reads its scores go on as it is? Pure functions of evidence.

The champion of each model that reads the scores has answered the same rows twice: with the scores of the version that serves, and with
those of the candidate. Where enough labels are known its loss decides, by the margin of its own gate; else how far its answers move.

>>> from perennial.specs import GateSpec
>>> reading = Reading("refunds", 3, 800, 0, 0.25, None, GateSpec(floors={}), "")
>>> goes_on(reading, most_shift=0.1).sentence
'refunds (version 3) answers otherwise: its answers move by 0.250 on average on 800 rows, and 0.1 is allowed'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perennial.registry.promotion import SLICE_ROWS, Check, Losses, Verdict, allowance, excess
from perennial.specs import GateSpec


@dataclass(frozen=True)
class Reading:
    """What the champion of a model that reads scores made of those of a candidate."""

    model: str
    version: int
    rows: int  # that it answered with the scores of both versions
    unread: int  # that it refuses with the candidate's scores, and not with the champion's
    shift: float  # how far its answers move, on average: of a class as a share, of a value in standard deviations of its answers
    losses: Losses | None  # of the rows whose label is known: with the candidate's scores, and with the champion's
    gate: GateSpec  # its own
    why_none: str  # why it could not be asked, as a clause; empty if it was


def goes_on(reading: Reading, most_shift: float) -> Check:
    """Check whether one model may go on.

    Args:
        reading: what its champion made of the scores.
        most_shift: how far its answers may move where too few labels are known.
    """
    who = f"{reading.model} (version {reading.version})"
    numbers = {"version": reading.version, "rows": reading.rows, "unread": reading.unread, "shift": reading.shift}
    if reading.why_none:
        return Check(reading.model, True, f"{who} could not be asked: {reading.why_none}", numbers)
    if reading.unread:
        every = reading.rows + reading.unread
        return Check(
            reading.model,
            False,
            f"{who} refuses {reading.unread:,} of {every:,} rows with its scores, and none with the champion's",
            numbers,
        )
    if reading.losses is not None and len(reading.losses.candidate) >= SLICE_ROWS:
        return _by_loss(reading, reading.losses, who, numbers)
    numbers["allowed"] = most_shift
    moved = f"its answers move by {reading.shift:.3f} on average on {reading.rows:,} rows, and {most_shift:g} is allowed"
    if reading.shift <= most_shift:  # so that what is no number passes nothing
        return Check(reading.model, True, f"{who} goes on: {moved}", numbers)
    return Check(reading.model, False, f"{who} answers otherwise: {moved}", numbers)


def _by_loss(reading: Reading, losses: Losses, who: str, numbers: dict[str, float]) -> Check:
    """By the loss, as on older data: it must not exceed the allowed one, or not beyond chance."""
    interval = excess(losses, 0.0, reading.gate.alpha, reading.gate.resamples)
    before, now = float(losses.champion.mean()), float(losses.candidate.mean())
    allowed = allowance(reading.gate.margin, reading.gate) * before
    numbers |= {"loss": now, "loss_before": before, "labelled": len(losses.candidate), "low": interval.low, "allowed": allowed}
    said = (
        f"its loss is {now:.4f} instead of {before:.4f} on {len(losses.candidate):,} rows with a known label; "
        f"{allowed:.4f} more is allowed by its gate"
    )
    if interval.value <= allowed or interval.low <= 0:
        return Check(reading.model, True, f"{who} goes on: {said}", numbers)
    return Check(reading.model, False, f"{who} gets worse: {said}", numbers)


def all_go_on(readings: Sequence[Reading], most_shift: float) -> Verdict:
    """Whether every model that reads the scores may go on; one that is against it is told before the others."""
    checks = tuple(goes_on(reading, most_shift) for reading in readings)
    against = [check.sentence for check in checks if not check.passed]
    sentence = "; ".join(against or [check.sentence for check in checks]) or "no model that serves reads its scores"
    return Verdict(not against, f"{sentence}.", checks)
