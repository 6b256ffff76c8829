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

from perennial.column_types.kind import ColumnKind, Declared, Sql, Unfit, UnfitRow, from_json, logged_elements, refuse_times, shown
from perennial.encoding import EXACT

if TYPE_CHECKING:
    import pyarrow as pa

_OF = {"float": ("numbers", "a number or null", np.float64), "int": ("whole numbers", "a whole number", np.int64)}


class Arrays(ColumnKind):
    """As many numbers as the shape has places, nested or in one list; of type float some may be missing: null, or NaN in files."""

    name: ClassVar[str] = "array"
    most: ClassVar[int] = 1_000_000

    def meant(self, column: Declared) -> str:
        """What a value is, for sentences."""
        return f"{' x '.join(f'{length:,}' for length in column.shape)} {_OF[column.of][0]}"

    def value(self, given: object, column: Declared) -> Any:
        """float64 or int64 [places]. Raises Unfit, which names the place, counted from 0."""
        elements = list(self._elements(given, column))
        allowed = {int, float, type(None)} if column.of == "float" else {int}
        if column.of == "int":  # as a whole number alone may be written 2.0
            elements = [int(x) if type(x) is float and x.is_integer() and abs(x) < EXACT else x for x in elements]
        if not set(map(type, elements)) <= allowed:
            place = next(place for place, x in enumerate(elements) if type(x) not in allowed)
            raise Unfit(f"has {shown(elements[place])} at {self._at(place, column)}, which must be {_OF[column.of][1]}")
        try:
            array = np.array([math.nan if x is None else x for x in elements], dtype=_OF[column.of][2])
        except OverflowError:
            raise Unfit("has an element of more digits than 64 bits hold") from None
        self._refuse_infinite(array, column)
        return array

    def _elements(self, given: object, column: Declared) -> Sequence[Any]:
        if type(given) is not list:
            raise Unfit(f"must be {self.meant(column)}, not {shown(given)}")
        if len(column.shape) > 1 and len(given) == math.prod(column.shape) and not any(type(one) is list for one in given):
            return given
        elements: list[Any] = [given]
        for axis, length in enumerate(column.shape):
            wrong = next((one for one in elements if type(one) is not list or len(one) != length), None)
            if any(type(one) is not list or len(one) != length for one in elements):
                what = f"{len(wrong):,} elements" if type(wrong) is list else "no list"
                raise Unfit(f"has {what} where axis {axis} has {length:,}: it must be {self.meant(column)}")
            elements = [inner for one in elements for inner in one]
        return elements

    def _at(self, place: int, column: Declared) -> str:
        places = np.unravel_index(place, column.shape)
        return f"[{', '.join(str(int(one)) for one in places)}]"

    def _refuse_infinite(self, array: np.ndarray, column: Declared) -> None:
        infinite = np.isinf(array)
        if infinite.any():
            place = int(np.argmax(infinite))
            raise Unfit(f"has {array[place]} at {self._at(place, column)}, which must be finite")

    def arrow(self, column: Declared) -> pa.DataType:
        """A list of doubles or whole numbers of 64 bits, with the places of all axes one after the other; what is missing is null."""
        import pyarrow as pa

        return pa.list_(pa.float64() if column.of == "float" else pa.int64())

    def from_file(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray:
        """Nested lists or flat ones as they are, or texts that are JSON arrays."""
        import pyarrow as pa

        kind = self.arrow(column)
        if (quick := self._as_a_whole(values, column)) is not None:
            return quick
        made: list[Any] = []
        refuse_times(values.type, self.meant(column))
        wanted = f"must be {self.meant(column)}, as JSON writes them: [[1, 2], [3, 4]]"
        for row, given in enumerate(values.to_pylist()):
            if given is None or (isinstance(given, str) and not given.strip()):
                made.append(None)
                continue
            try:
                value = from_json(given, wanted) if isinstance(given, str) else given
                made.append([None if x != x else x for x in self.value(_as_lists(value), column).tolist()])  # noqa: PLR0124  NaN alone
            except Unfit as unfit:
                raise UnfitRow(row, str(unfit)) from None
        return pa.chunked_array([pa.array(made, kind)])

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
    while _is_list(elements.type):
        spans = pc.min_max(pc.list_value_length(elements)).as_py()
        if elements.null_count or spans["min"] is None or spans["min"] != spans["max"]:
            return (), elements
        lengths.append(spans["max"])
        elements = pc.list_flatten(elements)
    return tuple(lengths), elements


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


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


def _as_lists(value: Any) -> Any:
    """Nested arrays of NumPy as lists."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _spread(has_value: np.ndarray, values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """The values at the rows that have one, null elsewhere and where they are missing."""
    import pyarrow as pa

    column, mask = np.zeros(len(has_value)), ~has_value
    column[has_value] = values
    mask[has_value] = missing
    return pa.array(column, pa.float64(), mask=mask)
