"""Labels of blocks are exchanged: exact counts, families, and the false-alarm rate."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from perennial.monitoring.permutation import (
    DRAWN,
    Statistic,
    between_blocks,
    chi_square,
    labellings,
    max_t,
    mean_difference,
    only_in_window,
)


def test_every_labelling_is_enumerated_once_and_the_observed_comes_first():
    """Seven and three blocks: each of the 120 choices of three once."""
    labels, exact = labellings(7, 3, np.random.default_rng(1))
    assert exact
    assert labels.shape == (120, 10)
    assert labels[0].tolist() == [0] * 7 + [1] * 3
    assert {tuple(np.flatnonzero(row)) for row in labels} == set(combinations(range(10), 3))


def test_too_many_labellings_are_drawn():
    """Drawn labellings all have the window's number of blocks; the observed one is among them."""
    labels, exact = labellings(45, 5, np.random.default_rng(1))
    assert not exact
    assert labels.shape == (DRAWN + 1, 50)
    assert set(labels.sum(axis=1)) == {5.0}
    assert labels[0].tolist() == [0] * 45 + [1] * 5
    assert len(np.unique(labels, axis=0)) > DRAWN * 0.99


def test_an_exact_p_value_is_that_of_a_brute_force_count():
    """The share of all choices of window blocks whose difference of the means, standardised over all choices, is at least the observed one."""
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
    """With many statistics the p-value is the share of labellings in which any of them stands out as much (brute force)."""
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
    """Statistics that are volatile between blocks are a family apart, and both p-values are doubled."""
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
    """Independent rows give about one, weather much more."""
    rng = np.random.default_rng(5)
    calm = rng.multinomial(500, [0.4, 0.3, 0.2, 0.1], size=60).astype(float)
    wild = np.stack([rng.multinomial(500, rng.dirichlet([8, 4, 2, 1])) for _ in range(60)]).astype(float)
    assert 0.4 < between_blocks(calm) < 1.6
    assert between_blocks(wild) > 8


def test_what_comes_in_bursts_is_volatile():
    """Missing values that come on few days, but then many."""
    counts = np.tile([0.0, 500.0], (60, 1))
    counts[[7, 30, 44]] = [60, 440]
    assert between_blocks(counts) > 8


def test_what_only_the_window_holds():
    """The largest share of one cell that the rest has not at all, by labelling: against a plain count."""
    rng = np.random.default_rng(7)
    counts = np.where(rng.random((8, 30)) < 0.25, rng.integers(1, 9, (8, 30)), 0).astype(float) + np.eye(8, 30) * 5
    labels, _ = labellings(5, 3, rng)
    found = only_in_window(counts, labels)
    for row, value in zip(labels, found, strict=True):
        window, rest = counts[row == 1], counts[row == 0]
        alone = window.sum(axis=0)[rest.sum(axis=0) == 0]
        assert value == pytest.approx(alone.max(initial=0.0) / window.sum())


def test_chi_square_against_its_definition():
    """Cube root of the squared differences of the shares over the pooled shares."""
    rng = np.random.default_rng(8)
    counts = rng.integers(1, 50, (10, 6)).astype(float)
    labels, _ = labellings(7, 3, rng)
    p, q = counts[7:].sum(axis=0) / counts[7:].sum(), counts[:7].sum(axis=0) / counts[:7].sum()
    pooled = counts.sum(axis=0) / counts.sum()
    assert chi_square(counts, labels)[0] == pytest.approx((((p - q) ** 2 / pooled).sum()) ** (1 / 3))


def test_false_alarms_are_alpha_however_alike_the_rows_of_a_block_are():
    """Smallest of all p-values at most .05 in 5 % of 400 simulations without drift, with blocks that differ by themselves.

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
