"""What makes a finding of a question: the borders of significance and of each limit, what is skipped, and what depends on nothing else."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring import drift, permutation
from perennial.monitoring.drift import Column, Joint, compare, find_drift
from perennial.monitoring.drift.blocks import columns_of, joint_of
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile
from perennial.specs import MonitoringSpec

SPEC = MonitoringSpec()


def categories(window, reference=(50, 50), blocks=30, current=2, name="x", nulls=(0, 0)):
    """A category whose blocks are alike but for one row to and fro, so that nothing ties; missing values before and after."""
    counts = np.array([reference] * blocks + [window] * current, dtype=float)
    counts[::3] += [1, -1, *[0] * (counts.shape[1] - 2)]
    missing = np.repeat(np.array(nulls, dtype=float), [blocks, current])
    return Column(name, counts, missing, labels=["a", "b", "c"][: counts.shape[1]])


def judged(columns, joint=None, spec=SPEC, reference=30, seed=1, **more):
    """The verdict on some columns."""
    return compare(columns, joint, reference=reference, spec=spec, seed=seed, **more)


def limited(**limits):
    """The usual spec with other limits, whatever they are."""
    return SPEC.model_copy(update=limits)


def test_a_p_value_of_alpha_is_significant():
    """MN-01: one labelling in all there are; a little less alpha and it is none, however large the effect."""
    column = [categories((90, 10))]
    verdict = judged(column)
    [found] = verdict.columns
    assert (found.p_value, verdict.p_value, verdict.labellings, verdict.exact) == (0.002016, 0.002016, 496, True)
    for alpha, is_drift in ((1 / 496, True), (1 / 496 - 1e-6, False)):
        at = judged(column, spec=limited(alpha=alpha))
        assert (at.significant, at.columns[0].drifted, at.columns[0].alarms) == (is_drift, is_drift, is_drift)
        assert at.columns[0].sentence.endswith("of rows." if is_drift else "of rows; no drift.")


@pytest.mark.parametrize(
    ("kind", "least", "alarm", "column"),
    [
        ("shift", "min_shift", "alarm_shift", categories((75, 25))),
        ("predictions", "min_predictions", "alarm_shift", categories((75, 25))),
        ("nulls", "min_nulls", "alarm_nulls", categories((50, 50), nulls=(0, 25))),
        ("new category", "min_new_category", "alarm_new_category", categories((50, 40, 10), (50, 50, 0))),
    ],
)
def test_an_effect_at_its_limit_is_drift(kind, least, alarm, column):
    """MN-01: and alarms at its other limit; just above the effect either limit holds it back, and no other kind's does."""
    predictions = ("x",) if kind == "predictions" else ()

    def finding(**limits):
        return next(f for f in judged([column], spec=limited(**limits), predictions=predictions).columns if f.kind == kind)

    effect = finding().effect
    exact = {"shift": 0.253333, "predictions": 0.253333, "nulls": 0.2, "new category": 0.1}[kind]
    assert effect == pytest.approx(exact, abs=0.004)
    above, below = effect + 1e-5, effect - 1e-5
    assert [finding(**{least: limit, alarm: 0.0}).drifted for limit in (below, above)] == [True, False]
    assert [finding(**{least: limit, alarm: 0.0}).alarms for limit in (below, above)] == [True, False]
    assert [finding(**{least: 0.0, alarm: limit}).alarms for limit in (below, above)] == [True, False]
    assert finding(**{least: 0.0, alarm: above}).drifted
    others = {name: 1.0 for name in MonitoringSpec.model_fields if name.startswith(("min_", "alarm_")) and name not in (least, alarm)}
    assert finding(**{name: 1.0 for name in others if "rows" not in name and "labels" not in name}, **{least: 0.0, alarm: 0.0}).alarms


