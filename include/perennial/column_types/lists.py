"""Lists of numbers or words, such as the last purchases of a customer or the tags of an article. A cell is a one-dimensional array.

>>> from perennial.specs import Column
>>> Lists().value([1, 2.5], Column(name="history", type="list", of="float")).tolist()
[1.0, 2.5]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
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
from perennial.encoding import EXACT

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN_WORDS = 4096
LONGEST_WORD = 1000  # characters of a word in a list


class Lists(ColumnKind):
    """A list of numbers or words, which may be empty; its elements are never missing."""

    name: ClassVar[str] = "list"
    most: ClassVar[int] = 10_000
    size: ClassVar[str] = "length"
    of_known_words: ClassVar[str] = "unknown words"

    def meant(self, column: Declared) -> str:
        """What a value is, for sentences."""
        return f"a list of at most {self.limit(column):,} {ELEMENTS[column.of].name}"

    def value(self, given: object, column: Declared) -> Any:
        """float64, int64 or objects [elements]. Raises Unfit, which names the element, counted from 0."""
        if type(given) is not list:
            raise Unfit(f"must be {self.meant(column)}, not {shown(given)}")
        if len(given) > self.limit(column):
            raise Unfit(f"has {len(given):,} elements, and it must be {self.meant(column)}")
        array = array_of(given, column.of, "as element {}".format)
        if column.of == "string" and (long := [place for place, word in enumerate(given) if len(word) > LONGEST_WORD]):
            raise Unfit(f"has a word of {len(given[long[0]]):,} characters as element {long[0]}: {LONGEST_WORD:,} are the most")
        return array

    def arrow(self, column: Declared) -> pa.DataType:
        """A list of doubles, whole numbers of 64 bits or strings."""
        import pyarrow as pa

        return pa.list_({"float": pa.float64(), "int": pa.int64(), "string": pa.string()}[column.of])

    def from_file(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray:
        """Lists as they are, or texts that are JSON arrays."""
        if (quick := self._as_a_whole(values, column)) is not None:
            return quick
        refuse_times(values.type, self.meant(column))
        wanted = f"must be {self.meant(column)}, as JSON writes it: [1, 2]"
        return each_read(values, self.arrow(column), wanted, lambda given: self.value(given, column).tolist())

    def _as_a_whole(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray | None:
        """Typed lists in the type of the table, without a look at each value; None where one may not fit."""
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow import types

        kind, given = self.arrow(column), values.type
        if not is_list(given):
            return None
        element = given.value_type
        if not (types.is_string(element) if column.of == "string" else types.is_integer(element) or types.is_floating(element)):
            return None
        if column.of == "int" and types.is_floating(element) and pc.any(pc.greater_equal(pc.abs(pc.list_flatten(values)), EXACT)).as_py():
            return None  # one may stand for its neighbour
        try:
            lists = values.cast(kind)
        except pa.ArrowInvalid:
            return None
        elements, longest = pc.list_flatten(lists), pc.max(pc.list_value_length(lists)).as_py() or 0
        sizes = pc.less_equal(pc.utf8_length(elements), LONGEST_WORD) if column.of == "string" else pc.is_finite(elements)
        whole = elements.null_count == 0 and longest <= self.limit(column) and pc.all(sizes, min_count=0).as_py()
        return lists if whole else None

    def measured(self, values: pa.Array, known: frozenset[str]) -> Mapping[str, pa.Array]:
        """The length; of numbers the smallest, their mean and the largest, of words the share of unknown ones, null without elements."""
        import pyarrow as pa
        import pyarrow.compute as pc

        values = _plain(values)
        lengths = pc.list_value_length(values)
        counts = np.asarray(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False), np.int64)
        filled, begins = counts > 0, np.cumsum(counts) - counts
        elements = values.flatten()
        results = {"length": lengths.cast(pa.int64())}
        if pa.types.is_string(values.type.value_type):
            unknown = np.array([word not in known for word in elements.to_pylist()], float)
            sums = np.add.reduceat(unknown, begins[filled]) if filled.any() else np.zeros(0)
            return results | {"unknown words": _where(filled, sums / counts[filled])}
        numbers = np.asarray(elements.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), float)
        reduced = (
            {
                "smallest": np.minimum.reduceat(numbers, begins[filled]),
                "mean": np.add.reduceat(numbers, begins[filled]) / counts[filled],
                "largest": np.maximum.reduceat(numbers, begins[filled]),
            }
            if filled.any()
            else dict.fromkeys(("smallest", "mean", "largest"), np.zeros(0))
        )
        return results | {name: _where(filled, made) for name, made in reduced.items()}

    def known_words(self, values: pa.Array) -> tuple[str, ...]:
        """The most frequent words; none of a list of numbers."""
        import pyarrow as pa

        if not pa.types.is_string(_plain(values).type.value_type):
            return ()
        return most_frequent(Counter(_plain(values).flatten().to_pylist()))

    @property
    def logged(self) -> tuple[tuple[str, ...], Callable[[Declared], Sql], str]:
        """An array without an element that is missing or of another type."""

        def sql(column: Declared) -> Sql:
            return lambda text, kind: logged_elements(text, column.of)

        return ("ARRAY",), sql, "no list of what the column holds"


def most_frequent(counts: Counter[str]) -> tuple[str, ...]:
    """The most frequent words, at most KNOWN_WORDS; of equally frequent ones the first by their letters."""
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:KNOWN_WORDS])


def _where(filled: np.ndarray, values: np.ndarray) -> pa.Array:
    import pyarrow as pa

    column = np.full(len(filled), np.nan)
    column[filled] = values
    return pa.array(column, pa.float64(), mask=~filled)


def _plain(values: pa.Array) -> pa.Array:
    """Lists of the plain type: Delta may give large ones, or views of strings."""
    import pyarrow as pa

    element = values.type.value_type
    words = pa.types.is_string(element) or pa.types.is_large_string(element) or pa.types.is_string_view(element)
    kind = pa.list_(pa.string() if words else element)
    return values if values.type == kind else values.cast(kind)
