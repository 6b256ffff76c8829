"""Profiles of days."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import pyarrow as pa

from perennial.monitoring.profile import CELLS, Grid, fit_grids, profile_days


def rows(**columns):
    """A table with event times."""
    return pa.table({"when": pa.array(columns.pop("when"), pa.timestamp("us")), **columns})


def test_days_are_counted_apart_and_nothing_is_lost():
    """Counts and nulls of every column add up to the day's rows; rows without event time belong to no day."""
    when = [datetime(2013, 1, 1, 0), datetime(2013, 1, 1, 23, 59, 59), datetime(2013, 1, 2), None]
    table = rows(when=when, carrier=["UA", None, "AA", "UA"], distance=[1.0, float("nan"), 3.0, 9.0])
    days = profile_days(table, "when", ["carrier", "distance"], {"distance": Grid(low=0, high=10)})
    assert [(d.day, d.rows) for d in days] == [(date(2013, 1, 1), 2), (date(2013, 1, 2), 1)]
    for day in days:
        for column in day.columns.values():
            assert sum(column.counts.values()) + column.nulls == day.rows
    assert days[0].columns["carrier"].counts == {"UA": 1}
    assert days[0].columns["distance"].nulls == 1


def test_cells_agree_with_a_recount():
    """Each value's cell is the one whose edges hold it, and values outside the grid fall into the two end cells."""
    values = np.random.default_rng(0).normal(0, 3, 2000)
    grid = Grid(low=-4.0, high=4.0)
    table = rows(when=[datetime(2013, 1, 1)] * len(values), x=values)
    counts = profile_days(table, "when", ["x"], {"x": grid})[0].columns["x"].counts
    expected = np.clip(np.floor((values - grid.low) * grid.per_unit) + 1, 0, CELLS + 1).astype(int)
    assert counts == {str(cell): int((expected == cell).sum()) for cell in np.unique(expected)}
    assert counts["0"] == (values < -4).sum()
    assert counts[str(CELLS + 1)] == (values >= 4).sum()


def test_days_profiled_one_by_one_equal_all_at_once():
    """A day's profile does not depend on what else is in the table."""
    rng = np.random.default_rng(1)
    when = [datetime(2013, 1, 1 + i % 3) for i in range(300)]
    table = rows(when=when, x=rng.normal(size=300), c=rng.choice(["a", "b"], 300))
    grids = fit_grids(table, ["x", "c"])
    together = profile_days(table, "when", ["x", "c"], grids)
    apart = [profile_days(table.filter(pa.array([w.day == d for w in when])), "when", ["x", "c"], grids)[0] for d in (1, 2, 3)]
    assert together == apart


def test_grids_cover_the_reference_and_leave_categories_alone():
    """Whole numbers of a small range get cells of their own; a constant column gets a grid around its value."""
    table = rows(when=[datetime(2013, 1, 1)] * 100, n=list(range(100)), constant=[7] * 100, c=["x"] * 100)
    grids = fit_grids(table, ["n", "constant", "c"])
    assert set(grids) == {"n", "constant"}
    counts = profile_days(table, "when", ["n", "constant"], grids)[0].columns
    assert len(counts["n"].counts) == 100
    (cell,) = counts["constant"].counts
    assert 1 < int(cell) < CELLS


def test_an_empty_reference_has_no_grids():
    """No rows, nothing to lay a grid over."""
    assert fit_grids(pa.table({"x": pa.array([], pa.float64())}), ["x"]) == {}
