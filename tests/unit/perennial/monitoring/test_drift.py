"""The drift test: how often it cries wolf, and what it finds."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from perennial.monitoring.drift import find_drift
from perennial.monitoring.profile import ColumnProfile, DayProfile, Grid
from perennial.specs import MonitoringSpec

GRID = Grid(low=-10.0, high=10.0)
SPEC = MonitoringSpec(alpha=0.05, min_effect=0.1)
UNGATED = SPEC.model_copy(update={"min_effect": 0.0})


def a_day(number, rng, *, rows=300, shift=0.0, nulls=0.0, weather=0.7, month=None):
    """One day of operations: numbers whose mean and categories whose shares change from day to day by themselves."""
    values = rng.normal(rng.normal(0, weather) + shift, 1, rows)
    cells = np.clip(np.floor((values - GRID.low) * GRID.per_unit) + 1, 0, 1025).astype(int)
    missing = int(rng.binomial(rows, nulls))
    shares = rng.dirichlet([8, 4, 2, 1])
    numbers, counts = np.unique(cells[missing:], return_counts=True)
    columns = {
        "temp": ColumnProfile(counts={str(c): int(n) for c, n in zip(numbers, counts, strict=True)}, nulls=missing, grid=GRID),
        "carrier": ColumnProfile(counts={c: int(n) for c, n in zip("abcd", rng.multinomial(rows, shares), strict=True) if n}),
    }
    if month is not None:
        columns["month"] = ColumnProfile(counts={str(month): rows})
    return DayProfile(day=date(2013, 1, 1) + timedelta(days=number), rows=rows, columns=columns)


def days(count, rng, **more):
    """Days in a row."""
    return [a_day(i, rng, **more) for i in range(count)]


def false_alarms(current, rows, simulations=120):
    """Share of windows without drift that alarm all the same."""
    alarms = 0
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        alarms += bool(find_drift(days(25, rng), days(current, rng, rows=rows), UNGATED, seed).drifted)
    return alarms / simulations


def test_days_that_differ_by_themselves_raise_no_alarm():
    """With day-clustered columns, no drift and no gate, at most about alpha of windows alarm: windows of one day, and three days of few rows.

    Bound: alpha and three standard errors of 120 simulations.
    """
    bound = 0.05 + 3 * (0.05 * 0.95 / 120) ** 0.5
    assert false_alarms(1, 300) <= bound
    assert false_alarms(3, 40) <= bound


def test_a_planted_shift_is_found_and_told():
    """A shift of numbers is found in its column alone, with a sentence that gives range and shares."""
    rng = np.random.default_rng(5)
    verdict = find_drift(days(45, rng), days(3, rng, shift=3.0), SPEC, 1)
    assert verdict.drifted == ("temp",)
    found = verdict.columns[0]
    assert found.effect > 0.5
    assert found.p_value <= 0.05
    assert "`temp`: below" in found.sentence
    assert "→" in found.sentence
    assert "no drift" in next(c for c in verdict.columns if c.column == "carrier").sentence


def test_missing_values_are_found():
    """A fifth of a column's values going missing is named as such."""
    rng = np.random.default_rng(6)
    verdict = find_drift(days(45, rng), days(5, rng, nulls=0.25), SPEC, 1)
    assert verdict.drifted == ("temp",)
    assert "missing 0.0 % → 2" in verdict.columns[0].sentence


def test_a_new_category_is_found():
    """A category that the reference never had."""
    rng = np.random.default_rng(7)
    current = days(3, rng)
    moved = [
        d.model_copy(
            update={
                "columns": {
                    **d.columns,
                    "carrier": ColumnProfile(counts={**d.columns["carrier"].counts, "zz": 200}),
                    "temp": d.columns["temp"],
                },
                "rows": d.rows,
            }
        )
        for d in current
    ]
    verdict = find_drift(days(45, rng), moved, SPEC, 1)
    assert verdict.drifted == ("carrier",)
    assert "`carrier`: zz 0.0 % → 40 % of rows" in verdict.columns[0].sentence


def test_a_small_change_is_no_drift_however_certain():
    """The effect gate holds back what is significant but small."""
    rng = np.random.default_rng(8)
    before, after = days(60, rng, rows=20000, weather=0.0), days(5, rng, rows=20000, weather=0.0, shift=0.1)
    assert "temp" in find_drift(before, after, UNGATED, 1).drifted
    assert "temp" not in find_drift(before, after, SPEC, 1).drifted


def test_the_calendar_is_not_drift():
    """A column with one value per day and another on other days is skipped with its reason; a constant one is kept, and its change found."""
    rng = np.random.default_rng(9)
    before = [a_day(i, rng, month=1 + i // 25) for i in range(45)]
    verdict = find_drift(before, days(3, rng, month=3), SPEC, 1)
    assert "month" in verdict.skipped
    assert "calendar" in verdict.skipped["month"]
    assert verdict.drifted == ()
    constant = [a_day(i, rng, month=1) for i in range(45)]
    assert find_drift(constant, days(3, rng, month=3), SPEC, 1).drifted[0] == "month"


def test_few_days_are_enumerated_and_many_are_drawn():
    """All labellings where they can be counted, the observed one among them; drawn ones otherwise."""
    rng = np.random.default_rng(10)
    few = find_drift(days(20, rng), days(2, rng), SPEC, 1)
    assert (few.exact, few.labellings) == (True, 231)
    many = find_drift(days(45, rng), days(5, rng), SPEC, 1)
    assert (many.exact, many.labellings) == (False, 2000)
    assert all(c.p_value >= 1 / 231 for c in few.columns)


def test_low_power_is_said():
    """A window of one day says that it sees only the extraordinary; too few days say that they can see nothing."""
    rng = np.random.default_rng(11)
    assert "The window is one day" in find_drift(days(45, rng), days(1, rng), SPEC, 1).power
    blind = find_drift(days(10, rng), days(1, rng, shift=9.0), SPEC, 1)
    assert blind.drifted == ()
    assert "Nothing can be found" in blind.power
    assert find_drift(days(45, rng), days(5, rng), SPEC, 1).power == ""


def test_nothing_to_compare_is_said():
    """Without reference days, or without window days, there is no verdict and a sentence."""
    rng = np.random.default_rng(12)
    assert "the window has no rows" in find_drift(days(5, rng), [], SPEC, 1).power
    assert "the reference has no rows" in find_drift([], days(5, rng), SPEC, 1).power


def test_the_same_days_give_the_same_verdict():
    """The verdict depends on the seed and the days alone."""
    before, after = days(45, np.random.default_rng(13)), days(5, np.random.default_rng(14))
    assert find_drift(before, after, SPEC, 3) == find_drift(before, after, SPEC, 3)


def test_a_column_that_a_day_lacks_is_skipped():
    """A column that was not logged on some day is not compared."""
    rng = np.random.default_rng(15)
    after = days(3, rng)
    after[1] = after[1].model_copy(update={"columns": {"temp": after[1].columns["temp"]}})
    verdict = find_drift(days(45, rng), after, SPEC, 1)
    assert verdict.skipped == {"carrier": "not every day has it"}
