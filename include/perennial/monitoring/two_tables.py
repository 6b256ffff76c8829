"""Two tables compared by the drift test: does the second differ from the first by more than chance, in which columns, and how far?

    >>> import pyarrow as pa
    >>> from perennial.monitoring.two_tables import compare_tables
    >>> before = pa.table({"carrier": ["AA", "UA"] * 200, "distance": list(range(400))})
    >>> after = pa.table({"carrier": ["AA", "AA", "AA", "UA"] * 100, "distance": list(range(400))})
    >>> comparison = compare_tables(before, after)
    >>> comparison.verdict.columns[0].sentence
    '`carrier`: AA: 50 % → 75 % of rows.'

With a time column the days are the blocks that are exchanged. Without one rows are: they are dealt at random into bundles, since blocks
of single rows would cost more and tell no more. That is right for rows that have nothing to do with each other. Cells are fixed on the
rows of both tables together, so that nothing in the test knows which is which.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import comb
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.column_types.texts import are_free_text
from perennial.ids import names_rows
from perennial.monitoring.drift import DriftVerdict, find_drift
from perennial.monitoring.drift.blocks import UNEQUAL
from perennial.profiles.layout import Layout, fit_layout, kind_of, measured_type
from perennial.profiles.profile import Profile, profile
from perennial.specs import MonitoringSpec

FEWER_ROWS_BUNDLES = 40  # into which the rows of the smaller table are dealt
MOST_BUNDLES = 400  # of the larger one
FITTED_ROWS = 20_000  # of either table, on which the cells are fixed
_WORDS = {"numeric": "numbers", "category": "words"}
_COMPARED = ("numbers", "words", "texts", "lists of numbers", "lists of words")


@dataclass(frozen=True)
class Comparison:
    """The result of comparing two tables.

    Attributes:
        verdict: the findings.
        not_compared: why, by name of the column.
        blocks: whether whole days were exchanged, or bundles of rows that are taken as independent of each other.
        time: the column that gives the days; empty without one.
        why_rows: why days were not used although there is a time column; empty if they were, or if there is none.
        rows: of the first and of the second table.
        infinite: rows of the first and of the second with an infinite number, by column; counted as its largest or smallest values.
        rows_used: of each, for the comparison: those that have a day, or those that were drawn from a table of very many more.
        alpha: false-alarm rate over all columns together.
    """

    verdict: DriftVerdict
    not_compared: Mapping[str, str]
    blocks: Literal["days", "rows"]
    time: str
    why_rows: str
    rows: tuple[int, int]
    rows_used: tuple[int, int]
    infinite: Mapping[str, tuple[int, int]]
    alpha: float

    @property
    def cannot_tell(self) -> str:
        """Why nothing could be found whatever the tables hold; empty if something could."""
        first, second = self.verdict.reference_days, self.verdict.window_days
        rarest = 1 / comb(first + second, second)
        if rarest <= self.alpha and first and second:
            return ""
        what = f"days of {self.time}" if self.time else "rows"
        return f"Nothing could be found: of {first} and {second} {what} no labelling is rarer than {rarest:.2g}. Give more of them."


def compare_tables(
    before: pa.Table, after: pa.Table, *, time: str = "", columns: Collection[str] = (), spec: MonitoringSpec | None = None, seed: int = 0
) -> Comparison:
    """Compare all columns that both tables have.

    Args:
        before: the reference; at least one row.
        after: what is compared with it; at least one row.
        time: column of times or dates of both whose days are the blocks. If absent, the only one of both; days that are too few to tell
            anything from chance are not used then.
        columns: what to compare, ids too; all but those that name rows if absent.
        spec: false-alarm rate, and from which size a change matters; the defaults of monitoring if absent.
        seed: of everything drawn.

    Raises:
        ValueError: a table has no rows, or a column twice; nothing can be compared; or `time` is no time of both.
    """
    spec = spec or MonitoringSpec()
    if not before.num_rows or not after.num_rows:
        raise ValueError("a table without rows cannot be compared")
    if twice := sorted({name for table in (before, after) for name in table.column_names if table.column_names.count(name) > 1}):
        raise ValueError(f"a table has twice the columns {', '.join(twice)}")
    times = [name for name in before.column_names if name in after.column_names and _is_time(before, name) and _is_time(after, name)]
    if time and time not in times:
        raise ValueError(f"{time} is no column of times or dates of both tables; such are: {', '.join(times) or 'none'}")
    time, why_rows = (time, "") if time else _time_of(before, after, times, spec.alpha)
    compared, not_compared = _compared(before, after, columns)
    if not compared:
        raise ValueError(
            f"no column can be compared: {'; '.join(f'{name} {why}' for name, why in not_compared.items()) or 'there are none'}"
        )
    types = {name: _compared_as(what) for name, what in compared.items()}
    first, second = (_plain(table, types, time) for table in (before, after))
    texts = {name: "text" for name, what in compared.items() if what == "texts"}
    layout = fit_layout(
        pa.concat_tables([_some(first, FITTED_ROWS, seed), _some(second, FITTED_ROWS, seed)]), list(compared), types=texts, seed=seed
    )
    infinite = _infinite(first, second)
    first, second = _finite(first, second, infinite, layout)
    reference, window = _by_day(first, second, time, layout, seed) if time else _bundled(first, second, layout, seed)
    return Comparison(
        verdict=find_drift(reference, window, spec, seed),
        rows_used=(int(reference.rows().sum()), int(window.rows().sum())),
        not_compared=not_compared,
        infinite=infinite,
        blocks="days" if time else "rows",
        time=time,
        why_rows=why_rows,
        rows=(before.num_rows, after.num_rows),
        alpha=spec.alpha,
    )


def _time_of(before: pa.Table, after: pa.Table, times: list[str], alpha: float) -> tuple[str, str]:
    """The column whose days are the blocks, where none was named; or none, and why."""
    if len(times) > 1:
        return "", f"There are several columns of times ({', '.join(times)}), and none was named."
    if not times:
        return "", ""
    first, second = (
        pc.count_distinct(table[times[0]].cast(pa.timestamp("us"), safe=False).cast(pa.date32())).as_py() for table in (before, after)
    )
    if not first or not second or 1 / comb(first + second, second) > alpha:
        return "", f"The days of {times[0]} ({first} and {second}) are too few to tell a change from chance."
    return times[0], ""


def _compared(before: pa.Table, after: pa.Table, chosen: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What each column holds that is compared; and why the others are not."""
    names = {name: _held(before, after, name, chosen) for name in dict.fromkeys([*before.column_names, *after.column_names])}
    refused = {name: why for name, (_, why) in names.items() if why}
    measured = [name for name, (what, why) in names.items() if not why and what not in _WORDS.values()]
    for name in names:
        if source := next((one for one in measured if name.startswith(f"{one}[") and name.endswith("]")), ""):
            refused.setdefault(name, f"has the name of what is measured of {source}")
    folded: dict[str, str] = {}
    for name in names:
        if name not in refused and (other := folded.setdefault(name.casefold(), name)) != name:  # to the query that fits cells they are one
            refused[name] = f"is called like {other} but for upper and lower case: rename one of them"
    return {name: what for name, (what, _) in names.items() if name not in refused}, refused


