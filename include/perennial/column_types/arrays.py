"""Arrays of numbers of a fixed shape, such as a spectrogram or an embedding. A cell is a flat array, its last axis the quickest.

>>> from perennial.specs import Column
>>> Arrays().value([[1, 2], [3, None]], Column(name="map", type="array", of="float", shape=(2, 2))).tolist()
[1.0, 2.0, 3.0, nan]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from perennial.column_types.kind import (
    ELEMENTS,
    ColumnKind,
    Declared,
    Sql,
    Unfit,
    array_of,
    each_read,
    is_list,
    logged_elements,
    refuse_times,
    shown,
)

if TYPE_CHECKING:
    import pyarrow as pa


class Arrays(ColumnKind):
    """As many numbers as the shape has places, nested or in one list; of type float some may be missing: null, or NaN in files."""

    name: ClassVar[str] = "array"
    most: ClassVar[int] = 1_000_000

    def meant(self, column: Declared) -> str:
        """What a value is, for sentences."""
        return f"{' x '.join(f'{length:,}' for length in column.shape)} {ELEMENTS[column.of].name}"

    def value(self, given: object, column: Declared) -> Any:
        """float64 or int64 [places]. Raises Unfit, which names the place, counted from 0."""

        def where(place: int) -> str:
            return f"at [{', '.join(str(int(at)) for at in np.unravel_index(place, column.shape))}]"

        return array_of(self._elements(given, column), column.of, where, missing=column.of == "float")

    def _elements(self, given: object, column: Declared) -> Sequence[Any]:
        if type(given) is not list:
            raise Unfit(f"must be {self.meant(column)}, not {shown(given)}")
        if len(column.shape) > 1 and len(given) == math.prod(column.shape) and not any(type(one) is list for one in given):
            return given
        elements: list[Any] = [given]
        for axis, length in enumerate(column.shape):
            if wrong := [one for one in elements if type(one) is not list or len(one) != length]:
                what = f"{len(wrong[0]):,} elements" if type(wrong[0]) is list else "no list"
                raise Unfit(f"has {what} where axis {axis} has {length:,}: it must be {self.meant(column)}")
            elements = [inner for one in elements for inner in one]
        return elements

    def arrow(self, column: Declared) -> pa.DataType:
        """A list of doubles or whole numbers of 64 bits, with the places of all axes one after the other; what is missing is null."""
        import pyarrow as pa

        return pa.list_(pa.float64() if column.of == "float" else pa.int64())

    def from_file(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray:
        """Nested lists or flat ones as they are, or texts that are JSON arrays."""
        if (quick := self._as_a_whole(values, column)) is not None:
            return quick
        refuse_times(values.type, self.meant(column))
        wanted = f"must be {self.meant(column)}, as JSON writes them: [[1, 2], [3, 4]]"

        def read(given: Any) -> list[Any]:
            return [None if x != x else x for x in self.value(given, column).tolist()]  # noqa: PLR0124  NaN alone

        return each_read(values, self.arrow(column), wanted, read)

    def _as_a_whole(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray | None:
        """Typed lists in the type of the table, without a look at each value; None where one may not fit."""
        import pyarrow as pa

        chunks = []
        for chunk in values.chunks:
            lengths, elements = flattened(chunk)
            if lengths not in (tuple(column.shape), (math.prod(column.shape),)):
                return None
            plain = _plain_numbers(elements, column)
            if plain is None:
                return None
            has_value = np.asarray(chunk.is_valid())
            offsets = np.concatenate([[0], np.cumsum(has_value * math.prod(column.shape))]).astype(np.int32)
            chunks.append(pa.ListArray.from_arrays(pa.array(offsets), plain, mask=pa.array(~has_value)))
        return pa.chunked_array(chunks, self.arrow(column))

    def measured(self, values: pa.Array, known: frozenset[str]) -> Mapping[str, pa.Array]:
        """The share of numbers that are missing, and mean and standard deviation of the others, null where there are none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        has_value = np.asarray(values.is_valid())
        elements = pc.fill_null(pc.list_flatten(values).cast(pa.float64(), safe=False), math.nan)
        rows = np.asarray(elements).reshape(int(has_value.sum()), -1) if has_value.any() else np.zeros((0, 1))
        is_there = ~np.isnan(rows)
        counts = is_there.sum(axis=1)
        means = np.where(is_there, rows, 0.0).sum(axis=1) / np.maximum(counts, 1)
        deviations = np.sqrt((np.where(is_there, rows - means[:, None], 0.0) ** 2).sum(axis=1) / np.maximum(counts, 1))
        return {
            "missing": _spread(has_value, 1 - is_there.mean(axis=1), np.zeros(len(rows), bool)),
            "mean": _spread(has_value, means, counts == 0),
            "deviation": _spread(has_value, deviations, counts == 0),
        }

    @property
    def logged(self) -> tuple[tuple[str, ...], Callable[[Declared], Sql], str]:
        """An array, nested or flat."""
        return ("ARRAY",), _logged, "no array of its shape"


def _logged(column: Declared) -> Sql:
    """Takes the numbers out of nested lists, whose brackets alone say where one ends."""
    of_shape = f"len(elements) = {math.prod(column.shape)}"

    def sql(text: str, kind: str) -> str:
        flat = f"'[' || regexp_replace({text}, '[\\[\\]\\s]+', '', 'g') || ']'"
        return logged_elements(flat, column.of, of_shape, missing=column.of == "float")

    return sql


def flattened(values: pa.Array) -> tuple[tuple[int, ...], pa.Array]:
    """The lengths that lists of lists have alike, the outermost first, and what they hold; no lengths where they differ or have gaps."""
    import pyarrow.compute as pc

    elements, lengths = values.drop_null(), list[int]()
    while is_list(elements.type):
        spans = pc.min_max(pc.list_value_length(elements)).as_py()
        if elements.null_count or spans["min"] is None or spans["min"] != spans["max"]:
            return (), elements
        lengths.append(spans["max"])
        elements = pc.list_flatten(elements)
    return tuple(lengths), elements


def _plain_numbers(elements: pa.Array, column: Declared) -> pa.Array | None:
    """All elements in the type of the table; None where one may not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_integer(elements.type) or pa.types.is_floating(elements.type)):
        return None
    if column.of == "int":
        if not pa.types.is_integer(elements.type) or elements.null_count:
            return None
        too_large = pa.types.is_uint64(elements.type) and pc.any(pc.greater(elements, pa.scalar(2**63 - 1, pa.uint64()))).as_py()
        return None if too_large else elements.cast(pa.int64())
    floats = elements.cast(pa.float64(), safe=False)
    if pc.any(pc.is_inf(floats)).as_py():
        return None
    return pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)


def _spread(has_value: np.ndarray, values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """The values at the rows that have one, null elsewhere and where they are missing."""
    import pyarrow as pa

    column, mask = np.zeros(len(has_value)), ~has_value
    column[has_value] = values
    mask[has_value] = missing
    return pa.array(column, pa.float64(), mask=mask)
