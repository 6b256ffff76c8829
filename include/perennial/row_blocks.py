"""Rows that are read block by block, as often as somebody asks, so that never more than a block lies in memory.

>>> import pyarrow as pa
>>> rows = RowBlocks.of(pa.table({"km": [4.2, 1.0, 7.0], "city": ["Paris", "Lyon", "Paris"]}), most=2)
>>> [block.num_rows for block in rows.blocks()], rows.table(["km"])["km"].to_pylist()
([2, 1], [4.2, 1.0, 7.0])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1 << 16  # rows


@dataclass(frozen=True)
class RowBlocks:
    """Rows in their order, in blocks; each reading gives the same ones."""

    schema: pa.Schema
    read: Callable[[Sequence[str]], Iterator[pa.Table]]  # the blocks with the named columns

    @classmethod
    def of(cls, rows: pa.Table, most: int = BLOCK) -> RowBlocks:
        """Rows that are in memory already, in blocks of at most so many."""

        def read(columns: Sequence[str]) -> Iterator[pa.Table]:
            named = rows.select(list(columns))
            return (named.slice(begin, most) for begin in range(0, rows.num_rows, most))

        return cls(rows.schema, read)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The blocks, with all columns or with the named ones; none is empty."""
        return (block for block in self.read(self.schema.names if columns is None else columns) if block.num_rows)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows at once, with all columns or with the named ones."""
        import pyarrow as pa

        names = self.schema.names if columns is None else list(columns)
        return pa.concat_tables([pa.schema([self.schema.field(name) for name in names]).empty_table(), *self.blocks(names)])
