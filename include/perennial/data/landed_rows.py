"""The rows of a landed file as they go into its table: read, reduced to what is new if it continues a known one, named and cleaned.

Ingestion does so when a file lands, and `perennial remove-batch` again where a batch leaves whose rows came again in later files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from perennial.data.added_columns import with_added_columns
from perennial.data.cleaning import Cleaned, cleaned_rows
from perennial.data.continuation import Continuation, begun_by, continuation
from perennial.data.landing import Landed, folder, listing
from perennial.data.merging import Rule, one_per_key
from perennial.data.readers import read_batch
from perennial.data.tables import Batch, Table
from perennial.discovery import clean_of
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec
from perennial.store import Store


def read_landed(
    store: Store, spec: DatasetSpec, table: Table, file: Landed, path: Path, batches: Callable[[], list[Batch]], remarks: list[str]
) -> tuple[pa.Table, Continuation | None]:
    """The rows of a file, or those after the ones of a known batch with which it begins, and that batch.

    Raises:
        BatchRefused: it cannot be read.
    """
    begun = begun_by(store, spec, table, file, path, batches)
    part = continuation(spec, *begun, path, file.name) if begun else None
    return (part.rows if part else read_batch(path, spec, file.name, remarks)), part


def as_in_table(rows: pa.Table, spec: DatasetSpec, file: Landed, part: Continuation | None) -> Cleaned:
    """The rows of a file with the columns that the table adds, cleaned. Raises BatchRefused: the dataset's `clean` breaks."""
    named = with_added_columns(rows, spec, file, part.known if part else 0)
    return cleaned_rows(named, spec, clean_of(spec.name), file.name)


def rows_that_came(store: Store, spec: DatasetSpec, table: Table, batch: Batch) -> pa.Table:
    """The rows with which a batch landed, one for each key, from its file in the landing zone.

    Raises:
        BatchRefused: its file is not there any more, or cannot be read by the spec as it is now.
    """
    size = int(batch.added.metadata.get("perennial.size", 0))
    file = next((one for one in listing(store, spec.name) if one.size == size and store.sha256(one.key) == batch.digest), None)
    if file is None:
        raise BatchRefused(
            f"rows of it came again in {batch.label}, and that file is no longer in the landing zone, from which they would be taken. "
            f"Put the same file into {store.uri(folder(spec.name))}/, under the name {batch.name}, and try again."
        )
    with tempfile.TemporaryDirectory(prefix="perennial-again-") as scratch:
        path = Path(scratch) / Path(file.name).name
        store.download(file.key, path)
        landed, part = read_landed(store, spec, table, file, path, lambda: _in_then(table, batch), [])
        return one_per_key(as_in_table(landed, spec, file, part).rows, Rule.of(spec))[0]


def _in_then(table: Table, batch: Batch) -> list[Batch]:
    """The batches that came before one, as they were then: one that was removed since was in, else the batch would not be."""
    return [replace(other, removed=None) for other in table.batches() if other.added.version < batch.added.version]
