"""Columns that a table adds to the rows of a file: a name for a row that has no key, and when its file landed for one that has no time.

Both follow from the landed file alone, so that taking it in once more gives the same.

>>> from perennial.data.landing import Landed
>>> gems = DatasetSpec(
...     name="gems", title="Gems", owner="shop", row_id="content", event_time="", columns=[{"name": "carat", "type": "float"}])
>>> file = Landed("landing/gems/may.csv", "may.csv", 20, 1714521600.0, "1f")
>>> with_added_columns(pa.table({"carat": [0.5, 0.7]}), gems, file).to_pylist()
[{'carat': 0.5, '_row': '10ba89365fbbecd4f0c8b1aa79c33f74', '_landed': datetime.datetime(2024, 5, 1, 0, 0)},
 {'carat': 0.7, '_row': '9396907b69b0bffef436ab821a377700', '_landed': datetime.datetime(2024, 5, 1, 0, 0)}]
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from perennial.clock import zone
from perennial.data.landing import Landed
from perennial.data.readers import schema
from perennial.specs import LANDED, ROW, DatasetSpec

_TYPES = {ROW: pa.string(), LANDED: pa.timestamp("us")}
_DIGITS = 32  # of the hash: two different rows would have the same once in 10^38 pairs


def table_schema(spec: DatasetSpec) -> pa.Schema:
    """All columns of a dataset's table as Arrow types: those of its files, then those that are added."""
    names = [column.name for column in spec.table_columns]
    return pa.schema([row_schema(spec).field(name) for name in names])


def row_schema(spec: DatasetSpec) -> pa.Schema:
    """The columns that a model's rows have as Arrow types: those of the table, and those that its joins bring."""
    given, every = schema(spec), {column.name: column for column in (*spec.columns, *spec.table_columns)}
    return pa.schema([pa.field(name, _TYPES.get(name) or given.field(name).type, c.nullable) for name, c in every.items()])


def with_added_columns(rows: pa.Table, spec: DatasetSpec, file: Landed, first: int = 0) -> pa.Table:
    """The rows of a landed file with the columns that their dataset lacks; as they are if it has a key and an event time.

    Args:
        rows: the file's rows, or those that come after the `first` ones.
        spec: of the dataset.
        file: as it was listed.
        first: rows of the file before these.
    """
    if ROW in spec.key_columns:
        names = row_hashes(rows) if spec.row_id == "content" else [f"{file.name}:{first + n}" for n in range(1, rows.num_rows + 1)]
        rows = rows.append_column(ROW, pa.array(names, pa.string()))
    if spec.time_column == LANDED:
        rows = rows.append_column(LANDED, pa.repeat(pa.scalar(landed_at(file, spec), _TYPES[LANDED]), rows.num_rows))
    return rows


def landed_at(file: Landed, spec: DatasetSpec) -> datetime:
    """When a file landed, as wall time of the dataset's zone: when it was last changed in the landing zone, as it was listed."""
    return datetime.fromtimestamp(file.modified, zone(spec.time_zone)).replace(tzinfo=None)


def row_hashes(rows: pa.Table) -> list[str]:
    """A hash of each row's content: of the names and values that are not null, so that a column that is added later changes none."""
    names = sorted(rows.column_names)
    columns = [_plain(rows[name]) for name in names]
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return [
        hashlib.sha256(encode([[n, v] for n, v in zip(names, values, strict=True) if v is not None]).encode()).hexdigest()[:_DIGITS]
        for values in zip(*columns, strict=True)
    ]


def _plain(values: pa.ChunkedArray) -> list[Any]:
    """Values that JSON writes in one way alone: times as microseconds, no negative zero, bytes by their hash."""
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us")).cast(pa.int64())
    if pa.types.is_floating(values.type):
        values = pc.add(values, 0.0)
    plain: list[Any] = values.to_pylist()
    if pa.types.is_binary(values.type):
        return [None if content is None else hashlib.sha256(content).hexdigest() for content in plain]
    if pa.types.is_list(values.type) and pa.types.is_floating(values.type.value_type):
        return [elements and [None if element is None else element + 0.0 for element in elements] for elements in plain]
    return plain
