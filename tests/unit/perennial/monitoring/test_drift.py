"""The drift test: how often it cries wolf, what it finds, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.drift import Column, Joint, compare, find_drift
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile
from perennial.specs import MonitoringSpec

SPEC = MonitoringSpec()
EDGES = np.concatenate([[-np.inf], np.linspace(-10, 10, 401)])
CENTRES = np.concatenate([[-10.0], (EDGES[1:-1] + EDGES[2:]) / 2, [10.0]])
CATEGORIES = ("a", "b", "c", "d")
WAVES = np.random.default_rng(0).normal(size=(2, 32)) * 0.7


def rows_of(rng, *, rows=300, weather=0.0, shift=0.0, nulls=0.01, new=0.0, correlation=0.0, joint=False, mix=(8, 4, 2, 1)):
    """Raw rows of one block: numbers x and y, categories, and which x are missing."""
    x, y = rng.normal(rng.normal(0, weather) + shift, 1, rows), rng.normal(size=rows)
    y = correlation * x + np.sqrt(1 - correlation**2) * y
    if joint:  # y goes with the size of x: no column and no correlation changes
        y = np.where(np.abs(x) > 0.67, np.abs(y), -np.abs(y))
    shares = rng.dirichlet(mix) if weather else np.array(mix) / sum(mix)
    category = rng.choice(len(CATEGORIES), rows, p=shares)
    category[rng.random(rows) < new] = len(CATEGORIES)
    return x, y, category, rng.random(rows) < nulls


def counted(blocks):
    """Columns and joint means of blocks of raw rows."""

    def cells(values):
        return np.stack([np.bincount(np.searchsorted(EDGES, v, side="right") - 1, minlength=len(EDGES)) for v in values]).astype(float)

    missing = np.array([float(b[3].sum()) for b in blocks])
    categories = np.stack([np.bincount(b[2], minlength=5) for b in blocks]).astype(float)
    columns = [
        Column("x", cells([b[0][~b[3]] for b in blocks]), missing, edges=EDGES, centres=CENTRES),
        Column("y", cells([b[1] for b in blocks]), np.zeros(len(blocks)), edges=EDGES, centres=CENTRES),
        Column("carrier", categories, np.zeros(len(blocks)), labels=[*CATEGORIES, "zz"]),
    ]
    pairs = [np.column_stack([b[0], b[1]]) for b in blocks]
    together = Joint(
        rows=np.array([float(len(p)) for p in pairs]),
        names=["x", "y"],
        means=np.stack([p.mean(axis=0) for p in pairs]),
        squares=np.stack([(p**2).mean(axis=0) for p in pairs]),
        first=np.array([0]),
        second=np.array([1]),
        products=np.stack([[(p[:, 0] * p[:, 1]).mean()] for p in pairs]),
        fourier=np.stack([np.concatenate([np.cos(p @ WAVES), np.sin(p @ WAVES)], axis=1).mean(axis=0) for p in pairs]),
    )
    return columns, together


def judged(seed=1, *, before=45, after=5, spec=SPEC, resamples=200, usual=None, predictions=(), **changed):
    """Verdict on a window of which some things changed; `usual` holds for reference and window."""
    rng = np.random.default_rng(seed)
    usual = usual or {}
    blocks = [rows_of(rng, **usual) for _ in range(before)] + [rows_of(rng, **{**usual, **changed}) for _ in range(after)]
    columns, joint = counted(blocks)
    return compare(columns, joint, reference=before, spec=spec, seed=seed, predictions=predictions, resamples=resamples)


def finding(verdict, kind, column):
    """The one finding of a kind about a column."""
    return next(c for c in verdict.columns if (c.kind, c.column) == (kind, column))


def kinds(verdict):
    """What drifted, and how."""
    return {(c.kind, c.column) for c in verdict.columns if c.drifted}


SIMULATIONS = 60
AT_MOST = 0.05 + 3 * (0.05 * 0.95 / SIMULATIONS) ** 0.5


def alarms(**more):
    """Share of simulations with a significant result."""
    return sum(judged(seed, before=25, resamples=0, **more).significant for seed in range(SIMULATIONS)) / SIMULATIONS


@pytest.mark.parametrize(("usual", "after"), [({"rows": 100}, 5), ({"weather": 0.7, "rows": 100}, 3)])
def test_without_drift_about_alpha_of_windows_alarm(usual, after):
    """MN-01: Independent rows, and days that differ by themselves: at most alpha and three standard errors."""
    assert alarms(after=after, usual=usual) <= AT_MOST


def test_a_window_of_small_days_is_no_drift():
    """MN-01: Days of few rows scatter more: the reference's days are thinned to their size, and what are means is not compared."""
    assert alarms(after=3, usual={"rows": 400}, rows=40) <= AT_MOST
    assert "they scatter differently" in judged(1, before=25, after=3, usual={"rows": 400}, rows=40).skipped["all columns"]


