"""The columns of a dataset in somebody else's table, under the table's names, and its rows as Parquet files of ours."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from perennial.errors import SourceRefused
from perennial.sources.interface import Look


def wanted(look: Look, what: str, there: Collection[str]) -> list[str]:
    """What a source calls the columns of a dataset, in the dataset's order.

    Args:
        look: at the source.
        what: the source, as a sentence begins with it.
        there: the columns that it has.

    Raises:
        SourceRefused: it lacks some; nothing is read then.
    """
    spec = look.dataset
    named = {name: c for c in spec.columns for name in spec.files.time_of.get(c.name, (look.field(c.name),))}
    if missing := [name for name, column in named.items() if name not in there and column.name != spec.deleted]:
        raise SourceRefused(
            f"{what} has no column {', '.join(missing)}; it has {', '.join(there)}. Nothing was read of it: correct the spec of "
            f"{spec.name} (`files.fields` says what a source calls a column) or the source; the next look goes on where the last one ended."
        )
    return [name for name in named if name in there]


def without_views(rows: pa.Table) -> pa.Table:
    """Rows whose texts and bytes are of types that Arrow can filter and files have."""
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return rows.cast(pa.schema([field.with_type(plain.get(field.type, field.type)) for field in rows.schema]))


@dataclass(frozen=True)
class Columns:
    """Which columns of a source the dataset has.

    Attributes:
        names: in the source, in the dataset's order.
        keys: those that identify a row; none where nothing does.
    """

    names: list[str]
    keys: tuple[str, ...]
    look: Look
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def of(cls, look: Look, what: str, there: Collection[str]) -> Columns:
        """The columns of a dataset in a source that has certain ones.

        Raises:
            SourceRefused: it lacks some; nothing was read then.
        """
        return cls(wanted(look, what, there), tuple(look.field(name) for name in look.dataset.key), look)

    def of_file(self, rows: pa.Table) -> pa.Table:
        """Rows with these columns alone, of types that files have."""
        return without_views(rows.select(self.names)).combine_chunks()

    def tombstones(self, rows: pa.Table) -> pa.Table | None:
        """Rows that delete these ones; None where the dataset knows no deletions."""
        spec = self.look.dataset
        if not spec.deleted or not rows.num_rows:
            return None
        mark = self.look.field(spec.deleted)
        kept = rows.drop_columns([mark]) if mark in rows.column_names else rows
        return kept.append_column(mark, pa.array([True] * rows.num_rows, pa.bool_()))

    def write(self, rows: pa.Table, name: str) -> tuple[tuple[str, Path], ...]:
        """Files of at most `file_rows` rows each, each of another name during the look; none if there are no rows."""
        assert self.look.dataset.source is not None
        most, files = self.look.dataset.source.file_rows, []
        for begin in range(0, rows.num_rows, most):
            number = next(self._numbers)
            path = self.look.scratch / f"rows-{number}.parquet"
            pq.write_table(rows.slice(begin, most), path)
            files.append((f"{name}{f'-{number}' if number else ''}.parquet", path))
        return tuple(files)
