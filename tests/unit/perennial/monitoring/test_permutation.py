"""Labels of blocks are exchanged: exact counts, families, and the false-alarm rate."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from perennial.monitoring import permutation
from perennial.monitoring.permutation import (
    DRAWN,
    Statistic,
    between_blocks,
    chi_square,
    labellings,
    max_t,
    mean_difference,
    normed,
    only_in_window,
    shares,
    standardised,
)


def test_every_labelling_is_enumerated_once_and_the_observed_comes_first():
    """MN-01: Seven and three blocks: each of the 120 choices of three once."""
    labels, exact = labellings(7, 3, np.random.default_rng(1))
    assert exact
    assert labels.shape == (120, 10)
    assert labels[0].tolist() == [0] * 7 + [1] * 3
    assert {tuple(np.flatnonzero(row)) for row in labels} == set(combinations(range(10), 3))


def test_too_many_labellings_are_drawn():
    """MN-01: Drawn labellings all have the window's number of blocks; the observed one is among them."""
    labels, exact = labellings(45, 5, np.random.default_rng(1))
    assert not exact
    assert labels.shape == (DRAWN + 1, 50)
    assert set(labels.sum(axis=1)) == {5.0}
    assert labels[0].tolist() == [0] * 45 + [1] * 5
    assert len(np.unique(labels, axis=0)) > DRAWN * 0.99


def test_an_exact_p_value_is_that_of_a_brute_force_count():
    """MN-01: The share of all choices of window blocks whose difference of the means, standardised over all choices, is at least the
    observed one."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=9) + np.array([0] * 6 + [1] * 3)
    labels, _ = labellings(6, 3, rng)
    p_value = max_t([Statistic(0, mean_difference(values, np.ones(9), labels), ratio=1.0)], 1).p_values[0]
    observed, beyond, all_choices = abs(values[6:].mean() - values[:6].mean()), 0, list(combinations(range(9), 3))
    for chosen in all_choices:
        rest = [i for i in range(9) if i not in chosen]
        beyond += abs(values[list(chosen)].mean() - values[rest].mean()) >= observed - 1e-9
    assert p_value == pytest.approx(beyond / len(all_choices))


def test_the_largest_of_a_family_is_what_counts():
    """MN-01: With many statistics the p-value is the share of labellings in which any of them stands out as much (brute force)."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(9, 20))
    labels, _ = labellings(6, 3, rng)
    differences = mean_difference(values, np.ones(9), labels)
    standard = (differences - differences.mean(axis=0)) / differences.std(axis=0)
    wanted = [(standard.max(axis=1) >= standard[0, i] - 1e-9).mean() for i in range(20)]
    judged = max_t([Statistic(i, differences[:, i], ratio=1.0) for i in range(20)], 20)
    assert judged.p_values == pytest.approx(wanted)
    assert set(judged.families) == {"all"}  # 84 labellings are too few to part alpha


def test_a_wild_column_does_not_hide_a_calm_one():
    """MN-01: Statistics that are volatile between blocks are a family apart, and both p-values are doubled."""
    rng = np.random.default_rng(4)
    calm = Statistic(0, np.append(4.0, np.abs(rng.normal(size=DRAWN))), ratio=1.0)
    wild = [Statistic(i, np.abs(rng.standard_t(2, size=DRAWN + 1)), ratio=9.0) for i in range(1, 40)]
    judged = max_t([calm, *wild], 40)
    assert judged.families[0] == "stable"
    assert set(judged.families[1:]) == {"volatile"}
    assert judged.p_values[0] == pytest.approx(2 * (calm.values >= 4.0).mean())
    assert judged.p_values[0] < 0.01
    alone = max_t([calm, *(Statistic(s.finding, s.values, ratio=1.0) for s in wild)], 40)
    assert alone.p_values[0] > judged.p_values[0]


def test_blocks_that_differ_by_themselves_are_told_from_independent_rows():
    """MN-01: Independent rows give about one, weather much more."""
    rng = np.random.default_rng(5)
    calm = rng.multinomial(500, [0.4, 0.3, 0.2, 0.1], size=60).astype(float)
    wild = np.stack([rng.multinomial(500, rng.dirichlet([8, 4, 2, 1])) for _ in range(60)]).astype(float)
    assert 0.4 < between_blocks(calm) < 1.6
    assert between_blocks(wild) > 8


