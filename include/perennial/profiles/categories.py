"""Counts the categories of a column: by name, or by a hash of the name if there are too many.

>>> import pyarrow as pa
>>> from perennial.profiles.counts import batch_rows
>>> from perennial.profiles.layout import fit_layout
>>> carriers = Categories(fit_layout(pa.table({"carrier": ["UA", "AA", "UA"]})).columns[0])
>>> carriers.add(batch_rows({"carrier": pa.array(["UA", "XX", "UA"])}, runs=np.array([0]), lengths=np.array([3]), blocks=1))
>>> carriers.states(1)[0].cells.tolist(), carriers.states(1)[0].unseen  # UA, AA, all others
([2, 0, 1], {'XX': 1})
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perennial.profiles.columns import Integers, integers, strings
from perennial.profiles.counts import BatchRows, BlockCounts
from perennial.profiles.hashes import name_hashes
from perennial.profiles.layout import HASH_CELLS, ColumnLayout
from perennial.profiles.state import ColumnState, lowest_names

if TYPE_CHECKING:
    import pyarrow as pa

WAITING = 1 << 16  # rows of categories that the layout does not know which wait for their names at most


class Categories:
    """One column of categories. A row's code is the place of its category, or the cell of its hash; one more for none."""

    def __init__(self, layout: ColumnLayout) -> None:
        self.layout, self.none = layout, layout.cells
        self.known = strings(layout.categories)
        self.counts = BlockCounts(layout.cells + 1)
        self.unseen: dict[int, dict[str, int]] = {}
        self.dictionary: pa.Array | None = None
        self.code_of = self.codes = np.zeros(0, np.int64)
        self.later = False  # whether the dictionary has categories that the layout does not know
        self.waiting: list[Integers] = []  # of rows of such categories: the block, times the size of the dictionary, plus the place there
        self.waited = 0

    def add(self, rows: BatchRows) -> None:
        """Count the column in a batch."""
        import pyarrow as pa

        column = rows.columns.get(self.layout.name)
        if column is None:
            self.codes = np.full(len(rows.of), self.none)
            self.counts.add(rows, self.codes)
            return
        if not pa.types.is_dictionary(column.type):
            column = (column.cast(pa.string()) if pa.types.is_string_view(column.type) else column).dictionary_encode()
        if self.dictionary is None or not column.dictionary.equals(self.dictionary):
            self._name()
            self.dictionary = column.dictionary
            self.code_of = np.append(self._codes(self.dictionary.cast(pa.string())), self.none)
            self.later = not self.layout.hashed and bool((self.code_of == self.none - 1).any())
        indices = integers(column.indices, len(self.dictionary))
        self.codes = self.code_of.take(indices, mode="clip")
        self.counts.add(rows, self.codes)
        if self.later:
            rest = (self.codes == self.none - 1).nonzero()[0]
            self.waiting.append(rows.of.take(rest) * len(self.dictionary) + indices.take(rest))
            self.waited += len(rest)
            if self.waited >= WAITING:
                self._name()

    def _codes(self, names: pa.Array) -> Integers:
        """Code of each name of a dictionary, one of which may be null."""
        import pyarrow.compute as pc

        if self.layout.hashed:
            hashes = name_hashes([name or "" for name in names.to_pylist()])
            codes = (hashes % np.uint64(HASH_CELLS)).astype(np.int64)
        else:
            codes = integers(pc.index_in(names, self.known), self.none - 1).astype(np.int64)
        if names.null_count:
            codes[[name is None for name in names.to_pylist()]] = self.none
        return codes

    def _name(self) -> None:
        """Count the rows that wait, by the names of their categories, which the layout does not know."""
        import pyarrow as pa

        if not self.waited:
            return
        assert self.dictionary is not None
        keys, counts = np.unique(np.concatenate(self.waiting), return_counts=True)
        self.waiting, self.waited = [], 0
        blocks, numbers = np.divmod(keys, len(self.dictionary))
        texts = (
            self.dictionary.take(pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)]))
            .cast(pa.string())
            .to_pylist()
        )
        for block, name, n in zip(blocks.tolist(), texts, counts.tolist(), strict=True):
            names = self.unseen.setdefault(block, {})
            names[name] = names.get(name, 0) + n
        for block in set(blocks.tolist()):
            self.unseen[block] = lowest_names(self.unseen[block])

    def merge(self, other: Categories, places: Integers) -> None:
        """Add what was counted of other rows. Their blocks stand at these places here."""
        self.counts.merge(other.counts, places)
        other._name()
        for place, names in other.unseen.items():
            own = self.unseen.setdefault(int(places[place]), {})
            for name, n in names.items():
                own[name] = own.get(name, 0) + n
            self.unseen[int(places[place])] = lowest_names(own)

    def bits(self) -> NDArray[np.uint64]:
        """The last batch's codes, as that many bits."""
        return self.codes.view(np.uint64)

    def states(self, blocks: int) -> list[ColumnState]:
        """The state of each block."""
        self._name()
        counts, none = self.counts.of(blocks), np.zeros(0, np.int64)
        return [ColumnState(int(c[-1]), c[:-1], none, self.unseen.get(place, {})) for place, c in enumerate(counts)]
