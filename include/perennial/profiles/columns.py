"""Columns of Arrow as arrays of NumPy, without a copy where there is no null.

>>> import pyarrow as pa
>>> floats(pa.array([1, None, 3])).tolist()
[1.0, nan, 3.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def floats(column: pa.Array) -> Floats:
    """The numbers of a column of kind numeric, shape [n]; NaN where there is none."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return filled(column if column.type == pa.float64() else column.cast(pa.float64(), safe=False), np.float64, np.nan)


def integers(column: pa.Array, null: int = 0) -> NDArray[np.int32]:
    """The whole numbers of a column, shape [n], with this one for null."""
    import pyarrow as pa

    return filled(column if column.type == pa.int32() else column.cast(pa.int32()), np.int32, null)


def filled(column: pa.Array, kind: type, null: float) -> NDArray[Any]:
    """The values of a column of fixed width, shape [n], with `null` in place of nulls.

    Arrow's own way imports pandas where there is one, which takes half a second.
    """
    values = values_in_memory(column, kind)
    if column.null_count:
        values = values.copy()
        values[null_places(column)] = null
    return values


def values_in_memory(column: pa.Array, kind: type) -> NDArray[Any]:
    """The memory of a column of fixed width, shape [n]; where it is null stands anything."""
    return np.frombuffer(column.buffers()[1] or b"", kind)[column.offset : column.offset + len(column)]


def null_places(column: pa.Array) -> Integers:
    """The places at which a column that has nulls has one, ascending."""
    first, past = column.offset // 8, column.offset % 8
    present = np.frombuffer(column.buffers()[0], np.uint8)[first:]
    absent = np.unpackbits(~present, count=past + len(column), bitorder="little")[past:]
    places: Integers = absent.view(np.bool_).nonzero()[0]
    return places


def strings(texts: Sequence[str]) -> pa.Array:
    """Texts as a column."""
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    borders = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(borders), pa.py_buffer(b"".join(encoded)))
