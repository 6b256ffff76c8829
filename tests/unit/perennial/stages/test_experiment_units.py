"""What the units of an experiment have shown, read from a table of predictions."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from perennial.serving.assignment import arm_of, bucket
from perennial.serving.experiment import Arrivals, Values
from perennial.specs import SignalSpec
from perennial.stages._experiment_units import Part, Seen, seen_of
from perennial.testing import small_model

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SALT, CHAMPION, TRIED = "small-4", 7, 8
SURE = SignalSpec(name="metric", column="score", low=0, high=1)
HALF = [Part(NOON, 0.5)]


def unit_at(low: int, high: int, number: int = 0) -> str:
    """The n-th key whose place on the line is from low to below high."""
    found = (key for key in map(str, range(100_000)) if low <= bucket(key, SALT) < high)
    return [next(found) for _ in range(number + 1)][-1]


OURS, THEIRS = unit_at(5_000, 10_000), unit_at(0, 5_000)


def row(unit: str | None, version: int, score: float, minutes: float = 1, id: str = "") -> dict[str, Any]:
    """One answer."""
    return {
        "prediction_id": id or f"{unit}-{version}-{score}-{minutes}-0",
        "model_version": version,
        "served_at": NOON + timedelta(minutes=minutes),
        "scores": [1 - score, score],
        "outcome": None,
        "unit": unit,
    }


def seen(*rows: dict[str, Any], parts: list[Part] = HALF, metric: SignalSpec = SURE) -> Seen:
    """What they have shown."""
    types = {"served_at": pa.timestamp("us", "UTC"), "unit": pa.string(), "outcome": pa.float64(), "prediction_id": pa.string()}
    types |= {"model_version": pa.int64(), "scores": pa.list_(pa.float64())}
    names = list(rows[0]) if rows else list(types)
    columns = {name: pa.array([one[name] for one in rows], types[name]) for name in names}
    return seen_of(pa.table(columns), small_model(), metric, parts, SALT, CHAMPION, TRIED)


def test_a_unit_is_the_mean_of_its_values() -> None:
    """SE-09: however many requests it sent."""
    found = seen(row(OURS, TRIED, 0.2), row(OURS, TRIED, 0.6, 2), row(THEIRS, CHAMPION, 0.5))
    told = dict(zip(found.values.tried, found.values.means, strict=True))
    assert told == {True: pytest.approx(0.4), False: pytest.approx(0.5)}
    assert list(found.values.shares) == [0.5, 0.5]
    assert found.arrivals == (Arrivals(0.5, 1, 2),)
    assert found.together == pytest.approx(5 / 3)
    assert (found.changed, found.crossed, found.without_unit) == (0, 0, 0)


def test_what_another_version_answered_counts_for_none() -> None:
    """SE-09: also where both answered one request, since the caller saw the other's."""
    found = seen(
        row(OURS, TRIED, 0.2), row(OURS, CHAMPION, 0.9, 2), row(THEIRS, CHAMPION, 0.5),
        row(THEIRS, CHAMPION, 0.9, 3, id="r-0"), row(THEIRS, TRIED, 0.9, 3, id="r-0"),
    )  # fmt: skip
    told = dict(zip(found.values.tried, found.values.means, strict=True))
    assert told == {True: pytest.approx(0.2), False: pytest.approx(0.5)}
    assert found.crossed == 2
    assert found.together == 1
    only = seen(row(OURS, CHAMPION, 0.9), row(THEIRS, CHAMPION, 0.5))
    assert (list(only.values.tried), only.arrivals, only.crossed) == ([False], (Arrivals(0.5, 0, 1),), 1)


def test_requests_without_a_unit_are_counted_alone() -> None:
    """SE-09: they are in no experiment; a table that has no such column yet has none with a unit."""
    found = seen(row(None, CHAMPION, 0.9), row(OURS, TRIED, 0.2))
    assert (len(found.values.means), found.without_unit) == (1, 1)
    assert seen(row(None, CHAMPION, 0.9)) == nobody(0.5, without_unit=1)
    old = {name: value for name, value in row(None, CHAMPION, 0.9).items() if name != "unit"}
    assert seen(old, parts=[*HALF, Part(NOON + timedelta(hours=1), 0.2)]) == nobody(0.5, 0.2, without_unit=1)
    assert seen() == nobody(0.5)


def nobody(*shares: float, without_unit: int = 0) -> Seen:
    """What nobody has shown."""
    return Seen(Values((), (), ()), tuple(Arrivals(share, 0, 0) for share in shares), 1.0, 0, 0, without_unit)


