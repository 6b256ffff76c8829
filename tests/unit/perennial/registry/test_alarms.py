"""The gate of models without labels holds alarms to their budget, and says by how much one is missed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perennial.registry.alarms import finds_as_much, is_stable, keeps_budget
from perennial.registry.promotion import Check, Losses, excess
from perennial.specs import AnomalySpec

DAYS = np.repeat(np.arange(10), 100)
HALF = (np.arange(1000) % 2 == 0).astype(np.float64)  # of each day
LIMITS = AnomalySpec(budget=0.25, slack=1.0, min_rank_agreement=0.5, min_alarm_agreement=0.25)


def test_as_many_alarms_as_are_accepted_pass() -> None:
    """MO-13: What is not shown to lie above the budget and its slack is no refusal, and the sentence has the figures."""
    assert keeps_budget(HALF, DAYS, "days", LIMITS, 0.05, 50) == Check(
        "alarms",
        True,
        "its alarms keep their budget: 50.00% of 1,000 test rows raise an alarm (50.00% to 50.00%, 10 whole days drawn); the budget is "
        "25.00%, and up to 50.00% is accepted",
        {"rows": 1000, "share": 0.5, "interval": [0.5, 0.5], "budget": 0.25, "allowed": 0.5},
    )


def test_one_alarm_more_of_each_day_is_refused() -> None:
    """MO-13: As soon as all of the interval lies above what is accepted."""
    more = HALF.copy()
    more[1::100] = 1
    assert keeps_budget(more, DAYS, "days", LIMITS, 0.05, 50) == Check(
        "alarms",
        False,
        "it raises more alarms than its budget allows: 51.00% of 1,000 test rows raise an alarm (51.00% to 51.00%, 10 whole days drawn); "
        "the budget is 25.00%, and up to 50.00% is accepted",
        {"rows": 1000, "share": 0.51, "interval": pytest.approx([0.51, 0.51]), "budget": 0.25, "allowed": 0.5},
    )


@pytest.mark.parametrize(("full", "interval"), [(1, [0.0, None]), (9, [None, 1.0]), (4, [None, None])])
def test_an_interval_of_a_share_is_one(full: int, interval: list[float | None]) -> None:
    """MO-13: Days with alarms in every row and days with none: the interval is that of days drawn again, cut at 0 and 1."""
    alarms = (full > DAYS).astype(np.float64)
    numbers = keeps_budget(alarms, DAYS, "days", LIMITS, 0.1, 200).numbers
    drawn = excess(Losses(alarms, np.zeros(1000), DAYS, "days"), 0.0, 0.1, 200)
    assert numbers["interval"] == [drawn.low if interval[0] is None else interval[0], drawn.high if interval[1] is None else interval[1]]
    assert numbers["share"] == full / 10


def test_rows_are_drawn_where_the_split_was_of_rows() -> None:
    """MO-07, MO-13: As `promotion.excess` draws them."""
    assert "rows drawn)" in keeps_budget(HALF, DAYS, "rows", LIMITS, 0.05, 50).sentence


@pytest.mark.parametrize(("rank", "same", "passed"), [(0.5, 0.25, True), (0.49, 0.9, False), (0.9, 0.24, False), (0.8, 0.9, True)])
def test_refits_must_agree_in_order_and_alarms(rank: float, same: float, passed: bool) -> None:
    """MO-13: Each limit is kept by what equals it, and either alone refuses."""
    stability = {"refits": 3, "rank_agreement": rank, "alarm_agreement": same}
    said = "its scores are stable" if passed else "its scores are not stable"
    assert is_stable(stability, LIMITS) == Check(
        "stability",
        passed,
        f"{said}: 3 refits on rows drawn again rank rows like it by {rank:.2f} (at least 0.5) and raise {same:.0%} of its alarms too (at "
        "least 25%)",
        stability,
    )


def test_what_learns_nothing_is_stable() -> None:
    """MO-13: A file that was made elsewhere has no refits."""
    assert is_stable({}, LIMITS) == Check("stability", True, "nothing of it was learned here, so nothing could come out otherwise")


def measured(ours: float | None, theirs: float | None, interval: list[float] | None) -> dict[str, Any]:
    """The part of an evaluation about the test rows."""
    name = "average_precision"
    document: dict[str, Any] = {"labelled": 1200}
    document |= {"candidate": {"metrics": {name: ours}}} if ours is not None else {}
    document |= {"champion": {"metrics": {name: theirs}}} if theirs is not None else {}
    return document | ({"difference": {"metrics": {name: interval}}} if interval else {})


@pytest.mark.parametrize(("high", "passed"), [(-0.01, False), (0.0, True), (0.1, True)])
def test_finding_fewer_anomalies_must_be_shown(high: float, passed: bool) -> None:
    """MO-13: All of the interval below 0 refuses; one that touches it does not."""
    said = "it is not shown to find fewer anomalies" if passed else "it finds fewer anomalies"
    assert finds_as_much(measured(0.4, 0.5, [-0.2, high])) == Check(
        "anomalies",
        passed,
        f"{said} than the champion: its average precision is 0.4000 and the champion's 0.5000 on the same 1,200 labelled rows; the "
        f"difference is -0.2000 to {high:+.4f}",
        {"candidate": 0.4, "champion": 0.5, "interval": [-0.2, high]},
    )


@pytest.mark.parametrize("lacking", [(None, 0.5, [0.0, 0.1]), (0.5, None, [0.0, 0.1]), (0.5, 0.5, None)])
def test_without_labels_nobody_says_who_finds_more(lacking: tuple[Any, Any, Any]) -> None:
    """MO-13: No champion, no labels or no interval: no check."""
    assert finds_as_much(measured(*lacking)) is None
