"""Runs a dataset's `clean`, and accounts for every row: rows of a file = rows kept + rows left out, each by a rule with a name.

A dataset's file may define `clean(columns)`. It gets the columns of one batch as arrays and returns them changed, or a pair: the columns,
and for each rule the rows that it leaves out. It takes no row out itself.

>>> import numpy as np
>>> rides = DatasetSpec(name="rides", title="Rides", owner="fleet", row_id="position", event_time="", columns=[
...     {"name": "city", "type": "string"}, {"name": "km", "type": "float", "nullable": True}])
>>> def clean(columns):
...     columns["city"] = np.array([city.strip().title() for city in columns["city"]], dtype=object)
...     return columns, {"no distance": np.isnan(columns["km"])}
>>> cleaned = cleaned_rows(pa.table({"city": [" paris", "Lyon"], "km": [4.2, None]}), rides, clean, "monday.csv")
>>> cleaned.rows.to_pylist(), cleaned.sentence
([{'city': 'Paris', 'km': 4.2}], '1 of 2 rows were left out by clean: 1 by `no distance`.')
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from perennial.column_types import cells, kind_of
from perennial.counted import counted
from perennial.encoding import Columns, whole_numbers
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

Clean = Callable[[Columns], Any]
_KINDS = {"int": "iufO", "float": "fiuO", "string": "OU", "timestamp": "M", "bool": "bO"}  # NumPy's kinds of arrays for a column's type


@dataclass(frozen=True)
class Cleaned:
    """The rows of a batch after cleaning, and what became of the others."""

    rows: pa.Table
    left_out: Mapping[str, int] = field(default_factory=dict)  # rows by rule; one that breaks several counts for the first

    @property
    def total(self) -> int:
        """Rows before cleaning."""
        kept: int = self.rows.num_rows
        return kept + sum(self.left_out.values())

    @property
    def facts(self) -> dict[str, str]:
        """What the batch's commit says of it, so that a receipt that was never written can be."""
        return {"left_out": json.dumps(dict(self.left_out))} if self.left_out else {}

    @property
    def sentence(self) -> str:
        """A sentence on the rows that were left out; empty if none were."""
        return left_out_words(self.left_out, self.total)


def left_out_words(left_out: Mapping[str, int], total: int) -> str:
    """A sentence on the rows that were left out of so many; empty if none were."""
    if not left_out:
        return ""
    rules = ", ".join(f"{count:,} by `{rule}`" for rule, count in left_out.items())
    return f"{sum(left_out.values()):,} of {counted(total, 'row was', 'rows were')} left out by clean: {rules}."


def cleaned_rows(rows: pa.Table, spec: DatasetSpec, clean: Clean | None, name: str) -> Cleaned:
    """Clean the rows of a batch.

    Args:
        rows: with the columns of the spec; others, which the table adds, are not shown to `clean`.
        spec: of the dataset.
        clean: of the dataset's file; None if it has none, and then nothing changes.
        name: what the batch is called in sentences.

    Raises:
        BatchRefused: `clean` breaks, loses rows or columns, changes a type, or leaves nothing.
    """
    if clean is None:
        return Cleaned(rows)
    refuse = f"The clean of {spec.name} cannot be applied to {name}: "
    mend = f". Mend include/perennial_datasets/{spec.name}.py, then land the file again."
    try:
        given = clean({column.name: _array(rows[column.name]) for column in spec.columns})
    except Exception as error:
        raise BatchRefused(f"{refuse}it broke with {type(error).__name__}: {error}{mend}") from error
    columns, rules = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
    if not isinstance(columns, Mapping) or not isinstance(rules, Mapping):
        raise BatchRefused(f"{refuse}it must return the columns, or the columns and the rows that each rule leaves out{mend}")
    if wrong := sorted({column.name for column in spec.columns} ^ set(columns)):
        raise BatchRefused(f"{refuse}it {'lost' if wrong[0] not in columns else 'added'} the column {wrong[0]}{mend}")
    for column in spec.columns:
        given_values, kind = columns[column.name], kind_of(column.type)
        values = cells(given_values) if kind and isinstance(given_values, list) else np.asarray(given_values)
        if values.shape != (rows.num_rows,):
            raise BatchRefused(
                f"{refuse}it gave {len(values) if values.ndim else 0:,} values of {column.name} for {rows.num_rows:,} rows. "
                f"Return all rows, and name those to leave out by a rule{mend}"
            )
        field_of = rows.schema.field(column.name)
        try:
            _refuse_unlike(columns[column.name], values, _KINDS.get(column.type, "O"))
            made = pa.array(values, field_of.type, from_pandas=True)
            if kind:  # what a file could not have, such as NaN in a list
                kind.from_file(pa.chunked_array([made]), column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise BatchRefused(f"{refuse}it made {column.name}, which is {column.type}, something else: {error}{mend}") from error
        rows = rows.set_column(rows.column_names.index(column.name), field_of, made)
    keeps, left_out = np.ones(rows.num_rows, dtype=bool), dict[str, int]()
    for rule, which in rules.items():
        mask = np.asarray(which)
        if mask.shape != (rows.num_rows,) or mask.dtype != bool:
            raise BatchRefused(f"{refuse}its rule `{rule}` is no array of {rows.num_rows:,} truth values{mend}")
        if count := int((keeps & mask).sum()):
            left_out[str(rule)] = left_out.get(str(rule), 0) + count
        keeps &= ~mask
    cleaned = Cleaned(rows.filter(pa.array(keeps)) if left_out else rows, left_out)
    if left_out and not cleaned.rows.num_rows:
        raise BatchRefused(f"{name} has no row that may stay: {cleaned.sentence} Correct the file, or the rules, and land it again.")
    return cleaned


def _refuse_unlike(given: Any, values: np.ndarray, kinds: str) -> None:
    """Raises ArrowInvalid if what `clean` gave, here also as an array, is none of these kinds, or not what a file could have."""
    if isinstance(given, np.ma.MaskedArray):
        raise pa.ArrowInvalid("a masked array, whose mask would be lost: what is missing is NaN or None")
    if values.dtype.kind not in kinds:
        raise pa.ArrowInvalid(f"an array of {values.dtype}")
    if values.dtype.kind == "f" and (infinite := int(np.isinf(values).sum())):
        raise pa.ArrowInvalid(f"{infinite:,} values are infinite")


def _array(values: pa.ChunkedArray) -> np.ndarray:
    """A column as features see it, as an array of its own; whole numbers with gaps are floats with NaN where that is exact."""
    if pa.types.is_integer(values.type) and values.null_count:
        return whole_numbers(values.to_pylist())
    return np.array(values.to_numpy(zero_copy_only=False))
