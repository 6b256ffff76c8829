"""How far something moved: small cases by hand, what changes nothing, and the width of an interval."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.monitoring.drift import effects
from perennial.monitoring.drift.blocks import Column

FIRST, SECOND = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])  # weights of two blocks


def numbers(counts, edges=None):
    """A column of one cell below nothing and cells of width one from 0 on, unless edges are given."""
    counts = np.array(counts, dtype=float)
    edges = np.array([-np.inf, *range(counts.shape[1] - 1)] if edges is None else edges, dtype=float)
    middle = (edges[1:-1] + edges[2:]) / 2
    return Column("x", counts, np.zeros(len(counts)), edges=edges, centres=np.array([edges[1], *middle, edges[-1]]))


@pytest.mark.parametrize(
    ("counts", "share"), [([[9, 1], [1, 9]], 0.8), ([[5, 5], [50, 50]], 0.0), ([[1, 0], [0, 1]], 1.0), ([[3, 0, 0], [0, 1, 1]], 1.0)]
)
def test_rows_that_changed_their_category_by_hand(counts, share):
    """MN-01: the share that would have to be moved; the same from the other side, of more rows and in another order."""
    counts = np.array(counts, dtype=float)
    for same in (counts, counts[:, ::-1], counts * 7, np.insert(counts, 1, 0, axis=1)):
        moved = effects.moved_categories(same)
        assert moved(FIRST, SECOND) == pytest.approx([share])
        assert moved(SECOND, FIRST) == pytest.approx([share])
        assert moved(FIRST, FIRST) == pytest.approx([0.0])


def by_definition(column, tolerance):
    """Over all pairs of edges that lie the tolerance apart or more: the largest share that went from one side of both to the other."""
    p, q = (np.cumsum(c / c.sum())[:-1] for c in column.counts)
    edges, largest = column.edges[1:], 0.0
    for high in range(len(edges)):
        for low in range(high + 1):
            if edges[low] <= edges[high] - tolerance + 1e-12:
                largest = max(largest, p[low] - q[high], q[low] - p[high])
    return largest


@pytest.mark.parametrize("tolerance_sd", [0.0, 0.3, 0.5, 1.0, 2.5, 40.0])
def test_rows_that_crossed_a_value_by_more_than_the_tolerance(tolerance_sd):
    """MN-01: against the definition, over random counts on uneven cells; alike from either side, and smaller with more tolerance."""
    rng = np.random.default_rng(1)
    for _ in range(8):
        edges = [-np.inf, *np.sort(rng.choice(60, 12, replace=False))]
        column = numbers(rng.multinomial(100, rng.dirichlet(np.ones(13)), size=2), edges)
        moved = effects.moved_numbers(column, 1, tolerance_sd)
        wanted = by_definition(column, tolerance_sd * effects.spread_of(column, 1))
        assert moved(FIRST, SECOND) == pytest.approx([wanted])
        assert moved(SECOND, FIRST) == pytest.approx([wanted])
        assert moved(FIRST, FIRST) == pytest.approx([0.0])
        assert effects.moved_numbers(column, 1, tolerance_sd + 0.2)(FIRST, SECOND)[0] <= wanted + 1e-12


def test_a_shift_by_just_the_tolerance_is_none():
    """MN-01: of a shift by two cells, half is seen past a tolerance of one, none past a little more: edges count."""
    column = numbers([[0, 50, 0, 0, 0, 50, 0, 0, 0], [0, 0, 0, 50, 0, 0, 0, 50, 0]])
    assert effects.spread_of(column, 1) == pytest.approx(2.0)
    assert effects.moved_numbers(column, 1, 0.5)(FIRST, SECOND) == pytest.approx([0.5])
    assert effects.moved_numbers(column, 1, 0.51)(FIRST, SECOND) == pytest.approx([0.0])


def test_the_spread_is_that_of_the_reference_by_hand():
    """MN-01: of its rows alone, in the unit of the edges; where all rows lie in one cell it is zero."""
    column = numbers([[0, 1, 0, 0, 0, 1], [0, 3, 0, 0, 0, 3], [9, 9, 9, 9, 9, 9]], [-np.inf, 0, 10, 20, 30, 40])
    assert effects.spread_of(column, 2) == pytest.approx(17.5)  # 5 and 40, which stands for all beyond
    assert effects.spread_of(numbers([[0, 0, 7, 0]]), 1) == 0.0
    assert effects.spread_of(numbers([[0, 0, 1, 0]]), 1) == 0.0


@pytest.mark.parametrize("side", [0, -1])
@pytest.mark.parametrize(("far", "stretches"), [(7, False), (15, True)])
def test_a_thousandth_far_out_at_either_end_does_not_stretch_the_spread(side, far, stretches):
    """MN-01: seven in ten thousand fill values count as if they lay at the end of the others, fifteen count as they are."""
    counts = np.array([[0.0, 0, 5000, 5000, 0, 0]])
    counts[0, side] = far
    counts[0, 2] -= far
    spread = effects.spread_of(numbers(counts, [-np.inf, -1e6, 0, 1, 2, 1e6]), 1)
    assert (spread > 1000) == stretches
    if not stretches:
        assert spread == pytest.approx(0.5, abs=0.001)


def test_missing_values_by_hand():
    """MN-01: the difference of the shares, whatever has more; a side without rows has none missing."""
    column = Column("x", np.array([[3.0], [9.0], [0.0]]), np.array([1.0, 1.0, 0.0]))
    moved = effects.moved_nulls(column)
    weights = np.eye(3)
    assert moved(weights[:1], weights[1:2]) == pytest.approx([0.15])
    assert moved(weights[1:2], weights[:1]) == pytest.approx([0.15])
    assert moved(weights[2:], weights[:1]) == pytest.approx([0.25])
    assert effects.moved_nulls(Column("x", np.array([[0.0], [1.0]]), np.array([1.0, 0.0])))(FIRST, SECOND) == pytest.approx([1.0])


def test_the_share_of_a_new_category_by_hand():
    """MN-01: of the largest that no block of the reference has; rows of known ones count for the whole alone."""
    column = Column("x", np.array([[5.0, 0, 0, 0], [5, 1, 0, 0], [4, 2, 3, 1], [0, 0, 0, 1]]), np.zeros(4))
    assert effects.is_new(column, 2).tolist() == [False, False, True, True]
    share = effects.new_share(column, 2)
    weights = np.eye(4)
    nobody = np.zeros((1, 4))
    assert [float(share(nobody, weights[i : i + 1])[0]) for i in range(4)] == pytest.approx([0.0, 0.0, 0.3, 1.0])
    assert share(nobody, nobody) == pytest.approx([0.0])
    assert share(nobody, np.array([[0, 0, 1.0, 1.0]])) == pytest.approx([3 / 11])


def test_the_usual_effect_is_what_95_of_100_labellings_stay_below():
    """MN-01: of all of them, or of as many as may be asked, each once; the window is the labelling and the reference the rest."""
    labels = np.column_stack([np.arange(101.0), np.zeros(101)]) / 100
    rng = np.random.default_rng(1)
    assert effects.usual_effect(lambda before, after: after[:, 0], labels, 101, rng) == pytest.approx(0.95)
    assert effects.usual_effect(lambda before, after: after[:, 0], labels, 5000, rng) == pytest.approx(0.95)
    assert effects.usual_effect(lambda before, after: before[:, 0], labels, 101, rng) == pytest.approx(0.95)
    sizes = []
    effects.usual_effect(lambda before, after: sizes.append(np.unique(after, axis=0).shape) or after[:, 0], labels, 40, rng)
    assert sizes == [(40, 2)]


def test_an_interval_is_as_wide_as_the_blocks_scatter():
    """MN-01: of the difference of two means it is 1.96 standard errors to either side (within a tenth), of the blocks of both sides."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 1, 40), rng.normal(10, 3, 20)])

    def apart(before, after):
        return after @ values / after.sum(axis=1) - before @ values / before.sum(axis=1)

    observed = values[40:].mean() - values[:40].mean()
    error = np.sqrt(values[:40].var() / 40 + values[40:].var() / 20)
    low, high = effects.interval_of(apart, observed, 40, 60, 4000, rng)
    assert (observed - low, high - observed) == pytest.approx((1.96 * error, 1.96 * error), rel=0.1)


