"""The columns of a landed file under the names of the spec; what is missing or too much is told."""

from __future__ import annotations

import base64
import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from perennial.errors import BatchRefused
from perennial.forms import compared_name
from perennial.specs import Column, DatasetSpec

EXTRA = "_extra"  # column in which a table keeps what the spec does not have
_PLAIN = re.compile(r"[\w.\-]+( [\w.\-]+)*")


class ColumnsDiffer(BatchRefused):
    """A file lacks columns, or has some twice or too many."""

    def __init__(self, sentence: str, rows: pa.Table) -> None:
        super().__init__(sentence)
        self.rows = rows  # the columns of the spec that it has once, under their names


def under_spec_names(rows: pa.Table, spec: DatasetSpec, name: str, remarks: list[str]) -> pa.Table:
    """The columns of the spec in its order, and `_extra` where it keeps others.

    Blanks around names do not count, letters with marks are compared in one form (NFC), case as the spec says. A file may
    lack the column that marks deletions: then it deletes nothing.

    Raises:
        ColumnsDiffer: columns are missing, there twice, or too many.
    """
    wanted = {column.name: compared_name(column.name, spec.files) for column in spec.columns}
    rows = _with_folders(_with_times(_with_declared(rows, spec), spec), spec, name)
    known = {compared: column for column, compared in wanted.items()}
    names = [known.get(compared_name(given, spec.files), unicodedata.normalize("NFC", given.strip())) for given in rows.column_names]
    twice = sorted({n for n in names if names.count(n) > 1 and (n in wanted or spec.files.extra != "drop")})
    if spec.deleted and spec.deleted not in names:  # no row of a file without that column is a deletion
        rows = rows.append_column(spec.deleted, pa.chunked_array([pa.repeat(False, rows.num_rows)]))
        names.append(spec.deleted)
    missing, unexpected = [n for n in wanted if n not in names], [n for n in names if n not in wanted]
    refused = unexpected if spec.files.extra == "refuse" else []
    faults = [
        f"{what} {', '.join(map(quoted, columns))}"
        for what, columns in (("lacks the columns", missing), ("has unexpected columns", refused), ("has twice the columns", twice))
        if columns
    ]
    if faults:
        there = [column for column in wanted if names.count(column) == 1]
        raise ColumnsDiffer(
            f"{name} {' and '.join(faults)}: correct the file, or the columns in the spec of {spec.name} if the source has really changed.",
            pa.table([rows.column(names.index(column)) for column in there], names=there),
        )
    kept = pa.table([rows.column(names.index(column)) for column in wanted], names=list(wanted))
    if not unexpected:
        return kept
    remarks.append(f"{name}: {', '.join(map(quoted, unexpected))} {'left out' if spec.files.extra == 'drop' else f'kept in {EXTRA}'}")
    if spec.files.extra == "drop":
        return kept
    others = pa.table([rows.column(names.index(n)) for n in unexpected], names=unexpected)
    return kept.append_column(EXTRA, _as_json(others, name))


def column_called(given: str, spec: DatasetSpec) -> Column | None:
    """The column of the spec that a file's header means; None if there is none."""
    declared = {called: column for column, called in spec.files.fields.items()}
    compared = compared_name(declared.get(given, given), spec.files)
    return next((column for column in spec.columns if compared_name(column.name, spec.files) == compared), None)


def quoted(name: str) -> str:
    """A column's name in a sentence, in quotes where its borders would not show."""
    return name if _PLAIN.fullmatch(name) else repr(name)


def _with_declared(rows: pa.Table, spec: DatasetSpec) -> pa.Table:
    """Declared headers and nested fields under the names of the spec. What else a used field holds is left out with it."""
    nested: dict[str, pa.ChunkedArray] = {}
    used: set[str] = set()
    names = list(rows.column_names)
    for column, called in spec.files.fields.items():
        if called in rows.column_names:
            names = [column if given == called else name for given, name in zip(rows.column_names, names, strict=True)]
        elif (values := _nested(rows, called.split("."))) is not None:
            nested[column] = values
            used.add(called.split(".")[0])
    rows = rows.rename_columns(names)
    rows = rows.select([place for place, name in enumerate(names) if name not in used])
    for column, values in nested.items():
        rows = rows.append_column(column, values)
    return rows


def _with_times(rows: pa.Table, spec: DatasetSpec) -> pa.Table:
    """Times that lie in a column of days and one of hours, as texts; the two are left out if the spec does not have them."""
    wanted = {column.name for column in spec.columns}
    consumed: set[str] = set()
    for column, parts in spec.files.time_of.items():
        if column in rows.column_names or any(rows.column_names.count(part) != 1 for part in parts):
            continue
        day, hour = (pc.utf8_trim_whitespace(rows[part].cast(pa.string())) for part in parts)
        day = pc.replace_substring_regex(day, "[ T]00:00:00(?:\\.0+)?$", "")
        hour = pc.replace_substring_regex(pc.replace_substring_regex(hour, r"^([0-9]{1,2})(?:\.0+)?$", r"\1:00"), r"^([0-9]):", r"0\1:")
        rows = rows.append_column(column, pc.binary_join_element_wise(day, hour, " "))
        consumed |= set(parts) - wanted
    return rows.drop_columns(sorted(consumed))


def _with_folders(rows: pa.Table, spec: DatasetSpec, name: str) -> pa.Table:
    """Columns whose value is in the names of the folders above a file, as in `day=2026-05-04/part-0.parquet`, unless the file has them."""
    for step in PurePosixPath(name).parts[:-1]:
        column, mark, value = step.rpartition(": ")[2].partition("=")
        if mark and column in {wanted.name for wanted in spec.columns} and column not in rows.column_names:
            text = None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
            rows = rows.append_column(column, pa.chunked_array([pa.array([text] * rows.num_rows, pa.string())]))
    return rows


def _nested(rows: pa.Table, path: Sequence[str]) -> pa.ChunkedArray | None:
    if rows.column_names.count(path[0]) != 1:
        return None
    values = rows[path[0]]
    for step in path[1:]:
        if not pa.types.is_struct(values.type) or values.type.get_field_index(step) < 0:
            return None
        values = pc.struct_field(values, step)
    return values


def _as_json(others: pa.Table, name: str) -> pa.ChunkedArray:
    """One text for each row: an object of the fields that are not null or NaN; null if there are none.

    Raises:
        BatchRefused: a field has a time that is in no calendar.
    """
    columns = []
    for place, field in enumerate(others.column_names):
        try:
            columns.append(others.column(place).to_pylist())
        except (OverflowError, ValueError):
            raise BatchRefused(
                f"{name}: {quoted(field)}, which is kept in {EXTRA}, has a time that is outside the years 1 to 9999: correct it, or leave "
                'the column out, as extra="drop" in files of the spec does with all of them.'
            ) from None
    texts = []
    for values in zip(*columns, strict=True):
        row = {field: plain for field, value in zip(others.column_names, values, strict=True) if (plain := _of_json(value)) is not None}
        texts.append(json.dumps(row, ensure_ascii=False, default=str) if row else None)
    return pa.chunked_array([pa.array(texts, pa.string())])


def _of_json(value: Any) -> Any:
    """A value as JSON has it: NaN is null, infinity a text, bytes are base64."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (list, tuple)):  # a map is a list of pairs
        return [_of_json(one) for one in value]
    return {field: _of_json(inner) for field, inner in value.items()} if isinstance(value, dict) else value
