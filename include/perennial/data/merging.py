"""What becomes of each row of a batch, where a dataset takes corrections: added, replaced, unchanged, kept, older, deleted or refused.

Pure: rows in, a decision out; `tables.py` reads and commits. Which row counts is declared in the dataset's spec: `rows`, `on_known_key`,
`newest_by` and `deleted` (docs/decisions/0049-corrections-by-key.md).

    >>> rule = Rule(("ride",), by_row=True, on_known_key="replace")
    >>> known = pa.table({"ride": ["r1", "r2"], "km": [4.2, 1.0], "_batch": ["monday.csv", "monday.csv"]})
    >>> merged = merge(pa.table({"ride": ["r1", "r2", "r3"], "km": [4.5, 1.0, 7.0]}), known, rule)
    >>> merged.counts.sentence(), merged.rows["ride"].to_pylist(), merged.taken
    ('1 added, 1 replaced, 1 unchanged', ['r1', 'r3'], {'monday.csv': 1})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.counted import counted
from perennial.data.row_counts import RowCounts
from perennial.errors import BatchRefused
from perennial.specs import LANDED, DatasetSpec, OnKnownKey

BATCH = "_batch"  # column that tells which batch a row came from
_NUMBER, _OTHER = "_number", "_other"  # places of rows, while they are joined
_MISSING = " is missing"  # no column's name ends so, with the name of a key before it
_NOT_A_NUMBER = object()


@dataclass(frozen=True)
class Rule:
    """How rows with the same key are told apart: a dataset's declaration."""

    key: tuple[str, ...]
    by_row: bool = False  # whether a file may have rows that are in; else it is refused whole
    on_known_key: OnKnownKey = "refuse"
    newest_by: str = ""  # column whose largest value is the newest row of a key
    deleted: str = ""  # bool column; a row with true deletes the row of its key

    @classmethod
    def of(cls, spec: DatasetSpec) -> Rule:
        """The rule of a dataset."""
        if spec.row_id == "content":  # a row that is in with the same content is the same row, even if it was cleaned in another way then
            return cls(spec.key_columns, by_row=True, on_known_key="keep_first", newest_by=spec.newest_by)
        return cls(spec.key_columns, spec.rows == "corrected", spec.on_known_key, spec.newest_by, spec.deleted)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a row must have even if it only deletes."""
        return (*self.key, *([self.newest_by] if self.newest_by else []))

    def tombstones(self, rows: pa.Table) -> pa.ChunkedArray:
        """Which rows delete the row of their key."""
        return pc.fill_null(rows[self.deleted], False) if self.deleted else pa.chunked_array([pa.repeat(False, rows.num_rows)])


@dataclass(frozen=True)
class Merge:
    """What is to become of the rows of a batch."""

    counts: RowCounts
    rows: pa.Table  # that go into the table
    leaving: pa.Table | None = None  # rows of the table that make room, with their batch and file; None if there are none
    refused: pa.Table | None = None  # rows of the batch that the rule refuses; None if there are none
    blocked_by: tuple[str, ...] = ()  # labels of the batches that have the keys of refused rows
    taken: Mapping[str, int] = field(default_factory=dict)  # number of leaving rows by their batch
    met: Mapping[str, int] = field(default_factory=dict)  # number of rows of the table that made rows of the batch superfluous, by theirs

    @property
    def changes_rows(self) -> bool:
        """Whether the table has other rows afterwards."""
        return self.rows.num_rows > 0 or self.leaving is not None


def one_per_key(rows: pa.Table, rule: Rule) -> tuple[pa.Table, RowCounts]:
    """One row of each key of a batch: of identical rows the first, of different ones the newest by the declared column.

    Returns:
        The rows, in their order, and the counts of those that were left out.

    Raises:
        BatchRefused: rows with the same key differ, and nothing declares which one is the newest.
    """
    if not rule.key or not rows.num_rows:
        return rows, RowCounts()
    numbered = rows.select(list(rule.key)).append_column(_NUMBER, pa.array(np.arange(rows.num_rows)))
    grouped = numbered.group_by(list(rule.key)).aggregate([(_NUMBER, "count")])
    if grouped.num_rows == rows.num_rows:
        return rows, RowCounts()
    numbers: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(_contents(rows.select(list(rule.key)))):
        numbers.setdefault(key, []).append(number)
    doubled = [several for several in numbers.values() if len(several) > 1]
    out, repeated, differing = np.zeros(rows.num_rows, bool), 0, list[int]()
    content = dict(zip(flat := [n for several in doubled for n in several], _contents(rows.take(flat)), strict=True))
    age = dict(zip(flat, rows[rule.newest_by].take(flat).to_pylist(), strict=True)) if rule.newest_by else {}
    for several in doubled:
        newest = max(age[n] for n in several) if age else None
        newest_rows = [n for n in several if not age or age[n] == newest]
        if len({content[n] for n in newest_rows}) > 1:
            differing.append(several[0])
        out[several] = True
        out[newest_rows[0]] = False
        repeated += sum(content[n] == content[newest_rows[0]] for n in several) - 1
    if differing:
        first = rows.select(list(rule.key)).slice(differing[0], 1).to_pylist()[0]
        advice = (
            f"the newest by {rule.newest_by} too"
            if rule.newest_by
            else 'nothing says which one counts. Land each row once, or name the column that does: newest_by="..." in the spec'
        )
        raise BatchRefused(
            f"{counted(len(differing), 'key')} ({', '.join(rule.key)}) occur{'s' if len(differing) == 1 else ''} more than once with "
            f"different values, and {advice}; the first is {shown(first, rule.key)}."
        )
    return rows.filter(pa.array(~out)), RowCounts(repeated=repeated, older=int(out.sum()) - repeated)


def merge(rows: pa.Table, known: pa.Table, rule: Rule, before: RowCounts | None = None) -> Merge:
    """What is to become of the rows of a batch.

    Args:
        rows: the batch, one row for each key.
        known: the table's rows with these keys, with the column `_batch`.
        rule: the dataset's.
        before: counts of rows of the batch that were left out already.

    Raises:
        BatchRefused: the table has several rows of one key.
    """
    incoming, stored = matches(rows, known, rule.key)
    if several := len(incoming) - len(np.unique(incoming)):
        raise BatchRefused(
            f"The table has {counted(several, 'row')} more than one for each key ({', '.join(rule.key)}) of this batch: they "
            "landed under another key, and a correction of one would take the place of several. Give the spec the key that it had, or make "
            "another dataset."
        )
    is_known, unequal, is_older = (np.zeros(rows.num_rows, bool) for _ in range(3))
    is_known[incoming] = True
    unequal[incoming[~_equal(rows.take(incoming), known.take(stored), rule)]] = True
    if rule.newest_by:
        lower = pc.less(rows[rule.newest_by].take(incoming), known[rule.newest_by].take(stored))
        is_older[incoming[_mask(lower)]] = True
    deletes = _mask(rule.tombstones(rows))
    added, deleted = ~is_known & ~deletes, is_known & deletes & ~is_older
    differs = is_known & unequal & ~deletes
    replaced = differs & ~is_older if rule.on_known_key == "replace" else np.zeros(rows.num_rows, bool)
    older = is_older & (deletes | differs if rule.on_known_key == "replace" else deletes)
    kept = differs & (rule.on_known_key == "keep_first")
    refused = differs & (rule.on_known_key == "refuse")
    counts = (before or RowCounts()).plus(
        added=int(added.sum()),
        replaced=int(replaced.sum()),
        unchanged=int((~(added | deleted | replaced | older | kept | refused)).sum()),
        kept=int(kept.sum()),
        older=int(older.sum()),
        deleted=int(deleted.sum()),
        refused=int(refused.sum()),
    )
    leaving = known.take(stored[(replaced | deleted)[incoming]])
    blockers = known[BATCH].take(stored[refused[incoming]]).to_pylist() if refused.any() else []
    met = known[BATCH].take(stored[~(replaced | deleted)[incoming]])
    return Merge(
        counts,
        rows.filter(pa.array(added | replaced)),
        leaving if leaving.num_rows else None,
        rows.filter(pa.array(refused)) if refused.any() else None,
        tuple(sorted(set(blockers))),
        by_batch(leaving[BATCH]),
        by_batch(met),
    )


def replay(keys: pa.Table, batches: Iterable[tuple[str, pa.Table]], rule: Rule) -> pa.Table | None:
    """What the table would have of some keys if the rows that it has of them had never been in; None if nothing.

    Args:
        keys: of the rows that leave.
        batches: the batches that met them, in their order: label, and rows, one for each key.
        rule: the dataset's.

    Returns:
        Rows with the column `_batch`.
    """
    rows_now: pa.Table | None = None
    for label, rows in batches:
        again = rows.take(np.unique(matches(rows, keys, rule.key)[0]))
        labels = pa.repeat(pa.scalar(label, pa.string()), again.num_rows)
        known = again.append_column(BATCH, labels).slice(0, 0) if rows_now is None else rows_now
        merged = merge(again, known, rule)
        stay = known if merged.leaving is None else without(known, merged.leaving, rule.key)
        more = merged.rows.append_column(BATCH, labels.slice(0, merged.rows.num_rows))
        rows_now = pa.concat_tables([stay, more], promote_options="default")
    return rows_now if rows_now is not None and rows_now.num_rows else None


def by_batch(labels: pa.ChunkedArray) -> dict[str, int]:
    """Number of rows by the label of their batch."""
    return dict(sorted(Counter(label for label in labels.to_pylist() if label is not None).items()))


def matches(rows: pa.Table, others: pa.Table, key: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of rows with the same key, in which a missing value is a value like any other: numbers of rows, and of others."""
    left, right = (plain(side.select(list(key))) for side in (rows, others))
    gaps = [name for name in key if left[name].null_count and right[name].null_count]
    left, right = (_with_gaps(side, gaps) for side in (left, right))
    on = left.column_names
    left = left.append_column(_NUMBER, pa.array(np.arange(rows.num_rows)))
    right = right.append_column(_OTHER, pa.array(np.arange(others.num_rows)))
    pairs = left.join(right, keys=on, join_type="inner").sort_by([(_NUMBER, "ascending"), (_OTHER, "ascending")])
    return pairs[_NUMBER].to_numpy(), pairs[_OTHER].to_numpy()


