"""Where the cells lie on which rows are counted: fixed for a dataset once, so that the counts of any two days can be added and compared.

A number falls into one of GRID_CELLS cells: CELLS equal ones between the bounds that hold nearly all rows of the fit, and on either side
TAILS whose width doubles from one to the next, so that values far outside stay apart whatever comes later. Where a column has few values
each is counted too. A category is counted by name if it was known at the fit; later ones by name as well, apart.

The joint part says how rows are seen together: columns turned into normal scores of their rank, indicators of frequent categories, and
random Fourier frequencies over both (Rahimi and Recht 2007). All its tables hold integers, so that sums are the same on every machine.

    >>> import pyarrow as pa
    >>> from perennial.profiles.layout import fit_layout
    >>> layout = fit_layout(pa.table({"distance": [300.0, 762.0, 4983.0], "carrier": ["UA", "AA", "UA"]}))
    >>> [(column.name, column.kind, column.cells) for column in layout.columns]
    [('distance', 'numeric', 1152), ('carrier', 'category', 3)]
"""

from __future__ import annotations

import functools
import hashlib
import math
import operator
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from perennial.column_types import KINDS, is_list
from perennial.profiles.columns import Floats, Integers, floats

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CELLS, TAILS = 1024, 64
GRID_CELLS = CELLS + 2 * TAILS
BEYOND = 0.001  # share of the fit's rows beyond either bound
EXACT_VALUES = 300  # of a column with so few each is counted
KNOWN_CATEGORIES = 4096  # of a column with more the names are not kept
HASH_CELLS = 256  # cells of such a column
REPEATED = 4  # rows for each value before the values of a column of numbers are listed
JOINT_NUMBERS, JOINT_INDICATORS, OF_ONE_COLUMN = 24, 24, 6
SAMPLED_BY = 4  # columns that decide, with the row's time, whether it is in the joint sample
RARE, BANDWIDTH = 0.02, 0.7
UNIT = 1024  # one standard deviation in the joint part's integers
TURN = 1 << 16  # one turn per standard deviation in its frequencies
WAVE = 1 << 12  # steps of the table of cosines
WAVE_UNIT = 1 << 20  # a cosine of one
LARGEST = 1e300  # bounds of a grid stay inside, so that its width is a number


class Frozen(BaseModel):
    """Base of a layout's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Grid(Frozen):
    """Cells of a numeric column, by number: TAILS below `low`, the farthest first, CELLS equal ones, TAILS from `high` on."""

    low: float
    high: float

    @property
    def per_unit(self) -> float:
        """Equal cells per unit of the column."""
        return CELLS / (self.high - self.low)

    def edges(self) -> Floats:
        """Borders of the cells, shape [GRID_CELLS + 1], ascending from minus to plus infinity."""
        return _edges(self.low, self.high).copy()

    def cells_of(self, values: Floats) -> Integers:
        """The cell of each value, shape [n]; GRID_CELLS for what is not finite.

        Subtraction, multiplication and comparison alone: a value's cell is the same in any part of the rows and on any machine.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            place = np.subtract(values, self.low)
            place *= self.per_unit
            inside = place >= 0
            inside &= place < CELLS
            cells = place.astype(np.int64)
        cells += TAILS
        outside = (~inside).nonzero()[0]
        if len(outside):
            cells[outside] = GRID_CELLS
            outside = outside[np.isfinite(values[outside])]
            cells[outside] = np.searchsorted(_edges(self.low, self.high), values[outside], side="right") - 1
        return cells

    def centres(self) -> Floats:
        """Middle of each cell, shape [GRID_CELLS]; the finite border of the two outermost."""
        edges = self.edges()
        edges[0], edges[-1] = edges[1], edges[-2]
        middle: Floats = edges[:-1] / 2 + edges[1:] / 2
        return middle


@functools.lru_cache(maxsize=1024)
def _edges(low: float, high: float) -> Floats:
    width = (high - low) / CELLS
    reach = (2.0 ** np.arange(1, TAILS) - 1) * width
    inner = low + np.arange(CELLS) * width
    return np.concatenate([[-np.inf], (low - reach)[::-1], inner, [high], high + reach, [np.inf]])


