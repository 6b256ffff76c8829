"""Units at their borders: small worlds of cells by hand, in which a map explains all, some, or nothing of how a column changed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from perennial.monitoring import units
from perennial.monitoring.units import UNITS, Unit, UnitChange, find_unit, units_of

MILES_TO_KM = next(unit for unit in UNITS if (unit.new, unit.old) == ("km", "miles"))
EDGES = np.array([-np.inf, *np.arange(0.0, 400.5, 0.5), np.inf])


def cells(values):
    """Counts of some values on cells half a unit wide."""
    return np.bincount(np.searchsorted(EDGES, values, side="right") - 1, minlength=len(EDGES) - 1).astype(float)


def lengths(rng, count):
    """Continuous values between twenty and two hundred."""
    return np.clip(rng.gamma(6, 12, count) + 20, 20, 240)


@pytest.mark.parametrize(
    ("unit", "formula"),
    [
        (Unit("a", "b", 1.8, 32.0), "x * 1.8 + 32"),
        (Unit("a", "b", 0.5555555, -17.77777), "x * 0.5556 - 17.78"),
        (Unit("a", "b", 60.0), "x * 60"),
        (Unit("a", "b", 60.0, 0.5), "x * 60 + 0.5"),
    ],
)
def test_a_map_is_written_with_four_digits(unit, formula):
    """DM-11: an offset with its sign, and none where there is none."""
    assert unit.formula == formula


@pytest.mark.parametrize(
    ("new", "old", "value", "becomes"),
    [
        ("km", "miles", 26.2, 42.165),  # a marathon
        ("°F", "°C", 100.0, 212.0),
        ("°F", "°C", -40.0, -40.0),
        ("feet", "metres", 8848.0, 29029.0),
        ("cm", "inches", 12.0, 30.48),
        ("kg", "pounds", 2204.6, 1000.0),
        ("km/h", "knots", 1000.0, 1852.0),
        ("m/s", "miles per hour", 60.0, 26.822),
        ("hPa", "inches of mercury", 29.92, 1013.2),
        ("minutes", "hours", 1.5, 90.0),
        ("thousandths", "whole units", 0.25, 250.0),
        ("percent", "shares", 0.25, 25.0),
    ],
)
def test_units_are_what_they_are_in_the_world(new, old, value, becomes):
    """DM-11: a known measure each, there and back."""
    forth = next(unit for unit in UNITS if (unit.new, unit.old) == (new, old))
    back = next(unit for unit in UNITS if (unit.new, unit.old) == (old, new))
    assert forth.factor * value + forth.offset == pytest.approx(becomes, rel=3e-4)
    assert back.factor * becomes + back.offset == pytest.approx(value, rel=3e-4)
    assert len(UNITS) == 22


@pytest.mark.parametrize(
    ("meaning", "named"),
    [
        ("Wind in MPH", {"miles per hour"}),
        ("wind, miles per hour, over 3 miles", {"miles per hour", "miles"}),
        ("speed, kn", {"knots"}),
        ("share of seats", {"shares"}),
        ("shared rides", set()),
        ("weight (kg)", {"kg"}),
        ("weight in lbs", {"pounds"}),
        ("weight, kilograms", {"kg"}),
        ("distance in kilometres", {"km"}),
        ("distance in kilometers", {"km"}),
        ("km", {"km"}),
        ("speed, km/h", {"km/h"}),
        ("altitude, ft", {"feet"}),
        ("pressure, inHg", {"inches of mercury"}),
        ("degrees Fahrenheit", {"°F"}),
        ("celsius", {"°C"}),
        ("degrees celsius", {"°C"}),
        ("min", {"minutes"}),
        ("minimum", set()),
        ("length in h", {"hours"}),
        ("metres", {"metres"}),
        ("parameters", set()),
        ("m/s", {"m/s"}),
        ("hPa, cm and percent", {"hPa", "cm", "percent"}),
        ("inches", {"inches"}),
    ],
)
def test_a_meaning_names_whole_words_alone(meaning, named):
    """DM-11: in any case and spelling; a longer unit is not also the shorter that it holds; every number may be in thousandths."""
    assert units_of(meaning) - {"whole units", "thousandths"} == named
    assert units_of(meaning) >= {"whole units", "thousandths"}


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "`x`: the values look like km instead of miles (x * 1.609)."),
        (0.95, "`x`: the values look like km instead of miles (x * 1.609)."),
        (0.949, "`x`: 95 % of the values look like km instead of miles (x * 1.609)."),
        (0.2, "`x`: 20 % of the values look like km instead of miles (x * 1.609)."),
    ],
)
def test_nineteen_in_twenty_are_all(share, words):
    """DM-11: from there on no share is told."""
    assert UnitChange("x", MILES_TO_KM, share, 1.0).sentence == words


@pytest.mark.parametrize(("share", "is_told"), [(0.15, False), (0.25, True), (0.6, True), (1.0, True)])
def test_a_mixture_is_told_with_its_share(share, is_told):
    """DM-11: W = (1 - s) F + s G in exact shares: from a fifth on the map and the share are found, and nothing is left unexplained."""
    values = np.linspace(20, 150, 4001)
    mapped, rest = cells(values * 1.609344), cells(values)
    window = (share * mapped + (1 - share) * rest)[None]
    change = find_unit("x", EDGES, rest[None], window, "distance in miles")
    assert (change is not None) == is_told
    if is_told:
        assert (change.column, change.unit) == ("x", MILES_TO_KM)
        assert change.share == pytest.approx(share, abs=0.03)
        assert change.explained > 0.98


def test_rows_and_their_number_do_not_matter():
    """DM-11: ten times the rows on either side, or days in another order, and the finding is the same."""
    rng = np.random.default_rng(1)
    days = np.stack([cells(lengths(rng, 400)) for _ in range(12)])
    window = cells(np.concatenate([lengths(rng, 600), lengths(rng, 400) * 1.609344]))[None]
    one = find_unit("x", EDGES, days, window, "miles")
    assert one is not None
    assert find_unit("x", EDGES, days[::-1] * 10, window * 10, "miles") == one


@pytest.mark.parametrize(("rows", "is_told"), [(49, False), (50, True)])
def test_fifty_rows_are_needed(rows, is_told):
    """DM-11: of the window; fewer fit anything."""
    rng = np.random.default_rng(2)
    reference = cells(lengths(rng, 20_000))[None]
    window = cells(np.quantile(lengths(rng, 20_000), (np.arange(rows) + 0.5) / rows) * 1.609344)[None]
    assert (find_unit("x", EDGES, reference, window, "miles") is not None) == is_told


@pytest.mark.parametrize("count", [7, 8])
def test_eight_cells_are_needed(count):
    """DM-11: of the reference, whatever the meaning; of the window where the meaning leaves all units."""
    places = np.repeat(np.linspace(30, 90, count), 100)
    window = cells(places * 1.609344)[None]
    assert (find_unit("x", EDGES, cells(places)[None], window, "miles") is not None) == (count == 8)
    one_more = cells(np.append(places, 95))[None]
    assert (find_unit("x", EDGES, one_more, window) is not None) == (count == 8)


def test_only_changes_from_the_unit_that_the_meaning_names():
    """DM-11: what came in km is told of miles and of a column without a meaning, of no other."""
    rng = np.random.default_rng(3)
    reference, window = cells(lengths(rng, 20_000))[None], cells(lengths(rng, 2000) * 1.609344)[None]
    assert find_unit("x", EDGES, reference, window, "miles").unit == MILES_TO_KM
    assert find_unit("x", EDGES, reference, window).unit == MILES_TO_KM
    for meaning in ("km", "°F", "items", "hours"):
        assert find_unit("x", EDGES, reference, window, meaning) is None


@pytest.mark.parametrize("unit", [u for u in UNITS if 0.3 < u.factor < 4], ids=lambda u: f"{u.old} to {u.new}".replace("/", " per "))
def test_every_unit_is_found_by_its_name(unit):
    """DM-11: all values mapped, the meaning names the old unit: the new one is told, and all of the change is explained."""
    rng = np.random.default_rng(4)
    edges = np.concatenate([[-np.inf], np.linspace(-60, 1000, 2121), [np.inf]])

    def on(values):
        return np.bincount(np.searchsorted(edges, values, side="right") - 1, minlength=len(edges) - 1).astype(float)[None]

    reference, window = lengths(rng, 30_000), lengths(rng, 3000)
    change = find_unit("x", edges, on(reference), on(window * unit.factor + unit.offset), unit.old)
    assert (change.unit, change.share) == (unit, pytest.approx(1.0, abs=0.04))
    assert change.explained > 0.985
    assert find_unit("x", edges, on(reference), on(window), unit.old) is None


@pytest.mark.parametrize(("share", "told"), [(1 / 3, 0.3333), (0.2718, 0.2718)])
def test_a_share_is_told_with_four_digits(share, told):
    """DM-11: of an exact mixture the exact share, rounded."""
    values = np.linspace(20, 150, 4001)
    mapped, rest = cells(values * 1.609344), cells(values)
    assert find_unit("x", EDGES, rest[None], (share * mapped + (1 - share) * rest)[None], "miles").share == told


def test_the_named_unit_is_told_where_a_far_cell_holds_whatever_is_large():
    """DM-11: where nearly all lies beyond the last edge thousandths explain a little more: what the meaning names is told."""
    edges = np.concatenate([[-np.inf], np.linspace(0, 1735, 15), [np.inf]])
    hours = np.exp(4 + 0.8 * stats.norm.ppf((np.arange(1000) + 0.5) / 1000))
    before, after = (np.histogram(values, edges)[0].astype(float) for values in (hours, hours * 160))
    minutes, thousandths = (next(unit for unit in UNITS if unit.new == new) for new in ("minutes", "thousandths"))
    told = [units._some_mapped("x", some, edges[1:-1], before, after) for some in ([minutes], [thousandths], [thousandths, minutes])]
    assert told[0].explained < told[1].explained
    assert told[2] == told[0]


def weather(rng, days, change=lambda x: x, level=12.0):
    """Days of two hundred rows, each about a mean of its own."""
    means = rng.normal(70, level, days)
    return np.stack([cells(change(rng.normal(mean, 9, 200))) for mean in means])


def test_a_window_like_some_stretch_of_the_reference_is_no_other_unit():
    """DM-11: however the days differ; mapped, such a window is told where its way back leads near some stretch."""
    rng = np.random.default_rng(5)
    reference = weather(rng, 60)
    told = [
        find_unit("x", EDGES, reference, weather(rng, 2, change), "miles") for change in [lambda x: x * 1.609344] * 12 + [lambda x: x] * 12
    ]
    assert sum(change is not None for change in told[:12]) >= 7
    assert all(change.unit == MILES_TO_KM and change.share == 1.0 for change in told[:12] if change)
    assert all(0 < change.explained <= 1 for change in told[:12] if change)
    assert all(change.explained == round(change.explained, 4) for change in told[:12] if change)
    assert told[12:] == [None] * 12


def test_an_offset_brings_nothing_below_the_first_cell():
    """DM-11: a summer in °F that comes in °C: on the way back nothing lies below freezing, and nearly all of the distance is explained."""
    rng = np.random.default_rng(5)

    def summer(days, change=lambda x: x):
        return np.stack([cells(change(rng.normal(mean, 9, 200))) for mean in rng.normal(80, 8, days)])

    change = find_unit("x", EDGES, summer(40), summer(2, lambda x: (x - 32) / 1.8), "degrees fahrenheit")
    assert (change.unit.new, change.share) == ("°C", 1.0)
    assert change.explained > 0.9


def test_what_a_map_would_bring_into_one_cell_is_no_unit():
    """DM-11: six times as far is in no unit: that a thousandth of anything lies in the same few cells tells nothing."""
    rng = np.random.default_rng(5)
    reference = weather(rng, 40)
    assert find_unit("x", EDGES, reference, weather(rng, 2, lambda x: x * 6), "miles") is None


def test_a_window_may_have_more_days_than_the_reference():
    """DM-11: there is no stretch as long then, and the change is told by all rows; a usual one is none."""
    rng = np.random.default_rng(8)
    reference = np.stack([cells(lengths(rng, 2000)) for _ in range(3)])
    usual = np.stack([cells(lengths(rng, 300)) for _ in range(5)])
    mapped = np.stack([cells(lengths(rng, 300) * 1.609344) for _ in range(5)])
    assert find_unit("x", EDGES, reference, usual, "miles") is None
    assert find_unit("x", EDGES, reference, mapped, "miles").unit == MILES_TO_KM


@pytest.mark.parametrize(("days", "is_told"), [(4, True), (5, False), (20, False)])
def test_a_window_like_one_of_five_stretches_is_usual(days, is_told):
    """MN-01: what one day of the reference was like as well is no other unit; fewer than five days do not tell what is usual."""
    rng = np.random.default_rng(9)
    values = np.linspace(20, 150, 4001)
    other = cells(np.concatenate([values, values[::2] * 1.609344]))
    reference = np.stack([cells(rng.permutation(values)[:2000]) for _ in range(days - 1)] + [other * 0.01])
    assert (find_unit("x", EDGES, reference, other[None], "miles") is not None) == is_told


def test_stretches_are_the_last_whole_ones_and_hold_fifty_rows():
    """DM-11: runs of the window's length, counted from the end; a thin one tells no shares."""
    days = np.array([[100, 0], [60, 0], [0, 60], [30, 30], [49, 0], [0, 50]], dtype=float)
    assert units._stretches(days, 2).tolist() == [[1.0], [30 / 120], [49 / 99]]
    assert units._stretches(days, 1).ravel().tolist() == [1.0, 1.0, 0.0, 0.5, 0.0]
    assert units._stretches(days, 5).tolist() == [[139 / 279]]
    assert units._stretches(days, 7).tolist() == []


