"""Delivery figures: what counts as released, failed and restored, and over which days."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from perennial.counted import wilson
from perennial.lineage.delivery import DAYS, MONTH_DAYS, Delivery, delivery
from perennial.lineage.releases import PastRelease

SINCE = datetime(2026, 3, 1, tzinfo=timezone.utc)
UNTIL = SINCE + timedelta(days=60)


def day(number: float) -> datetime:
    return SINCE + timedelta(days=number)


def release(version: int, began: float, ended: float | None, end: str | None, undone: float | None = None) -> PastRelease:
    return PastRelease(
        began=version, began_at=day(began), began_by="perennial", version=version, champion=None, ended=None if ended is None else version,
        ended_at=None if ended is None else day(ended), end=end, undone_at=None if undone is None else day(undone),
    )  # fmt: skip


def of(*newest_first: PastRelease, began: dict[int, float] | None = None, outages: tuple = ()) -> Delivery:
    spans = [(day(begin), None if end is None else day(end)) for begin, end in outages]
    return delivery(newest_first, {v: day(at) for v, at in (began or {}).items()}, spans, SINCE, UNTIL)


def test_what_ended_in_the_time_counts():
    """DE-20, OP-11: Promoted, rolled back on the way or later; what is under way, was retired, or ended before or after, does not."""
    found = of(
        release(9, 61, 61.5, "promoted"),
        release(8, 50, None, None),
        release(7, 40, 41, "retired"),
        release(6, 30, 31, "rolled back"),
        release(5, 20, 21, "promoted", undone=25),
        release(4, 10, 11, "promoted", undone=61),  # it went back after the time
        release(3, -0.5, 0, "promoted"),  # just on its border
        release(2, 59, 60, "promoted"),
        release(1, -9, -8, "promoted"),
    )
    assert (found.ended, found.promoted, found.failed, found.days) == (5, 4, 2, 60)
    assert (found.failure_rate, found.failure_low, found.failure_high) == (0.4, *wilson(2, 5))
    assert found.per_month == pytest.approx(4 * MONTH_DAYS / 60)


def test_lead_time_is_from_the_beginning_of_the_training_to_all_traffic():
    """DE-20, OP-11: Median; a version whose training nobody noted has none, and one that comes back is no news."""
    releases = (
        release(1, 50, 51, "promoted"),  # again
        release(3, 30, 34, "promoted"),
        release(2, 20, 22, "promoted"),
        release(1, 10, 11, "promoted"),
    )
    assert of(*releases, began={1: 10, 2: 20, 3: 30}).lead_seconds == 2 * 86400
    assert of(*releases, began={3: 30}).lead_seconds == 4 * 86400
    assert of(*releases).lead_seconds is None


def test_time_to_restore_is_of_what_went_back_and_of_outages():
    """DE-20: A release that failed on the way was with callers from its beginning; an incident from its opening; one that is open, or was
    over before or after, is left out."""
    found = of(
        release(2, 20, 20.5, "rolled back"), release(1, 10, 11, "promoted", undone=19),
        outages=((30, 31), (40, 42), (50, None), (-3, -1), (59, 61)),
    )  # fmt: skip
    assert (found.restores, found.restore_seconds) == (3, 86400)
    assert of(release(1, 10, 11, "promoted")).restore_seconds is None


def test_a_young_model_is_measured_over_a_month_at_least():
    """DE-20: No rate is told from a few days; an older one over all of the time."""
    assert of(release(1, 55, 56, "promoted")).days == pytest.approx(MONTH_DAYS)
    assert of(release(1, 20, 21, "promoted")).days == pytest.approx(40)
    assert of(release(1, -20, -19, "promoted")).days == pytest.approx(60)


def test_the_figures_in_words():
    """DE-20: A person reads them in one sentence; where nothing ended, that."""
    releases = release(3, 30, 30.5, "rolled back"), release(2, 20, 21, "promoted"), release(1, -40, -39, "promoted")
    assert of(*releases, began={2: 19}).sentence == (
        "1 version got all traffic in 60 days (0.5 a month), 2 days after their training began (median); 1 of 2 releases failed (50.0 %, "
        "95 % interval 9.5 % to 90.5 %); 1 trouble took 12 hours (median) to end."
    )
    assert of().sentence == "No release ended in 60 days."
    assert of(outages=((1, 2),)).sentence == (
        "0 versions got all traffic in 60 days (0.0 a month); 0 of 0 releases failed; 1 trouble took 1 day (median) to end."
    )


def test_borders_count():
    """DE-20: What went back, or was over, just at the end of the time, or began it."""
    assert of(release(1, 10, 11, "promoted", undone=60)).failed == 1
    assert of(outages=((-1, 0),)).restores == 1
    assert of(outages=((59, 60),)).restores == 1
    assert (DAYS, MONTH_DAYS) == (90, 30.4375)


def test_without_trouble_none_is_told():
    """DE-20: One release that went well."""
    assert of(release(1, 10, 11, "promoted")).sentence == (
        "1 version got all traffic in 50 days (0.6 a month); 0 of 1 release failed (0.0 %, 95 % interval 0.0 % to 79.3 %)."
    )


@pytest.mark.parametrize("name", Delivery.model_fields)
def test_figures_are_whole_and_stay(name: str):
    """DE-20: None may lack, none may be changed, and nothing is counted below zero."""
    whole = of(release(1, 10, 11, "promoted")).model_dump()
    with pytest.raises(ValidationError):
        Delivery.model_validate({key: value for key, value in whole.items() if key != name})
    with pytest.raises(ValidationError):
        Delivery.model_validate(whole | {"else": 1})
    with pytest.raises(ValidationError):
        setattr(Delivery.model_validate(whole), name, whole[name])
    if name in ("promoted", "failed", "ended", "per_month", "restores"):
        with pytest.raises(ValidationError):
            Delivery.model_validate(whole | {name: -1})