class ColumnLayout(Frozen):
    """How one column is counted."""

    name: str
    kind: Literal["numeric", "category"]
    grid: Grid | None = Field(default=None, description="Cells of a numeric column.")
    values: tuple[float, ...] = Field(default=(), description="All values of a numeric column of few, ascending.")
    categories: tuple[str, ...] = Field(default=(), description="Categories known at the fit, the most frequent first.")
    hashed: bool = Field(default=False, description="Whether there were too many categories to keep: counted by a hash of the name.")
    # Left out of the JSON where they say nothing, so that layouts from before keep their digest.
    source: str = Field(
        default="", exclude_if=operator.not_, description="Column that this one measures, such as `review` of `review[words]`."
    )
    source_type: str = Field(default="", exclude_if=operator.not_, description="Column type of that column.")
    measure: str = Field(default="", exclude_if=operator.not_, description="What is measured, as the column type names it.")
    known: tuple[str, ...] = Field(default=(), exclude_if=operator.not_, description="Words known at the fit, of a share of unknown ones.")

    @property
    def cells(self) -> int:
        """Number of cells; the last one of a column with known categories counts all others."""
        if self.kind == "numeric":
            return GRID_CELLS
        return HASH_CELLS if self.hashed else len(self.categories) + 1


class JointLayout(Frozen):
    """How rows are seen together."""

    numeric: tuple[str, ...] = Field(default=(), description="Columns that become normal scores of their rank, p of them.")
    scores: tuple[tuple[int, ...], ...] = Field(default=(), description="Score of each cell of each such column, in 1/1024 sd.")
    indicators: tuple[tuple[str, str], ...] = Field(default=(), description="Column and category of each indicator, k of them.")
    shares: tuple[float, ...] = Field(default=(), description="Share of each indicator's category at the fit.")
    sampled_by: tuple[str, ...] = Field(
        default=(), description="Columns whose values decide, with its time, whether a row is in the sample."
    )
    rows: int = Field(default=1024, ge=1, description="Rows of a block that are seen together at most.")
    seed: int = Field(default=2013, description="Seed of the frequencies.")
    frequencies: int = Field(default=128, ge=0, description="Random Fourier frequencies.")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are seen together."""
        return tuple(dict.fromkeys((*self.numeric, *(column for column, _ in self.indicators))))

    @property
    def families(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Names of the sums, by family in the order in which they are stored: a pair each, the second empty where there is none."""
        return _families(self)

    @property
    def places(self) -> dict[tuple[str, str, str], int]:
        """Place of each sum, by family and its pair of names."""
        return _places(self)

    @property
    def size(self) -> int:
        """Number of sums."""
        return len(self.places)


@functools.lru_cache(maxsize=64)
def _places(joint: JointLayout) -> dict[tuple[str, str, str], int]:
    return {key: place for place, key in enumerate((family, *pair) for family, pairs in joint.families.items() for pair in pairs)}


@functools.lru_cache(maxsize=64)
def _families(joint: JointLayout) -> dict[str, tuple[tuple[str, str], ...]]:
    single = tuple((name, "") for name in joint.numeric)
    marks = tuple(f"{column}={category}" for column, category in joint.indicators)
    pairs = tuple((a, b) for i, a in enumerate(joint.numeric) for b in joint.numeric[i + 1 :])
    waves = tuple((str(number), "") for number in range(joint.frequencies)) if joint.columns else ()
    return {
        "mean": single,
        "square": single,
        "product": pairs,
        "share": tuple((mark, "") for mark in marks),
        "cross": tuple((a, mark) for a in joint.numeric for mark in marks),
        "cos": waves,
        "sin": waves,
    }