def test_the_distance_is_the_largest_difference_to_the_nearest():
    """DM-11: of shares below each value."""
    stretches = np.array([[0.1, 0.5, 0.9], [0.2, 0.6, 0.8]])
    assert units._nearest(stretches, np.array([0.2, 0.5, 0.8])) == pytest.approx(0.1)
    assert units._nearest(stretches, np.array([0.1, 0.5, 0.6])) == pytest.approx(0.2)
    assert units._below(np.array([[1.0, 3.0, 4.0], [0.0, 0.0, 0.0], [0.25, 0.25, 0.5]])).tolist() == [[0.125, 0.5], [0.0, 0.0], [0.25, 0.5]]


@pytest.mark.parametrize(("reach", "around"), [(1, [0, 1, 1, 1, 0, 1, 2]), (2, [1, 1, 1, 1, 2, 2, 2])])
def test_cells_around_are_counted_by_hand(reach, around):
    """DM-11: those up to so far away on either side, and the cell itself; nothing beyond the ends."""
    cells = np.array([0, 0, 1, 0, 0, 0, 1], dtype=bool)
    wanted = [int(cells[max(0, i - reach) : i + reach + 1].sum()) for i in range(7)]
    assert units._around(cells, reach).tolist() == wanted
    assert units._around(cells[: 2 * reach], 3 * reach).tolist() == [cells[: 2 * reach].sum()] * (2 * reach)  # fewer than are looked at


