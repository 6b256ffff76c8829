"""Profiles: what is counted, and that parts add up to the whole bit for bit."""

from __future__ import annotations

import functools
import math
import pickle
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.engine.in_process import fold, run
from perennial.profiles import joint
from perennial.profiles.hashes import name_hashes
from perennial.profiles.joint import Adder
from perennial.profiles.layout import CELLS, GRID_CELLS, HASH_CELLS, KNOWN_CATEGORIES, TAILS, UNIT, Grid, fit_layout
from perennial.profiles.profile import ByDay, ByGroupAndDay, profile
from perennial.profiles.state import LEVELS, UNSEEN_NAMES, State, sample_level, sum_of


def rows(days, **columns):
    """A table with event times: hour by hour of the given days of January 2013; None has none."""
    when = [None if day is None else datetime(2013, 1, day) + timedelta(hours=i % 24) for i, day in enumerate(days)]
    return pa.table({"when": pa.array(when, pa.timestamp("us")), **columns})


def mixed(n=3000, seed=0, days=3):
    """Numbers that are continuous, few and heavy-tailed, categories, and nulls in all of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    few = rng.integers(0, 12, n).astype(float)
    few[rng.random(n) < 0.1] = np.nan
    heavy = rng.standard_cauchy(n) * 10 ** rng.uniform(-3, 30, n)
    carrier = rng.choice(["UA", "AA", "é'\" ü", "", "雪"], n, p=[0.5, 0.3, 0.1, 0.05, 0.05]).tolist()
    carrier[0] = None
    return rows(rng.integers(1, 1 + days, n).tolist(), x=x, few=few, heavy=heavy, carrier=carrier, late=(x > 0).tolist())


COLUMNS = ["x", "few", "heavy", "carrier", "late"]


def test_rows_of_few_values_are_sampled_by_their_times():
    """DM-14: Rows that are equal but for their time are not in the sample or out of it together, or a few values would stand for all."""
    rng = np.random.default_rng(5)
    n = 30_000
    pay, size = rng.choice(["cash", "card", "other"], n, p=[0.25, 0.7, 0.05]), rng.choice([1.0, 2.0, 5.0], n, p=[0.6, 0.3, 0.1])
    times = np.datetime64("2013-01-01", "us") + np.sort(rng.integers(0, 3 * 86_400_000_000, n))
    table = pa.table({"when": times, "pay": pay, "size": size})
    found = profile(table, fit_layout(table, ["pay", "size"]), day="when").joint()
    assert (found.rows > 500).all()
    share = dict(zip(found.families["share"].names, found.families["share"].means.T, strict=True))
    assert np.allclose(share["pay=card", ""], 0.7, atol=0.07)
    assert np.allclose(share["pay=cash", ""], 0.25, atol=0.07)


def test_files_may_lack_a_column(tmp_path):
    """DM-14: It counts as null, whether rows come as a table or as files."""
    table = mixed(100)
    layout = fit_layout(table, ["x", "carrier"])
    pq.write_table(table.drop(["x"]), tmp_path / "rows.parquet")
    assert profile([tmp_path / "rows.parquet"], layout, blocks=1) == profile(table.drop(["x"]), layout, blocks=1)


def test_every_row_is_counted_once():
    """DM-14: In every column of every day cells and nulls add up to the rows; rows without event time belong to no day."""
    table = rows([1, 1, 2, None], carrier=["UA", None, "AA", "UA"], distance=[1.0, math.nan, math.inf, 9.0])
    found = profile(table, fit_layout(table, ["carrier", "distance"]), day="when")
    assert {day: state.rows for day, state in found.blocks.items()} == {date(2013, 1, 1): 2, date(2013, 1, 2): 1}
    for state in found.blocks.values():
        for column in state.columns.values():
            assert column.cells.sum() + column.nulls == state.rows
    assert found.nulls("carrier").tolist() == [1, 0]
    assert found.nulls("distance").tolist() == [1, 1], "NaN and infinity are no values"


def test_cells_agree_with_a_recount():
    """DM-14: Each value's cell is the one whose borders hold it, in the equal cells and in the tails that double."""
    values = np.concatenate([np.random.default_rng(0).normal(0, 3, 2000), [1e9, -1e9, 1e300, -1e300, 1.7e308, 5e-324, -0.0]])
    table = rows([1] * len(values), x=values)
    layout = fit_layout(table.slice(0, 2000), ["x"])
    edges = layout.column("x").grid.edges()
    counts = profile(table, layout, day="when").cells("x")[0]
    assert np.array_equal(counts, np.histogram(values, edges)[0])
    assert counts[TAILS : TAILS + CELLS].sum() >= 0.99 * 2000
    assert len(edges) == GRID_CELLS + 1
    assert (np.diff(edges) > 0).all()
    assert counts[0] == counts[-1] - 1 == 1, "the outermost cells end at infinity"


