"""Free text, such as a review or a complaint, as opposed to a `string`, which names a category or an id. A cell is a string.

>>> from perennial.specs import Column
>>> Texts().value("Very good, thank you!", Column(name="review", type="text"))
'Very good, thank you!'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from perennial.column_types.kind import ColumnKind, Declared, Sql, Unfit, UnfitRow, shown
from perennial.column_types.lists import most_frequent
from perennial.tokens import words_of

if TYPE_CHECKING:
    import pyarrow as pa


TEXT_WORDS = 4  # in a value, on average, from which on strings are free text
DIFFERENT = 0.5  # share of different values among all, from which on they may be: what repeats is a category, however long its name


def are_free_text(values: pa.ChunkedArray) -> bool:
    """Whether strings are free text, and no categories or ids: four words on average, and half of the values differ from one another."""
    import pyarrow.compute as pc

    known = pc.utf8_trim_whitespace(values.drop_null().cast("string"))
    known = known.filter(pc.not_equal(known, ""))
    if not len(known) or pc.count_distinct(known).as_py() < DIFFERENT * len(known):
        return False
    words: float = pc.mean(pc.list_value_length(pc.utf8_split_whitespace(known))).as_py()
    return words >= TEXT_WORDS


class Texts(ColumnKind):
    """Text that is read for its words, never counted as a category."""

    name: ClassVar[str] = "text"
    most: ClassVar[int] = 100_000
    size: ClassVar[str] = "words"
    of_known_words: ClassVar[str] = "unknown words"

    def meant(self, column: Declared) -> str:
        """What a value is, for sentences."""
        return f"a text of at most {self.limit(column):,} characters"

    def value(self, given: object, column: Declared) -> Any:
        """The text as it is. Raises Unfit."""
        if type(given) is not str:
            raise Unfit(f"must be {self.meant(column)}, not {shown(given)}")
        if len(given) > self.limit(column):
            raise Unfit(f"has {len(given):,} characters, and it must be {self.meant(column)}")
        return given

    def arrow(self, column: Declared) -> pa.DataType:
        """A string."""
        import pyarrow as pa

        return pa.string()

    def from_file(self, values: pa.ChunkedArray, column: Declared) -> pa.ChunkedArray:
        """Texts as they are."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_null(values.type)):
            raise UnfitRow(0, f"has the type {values.type}, and it must be {self.meant(column)}")
        texts = values.cast(pa.string())
        lengths = pc.utf8_length(texts)
        row = pc.index(pc.greater(lengths, self.limit(column)), True).as_py()
        if row >= 0:
            raise UnfitRow(row, f"has {lengths[row].as_py():,} characters, and it must be {self.meant(column)}")
        return texts

    def measured(self, values: pa.Array, known: frozenset[str]) -> Mapping[str, pa.Array]:
        """The length in characters and in words, and the share of its words that are unknown, null where there are no words."""
        import pyarrow as pa
        import pyarrow.compute as pc

        values = values.cast(pa.string())
        texts = [None if text is None else words_of(text) for text in values.to_pylist()]
        unknown = [sum(word not in known for word in words) / len(words) if words else None for words in texts]
        return {
            "characters": pc.utf8_length(values).cast(pa.int64()),
            "words": pa.array([None if words is None else len(words) for words in texts], pa.int64()),
            "unknown words": pa.array(unknown, pa.float64()),
        }

    def known_words(self, values: pa.Array) -> tuple[str, ...]:
        """The most frequent words."""
        return most_frequent(Counter(word for text in values.to_pylist() if text is not None for word in words_of(text)))

    @property
    def logged(self) -> tuple[tuple[str, ...], Callable[[Declared], Sql], str]:
        """A string, as it is."""
        return ("VARCHAR",), lambda column: lambda text, kind: text, "no text"
