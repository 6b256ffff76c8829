"""What the columns of one day looked like: counts on a fixed grid or by category, nulls apart. Counts of days add up.

The grid of a numeric column is laid over the reference once and kept with it, so that every later day is counted on the
same cells. One query per column and a plain GROUP BY: the fastest of the formulations that were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import pyarrow as pa

CELLS = 1024  # cells between the grid's bounds; one more at each end takes what lies outside

TAIL = 0.001  # share of the reference's values that may lie beyond each bound
_DAY = "perennial day"  # name of a column that no dataset has


class Grid(BaseModel):
    """Equal cells between two bounds: cell 0 lies below `low`, cells 1 to CELLS between, cell CELLS + 1 from `high` on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float

    @property
    def per_unit(self) -> float:
        """Cells per unit of the column."""
        return CELLS / (self.high - self.low)

    def lower_edge(self, cell: int) -> float:
        """Smallest value of a cell; minus infinity for the first."""
        return float("-inf") if cell <= 0 else self.low + (cell - 1) / self.per_unit


class ColumnProfile(BaseModel):
    """Counts of one column on one day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counts: dict[str, int] = Field(description="Rows by cell number of the grid, or by category.")
    nulls: int = Field(default=0, description="Rows without a finite value.")
    grid: Grid | None = Field(default=None, description="Where the cells lie; none for a column counted by category.")


class DayProfile(BaseModel):
    """Counts of all columns on one day (UTC) of event time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date
    rows: int
    columns: dict[str, ColumnProfile]


def fit_grids(table: pa.Table, columns: Sequence[str]) -> dict[str, Grid]:
    """Lay a grid over each numeric column of the reference; other columns are counted by category and get none."""
    import duckdb
    from pyarrow import types

    numeric = [
        name
        for name in columns
        if types.is_integer(kind := table.schema.field(name).type) or types.is_floating(kind) or types.is_decimal(kind)
    ]
    if not numeric or not table.num_rows:
        return {}
    connection = duckdb.connect()
    connection.register("given", table.select(numeric))
    bounds = ", ".join(
        f"quantile_cont({_quoted(name)}::double, [{TAIL}, {1 - TAIL}]) filter (isfinite({_quoted(name)}::double))" for name in numeric
    )
    found = connection.execute(f"select {bounds} from given").fetchone()  # noqa: S608 - names are quoted
    assert found is not None
    return {name: _around(*pair) if pair else Grid(low=0.0, high=1.0) for name, pair in zip(numeric, found, strict=True)}


def _around(low: float, high: float) -> Grid:
    if high > low:
        reach = high - low  # on either side, so that values far from the reference can still be told from values just outside it
        return Grid(low=low - reach, high=high + reach)
    reach = max(abs(low), 1.0)
    return Grid(low=low - reach, high=high + reach)


def profile_days(table: pa.Table, event_time: str, columns: Sequence[str], grids: Mapping[str, Grid]) -> list[DayProfile]:
    """Profile every day of a table.

    Args:
        table: rows with the timestamp column `event_time` (UTC) and `columns`.
        event_time: column by which rows belong to days; rows without it belong to none.
        columns: columns to count.
        grids: grid of each numeric column; a column without one is counted by category.

    Returns:
        One profile for each day that has rows, in order.
    """
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false")
    day = _quoted(_DAY)  # made once, by Arrow: DuckDB's date_trunc for every column would take ten times as long
    connection.register(
        "given", table.select(list(columns)).append_column(_DAY, table[event_time].cast(pa.timestamp("us")).cast(pa.date32()))
    )
    rows = dict(connection.execute(f"select {day} d, count(*) from given where d is not null group by 1 order by 1").fetchall())  # noqa: S608
    counts: dict[date, dict[str, tuple[dict[str, int], int]]] = {d: {c: ({}, 0) for c in columns} for d in rows}
    for name in columns:
        query = f"select {day} d, {_cell(name, grids.get(name))} c, count(*) from given where d is not null group by 1, 2"  # noqa: S608
        for d, cell, n in connection.execute(query).fetchall():
            known, nulls = counts[d][name]
            if cell is None:
                counts[d][name] = known, nulls + n
            else:
                known[str(cell)] = n
    return [
        DayProfile(
            day=d,
            rows=n,
            columns={
                c: ColumnProfile(counts=dict(sorted(known.items())), nulls=nulls, grid=grids.get(c))
                for c, (known, nulls) in counts[d].items()
            },
        )
        for d, n in rows.items()
    ]


def _cell(name: str, grid: Grid | None) -> str:
    if grid is None:
        return f"{_quoted(name)}::varchar"
    x = f"{_quoted(name)}::double"
    place = f"floor(({x} - ({grid.low!r})) * {grid.per_unit!r}) + 1"
    # Inside the case: DuckDB's greatest() passes over nulls. NaN is missing too: it is how pandas writes a missing number.
    return f"case when isfinite({x}) then least(greatest({place}, 0), {CELLS + 1})::smallint end"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