def test_tails_tell_far_values_apart():
    """DM-14: A value ten times as far outside lies in another cell, however far: a changed unit shows."""
    grid = Grid(low=0.0, high=100.0)
    edges = grid.edges()
    places = np.searchsorted(edges, [101, 1010, 10_100, 1e9, -1, -1e4], side="right") - 1
    assert len(set(places.tolist())) == 6
    assert edges[0] == -math.inf
    assert np.isfinite(grid.centres()).all()


def test_values_and_categories_are_counted_by_name():
    """DM-14: A column of few values has each of them counted; a value or category that came later is told apart."""
    known = rows([1] * 60, size=[1.0, 2.0, 5.0] * 20, carrier=["UA", "UA", "AA"] * 20)
    layout = fit_layout(known, ["size", "carrier"])
    assert layout.column("size").values == (1.0, 2.0, 5.0)
    assert layout.column("carrier").categories == ("UA", "AA")
    found = profile(rows([1, 1, 2, 2], size=[5.0, 3.0, 1.0, None], carrier=["AA", "ZZ", "ZZ", None]), layout, day="when")
    assert found.exact("size").tolist() == [[0, 0, 1, 1], [1, 0, 0, 0]]
    assert found.cells("carrier").tolist() == [[0, 1, 1], [0, 0, 1]]
    assert {name: counts.tolist() for name, counts in found.unseen("carrier").items()} == {"ZZ": [1, 1]}


def test_how_a_number_is_grouped_changes_no_count():
    """DM-14: Whether a value is found in a list first is a matter of speed alone."""
    table = mixed()
    layout = fit_layout(table, COLUMNS)
    column = layout.column("few")
    assert column.values
    other = column.model_copy(update={"values": ()})
    plain = layout.model_copy(update={"columns": tuple(other if c.name == "few" else c for c in layout.columns)})
    assert np.array_equal(profile(table, plain, day="when").cells("few"), profile(table, layout, day="when").cells("few"))


def test_many_values_are_not_listed():
    """DM-14: More than 300 values, or nearly as many values as rows, make a column of numbers; its grid is all there is."""
    table = rows([1] * 4000, many=[i % 400 for i in range(4000)], row=list(range(4000)))
    layout = fit_layout(table, ["many", "row"])
    assert [column.values for column in layout.columns] == [(), ()]
    assert profile(table, layout, day="when").exact("many").shape == (1, 0)


def test_high_cardinality_stays_bounded():
    """DM-14: Too many categories at the fit: counted by hash. Too many new ones later: all counted, some names kept."""
    ids = [f"id{i}" for i in range(KNOWN_CATEGORIES + 1)]
    layout = fit_layout(pa.table({"id": ids, "kind": ["a"] * len(ids)}))
    assert layout.column("id").hashed
    assert layout.column("id").categories == ()
    table = rows([1] * 1000, id=ids[:1000], kind=[f"new{i}" for i in range(1000)])
    state = profile(table, layout, day="when").merged()
    assert state.columns["id"].cells.shape == (HASH_CELLS,)
    assert state.columns["id"].cells.sum() == 1000
    assert state.columns["kind"].cells.tolist() == [0, 1000]
    assert len(state.columns["kind"].unseen) == UNSEEN_NAMES


