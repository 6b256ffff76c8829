"""The columns of a landed file under the names of the spec; what is missing or too much is told."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

EXTRA = "_extra"  # column in which a table keeps what the spec does not have
_PLAIN = re.compile(r"[\w.\-]+( [\w.\-]+)*")


def under_spec_names(rows: pa.Table, spec: DatasetSpec, name: str, remarks: list[str]) -> pa.Table:
    """The columns of the spec in its order, and `_extra` where it keeps others.

    Blanks around names do not count, letters with marks are compared in one form (NFC), case as the spec says.

    Raises:
        BatchRefused: columns are missing, there twice, or too many.
    """
    wanted = {column.name: _compared(column.name, spec) for column in spec.columns}
    rows = _with_declared(rows, spec)
    known = {compared: column for column, compared in wanted.items()}
    names = [known.get(_compared(given, spec), unicodedata.normalize("NFC", given.strip())) for given in rows.column_names]
    twice = sorted({n for n in names if names.count(n) > 1 and (n in wanted or spec.files.extra != "drop")})
    missing, unexpected = [n for n in wanted if n not in names], [n for n in names if n not in wanted]
    refused = unexpected if spec.files.extra == "refuse" else []
    faults = [
        f"{what} {', '.join(map(quoted, columns))}"
        for what, columns in (("lacks the columns", missing), ("has unexpected columns", refused), ("has twice the columns", twice))
        if columns
    ]
    if faults:
        raise BatchRefused(
            f"{name} {' and '.join(faults)}: correct the file, or the columns in the spec of {spec.name} if the source has really changed."
        )
    kept = pa.table([rows.column(names.index(column)) for column in wanted], names=list(wanted))
    if not unexpected:
        return kept
    remarks.append(f"{name}: {', '.join(map(quoted, unexpected))} {'left out' if spec.files.extra == 'drop' else f'kept in {EXTRA}'}")
    if spec.files.extra == "drop":
        return kept
    others = pa.table([rows.column(names.index(n)) for n in unexpected], names=unexpected)
    return kept.append_column(EXTRA, _as_json(others))


def quoted(name: str) -> str:
    """A column's name in a sentence, in quotes where its borders would not show."""
    return name if _PLAIN.fullmatch(name) else repr(name)


def _compared(name: str, spec: DatasetSpec) -> str:
    compared = unicodedata.normalize("NFC", name.strip())
    return compared.casefold() if spec.files.header == "any case" else compared


def _with_declared(rows: pa.Table, spec: DatasetSpec) -> pa.Table:
    """Declared headers and nested fields under the names of the spec; what else is nested stays whole."""
    used: set[str] = set()
    for column, called in spec.files.fields.items():
        if called in rows.column_names:
            rows = rows.rename_columns([column if given == called else given for given in rows.column_names])
            continue
        values = _nested(rows, called.split("."))
        if values is not None:
            used.add(called.split(".")[0])
            rows = rows.append_column(column, values)
    return rows.drop_columns([name for name in used if name in rows.column_names and name not in spec.files.fields])


def _nested(rows: pa.Table, path: Sequence[str]) -> pa.ChunkedArray | None:
    if path[0] not in rows.column_names:
        return None
    values = rows[path[0]]
    for step in path[1:]:
        if not pa.types.is_struct(values.type) or values.type.get_field_index(step) < 0:
            return None
        values = pc.struct_field(values, step)
    return values


def _as_json(others: pa.Table) -> pa.ChunkedArray:
    """One text for each row: an object of the fields that are not null; null if there are none."""
    rows = ({name: value for name, value in row.items() if value is not None} for row in others.to_pylist())
    return pa.chunked_array([pa.array([json.dumps(row, ensure_ascii=False, default=str) if row else None for row in rows], pa.string())])