def test_a_value_that_is_not_there_yet_keeps_the_unit_out() -> None:
    """SE-09: it has come all the same, which is what the split is checked by."""
    error = SignalSpec(name="metric", source="outcomes", column="error", low=0, high=1)
    known = {**row(THEIRS, CHAMPION, 0.9), "outcome": 1.0}
    found = seen(row(OURS, TRIED, 0.2), known, {**row(THEIRS, CHAMPION, 0.9, 2), "outcome": None}, metric=error)
    assert (list(found.values.means), list(found.values.tried)) == ([0.0], [False])
    assert found.arrivals == (Arrivals(0.5, 1, 2),)
    even = {**row(OURS, TRIED, 0.5), "outcome": 1.0}
    assert list(seen(even, metric=error).values.means) == [0.0], "the model's task says which class a half names"


def test_a_unit_at_the_border_gets_the_version_that_is_tried() -> None:
    """SE-09: as the gateway has it."""
    place = bucket("anna", SALT)
    border = [Part(NOON, (10_000 - place) / 10_000)]
    assert seen(row("anna", TRIED, 0.5), parts=border).crossed == 0
    assert seen(row("anna", TRIED, 0.5), parts=[Part(NOON, (9_999 - place) / 10_000)]).crossed == 1


def test_values_count_as_far_as_bounds_allow() -> None:
    """SE-09: one beyond counts as the bound."""
    narrow = SignalSpec(name="metric", column="score", low=0.3, high=0.6)
    found = seen(row(OURS, TRIED, 0.2), row(THEIRS, CHAMPION, 0.9), metric=narrow)
    assert dict(zip(found.values.tried, found.values.means, strict=True)) == {True: 0.3, False: 0.6}


PARTS = [Part(NOON, 0.1), Part(NOON + timedelta(hours=1), 0.5), Part(NOON + timedelta(hours=2), 0.3)]


def test_a_unit_that_changes_its_version_counts_no_more() -> None:
    """SE-09: those that stay have the share of those that stay; who came after the change is judged from then on."""
    moves, stays, champion = unit_at(5_000, 7_000), unit_at(9_000, 10_000), unit_at(0, 5_000)
    back = unit_at(7_000, 9_000)  # tried in the second and third part
    late = unit_at(5_000, 7_000, 1)
    weights = [{CHAMPION: 9_000, TRIED: 1_000}, {CHAMPION: 5_000, TRIED: 5_000}, {CHAMPION: 7_000, TRIED: 3_000}]
    assert [arm_of(moves, SALT, given, champion=CHAMPION) for given in weights] == [CHAMPION, TRIED, CHAMPION]
    found = seen(
        row(moves, CHAMPION, 0.9, 1), row(moves, TRIED, 0.9, 61),  # it came in the first part
        row(stays, TRIED, 0.2, 1), row(stays, TRIED, 0.4, 61), row(stays, TRIED, 0.6, 121),
        row(champion, CHAMPION, 0.5, 1),
        row(back, TRIED, 0.8, 61),  # it came in the second part
        row(late, CHAMPION, 0.1, 121),  # it came in the third, with the champion, and had been the other's in the second
        parts=PARTS,
    )  # fmt: skip
    told = sorted(zip(found.values.means, found.values.tried, found.values.shares, strict=True))
    assert told == [
        (pytest.approx(0.1), False, pytest.approx(0.3)),
        (pytest.approx(0.4), True, pytest.approx(0.1 / 0.6)),
        (pytest.approx(0.5), False, pytest.approx(0.1 / 0.6)),
        (pytest.approx(0.8), True, pytest.approx(0.3 / 0.8)),
    ]
    assert found.changed == 1
    assert found.arrivals == (Arrivals(0.1, 1, 3), Arrivals(0.5, 1, 1), Arrivals(0.3, 0, 1))
    assert found.crossed == 0
    assert found.together == pytest.approx((4 + 9 + 1 + 1 + 1) / 8)


def test_a_change_holds_from_its_moment_on() -> None:
    """SE-09: to the microsecond; what was logged a moment before the first part belongs to it."""
    unit = unit_at(5_000, 7_000)
    for moment, version, crossed in ((59.99, CHAMPION, 0), (60, TRIED, 0), (60, CHAMPION, 1), (119.99, TRIED, 0), (120, CHAMPION, 0)):
        assert seen(row(unit, version, 0.5, moment), parts=PARTS).crossed == crossed
    assert seen(row(unit, CHAMPION, 0.5, -1), parts=PARTS).arrivals[0] == Arrivals(0.1, 0, 1)
