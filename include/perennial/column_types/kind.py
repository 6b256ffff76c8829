"""What a column type is asked that is no scalar. Only NumPy is needed to serve one; Arrow is loaded where a table is read.

>>> cells([[1.0, 2.0], None]).shape  # one cell a row, whatever is in it
(2,)
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from perennial.encoding import EXACT, without_points

if TYPE_CHECKING:
    import pyarrow as pa

Sql = Callable[[str, str], str]  # of a value's text and of its JSON type


class Declared(Protocol):
    """A column as its spec or a version's signature declares it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def type(self) -> str:
        """Its column type."""

    @property
    def of(self) -> str:
        """Type of the elements of a list; empty for other types."""

    @property
    def longest(self) -> int | None:
        """Largest number of elements, characters or bytes; the type's own limit if None."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of an array, or height and width of an image; empty for other types."""

    @property
    def mode(self) -> str:
        """Mode to which an image is brought; empty for other types."""


class Unfit(ValueError):
    """A value that does not fit its column; the message is what follows the column's name in a sentence: `must be …`, `has …`."""


class ColumnKind(ABC):
    """A column type that is no scalar. A null never reaches it: whether a value may be missing is the column's own matter."""

    name: ClassVar[str]
    most: ClassVar[int]  # elements, characters or bytes, if the column declares no limit
    size: ClassVar[str] = ""  # the measure that says how large a value is, which a new suite bounds; empty if it bounds none
    of_known_words: ClassVar[str] = ""  # the measure that compares words with those that were known; empty if none does

    def limit(self, column: Declared) -> int:
        """Largest number of elements, characters or bytes of a value."""
        return column.longest or self.most

    @abstractmethod
    def meant(self, column: Declared) -> str:
        """What a value is, for sentences: `a list of at most 10,000 numbers`."""

    @abstractmethod
    def value(self, given: object, column: Declared) -> Any:
        """A value from JSON as features get it: the content of one cell. Raises Unfit."""

    @abstractmethod
    def arrow(self, column: Declared) -> pa.DataType:
        """Type in the table."""

    @abstractmethod
    def from_file(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray:
        """A landed file's column, as text or as its own type, in the type of the table.

        Raises:
            UnfitRow: a value does not fit.
        """

    @abstractmethod
    def measured(self, values: pa.Array, known: frozenset[str]) -> Mapping[str, pa.Array]:
        """The numbers that a profile counts of each value, by name, float64 or int64; the first is missing only where the value is.

        Args:
            values: of the table's type.
            known: words that `known_words` gave when the profile's layout was fixed.
        """

    def known_words(self, values: pa.Array) -> tuple[str, ...]:
        """Words that later values are compared with; none where a type has no words."""
        return ()

    @property
    @abstractmethod
    def logged(self) -> tuple[tuple[str, ...], Callable[[Declared], Sql], str]:
        """How the log of predictions is read: the JSON types that DuckDB may see, its SQL, and what else it is said to be."""


class UnfitRow(Unfit):
    """A row of a file that does not fit.

    Args:
        row: its place, from 0.
        why: what follows the column's name and value.
    """

    def __init__(self, row: int, why: str) -> None:
        super().__init__(why)
        self.row = row


def cells(values: Sequence[Any]) -> np.ndarray:
    """A column of one object a row, shape [n]; lists of equal length stay lists."""
    return np.fromiter(values, dtype=object, count=len(values))


class Elements(NamedTuple):
    """What a list or an array may hold, by its `of`."""

    name: str
    wanted: str  # what one of them must be, in a sentence
    types: frozenset[type]  # as JSON has them
    dtype: type


ELEMENTS = {
    "float": Elements("numbers", "a number", frozenset({int, float}), np.float64),
    "int": Elements("whole numbers", "a whole number", frozenset({int}), np.int64),
    "string": Elements("words", "a string", frozenset({str}), object),
}


def array_of(elements: Sequence[Any], of: str, where: Callable[[int], str], *, missing: bool = False) -> np.ndarray:
    """Elements of JSON as an array, [elements].

    Args:
        elements: one after the other.
        of: what they are, a key of ELEMENTS.
        where: what a place is called in a sentence: `as element 3`.
        missing: whether numbers may be null, which is NaN then.

    Raises:
        Unfit: one is of another type, has too many digits or is not finite.
    """
    held = ELEMENTS[of]
    if of == "int":  # as a whole number alone may be written 2.0
        elements = without_points(elements)
    types = held.types | {type(None)} if missing else held.types
    if not set(map(type, elements)) <= types:
        place = next(place for place, x in enumerate(elements) if type(x) not in types)
        raise Unfit(f"has {shown(elements[place])} {where(place)}, which must be {held.wanted}{' or null' if missing else ''}")
    if missing:
        elements = [math.nan if x is None else x for x in elements]
    try:
        array: np.ndarray = np.fromiter(elements, dtype=held.dtype, count=len(elements))
    except OverflowError:
        raise Unfit("has an element of more digits than 64 bits hold") from None
    if of == "float" and (infinite := np.isinf(array) if missing else ~np.isfinite(array)).any():
        place = int(np.argmax(infinite))
        raise Unfit(f"has {array[place]} {where(place)}, which must be finite")
    return array


def each_read(values: pa.ChunkedArray, kind: pa.DataType, wanted: str, read: Callable[[Any], list[Any]]) -> pa.ChunkedArray:
    """A file's column, value by value; empty texts are null.

    Args:
        values: lists, or texts of JSON.
        kind: type in the table.
        wanted: what is said of a text that is no JSON.
        read: the elements of a value, None for those that are missing. May raise Unfit.

    Raises:
        UnfitRow: a value does not fit.
    """
    import pyarrow as pa

    made: list[Any] = []
    for row, given in enumerate(values.to_pylist()):
        if given is None or (isinstance(given, str) and not given.strip()):
            made.append(None)
            continue
        try:
            made.append(read(from_json(given, wanted) if isinstance(given, str) else given))
        except Unfit as unfit:
            raise UnfitRow(row, str(unfit)) from None
    return pa.chunked_array([pa.array(made, kind)])


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of lists, of whatever sort."""
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def refuse_times(given: pa.DataType, meant: str) -> None:
    """Raises UnfitRow if a type is of times, or holds some: Python's calendar does not have all of them."""
    import pyarrow as pa

    if pa.types.is_temporal(given):
        raise UnfitRow(0, f"has values of the type {given}, and it must be {meant}")
    for place in range(given.num_fields):
        refuse_times(given.field(place).type, meant)


def from_json(text: str, wanted: str) -> Any:
    """What a text is in JSON. Raises Unfit, which says what is wanted: it is none, or has half a sign."""
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unfit("has a text with half of a sign, such as \\ud83d without the other half after it: write the sign itself") from None
    except (ValueError, RecursionError):
        raise Unfit(wanted) from None
    return value


_NUMBER = "json_type(x) in ('BIGINT', 'UBIGINT', 'DOUBLE')"
_ELEMENT = {  # type in a table, and what a logged element x must be, as a request's must
    "float": ("double", f"{_NUMBER} and isfinite(try_cast(x as double))"),
    "int": (
        "bigint",
        f"{_NUMBER} and case when json_type(x) = 'DOUBLE' then try_cast(x as double) = trunc(try_cast(x as double)) "
        f"and abs(try_cast(x as double)) < {EXACT} else try_cast(x as bigint) is not null end",
    ),
    "string": ("varchar", "json_type(x) = 'VARCHAR'"),
}


def logged_elements(array: str, of: str, condition: str = "true", *, missing: bool = False) -> str:
    """The SQL of the elements of a JSON array; null where one of them is not what a request may have.

    Args:
        array: SQL of the array's text.
        of: what its elements are.
        condition: SQL of what else must hold of `elements`.
        missing: whether elements may be null.
    """
    kind, fits = _ELEMENT[of]
    as_json = f"try_cast({array} as json)"
    elements = f"try_cast({as_json} as json[])"
    is_one = f"(x is null or ({fits}))" if missing else f"coalesce({fits}, false)"
    whole = f"len(list_filter({elements}, lambda x: {is_one})) = len({elements})"
    return f"case when {whole} and {condition.replace('elements', elements)} then try_cast({as_json} as {kind}[]) end"


def shown(value: object) -> str:
    """A value in a sentence, cut where it is long."""
    if isinstance(value, (dict, list)):  # may be nested deeper than repr goes
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        value = value[:60]
    text = repr(value) if not isinstance(value, (bool, type(None))) else {True: "true", False: "false", None: "null"}[value]
    return text if len(text) <= 60 else text[:57] + "..."