def test_what_comes_in_bursts_is_volatile():
    """MN-01: Missing values that come on few days, but then many."""
    counts = np.tile([0.0, 500.0], (60, 1))
    counts[[7, 30, 44]] = [60, 440]
    assert between_blocks(counts) > 8


def test_what_only_the_window_holds():
    """MN-01: The largest share of one cell that the rest has not at all, by labelling: against a plain count."""
    rng = np.random.default_rng(7)
    counts = np.where(rng.random((8, 30)) < 0.25, rng.integers(1, 9, (8, 30)), 0).astype(float) + np.eye(8, 30) * 5
    labels, _ = labellings(5, 3, rng)
    found = only_in_window(counts, labels)
    for row, value in zip(labels, found, strict=True):
        window, rest = counts[row == 1], counts[row == 0]
        alone = window.sum(axis=0)[rest.sum(axis=0) == 0]
        assert value == pytest.approx(alone.max(initial=0.0) / window.sum())


def test_chi_square_against_its_definition():
    """MN-01: Cube root of the squared differences of the shares over the pooled shares."""
    rng = np.random.default_rng(8)
    counts = rng.integers(1, 50, (10, 6)).astype(float)
    labels, _ = labellings(7, 3, rng)
    p, q = counts[7:].sum(axis=0) / counts[7:].sum(), counts[:7].sum(axis=0) / counts[:7].sum()
    pooled = counts.sum(axis=0) / counts.sum()
    assert chi_square(counts, labels)[0] == pytest.approx((((p - q) ** 2 / pooled).sum()) ** (1 / 3))


def test_false_alarms_are_alpha_however_alike_the_rows_of_a_block_are():
    """MN-01: Smallest of all p-values at most .05 in 5 % of 400 simulations without drift, with blocks that differ by themselves.

    Tolerance: three standard errors, .033.
    """
    alarms = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels, _ = labellings(15, 5, rng, drawn=199)
        found = []
        for i in range(6):
            counts = np.stack(
                [rng.multinomial(200, rng.dirichlet(np.array([8, 4, 2, 1]) * (100 if i % 2 else 1))) for _ in range(20)]
            ).astype(float)
            found.append(Statistic(i, chi_square(counts, labels), between_blocks(counts)))
        alarms += max_t(found, 6).p_values.min() <= 0.05
    assert abs(alarms / 400 - 0.05) <= 0.033


def test_all_labellings_are_enumerated_as_long_as_they_are_no_more_than_may_be(monkeypatch):
    """MN-01: exactly as many as may be enumerated are; one more, and they are drawn."""
    monkeypatch.setattr(permutation, "MAX_LABELLINGS", 120)
    assert labellings(7, 3, np.random.default_rng(1), drawn=10)[1]
    monkeypatch.setattr(permutation, "MAX_LABELLINGS", 119)
    labels, exact = labellings(7, 3, np.random.default_rng(1), drawn=10)
    assert (exact, labels.shape) == (False, (11, 10))


@pytest.mark.parametrize(("reference", "count", "all_there_are"), [(98, 4950, True), (99, 1000, False)])
def test_five_thousand_labellings_are_enumerated_or_a_thousand_compared(reference, count, all_there_are):
    """MN-01: of two window blocks among a hundred all are; among a hundred and one a sample is: no p-value is below a thousandth."""
    labels, exact = labellings(reference, 2, np.random.default_rng(1))
    assert (len(labels), exact) == (count, all_there_are)
    assert (labels.sum(axis=1) == 2).all()


@pytest.mark.parametrize("blocks", [1, 2, 6])
def test_a_window_of_one_block_is_each_block_once(blocks):
    """MN-01: of one window block there are as many labellings as blocks, and none that has no window."""
    labels, exact = labellings(blocks - 1, 1, np.random.default_rng(1))
    assert exact
    assert sorted(labels.argmax(axis=1)) == list(range(blocks))
    assert (labels.sum(axis=1) == 1).all()


def test_drawn_labellings_favour_no_block():
    """MN-01: every block is in the window about as often as every other (five standard errors)."""
    labels, _ = labellings(45, 5, np.random.default_rng(1), drawn=4000)
    assert np.abs(labels[1:].mean(axis=0) - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / 4000)