def test_an_interval_holds_its_effect_and_nothing_below_zero():
    """MN-01: blocks that are all alike give the effect alone; what resampling only enlarges is reflected, never beyond these ends."""
    same = effects.interval_of(lambda before, after: np.full(len(after), 0.3), 0.3, 5, 8, 50, np.random.default_rng(1))
    assert same == pytest.approx((0.3, 0.3))
    assert effects.interval_of(lambda before, after: np.full(len(after), 0.9), 0.3, 5, 8, 50, np.random.default_rng(1)) == (0.0, 0.3)
    low, high = effects.interval_of(lambda before, after: np.full(len(after), 0.5), 0.6, 5, 8, 50, np.random.default_rng(1))
    assert (low, high) == pytest.approx((0.7, 0.7))


def test_each_side_is_drawn_from_its_own_blocks():
    """MN-01: as many blocks as it has, with replacement, each about as often."""
    drawn = []
    effects.interval_of(lambda before, after: drawn.extend([before, after]) or after[:, 0], 0.0, 6, 10, 3000, np.random.default_rng(1))
    before, after = drawn
    assert (before.shape, after.shape) == ((3000, 10), (3000, 10))
    assert set(before[:, :6].sum(axis=1)) == {6.0}
    assert set(after[:, 6:].sum(axis=1)) == {4.0}
    assert not before[:, 6:].any()
    assert not after[:, :6].any()
    assert before[:, :6].mean(axis=0) == pytest.approx(np.ones(6), abs=0.1)
    assert after[:, 6:].mean(axis=0) == pytest.approx(np.ones(4), abs=0.1)


def test_the_lowest_edge_counts_like_any_other():
    """MN-01: rows that were below it and are above it now have moved."""
    moved = effects.moved_numbers(numbers([[10, 0, 0, 0], [0, 10, 0, 0]]), 1, 0.5)
    assert moved(FIRST, SECOND) == pytest.approx([1.0])


def test_the_spread_of_no_rows_is_zero():
    """MN-01: a column without a value on the reference is no error."""
    assert effects.spread_of(numbers([[0, 0, 0, 0]]), 1) == 0.0


def test_each_row_of_weights_has_a_share_of_its_own():
    """MN-01: of a new category, whatever other labellings give."""
    column = Column("x", np.array([[5.0, 0, 0], [4, 2, 3], [1, 0, 1]]), np.zeros(3))
    assert effects.new_share(column, 1)(np.zeros((3, 3)), np.eye(3)) == pytest.approx([0.0, 3 / 9, 1 / 2])
