"""Arrays of profiles: blocks cut down to one size, correlations by hand, and which columns follow the calendar."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.drift.blocks import Column, Joint, columns_of, joint_of, thinned, with_rows
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile


def column(rows, exact=False):
    """Blocks of so many rows each, of three cells and missing ones."""
    counts = np.array([[r // 2, r // 4, 0] for r in rows], dtype=float)
    nulls = np.array(rows, dtype=float) - counts.sum(axis=1)
    return Column("x", counts, nulls, exact=counts[:, [1, 0]] if exact else None, values=(1.0,) if exact else ())


def sizes(column):
    """Rows of each block."""
    return (column.counts.sum(axis=1) + column.nulls).tolist()


def test_blocks_of_about_the_windows_size_stay_as_they_are():
    """MN-01: half as many rows more is about the same; the same object comes back."""
    even = column([150, 10, 100, 100, 400])
    assert thinned(even, 2, np.random.default_rng(1)) is even


def test_larger_blocks_of_the_reference_are_cut_down_to_the_windows_median():
    """MN-01: those of more than half as many rows more, to the median of the window's blocks; others, and the window's, keep all."""
    uneven = column([151, 150, 4000, 90, 100, 1000], exact=True)
    smaller = thinned(uneven, 3, np.random.default_rng(1))
    assert sizes(smaller) == [100, 150, 100, 90, 100, 1000]
    assert sizes(uneven) == [151, 150, 4000, 90, 100, 1000]
    assert smaller.exact.sum(axis=1) == pytest.approx(smaller.counts.sum(axis=1))
    assert (smaller.counts <= uneven.counts).all()
    assert (smaller.exact[:3] <= uneven.exact[:3]).all()
    assert (smaller.name, smaller.values) == ("x", (1.0,))


def test_blocks_are_cut_down_as_if_rows_were_drawn():
    """MN-01: shares of cells, values and missing ones stay the same in the mean (five standard errors)."""
    uneven = Column("x", np.array([[600.0, 300.0], [10.0, 0.0]]), np.array([100.0, 0.0]), exact=np.array([[300.0, 600.0], [0.0, 10.0]]))
    drawn = [thinned(uneven, 1, np.random.default_rng(seed)) for seed in range(400)]
    shares = np.mean([[*d.counts[0], d.nulls[0], d.exact[0, 1]] for d in drawn], axis=0) / 10
    assert shares == pytest.approx([0.6, 0.3, 0.1, 0.6], abs=5 * 0.5 / np.sqrt(4000))


@pytest.mark.parametrize("rows", [0, 1])
def test_beside_an_empty_window_one_row_stays(rows):
    """MN-01: nothing is cut down to nothing."""
    assert sizes(thinned(column([7, 5, rows]), 2, np.random.default_rng(1))) == [1, 1, rows]


def joint_from(raw):
    """Means of two columns and their product in blocks of raw rows."""
    return Joint(
        rows=np.array([float(len(r)) for r in raw]),
        names=["x", "y"],
        means=np.stack([r.mean(axis=0) for r in raw]),
        squares=np.stack([(r**2).mean(axis=0) for r in raw]),
        first=np.array([0]),
        second=np.array([1]),
        products=np.stack([[(r[:, 0] * r[:, 1]).mean()] for r in raw]),
        fourier=np.zeros((len(raw), 0)),
    )


def test_correlations_are_those_of_the_deviations_inside_blocks():
    """MN-01: against NumPy's of all rows less their block's mean; blocks that are not asked for do not count, and levels do not matter."""
    rng = np.random.default_rng(1)
    raw = [rng.normal(size=(n, 2)) @ np.array([[1, s], [0, 1]]) + 5 * n for n, s in ((30, 0.9), (50, -0.4), (20, 0.0))]
    joint, pair = joint_from(raw), np.array([0])

    def inside(*which):
        deviations = np.concatenate([raw[i] - raw[i].mean(axis=0) for i in which])
        return np.corrcoef(deviations.T)[0, 1]

    found = joint.correlations(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]]), pair)
    assert found[:, 0] == pytest.approx([inside(0), inside(1), inside(0, 1), inside(0, 1, 2)])
    assert joint.correlations(np.array([[2.0, 2, 2]]), pair) == pytest.approx(found[3:])
    assert joint.correlations(np.zeros((1, 3)), pair).tolist() == [[0.0]]


def test_what_does_not_vary_goes_with_nothing():
    """MN-01: a column that is the same in every row has no correlation; two that are alike have one of one."""
    x = np.random.default_rng(2).normal(size=40)
    for y, r in ((np.full(40, 3.0), 0.0), (x, 1.0), (-2 * x + 7, -1.0)):
        assert joint_from([np.column_stack([x, y])]).correlations(np.array([[1.0]]), np.array([0])) == pytest.approx(np.array([[r]]))


def rows_by_day(columns, per_day, first=1):
    """A table of some columns, so many rows a day."""
    count = len(next(iter(columns.values())))
    return pa.table({"day": [datetime(2013, 1, first) + timedelta(days=i // per_day) for i in range(count)], **columns})


def calendar(varied, single, per_day, same=False):
    """Whether a column is skipped of which some days hold two values and the others one each."""
    texts = [text for day in range(varied) for text in ["a", "b"] * (per_day // 2)]
    texts += [f"month {0 if same else day}" for day in range(single) for _ in range(per_day)]
    table = rows_by_day({"m": texts}, per_day)
    days = profile(table, fit_layout(table, ["m"]), day="day")
    return "m" in columns_of(days, days)[1]


def test_a_column_of_one_value_a_day_follows_the_calendar():
    """MN-01: if nine in ten days hold one value each and not all the same; days of fewer than twenty rows do not count."""
    assert calendar(1, 9, 20)
    assert not calendar(2, 8, 20)
    assert not calendar(0, 10, 20, same=True)
    assert not calendar(1, 9, 18)
    assert calendar(0, 2, 20)
    assert not calendar(0, 1, 20)


def test_every_kind_of_column_becomes_counts():
    """MN-01: of both sides by block, with the names of categories; what the layout did not know stands by name, and no row is lost."""
    before = rows_by_day({"n": [1.0, 2.0, None, 4.0] * 10, "few": [1.0, 1.0, 2.0, 2.0] * 10, "c": ["a", "b", None, "a"] * 10}, 20)
    after = rows_by_day({"n": [9.0] * 20, "few": [1.0, 7.0] * 10, "c": ["new"] * 5 + ["a"] * 15}, 20, first=3)
    layout = fit_layout(before, ["n", "few", "c"])
    sides = [with_rows(profile(table, layout, day="day")) for table in (before, after)]
    (n, few, c), skipped = columns_of(*sides)
    assert skipped == {}
    assert [x.counts.sum(axis=1).tolist() for x in (n, few, c)] == [[15, 15, 20], [20, 20, 20], [15, 15, 20]]
    assert [x.nulls.tolist() for x in (n, few, c)] == [[5, 5, 0], [0, 0, 0], [5, 5, 0]]
    assert [*c.labels] == ["a", "b", "new", "other categories"]
    assert c.counts.tolist() == [[10, 5, 0, 0], [10, 5, 0, 0], [15, 0, 5, 0]]
    assert few.values == (1.0, 2.0)
    assert few.exact.tolist() == [[10, 10, 0], [10, 10, 0], [10, 0, 10]]
    assert few.edges.shape == few.centres.shape == few.counts.shape[1:]
    assert few.edges[0] == -np.inf
    lows = few.edges[np.flatnonzero(few.counts.sum(axis=0))]
    assert [float(low) for low in lows] == pytest.approx([1.0, 2.0, 7.0], abs=1.5)


def test_a_column_of_too_many_categories_is_counted_in_buckets(monkeypatch):
    """MN-01: named by their number, as many as there are."""
    monkeypatch.setattr("perennial.profiles.layout.KNOWN_CATEGORIES", 3)
    table = rows_by_day({"c": [f"name {i % 7}" for i in range(70)]}, 35)
    days = profile(table, fit_layout(table, ["c"]), day="day")
    [buckets], _ = columns_of(days, days)
    assert [*buckets.labels[:2]] == ["bucket 0", "bucket 1"]
    assert (len(buckets.labels), buckets.counts.sum()) == (buckets.counts.shape[1], 140)


def test_blocks_without_rows_are_left_out():
    """MN-01: they have no shares; a side without any has no column and no joint means."""
    table = rows_by_day({"n": [1.0, 2.0, 3.0, 4.0] * 5}, 10)
    layout = fit_layout(table, ["n"])
    days, empty = profile(table, layout, day="day"), profile(table.slice(0, 0), layout, day="day")
    assert len(with_rows(days).blocks) == 2
    assert with_rows(empty).blocks == {}
    assert columns_of(with_rows(empty), days) == ([], {})
    assert joint_of(days, with_rows(empty)) is None
    assert joint_of(with_rows(empty), days) is None


def test_moments_of_profiles_are_those_of_their_rows():
    """MN-01: every pair of numbers, and of a number and an indicator, once; each correlation is that of the rows inside the days."""
    rng = np.random.default_rng(3)
    x, y, z = rng.normal(size=(3, 800))
    y, flag = 0.8 * x + 0.6 * y, x + rng.normal(size=800) > 0.8
    table = rows_by_day({"x": x, "y": y, "z": z, "flag": flag}, 200)
    layout = fit_layout(table, ["x", "y", "z", "flag"])
    days = profile(table, layout, day="day")
    joint = joint_of(days, days)
    pairs = [(joint.names[i], joint.names[j]) for i, j in zip(joint.first, joint.second, strict=True)]
    one = next(name for name in joint.names if name.startswith("flag="))
    assert pairs == [("x", "y"), ("x", "z"), ("y", "z"), ("x", one), ("y", one), ("z", one)]
    sign = 1 if one == "flag=true" else -1
    found = joint.correlations(np.ones((1, 8)), np.arange(6))[0]
    inside = [v - v.reshape(4, 200).mean(axis=1).repeat(200) for v in (x, y, z, sign * flag.astype(float))]
    wanted = [np.corrcoef(inside[a], inside[b])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))]
    assert found == pytest.approx(wanted, abs=0.03)
    assert joint.rows.tolist() == [200.0] * 8
    assert joint.fourier.shape[0] == 8
    assert (np.abs(joint.fourier) <= 1).all()
    assert joint.means[:4] == pytest.approx(joint.means[4:])


def test_a_missing_text_or_list_is_counted_once():
    """MN-01, DM-14: By its first measure, on both sides: all its measures lack then, which is no more news."""
    kinds = {"note": pa.string(), "sizes": pa.list_(pa.float64())}
    sides = [
        rows_by_day(
            {"n": [1.0, None] * 5, "note": pa.array(["a b", None] * 5, kinds["note"]), "sizes": pa.array(sizes, kinds["sizes"])}, 5, first
        )
        for first, sizes in ((1, [[1.0, 2.0]] * 8 + [None] * 2), (3, [None] * 3 + [[2.0]] * 7))
    ]
    layout = fit_layout(sides[0], ["n", "note", "sizes"], types={"note": "text"})
    columns, _ = columns_of(*(profile(side, layout, day="day") for side in sides))
    assert {column.name: column.nulls.tolist() for column in columns if column.nulls.any()} == {
        "n": [2, 3, 2, 3],
        "note[characters]": [2, 3, 2, 3],
        "sizes[length]": [0, 2, 3, 0],
    }
    assert len(columns) == 1 + 3 + 4


def test_what_was_skipped_hides_no_column_after_it():
    """MN-01: the columns that follow one of the calendar are compared."""
    table = rows_by_day({"m": ["jan"] * 20 + ["feb"] * 20, "n": [float(i % 7) for i in range(40)]}, 20)
    days = profile(table, fit_layout(table, ["m", "n"]), day="day")
    columns, skipped = columns_of(days, days)
    assert ([c.name for c in columns], [*skipped]) == (["n"], ["m"])
    assert "follows the calendar" in skipped["m"]


def test_a_value_of_one_row_a_day_counts_for_the_calendar():
    """MN-01: a second value in a single row is a second value; days of two different values are enough, two of the same are none."""
    for texts, follows in ((["a"] * 19 + ["b"], False), (["a"] * 20, True)):
        table = rows_by_day({"m": texts + ["c"] * 20, "n": [1.0, 2.0] * 20}, 20)
        days = profile(table, fit_layout(table, ["m"]), day="day")
        assert ("m" in columns_of(days, days)[1]) == follows


def test_names_that_the_layout_does_not_know_stand_by_block():
    """MN-01: of either side and in order of their names; what is none of them is the rest, and a side may lack any."""
    known = rows_by_day({"c": ["a", "b"] * 15}, 10)
    before = rows_by_day({"c": ["a"] * 9 + ["old"] + ["b"] * 8 + ["old", "both"] + ["a"] * 10}, 10)
    after = rows_by_day({"c": ["both"] * 3 + ["a"] * 5 + ["z", "z"], "n": [1.0] * 10}, 10, first=4)
    layout = fit_layout(known, ["c"])
    [c], _ = columns_of(*(profile(table, layout, day="day") for table in (before, after)))
    assert c.labels == ["a", "b", "both", "old", "z", "other categories"]
    assert c.counts.tolist() == [[9, 0, 0, 1, 0, 0], [0, 8, 1, 1, 0, 0], [10, 0, 0, 0, 0, 0], [5, 0, 3, 0, 2, 0]]


def test_names_that_were_not_kept_are_the_other_categories(monkeypatch):
    """MN-01: with those that were kept they are all rows that the layout does not know."""
    monkeypatch.setattr("perennial.profiles.state.UNSEEN_NAMES", 2)
    known, window = rows_by_day({"c": ["a", "b"] * 5}, 10), rows_by_day({"c": ["a", *"uvwxyz", "x", "y", "z"]}, 10, first=2)
    layout = fit_layout(known, ["c"])
    [c], _ = columns_of(*(profile(table, layout, day="day") for table in (known, window)))
    assert len(c.labels) == 5
    assert c.counts.sum(axis=1).tolist() == [10, 10]
    assert c.counts[:, -1].tolist() == [0, 9 - c.counts[1, 2:4].sum()]


def test_moments_hold_where_a_category_has_another_share_than_at_the_fit():
    """MN-01: an indicator is standardised by its share at the fit; its correlation is that of the rows inside the days all the same."""
    rng = np.random.default_rng(4)
    x, noise = rng.normal(size=(2, 1600))
    flag = x + noise > np.repeat([0.8, -1.2], 800)  # about 0.28 of the first days, 0.8 of the others
    table = rows_by_day({"x": x, "flag": flag}, 400)
    layout = fit_layout(table.slice(0, 800), ["x", "flag"])
    before, after = (profile(table.slice(begin, 800), layout, day="day") for begin in (0, 800))
    joint = joint_of(before, after)
    marks = [name for name in joint.names if name.startswith("flag=")]
    for place, mark in enumerate(marks):
        sign = 1 if mark == "flag=true" else -1
        for days, weights in ((slice(0, 800), [1, 1, 0, 0]), (slice(800, 1600), [0, 0, 1, 1])):
            inside = [v[days] - v[days].reshape(2, 400).mean(axis=1).repeat(400) for v in (x, sign * flag.astype(float))]
            r = joint.correlations(np.array([weights], dtype=float), np.array([place]))[0, 0]
            assert r == pytest.approx(np.corrcoef(*inside)[0, 1], abs=0.03)


def test_samples_of_other_columns_have_no_joint_moments():
    """MN-01: neither where the two sides were counted over other columns, nor where none were counted together."""
    table = rows_by_day({"n": [1.0, 2.0, 3.0, 4.0] * 5, "k": [4.0, 1.0, 3.0, 2.0] * 5}, 10)
    days = profile(table, fit_layout(table, ["n", "k"]), day="day")
    assert joint_of(days, days) is not None
    assert joint_of(days, days.only(["n"])) is None
    nothing = fit_layout(table.slice(0, 0), ["n", "k"])
    uncounted = profile(table, nothing, day="day")
    assert nothing.joint.size == 0
    assert uncounted.blocks
    assert joint_of(uncounted, uncounted) is None


def test_columns_keep_their_names_and_missing_values(monkeypatch):
    """MN-01: numbers, categories and buckets alike; only a number has edges, and only one of few values has exact ones."""
    monkeypatch.setattr("perennial.profiles.layout.KNOWN_CATEGORIES", 3)
    table = rows_by_day(
        {"n": [i / 7 for i in range(39)] + [None], "c": ["a", "b", None, "a"] * 10, "h": [None, *(f"name {i % 7}" for i in range(39))]}, 20
    )
    layout = fit_layout(table, ["n", "c", "h"])
    days = profile(table, layout, day="day")
    columns = {c.name: c for c in columns_of(days, days)[0]}
    assert {name: c.nulls.tolist() for name, c in columns.items()} == {"n": [0, 1] * 2, "c": [5, 5] * 2, "h": [1, 0] * 2}
    assert [columns[name].edges is None for name in "nch"] == [False, True, True]
    assert [columns[name].exact is None for name in "nch"] == [not layout.column("n").values, True, True]