BOTH_WAYS = np.array([[0.0, 1.0], [1.0, 0.0]])  # the second of two blocks is the window, then the first


def test_chi_square_by_hand():
    """MN-01: a quarter against three quarters of pooled halves is one; the order of cells, empty ones, rows and sides change nothing."""
    counts = np.array([[30.0, 10.0], [10.0, 30.0]])
    wanted = pytest.approx([1.0, 1.0])
    assert chi_square(counts, BOTH_WAYS) == wanted
    assert chi_square(counts[:, ::-1], BOTH_WAYS) == wanted
    assert chi_square(np.insert(counts, 1, 0, axis=1), BOTH_WAYS) == wanted
    assert chi_square(counts * [[7.0], [3.0]], BOTH_WAYS) != wanted  # the pooled shares are others
    assert chi_square(counts / 10, BOTH_WAYS) == wanted
    assert chi_square(np.array([[10.0, 10.0], [3.0, 3.0]]), BOTH_WAYS) == pytest.approx([0.0, 0.0])
    assert chi_square(np.array([[0.0, 0.0], [3.0, 3.0]]), BOTH_WAYS) == wanted  # no rows, no shares: twice a half of pooled halves


def test_shares_of_a_single_row_and_of_none():
    """MN-01: one row is all of itself; no rows have no shares."""
    assert normed(np.array([[1.0, 0.0], [0.0, 0.0], [0.25, 0.25]])).tolist() == [[1.0, 0.0], [0.0, 0.0], [0.25, 0.25]]
    window, rest = shares(np.array([[1.0, 0.0], [2.0, 6.0]]), BOTH_WAYS)
    assert window.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert rest.tolist() == [[1.0, 0.0], [0.25, 0.75]]


def test_differences_of_means_by_hand():
    """MN-01: of sums over sizes, one quantity or more; nothing where a side is empty, and the same when the sides are exchanged."""
    labels = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    sums, sizes = np.array([3.0, 10.0, 5.0]), np.array([1.0, 2.0, 0.0])  # the third block has a sum and no row to it
    wanted = [abs(10 / 2 - 8 / 1), abs(3 / 1 - 15 / 2), 0, 0, abs(8 / 1 - 10 / 2)]
    assert mean_difference(sums, sizes, labels).tolist() == wanted
    two = mean_difference(np.column_stack([sums, 10 * sums]), sizes, labels)
    assert two.tolist() == [[w, 10 * w] for w in wanted]
    assert mean_difference(sums[2:], sizes[2:], labels[:2, 2:]).tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(12))
def test_what_only_the_window_holds_in_any_small_case(seed):
    """MN-01: few blocks and cells with no, one or two rows, against a plain count; blocks and cells without a row included."""
    rng = np.random.default_rng(seed)
    blocks, current = int(rng.integers(3, 7)), int(rng.integers(1, 3))
    counts = rng.choice([0.0, 1.0, 2.0], (blocks, int(rng.integers(0, 5))), p=[0.6, 0.3, 0.1])
    labels, _ = labellings(blocks - current, current, rng)
    for row, value in zip(labels, only_in_window(counts, labels), strict=True):
        window, rest = counts[row == 1], counts[row == 0]
        assert value == pytest.approx(window.sum(axis=0)[rest.sum(axis=0) == 0].max(initial=0.0) / max(window.sum(), 1))


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([[10, 0], [0, 10]], 10.0),  # of five expected each, five too many and five too few
        ([[1, 0], [0, 1]], 1.0),
        ([[6, 0, 0], [0, 6, 0], [0, 0, 6]], 6.0),  # two degrees of freedom
        ([[5, 5], [50, 50]], 0.0),
        ([[7], [90]], 0.0),
        ([[0, 0], [0, 0]], 0.0),
    ],
)
def test_how_far_blocks_differ_by_hand(counts, wanted):
    """MN-01: chi-square per degree of freedom; a cell or a block without rows, and their order, change nothing."""
    counts = np.array(counts, dtype=float)
    assert between_blocks(counts) == pytest.approx(wanted)
    assert between_blocks(np.insert(counts, 1, 0, axis=1)) == pytest.approx(wanted)
    assert between_blocks(np.insert(counts, 1, 0, axis=0)) == pytest.approx(wanted)
    assert between_blocks(counts[::-1, ::-1]) == pytest.approx(wanted)
    assert between_blocks(counts * 3) == pytest.approx(3 * wanted)  # the same shares of more rows are less by chance


