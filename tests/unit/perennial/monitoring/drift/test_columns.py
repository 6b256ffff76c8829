"""What is asked of one column: which questions, by which statistics, and with which words and bars."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from perennial.monitoring import permutation
from perennial.monitoring.drift import effects
from perennial.monitoring.drift.blocks import Column
from perennial.monitoring.drift.columns import WatchedColumn
from perennial.specs import MonitoringSpec

EDGES = np.array([-np.inf, *range(9)], dtype=float)
CENTRES = np.array([0.0, *(np.arange(8) + 0.5), 8.0])


def labels_of(reference, current):
    """All labellings of a few blocks."""
    return permutation.labellings(reference, current, np.random.default_rng(1))[0]


def questions(column, reference, *, thinned=None, predicted=False, since=""):
    """What is asked, by kind."""
    labels = labels_of(reference, len(column.counts) - reference)
    watched = WatchedColumn(column, thinned or column, labels, reference, MonitoringSpec(), since, predicted)
    return {question.kind: question for question in watched.questions()}


def numbers(counts, nulls=None, **more):
    """A number, by cells of width one."""
    counts = np.array(counts, dtype=float)
    return Column(
        "x", counts, np.zeros(len(counts)) if nulls is None else np.array(nulls, dtype=float), edges=EDGES, centres=CENTRES, **more
    )


def categories(counts, nulls=None):
    """Categories a, b, c, ..."""
    counts = np.array(counts, dtype=float)
    return Column(
        "x", counts, np.zeros(len(counts)) if nulls is None else np.array(nulls, dtype=float), labels="abcdefgh"[: counts.shape[1]]
    )


def test_only_what_there_is_is_asked():
    """MN-01: no shift without a value, nothing of missing ones where none is, no new category where a labelling can make none."""
    some, three = [[5, 5], [5, 5], [5, 5]], [[0, 0]] * 3
    assert set(questions(categories(some), 2)) == {"shift"}
    assert set(questions(categories(some, [0, 0, 1]), 2)) == {"shift", "nulls"}
    assert set(questions(categories(three, [3, 3, 3]), 2)) == {"nulls"}
    assert set(questions(categories(three), 2)) == set()
    assert set(questions(categories([[5, 0], [5, 0], [5, 1]]), 2)) == {"shift", "new category"}
    assert set(questions(categories([[5, 0], [5, 1], [5, 1]]), 2)) == {"shift"}
    assert set(questions(categories([[5, 0], [5, 1], [5, 1]]), 1)) == {"shift", "new category"}  # two blocks are the window
    assert set(questions(categories(some), 2, predicted=True)) == {"predictions"}
    assert set(questions(numbers(np.eye(3, 10)), 2)) == {"shift"}


def test_effects_are_those_of_the_column_and_statistics_those_of_blocks_of_one_size():
    """MN-01: what is told is of all rows, what is judged is of the thinned ones."""
    column, thinned = categories([[80, 20], [6, 4], [8, 2]], [10, 1, 1]), categories([[5, 4], [6, 4], [8, 2]], [1, 1, 1])
    asked = questions(column, 2, thinned=thinned)
    labels = labels_of(2, 1)
    assert asked["shift"].effect(1 - labels[:1], labels[:1]) == pytest.approx([0.8 - 86 / 110])
    assert asked["shift"].statistics[0].values == pytest.approx(permutation.chi_square(thinned.counts, labels))
    assert asked["shift"].statistics[0].ratio == pytest.approx(permutation.between_blocks(thinned.counts))
    [nulls] = asked["nulls"].statistics
    assert nulls.values[0] == pytest.approx(abs(1 / 11 - 2 / 21))
    both = np.column_stack([thinned.nulls, thinned.counts.sum(axis=1)])
    assert nulls.ratio == pytest.approx(permutation.between_blocks(both))


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_judged_by_normal_scores_of_their_ranks(seed):
    """MN-01: mean and mean square of SciPy's normal scores of the rows' mid-ranks, by labelling; and they do not depend on the unit."""
    rng = np.random.default_rng(seed)
    cells = [rng.integers(0, 10, 40) for _ in range(5)]
    column = numbers([np.bincount(c, minlength=10) for c in cells])
    labels = labels_of(3, 2)
    statistics = questions(column, 3)["shift"].statistics
    rank = (stats.rankdata(np.concatenate(cells)) - 0.5) / 200
    scores = stats.norm.ppf(rank).reshape(5, 40)
    for statistic, by_row in zip(statistics[1:3], (scores, scores**2), strict=True):
        wanted = [abs(by_row[row == 1].mean() - by_row[row == 0].mean()) for row in labels]
        assert statistic.values == pytest.approx(wanted)
    assert len(statistics) == 4
    assert statistics[3].values == pytest.approx(permutation.chi_square(column.counts, labels))
    stretched = Column("x", column.counts, column.nulls, edges=EDGES**3 * 7, centres=CENTRES * 100)
    for one, other in zip(statistics, questions(stretched, 3)["shift"].statistics, strict=True):
        assert one.values == pytest.approx(other.values)


def test_what_only_few_values_show_is_judged_by_them():
    """MN-01: chi-square of each listed value, and values that only the window has; both no calmer than the ranges are."""
    exact = np.array([[30, 30, 0], [30, 30, 0], [30, 30, 0], [29, 28, 3]], dtype=float)
    column = numbers(
        np.insert(np.zeros((4, 8)), [3], exact[:, :2], axis=1) + np.eye(1, 10, 9) * exact[:, 2:], exact=exact, values=(2.0, 3.0)
    )
    labels = labels_of(3, 1)
    *_, fine, alone = questions(column, 3)["shift"].statistics
    together = np.column_stack([exact[:, :2], exact[:, 2]])  # of the third a window of one block expects less than five
    assert fine.values == pytest.approx(permutation.chi_square(together, labels))
    assert alone.values == pytest.approx(permutation.only_in_window(exact, labels))
    assert alone.values.tolist() == pytest.approx([0.05, 0, 0, 0])
    assert alone.floor == pytest.approx(1 / 60)  # one row of the sixty that a window is expected to have
    wild = np.array([[60, 0, 0], [0, 60, 0], [60, 0, 0], [0, 60, 0]], dtype=float)
    flat = numbers(np.tile(np.eye(1, 10, 3) * 60, (4, 1)), exact=wild, values=(3.0, 3.5))
    first, *_, last, only = questions(flat, 3)["shift"].statistics
    assert (first.ratio, last.ratio, only.ratio) == (0.0, permutation.between_blocks(wild), permutation.between_blocks(wild))


def test_a_new_category_is_judged_by_its_rows_in_the_window_alone():
    """MN-01: with a floor of one row, so that a single one is no surprise; a window that expects less than a row has a floor of one."""
    column = categories([[50, 0], [50, 0], [47, 3]])
    [statistic] = questions(column, 2)["new category"].statistics
    assert statistic.values.tolist() == pytest.approx([0.06, 0, 0])
    assert statistic.floor == pytest.approx(1 / 50)
    assert statistic.ratio == pytest.approx(permutation.between_blocks(np.column_stack([column.counts[:, 0], column.counts[:, 1]])))
    [tiny] = questions(categories([[0, 0], [1, 0], [0, 1]]), 2)["new category"].statistics
    assert tiny.floor == 1.0


def told(question):
    """Sentence and bars of a finding."""
    sentence, bins = question.describe()
    return sentence, [(b.label, b.reference, b.window) for b in bins]


def test_a_shift_is_told_with_its_bars():
    """MN-01: of all rows of either side; the category or range that changed most, since when."""
    column = categories([[30, 10], [30, 10], [10, 30]])
    assert told(questions(column, 2, since=" since 3 May")["shift"]) == (
        "`x`: a: 75 % → 25 % of rows since 3 May",
        [("a", 0.75, 0.25), ("b", 0.25, 0.75), ("all others", 0.0, 0.0)],
    )
    high = numbers([[0, 6, 3, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 4, 5]])
    sentence, bars = told(questions(high, 1)["shift"])
    assert sentence == "`x`: below 7: 100 % → 0.0 % of rows"
    assert sum(b[1] for b in bars) == pytest.approx(1, abs=1e-5)
    assert (bars[0][0], bars[0][1:]) == ("below 1", (0.666667, 0.0))


def test_values_outside_the_known_are_told_if_most_went_there():
    """MN-01: half of what moved or more, and only where there are more of them than before."""

    def sentence(before, after):
        exact = np.array([before, after], dtype=float)
        column = numbers(
            np.column_stack([exact, np.zeros((2, 10 - exact.shape[1]))]), exact=exact, values=(0.0, 1.0, 2.0)[: exact.shape[1] - 1]
        )
        return told(questions(column, 1)["shift"])[0]

    assert sentence([50, 50, 0], [50, 46, 4]) == "`x`: values that are none of the 2 known: 0.0 % → 4.0 % of rows"
    assert sentence([40, 40, 20], [41, 25, 34]) == "`x`: values that are none of the 2 known: 20 % → 34 % of rows"
    assert "none of the 2 known" in sentence([32, 32, 0], [36, 24, 4])  # four of eight that moved
    for after in ([37, 24, 3], [20, 44, 0], [32, 32, 0]):
        assert "known" not in sentence([32, 32, 0], after)
    assert "known" not in sentence([25, 50, 25], [60, 15, 25])
    assert "known" not in sentence([50, 30, 20], [60, 40, 0])


def test_missing_values_are_told_with_two_bars():
    """MN-01: of values and missing ones together."""
    column = categories([[7], [14], [5]], [3, 6, 5])
    assert told(questions(column, 2, since=" since 3 May")["nulls"]) == (
        "`x`: missing 30 % → 50 % of rows since 3 May",
        [("missing", 0.3, 0.5), ("present", 0.7, 0.5)],
    )


def test_new_categories_are_told_by_their_share():
    """MN-01: the most frequent first, with how many more there are; those that the reference has are none."""
    column = categories([[50, 5, 0, 0, 0, 0], [50, 0, 0, 0, 0, 0], [50, 9, 10, 0, 20, 11]])
    assert told(questions(column, 2)["new category"]) == (
        "`x`: new category e: 0.0 % → 20 % of rows and 2 more",
        [("e", 0.0, 0.2), ("f", 0.0, 0.11), ("c", 0.0, 0.1)],
    )
    one = categories([[50, 0, 0], [50, 0, 0], [49, 1, 0]])
    assert told(questions(one, 2)["new category"]) == ("`x`: new category b: 0.0 % → 2.0 % of rows", [("b", 0.0, 0.02)])
    gone = categories([[49, 1], [50, 0], [50, 0]])
    assert told(questions(gone, 2)["new category"]) == ("`x`: no new category", [])
    assert questions(gone, 2)["new category"].effect(np.array([[1.0, 1, 0]]), np.array([[0.0, 0, 1]])) == pytest.approx([0.0])


def test_forty_new_categories_have_bars():
    """MN-01: all are counted in the sentence's share, the most frequent forty are drawn."""
    counts = np.zeros((3, 46))
    counts[:, 0], counts[2, 1:] = 100, np.arange(45, 0, -1)
    column = Column("x", counts, np.zeros(3), labels=[f"c{i}" for i in range(46)])
    sentence, bars = told(questions(column, 2)["new category"])
    assert [label for label, _, _ in bars] == [f"c{i}" for i in range(1, 41)]
    assert sentence.startswith("`x`: new category c1: 0.0 % → 4.0 % of rows")