@pytest.mark.parametrize(("seen", "usual", "count"), [(0.9, 0.5, 20), (1.0, 0.5, 10), (0.6, 0.3, 50)])
def test_chance_is_never_told_smaller_than_it_is(seen, usual, count):
    """DM-11: Chernoff's bound lies above SciPy's binomial tail, within its exponent; what is no more than usual is no surprise."""
    exact = stats.binom.sf(round(seen * count) - 1, count, usual)
    bound = units._by_chance(seen, usual, count)
    assert exact <= bound <= exact * 3 * np.sqrt(count)
    assert units._by_chance(1.0, 0.5, count) == pytest.approx(0.5**count)
    assert units._by_chance(usual, usual, count) == 1.0
    assert units._by_chance(usual / 2, usual, count) == 1.0
    assert units._by_chance(0.5, 0.0, count) < 1e-12


def test_shares_of_mapped_values_by_hand():
    """DM-11: below each point once all are mapped: what was below its way back."""
    points = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    below = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    assert units._mapped(Unit("a", "b", 2.0), points, below) == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    assert units._mapped(Unit("a", "b", 1.0, 10.0), points, below) == pytest.approx([0, 0, 0.25, 0.5, 0.75])
    assert units._mapped(Unit("a", "b", 0.5), points, below) == pytest.approx([0, 0.5, 1, 1, 1])


