"""Which findings of the drift test are a broken feed."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.drift import Bin, ColumnDrift, DriftVerdict
from perennial.monitoring.feeds import MIN_NULL_RISE, broken_feeds
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile

MILES = np.random.default_rng(5).gamma(4, 200, size=(40, 400))


def days(values):
    """A table with a row for each value of each day."""
    when = [datetime(2013, 1, 1) + timedelta(days=n) for n in range(len(values)) for _ in values[n]]
    return pa.table({"at": pa.array(when, pa.timestamp("us")), "distance": pa.array(values.ravel(), pa.float64())})


LAYOUT = fit_layout(days(MILES).select(["distance"]), joint=())
BEFORE = profile(days(MILES), LAYOUT, day="at")


def found(kind, *, drifted=True, alarms=True, rise=0.5):
    """A verdict with one finding about the distance."""
    bins = (Bin(label="missing", reference=max(-rise, 0.0), window=max(rise, 0.0)),)
    finding = ColumnDrift(
        column="distance", kind=kind, drifted=drifted, alarms=alarms, effect=0.4, usual=0.1, p_value=0.01, sentence="It moved.", bins=bins
    )
    return DriftVerdict(columns=(finding,), reference_days=38, window_days=2, labellings=400, exact=True)


def breaks(verdict, *, factor=1.0, meaning="Distance, miles"):
    """What is broken if the last two days came in another unit."""
    return broken_feeds(verdict, BEFORE, profile(days(MILES[38:] * factor), LAYOUT, day="at"), lambda column: meaning)


@pytest.mark.parametrize(
    ("more", "is_broken"),
    [({"rise": MIN_NULL_RISE}, True), ({"rise": MIN_NULL_RISE / 2}, False), ({"rise": -0.2}, False), ({"alarms": False}, False)],
)
def test_missing_values_that_rise_are_a_broken_feed(more, is_broken):
    """DM-11: By so many rows at least, and more than before: a feed that has healed is none."""
    broken = breaks(found("nulls", **more))
    assert [(b.key, b.column, b.sentence) for b in broken] == [("missing values of distance", "distance", "It moved.")] * is_broken


@pytest.mark.parametrize(
    ("kind", "drifted", "factor", "is_broken"),
    [("shift", True, 1.609344, True), ("shift", True, 1.0, False), ("shift", False, 1.609344, False), ("joint", True, 1.609344, False)],
)
def test_another_unit_is_a_broken_feed(kind, drifted, factor, is_broken):
    """DM-11: However few rows it moved, it need not alarm; other kinds of findings say nothing of one column's unit."""
    broken = breaks(found(kind, drifted=drifted, alarms=False), factor=factor)
    assert [b.key for b in broken] == ["unit of distance"] * is_broken
    assert all("km instead of miles" in b.sentence for b in broken)