def test_how_far_a_number_moved_is_beyond_the_tolerance_on_the_reference():
    """MN-01: the spec's part of the standard deviation of the reference alone, however the window scatters."""
    column = numbers([[0, 5, 0, 0, 0, 5, 0, 0, 0, 0], [0, 5, 0, 0, 0, 5, 0, 0, 0, 0], [0, 0, 0, 5, 0, 0, 0, 5, 0, 0]])
    labels = labels_of(2, 1)
    assert effects.spread_of(column, 2) < effects.spread_of(column, 3)
    for tolerance_sd in (0.0, 0.5, 0.51, 1.5):
        watched = WatchedColumn(column, column, labels, 2, MonitoringSpec(tolerance_sd=tolerance_sd), "", False)
        [asked] = watched.questions()
        wanted = effects.moved_numbers(column, 2, tolerance_sd)
        assert asked.effect(1 - labels, labels) == pytest.approx(wanted(1 - labels, labels))
    assert [effects.moved_numbers(column, blocks, 0.5)(1 - labels[:1], labels[:1]).tolist() for blocks in (2, 3)] == [[0.5], [0.0]]


def test_one_row_in_ten_thousand_is_the_farthest_out():
    """MN-01: of many rows the outermost counts as if it stood at that rank, at either end alike, and a row nearer the middle as it is."""
    for outermost in (1, 1000):
        counts = np.full((3, 10), 6000.0)
        counts[:, [0, 9]] = 0
        counts[0, 0] = counts[1, 9] = outermost
        asked = questions(numbers(counts), 2)["shift"].statistics
        pooled = counts.sum(axis=0)
        rank = (np.cumsum(pooled) - pooled / 2) / pooled.sum()
        scores = stats.norm.ppf(np.maximum(np.minimum(rank, 0.9999), 0.0001))
        assert asked[1].values[0] == pytest.approx(
            abs(scores @ counts[2] / counts[2].sum() - scores @ counts[:2].sum(axis=0) / counts[:2].sum())
        )
        for statistic, by_cell in zip(asked[1:3], (scores, scores**2), strict=True):
            assert statistic.values == pytest.approx(
                permutation.mean_difference(counts @ by_cell, counts.sum(axis=1), labels_of(2, 1)), rel=1e-5
            )


