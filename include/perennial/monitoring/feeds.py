"""Detects a broken feed in a window: values that are missing or in another unit, although the world has not changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perennial.monitoring.figures import Break
from perennial.monitoring.units import diagnose
from perennial.monitoring.verdict import DriftVerdict

if TYPE_CHECKING:
    from perennial.profiles.profile import Profile

MIN_NULL_RISE = 0.05  # share of rows by which missing values must rise to count as a broken feed: less is drift alone


def broken_feeds(verdict: DriftVerdict, before: Profile, after: Profile, meaning: Callable[[str], str]) -> tuple[Break, ...]:
    """Findings of the drift test that are better explained by a broken feed than by a changed world.

    Args:
        verdict: of the window.
        before: profile of the reference.
        after: profile of the window.
        meaning: what the dataset says of a column, with its unit.
    """
    breaks = []
    for finding in verdict.columns:
        column = finding.column
        if finding.kind == "nulls" and finding.alarms and finding.bins[0].window - finding.bins[0].reference >= MIN_NULL_RISE:
            breaks.append(Break(f"missing values of {column}", column, finding.sentence))
        elif finding.kind == "shift" and finding.drifted:  # rows in another unit are a break, however few they are
            change = diagnose(before, after, column, meaning(column))
            if change is not None:
                breaks.append(Break(f"unit of {column}", column, change.sentence))
    return tuple(breaks)