def test_an_exact_effect_is_drift_at_just_that_limit():
    """MN-01: a quarter of the rows moved, in halves that a float holds exactly: a limit of a quarter does not hold it back."""
    counts = np.array([[32, 32]] * 30 + [[48, 16]] * 2, dtype=float)
    column = [Column("x", counts, np.zeros(32), labels=["a", "b"])]
    for limit, is_drift in ((0.25, True), (0.25 + 1e-9, False)):
        assert judged(column, spec=limited(min_shift=limit, alarm_shift=0.25)).columns[0].drifted == is_drift
        assert judged(column, spec=limited(min_shift=0.25, alarm_shift=limit)).columns[0].alarms == is_drift
    still = [Column("x", counts[:30], np.zeros(30), labels=["a", "b"])]
    [none] = judged(still, spec=limited(min_shift=0.0, alpha=1.0), reference=28).columns
    assert (none.effect, none.drifted, none.p_value) == (0.0, False, 1.0)  # nothing moved, however mild the limits


def test_nothing_moved_is_no_drift():
    """MN-01: neither significant nor far, with an effect that 95 of 100 labellings stay below."""
    [found] = judged([categories((50, 50))], spec=limited(min_shift=0.0)).columns
    assert not found.drifted
    assert found.p_value > 0.05
    assert 0 < found.usual < 0.02


@pytest.mark.parametrize(("current", "has_interval"), [(1, False), (2, True)])
def test_an_interval_needs_two_blocks(current, has_interval):
    """MN-01: a window of one has none; what is usual is told of it all the same, and nothing of both where no resampling is wanted."""
    column = [categories((70, 30), current=current)]
    [found] = judged(column).columns
    assert (found.low is not None, found.high is not None) == (has_interval, has_interval)
    assert found.usual > 0
    if has_interval:
        assert 0.18 < found.low <= found.effect <= found.high < 0.23
    [bare] = judged(column, resamples=0).columns
    assert (bare.low, bare.high, bare.usual) == (None, None, 0.0)
    assert (bare.effect, bare.p_value, bare.drifted) == (found.effect, found.p_value, found.drifted)


def test_a_verdict_counts_blocks_and_says_what_it_cannot():
    """MN-01: of either side, also where no column tells them; what one is not asked about stays as it was given."""
    given = {"month": "follows the calendar"}
    verdict = judged([categories((50, 50), current=3)], skipped=given)
    assert (verdict.reference_days, verdict.window_days, verdict.power, verdict.skipped) == (30, 3, "", given)
    nothing = judged([], reference=4, window=3)
    assert (nothing.reference_days, nothing.window_days, nothing.labellings, nothing.exact) == (4, 3, 35, True)
    assert (nothing.columns, nothing.p_value, nothing.significant) == ((), 1.0, False)
    for reference, window, lacks in ((0, 2, "the reference"), (2, 0, "the window"), (2, None, "the window")):
        empty = judged([], reference=reference, window=window)
        assert empty.power == f"Nothing can be compared: {lacks} has no rows."
        assert (empty.reference_days, empty.window_days, empty.labellings, empty.exact) == (reference, window or 0, 1, True)
    alone = Column("x", np.ones((3, 2)), np.zeros(3), labels=["a", "b"])
    assert judged([alone], reference=3).columns == ()
    assert judged([alone], reference=0).columns == ()


@pytest.mark.parametrize(("reference", "blind"), [(18, True), (19, False)])
def test_a_window_that_can_find_nothing_says_so(reference, blind):
    """MN-01: of nineteen blocks none is rarer than one in nineteen; of twenty, one in twenty is five in a hundred, and enough."""
    power = judged([categories((50, 50), blocks=reference, current=1)], reference=reference).power
    assert ("Nothing can be found: with 18 reference and 1 window days no result is rarer than 0.053." in power) == blind
    assert ("only a day that stands out among all 19 of the reference" in power) == (not blind)


