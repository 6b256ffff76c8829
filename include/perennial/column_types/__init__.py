"""Column types whose value is no single number, word or time: one object for each, which answers everything that is asked of such a column.

A type is one small file here: what a file's column becomes, what a request may send, what is counted of it for drift, how the log of
predictions holds it. What reads, checks, counts or shows columns asks `kind_of(type)` and knows no type by name.

>>> from perennial.specs import Column
>>> review = Column(name="review", type="text")
>>> kind_of(review.type).meant(review)
'a text of at most 100,000 characters'
>>> kind_of("float") is None  # one number: no kind of its own
True
"""

from __future__ import annotations

from perennial.column_types.arrays import Arrays
from perennial.column_types.images import Images
from perennial.column_types.kind import ColumnKind, Declared, Unfit, cells, is_list, shown
from perennial.column_types.lists import Lists
from perennial.column_types.texts import Texts

__all__ = ["KINDS", "ColumnKind", "Declared", "Unfit", "cells", "is_list", "kind_of", "shown"]

KINDS: dict[str, ColumnKind] = {kind.name: kind for kind in (Lists(), Texts(), Arrays(), Images())}


def kind_of(column_type: str) -> ColumnKind | None:
    """The kind of a column type; None for one whose value is a single number, word, time or truth value."""
    return KINDS.get(column_type)