def test_a_shift_is_found_and_told():
    """MN-01: A shift of numbers: the column alone, with range, shares, interval and bins."""
    verdict = judged(usual={"weather": 0.5}, shift=3.0)
    assert ("shift", "x") in kinds(verdict)
    assert ("shift", "y") not in kinds(verdict)
    found = finding(verdict, "shift", "x")
    assert found.effect > 0.5
    assert found.low < found.effect <= found.high
    assert found.p_value <= 0.05
    assert found.family == "volatile"
    assert "`x`: below 1.9: 94 % → 8.4 % of rows" in found.sentence
    assert sum(b.reference for b in found.bins) == pytest.approx(1, abs=1e-4)
    assert sum(b.window for b in found.bins) == pytest.approx(1, abs=1e-4)
    assert "no drift" in finding(verdict, "shift", "carrier").sentence


def test_another_mix_of_categories_is_a_shift():
    """MN-01: Known categories in other shares."""
    verdict = judged(mix=(4, 8, 2, 1))
    assert ("shift", "carrier") in kinds(verdict)
    assert finding(verdict, "shift", "carrier").effect == pytest.approx(4 / 15, abs=0.05)


def test_missing_values_are_found():
    """DM-11, MN-01: Two in a hundred more missing is named as such, and is no shift."""
    verdict = judged(nulls=0.05)
    assert kinds(verdict) == {("nulls", "x")}
    assert "`x`: missing 1." in finding(verdict, "nulls", "x").sentence


def test_a_new_category_is_found():
    """MN-01, DM-11: Three rows in a hundred of a category that the reference never had."""
    verdict = judged(new=0.03)
    assert ("new category", "carrier") in kinds(verdict)
    found = finding(verdict, "new category", "carrier")
    assert "`carrier`: new category zz: 0.0 % → " in found.sentence
    assert found.effect == pytest.approx(0.03, abs=0.015)
    assert found.bins[0].label == "zz"


def test_a_correlation_is_found():
    """MN-01: Two columns that begin to go together while neither changes."""
    verdict = judged(correlation=0.3)
    assert ("correlation", "x and y") in kinds(verdict)
    assert not {("shift", "x"), ("shift", "y")} & kinds(verdict)
    found = finding(verdict, "correlation", "x and y")
    assert found.effect == pytest.approx(0.3, abs=0.08)
    assert found.low <= 0.3 <= found.high
    assert "correlation " in found.sentence


def test_a_joint_change_is_found():
    """MN-01: What neither a column nor a correlation shows: one column begins to go with the size of another."""
    verdict = judged(joint=True)
    assert kinds(verdict) == {("joint", "all columns")}
    assert "All columns together" in verdict.columns[0].sentence
    assert verdict.columns[0].bins


def test_predictions_are_a_kind_of_their_own():
    """MN-02: A column of scores is told as predictions, with their own gate."""
    assert ("predictions", "x") in kinds(judged(shift=0.5, predictions=("x",)))
    gated = SPEC.model_copy(update={"min_predictions": 0.9})
    assert ("predictions", "x") not in kinds(judged(shift=0.5, predictions=("x",), spec=gated))


