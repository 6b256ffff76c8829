"""How far people agree: known values, and what must hold for all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.labelling.agreement import agreement, alpha, interval
from perennial.labelling.answers import Answer, Target
from perennial.labelling.consensus import newest_answers
from perennial.specs import Column

FOUR_OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""  # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: nominal 0.743, interval 0.849
THREE_CODERS = """
. . . . . 3 4 1 2 1 1 3 3 . 3
1 . 2 1 3 3 4 3 . . . . . . .
. . 2 1 3 4 4 . 2 1 1 3 3 . 4
"""  # Wikipedia, "Krippendorff's alpha": nominal 0.691, interval 0.811
BINARY = """
0 1 0 0 0 0 0 0 1 0
1 1 1 0 0 1 0 0 0 0
"""  # Krippendorff 2011, section A: 0.095
NOMINAL = """
a a b b d c c c e d d a
b a b b b c c c e d d d
"""  # Krippendorff 2011, section B: 0.692


def rows_of(people: str) -> list[list[str]]:
    """Values of each row, from a line for each person with a dot where there is none."""
    return [[value for value in row if value != "."] for row in zip(*map(str.split, people.strip().split("\n")), strict=True)]


@pytest.mark.parametrize(
    ("people", "numeric", "expected"),
    [
        (FOUR_OBSERVERS, False, 0.743), (FOUR_OBSERVERS, True, 0.849), (THREE_CODERS, False, 0.691), (THREE_CODERS, True, 0.811),
        (BINARY, False, 0.095), (NOMINAL, False, 0.692),
    ],
)  # fmt: skip
def test_alpha_of_the_literature(people: str, numeric: bool, expected: float) -> None:
    """DM-03: Missing labels, words and numbers, as the papers reckon by hand."""
    found = alpha(rows_of(people), numeric=numeric)
    assert found is not None
    assert round(found, 3) == expected


@given(st.lists(st.lists(st.sampled_from("123"), max_size=4), max_size=8))
def test_alpha_by_its_definition(rows: list[list[str]]) -> None:
    """DM-03: Over all pairs one by one, for words and for numbers; nothing where nothing can be told."""
    several = [row for row in rows if len(row) > 1]
    values = [value for row in several for value in row]
    for numeric in (False, True):

        def d(a: str, b: str, numeric: bool = numeric) -> float:
            return (float(a) - float(b)) ** 2 if numeric else float(a != b)

        n = len(values)
        observed = sum(d(a, b) / (len(row) - 1) for row in several for a in row for b in row) / max(n, 1)
        expected = sum(d(a, b) for a in values for b in values) / max(n * (n - 1), 1)
        found = alpha(rows, numeric=numeric)
        assert (found is None) == (expected == 0)
        assert found is None or found == pytest.approx(1 - observed / expected)


def test_the_interval_holds_the_truth() -> None:
    """DM-03: Of people who agree in a known share of rows, ninety-five intervals of a hundred or so hold the alpha of very many rows."""
    rng = np.random.default_rng(5)

    def drawn(count: int) -> list[list[str]]:
        truth, wrong = rng.integers(0, 2, count), rng.random((3, count)) < 0.15
        return [[str(int(value ^ flip)) for flip in flips] for value, flips in zip(truth, wrong.T, strict=True)]

    truth = alpha(drawn(40_000))
    assert truth is not None
    bounds = [interval(drawn(150), seed=seed) for seed in range(40)]
    held = sum(low <= truth <= high for low, high in filter(None, bounds))
    assert 33 <= held <= 40
    assert interval([["a", "b"]]) is None


def test_many_rows_are_drawn_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-03: The interval is the same, however many draws are in memory at a time."""
    rows = rows_of(FOUR_OBSERVERS)
    whole = interval(rows)
    monkeypatch.setattr("perennial.labelling.agreement.MOST_WEIGHTS", 70)
    assert interval(rows) == whole


def test_people_and_pairs() -> None:
    """DM-03: Each person's labels, agreement with others, and what he says against what was agreed on; few labels are named as such."""
    target = Target("pets", (Column(name="photo", type="string"),), (Column(name="kind", type="string"),), "known")
    words = {"ada": ["cat"] * 20, "bob": ["cat"] * 15 + ["dog"] * 5, "cy": ["cat"] * 4}
    answers = [
        Answer((str(row),), person, {"kind": word}, "2024-02-01T10:00:00Z")
        for person, given_words in words.items()
        for row, word in enumerate(given_words)
    ]
    agreed = {(str(row),): {"kind": "cat"} for row in range(20)}
    found = agreement(newest_answers(answers, target), agreed, "kind")
    ada, bob, cy = found.people
    assert (ada.labels, ada.pairs, ada.same, ada.few) == (20, 24, 19, False)
    assert bob.said == {"cat": {"cat": 15, "dog": 5}}
    assert (cy.few, cy.agreement) == (True, 1.0)
    assert found.pairs[0] == ("ada", "bob", 20, 0.75)
    assert (found.rows, found.rows_of_several, found.labels) == (20, 20, 44)
    assert "the labels are not reliable" in found.sentence


@pytest.mark.parametrize(("shift", "scale"), [(1e12, 1.0), (0.0, 1e200), (-1e9, 1e-3)])
def test_large_numbers_that_lie_close_together(shift: float, scale: float) -> None:
    """DM-10: Alpha of numbers is of their differences: neither where zero lies nor the unit changes it."""
    rows = rows_of(FOUR_OBSERVERS)
    moved = [[repr(shift + scale * float(value)) for value in row] for row in rows]
    assert alpha(moved, numeric=True) == pytest.approx(alpha(rows, numeric=True), abs=1e-4)
