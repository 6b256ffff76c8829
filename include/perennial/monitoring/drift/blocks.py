"""Profiles as arrays, a row for each block: what the drift test counts with. The reference's blocks come first, then the window's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perennial.monitoring.permutation import Floats

if TYPE_CHECKING:
    from perennial.profiles.profile import Profile

UNEQUAL = 1.5  # a reference block of so many times a window block's rows is cut down to its size
CALENDAR_SHARE = 0.9  # of the reference's blocks that hold one value each: such a column follows the calendar
CALENDAR_ROWS = 20  # of a block that counts for it


@dataclass(frozen=True)
class Column:
    """Counts of one column, by block: those of the reference first, then those of the window."""

    name: str
    counts: Floats  # [blocks, cells]
    nulls: Floats  # [blocks]
    labels: Sequence[str] = ()  # name of each cell of a category
    edges: Floats | None = None  # [cells], lower edge of each cell of a number, the first minus infinity
    centres: Floats | None = None  # [cells], a value inside each
    exact: Floats | None = None  # [blocks, values + 1], the last counts all other values
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Joint:
    """Means over a sample of each block's rows: of quantities (rank-normalised columns, frequent categories), of pairs of them, of all."""

    rows: Floats  # [blocks]
    names: Sequence[str]  # of the quantities
    means: Floats  # [blocks, quantities]
    squares: Floats  # [blocks, quantities]
    first: NDArray[np.intp]  # [pairs], quantities of each pair
    second: NDArray[np.intp]
    products: Floats  # [blocks, pairs]
    fourier: Floats  # [blocks, features]: cosines and sines

    def covariances(self) -> Floats:
        """Covariance of each pair inside each block, [blocks, pairs]."""
        covariances: Floats = self.products - self.means[:, self.first] * self.means[:, self.second]
        return covariances

    def correlations(self, weights: Floats, pairs: NDArray[np.intp]) -> Floats:
        """Correlation of some pairs inside the blocks, by weights of the blocks: [rows, blocks] -> [rows, pairs].

        It is zero where one of the two does not vary. Deviations are those from the block's own mean: what days have in common with
        each other by themselves would drown the rest.
        """
        weights = weights * self.rows
        weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)
        spread = np.sqrt(np.maximum(weights @ (self.squares - self.means * self.means), 0))
        both = spread[:, self.first[pairs]] * spread[:, self.second[pairs]]
        apart = weights @ self.covariances()[:, pairs]
        r: Floats = np.divide(apart, both, out=np.zeros_like(apart), where=both > 1e-6)
        return r


def with_rows(profile: Profile) -> Profile:
    """The profile without its empty blocks."""
    return replace(profile, blocks={key: state for key, state in profile.blocks.items() if state.rows})


def columns_of(reference: Profile, window: Profile) -> tuple[list[Column], dict[str, str]]:
    """Counts of every column that can be compared; and why the others cannot, by name."""
    columns, skipped = [], {}
    # Where a text or list is missing all its measures are: the first one alone tells that.
    further = {measure.name for measures in reference.layout.measured.values() for measure in measures[1:]}
    for layout in reference.layout.columns:
        name = layout.name
        if not reference.blocks:
            continue
        if _follows_the_calendar(reference, name):
            skipped[name] = "holds one value per day, another on other days: it follows the calendar and carries no distribution"
            continue
        counts = _stacked(reference.cells(name), window.cells(name))
        nulls = np.concatenate([reference.nulls(name), window.nulls(name)]) * (0.0 if name in further else 1.0)
        if layout.grid is not None:
            edges, centres = layout.grid.edges()[:-1], layout.grid.centres()
            exact = _stacked(reference.exact(name), window.exact(name)) if layout.values else None
            columns.append(Column(name, counts, nulls, edges=edges, centres=centres, exact=exact, values=layout.values))
        elif layout.hashed:
            columns.append(Column(name, counts, nulls, [f"bucket {i}" for i in range(counts.shape[1])]))
        else:
            unseen = _unseen(reference, window, name)
            rest = counts[:, -1] - sum(unseen.values(), np.zeros(len(counts)))
            counts = np.column_stack([counts[:, :-1], *unseen.values(), rest])
            columns.append(Column(name, counts, nulls, [*layout.categories, *unseen, "other categories"]))
    return columns, skipped


def joint_of(reference: Profile, window: Profile) -> Joint | None:
    """Moments of pairs and Fourier means of the columns that both sides have been counted with; None if there are none."""
    if reference.layout.joint != window.layout.joint or not reference.layout.joint.size or not reference.blocks or not window.blocks:
        return None
    before, after = reference.joint(), window.joint()
    means = {name: np.concatenate([before.families[name].means, after.families[name].means]) for name in before.families}
    layout = reference.layout.joint
    numbers, shares = len(layout.numeric), np.array(layout.shares)
    spread = np.sqrt(shares * (1 - shares))
    z, zz, c = means["mean"], means["square"], (means["share"] - shares) / spread
    cc = 1 + c * (1 - 2 * shares) / spread  # mean square of an indicator standardised by its share at the fit
    first, second = np.triu_indices(numbers, 1)
    return Joint(
        rows=np.concatenate([before.rows, after.rows]).astype(float),
        names=[*layout.numeric, *(f"{column}={category}" for column, category in layout.indicators)],
        means=np.column_stack([z, c]),
        squares=np.column_stack([zz, cc]),
        first=np.concatenate([first, np.repeat(np.arange(numbers), len(shares))]),
        second=np.concatenate([second, numbers + np.tile(np.arange(len(shares)), numbers)]),
        products=np.column_stack([means["product"], means["cross"]]),
        fourier=np.column_stack([means["cos"], means["sin"]]),
    )


def thinned(column: Column, reference: int, rng: np.random.Generator) -> Column:
    """Reference blocks cut down to a window block's size: a block of few rows scatters more, and must be compared with its like."""
    rows = column.counts.sum(axis=1) + column.nulls
    size = float(np.median(rows[reference:]))  # the column's own: not every version that answered may have it
    large = [i for i in range(reference) if rows[i] > UNEQUAL * size]
    if not large:
        return column
    counts, nulls = column.counts.copy(), column.nulls.copy()
    exact = None if column.exact is None else column.exact.copy()
    for i in large:
        kept = max(int(size), 1)
        cells = np.append(counts[i], nulls[i]).astype(np.int64)
        drawn = rng.multivariate_hypergeometric(cells, kept, method="marginals")
        counts[i], nulls[i] = drawn[:-1], drawn[-1]
        if exact is not None:
            exact[i] = rng.multivariate_hypergeometric(exact[i].astype(np.int64), int(drawn[:-1].sum()), method="marginals")
    return replace(column, counts=counts, nulls=nulls, exact=exact)


def _follows_the_calendar(reference: Profile, name: str) -> bool:
    counts = reference.cells(name)[reference.rows() >= CALENDAR_ROWS]
    single = counts[(counts > 0).sum(axis=1) == 1]
    return len(set(single.argmax(axis=1).tolist())) > 1 and len(single) >= CALENDAR_SHARE * len(counts)


def _stacked(before: NDArray[np.int64], after: NDArray[np.int64]) -> Floats:
    return np.concatenate([before, after]).astype(float)


def _unseen(reference: Profile, window: Profile, name: str) -> dict[str, Floats]:
    before, after = reference.unseen(name), window.unseen(name)
    sizes = len(reference.blocks), len(window.blocks)
    return {
        category: np.concatenate([before.get(category, np.zeros(sizes[0])), after.get(category, np.zeros(sizes[1]))]).astype(float)
        for category in sorted({*before, *after})
    }
