"""The profile of a dataset's table: what each column holds, counted as monitoring counts it.

>>> import pyarrow as pa
>>> from perennial.profiles.layout import fit_layout
>>> from perennial.profiles.profile import profile as counted
>>> rows = pa.table({"day": pa.array([15887, 15888, 15888], pa.date32()), "carrier": ["UA", "AA", "UA"]})
>>> TableProfile("flights", 7, counted(rows, fit_layout(rows, ["carrier"]), day="day"))
flights, version 7: 3 rows on 2 days, 2013-07-01 to 2013-07-02.
 column     kind missing lowest median highest           most often shape
carrier category       0      -      -       - UA 66.7 %, AA 33.3 %    █▄
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from perennial import discovery
from perennial.client.connection import connection
from perennial.client.table_rows import table_rows
from perennial.counted import counted, percent
from perennial.results import on_terminal

if TYPE_CHECKING:
    import numpy as np
    import pandas

    from perennial.profiles.layout import ColumnLayout
    from perennial.profiles.profile import Profile

MOST_OFTEN, BARS = 3, 16
_HEIGHTS = " ▁▂▃▄▅▆▇█"


class TableProfile:
    """Counts of a table's columns by day, and a table of what they come to.

    Attributes:
        dataset: whose rows were counted.
        version: of its table.
        by_day: the counts, as monitoring compares them.
    """

    def __init__(self, dataset: str, version: int, by_day: Profile) -> None:
        self.dataset, self.version, self.by_day = dataset, version, by_day

    @property
    def frame(self) -> pandas.DataFrame:
        """A row for each column: share of missing values, lowest, median and highest number, what comes most often, its shape.

        Numbers are those of the cells in which values were counted, so they are exact to about a thousandth of the column's range.
        """
        import pandas

        return pandas.DataFrame([self._row(column) for column in self.by_day.layout.columns])

    @property
    def sentence(self) -> str:
        """What was counted."""
        days = list(self.by_day.blocks)
        when = f", {days[0]} to {days[-1]}" if days else ""
        rows, on = counted(int(self.by_day.rows().sum()), "row"), counted(len(days), "day")
        return f"{self.dataset}, version {self.version}: {rows} on {on}{when}."

    def _row(self, column: ColumnLayout) -> dict[str, Any]:
        rows, missing = int(self.by_day.rows().sum()), int(self.by_day.nulls(column.name).sum())
        row: dict[str, Any] = {"column": column.name, "kind": column.kind, "missing": missing / rows if rows else 0.0}
        row |= {"lowest": None, "median": None, "highest": None, "most often": "", "shape": ""}
        cells = self.by_day.cells(column.name).sum(axis=0)
        if column.kind == "numeric":
            return row | self._numbers(column, cells)
        names = [*column.categories, "others"] if not column.hashed else []
        shares = sorted(zip(names, cells.tolist(), strict=False), key=lambda share: -share[1])
        often = [f"{name} {percent(count / max(1, int(cells.sum())))}" for name, count in shares[:MOST_OFTEN] if count]
        return row | {"most often": ", ".join(often), "shape": _bars(_nonzero(sorted(cells.tolist(), reverse=True)))}

    def _numbers(self, column: ColumnLayout, cells: np.ndarray) -> dict[str, Any]:
        import numpy as np

        if column.grid is None or not cells.sum():
            return {}
        exact = self.by_day.exact(column.name).sum(axis=0)
        if column.values and not exact[-1]:  # each value was counted, and there is no other
            places, numbers = exact[:-1], np.array(column.values)
        else:
            places, numbers = cells, column.grid.centres()
        filled = np.flatnonzero(places)
        middle = np.searchsorted(np.cumsum(places), places.sum() / 2)
        low, high = filled[0], filled[-1]
        shape = [int(part.sum()) for part in np.array_split(places[low : high + 1], min(BARS, high - low + 1))]
        return {"lowest": numbers[low], "median": numbers[middle], "highest": numbers[high], "shape": _bars(shape)}

    def __repr__(self) -> str:
        return on_terminal(f"{self.sentence}\n{self._texts('-').to_string(index=False, max_colwidth=60)}")

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self._texts('').to_html(index=False)}"

    def _texts(self, absent: str) -> pandas.DataFrame:
        """The frame's values as they are shown; pandas itself shows an absent one by what else its column holds."""
        frame = self.frame.map(lambda value: f"{value:.4g}" if isinstance(value, float) else value)
        return frame.where(self.frame.notna(), absent)


def profile(dataset: str, version: int | None = None) -> TableProfile:
    """Count a dataset's rows by day and column, as the stage `profile` does; nothing is written.

    Args:
        dataset: its name.
        version: of its table; the newest if absent. What the stage counted before is read.

    Raises:
        UnknownName: there is no such dataset or version.
    """
    from perennial.profiles.profile import profile as count
    from perennial.profiles.store import ProfileStore, decode
    from perennial.stages.profile import fitted_layout

    spec, store = discovery.dataset(dataset), connection().store
    source = table_rows(spec, version)
    kept = ProfileStore(store, dataset)
    layout, key = kept.layout(), kept.version_key(source.version)
    if layout is not None and store.exists(key):
        return TableProfile(dataset, source.version, decode(store.read(key), layout, key))
    table = source.table
    layout = layout or fitted_layout(table, source.version, spec)
    return TableProfile(dataset, source.version, count(table.dataset(source.version), layout, day=spec.time_column))


def _nonzero(counts: list[int]) -> list[int]:
    return [count for count in counts[:BARS] if count]


def _bars(counts: list[int]) -> str:
    """Counts as bars; the greatest has full height, and none that is not zero vanishes."""
    most = max(counts, default=0)
    return "".join(_HEIGHTS[max(round(count / most * (len(_HEIGHTS) - 1)), 1) if count else 0] for count in counts) if most else ""