def test_a_column_that_is_all_null_or_not_there():
    """DM-14: Both count as null; a column of another kind is refused."""
    table = mixed()
    layout = fit_layout(table, COLUMNS)
    nulls = table.set_column(1, "x", pa.nulls(table.num_rows, pa.float64()))
    assert profile(nulls, layout, day="when") == profile(table.drop(["x"]), layout, day="when")
    assert profile(nulls, layout, day="when").nulls("x").sum() == table.num_rows
    with pytest.raises(ValueError, match="the column x is counted as numeric and now is category"):
        profile(table.set_column(1, "x", pa.array(["a"] * table.num_rows)), layout, day="when")


def test_no_rows_have_no_days():
    """DM-14: And the fit of no rows still gives cells."""
    table = mixed().slice(0, 0)
    layout = fit_layout(table, COLUMNS)
    found = profile(table, layout, day="when")
    assert found.blocks == {}
    assert found.merged() == State.zero(layout)
    assert found.cells("x").shape == (0, GRID_CELLS)


def test_the_fit_does_not_depend_on_the_order_of_rows():
    """DM-14: Nor on anything but the rows."""
    table = mixed()
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    assert fit_layout(table, COLUMNS) == fit_layout(shuffled, COLUMNS)


def test_names_may_be_those_that_queries_use():
    """DM-14: A column may be called b, n or place: nothing is taken for something else."""
    table = mixed(300)
    plain = table.select(["x", "few", "carrier", "late"]).rename_columns(["b", "n", "v", "place"])
    renamed = plain.append_column("l", table["when"])
    found = profile(renamed, fit_layout(plain), day="l")
    expected = profile(table, fit_layout(table, ["x", "few", "carrier", "late"]), day="when")
    assert np.array_equal(found.cells("b"), expected.cells("x"))
    assert np.array_equal(found.cells("v"), expected.cells("carrier"))
    assert np.array_equal(found.joint().families["product"].means, expected.joint().families["product"].means)


def test_names_may_be_anything():
    """DM-14: Quotes in names of columns and categories, unicode, and a day column of dates or of times with a zone."""
    days = [date(2013, 1, 1), date(2013, 1, 2)] * 30
    table = pa.table({'a "b"': [1.0, 2.0] * 30, "c'd": ["x'y", "雪"] * 30, "day": days})
    layout = fit_layout(table, ['a "b"', "c'd"])
    by_date = profile(table, layout, day="day")
    assert by_date.cells("c'd").tolist() == [[30, 0, 0], [0, 30, 0]]
    zoned = table.set_column(2, "day", pa.array([datetime(2013, 1, d.day, 23) for d in days], pa.timestamp("us", "UTC")))
    assert profile(zoned, layout, day="day") == by_date


number = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-3, 3).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
word = st.one_of(
    st.none(), st.sampled_from(["UA", "AA", "", "é'\""]), st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=3)
)


