"""What a dataset asks of the groups of a batch, or of the rows that a training would use; each fault as a sentence.

>>> from perennial.quality.groups import GroupCounts, coverage
>>> from perennial.specs import GroupSpec
>>> found = coverage("origin", {"EWR": 480, "JFK": 450}, GroupCounts({"EWR": 3500, "JFK": 3300, "LGA": 3200}))
>>> [fault.sentence for fault in faults(GroupSpec(column="origin"), found) if fault.severity == "warning"][-1]
'origin has no row of LGA, of which about 298 of 930 were usual'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perennial.counted import percent
from perennial.quality.groups import MISSING, MOST_GROUPS, Coverage, GroupShare
from perennial.specs import GroupSpec


@dataclass(frozen=True)
class Fault:
    """What a batch lacks of its groups."""

    severity: Literal["critical", "warning"]
    sentence: str
    rows: int  # that it concerns


def faults(spec: GroupSpec, coverage: Coverage, *, snapshot: bool = False) -> list[Fault]:
    """The faults of one column's groups.

    A group that has vanished, or has less than the spec asks, has the spec's severity; new groups and other shares are warnings. Below the
    smallest share is a group only if chance does not explain it: if the upper end of its interval is below.

    Args:
        spec: what is asked.
        coverage: the groups.
        snapshot: whether these are the rows that a training would use: of them, `min_rows` counts, and nothing else is usual.
    """
    if len(coverage.groups) > MOST_GROUPS:
        return [Fault("warning", f"{spec.column} has {len(coverage.groups):,} different values, too many to be groups", coverage.rows)]
    found = []
    for share in coverage.groups:
        if share.group == MISSING:
            continue
        if share.state == "vanished":
            usual = round((share.usual or 0) * coverage.rows)
            sentence = f"{spec.column} has no row of {share.group}, of which about {usual:,} of {coverage.rows:,} were usual"
            found.append(Fault(spec.severity, sentence, usual))
        elif (few := _too_few(spec, share, coverage.rows, snapshot=snapshot)) is not None:
            found.append(Fault(spec.severity, few, share.rows))
        elif share.state == "new" and not snapshot:
            sentence = f"{spec.column} has the new group {share.group} in {share.rows:,} of {coverage.rows:,} rows"
            found.append(Fault("warning", sentence, share.rows))
        elif share.state in ("more", "less") and not snapshot:
            sentence = (
                f"{spec.column} is {share.group} in {percent(share.share)} of the rows ({percent(share.low)} to {percent(share.high)}), "
                f"usually in {percent(share.usual or 0)}"
            )
            found.append(Fault("warning", sentence, share.rows))
    return found


def _too_few(spec: GroupSpec, share: GroupShare, rows: int, *, snapshot: bool) -> str | None:
    if snapshot and share.rows < spec.min_rows:
        return f"{spec.column} is {share.group} in {share.rows:,} of {rows:,} rows, and {spec.min_rows:,} of each group are wanted"
    if share.high < spec.min_share:
        return (
            f"{spec.column} is {share.group} in {percent(share.share)} of the rows ({percent(share.low)} to {percent(share.high)}), "
            f"and {percent(spec.min_share)} of each group are wanted"
        )
    return None
