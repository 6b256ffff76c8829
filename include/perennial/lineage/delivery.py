"""Delivery figures of a model: how soon versions get all traffic, how often, how many fail, and how long until it is good again.

The four figures of Forsgren, Humble and Kim, "Accelerate" (2018), from the ledger. Pure; light.

>>> from datetime import datetime, timezone
>>> day = [datetime(2026, 3, number, tzinfo=timezone.utc) for number in range(1, 32)]
>>> release = PastRelease(began=0, began_at=day[1], began_by="jo", version=1, champion=None, ended=1, ended_at=day[2], end="promoted")
>>> found = delivery([release], {1: day[0]}, [], day[0], day[30])
>>> found.promoted, found.lead_seconds, found.failed
(1, 172800.0, 0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from perennial.counted import counted, lasting, percent, wilson
from perennial.lineage.releases import PastRelease

DAYS = 90  # that figures are of, unless others are asked for
MONTH_DAYS = 30.4375

Outage = tuple[datetime, datetime | None]  # when callers were badly served: from, and to if it is over


class Delivery(BaseModel):
    """How well new versions get into traffic, over some days."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    days: float = Field(description="Days that the figures are of: fewer where the first release is younger, yet never less than a month.")
    promoted: int = Field(ge=0, description="Releases that ended with all traffic on the new version.")
    failed: int = Field(ge=0, description="Releases that were rolled back, on the way or later.")
    ended: int = Field(ge=0, description="Releases that ended.")
    per_month: float = Field(ge=0, description="Versions that got all traffic in a month of 30.4 days.")
    lead_seconds: float | None = Field(
        description="Lead time: median from the beginning of the training to all traffic; none if of no version that is known."
    )
    failure_rate: float | None = Field(description="Change-failure rate: failed of ended releases; none if none ended.")
    failure_low: float = Field(description="Lower end of its 95 % interval (Wilson).")
    failure_high: float = Field(description="Upper end.")
    restore_seconds: float | None = Field(
        description="Time to restore: median over releases that were rolled back on the way, from their beginning, and critical "
        "incidents of the service, from their opening; none if there was nothing to restore."
    )
    restores: int = Field(ge=0, description="How many those were.")

    @property
    def sentence(self) -> str:
        """The figures as a sentence."""
        if not self.ended and not self.restores:
            return f"No release ended in {self.days:.0f} days."
        often = f"{counted(self.promoted, 'version')} got all traffic in {self.days:.0f} days ({self.per_month:.1f} a month)"
        lead = "" if self.lead_seconds is None else f", {lasting(self.lead_seconds)} after their training began (median)"
        failed = f"; {self.failed} of {counted(self.ended, 'release')} failed"
        if self.failure_rate is not None:
            failed += f" ({percent(self.failure_rate)}, 95 % interval {percent(self.failure_low)} to {percent(self.failure_high)})"
        restored = (
            ""
            if self.restore_seconds is None
            else f"; {counted(self.restores, 'trouble')} took {lasting(self.restore_seconds)} (median) to end"
        )
        return f"{often}{lead}{failed}{restored}."


def delivery(
    releases: Sequence[PastRelease], began: Mapping[int, datetime], outages: Sequence[Outage], since: datetime, until: datetime
) -> Delivery:
    """The figures of one model.

    Args:
        releases: of the model, newest first.
        began: when the training of a version began, as far as that is known.
        outages: critical incidents of the service.
        since: what ended before is not counted.
        until: nor what ended later.
    """
    ended = [r for r in releases if r.end in ("promoted", "rolled back") and r.ended_at is not None and since <= r.ended_at <= until]
    promoted = [r for r in ended if r.end == "promoted"]
    failed = [r for r in ended if r.end == "rolled back" or (r.undone_at is not None and r.undone_at <= until)]
    first = {r.version: r.ended_at for r in releases if r.end == "promoted"}  # the oldest one stays: one that comes back is no news
    leads = [
        (r.ended_at - began[r.version]).total_seconds()
        for r in promoted
        if r.ended_at is not None and r.version in began and first[r.version] == r.ended_at
    ]
    restored = [(r.ended_at - r.began_at).total_seconds() for r in ended if r.end == "rolled back" and r.ended_at is not None]
    restored += [(end - begin).total_seconds() for begin, end in outages if end is not None and since <= end <= until]
    oldest = min((r.began_at for r in releases), default=since)
    days = max((until - max(since, oldest)).total_seconds() / 86400, MONTH_DAYS)
    low, high = wilson(len(failed), len(ended))
    return Delivery(
        days=days,
        promoted=len(promoted),
        failed=len(failed),
        ended=len(ended),
        per_month=len(promoted) * MONTH_DAYS / days,
        lead_seconds=median(leads) if leads else None,
        failure_rate=len(failed) / len(ended) if ended else None,
        failure_low=low,
        failure_high=high,
        restore_seconds=median(restored) if restored else None,
        restores=len(restored),
    )
