"""Cells put together: of about equal mass, with enough rows, in their order, and none lost."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.monitoring.drift.bins import binned, folded_rare, range_name
from perennial.monitoring.drift.blocks import Column

LABELS = np.array([[0.0, 0.0, 0.0, 1.0]])  # one of four blocks is the window


def numbers(pooled):
    """A number of which four blocks have these rows by cell."""
    counts = np.tile(np.array(pooled, dtype=float) / 4, (4, 1))
    return Column("x", counts, np.zeros(4), edges=np.array([-np.inf, *range(len(pooled) - 1)], dtype=float))


def categories(pooled):
    """Categories c0, c1, ... of which four blocks have these rows."""
    counts = np.tile(np.array(pooled, dtype=float) / 4, (4, 1))
    return Column("x", counts, np.zeros(4), labels=[f"c{i}" for i in range(len(pooled))])


def test_a_hundred_equal_cells_are_twenty_ranges_of_five():
    """MN-01: neighbours, from the lowest on, each named by its borders."""
    bins = binned(numbers([8] * 100), LABELS)
    assert bins.place.tolist() == [cell // 5 for cell in range(100)]
    assert bins.edges == [-np.inf, *range(4, 99, 5)]
    assert (bins.labels[0], bins.labels[1], bins.labels[-1]) == ("below 4", "4 to 9", "from 94")


def test_a_cell_of_great_mass_is_a_range_by_itself():
    """MN-01: what comes after it opens another; empty cells open none, not even the first."""
    bins = binned(numbers([0, 0, 1, 0, 900, 1, 1, 0]), LABELS)
    assert bins.place.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert bins.edges == [1.0, 4.0]
    assert bins.labels == ["below 4", "from 4"]
    assert binned(numbers([0, 0, 0]), LABELS).labels == ["any value"]
    assert binned(numbers([0, 4, 0]), LABELS).labels == ["any value"]
    two = binned(numbers([4, 4]), LABELS)
    assert (two.place.tolist(), two.labels) == ([0, 1], ["below 0", "from 0"])


@pytest.mark.parametrize("seed", range(5))
def test_ranges_rise_lose_no_row_and_hold_about_a_twentieth(seed):
    """MN-01: no range has more than a twentieth and its largest cell."""
    rng = np.random.default_rng(seed)
    column = numbers(4 * rng.multinomial(5000, rng.dirichlet(np.full(200, 0.5))))
    bins = binned(column, LABELS)
    folded = bins.fold(column.counts)
    assert (np.diff(bins.place) >= 0).all()
    assert folded.sum(axis=1) == pytest.approx(column.counts.sum(axis=1))
    assert folded.shape == (4, len(bins.labels))
    assert (folded.sum(axis=0) <= column.counts.sum() / 20 + column.counts.sum(axis=0).max()).all()
    assert 10 < len(bins.labels) <= 20


def test_a_category_stands_by_itself_from_five_expected_rows_on():
    """MN-01: of a window that is one block of four, twenty rows in all are five; rarer ones are together, frequent ones first."""
    bins = binned(categories([20, 19, 400, 21, 1]), LABELS)
    assert bins.labels == ["c2", "c3", "c0", "all others"]
    assert bins.place.tolist() == [2, 3, 0, 1, 3]
    assert bins.edges is None
    assert bins.fold(np.array([[1.0, 2, 4, 8, 16]])).tolist() == [[4, 8, 1, 18]]
    assert binned(categories([19, 1]), LABELS).labels == ["all others"]


def test_forty_categories_stand_by_themselves():
    """MN-01: the most frequent ones, of equals the first; the forty-first is counted with the rest."""
    bins = binned(categories([400] * 42 + [800]), LABELS)
    assert bins.labels == ["c42", *(f"c{i}" for i in range(39)), "all others"]


def test_rare_values_are_counted_together():
    """MN-01: those of which a window holds fewer than five, at the end, also where there are none."""
    counts = categories([20, 19, 400, 1]).counts
    assert folded_rare(counts, LABELS).sum(axis=0).tolist() == [20, 400, 20]
    assert folded_rare(counts[:, [0, 2]], LABELS).sum(axis=0).tolist() == [20, 400, 0]


@pytest.mark.parametrize(
    ("first", "end", "name"), [(0, 3, "any value"), (0, 1, "below 1.5"), (1, 2, "1.5 to 2000"), (1, 3, "from 1.5"), (2, 3, "from 2000")]
)
def test_ranges_are_named_by_their_borders(first, end, name):
    """MN-01: the outermost have one border; four digits are enough."""
    assert range_name([-np.inf, 1.5, 1999.96], first, end) == name


def test_the_category_that_changed_most():
    """MN-01: by size, whether it grew or shrank; of equals the first."""
    bins = binned(categories([400, 400, 400]), LABELS)
    assert bins.most_changed(np.array([0.2, 0.3, 0.5, 0]), np.array([0.3, 0.1, 0.6, 0])) == ("c1", 0.3, 0.1)
    assert bins.most_changed(np.array([0.2, 0.3, 0.5, 0]), np.array([0.3, 0.2, 0.5, 0])) == ("c0", 0.2, 0.3)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ([0.25, 0.25, 0.25, 0.25], [0.2, 0.5, 0.05, 0.25], ("0 to 1", 0.25, 0.5)),
        ([0.25, 0.25, 0.25, 0.25], [0.05, 0.15, 0.4, 0.4], ("below 1", 0.5, 0.2)),
        ([0.1, 0.4, 0.4, 0.1], [0.2, 0.2, 0.2, 0.4], ("0 to 2", 0.8, 0.4)),
        ([0.1, 0.2, 0.3, 0.4], [0.15, 0.2, 0.15, 0.5], ("0 to 2", 0.5, 0.35)),
    ],
)
def test_the_run_of_ranges_that_changed_most(before, after, told):
    """MN-01: neighbours are told together, with their shares before and after."""
    name, *shares = binned(numbers([400, 400, 400, 400]), LABELS).most_changed(np.array(before), np.array(after))
    assert (name, *shares) == (told[0], pytest.approx(told[1]), pytest.approx(told[2]))


def test_few_rows_are_ranges_by_their_own_cells():
    """MN-01: one row of ten is more than a twentieth: what comes after it is another range."""
    bins = binned(numbers([1, 9]), LABELS)
    assert (bins.place.tolist(), bins.labels) == ([0, 1], ["below 0", "from 0"])