@pytest.mark.parametrize(
    ("gate", "kind", "column", "changed"),
    [
        ("min_shift", "shift", "x", {"shift": 0.5}),
        ("min_nulls", "nulls", "x", {"nulls": 0.05}),
        ("min_new_category", "new category", "carrier", {"new": 0.03}),
        ("min_correlation", "correlation", "x and y", {"correlation": 0.3}),
        ("min_joint", "joint", "all columns", {"joint": True}),
    ],
)
def test_every_kind_has_a_gate_of_its_own(gate, kind, column, changed):
    """MN-01: A gate above the effect holds its kind back, and no other; the result stays significant."""
    closed = judged(spec=SPEC.model_copy(update={gate: 0.9}), **changed)
    assert (kind, column) in kinds(judged(**changed))
    assert (kind, column) not in kinds(closed)
    assert closed.significant


def test_a_tiny_shift_is_no_drift_however_certain():
    """MN-01: Two hundredths of a standard deviation on 20,000 rows a block are significant, and no drift; more missing values are drift all
    the same."""
    tiny = judged(before=20, after=20, usual={"rows": 20000}, shift=0.02, resamples=0)
    assert finding(tiny, "shift", "x").p_value <= 0.05
    assert kinds(tiny) == set()
    missing = judged(before=20, after=20, usual={"rows": 20000}, shift=0.02, nulls=0.013, resamples=0)
    assert kinds(missing) == {("nulls", "x")}


def test_values_outside_the_known_are_found():
    """DM-11, MN-01: A column of few values of which some turn up in another unit."""
    rng = np.random.default_rng(3)
    exact = rng.multinomial(900, [0.3, 0.3, 0.2, 0.2, 0.0], size=50).astype(float)
    exact[45:] = rng.multinomial(900, [0.285, 0.285, 0.19, 0.19, 0.05], size=5)
    places = np.searchsorted(EDGES, [1.0, 2.0, 3.0, 4.0, 5.0], side="right") - 1
    counts = np.zeros((50, len(EDGES)))
    counts[:, places] = exact
    column = Column("km", counts, np.zeros(50), edges=EDGES, centres=CENTRES, exact=exact, values=(1.0, 2.0, 3.0, 4.0))
    verdict = compare([column], None, reference=45, spec=SPEC, seed=1)
    assert kinds(verdict) == {("shift", "km")}
    assert "`: values that are none of the 4 known: 0.0 % → 5" in verdict.columns[0].sentence


def test_low_power_is_said():
    """MN-01: A window of one block says that it sees only the extraordinary; too few blocks say that they can see nothing."""
    assert "The window is one day" in judged(after=1).power
    assert judged(after=1).columns[0].low is None
    blind = judged(before=10, after=1, shift=9.0)
    assert blind.drifted == ()
    assert "Nothing can be found" in blind.power
    assert judged().power == ""


def test_few_blocks_are_enumerated_and_many_are_drawn():
    """MN-01: All labellings where they can be counted, the observed one among them; drawn ones otherwise."""
    few, many = judged(before=20, after=2), judged()
    assert (few.exact, few.labellings) == (True, 231)
    assert (many.exact, many.labellings) == (False, 1000)
    assert all(c.p_value >= 1 / 231 - 1e-6 for c in few.columns)


def test_nothing_to_compare_is_said():
    """MN-01: Without reference blocks, or without window blocks, there is no verdict and a sentence."""
    assert "the window has no rows" in judged(after=0).power
    assert "the reference has no rows" in judged(before=0).power


def test_the_same_blocks_give_the_same_verdict():
    """MN-01: The verdict depends on the seed and the blocks alone."""
    assert judged(3, shift=0.2) == judged(3, shift=0.2)


