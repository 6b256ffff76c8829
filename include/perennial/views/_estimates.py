"""Figures with their 95 % interval, from counts alone. Light.

>>> share(3, 100).value, quantile([(5.0, 90), (25.0, 10)], 0.5).value
(0.03, 2.7777777777777777)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from perennial.counted import Z95, wilson
from perennial.views.view import View


class Estimate(View):
    """A figure and where it lies in 95 of 100 cases, each look taken by itself."""

    value: float
    low: float = Field(description="Lower end of the 95 % interval.")
    high: float = Field(description="Upper end of it.")


def share(events: int, requests: int) -> Estimate | None:
    """A share of requests, with Wilson's interval; None without a request."""
    if not requests:
        return None
    low, high = wilson(events, requests)
    return Estimate(value=events / requests, low=low if events else 0.0, high=high)  # rounding leaves 1e-17 of none


def difference(ours: Estimate | None, theirs: Estimate | None) -> Estimate | None:
    """How much greater one share is than another: Newcombe, "Interval estimation for the difference between independent proportions"
    (1998), his method 10. None where either is not known."""
    if ours is None or theirs is None:
        return None
    below = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    above = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    value = ours.value - theirs.value
    return Estimate(value=value, low=value - below, high=value + above)


def quantile(buckets: Sequence[tuple[float | None, int]], of: float) -> Estimate | None:
    """A quantile of times that were counted in buckets, evenly spread within each, with its distribution-free interval by ranks.

    Args:
        buckets: (upper bound in ms, requests), rising; a bound of None is infinite, and what lies there counts as its lower edge.
        of: the quantile, above 0 and below 1.

    Returns:
        The estimate in ms; None without a request.
    """
    requests = sum(count for _, count in buckets)
    if not requests:
        return None
    reach = Z95 * math.sqrt(requests * of * (1 - of))
    low, value, high = (
        _at(buckets, min(max(rank, 0.0), requests)) for rank in (of * requests - reach, of * requests, of * requests + reach)
    )
    return Estimate(value=value, low=low, high=high)


def _at(buckets: Sequence[tuple[float | None, int]], rank: float) -> float:
    """The time below which so many requests lie."""
    edge, below = 0.0, 0
    for bound, count in buckets:
        if bound is None:
            return edge
        if count and below + count >= rank:
            return edge + (bound - edge) * (rank - below) / count
        edge, below = bound, below + count
    return edge
