"""What is asked of columns together: against plain definitions, and which pairs are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perennial.monitoring import permutation
from perennial.monitoring.drift.blocks import Joint
from perennial.monitoring.drift.together import questions_together


def joint_of(raw, waves=None):
    """Means of blocks of raw rows [rows, columns]: of each column, of each pair, and of cosines and sines of these frequencies."""
    columns = raw[0].shape[1]
    first, second = np.triu_indices(columns, 1)
    waves = np.zeros((columns, 0)) if waves is None else waves
    return Joint(
        rows=np.array([float(len(r)) for r in raw]),
        names=[f"c{i}" for i in range(columns)],
        means=np.stack([r.mean(axis=0) for r in raw]),
        squares=np.stack([(r**2).mean(axis=0) for r in raw]),
        first=first,
        second=second,
        products=np.stack([(r[:, first] * r[:, second]).mean(axis=0) for r in raw]),
        fourier=np.stack([np.concatenate([np.cos(r @ waves), np.sin(r @ waves)], axis=1).mean(axis=0) for r in raw]),
    )


def blocks(rng, count, rows=(60, 90), columns=2, mix=None):
    """Blocks of independent rows of different number, mixed."""
    mix = np.eye(columns) if mix is None else np.array(mix)
    return [rng.normal(size=(int(rng.integers(*rows)), columns)) @ mix for _ in range(count)]


WAVES = np.random.default_rng(0).normal(size=(2, 6))
LABELS = permutation.labellings(5, 2, np.random.default_rng(1))[0]


def distances(raw, features=WAVES):
    """Squared distance of the means of window and rest over all rows, by labelling; twice the mean over the features."""

    def mean(chosen):
        rows = np.concatenate(chosen)
        return np.concatenate([np.cos(rows @ features), np.sin(rows @ features)], axis=1).mean(axis=0)

    def apart(row):
        sides = [[r for r, w in zip(raw, row, strict=True) if w == side] for side in (0, 1)]
        return 2 * np.mean((mean(sides[0]) - mean(sides[1])) ** 2)

    return np.array([apart(row) for row in LABELS])


def test_all_columns_at_once_are_as_far_apart_as_by_definition():
    """MN-01: the statistic is the cube root of the squared distance, the effect the root of what lies beyond its mean."""
    raw = blocks(np.random.default_rng(3), 7)
    raw[5:] = [r + np.array([0.5, 0]) for r in raw[5:]]
    whole = questions_together(joint_of(raw, WAVES), LABELS, " since 3 May")[0]
    squared = distances(raw)
    [statistic] = whole.statistics
    assert statistic.values == pytest.approx(np.cbrt(squared))
    wanted = np.sqrt(squared[0] - squared.mean())
    assert whole.effect(1 - LABELS[:1], LABELS[:1]) == pytest.approx([wanted])
    assert whole.effect(LABELS, 1 - LABELS) == pytest.approx(np.sqrt(np.maximum(squared - squared.mean(), 0)))
    sentence, [bar] = whole.describe()
    assert sentence == f"All columns together: combinations of values are {wanted:.2g} apart since 3 May"
    assert bar.window == pytest.approx(wanted, abs=1e-6)
    assert bar.reference == pytest.approx(np.sqrt(np.quantile(squared, 0.95) - squared.mean()), abs=1e-6)
    assert (whole.column, whole.kind, bar.label) == ("all columns", "joint", "distance, by chance up to")


def test_blocks_of_independent_rows_scatter_as_much_as_chance():
    """MN-01: the ratio by which stable is told from volatile is about one without weather, of few and many rows, and large with it."""
    rng = np.random.default_rng(4)
    waves = rng.normal(size=(2, 40))
    labels = np.eye(60)[:5]
    for rows in ((50, 60), (800, 900)):
        raw = blocks(rng, 60, rows)
        asked = questions_together(joint_of(raw, waves), labels, "")
        assert [q.statistics[0].ratio for q in asked] == pytest.approx([1.0, 1.0], abs=0.35)
    weather = [r + rng.normal(size=2) for r in raw]
    assert questions_together(joint_of(weather, waves), labels, "")[0].statistics[0].ratio > 50


def test_pairs_are_judged_by_the_difference_of_their_correlations():
    """MN-01: in its standard deviations over the labellings; each is compared with the largest of all; their mean square is another."""
    raw = blocks(np.random.default_rng(5), 7, columns=3)
    raw[5:] = [r @ np.array([[1, 0.3, 0], [0, 0.95, 0], [0, 0, 1]]) for r in raw[5:]]
    asked = questions_together(joint_of(raw), LABELS, " since 3 May")

    def inside(row, one, other):
        r = np.concatenate([block - block.mean(axis=0) for block, w in zip(raw, row, strict=True) if w])
        return np.corrcoef(r.T)[one, other]

    pairs = [(0, 1), (0, 2), (1, 2)]
    moved = np.array([[inside(row, *pair) - inside(1 - row, *pair) for pair in pairs] for row in LABELS])
    scaled = np.abs(moved) / moved.std(axis=0)
    order = np.argsort(-scaled[0])
    assert [q.column for q in asked] == [f"c{pairs[i][0]} and c{pairs[i][1]}" for i in order]
    for question, i in zip(asked, order, strict=True):
        assert question.statistics[0].values == pytest.approx(scaled.max(axis=1))
        assert question.statistics[0].observed == pytest.approx(scaled[0, i])
        assert question.effect(1 - LABELS, LABELS) == pytest.approx(np.abs(moved[:, i]))
    assert [len(q.statistics) for q in asked] == [2, 1, 1]
    assert asked[0].statistics[1].values == pytest.approx(np.cbrt((scaled**2).mean(axis=1)))
    assert asked[0].statistics[1].observed is None
    before, after = inside(1 - LABELS[0], 0, 1), inside(LABELS[0], 0, 1)
    sentence, [bar] = next(q for q in asked if q.column == "c0 and c1").describe()
    assert sentence == f"`c0` and `c1`: correlation {before:.2f} → {after:.2f} since 3 May"
    assert (bar.label, bar.reference, bar.window) == ("correlation", pytest.approx(before, abs=1e-6), pytest.approx(after, abs=1e-6))


def test_five_pairs_are_told_of_each_family():
    """MN-01: of many calm pairs the five that stand out most; those that differ by day are a family of their own."""
    rng = np.random.default_rng(6)
    labels = permutation.labellings(10, 2, rng)[0]
    calm = blocks(rng, 12, columns=4)
    assert len(questions_together(joint_of(calm), labels, "")) == 5
    signs = rng.choice([-1, 1], 12)
    wild = [np.column_stack([r, signs[i] * r[:, 0] + 0.1 * r[:, 1]]) for i, r in enumerate(calm)]
    asked = questions_together(joint_of(wild), labels, "")
    ratios = [q.statistics[0].ratio for q in asked]
    assert [ratio >= permutation.VOLATILE for ratio in ratios] == [False] * 5 + [True]
    assert asked[-1].column == "c0 and c4"
    assert [len(q.statistics) for q in asked] == [2, 1, 1, 1, 1, 2]


def test_what_there_is_not_is_not_asked():
    """MN-01: no pair of one column, no distance without frequencies; a pair that never changes stands out nowhere."""
    rng = np.random.default_rng(7)
    one = [rng.normal(size=(50, 1)) for _ in range(7)]
    assert questions_together(joint_of(one), LABELS, "") == []
    assert [q.kind for q in questions_together(joint_of(one, rng.normal(size=(1, 4))), LABELS, "")] == ["joint"]
    assert [q.kind for q in questions_together(joint_of(blocks(rng, 7), WAVES), LABELS, "")] == ["joint", "correlation"]
    still = joint_of([np.column_stack([r[:, 0], np.ones(len(r))]) for r in blocks(rng, 7)])
    [pair] = questions_together(still, LABELS, "")
    assert not pair.statistics[0].values.any()
    assert pair.statistics[0].ratio == pytest.approx(0.0)


def test_the_same_features_everywhere_are_no_distance():
    """MN-01: nothing divides by nothing where no feature varies."""
    joint = joint_of(blocks(np.random.default_rng(8), 7), WAVES)
    whole = questions_together(replace(joint, fourier=np.ones_like(joint.fourier)), LABELS, "")[0]
    assert whole.effect(1 - LABELS[:1], LABELS[:1]).tolist() == [0.0]
    assert whole.statistics[0].values == pytest.approx(np.zeros(len(LABELS)))
    assert whole.statistics[0].ratio == 0.0


def test_how_much_blocks_scatter_by_definition():
    """MN-01: of all columns, squared distances of blocks from the whole, in units of a row's; of a pair, squared covariances, in units of
    those of two normal columns."""
    raw = [r + np.array([0.8, 0.3]) for r in blocks(np.random.default_rng(9), 7, rows=(20, 90), mix=[[1.0, 0.7], [0, 0.6]])]
    whole, pair = questions_together(joint_of(raw, WAVES), LABELS, "")
    rows = np.array([len(r) for r in raw])
    features = [np.concatenate([np.cos(r @ WAVES), np.sin(r @ WAVES)], axis=1) for r in raw]
    pooled = np.concatenate(features).mean(axis=0)
    of_a_row = np.sum(1 - pooled**2) / 2
    assert np.abs(pooled).max() > 0.5
    wanted = np.mean([n * np.sum((f.mean(axis=0) - pooled) ** 2) / of_a_row for n, f in zip(rows, features, strict=True)])
    assert whole.statistics[0].ratio == pytest.approx(wanted)
    covariances = np.array([np.cov(r.T, bias=True)[0, 1] for r in raw])
    variances = [rows @ np.array([r[:, i].var() for r in raw]) / rows.sum() for i in (0, 1)]
    from_mean = covariances - rows @ covariances / rows.sum()
    assert pair.statistics[0].ratio == pytest.approx(np.mean(rows * from_mean**2) / np.prod(variances))
    assert pair.statistics[1].ratio == pair.statistics[0].ratio


def test_a_pair_at_the_border_is_volatile_and_asked_about_once(monkeypatch):
    """MN-01: the border belongs to the volatile ones, and no pair to both or to none."""
    joint = joint_of(blocks(np.random.default_rng(10), 7))
    [pair] = questions_together(joint, LABELS, "")
    monkeypatch.setattr(permutation, "VOLATILE", pair.statistics[0].ratio)
    assert [q.column for q in questions_together(joint, LABELS, "")] == ["c0 and c1"]


def test_bars_of_columns_together_have_six_digits():
    """MN-01: as a report writes them, and not fewer."""
    for question in questions_together(joint_of(blocks(np.random.default_rng(11), 7, rows=(30, 40)), WAVES), LABELS, ""):
        [bar] = question.describe()[1]
        for figure in (bar.reference, bar.window):
            assert figure == round(figure, 6)
            assert figure == 0 or figure != round(figure, 4)
    assert {q.column for q in questions_together(joint_of(blocks(np.random.default_rng(11), 7), WAVES), LABELS, "")} == {
        "all columns", "c0 and c1",
    }  # fmt: skip


def test_a_pair_that_never_changes_stands_out_nowhere_beside_others():
    """MN-01: a constant column goes with nothing, and is told after the pairs that move."""
    raw = [np.column_stack([r, np.ones(len(r))]) for r in blocks(np.random.default_rng(12), 7)]
    asked = questions_together(joint_of(raw), LABELS, "")
    assert [q.column for q in asked] == ["c0 and c1", "c0 and c2", "c1 and c2"]
    assert [q.statistics[0].observed for q in asked[1:]] == [0.0, 0.0]
    assert asked[0].statistics[0].values == pytest.approx(asked[0].statistics[1].values ** 1.5 * 3**0.5)