GRID = np.array([-np.inf, *np.arange(0.0, 801.0, 0.25), np.inf])


def tenths(values):
    """Counts of some values on cells a quarter wide."""
    return np.bincount(np.searchsorted(GRID, values, side="right") - 1, minlength=len(GRID) - 1).astype(float)


def routes(rng, count):
    """Sixty whole numbers, some far more often than others."""
    known = np.random.default_rng(9).choice(np.arange(20, 400), 60, replace=False)
    return rng.choice(known, count, p=(weights := np.geomspace(1, 30, 60)) / weights.sum()).astype(float)


@pytest.mark.parametrize(("share", "is_told"), [(0.0, False), (0.06, True), (0.3, True), (1.0, True)])
def test_values_where_the_reference_has_none_tell_a_few_rows(share, is_told):
    """DM-11: of few different values a twentieth in another unit is told, with its share; none are told of none."""
    rng = np.random.default_rng(6)
    reference, window = routes(rng, 30_000), routes(rng, 3000)
    some = rng.random(3000) < share
    window[some] = np.round(window[some] * 1.609344)
    change = find_unit("x", GRID, tenths(reference)[None], tenths(window)[None])
    assert (change is not None) == is_told
    if is_told:
        assert change.unit == MILES_TO_KM
        assert change.share == pytest.approx(share, rel=0.2)
        assert change.explained >= 0.9


ROUTES = np.random.default_rng(9).choice(np.arange(20, 400), 60, replace=False).astype(float)
KNOWN = tenths(ROUTES)


def only_new(values):
    """Those that lie in no cell of a known route."""
    return values[KNOWN[np.searchsorted(GRID, values, side="right") - 1] == 0]


