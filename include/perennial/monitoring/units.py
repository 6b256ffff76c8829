"""Recognises that a column changed its unit, such as kilometres for miles or Celsius for Fahrenheit.

    >>> import numpy as np
    >>> from perennial.monitoring.units import find_unit
    >>> edges = np.concatenate([[-np.inf], np.arange(0, 3000, 10), [np.inf]])
    >>> miles = np.random.default_rng(1).gamma(4, 200, size=(40, 500))  # a row for each day
    >>> before, after = (np.stack([np.histogram(day, edges)[0] for day in days]) for days in (miles[:38], miles[38:] * 1.609344))
    >>> find_unit("distance", edges, before, after, "Distance, miles").sentence
    '`distance`: the values look like km instead of miles (x * 1.609).'

Three ways to see it:

* Values that the reference never had, though it has others all around: a thermometer that gives tenths of °F gives no value
  between two of them, and °C falls there. A map explains them if nearly all lie where it brings values, far more of them than
  of all empty cells nearby. What it brings are the window's other values, which share its weather, or the reference's if all
  values came mapped. This tells five rows in a hundred.
* The window is unlike everything that was there: farther (largest difference of the shares below a value) from every stretch of the
  reference of its own length than such stretches usually are from the nearest one before them. Mapped back, it is as near to some
  stretch of the reference as is usual, or its quantiles are far nearer to one's than they are as they came: all values came mapped.
  The weather of the window need not be the mean weather for that, nor weather that the reference has had.
* Such a window of which a share s came mapped: W = (1 - s) F + s G, where W and F are the shares below a value in the window and on the
  reference, and G is F of the values mapped back. The s that fits best in least squares must explain nearly all of the squared
  difference between W and F.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from perennial.profiles.profile import Profile

Floats = NDArray[np.float64]

WHOLE = 0.95  # share of the values from which on they all count as mapped
EXPLAINED, EXPLAINED_PART = 0.985, 0.99  # of the squared difference, at least: if all values came mapped, if some did
ALMOST = 0.05  # by so much less may a named unit explain
MIN_SHARE = 0.2  # of the values; of fewer it cannot be told by which map they came
MIN_NEW, MIN_PART = 0.01, 0.2  # share of the rows where the reference has none; of the mapped values that would lie there
HIT, CHANCE = 0.9, 1e-6  # share of these rows that lie where the map brings values; chance that they do by accident
ALIKE, MOST = 0.35, 1.2  # largest difference of their shares below a value and the mapped ones'; share of values mapped, by their number
ROUNDED, NEARBY = (1, 2), 25  # cells: by which the new unit's digits may move a value; in which chance is reckoned
MIN_STRETCHES = 5  # of the reference: fewer do not tell how far apart they are usually
FAR, APART = 2.5, 0.9  # times that; or at this distance, where the reference itself is nearly as far apart
QUANTILES = np.linspace(0.05, 0.95, 19)
NEARER = 0.3  # of the mean distance of the quantiles as they came: what may be left of it after the way back
MIN_ROWS, MIN_CELLS = 50, 8  # of the window; of either side: fewer fit anything, and a map by a large factor leaves no more


@dataclass(frozen=True)
class Unit:
    """`new = factor * old + offset`."""

    new: str
    old: str
    factor: float
    offset: float = 0.0

    @property
    def formula(self) -> str:
        """The map as text."""
        return f"x * {self.factor:.4g}" + (f" {'+' if self.offset > 0 else '-'} {abs(self.offset):.4g}" if self.offset else "")


_PAIRS = (
    ("km", "miles", 1.609344, 0.0),
    ("°F", "°C", 1.8, 32.0),
    ("feet", "metres", 3.28084, 0.0),
    ("cm", "inches", 2.54, 0.0),
    ("kg", "pounds", 0.45359237, 0.0),
    ("km/h", "knots", 1.852, 0.0),
    ("m/s", "miles per hour", 0.44704, 0.0),
    ("hPa", "inches of mercury", 33.8639, 0.0),
    ("minutes", "hours", 60.0, 0.0),
    ("thousandths", "whole units", 1000.0, 0.0),
    ("percent", "shares", 100.0, 0.0),
)
UNITS = tuple(
    unit for new, old, factor, offset in _PAIRS for unit in (Unit(new, old, factor, offset), Unit(old, new, 1 / factor, -offset / factor))
)
# How else a meaning may spell a unit.
_SPELT = {
    "miles per hour": ("mph",),
    "knots": ("kn",),
    "percent": ("%",),
    "metres": ("meters",),
    "inches of mercury": ("inhg",),
    "km": ("kilometres", "kilometers"),
    "kg": ("kilograms",),
    "pounds": ("lbs",),
    "feet": ("ft",),
    "°F": ("degrees fahrenheit", "fahrenheit"),
    "°C": ("degrees celsius", "celsius"),
    "minutes": ("min",),
    "hours": ("h",),
    "shares": ("share",),
}
_ANY = frozenset({"whole units", "thousandths"})  # what every number may be in


@dataclass(frozen=True)
class UnitChange:
    """Values of a column seem to come in another unit."""

    column: str
    unit: Unit
    share: float  # of the values that do
    explained: float  # share of the squared difference

    @property
    def sentence(self) -> str:
        """A sentence that names both units and the formula between them."""
        who = "the values look" if self.share >= WHOLE else f"{self.share * 100:.0f} % of the values look"
        return f"`{self.column}`: {who} like {self.unit.new} instead of {self.unit.old} ({self.unit.formula})."


def units_of(meaning: str) -> frozenset[str]:
    """Units that a column's meaning names, of those that are known here.

    A meaning that names none has another unit; without a meaning it may be any.
    """
    text, known = meaning.lower(), {unit.old for unit in UNITS} - _ANY
    named = set()
    spellings = {spelling: name for name in known for spelling in (name.lower(), *_SPELT.get(name, ()))}
    for spelling in sorted(spellings, key=len, reverse=True):  # miles per hour are no miles, and km/h are no hours
        text, count = re.subn(rf"(?<!\w){re.escape(spelling)}(?!\w)", " ", text)
        if count:
            named.add(spellings[spelling])
    return frozenset(named or (() if meaning else known)) | _ANY


def find_unit(column: str, edges: Floats, reference: Floats, window: Floats, meaning: str = "") -> UnitChange | None:
    """The map that explains how a column changed; None if none does.

    Args:
        column: its name.
        edges: [cells + 1], ascending, the outermost infinite.
        reference: [days, cells], rows of the reference.
        window: [days, cells], rows of the window.
        meaning: of the column: where it names a unit, only changes from that unit count.
    """
    old = units_of(meaning)
    units = [unit for unit in UNITS if unit.old in old]
    before, after = reference.sum(axis=0), window.sum(axis=0)
    # Values that fell into a few cells tell a unit only where the meaning leaves few to choose from.
    can_be_told = (after > 0).sum() >= MIN_CELLS or len(units) < len(UNITS)
    if after.sum() < MIN_ROWS or (before > 0).sum() < MIN_CELLS or not can_be_told:
        return None
    if change := _new_values_mapped(column, units, edges, before, after):
        return change
    points, shares = edges[1:-1], _below(after[None])[0]
    stretches = _stretches(reference, len(window))
    if len(stretches) >= MIN_STRETCHES:
        later = range(max(2, len(stretches) // 4), len(stretches))  # the first ones have little before them
        usual = float(np.quantile([_nearest(stretches[:place], stretches[place]) for place in later], 0.9))
        distance = _nearest(stretches, shares)
        if distance <= min(FAR * usual, APART):
            return None
        if change := _all_mapped(column, units, points, stretches, shares, usual=usual, distance=distance):
            return change
    return _some_mapped(column, units, points, before, after)


def _all_mapped(
    column: str, units: Sequence[Unit], points: Floats, stretches: Floats, shares: Floats, *, usual: float, distance: float
) -> UnitChange | None:
    """The map after whose way back the window is nearest to some stretch of the reference, if it is near enough."""
    places = np.stack([np.interp(QUANTILES, below, points) for below in (shares, *stretches)])

    def apart(window: Floats) -> float:
        return float(np.abs(places[1:] - window).mean(axis=1).min())

    distances = []
    for unit in units:
        back = np.interp(unit.factor * points + unit.offset, points, shares, left=0.0, right=1.0)
        if unit.old not in _ANY or (np.diff(back) > 0).sum() >= MIN_CELLS:  # what lies in one cell is near to whatever lies there
            distances.append((_nearest(stretches, back), apart((places[0] - unit.offset) / unit.factor), unit))
    nearest, left, unit = min(distances, key=lambda each: each[:2], default=(np.inf, np.inf, units[0]))
    if nearest <= usual or left <= NEARER * apart(places[0]):
        return UnitChange(column, unit, 1.0, round(1 - nearest / distance, 4))
    return None


def _new_values_mapped(column: str, units: Sequence[Unit], edges: Floats, reference: Floats, window: Floats) -> UnitChange | None:
    """The map that brings values into just those cells that the window fills and the reference leaves empty, more than chance would."""
    empty = reference == 0
    new, others = np.where(empty, window, 0.0), np.where(empty, 0.0, window)
    rows = float(new.sum())
    if rows < max(MIN_ROWS, MIN_NEW * window.sum()):
        return None
    best, nearest = None, np.inf
    for unit, (source, alike, least, whole) in product(units, ((others, ALIKE, 0.0, False), (reference, 1.0, 1 / MOST, True))):
        if source.sum() < MIN_ROWS:
            continue
        below = _mapped(unit, edges[1:-1], _below(source[None])[0])
        there = np.where(empty, np.diff(below, prepend=0.0, append=1.0), 0.0)
        if there.sum() < MIN_PART:
            continue
        share = rows / float(window.sum()) / float(there.sum())
        apart = float(np.abs(np.diff(_below(np.stack([new, there])), axis=0)).max())
        explained = max((float(new[near].sum()) / rows for near in _near(there, empty, new)), default=0.0)
        if explained >= HIT and least <= share <= MOST and apart <= alike and apart < nearest:
            best, nearest = UnitChange(column, unit, 1.0 if whole else round(min(share, 1.0), 4), round(explained, 4)), apart
    return best


def _near(there: Floats, empty: NDArray[np.bool_], new: Floats) -> Iterator[NDArray[np.bool_]]:
    """Cells around those where mapped values lie, as far as the new values lie there too often for chance.

    The rate of chance is that of the empty cells nearby.
    """
    filled = new > 0
    for reach in ROUNDED:
        near = _around(there > 0, reach) > 0
        usual = _around(near & empty, NEARBY) / np.maximum(_around(empty, NEARBY), 1)
        if _by_chance(float(near[filled].mean()), float(usual[filled].mean()), int(filled.sum())) <= CHANCE:
            yield near


def _by_chance(seen: float, usual: float, count: int) -> float:
    """Chernoff's bound on the chance that a share of at least `seen` of `count` comes out where `usual` is expected."""
    if seen <= usual:
        return 1.0
    pairs = ((seen, usual), (1 - seen, 1 - usual))
    return float(np.exp(-count * sum(p * np.log(p / max(q, 1e-12)) for p, q in pairs if p > 0)))


