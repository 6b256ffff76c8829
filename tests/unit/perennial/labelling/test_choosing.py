"""Which rows are worth a label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.labelling.choosing import NEVER, RANDOM, choose, entropy, within

KEYS = [(str(number),) for number in range(60)]


@given(seed=st.integers(0, 99), count=st.integers(1, 80), share=st.sampled_from([0.0, 0.2, 1.0]), order=st.permutations(range(60)))
def test_rows_are_chosen_once_and_always_the_same(seed: int, count: int, share: float, order: list[int]) -> None:
    """DM-10: As many as asked, none twice, the highest first; another order of the rows changes nothing."""
    ranks = np.arange(60) % 7.0

    def chosen(places: list[int]) -> dict[tuple[str, ...], tuple[str, float]]:
        rows = choose([KEYS[p] for p in places], {"unsure": ranks[places]}, count, random_share=share, seed=seed)
        assert len({row.place for row in rows}) == len(rows) == min(count, 60)
        return {KEYS[places[row.place]]: (row.reason, row.probability) for row in rows}

    first = chosen(list(range(60)))
    assert chosen(list(order)) == first
    ranked = [ranks[int(key[0])] for key, (reason, _) in first.items() if reason == "unsure"]
    others = [ranks[place] for place in range(60) if first.get(KEYS[place], ("",))[0] != "unsure"]
    assert not ranked or not others or min(ranked) >= max(others)


def test_every_answer_together_is_unbiased() -> None:
    """DM-10: Weighted by one over its probability, the chosen rows give the mean of all rows, over many seeds, though the ranked ones are
    far from usual and ties are broken among them."""
    value = np.where(np.arange(60) % 7 == 6, 5.0, np.arange(60) / 60)
    estimates = []
    for seed in range(400):
        rows = choose(KEYS, {"unsure": np.minimum(np.arange(60) % 7.0, 3.0)}, 20, random_share=0.5, seed=seed)
        estimates.append(sum(value[row.place] / row.probability for row in rows) / 60)
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(value.mean(), abs=4 * error)


def test_reasons_take_turns() -> None:
    """DM-10: What one reason has taken another does not take again; a reason that speaks for few rows leaves the rest to the others."""
    ranks = {"a": np.arange(60.0), "b": within(np.arange(60) >= 58), "c": np.full(60, NEVER)}
    rows = choose(KEYS, ranks, 10, random_share=0.2)
    assert [row.reason for row in rows].count("b") == 1
    assert [row.reason for row in rows].count("a") == 7
    assert [row.reason for row in rows].count(RANDOM) == 2


def test_entropy() -> None:
    """DM-10: The closer to even, the less sure; a certain row has none."""
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([np.log(2), 0.0])
