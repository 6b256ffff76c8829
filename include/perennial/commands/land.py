"""`perennial land <dataset> --from DAY --to DAY`: replay a dataset's own source into the landing zone.

$ perennial land flights --from 2013-01-01 --to 2013-01-31
"""

from __future__ import annotations

import gzip
import io
import logging
from datetime import date
from typing import TYPE_CHECKING

from perennial.data.landing import folder
from perennial.discovery import dataset_module
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow

log = logging.getLogger(__name__)


def run(settings: Settings, store: Store, dataset: str, first: date, last: date) -> int:
    """Write one file for each day; a day that has already landed with the same content is left alone.

    Raises:
        UnknownName: there is no such dataset, it has no source of its own, or its source lacks these days.
    """
    module = dataset_module(dataset)
    store.make_folder(folder(dataset))
    if not hasattr(module, "land"):
        raise UnknownName(f"The dataset {dataset} has no source of its own: put its files into {store.uri(folder(dataset))}/ instead.")
    landed = skipped = rows = 0
    for name, table in module.land(first, last):
        data, key = encode(name, table), f"{folder(dataset)}/{name}"
        landed_before = store.stat(key)
        if landed_before and landed_before.size == len(data) and store.read(key) == data:
            skipped += 1
            continue
        store.write(key, data)
        landed, rows = landed + 1, rows + table.num_rows
        log.info("Landed %s: %s rows", name, f"{table.num_rows:,}")
    already = f"; {skipped} had landed already" if skipped else ""
    print(f"Landed {landed} files of {dataset} with {rows:,} rows in {store.uri(folder(dataset))}{already}.")
    return 0


def encode(name: str, table: pyarrow.Table) -> bytes:
    """The table as the file that `name` asks for (`.csv`, `.csv.gz`, `.parquet`); the same table always gives the same bytes."""
    import pyarrow.csv
    import pyarrow.parquet

    buffer = io.BytesIO()
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(table.replace_schema_metadata(None), buffer)
        return buffer.getvalue()
    if not name.endswith((".csv", ".csv.gz")):
        raise UnknownName(f"{name} is no name for a landed file: let the dataset's land() name it .csv, .csv.gz or .parquet.")
    pyarrow.csv.write_csv(table, buffer, pyarrow.csv.WriteOptions(quoting_style="needed"))
    return gzip.compress(buffer.getvalue(), compresslevel=6, mtime=0) if name.endswith(".gz") else buffer.getvalue()
