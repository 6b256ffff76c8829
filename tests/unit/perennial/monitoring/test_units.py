"""A change of unit is told from a change of the world."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.units import UNITS, diagnose, units_of
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile


def found(reference, window, name="x"):
    """The diagnosis of two samples."""
    table = pa.table({name: reference})
    layout = fit_layout(table)
    return diagnose(profile(table, layout, blocks=1), profile(pa.table({name: window}), layout, blocks=1), name)


def miles(rng, count):
    """Distances with a heavy tail."""
    return np.round(np.exp(rng.normal(6.5, 0.7, count)))


def fahrenheit(rng, count):
    """A winter."""
    return np.round(rng.normal(40, 12, count), 1)


@pytest.mark.parametrize(
    ("make", "mapped", "words"),
    [
        (miles, lambda x: x * 1.609344, "`x`: the values look like km instead of miles (x * 1.609)."),
        (fahrenheit, lambda x: (x - 32) * 5 / 9, "`x`: the values look like °C instead of °F (x * 0.5556 - 17.78)."),
        (miles, lambda x: x * 0.3048, "`x`: the values look like metres instead of feet (x * 0.3048)."),
    ],
)
def test_a_unit_change_is_named(make, mapped, words):
    """DM-11: Other rows of the same world, in another unit."""
    rng = np.random.default_rng(1)
    assert found(make(rng, 20000), mapped(make(rng, 600))).sentence == words


def test_half_of_the_values_in_another_unit():
    """DM-11: One of two feeds changed: the share is told."""
    rng = np.random.default_rng(2)
    window = miles(rng, 4000)
    window[:2000] *= 1.609344
    change = found(miles(rng, 20000), window)
    assert change.unit.new == "km"
    assert change.share == pytest.approx(0.5, abs=0.08)
    assert change.sentence.startswith("`x`: 5") or change.sentence.startswith("`x`: 4")


def routes(rng, count):
    """Distances of sixty routes, some flown far more often than others."""
    known = np.random.default_rng(9).choice(np.arange(100, 2700), 60, replace=False)
    return rng.choice(known, count, p=(weights := rng.permutation(np.geomspace(1, 30, 60))) / weights.sum()).astype(float)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 1.0])
def test_a_few_rows_in_another_unit_are_named_where_values_are_few(share):
    """DM-11: One of two feeds says km, rounded: its values lie where no route is as long, and tell the share."""
    rng = np.random.default_rng(30)
    window = routes(rng, 3000)
    some = rng.random(3000) < share
    window[some] = np.round(window[some] * 1.609344)
    change = found(routes(rng, 30000), window)
    assert (change.unit.new, change.unit.old) == ("km", "miles")
    assert change.share == pytest.approx(share, rel=0.15)


def test_new_values_that_no_map_brings_are_no_unit():
    """DM-11: More routes, more digits, other tens: there are new values, and they lie where they will."""
    rng = np.random.default_rng(31)
    reference, window = routes(rng, 30000), routes(rng, 3000)
    some = rng.random(3000) < 0.2
    more = rng.choice(np.arange(100, 2700), 40)
    for changed in (rng.choice(more, 3000).astype(float), window + rng.uniform(-0.5, 0.5, 3000), window + 10, np.round(window * 1.1)):
        assert found(reference, np.where(some, changed, window)) is None
        assert found(reference, changed) is None


@pytest.mark.parametrize("seed", range(20))
def test_seasons_are_no_unit_change(seed):
    """DM-11: Shifts, wider spreads and new modes of any size are not taken for a map."""
    rng = np.random.default_rng(seed)
    reference = fahrenheit(rng, 20000)
    for window in (
        rng.normal(40 + rng.uniform(-25, 40), 12, 1000),
        rng.normal(40, 12 * rng.uniform(1.2, 2), 1000),
        np.concatenate([rng.normal(40, 12, 700), rng.normal(rng.uniform(60, 90), 5, 300)]),
        rng.normal(40, 12, 1000),
    ):
        assert found(reference, window) is None


def test_categories_and_few_rows_are_not_judged():
    """DM-11: No map fits words, and anything fits ten rows or a column of few values."""
    assert found(["a", "b"] * 100, ["a"] * 100) is None
    rng = np.random.default_rng(3)
    assert found(miles(rng, 1000), miles(rng, 20) * 1.609344) is None
    assert found(np.repeat([1.0, 2.0], 500), np.repeat([60.0, 120.0], 500)) is None
    assert found(miles(rng, 1000), miles(rng, 1000) / 3600) is None, "all in one cell: nothing tells by how much they were divided"


def by_day(make, rng, days, change=lambda x: x):
    """Days that differ: each has its own mean."""
    level = rng.normal(0, 12, days)
    values = np.concatenate([change(np.round(make(rng, 200) + by, 1)) for by in level])
    return pa.table({"x": values, "day": (np.datetime64("2013-01-01") + np.repeat(np.arange(days), 200)).astype("datetime64[us]")})


def test_the_weather_of_the_window_need_not_be_the_mean_weather():
    """DM-11: Days differ by as much as their spread: Celsius is told where the window's days are like some of the reference; a spell that
    never was is no unit."""
    rng = np.random.default_rng(4)
    reference = by_day(fahrenheit, rng, 90)
    layout = fit_layout(reference, ["x"])
    told = []
    for _ in range(10):
        changes = (lambda x: (x - 32) / 1.8, lambda x: x, lambda x: x - 60)
        windows = [by_day(fahrenheit, rng, 3, change) for change in changes]
        told.append([diagnose(profile(reference, layout, day="day"), profile(w, layout, day="day"), "x") for w in windows])
    celsius, usual, colder = zip(*told, strict=True)
    assert sum(change is not None and change.unit.new == "°C" for change in celsius) >= 4
    assert all(change is None or change.unit.new == "°C" for change in celsius)
    assert usual == (None,) * 10
    assert colder == (None,) * 10


def test_every_unit_has_its_way_back():
    """DM-11: Both directions are known."""
    for unit in UNITS:
        assert any(np.isclose(other.factor * unit.factor, 1) and (other.new, other.old) == (unit.old, unit.new) for other in UNITS)


@pytest.mark.parametrize(
    ("meaning", "named"),
    [
        ("temperature, °F", {"°F"}),
        ("wind, mph", {"miles per hour"}),
        ("visibility, miles, cut at 10", {"miles"}),
        ("relative humidity, %", {"percent"}),
        ("height in meters", {"metres"}),
    ],
)
def test_the_meaning_names_the_unit(meaning, named):
    """DM-11: So that warm days in degrees Celsius do not look like feet in metres."""
    assert {unit for unit in units_of(meaning) if unit not in ("whole units", "thousandths", "the usual one")} == named


def test_a_meaning_without_a_unit_has_another():
    """DM-11: Ages and counts are in none of these units, and one that grows is no other unit; without a meaning it may be any."""
    assert units_of("") == {unit.old for unit in UNITS}
    assert units_of("number of items in the basket") == {"whole units", "thousandths"}
    rng = np.random.default_rng(9)
    reference, window = rng.poisson(6, 90 * 200) + 1.0, rng.poisson(11, 3 * 200) + 1.0
    tables = [
        pa.table({"x": x, "day": (np.datetime64("2013-01-01") + np.arange(len(x)) // 200).astype("datetime64[us]")})
        for x in (reference, window)
    ]
    layout = fit_layout(tables[0], ["x"])
    sides = [profile(table, layout, day="day") for table in tables]
    assert diagnose(*sides, "x", "number of items in the basket") is None