class Layout(Frozen):
    """How the rows of a dataset are counted."""

    columns: tuple[ColumnLayout, ...]
    joint: JointLayout = JointLayout()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def sources(self) -> tuple[str, ...]:
        """Columns of the rows that are read: those that are counted, and those that others measure."""
        return tuple(dict.fromkeys(column.source or column.name for column in self.columns))

    @property
    def measured(self) -> dict[str, tuple[ColumnLayout, ...]]:
        """The columns that measure another one, by that one."""
        measures: dict[str, tuple[ColumnLayout, ...]] = {}
        for column in self.columns:
            if column.source:
                measures[column.source] = (*measures.get(column.source, ()), column)
        return measures

    def column(self, name: str) -> ColumnLayout:
        """The column of that name; KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def digest(self) -> str:
        """Identity: SHA-256 of its JSON."""
        return _digest(self)


@functools.lru_cache(maxsize=64)
def _digest(layout: Layout) -> str:
    return hashlib.sha256(layout.model_dump_json().encode()).hexdigest()


def fit_layout(
    rows: pa.Table,
    columns: Sequence[str] | None = None,
    *,
    joint: Sequence[str] | None = None,
    types: Mapping[str, str] = MappingProxyType({}),
    sample_rows: int = 1024,
    seed: int = 2013,
) -> Layout:
    """Decide how rows are counted, by looking at a part of them. The same rows in another order give the same layout.

    Args:
        rows: the rows; some ten thousand are plenty.
        columns: which columns; all if absent. Times are passed over. Of lists and texts their measures are counted, such as the length.
        joint: those of them that are seen together; all if absent.
        types: column types by name, which tell texts from categories; a list is known by its Arrow type as well.
        sample_rows: rows of a block that are seen together at most.
        seed: of the Fourier frequencies.
    """
    import duckdb

    wanted = list(rows.schema.names) if columns is None else list(columns)
    rows, sources = _with_measures(rows, wanted, types)
    wanted = [name for column in wanted for name in ([*sources[column]] if column in sources else [column])]
    measures = {name: told for by_name in sources.values() for name, told in by_name.items()}
    kinds = {name: kind for name in wanted if (kind := kind_of(rows.schema.field(name).type))}
    connection = duckdb.connect()
    connection.register("given", rows.select(list(kinds)))
    fitted = [_fit_number(connection, name) if kind == "numeric" else _fit_category(connection, name) for name, kind in kinds.items()]
    fitted = [column.model_copy(update=measures.get(column.name, {})) for column in fitted]
    seen = [column for column in fitted if joint is None or (column.source or column.name) in joint]
    return Layout(columns=tuple(fitted), joint=_fit_joint(connection, rows, seen, sample_rows, seed))


def measured_type(data_type: pa.DataType, column_type: str = "") -> str:
    """The column type by whose measures a column is counted; empty for one that is counted itself.

    Args:
        data_type: its Arrow type.
        column_type: its column type, where it is known.
    """
    if column_type in KINDS:
        return column_type
    return "list" if is_list(data_type) else ""


def measured_columns(rows: pa.Table, layout: Layout) -> pa.Table:
    """The rows with their measures, as the layout has them, in place of the columns that it measures."""
    for source, columns in layout.measured.items():
        if source in rows.column_names:
            by_measure = measures_of(rows[source].combine_chunks(), columns)
            rows = rows.drop_columns([source])
            for column in columns:
                rows = rows.append_column(column.name, by_measure[column.name])
    return rows


def measures_of(values: pa.Array, columns: Sequence[ColumnLayout]) -> dict[str, pa.Array]:
    """The measures of a column, by name of the layout's columns that measure it."""
    known = frozenset(word for column in columns for word in column.known)
    by_measure = KINDS[columns[0].source_type].measured(values, known)
    return {column.name: by_measure[column.measure] for column in columns}


def _with_measures(
    rows: pa.Table, columns: Sequence[str], types: Mapping[str, str]
) -> tuple[pa.Table, dict[str, dict[str, dict[str, Any]]]]:
    """The rows with a column for each measure, and what the layout says of each measure, by column and name."""
    sources: dict[str, dict[str, dict[str, Any]]] = {}
    for column in columns:
        if not (column_type := measured_type(rows.schema.field(column).type, types.get(column, ""))):
            continue
        kind, values = KINDS[column_type], rows[column].combine_chunks()
        known = kind.known_words(values)
        sources[column] = {}
        for measure, measured in kind.measured(values, frozenset(known)).items():
            name = f"{column}[{measure}]"
            told = {"source": column, "source_type": column_type, "measure": measure}
            sources[column][name] = told | ({"known": known} if known and measure == kind.of_known_words else {})
            rows = rows.append_column(name, measured)
    return rows, sources


def kind_of(data_type: pa.DataType) -> Literal["numeric", "category"] | None:
    """How a column of an Arrow type is counted; None if it is not."""
    from pyarrow import types

    if types.is_dictionary(data_type):
        data_type = data_type.value_type
    if types.is_integer(data_type) or types.is_floating(data_type) or types.is_decimal(data_type):
        return "numeric"
    texts = types.is_string(data_type) or types.is_large_string(data_type) or types.is_string_view(data_type)
    if texts or types.is_boolean(data_type):
        return "category"
    return None