def together(rows, shift=0.0):
    """Means of two columns in blocks of so many rows, the last two of which go together."""
    rng = np.random.default_rng(2)
    raw = []
    for place, count in enumerate(rows):
        x, y = rng.normal(size=(2, max(int(count), 1)))
        raw.append(np.column_stack([x, shift * x + np.sqrt(1 - shift**2) * y if place >= len(rows) - 2 else y]))
    waves = np.random.default_rng(0).normal(size=(2, 16))
    return Joint(
        rows=np.array(rows, dtype=float), names=["x", "y"], means=np.stack([r.mean(axis=0) for r in raw]),
        squares=np.stack([(r**2).mean(axis=0) for r in raw]), first=np.array([0]), second=np.array([1]),
        products=np.stack([[(r[:, 0] * r[:, 1]).mean()] for r in raw]),
        fourier=np.stack([np.concatenate([np.cos(r @ waves), np.sin(r @ waves)], axis=1).mean(axis=0) for r in raw]),
    )  # fmt: skip


@pytest.mark.parametrize(("reference", "window", "told"), [(150, 100, True), (151, 100, False), (100, 900, True), (100, 0, False)])
def test_samples_of_unlike_size_are_not_compared(reference, window, told):
    """MN-01: means of half as many rows more are; of more than that they are not, and that is said; the columns are judged all the same."""
    verdict = judged([categories((50, 50))], together([reference] * 30 + [window] * 2))
    assert ({"joint", "correlation"} <= {f.kind for f in verdict.columns}) == told
    assert ("all columns" in verdict.skipped) == (not told)
    if not told:
        said = (
            "too few different rows" if not window else "a block of the window has 100 sampled rows, one of the reference 151: they scatter"
        )
        assert said in verdict.skipped["all columns"]
    assert {f.kind for f in verdict.columns} >= {"shift"}


def test_one_false_alarm_rate_for_all_that_is_looked_at():
    """MN-01: the smallest p-value of columns that do not change is below alpha in about alpha of windows, and not in hardly any."""
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        columns = [
            Column(f"c{i}", rng.multinomial(60, [0.5, 0.3, 0.2], size=12).astype(float), np.zeros(12), labels=["a", "b", "c"])
            for i in range(4)
        ]
        verdict = compare(columns, None, reference=9, spec=limited(alpha=0.1), seed=seed, resamples=0)
        alarms += verdict.significant
        assert verdict.p_value == min(f.p_value for f in verdict.columns)
    assert 0.1 - 4 * 0.0212 <= alarms / 200 <= 0.1 + 3 * 0.0212


def test_a_column_is_judged_alike_in_any_company_of_its_likes():
    """MN-01: the order of columns changes nothing of what is found of one; the seed draws intervals alone where all labellings count."""
    columns = [categories((70, 30), name="moved"), categories((50, 50), name="calm"), categories((49, 51), name="near")]
    one, other, seeded = judged(columns), judged(columns[::-1]), judged(columns, seed=2)
    assert [f.column for f in one.columns][0] == "moved"  # noqa: RUF015
    for verdict in (other, seeded):
        assert [(f.column, f.effect, f.p_value, f.drifted) for f in verdict.columns] == [
            (f.column, f.effect, f.p_value, f.drifted) for f in one.columns
        ]
    assert [f.low for f in seeded.columns] != [f.low for f in one.columns]
    assert judged(columns) == judged(columns, resamples=200) == one
    assert one.alarming == ("moved",)


def test_which_columns_are_predictions():
    """MN-02: those that are named, and no others; since when is said of all."""
    columns = [categories((70, 30), name="score"), categories((70, 30), name="x")]
    verdict = judged(columns, predictions=["score"], since=" since 3 May")
    assert {(f.column, f.kind) for f in verdict.columns} == {("score", "predictions"), ("x", "shift")}
    assert all(f.sentence.endswith(" of rows since 3 May.") for f in verdict.columns)


def test_figures_have_six_digits():
    """MN-01: effect, interval, what is usual and p-value are told as a report writes them."""
    joint = together([100] * 32, shift=0.7)
    for found in judged([categories((70, 30), nulls=(1, 3))], joint).columns:
        for figure in (found.effect, found.low, found.high, found.usual, found.p_value):
            assert figure == round(figure, 6)
    assert len(permutation.labellings(30, 2, np.random.default_rng(1))[0]) == 496