def _with_gaps(keys: pa.Table, names: Sequence[str]) -> pa.Table:
    """Keys that a join finds where the named columns are missing too: with a column that says so, and something in the gap."""
    for name in names:
        filler = pa.array([0]).cast(keys.schema.field(name).type)[0]
        filled = pc.if_else(keys[name].is_null(), filler, keys[name])
        keys = keys.append_column(f"{name}{_MISSING}", keys[name].is_null())
        keys = keys.set_column(keys.column_names.index(name), name, filled)
    return keys


def without(rows: pa.Table, others: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows whose key none of the others has."""
    stays = np.ones(rows.num_rows, bool)
    stays[matches(rows, others, key)[0]] = False
    return rows.filter(pa.array(stays))


def plain(table: pa.Table) -> pa.Table:
    """A table whose strings are of the plain type: joins want equal types on both sides, and Delta may give large ones or views."""
    fields = [
        pa.field(f.name, pa.string()) if pa.types.is_large_string(f.type) or pa.types.is_string_view(f.type) else f for f in table.schema
    ]
    return table.cast(pa.schema(fields))


def shown(row: Mapping[str, Any], key: Sequence[str]) -> str:
    """A row's key, in an error message."""
    return ", ".join(f"{name} {row[name]}" for name in key)


def _equal(rows: pa.Table, others: pa.Table, rule: Rule) -> np.ndarray:
    """Which pairs of rows have the same values in all columns of their files; the one of deletions says nothing of a row that is in."""
    equal = np.ones(rows.num_rows, bool)
    for name in rows.column_names:
        if name in (*rule.key, rule.deleted, LANDED):
            continue
        ours = rows[name].combine_chunks()
        theirs = others[name].combine_chunks() if name in others.column_names else pa.nulls(len(ours), ours.type)
        if pa.types.is_nested(ours.type):
            equal &= np.array([a == b for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True)], bool)
            continue
        same = _mask(pc.equal(ours, theirs.cast(ours.type))) | (_mask(ours.is_null()) & _mask(theirs.is_null()))
        if pa.types.is_floating(ours.type):
            same |= _mask(pc.is_nan(ours)) & _mask(pc.is_nan(theirs))
        equal &= same
    return equal


def _mask(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), bool)


def _contents(rows: pa.Table) -> list[tuple[Any, ...]]:
    """Each row's values, such that rows with the same values are equal."""
    columns = [[_value(value) for value in column.to_pylist()] for column in rows.columns]
    return list(zip(*columns, strict=True))


def _value(value: Any) -> Any:
    if isinstance(value, float) and value != value:  # noqa: PLR0124  NaN alone differs from itself
        return _NOT_A_NUMBER
    return repr(value) if isinstance(value, list | dict) else value