@given(
    lines=st.lists(st.tuples(st.sampled_from([1, 2, 3, None]), number, number, word), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    order=st.randoms(use_true_random=False),
    bound=st.sampled_from([1, 3, 1000]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_parts_in_any_order_add_up_to_the_whole(lines, cuts, order, bound):
    """DM-14: Rows cut anywhere, shuffled, added in any order: bit for bit what counting all of them gives, the joint sample included."""
    fitted = mixed(400, seed=3)
    layout = LAYOUTS.setdefault(bound, fit_layout(fitted.select(["x", "few", "carrier"]), sample_rows=bound))
    whole = profile(_table(lines), layout, day="when")
    shuffled = order.sample(lines, len(lines))
    borders = sorted({0, len(lines), *(min(cut, len(lines)) for cut in cuts)})
    parts = [profile(_table(shuffled[a:b]), layout, day="when") for a, b in pairwise(borders)]
    order.shuffle(parts)
    total = profile(_table([]), layout, day="when")
    for part in parts:
        total += part
    assert total == whole
    states = [state for part in parts for state in part.blocks.values()]
    order.shuffle(states)
    assert sum_of(states, layout) == whole.merged()
    assert all(state.joint.rows <= bound or state.joint.level == LEVELS - 1 for state in whole.blocks.values())


@given(
    lines=st.lists(st.tuples(st.sampled_from([1, 2, 3, None]), number, number, word), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    order=st.randoms(use_true_random=False),
    bound=st.sampled_from([1, 3, 1000]),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_states_of_batches_merge_in_any_order(lines, cuts, order, bound):
    """DM-14: Rows cut into batches anywhere, batches dealt to places, states pickled and merged in any order: the passes' own addition
    gives what one batch of all rows gives, by day and by category apart."""
    fitted = mixed(400, seed=3)
    layout = LAYOUTS.setdefault(bound, fit_layout(fitted.select(["x", "few", "carrier"]), sample_rows=bound))
    for work in (ByDay(layout, "when"), ByGroupAndDay(ByDay(layout, "when"), "carrier")):
        whole = run(work, _table(lines))
        shuffled = order.sample(lines, len(lines))
        borders = sorted({0, len(lines), *(min(cut, len(lines)) for cut in cuts)})
        states = [work.empty() for _ in range(3)]
        for first, end in pairwise(borders):
            place = order.randrange(3)
            for batch in _table(shuffled[first:end]).to_batches():
                states[place] = work.add(states[place], batch)
        order.shuffle(states)
        merged = functools.reduce(work.merge, [pickle.loads(pickle.dumps(state)) for state in states])
        assert work.finish(merged) == whole


@pytest.mark.parametrize("waiting", [joint.WAITING, 10], ids=["summed late", "summed at once"])
def test_merging_leaves_the_other_state_as_it_is(monkeypatch, waiting):
    """DM-14: A state that was merged into one may be finished by itself, and its rows count once in each: those of the joint sample whether
    they are summed or still wait for it, those of categories that the layout does not know by name."""
    monkeypatch.setattr(joint, "WAITING", waiting)
    table, more = mixed(600, seed=8), mixed(200, seed=9)
    work = ByDay(fit_layout(table.filter(pc.equal(table["carrier"], "UA")), COLUMNS, sample_rows=100), "when")
    first, second = fold(work, table.slice(0, 250)), fold(work, table.slice(250))
    merged = work.merge(work.merge(work.empty(), second), first)
    merged = work.add(merged, more.combine_chunks().to_batches()[0])
    whole = run(work, pa.concat_tables([table, more]))
    assert work.finish(merged) == whole
    assert whole.unseen("carrier")["AA"].sum() > 100
    assert work.finish(first) == run(work, table.slice(0, 250))
    assert work.finish(second) == run(work, table.slice(250))


def test_states_of_other_layouts_are_not_merged():
    """DM-14: Their cells are not the same cells."""
    table = mixed(400)
    one, other = ByDay(fit_layout(table, ["x"]), "when"), ByDay(fit_layout(table, ["few"]), "when")
    with pytest.raises(ValueError, match="only if they were counted on the same layout"):
        one.merge(one.empty(), fold(other, table))


LAYOUTS: dict[int, object] = {}


def _table(lines):
    when, x, few, carrier = zip(*lines, strict=True) if lines else [()] * 4
    table = rows(when, x=pa.array(x, pa.float64()), few=pa.array(few, pa.float64()), carrier=pa.array(carrier, pa.string()))
    times = [
        None if day is None else datetime(2013, 1, day, len(c or "")) for day, c in zip(when, carrier, strict=True)
    ]  # wherever it stands
    return table.set_column(0, "when", pa.array(times, pa.timestamp("us")))


def test_sums_over_many_rows_do_not_depend_on_how_they_are_cut():
    """DM-14: Thousands of rows with the sample bounded: halves, interleaved thirds and single days give the same state."""
    table = mixed(6000, seed=5)
    layout = fit_layout(table, COLUMNS, sample_rows=100)
    whole = profile(table, layout, day="when")
    assert all(25 <= state.joint.rows <= 100 for state in whole.blocks.values())
    for parts in (2, 3, 7):
        some = [profile(table.take(np.arange(i, 6000, parts)), layout, day="when") for i in range(parts)]
        total = some[0]
        for part in some[1:]:
            total += part
        assert total == whole


def test_files_and_datasets_are_counted_like_tables(tmp_path):
    """DM-14: One table, its Parquet files, and a dataset over them."""
    table = mixed(2000)
    layout = fit_layout(table, COLUMNS)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    pq.write_table(table.slice(0, 700), files[0])
    pq.write_table(table.slice(700), files[1])
    expected = profile(table, layout, day="when")
    assert profile(files, layout, day="when") == expected
    assert profile(pyarrow.dataset.dataset(files), layout, day="when") == expected


def test_groups_of_rows_are_counted_apart_in_one_pass(tmp_path):
    """DM-14: Each as by itself, from a table or a dataset; rows of no group are not counted."""
    table = mixed(2000)
    layout = fit_layout(table, COLUMNS, sample_rows=100)
    group = pa.array([None if i % 7 == 0 else f"g{i // 500 % 3}" for i in range(2000)])
    grouped = table.append_column("group", group)
    expected = {name: profile(table.filter(pc.equal(group, name)), layout, day="when") for name in ("g0", "g1", "g2")}
    work = ByGroupAndDay(ByDay(layout, "when"), "group")
    assert run(work, grouped) == expected
    pq.write_table(grouped, tmp_path / "a.parquet")
    found = pyarrow.dataset.dataset(tmp_path / "a.parquet").filter(pc.field("group") != "g1")
    assert run(work, found) == {name: expected[name] for name in ("g0", "g2")}


def test_rows_in_any_order_are_counted_alike():
    """DM-14: Sorted rows are counted run by run, mixed ones by key: the states are the same; so are whole numbers of any width, and -0 is
    0."""
    rng = np.random.default_rng(4)
    days = np.sort(rng.integers(1, 28, 5000))
    whole = np.where(rng.random(5000) < 0.02, 2**40, rng.integers(-50, 400, 5000))
    few = np.where(rng.random(5000) < 0.5, -0.0, rng.integers(0, 5, 5000).astype(float))
    table = rows(days.tolist(), whole=pa.array(whole, mask=rng.random(5000) < 0.1), few=few)
    layout = fit_layout(table, ["whole", "few"])
    expected = profile(table, layout, day="when")
    assert profile(table.take(rng.permutation(5000)), layout, day="when") == expected
    as_number = table.set_column(1, "whole", table["whole"].cast(pa.float64()))
    assert profile(as_number, layout, day="when") == expected
    assert expected.merged().columns["few"].exact.tolist() == [*(int((few == v).sum()) for v in range(5)), 0]
    for few_bits in (pa.int8(), pa.uint16()):
        narrow = table.set_column(2, "few", table["few"].cast(few_bits, safe=False))
        assert np.array_equal(profile(narrow, layout, day="when").exact("few"), expected.exact("few"))


def test_days_before_1970_and_other_zones():
    """DM-14: A day is one of UTC, whatever the zone that a time is told in, and before 1970 too."""
    times = [datetime(1969, 12, 31, 23), datetime(1969, 12, 31, 1), datetime(1970, 1, 1)]
    table = pa.table(
        {"when": pa.array(times, pa.timestamp("us", "UTC")).cast(pa.timestamp("ns", "America/New_York")), "x": [1.0, 2.0, 3.0]}
    )
    found = profile(table, fit_layout(table, ["x"]), day="when")
    assert {day: state.rows for day, state in found.blocks.items()} == {date(1969, 12, 31): 2, date(1970, 1, 1): 1}


def test_names_hash_alike_in_any_company():
    """DM-14: The hash of a name depends on its bytes alone; others of many have other hashes, spread evenly."""
    names = [f"id{i}é" for i in range(20_000)] + ["", "a", "a\x00"]
    hashes = name_hashes(names)
    assert len(set(hashes.tolist())) == len(names)
    assert name_hashes(names[::-1]).tolist() == hashes[::-1].tolist()
    assert name_hashes([]).tolist() == []
    counts = np.bincount((hashes % HASH_CELLS).astype(np.int64), minlength=HASH_CELLS)
    assert ((counts - counts.mean()) ** 2).sum() / counts.mean() < 2 * HASH_CELLS


def test_the_sample_is_a_fair_one():
    """DM-14: Of each level a quarter goes on to the next; the mean over the sample is near the mean over all rows."""
    rng = np.random.default_rng(7)
    table = rows([1] * 40_000, x=rng.normal(size=40_000), y=rng.normal(size=40_000))
    layout = fit_layout(table, ["x", "y"], sample_rows=4000)
    joint = profile(table, layout, day="when").merged().joint
    rest = np.cumsum(joint.levels[::-1])[::-1]
    assert rest[0] == 40_000
    assert np.allclose(rest[1:5] / rest[:4], 0.25, atol=0.03)
    assert 1000 <= joint.rows <= 4000
    means = profile(table, layout, day="when").joint()
    assert abs(means.families["mean"].means).max() < 4 / math.sqrt(joint.rows)
    assert np.allclose(means.families["square"].means, 1, atol=0.15)


def test_sample_levels():
    """DM-14: The lowest that fits; the last one if none does."""
    levels = np.array([300, 80, 20, 0, 0, 0, 0, 0])
    assert [sample_level(levels, bound) for bound in (400, 399, 100, 99, 20, 19)] == [0, 1, 1, 2, 2, 3]
    assert sample_level(np.full(LEVELS, 9), 1) == LEVELS - 1


def test_what_is_seen_together_agrees_with_floating_point():
    """DM-14: Fixed-point sums against plain NumPy: scores, squares, products, shares, crossed ones and Fourier features."""
    rng = np.random.default_rng(11)
    a = rng.normal(size=900)
    b = 0.6 * a + 0.8 * rng.normal(size=900)
    kind = np.where(rng.random(900) < 0.3 + 0.3 * (a > 0), "x", "y")
    table = rows([1] * 900, a=a, b=b, kind=kind)
    layout = fit_layout(table, ["a", "b", "kind"])
    found = profile(table, layout, day="when").joint()
    assert found.rows.tolist() == [900]
    family = {name: f.means[0] for name, f in found.families.items()}
    z = np.stack([_scores(layout, name, values) for name, values in (("a", a), ("b", b))])
    (mark,) = layout.joint.indicators
    marked = kind == mark[1]
    share = layout.joint.shares[0]
    c = (marked - share) / math.sqrt(share * (1 - share))
    assert np.allclose(family["mean"], z.mean(axis=1))
    assert np.allclose(family["square"], (z**2).mean(axis=1))
    assert np.allclose(family["product"], (z[0] * z[1]).mean())
    assert 0.5 < family["product"][0] < 0.7
    assert np.allclose(family["share"], marked.mean())
    assert np.allclose(family["cross"], (z * c).mean(axis=1))
    weights = np.random.default_rng(layout.joint.seed).normal(size=(3, 128)) * 0.7 / math.sqrt(2)
    phase = np.vstack([z, c]).T @ weights
    assert np.allclose(family["cos"], np.cos(phase).mean(axis=0), atol=2e-3)
    assert np.allclose(family["sin"], np.sin(phase).mean(axis=0), atol=2e-3)
    assert found.families["product"].names == (("a", "b"),)
    assert found.families["cross"].names == (("a", f"kind={mark[1]}"), ("b", f"kind={mark[1]}"))


def _scores(layout, name, values):
    cells = np.searchsorted(layout.column(name).grid.edges(), values, side="right") - 1
    return np.array(layout.joint.scores[layout.joint.numeric.index(name)])[cells] / UNIT


def test_a_missing_value_is_neither_high_nor_low():
    """DM-14: Where a number is missing its score is 0."""
    table = rows([1] * 60, a=[1.0, 2.0, None] * 20, b=[2.0, 1.0, 3.0] * 20)
    layout = fit_layout(table, ["a", "b"])
    sums = Adder(layout.joint).sums(np.array([[-1, -1], [-1, -1]]), np.array([0]))
    assert sums[0, :2].tolist() == [0, 0]


def test_fewer_columns_keep_what_concerns_them_alone():
    """DM-14: Their counts, and sums of nothing but them; Fourier features mix all columns and go."""
    table = mixed()
    found = profile(table, fit_layout(table, COLUMNS), day="when")
    few = found.only(["x", "few", "nowhere"])
    assert few.layout.names == ("x", "few")
    assert np.array_equal(few.cells("x"), found.cells("x"))
    assert few.joint().families["product"].names == (("x", "few"),)
    whole = found.joint().families["product"]
    assert np.array_equal(few.joint().families["product"].means[:, 0], whole.means[:, whole.names.index(("x", "few"))])
    assert few.joint().families["cos"].names == ()
    assert found.only(found.layout.names) == found


def test_rows_are_counted_on_a_layout_of_fewer_columns():
    """DM-14: Also if one of those that decide the sample is not among them: the counts are those of the whole layout."""
    table = mixed()
    found = profile(table, fit_layout(table, COLUMNS, sample_rows=100), day="when")
    narrow = found.only([name for name in COLUMNS if name != found.layout.joint.sampled_by[0]])
    again = profile(table, narrow.layout, day="when")
    for name in narrow.layout.names:
        assert np.array_equal(again.cells(name), narrow.cells(name))
    assert all(25 <= rows <= 100 for rows in again.joint().rows)


def test_days_are_chosen_and_sums_of_other_layouts_refused():
    """DM-14: `select` takes both ends; two layouts cannot be added."""
    table = mixed()
    layout = fit_layout(table, COLUMNS)
    found = profile(table, layout, day="when")
    chosen = found.select(date(2013, 1, 2), date(2013, 1, 2))
    assert list(chosen.blocks) == [date(2013, 1, 2)]
    assert found.select(None, date(2013, 1, 1)) + found.select(date(2013, 1, 2)) == found
    with pytest.raises(ValueError, match="the same layout"):
        found.merged() + State.zero(fit_layout(table, ["x"]))


def test_rows_in_blocks_of_any_kind():
    """DM-14: By a column, by given labels, or dealt out at random; the sum is the same."""
    table = mixed(1000)
    layout = fit_layout(table, COLUMNS)
    total = profile(table, layout, day="when").merged()
    by_column = profile(table, layout, blocks="late")
    assert list(by_column.blocks) == [False, True]
    by_label = profile(table, layout, blocks=["a" if i < 400 else "b" for i in range(1000)])
    assert {label: state.rows for label, state in by_label.blocks.items()} == {"a": 400, "b": 600}
    dealt = profile(table, layout, blocks=8)
    assert dealt.rows().tolist() == [125] * 8
    assert by_column.merged() == by_label.merged() == dealt.merged()
    assert dealt.merged().columns == total.columns  # where days are told, times choose the sample as well
    for wrong in ({}, {"day": "when", "blocks": 3}):
        with pytest.raises(ValueError, match="either a day column or blocks"):
            profile(table, layout, **wrong)


def test_no_value_is_sure_to_be_in_the_sample():
    """DM-14: Rows of zeros and of the first category have a level like all others: of 200 layouts' seeds a few have them in the rarest
    levels."""
    table = rows([1] * 50, a=[0.0, 1.0] * 25, kind=["x", "x", "x", "y", "z"] * 10)
    layout = fit_layout(table, ["a", "kind"])
    rarest = 0
    for seed in range(200):
        seeded = layout.model_copy(update={"joint": layout.joint.model_copy(update={"seed": seed})})
        zeros = profile(rows([1], a=[0.0], kind=["x"]), seeded, day="when").merged()
        rarest += int(zeros.joint.levels[2:].sum())
    assert 0 < rarest < 40
