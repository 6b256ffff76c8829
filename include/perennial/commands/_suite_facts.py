"""What a dataset's table says of each of its batches: counts from the profiles that are kept, and extremes from one reading of its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

from perennial.column_types import kind_of
from perennial.errors import UnknownName
from perennial.quality.proposals import BatchFacts, ColumnFacts, PairFacts
from perennial.specs import DatasetSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pandas
    import pyarrow.compute as pc
    from pyarrow.dataset import Dataset

    from perennial.data.extremes import Extremes, RowExtremes
    from perennial.profiles.layout import ColumnLayout, Layout
    from perennial.profiles.profile import Profile
    from perennial.profiles.state import ColumnState, State

MOST_COMPARED = 24  # columns of numbers that are compared with one another


def facts_of_table(
    store: Store, spec: DatasetSpec, first: date | None = None, last: date | None = None
) -> tuple[list[BatchFacts], dict[tuple[str, str], PairFacts]]:
    """The batches of a table, oldest first, and how its columns compare over all of them.

    Args:
        store: has the table and its profiles.
        spec: the dataset's.
        first: day of event time from which rows count; all if absent.
        last: last such day, included.

    Raises:
        UnknownName: the table has no rows on these days.
    """
    from perennial.data.extremes import ExtremesByBatch
    from perennial.data.snapshots import table_of
    from perennial.engine.in_process import run

    table = table_of(store, spec)
    version = table.version()
    by_kind = {kind: [c.name for c in spec.columns if c.type in kinds] for kind, kinds in _COMPARED.items()}
    pairs = tuple(pair for names in by_kind.values() for pair in combinations(names[:MOST_COMPARED], 2))
    wanted = dict.fromkeys([*by_kind["numbers"], *by_kind["times"], spec.time_column])
    rows = table.dataset(version) if version else None
    between = _between(spec.time_column, first, last)
    selected = rows if between is None or rows is None else rows.filter(between)
    seen = run(ExtremesByBatch(tuple(wanted), pairs), selected) if selected is not None else None
    if rows is None or not seen or not seen.rows:
        days = f" from {first or 'the first day'} to {last or 'the last'}" if first or last else ""
        raise UnknownName(f"The table {spec.name} has no rows{days}: ingest a batch first (perennial land FILE --dataset {spec.name}).")
    layout, profiles = _profiles(store, spec, rows, seen, first, last)
    beginnings = {label: columns[spec.time_column].low for label, columns in seen.batches.items()}
    ordered = sorted(seen.rows, key=lambda label: (beginnings[label] is None, beginnings[label] or datetime.min, label))
    batches = [
        BatchFacts(
            label.rpartition(" (")[0] or label,
            seen.rows[label],
            _column_facts(spec, layout, profiles.get(label), seen.batches[label], seen.rows[label]),
        )
        for label in ordered
    ]
    return batches, _pair_facts(layout, profiles, seen)


_COMPARED = {"numbers": ("int", "float"), "times": ("timestamp",)}


def _between(column: str, first: date | None, last: date | None) -> pc.Expression | None:
    import pyarrow.compute as pc

    expressions = []
    if first:
        expressions.append(pc.field(column) >= datetime.combine(first, time()))
    if last:
        expressions.append(pc.field(column) < datetime.combine(last + timedelta(days=1), time()))
    if not expressions:
        return None
    return expressions[0] if len(expressions) == 1 else expressions[0] & expressions[1]


def _profiles(
    store: Store, spec: DatasetSpec, rows: Dataset, seen: RowExtremes, first: date | None, last: date | None
) -> tuple[Layout, dict[str, State]]:
    """The counts of each batch by its label: as they are kept, or counted now where there are none, as of a small table."""
    import pyarrow.compute as pc

    from perennial.data.merging import BATCH
    from perennial.engine.in_process import run
    from perennial.profiles.layout import fit_layout
    from perennial.profiles.profile import ByDay, ByGroupAndDay
    from perennial.profiles.store import ProfileStore

    kept = ProfileStore(store, spec.name)
    layout = kept.layout()
    if layout is None:
        names = [column.name for column in spec.columns]
        types = {column.name: column.type for column in spec.columns}
        layout = fit_layout(rows.to_table(columns=names), joint=(), types=types)
    owed = kept.owed()
    known = {batch.mark: batch for batch in kept.batches()}
    profiles: dict[str, State] = {}
    for label in seen.rows:
        mark = label.rpartition(" (")[2].removesuffix(")")
        if mark in known and label not in owed.values():
            profiles[label] = kept.open(known[mark], layout).select(first, last).merged()
    lacking = [label for label in seen.rows if label not in profiles]
    if lacking:
        of_these = rows.filter(pc.field(BATCH).isin(lacking))
        counted: Mapping[str, Profile] = run(ByGroupAndDay(ByDay(layout, spec.time_column), BATCH), of_these)
        profiles |= {label: profile.select(first, last).merged() for label, profile in counted.items()}
    return layout, profiles


def _column_facts(
    spec: DatasetSpec, layout: Layout, state: State | None, extremes: Mapping[str, Extremes], rows: int
) -> dict[str, ColumnFacts]:
    facts = {}
    for column in spec.columns:
        if column.name in extremes:
            own = extremes[column.name]
            ends = {} if column.type == "timestamp" else {"low": own.low, "high": own.high, "zeros": own.zeros}
            facts[column.name] = ColumnFacts(own.known, rows - own.known, **ends)
        if state and column.name in state.columns:
            counted, how = state.columns[column.name], layout.column(column.name)
            before = facts.get(column.name) or ColumnFacts(int(counted.cells.sum()), counted.nulls)
            facts[column.name] = _counted(before, counted, how)
        kind = kind_of(column.type)
        size = f"{column.name}[{kind.size}]" if kind else ""
        if state and size in state.columns:
            facts[size] = _sizes(state.columns[size], layout.column(size))
    return facts


def _sizes(state: ColumnState, layout: ColumnLayout) -> ColumnFacts:
    """How long lists or texts are: the smallest and the largest length to the next whole number outside their cells."""
    assert layout.grid is not None
    edges, cells = layout.grid.edges(), state.cells.nonzero()[0]
    if not len(cells):
        return ColumnFacts(0, state.nulls)
    low, high = float(edges[cells[0]]), float(edges[cells[-1] + 1])
    known, median = int(state.cells.sum()), _median(state, layout)
    if not math.isfinite(high):
        return ColumnFacts(known, state.nulls, median=median)
    return ColumnFacts(known, state.nulls, float(math.floor(max(low, 0.0))), float(math.ceil(high)), median)


def _counted(facts: ColumnFacts, state: ColumnState, layout: ColumnLayout) -> ColumnFacts:
    if layout.kind == "category":
        names = dict(zip(layout.categories, state.cells.tolist(), strict=False)) | state.unseen
        whole = not layout.hashed and sum(names.values()) == state.cells.sum()
        commonest = max((*names.values(), 0)) if whole else int(state.cells.max(initial=0))
        return replace(facts, commonest=commonest, values={name: n for name, n in names.items() if n} if whole else None)
    return replace(facts, commonest=int(state.cells.max(initial=0)), median=_median(state, layout))


def _median(state: ColumnState, layout: ColumnLayout) -> float | None:
    """The middle of the cell that holds the median."""
    assert layout.grid is not None
    if not (total := state.cells.sum()):
        return None
    return float(layout.grid.centres()[int(state.cells.cumsum().searchsorted((total + 1) // 2))])


def _pair_facts(layout: Layout, profiles: Mapping[str, State], seen: RowExtremes) -> dict[tuple[str, str], PairFacts]:
    """How the columns of each pair compare, in both directions."""
    from perennial.data.extremes import Extremes

    totals: dict[str, Extremes] = {}
    for columns in seen.batches.values():
        for name, extremes in columns.items():
            totals[name] = totals.get(name, Extremes()) + extremes
    cells: dict[str, Any] = {}
    for state in profiles.values():
        for name, counted in state.columns.items():
            cells[name] = cells.get(name, 0) + counted.cells
    facts = {}
    for (a, b), found in seen.pairs.items():
        for (smaller, larger), broken in (((a, b), found.larger), ((b, a), found.smaller)):
            if broken or not found.rows:
                continue
            chance = _chance_above(smaller, larger, layout, cells, totals)
            facts[smaller, larger] = PairFacts(found.rows, 0, chance, found.equal)
    return facts


def _chance_above(first: str, second: str, layout: Layout, cells: Mapping[str, Any], totals: Mapping[str, Extremes]) -> float:
    """How often the first of two columns would be above the second if they had nothing to do with one another: of numbers by their
    profiles, of times as if each were spread evenly from its first to its last."""
    import numpy as np

    if first in cells and second in cells:
        centres = [grid.centres() for name in (first, second) if (grid := layout.column(name).grid)]
        below = np.concatenate([[0], np.cumsum(cells[second])])[np.searchsorted(centres[1], centres[0])]
        return float((cells[first] * below).sum() / max(cells[first].sum() * cells[second].sum(), 1))
    low, high = totals[first], totals[second]
    points = np.linspace(0, 1, 101)
    a, b = (np.array([(end - high.low).total_seconds() for end in (one.low, one.high)]) for one in (low, high))
    span = max(b[1] - b[0], 1.0)
    return float(np.clip((a[0] + points * (a[1] - a[0]) - b[0]) / span, 0, 1).mean())


def facts_of_sample(spec: DatasetSpec, rows: pandas.DataFrame, name: str) -> BatchFacts:
    """What a sample's rows say, as those of one batch."""
    import numpy as np
    import pyarrow as pa

    columns = {}
    for column in spec.columns:
        values = rows[column.name].dropna()
        nulls = len(rows) - len(values)
        if column.type in ("int", "float") and len(values):
            low, high, median = (float(n) for n in (values.min(), values.max(), values.astype(float).median()))
            counts = values.value_counts()
            columns[column.name] = ColumnFacts(
                len(values), nulls, low, high, median, zeros=int((values == 0).sum()), commonest=int(counts.iloc[0])
            )
        elif column.type == "string":
            counts = values.value_counts()
            columns[column.name] = ColumnFacts(
                len(values), nulls, commonest=int(counts.iloc[0]) if len(counts) else 0, values={str(v): int(n) for v, n in counts.items()}
            )
        else:
            columns[column.name] = ColumnFacts(len(values), nulls)
        if (kind := kind_of(column.type)) and kind.size and len(values):
            sizes = kind.measured(pa.array(values, kind.arrow(column)), frozenset())[kind.size].to_numpy()
            low, high, median = (float(n) for n in (sizes.min(), sizes.max(), np.median(sizes)))
            columns[f"{column.name}[{kind.size}]"] = ColumnFacts(len(values), nulls, low, high, median)
    return BatchFacts(name, len(rows), columns)
