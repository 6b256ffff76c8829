"""Does a changed column look like another unit? Kilometres for miles, Celsius for Fahrenheit: a map of the values explains the change.

First, the window must be unlike everything that was there: farther (largest difference of the shares below a value) from every
stretch of the reference of its own length than such stretches are from the nearest other one. Then there are two ways:

* All values came mapped: mapped back, the window is as near to some stretch of the reference as these are to one another. The
  weather of the window need not be the mean weather for that.
* A share s of them did: W = (1 - s) F + s G, where W and F are the shares below a value in the window and on the reference, and G is F of
  the values mapped back. The s that fits best in least squares must explain nearly all of the squared difference between W and F.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from perennial.monitoring.profile import Profile

Floats = NDArray[np.float64]

WHOLE = 0.95  # share of the values from which on they all count as mapped
EXPLAINED, EXPLAINED_PART = 0.985, 0.99  # of the squared difference, at least: if all values came mapped, if some did
MIN_SHARE = 0.2  # of the values; of fewer it cannot be told by which map they came
MIN_STRETCHES = 5  # of the reference: fewer do not tell how far apart they are usually
FAR, APART = 3.0, 0.9  # times that; or at this distance, where the reference itself is nearly as far apart
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
_SPELT = {"miles per hour": ("mph",), "knots": ("kn",), "percent": ("%",), "metres": ("meters",), "inches of mercury": ("inhg",)}
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
        """For a person."""
        who = "the values look" if self.share >= WHOLE else f"{self.share * 100:.0f} % of the values look"
        return f"`{self.column}`: {who} like {self.unit.new} instead of {self.unit.old} ({self.unit.formula})."


def units_of(meaning: str) -> frozenset[str]:
    """Units that a column's meaning names, of those that are known here; all of them if it names none."""
    text, known = meaning.lower(), {unit.old for unit in UNITS} - _ANY
    named = set()
    for name in sorted(known, key=len, reverse=True):  # miles per hour are no miles
        for spelling in (name.lower(), *_SPELT.get(name, ())):
            text, found = re.subn(rf"(?<!\w){re.escape(spelling)}(?!\w)", " ", text)
            if found:
                named.add(name)
    return frozenset(named or known) | _ANY


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
    told = (after > 0).sum() >= MIN_CELLS or len(units) < len(UNITS)
    if after.sum() < MIN_ROWS or (before > 0).sum() < MIN_CELLS or not told:
        return None
    points, shares = edges[1:-1], _below(after[None])[0]
    stretches = _stretches(reference, len(window))
    if len(stretches) >= MIN_STRETCHES:
        apart = np.abs(stretches[:, None] - stretches[None]).max(axis=2)
        np.fill_diagonal(apart, np.inf)
        usual = float(np.quantile(apart.min(axis=1), 0.9))
        distance = _nearest(stretches, shares)
        if distance <= min(FAR * usual, APART):
            return None
        if change := _all_mapped(column, units, points, stretches, shares, usual=usual, distance=distance):
            return change
    return _some_mapped(column, units, points, before, after)


def _all_mapped(
    column: str, units: Sequence[Unit], points: Floats, stretches: Floats, shares: Floats, *, usual: float, distance: float
) -> UnitChange | None:
    """The map after whose way back the window is nearest to some stretch of the reference, if it is as near as usual."""
    found = []
    for unit in units:
        back = np.interp(unit.factor * points + unit.offset, points, shares, left=0.0, right=1.0)
        found.append((_nearest(stretches, back), unit))
    nearest, unit = min(found, key=lambda pair: pair[0])
    return UnitChange(column, unit, 1.0, round(1 - nearest / distance, 4)) if nearest <= usual else None


def _some_mapped(column: str, units: Sequence[Unit], points: Floats, reference: Floats, window: Floats) -> UnitChange | None:
    before, after = _below(np.stack([reference, window]))
    change = after - before
    # Cells of the tails are wide: each point counts by the mass that lies around it.
    weight = (reference / reference.sum() + window / window.sum())[:-1]
    total = float(weight @ change**2)
    best: UnitChange | None = None
    for unit in units:
        back = np.interp((points - unit.offset) / unit.factor, points, before, left=0.0, right=1.0)
        mapped = back - before
        size = float(weight @ mapped**2)
        if size <= 1e-9 or total <= 1e-9:
            continue
        share = min(float(weight @ (mapped * change)) / size, 1.0)
        explained = 1 - float(weight @ (change - share * mapped) ** 2) / total
        enough = EXPLAINED if share >= WHOLE else EXPLAINED_PART
        if share >= MIN_SHARE and explained >= enough and (best is None or explained > best.explained):
            best = UnitChange(column, unit, round(share, 4), round(explained, 4))
    return best


def _stretches(days: Floats, length: int) -> Floats:
    """Shares below each value in runs of so many days: [runs, cells - 1]."""
    runs = len(days) // length
    counts = days[len(days) - runs * length :].reshape(runs, length, -1).sum(axis=1)
    return _below(counts[counts.sum(axis=1) >= MIN_ROWS])


def _below(counts: Floats) -> Floats:
    below: Floats = np.cumsum(counts, axis=1)[:, :-1] / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return below


def _nearest(stretches: Floats, shares: Floats) -> float:
    return float(np.abs(stretches - shares).max(axis=1).min())


def diagnose(reference: Profile, window: Profile, column: str, meaning: str = "") -> UnitChange | None:
    """The same for one column of two profiles; None for a category."""
    grid = reference.layout.column(column).grid
    if grid is None or not reference.days or not window.days:
        return None
    return find_unit(column, grid.edges(), reference.cells(column).astype(float), window.cells(column).astype(float), meaning)