def _held(before: pa.Table, after: pa.Table, name: str, chosen: Collection[str]) -> tuple[str, str]:
    """What a column holds in both tables, and an empty reason; or nothing, and why it is not compared."""
    if chosen and name not in chosen:
        return "", "was not asked for"
    if not name:
        return "", "has no name"
    for table, which, other in ((before, "first", "second"), (after, "second", "first")):
        if name not in table.column_names:
            return "", f"is only in the {other}"
        if table[name].null_count == table.num_rows:
            return "", f"has no values in the {which}"
    first, second = _kinds(before, after, name)
    if first == second == "words" and not chosen and all(_is_id(table[name]) for table in (before, after)):
        return "", "names rows: nearly every one has a value of its own"
    return (first, "") if first == second and first in _COMPARED else ("", _of_another_kind(first, second))


def _of_another_kind(first: str, second: str) -> str:
    if first != second:
        return f"is of {first} in the first and of {second} in the second"
    return "is a time: it always moves on" if first == "times" else f"is of {first}, which are not compared"


def _kinds(before: pa.Table, after: pa.Table, name: str) -> tuple[str, str]:
    """What the column holds in either table; words are texts where they are free text in one of them."""
    first, second = (_kind(table, name) for table in (before, after))
    if first == second == "words" and any(
        not pa.types.is_boolean(table[name].type) and are_free_text(table[name]) for table in (before, after)
    ):
        return "texts", "texts"
    return first, second


