"""A table of a database as the sample of a new dataset, and as its source."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from perennial.commands._sample import MOST_ROWS, Sample, read_sample
from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable, UnknownName
from perennial.settings import Settings
from perennial.sources.connections import read_connection
from perennial.specs import SqlSource


def asked_source(
    kind: str, sample: Path | None, table: str | None, connection: str | None, database: str | None, cursor: str | None
) -> SqlSource | None:
    """The source of a new dataset; None if it is described after a file.

    Raises:
        UnknownName: what was given does not fit together.
    """
    given = {"--table": table, "--connection": connection, "--database": database, "--cursor": cursor}
    if not any(given.values()):
        return None
    if kind == "model":
        named = next(name for name, value in given.items() if value)
        raise UnknownName(f"{named} is for a dataset; a model learns from one: --dataset NAME.")
    if sample:
        raise UnknownName("Give either a file, --sample, or a table, --table: the columns are read from one of them.")
    if not table:
        raise UnknownName("Say which table of the database: --table TABLE.")
    try:
        return SqlSource(table=table, connection=connection or "", url=database or "", cursor=cursor or "")
    except ValidationError as error:
        why = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors(include_input=False))
        raise UnknownName(f"The table {table} makes no source: {why} (--connection NAME or --database ADDRESS).") from None


def sample_of_table(settings: Settings, source: SqlSource) -> Sample:
    """Some rows of a table, with the columns that were found.

    Raises:
        UnknownName: the table cannot be read, or has no rows.
    """
    from perennial.sources import sql

    try:
        connection = read_connection(settings.connections, source.connection) if source.connection else None
        with tempfile.TemporaryDirectory(prefix="perennial-sample-") as folder:
            path = Path(folder, "sample.parquet")
            sql.write_sample(source, connection, path, MOST_ROWS)
            sample = read_sample(path)
    except (SettingMissing, SourceRefused, SourceUnreachable) as error:
        raise UnknownName(str(error)) from None
    return replace(sample, path=Path(source.table))