def test_bars_have_six_digits():
    """MN-01: those of a shift, of missing values and of new categories, as a report writes them."""
    asked = questions(categories([[20, 10, 0], [0, 0, 0], [10, 10, 10]], [60, 0, 60]), 2)
    assert told(asked["shift"])[1] == [("a", 0.666667, 0.333333), ("b", 0.333333, 0.333333), ("all others", 0.0, 0.333333)]
    assert told(asked["nulls"])[1] == [("missing", 0.666667, 0.666667), ("present", 0.333333, 0.333333)]
    assert told(asked["new category"])[1] == [("c", 0.0, 0.333333)]


def test_new_categories_that_are_as_frequent_stand_in_their_order():
    """MN-01: of fifty alike the first forty, and since when it is said."""
    counts = np.zeros((3, 51))
    counts[:, 0], counts[2, 1:] = 100, 1
    column = Column("x", counts, np.zeros(3), labels=[f"c{i}" for i in range(51)])
    sentence, bars = told(questions(column, 2, since=" since 3 May")["new category"])
    assert [label for label, _, _ in bars] == [f"c{i}" for i in range(1, 41)]
    assert sentence == "`x`: new category c1: 0.0 % → 0.7 % of rows and 39 more since 3 May"


def test_every_question_is_about_its_column_and_has_the_effect_of_its_kind():
    """MN-01: by name, and in the unit of the kind: rows that moved, missing values, rows of the largest new category."""
    column = categories([[80, 20, 0], [60, 40, 0], [30, 40, 20]], [0, 10, 10])
    asked, labels = questions(column, 2), labels_of(2, 1)
    assert {kind: question.column for kind, question in asked.items()} == {"shift": "x", "nulls": "x", "new category": "x"}
    window = 1 - labels[:1], labels[:1]
    assert asked["shift"].effect(*window) == pytest.approx([0.7 - 30 / 90])
    assert asked["nulls"].effect(*window) == pytest.approx([0.1 - 10 / 210])
    assert asked["new category"].effect(*window) == pytest.approx([20 / 90])


def test_a_little_less_than_half_of_what_moved_is_not_all_that_is_told():
    """MN-01: nine of twenty rows went to values that are not known: the range that changed most is told, with its ending."""
    exact = np.array([[50, 50, 0], [61, 30, 9]], dtype=float)
    column = numbers(np.column_stack([exact, np.zeros((2, 7))]), exact=exact, values=(0.0, 1.0))
    sentence, _ = told(questions(column, 1, since=" since 3 May")["shift"])
    assert sentence == "`x`: 0 to 1: 50 % → 30 % of rows since 3 May"


def test_what_only_ranges_show_is_as_volatile_as_they_are():
    """MN-01: chi-square of ranges and both moments of a number are of one family."""
    rng = np.random.default_rng(5)
    statistics = questions(numbers(rng.multinomial(200, np.full(10, 0.1), size=5)), 3)["shift"].statistics
    assert len({statistic.ratio for statistic in statistics[:3]}) == 1
    assert statistics[3].ratio >= statistics[0].ratio > 0
