"""Intervals are those of their sources."""

from __future__ import annotations

import pytest
from scipy import stats

from perennial.views._estimates import difference, quantile, share


def test_a_difference_has_newcombes_interval() -> None:
    """SE-06: his own example, 56 of 70 against 48 of 80: 0.0524 to 0.3339."""
    between = difference(share(56, 70), share(48, 80))
    assert between
    assert (between.value, between.low, between.high) == (
        pytest.approx(0.2),
        pytest.approx(0.0524, abs=1e-4),
        pytest.approx(0.3339, abs=1e-4),
    )
    assert difference(share(1, 2), None) is None
    assert share(0, 0) is None
    none = share(0, 351)
    assert none
    assert none.low == 0.0


def test_a_quantile_of_buckets_is_that_of_the_times() -> None:
    """SE-04: of a thousand times spread evenly it is the exact one, and its interval is the one by ranks of a binomial."""
    buckets = [(float(bound), 10) for bound in range(1, 101)]
    for of in (0.5, 0.95, 0.99):
        known = quantile(buckets, of)
        assert known
        assert known.value == pytest.approx(100 * of)
        low, high = (rank / 10 for rank in stats.norm(1000 * of, (1000 * of * (1 - of)) ** 0.5).interval(0.95))
        assert (known.low, known.high) == (pytest.approx(low), pytest.approx(min(high, 100)))


def test_a_quantile_at_the_ends() -> None:
    """SE-04: nothing gives nothing; the lowest bucket begins where the one before ends, and one without an end counts as its beginning."""
    assert quantile([(5.0, 0), (25.0, 0)], 0.5) is None
    only = quantile([(5.0, 0), (25.0, 10)], 0.5)
    assert only
    assert only.value == 15.0
    beyond = quantile([(5.0, 1), (25.0, 1), (None, 98)], 0.95)
    assert beyond
    assert (beyond.low, beyond.value, beyond.high) == (25.0, 25.0, 25.0)