def _kind(table: pa.Table, name: str) -> str:
    of = table.schema.field(name).type
    kind = kind_of(of)
    if measured_type(of):
        return f"lists of {_WORDS.get(kind_of(of.value_type) or '', str(of.value_type))}"
    return _WORDS[kind] if kind else "times" if _is_time(table, name) else f"the type {of}"


def _is_time(table: pa.Table, name: str) -> bool:
    of = table.schema.field(name).type
    return bool(pa.types.is_timestamp(of) or pa.types.is_date(of))


def _is_id(values: pa.ChunkedArray) -> bool:
    return names_rows(pc.count_distinct(values.cast(pa.string())).as_py(), len(values) - values.null_count)


def _compared_as(what: str) -> pa.DataType:
    """The type as which both tables have a column of numbers, words, texts or lists."""
    types = {"numbers": pa.float64(), "lists of numbers": pa.list_(pa.float64()), "lists of words": pa.list_(pa.string())}
    return types.get(what, pa.string())


def _plain(table: pa.Table, types: Mapping[str, pa.DataType], time: str) -> pa.Table:
    """The compared columns as numbers, words and lists of them, whatever their types are, and the time."""
    types = dict(types)
    if time:
        types[time] = pa.timestamp("us")
    return pa.table({name: table[name].cast(of, safe=False) for name, of in types.items()})


def _infinite(before: pa.Table, after: pa.Table) -> dict[str, tuple[int, int]]:
    """Rows of each with an infinite number, by column that has one."""
    numbers = [field.name for field in before.schema if pa.types.is_floating(field.type)]
    counts = {name: tuple(pc.sum(pc.is_inf(table[name])).as_py() or 0 for table in (before, after)) for name in numbers}
    return {name: (first, second) for name, (first, second) in counts.items() if first or second}


def _finite(before: pa.Table, after: pa.Table, infinite: Collection[str], layout: Layout) -> tuple[pa.Table, pa.Table]:
    """Both with infinite numbers a little beyond all others: what is not finite would be missing in a profile, and the largest number that
    there is would make every other difference look small."""
    for name in infinite:
        columns = [table[name] for table in (before, after)]
        known = pc.min_max(
            pa.chunked_array([chunk for column in columns for chunk in column.filter(pc.is_finite(column)).chunks], pa.float64())
        )
        low, high = (known[end].as_py() or 0.0 for end in ("min", "max"))
        grid = next(column.grid for column in layout.columns if column.name == name)
        width = (grid.high - grid.low if grid else 0.0) or 1.0
        before, after = (
            table.set_column(
                table.column_names.index(name),
                name,
                pc.max_element_wise(pc.min_element_wise(column, high + width, skip_nulls=False), low - width, skip_nulls=False),
            )
            for table, column in zip((before, after), columns, strict=True)
        )
    return before, after


def _some(table: pa.Table, rows: int, seed: int) -> pa.Table:
    """So many rows drawn from a table, in their order; all if it has no more."""
    if table.num_rows <= rows:
        return table
    return table.take(np.sort(np.random.default_rng(seed).choice(table.num_rows, rows, replace=False)))


def _by_day(before: pa.Table, after: pa.Table, time: str, layout: Layout, seed: int) -> tuple[Profile[Any], Profile[Any]]:
    """Both by day. Where the second has larger days rows of it are left out; the test itself does so where the first has."""
    first, second = (profile(table, layout, day=time) for table in (before, after))
    if not first.blocks or not second.blocks:
        return first, second
    larger = float(np.median(second.rows()) / np.median(first.rows()))
    if larger > UNEQUAL:
        second = profile(_some(after, max(1, round(after.num_rows / larger)), seed), layout, day=time)
    return first, second


def _bundled(before: pa.Table, after: pa.Table, layout: Layout, seed: int) -> tuple[Profile[Any], Profile[Any]]:
    """Both by bundles of as many rows: larger ones scatter less, and would be told from smaller ones by that alone."""
    size = max(1, min(before.num_rows, after.num_rows) // FEWER_ROWS_BUNDLES)
    bundles = [min(table.num_rows // size, MOST_BUNDLES) for table in (before, after)]
    used = [
        table if number < MOST_BUNDLES else _some(table, number * size, seed)
        for table, number in zip((before, after), bundles, strict=True)
    ]
    first, second = (profile(table, layout, blocks=number) for table, number in zip(used, bundles, strict=True))
    return first, second