def by_new_values(window, known=KNOWN):
    """What the values tell that the reference, a hundred rows of each known route, does not have."""
    return units._new_values_mapped("x", [MILES_TO_KM], GRID, known * 100, window)


@pytest.mark.parametrize(("others", "is_told"), [(0, True), (58, True), (64, False), (200, False)])
def test_nine_in_ten_new_values_must_lie_where_the_map_brings_values(others, is_told):
    """DM-11: 550 do; with 58 others elsewhere they are enough, and it is told how many they are; with 64 they are not."""
    mapped = only_new(np.round(ROUTES * 1.609344))
    elsewhere = np.array([value for value in np.arange(21.5, 640) if abs(ROUTES * 1.609344 - value).min() > 2])[::7]
    change = by_new_values(KNOWN * 20 + tenths(np.repeat(mapped, 10)) + tenths(np.resize(elsewhere, others)))
    assert len(mapped) == 55
    assert (change is not None) == is_told
    if is_told:
        assert change.explained == pytest.approx(550 / (550 + others), abs=0.003)
        assert change.explained == round(change.explained, 4)


@pytest.mark.parametrize(("part", "is_told"), [(0.5, False), (0.6, False), (0.7, True), (1.0, True)])
def test_new_values_must_be_spread_like_the_mapped(part, is_told):
    """DM-11: the shortest half of the mapped routes alone, beside all routes in miles, came by no change of the unit."""
    mapped = np.sort(only_new(np.round(ROUTES * 1.609344)))
    assert (by_new_values(KNOWN * 20 + tenths(mapped[: int(len(mapped) * part)]) * 20) is not None) == is_told


@pytest.mark.parametrize(("cells_off", "is_told"), [(-3, False), (-2, True), (0, True), (2, True), (5, False)])
def test_digits_of_the_new_unit_may_move_a_value_by_two_cells(cells_off, is_told):
    """DM-11: either way, from any cell in which a mapped value lies."""
    places = np.searchsorted(GRID, ROUTES * 1.609344, side="right") - 1 + cells_off
    window = KNOWN * 20
    np.add.at(window, places[KNOWN[places] == 0], 20)
    assert (by_new_values(window) is not None) == is_told


def test_if_all_came_mapped_the_weather_may_be_another():
    """DM-11: only short routes, all of them in km: the new values are unlike the reference's, yet nothing else came."""
    mapped = np.sort(only_new(np.round(ROUTES * 1.609344)))[:16]
    change = by_new_values(tenths(mapped) * 100)
    assert (change.share, change.explained) == (1.0, 1.0)


def test_the_rest_in_the_old_unit_is_believed():
    """DM-11: a tenth in miles beside nine in km, both spread alike, is a share of nine tenths and not all."""
    apart = ROUTES[[place for place, value in enumerate(np.round(ROUTES * 1.609344)) if value not in ROUTES]]
    apart = apart[[np.round(value * 1.609344) not in apart for value in apart]]
    known, mapped = tenths(apart), tenths(np.round(apart * 1.609344))
    assert not (known * mapped).any()
    assert by_new_values(10 * known + 90 * mapped, known).share == 0.9


def test_mapped_values_that_fall_among_the_old_ones_count_too():
    """DM-11: a quarter of the cells are known, so three in four mapped values are new; the share is of all that came mapped."""
    rng = np.random.default_rng(3)
    miles = np.arange(20, 400).astype(float)
    window = rng.choice(miles, 4000)
    some = rng.random(4000) < 0.3
    window[some] *= 1.609344
    change = find_unit("x", GRID, tenths(rng.choice(miles, 60_000))[None], tenths(window)[None], "miles")
    assert change.share == pytest.approx(0.3, rel=0.06)
    assert change.explained <= 1


@pytest.mark.parametrize("rows", [40, 70])
def test_fifty_new_values_are_needed(rows):
    """DM-11: and a hundredth of the window; fewer may be anything."""
    rng = np.random.default_rng(7)
    reference = tenths(routes(rng, 30_000))[None]
    mapped = np.round(routes(rng, 4 * rows) * 1.609344)
    new = mapped[
        tenths(mapped)[np.searchsorted(GRID, mapped, side="right") - 1]
        * (reference[0][np.searchsorted(GRID, mapped, side="right") - 1] == 0)
        > 0
    ]
    for usual, enough in ((2000, rows >= 50), (4500, rows >= 50), (12_000, False)):
        window = tenths(np.concatenate([routes(rng, usual), new[:rows]]))[None]
        assert (find_unit("x", GRID, reference, window, "miles") is not None) == enough