def normal_quantile(shares: Floats) -> Floats:
    """Standard normal quantiles [n] of shares [n] between 0 and 1; the same on every machine."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(share) for share in shares.tolist()])


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _fit_number(connection: duckdb.DuckDBPyConnection, name: str) -> ColumnLayout:
    x = f"{quoted(name)}::double"
    query = f"""
        select quantile_disc({x}, [{BEYOND}, {1 - BEYOND}]), count(*), count(distinct {x}) from given
        where {quoted(name)} is not null and isfinite({x})
    """  # noqa: S608 - names are quoted
    bounds, rows, distinct = connection.execute(query).fetchone() or (None, 0, 0)
    values: tuple[float, ...] = ()
    if distinct * REPEATED <= rows and 0 < distinct <= EXACT_VALUES:
        query = f"select distinct {x} + 0 from given where {quoted(name)} is not null and isfinite({x}) order by 1"  # noqa: S608
        values = tuple(value for (value,) in connection.execute(query).fetchall())
    grid = _around(*bounds) if bounds else Grid(low=0.0, high=1.0)
    return ColumnLayout(name=name, kind="numeric", grid=grid, values=values)


def _around(low: float, high: float) -> Grid:
    low, high = max(low, -LARGEST), min(high, LARGEST)
    if high - low > max(abs(low), abs(high)) * 1e-9:
        return Grid(low=low, high=high + (high - low) / CELLS)  # the upper bound itself lies in an equal cell too
    reach = max(abs(low), 1.0) / 2
    return Grid(low=low - reach, high=low + reach)


def _fit_category(connection: duckdb.DuckDBPyConnection, name: str) -> ColumnLayout:
    query = f"""
        select {quoted(name)}::varchar, count(*) from given where {quoted(name)} is not null
        group by 1 order by 2 desc, 1 limit {KNOWN_CATEGORIES + 1}
    """  # noqa: S608
    names = tuple(value for value, _ in connection.execute(query).fetchall())
    if len(names) > KNOWN_CATEGORIES:
        return ColumnLayout(name=name, kind="category", hashed=True)
    return ColumnLayout(name=name, kind="category", categories=names)


def _fit_joint(
    connection: duckdb.DuckDBPyConnection, rows: pa.Table, columns: Sequence[ColumnLayout], sample_rows: int, seed: int
) -> JointLayout:
    numeric: list[str] = []
    scores: list[tuple[int, ...]] = []
    for column in columns:
        if column.kind == "numeric" and len(numeric) < JOINT_NUMBERS and (table := _scores(rows, column)) is not None:
            numeric.append(column.name)
            scores.append(table)
    indicators, shares = _indicators(connection, columns, rows.num_rows)
    seen = dict.fromkeys((*numeric, *(column for column, _ in indicators)))
    return JointLayout(
        numeric=tuple(numeric),
        scores=tuple(scores),
        indicators=indicators,
        shares=shares,
        sampled_by=_most_varied(connection, list(seen)),
        rows=sample_rows,
        seed=seed,
    )


def _scores(rows: pa.Table, column: ColumnLayout) -> tuple[int, ...] | None:
    """Normal score of the mean rank of each cell, standardised; None if all rows are in one cell."""
    assert column.grid is not None
    counts = np.bincount(column.grid.cells_of(floats(rows[column.name].combine_chunks())), minlength=GRID_CELLS + 1)[:GRID_CELLS]
    if (counts > 0).sum() < 2:
        return None
    total = counts.sum()
    rank = (np.cumsum(counts) - counts / 2 + 0.5) / (total + 1)
    z = normal_quantile(np.clip(rank, 0.001, 0.999))
    mean = (z * counts).sum() / total
    deviation = math.sqrt(((z - mean) ** 2 * counts).sum() / total)
    return tuple(int(v) for v in np.clip(np.rint((z - mean) / deviation * UNIT), -8 * UNIT, 8 * UNIT)) if deviation > 1e-6 else None


def _indicators(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[ColumnLayout], rows: int
) -> tuple[tuple[tuple[str, str], ...], tuple[float, ...]]:
    """The most frequent categories of all columns, neither rare nor nearly everywhere; the second of two says nothing more."""
    frequent: list[tuple[float, str, str]] = []
    for column in columns:
        names = [name for name in column.categories[:OF_ONE_COLUMN] if name.isprintable()]  # others have no place in SQL
        if len(column.categories) == 2:
            names = names[:1]
        v = f"{quoted(column.name)}::varchar"
        counts = dict(connection.execute(f"select {v}, count(*) from given group by 1").fetchall()) if names else {}  # noqa: S608
        frequent += [(share, column.name, name) for name in names if RARE <= (share := counts[name] / rows) <= 1 - RARE]
    kept = sorted(frequent, key=lambda one: (-one[0], one[1], one[2]))[:JOINT_INDICATORS]
    return tuple((column, name) for _, column, name in kept), tuple(share for share, _, _ in kept)


def _most_varied(connection: duckdb.DuckDBPyConnection, names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    counts = connection.execute(f"select {', '.join(f'count(distinct {quoted(n)})' for n in names)} from given").fetchone() or ()  # noqa: S608
    order = sorted(zip(counts, names, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return tuple(name for _, name in order[:SAMPLED_BY])
