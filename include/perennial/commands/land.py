"""`perennial land`: copy files of yours into the landing zone of their dataset, or replay a dataset's own source.

    $ perennial land monday.csv tuesday.csv --dataset flights
    $ perennial land flights --from 2013-01-01 --to 2013-01-31

A copy appears whole, or not at all. Landing the same file twice is harmless.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import discovery
from perennial.counted import counted
from perennial.data.landing import folder, landed_as, receipt_key
from perennial.data.receipts import read_receipt
from perennial.discovery import dataset_module
from perennial.errors import EXIT_DONE, BatchRefused, UnknownName
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.specs import UNFINISHED, DatasetSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow

MOST_NAMED = 10  # files that are refused in one sentence
log = logging.getLogger(__name__)


def run(settings: Settings, store: Store, what: list[str], dataset: str | None, first: date | None, last: date | None) -> int:
    """Land the files that were named for a dataset; without one, the days of the dataset that was named.

    Raises:
        UnknownName: there is no such dataset or file, or what to land cannot be told.
        BatchRefused: no reader knows a file's name, or one of that name waits with other content.
    """
    if dataset is not None:
        if first or last:
            raise UnknownName("--from and --to are days of a dataset's own source, and files were named: leave them out.")
        return land_files(settings, store, [Path(name) for name in what], discovery.dataset(dataset))
    if len(what) > 1 or Path(what[0]).suffix:
        raise UnknownName(f"Say which dataset {'these files belong' if len(what) > 1 else f'{what[0]} belongs'} to: --dataset NAME.")
    refuse_files(discovery.dataset(what[0]))
    if first is None or last is None:
        raise UnknownName(f"Say which days of {what[0]} should land: --from DAY --to DAY; or name files: FILE ... --dataset {what[0]}.")
    return replay_source(store, what[0], first, last)


def land_files(settings: Settings, store: Store, files: Sequence[Path], spec: DatasetSpec) -> int:
    """Copy each file under its own name; one that has landed with the same content is left alone. All are checked before one is copied.

    Raises:
        UnknownName: a file is not there.
        BatchRefused: no reader knows a file's name, it is empty or too large, or one of that name waits with other content.
    """
    files = list(dict.fromkeys(files))
    if missing := [
        f"{file} is {'a folder: name the files in it' if file.is_dir() else 'not there'}" for file in files if not file.is_file()
    ]:
        raise UnknownName(_all_of(missing))
    names = [file.name for file in files]
    if twice := [
        f"{file} has the name of another file that was given, and would replace it: land them one after the other"
        for file in files
        if names.count(file.name) > 1
    ]:
        raise BatchRefused(_all_of(twice))
    return land_named(settings, store, {file.name: file for file in files}, spec)


def land_named(settings: Settings, store: Store, files: Mapping[str, Path], spec: DatasetSpec) -> int:
    """The same of files by the names under which they land, which may have folders in them.

    Raises:
        BatchRefused: no reader knows a file's name, it is empty or too large, or one of that name waits with other content.
    """
    refuse_files(spec)
    if refused := [why for name, file in files.items() if (why := _why_not(name, file, spec))]:
        raise BatchRefused(_all_of(refused))
    known = {name for name, file in files.items() if _has_landed(store, _key(spec, name), file)}
    lying = {there.key: there.id for name in files if (there := landed_as(store, spec.name, name))}
    waiting = {key for key, file_id in lying.items() if not store.exists(receipt_key(spec.name, file_id))}
    if lost := [f"{name} waits already, with other content" for name in files if name not in known and _key(spec, name) in waiting]:
        raise BatchRefused(f"{_all_of(lost)} Ingest it first (perennial ingest --dataset {spec.name}), or give the new one another name.")
    for name, file in files.items():
        if name not in known:
            store.upload(file, _key(spec, name))
            log.info("Landed %s: %s bytes", on_terminal(name), f"{file.stat().st_size:,}")
    landed = len(files) - len(known)
    already = f"; {len(known)} had landed already" if known else ""
    print(f"Landed {counted(landed, 'file')} of {spec.name} in {store.uri(folder(spec.name))}{already}.")
    known_ids = [lying[key] for name in files if name in known and (key := _key(spec, name)) in lying]
    receipts = [receipt for file_id in known_ids if (receipt := read_receipt(store, spec.name, file_id))]
    print(*(receipt.sentence for receipt in receipts), sep="\n", end="\n" if receipts else "")
    if len(receipts) < len(files):
        from perennial.local.supervisor import Supervisor

        takes_in = f"Next: the DAG {spec.name}_ingestion takes in what waits"
        supervisor = Supervisor(settings)
        if supervisor.folder.exists() and supervisor.running():
            print(f"{takes_in}, which is seen in Airflow ({settings.airflow_url}).")
        else:
            print(f"{takes_in} while the platform is up (`perennial up`); without it: perennial ingest --dataset {spec.name}")
    return EXIT_DONE


def refuse_files(spec: DatasetSpec) -> None:
    """Raises BatchRefused if the rows of a dataset are scores, which come from no file."""
    if spec.scores_of:
        raise BatchRefused(
            f"{spec.name} takes no files: its rows are the scores of {spec.scores_of}, which come by themselves "
            f"(perennial score --model {spec.scores_of}, then perennial ingest --dataset {spec.name}). Nothing was landed."
        )


def _key(spec: DatasetSpec, name: str) -> str:
    return f"{folder(spec.name)}/{name}"


def _has_landed(store: Store, key: str, file: Path) -> bool:
    before = store.stat(key)
    if before is None or before.size != file.stat().st_size:
        return False
    with open(file, "rb") as bytes_of_file:
        return store.sha256(key) == hashlib.file_digest(bytes_of_file, "sha256").hexdigest()


def _why_not(name: str, file: Path, spec: DatasetSpec) -> str:
    """Why a file cannot land, or could never be taken in; empty if it may."""
    from perennial.data.readers import refuse_too_large
    from perennial.data.readers.packing import unknown_extension

    if any(part.startswith(".") for part in name.split("/")) or name.lower().endswith(UNFINISHED):
        return f"{name} has the name of a file that is hidden or still being written, which ingestion leaves alone: give it another"
    if why := unknown_extension(name, name):
        return why
    size = file.stat().st_size
    if not size:
        return f"{name} is empty"
    try:
        refuse_too_large(size, spec, name)
    except BatchRefused as error:
        return str(error).rstrip(".")
    return ""


def _all_of(sentences: Sequence[str]) -> str:
    """The first of what is wrong, all in one, and how many more there are."""
    more = f" {len(sentences) - MOST_NAMED} more are refused." if len(sentences) > MOST_NAMED else ""
    return f"{'. '.join(sentences[:MOST_NAMED])}.{more} Nothing was landed."


def replay_source(store: Store, dataset: str, first: date, last: date) -> int:
    """Write one file for each day; a day that has already landed with the same content is left alone.

    Raises:
        UnknownName: there is no such dataset, it has no source of its own, or its source lacks these days.
    """
    module = dataset_module(dataset)
    store.make_folder(folder(dataset))
    if not hasattr(module, "land"):
        raise UnknownName(
            f"The dataset {dataset} has no source of its own: put its files into {store.uri(folder(dataset))}/ instead, "
            f"or name them: perennial land FILE --dataset {dataset}"
        )
    landed = skipped = rows = 0
    for name, table in module.land(first, last):
        data, key = encode(name, table), f"{folder(dataset)}/{name}"
        landed_before = store.stat(key)
        if landed_before and landed_before.size == len(data) and store.read(key) == data:
            skipped += 1
            continue
        store.write(key, data)
        landed, rows = landed + 1, rows + table.num_rows
        log.info("Landed %s: %s", name, counted(table.num_rows, "row"))
    already = f"; {skipped} had landed already" if skipped else ""
    print(f"Landed {counted(landed, 'file')} of {dataset} with {counted(rows, 'row')} in {store.uri(folder(dataset))}{already}.")
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
