"""The rows of a file or of a query, as they are scored: in the types of the dataset's table, in order of event time and key, as Parquet."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from perennial import discovery
from perennial.column_types import is_list
from perennial.data.added_columns import table_schema, with_added_columns
from perennial.data.cleaning import cleaned_rows
from perennial.data.landing import Landed
from perennial.data.readers import read_batch
from perennial.data.tables import Table
from perennial.errors import UnknownName
from perennial.profiles.layout import quoted
from perennial.specs import DatasetSpec
from perennial.store import Store

GROUP_ROWS = 1 << 15  # of a Parquet file that are read together
MEMORY = "512MB"  # of a query; what exceeds it goes to disk


@dataclass(frozen=True)
class Given:
    """Rows that were given."""

    source: str  # as the table of scores names it
    words: str  # for a sentence
    digest: str  # of the content
    left_out: Mapping[str, int] = field(default_factory=dict)  # rows that the dataset's `clean` left out, by its rule
    tables: Mapping[str, int] = field(default_factory=dict)  # versions of the tables that a query read


def rows_of_file(store: Store, dataset: DatasetSpec, name: str, wanted: pa.Schema, path: Path) -> Given:
    """Read a file as ingestion would: by the dataset's form of files, and its `clean`. Columns that are not scored may be missing.

    The file is read whole, as ingestion reads it.

    Args:
        store: has the file, unless it is one of this machine.
        dataset: of whose form it is.
        name: key of the file in the store, or its path.
        wanted: the columns that are needed.
        path: where the rows are written.

    Raises:
        UnknownName: there is no such file.
        BatchRefused: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
        local, modified = Path(name), 0.0
        stored = None if name.startswith("/") or ".." in name.split("/") else store.stat(name)
        if stored is not None:
            local, modified = Path(scratch, local.name), stored.modified
            store.download(name, local)
        elif local.is_file():
            modified = local.stat().st_mtime
        else:
            raise UnknownName(f"There is no file {name}, neither in the store nor on this machine: give its key or its path.")
        with local.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        needed = tuple(column for column in dataset.columns if column.name in wanted.names)
        form = dataset.files.model_copy(update={"extra": "drop"})  # the label, above all, need not be there, and may
        rows = read_batch(local, dataset.model_copy(update={"columns": needed, "files": form, "deleted": ""}), local.name)
        rows = with_added_columns(rows, dataset, Landed(name, local.name, local.stat().st_size, modified, digest))
        clean = discovery.clean_of(dataset.name)
        left_out: Mapping[str, int] = {}
        if clean:
            whole = table_schema(dataset)
            for column in dataset.columns:
                if column.name not in rows.column_names:
                    rows = rows.append_column(column.name, pa.nulls(rows.num_rows, whole.field(column.name).type))
            cleaned = cleaned_rows(rows, dataset, clean, local.name)
            rows, left_out = cleaned.rows, cleaned.left_out
    rows = _cast(rows.select(wanted.names), wanted, f"The file {local.name}")
    rows = rows.sort_by([(name, "ascending") for name in _order(dataset)])
    pq.write_table(rows, path, row_group_size=GROUP_ROWS)
    _refuse_doubles(path, dataset, f"The file {local.name}")
    return Given(f"file-{digest[:12]}", f"the file {local.name}", digest, left_out)


def rows_of_query(store: Store, dataset: DatasetSpec, query: str, wanted: pa.Schema, path: Path) -> Given:
    """Run a query of DuckDB over the tables of the store, as their newest versions are. It can read these and nothing else.

    What it needs beyond half a gigabyte goes to disk meanwhile.

    Args:
        store: has the tables, each under its name.
        dataset: whose key and event time the rows must have.
        query: one SELECT.
        wanted: the columns that it must give; others are left out.
        path: where the rows are written.

    Raises:
        UnknownName: it is no query, fails, or lacks a column.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
        connection = duckdb.connect(
            config={"enable_external_access": "false", "python_enable_replacements": "false", "memory_limit": MEMORY,
                    "temp_directory": scratch}
        )  # fmt: skip
        connection.execute("set TimeZone = 'UTC'")
        tables: dict[str, int] = {}
        names = [name for name in store.folders("tables") if name.casefold() in query.casefold()]
        for name in names:
            table = Table(store, name)
            if (version := table.version()) is not None:
                tables[name] = version
                connection.register(name, table.dataset(version))
        connection.execute("set lock_configuration = true")
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UnknownName("The query must be one SELECT: give it without other statements.")
            given = connection.sql(query)
            _refuse_lacking(given.columns, dataset, wanted)
            order = ", ".join(quoted(name) for name in _order(dataset))
            names_sql = ", ".join(quoted(name) for name in wanted.names)
            reader = given.project(names_sql).order(order).to_arrow_reader(GROUP_ROWS)
            with pq.ParquetWriter(path, wanted) as writer:
                for batch in reader:
                    writer.write_table(_cast(pa.Table.from_batches([batch]), wanted, "The query"))
        except duckdb.Error as error:
            said = str(error).strip().splitlines()[0].rstrip(".")
            raise UnknownName(f"The query cannot be run: {said}. Its tables are those of the store, by their names.") from None
        finally:
            connection.close()
    _refuse_doubles(path, dataset, "The query")
    asked = hashlib.sha256(" ".join(query.split()).encode()).hexdigest()
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return Given(f"query-{asked[:12]}", "the query", content, {}, tables)


def _order(dataset: DatasetSpec) -> list[str]:
    return list(dict.fromkeys((dataset.time_column, *dataset.key_columns)))


def _refuse_lacking(names: Sequence[str], dataset: DatasetSpec, wanted: pa.Schema) -> None:
    for columns, what in (
        (dataset.key_columns, f"the key of {dataset.name}, by which a score is found again"),
        ((dataset.time_column,), f"the event time of {dataset.name}, which says of what day a score is"),
        (wanted.names, "read by the version"),
    ):
        if lacking := [name for name in columns if name not in names]:
            raise UnknownName(f"The query gives no column {', '.join(lacking)}, which is {what}: select it, too.")


def _cast(rows: pa.Table, wanted: pa.Schema, what: str) -> pa.Table:
    """The rows in the types of the dataset's table. Raises UnknownName where a value does not fit."""
    columns = []
    for given in wanted:
        values = rows[given.name]
        try:
            columns.append(values if is_list(values.type) and values.type == given.type else values.cast(given.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            said = str(error).splitlines()[0].rstrip(".")
            raise UnknownName(
                f"{what} gives {given.name} as {values.type}, which does not fit {given.type} of the dataset: {said}. Cast it."
            ) from None
    return pa.table(columns, schema=wanted)


def _refuse_doubles(path: Path, dataset: DatasetSpec, what: str) -> None:
    """Raises UnknownName if two rows have one key: a score could not be told from the other."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
        connection = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": scratch})
        keys = ", ".join(quoted(name) for name in dataset.key_columns)
        file = str(path).replace("'", "''")
        twice = connection.execute(
            f"select {keys}, count(*) from read_parquet('{file}') group by all having count(*) > 1 order by all limit 1"  # noqa: S608
        ).fetchone()
        connection.close()
    if twice:
        key = ", ".join(f"{name} {value}" for name, value in zip(dataset.key_columns, twice, strict=False))
        raise UnknownName(f"{what} has {twice[-1]} rows of the key {key}: give each row once.")