def test_a_statistic_in_standard_deviations_by_hand():
    """MN-01: less the mean, over the spread and the floor; the observed value is the first unless another is given.

    What never changes stands out nowhere.
    """
    values = np.array([4.0, 0.0, 0.0, 0.0])  # mean 1, spread the root of 3
    standard, observed = standardised(Statistic(0, values, ratio=1.0))
    assert standard == pytest.approx(np.array([3, -1, -1, -1]) / 3**0.5)
    assert observed == pytest.approx(3**0.5)
    assert standardised(Statistic(0, values, ratio=1.0, floor=3**0.5))[0] == pytest.approx(standard / 2)
    assert standardised(Statistic(0, values, ratio=1.0, observed=2.5))[1] == pytest.approx(1.5 / 3**0.5)
    still, nothing = standardised(Statistic(0, np.full(3, 7.0), ratio=1.0, observed=9.0))
    assert (still.tolist(), nothing) == ([0.0, 0.0, 0.0], 0.0)


def ranked(count, ratio=1.0, finding=0, **more):
    """A statistic whose observed value is the largest of so many different ones."""
    return Statistic(finding, np.arange(count, 0, -1.0), ratio, **more)


def test_the_smallest_p_value_is_one_in_the_number_of_labellings():
    """MN-01: what stands out most among n is one in n, the second two, and the last all of them."""
    for place in (0, 1, 199):
        assert max_t([ranked(200, observed=200.0 - place)], 1).p_values[0] == pytest.approx((place + 1) / 200)


def test_alpha_is_parted_from_a_hundred_labellings_on():
    """MN-01: with fewer there is one family; from there on a calm and a wild one, each p-value doubled but never more than one."""
    for count, families in ((99, ("all", "all")), (100, ("stable", "volatile"))):
        judged = max_t([ranked(count, ratio=7.99), ranked(count, ratio=8.0, finding=1)], 2)
        assert judged.families == families
        assert judged.p_values == pytest.approx(np.full(2, len(set(families)) / count))
    worst = max_t([ranked(100, observed=1.0), ranked(100, ratio=99.0, finding=1)], 2)
    assert worst.p_values == pytest.approx([1.0, 0.02])
    assert max_t([ranked(100), ranked(100, finding=1)], 2).p_values == pytest.approx([0.01, 0.01])  # nobody to part with


def test_a_finding_has_the_best_of_its_statistics():
    """MN-01: whichever comes first and of whichever family; of two alike the first; what no statistic speaks for stays at one."""
    weak, strong = ranked(100, observed=50.0), ranked(100, ratio=9.0)
    for order in ((weak, strong), (strong, weak)):
        judged = max_t(order, 2)
        assert judged.p_values == pytest.approx([0.02, 1.0])
        assert judged.families == ("volatile", "")
    still = [Statistic(0, np.ones(100), ratio) for ratio in (1.0, 9.0)]
    assert (max_t(still, 1).p_values.tolist(), max_t(still, 1).families) == ([1.0], ("stable",))


def test_units_and_company_of_a_statistic():
    """MN-01: p-values do not depend on units, offsets or order of the statistics; another statistic never makes one smaller."""
    rng = np.random.default_rng(9)
    values = rng.normal(size=(5, 60))
    alone = max_t([Statistic(i, v, ratio=1.0) for i, v in enumerate(values)], 5).p_values
    changed = max_t([Statistic(i, 1000 * v - 7, ratio=1.0) for i, v in enumerate(values)], 5).p_values
    turned = max_t([Statistic(4 - i, v, ratio=1.0) for i, v in enumerate(values[::-1])], 5).p_values
    fewer = max_t([Statistic(i, v, ratio=1.0) for i, v in enumerate(values[:4])], 4).p_values
    assert alone == pytest.approx(changed)
    assert alone == pytest.approx(turned)
    assert (fewer <= alone[:4] + 1e-12).all()


def test_where_nothing_is_asked_nothing_stands_out():
    """MN-01: findings without a statistic are as likely as can be, and of no family."""
    judged = permutation.max_t([], 2)
    assert (judged.p_values.tolist(), judged.families) == ([1.0, 1.0], ("", ""))