def test_figures_have_no_fewer_digits():
    """MN-01: effect, interval and what is usual are told to the millionth."""
    [found] = judged([categories((73, 30), current=3)]).columns
    for figure in (found.effect, found.low, found.high, found.usual):
        assert figure != round(figure, 3)


def days(first, count, seed, texts=("a", "b")):
    """Rows of some days of 2013: a number and a category that go together, and one value a day."""
    rng = np.random.default_rng(seed)
    when = [date(2013, 1, 1) + timedelta(days=first + i // 20) for i in range(20 * count)]
    n = rng.normal(size=20 * count)
    marks = [f"of {day:%m}-{day.day // 8}" for day in when]
    return pa.table({"day": when, "n": n, "c": [texts[int(x > 0)] for x in n + rng.normal(size=len(n))], "m": marks})


def test_profiles_are_compared_like_their_counts():
    """MN-01: the days that have rows, by the same spec and seed; what follows the calendar is left out, and since when is said."""
    before, after = days(0, 25, 1), days(25, 2, 2, texts=("a", "c"))
    layout = fit_layout(before, ["n", "c", "m"])
    sides = [profile(table, layout, day="day") for table in (before, after)]
    columns, skipped = columns_of(*sides)
    spec = limited(alpha=0.2, min_shift=0.0)
    for more in ({}, {"resamples": 0}):
        wanted = judged(
            columns, joint_of(*sides), spec, 25, 3, predictions=["n"], since=" since 26 January", skipped=skipped, window=2, **more
        )
        verdict = find_drift(*sides, spec, 3, predictions=["n"], **more)
        assert verdict == wanted
        assert {f.kind for f in verdict.columns} == {"predictions", "shift", "new category", "correlation", "joint"}
        assert [*verdict.skipped] == ["m"]
        assert all(" since 26 January" in f.sentence for f in verdict.columns)
    calendar = [side.only(["m"]) for side in sides]
    assert (find_drift(*calendar, spec, 3).columns, find_drift(*calendar, spec, 3).window_days) == ((), 2)
    for lacking in ((sides[0], sides[1].only(["n"])), (sides[0].only(["n"]), sides[1])):
        with pytest.raises(ValueError, match="do not count c, m on the same cells"):
            find_drift(*lacking, spec, 3)


def test_what_is_drawn_is_drawn_by_the_seed():
    """MN-01: labellings where there are too many to count, and rows where days of the reference are larger; another seed draws others."""
    columns = [categories((52, 48), reference=(500, 500), blocks=60, current=4)]
    one, same, other = (judged(columns, reference=60, seed=seed) for seed in (1, 1, 2))
    assert (one.exact, one.labellings) == (False, 1000)
    assert one == same
    assert one.columns != other.columns


def test_columns_that_hold_nothing_are_no_finding():
    """MN-01: nothing is as likely as one; what could not be tested is told all the same."""
    empty = Column("x", np.zeros((5, 2)), np.zeros(5), labels=["a", "b"])
    verdict = judged([empty], reference=3, skipped={"m": "why"})
    assert (verdict.columns, verdict.p_value, verdict.significant, verdict.skipped) == ((), 1.0, False, {"m": "why"})
    assert judged([], reference=0, window=2, skipped={"m": "why"}).skipped == {"m": "why"}


def test_since_when_is_said_of_columns_together():
    """MN-01: as of each by itself."""
    verdict = judged([categories((50, 50))], together([100] * 32, shift=0.7), since=" since 3 May")
    assert {f.kind for f in verdict.columns} == {"shift", "joint", "correlation"}
    assert all(" since 3 May" in f.sentence for f in verdict.columns)


def test_all_that_the_package_offers_is_there():
    """MN-01: whoever takes everything from it gets what it lists."""
    offered: dict[str, object] = {}
    exec("from perennial.monitoring.drift import *", offered)
    assert {"compare", "find_drift", "Column", "Joint", "DriftVerdict", "ColumnDrift", "Bin"} <= offered.keys()
    assert set(drift.__all__) <= offered.keys()