def test_the_order_of_the_columns_does_not_matter():
    """MN-01: What is found of a column does not depend on its place."""
    rng = np.random.default_rng(5)
    columns, _ = counted([rows_of(rng) for _ in range(45)] + [rows_of(rng, shift=0.4) for _ in range(5)])
    one = compare(columns, None, reference=45, spec=SPEC, seed=1)
    other = compare(columns[::-1], None, reference=45, spec=SPEC, seed=1)
    assert {(c.kind, c.column): c.p_value for c in one.columns} == {(c.kind, c.column): c.p_value for c in other.columns}


def test_a_column_without_rows_is_not_compared():
    """MN-01: All missing on both sides: no shift, and no change of the missing."""
    rng = np.random.default_rng(6)
    columns, _ = counted([rows_of(rng) for _ in range(50)])
    empty = replace(columns[0], counts=np.zeros_like(columns[0].counts), nulls=np.full(50, 300.0))
    verdict = compare([empty, *columns[1:]], None, reference=45, spec=SPEC, seed=1)
    assert {c.kind for c in verdict.columns if c.column == "x"} == {"nulls"}
    assert finding(verdict, "nulls", "x").p_value == 1


def days_of(rng, first, count, *, rows=200, unit=1.0, carrier="", month=1):
    """Rows of some days from a day of January on: distance and time of flight that go together, carriers, the month."""
    moments = [datetime(2013, 1, 1) + timedelta(days=first - 1 + i // rows, minutes=i % rows) for i in range(rows * count)]
    distance = rng.choice([200.0, 500.0, 760.0, 1100.0, 2400.0], rows * count, p=[0.1, 0.3, 0.3, 0.2, 0.1])
    carriers = rng.choice(["AA", "DL", "UA"], rows * count, p=[0.5, 0.3, 0.2]).astype(object)
    if carrier:
        carriers[rng.random(rows * count) < 0.02] = carrier
    minutes = 30 + distance / 8 + rng.normal(0, 10, rows * count)
    given = np.where(rng.random(rows * count) < 0.05, distance * unit, distance)
    return pa.table(
        {"when": moments, "distance": given, "minutes": minutes, "carrier": carriers, "month": [f"{month + (m.day > 15)}" for m in moments]}
    )


@pytest.fixture(scope="module")
def reference():
    """Layout and profile of twenty-six days."""
    rows = days_of(np.random.default_rng(1), 1, 26)
    layout = fit_layout(rows.drop_columns("when"))
    return layout, profile(rows, layout, day="when")


def test_profiles_without_drift(reference):
    """MN-01: Profiles of days of the same kind: nothing; a column that follows the calendar is skipped with its reason."""
    layout, before = reference
    verdict = find_drift(before, profile(days_of(np.random.default_rng(2), 27, 4), layout, day="when"), SPEC, 1)
    assert verdict.drifted == ()
    assert (verdict.reference_days, verdict.window_days) == (26, 4)
    assert "calendar" in verdict.skipped["month"]
    assert {c.kind for c in verdict.columns} == {"shift", "correlation", "joint"}


def test_profiles_with_another_unit_and_a_new_category(reference):
    """DM-11, MN-01: Counts of profiles become findings: values in another unit, a category by its name, and since when."""
    layout, before = reference
    after = days_of(np.random.default_rng(3), 27, 4, unit=1.609, carrier="ZZ")
    verdict = find_drift(before, profile(after, layout, day="when"), SPEC, 1)
    assert {("shift", "distance"), ("new category", "carrier")} <= kinds(verdict)
    told = finding(verdict, "shift", "distance").sentence
    assert told.startswith("`distance`: values that are none of the 5 known: 0.0 % → ")
    assert told.endswith(" of rows since 27 January.")
    assert "new category ZZ: 0.0 % → " in finding(verdict, "new category", "carrier").sentence


def test_correlations_of_profiles_are_those_of_the_rows(reference):
    """MN-01: The correlation told is that of ranks inside the days: between distance and minutes it is high, and breaks when minutes are
    shuffled."""
    layout, before = reference
    rows = days_of(np.random.default_rng(4), 27, 4)
    shuffled = rows.set_column(2, "minutes", rows["minutes"].take(np.random.default_rng(5).permutation(rows.num_rows)))
    verdict = find_drift(before, profile(shuffled, layout, day="when"), SPEC, 1)
    found = finding(verdict, "correlation", "distance and minutes")
    assert found.drifted
    assert found.bins[0].reference > 0.85
    assert abs(found.bins[0].window) < 0.15


def test_a_column_that_one_side_lacks_cannot_be_compared(reference):
    """MN-01: No column is passed over in silence."""
    layout, before = reference
    after = profile(days_of(np.random.default_rng(6), 27, 4), layout, day="when").only(["distance", "minutes", "month"])
    for sides in ((before, after), (after, before)):
        with pytest.raises(ValueError, match="do not count carrier on the same cells"):
            find_drift(*sides, SPEC, 1)


def test_other_cells_cannot_be_compared(reference):
    """MN-01: Profiles on different layouts are refused with the columns that differ."""
    _, before = reference
    rows = days_of(np.random.default_rng(7), 27, 4, unit=3.0)
    other = fit_layout(rows.drop_columns("when"))
    with pytest.raises(ValueError, match="distance, minutes, month on the same cells: profile both with the same layout"):
        find_drift(before, profile(rows, other, day="when"), SPEC, 1)


def test_fill_values_do_not_hide_a_shift():
    """MN-01: A few rows of the reference hold 1e9 where a value was missing: the standard deviation is still that of the others."""
    rng = np.random.default_rng(31)

    def days(count, shift, fill):
        values = rng.normal(10 + shift, 5, count * 1000)
        values[rng.random(len(values)) < fill] = 1e9
        when = np.datetime64("2013-01-01", "us") + np.repeat(np.arange(count), 1000) * np.timedelta64(1, "D")
        return pa.table({"x": values, "day": when})

    reference, window = days(60, 0, 0.0005), days(3, 10, 0.0)
    layout = fit_layout(reference, ["x"])
    found = find_drift(profile(reference, layout, day="day"), profile(window, layout, day="day"), SPEC, 1, resamples=0)
    (shift,) = [f for f in found.columns if f.kind == "shift"]
    assert shift.alarms
    assert shift.effect > 0.5


def test_few_different_rows_leave_no_sample_and_every_figure_a_number():
    """MN-01: Two flags make four rows, over and over: none may be in the sample, and that is said."""
    rng = np.random.default_rng(32)

    def days(count):
        when = np.datetime64("2013-01-01", "us") + np.repeat(np.arange(count), 3000) * np.timedelta64(1, "D")
        return pa.table({"a": rng.random(count * 3000) < 0.5, "b": rng.random(count * 3000) < 0.3, "day": when})

    reference = days(20)
    layout = fit_layout(reference, ["a", "b"])
    found = find_drift(profile(reference, layout, day="day"), profile(days(2), layout, day="day"), SPEC, 1)
    assert all(np.isfinite([f.effect, f.usual, f.p_value]).all() for f in found.columns)
    assert "too few different rows" in found.skipped["all columns"]


def test_a_pair_is_judged_by_its_own_correlation():
    """MN-01: Of three columns one pair goes together since the window began: the pairs that follow it in the order are no drift because of
    it."""
    rng = np.random.default_rng(33)

    def days(count, together):
        x, y, z = rng.normal(size=(3, count * 400))
        y = together * x + np.sqrt(1 - together**2) * y
        when = np.datetime64("2013-01-01", "us") + np.repeat(np.arange(count), 400) * np.timedelta64(1, "D")
        return pa.table({"x": x, "y": y, "z": z, "day": when})

    reference = days(60, 0.0)
    layout = fit_layout(reference, ["x", "y", "z"])
    strict = MonitoringSpec(min_correlation=0.0)
    found = find_drift(profile(reference, layout, day="day"), profile(days(5, 0.4), layout, day="day"), strict, 1, resamples=0)
    assert {f.column for f in found.columns if f.kind == "correlation" and f.drifted} == {"x and y"}