def _around(cells: NDArray[np.bool_], reach: int) -> Floats:
    """How many of the cells up to `reach` away are true."""
    count: Floats = np.convolve(cells, np.ones(2 * reach + 1))[reach : reach + len(cells)]  # "same" is as long as the longer of both
    return count


def _mapped(unit: Unit, points: Floats, below: Floats) -> Floats:
    """Shares below some values once all are mapped."""
    mapped: Floats = np.interp((points - unit.offset) / unit.factor, points, below, left=0.0, right=1.0)
    return mapped


def _some_mapped(column: str, units: Sequence[Unit], points: Floats, reference: Floats, window: Floats) -> UnitChange | None:
    before, after = _below(np.stack([reference, window]))
    change = after - before
    # Cells of the tails are wide: each point counts by the mass that lies around it.
    weight = (reference / reference.sum() + window / window.sum())[:-1]
    total = float(weight @ change**2)
    changes = []
    for unit in units:
        below = _mapped(unit, points, before)
        if unit.old in _ANY and (np.diff(below) > 0).sum() < MIN_CELLS:  # one far out cell takes whatever is large
            continue
        mapped = below - before
        size = float(weight @ mapped**2)
        if size <= 1e-9 or total <= 1e-9:
            continue
        share = min(float(weight @ (mapped * change)) / size, 1.0)
        explained = 1 - float(weight @ (change - share * mapped) ** 2) / total
        if share >= MIN_SHARE:
            changes.append(UnitChange(column, unit, round(share, 4), round(explained, 4)))
    best = max(changes, key=lambda change: change.explained, default=None)
    if best is None:
        return None
    # Far out cells are wide, and hold what was divided by 60 and by 1000 alike: what the meaning names is likelier.
    named = [c for c in changes if c.unit.old not in _ANY and c.explained >= best.explained - ALMOST]
    best = max(named, key=lambda change: change.explained, default=best)
    return best if best.explained >= (EXPLAINED if best.share >= WHOLE else EXPLAINED_PART) else None


def _stretches(days: Floats, length: int) -> Floats:
    """Shares below each value in runs of so many days: [runs, cells - 1]."""
    runs = len(days) // length
    counts = days[len(days) - runs * length :].reshape(runs, length, days.shape[1]).sum(axis=1)
    return _below(counts[counts.sum(axis=1) >= MIN_ROWS])


def _below(counts: Floats) -> Floats:
    below: Floats = np.cumsum(counts, axis=1)[:, :-1] / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return below


def _nearest(stretches: Floats, shares: Floats) -> float:
    return float(np.abs(stretches - shares).max(axis=1).min())


def diagnose(reference: Profile, window: Profile, column: str, meaning: str = "") -> UnitChange | None:
    """The map that explains how a column changed between two profiles; None if none does, and for a category."""
    grid = reference.layout.column(column).grid
    if grid is None or not reference.blocks or not window.blocks:
        return None
    return find_unit(column, grid.edges(), reference.cells(column).astype(float), window.cells(column).astype(float), meaning)
