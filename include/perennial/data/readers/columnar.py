"""Parquet and ORC: files that carry the types of their columns."""

from __future__ import annotations

from typing import IO

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet

from perennial.data.readers.limits import refuse_too_large
from perennial.specs import DatasetSpec


def read_parquet(file: IO[bytes], spec: DatasetSpec, name: str) -> pa.Table:
    """The rows of a Parquet file that unpacks to no more than the dataset's limit."""
    with pa.parquet.ParquetFile(file) as parquet:
        meta = parquet.metadata
        unpacked = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        # encodings can hide many rows in few bytes
        refuse_too_large(max(unpacked, meta.num_rows * meta.num_columns), spec, f"{name}, unpacked,")
        return parquet.read()


def read_orc(file: IO[bytes], spec: DatasetSpec, name: str) -> pa.Table:
    """The rows of an ORC file that unpacks to no more than the dataset's limit; they are counted stripe by stripe."""
    orc = pa.orc.ORCFile(file)
    refuse_too_large(orc.nrows * len(orc.schema), spec, f"{name}, unpacked,")
    stripes, size = [], 0
    for place in range(orc.nstripes):
        stripes.append(orc.read_stripe(place))
        size += stripes[-1].nbytes
        refuse_too_large(size, spec, f"{name}, unpacked,")
    return pa.Table.from_batches(stripes, orc.schema)
