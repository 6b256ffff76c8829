"""The rows that a pass reads: batch by batch, only the wanted columns, whatever they are stored in.

>>> import pyarrow as pa
>>> from perennial.engine.rows import batches
>>> [batch.num_rows for batch in batches(pa.table({"distance": range(80_000)}), ["distance", "carrier"])]
[65536, 14464]
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

Rows: TypeAlias = Union["pa.Table", "pyarrow.dataset.Dataset", Path]  # a path is a Parquet file's
BATCH_ROWS = 1 << 16  # read at once


def batches(rows: Rows, columns: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Those of the columns that the rows have, batch by batch, small ones put together. A file's texts come as numbers of a dictionary."""
    import pyarrow as pa

    small: list[pa.RecordBatch] = []
    waiting = 0  # rows of the small ones
    for batch in _read(rows, columns):
        if small and (batch.schema != small[0].schema or waiting >= BATCH_ROWS // 2):
            yield pa.concat_batches(small) if len(small) > 1 else small[0]
            small, waiting = [], 0
        small.append(batch)
        waiting += len(batch)
    if small:
        yield pa.concat_batches(small) if len(small) > 1 else small[0]


def _read(rows: Rows, columns: Collection[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    if isinstance(rows, Path):
        yield from _read_file(rows, columns)
        return
    present = [name for name in rows.schema.names if name in columns]
    if isinstance(rows, pa.Table):
        yield from rows.select(present).to_batches(BATCH_ROWS)
    else:
        yield from rows.to_batches(columns=present, batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1, use_threads=False)


def _read_file(path: Path, columns: Collection[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    footer = pq.read_metadata(path)
    present = [name for name in footer.schema.to_arrow_schema().names if name in columns]
    # Categories stay numbers of a dictionary: each name is looked at once for each group of rows, not for each row.
    file = pq.ParquetFile(path, metadata=footer, read_dictionary=present, pre_buffer=False)
    for group in range(file.num_row_groups):  # a reader over all of them keeps the whole file in memory
        yield from file.iter_batches(BATCH_ROWS, row_groups=[group], columns=present, use_threads=False)
