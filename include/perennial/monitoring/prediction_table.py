"""From the segments that servers log to one Delta table of predictions, each row exactly once.

Servers write a segment a second; a commit for each would drown the table in versions. So segments are taken in batches:

    1. the batch is written down, `<prefix>/batches/<number>.json`, by put-if-absent: it names its segments
    2. their rows are appended in one commit with the batch's name as digest, which the table takes once
    3. the segments are removed

Whatever is killed, and however many collect at a time, the next call first finishes the last batch and only then looks for
segments, so that no segment is ever in two batches.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

SEGMENT = re.compile(r"[^/]+\.jsonl")
MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS = 256 << 20, 5000
KEPT_BATCHES = 50  # far more than the collectors that could run at a time
INPUT = "input_"  # before the name of an input, which may be any word

_TYPES = {"int": "DOUBLE", "float": "DOUBLE", "string": "VARCHAR", "timestamp": "VARCHAR", "bool": "BOOLEAN"}
# Whole numbers pass through DOUBLE: a client may write 3.0 for 3.
_CASTS = {"int": "::bigint", "float": "", "string": "", "timestamp": "::timestamptz", "bool": ""}


Read = Callable[[Sequence[Path]], "tuple[pa.Table, int]"]


class Table(Protocol):
    """What is needed of a table: exactly-once appends and scans."""

    def version(self) -> int | None:
        """Newest version; None while there is no table."""
        ...

    def append(self, rows: pa.Table, batch_digest: str) -> int:
        """Append a batch unless its digest is in; returns the version that has it."""
        ...

    def has_batch(self, batch_digest: str) -> bool:
        """Whether the batch is in."""
        ...


@dataclass(frozen=True)
class Collected:
    """What one call took in."""

    segments: int = 0
    rows: int = 0
    damaged: int = 0  # lines that could not be read: cut off by a crash, or not of the format

    def __add__(self, other: Collected) -> Collected:
        return Collected(self.segments + other.segments, self.rows + other.rows, self.damaged + other.damaged)


def predictions_name(model: str) -> str:
    """Name of the table of a model's predictions."""
    return f"{model}_predictions"


def collect_predictions(store: Store, model: ModelSpec, dataset: DatasetSpec, table: Table) -> Collected:
    """Take the finished segments of a model's prediction log into its table.

    Columns: prediction_id, model_version, shadow (nobody saw the answer), served_at, event_time (both UTC, microseconds),
    scores (list of float), milliseconds, and `input_<name>` for each input.
    """
    kinds = {name: dataset.column(name).type for name in model.inputs}
    row = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in kinds.items())
    inputs = "".join(f', "row"."{name}"{_CASTS[kind]} as "{INPUT}{name}"' for name, kind in kinds.items())
    columns = {
        "id": "VARCHAR",
        "version": "INTEGER",
        "time": "VARCHAR",
        "event_time": "VARCHAR",
        "row": f"STRUCT({row})",
        "scores": "DOUBLE[]",
        "ms": "DOUBLE",
        "shadow": "BOOLEAN",
    }
    query = f"""
        select id as prediction_id, version as model_version, coalesce(shadow, false) as shadow, try_cast(time as timestamptz) as served_at,
               coalesce(try_cast(event_time as timestamptz), served_at) as event_time, scores, ms as milliseconds {inputs}
        from lines where id is not null and version is not null and served_at is not null and len(scores) > 0
    """  # noqa: S608 - names come from the spec
    return collect(store, f"predictions/{model.name}", table, lambda files: read_lines(files, columns, query))


def collect(store: Store, prefix: str, table: Table, read: Read) -> Collected:
    """Take every segment directly below a prefix into a table, then remove it.

    Args:
        store: where the segments are.
        prefix: their folder.
        table: where their rows go.
        read: gives the rows of files and how many of their lines were damaged.
    """
    total = Collected()
    number, segments = _last_batch(store, prefix)
    while True:
        if segments:
            total += _finish(store, prefix, number, segments, table=table, read=read)
        segments = _waiting(store, prefix)
        if not segments:
            return total
        number += 1
        if not store.put_if_absent(_batch(prefix, number), json.dumps({"segments": segments}).encode()):
            number, segments = _last_batch(store, prefix)  # another collector wrote one down first: help it finish
        store.delete(_batch(prefix, max(number - KEPT_BATCHES, 0)))


def _last_batch(store: Store, prefix: str) -> tuple[int, list[str]]:
    keys = [stored.key for stored in store.list(f"{prefix}/batches")]
    if not keys:
        return 0, []
    segments: list[str] = json.loads(store.read(keys[-1]))["segments"]
    return int(Path(keys[-1]).stem), segments


def _waiting(store: Store, prefix: str) -> list[str]:
    names, size = [], 0
    for stored in store.list(prefix):
        name = stored.key.removeprefix(f"{prefix}/")
        if SEGMENT.fullmatch(name):
            names.append(name)
            size += stored.size
            if size >= MAX_BATCH_BYTES or len(names) >= MAX_BATCH_SEGMENTS:
                break
    return names


def _batch(prefix: str, number: int) -> str:
    return f"{prefix}/batches/{number:08d}.json"


def _finish(store: Store, prefix: str, number: int, segments: list[str], *, table: Table, read: Read) -> Collected:
    digest, done = f"{prefix}/{number:08d}", Collected()
    if not table.has_batch(digest):
        with tempfile.TemporaryDirectory(prefix="perennial-segments-") as folder:
            files = [
                file
                for place, name in enumerate(segments)
                if _downloaded(store, f"{prefix}/{name}", file := Path(folder, f"{place}.jsonl"))
            ]
            # A segment goes only after the commit: one that is gone was committed by another collector since, or removed by hand.
            if len(files) == len(segments) or not table.has_batch(digest):
                if len(files) < len(segments):
                    log.error(
                        "%d of %d segments of %s are gone before they were taken in.", len(segments) - len(files), len(segments), prefix
                    )
                rows, damaged = read(files)
                table.append(rows, digest)
                done = Collected(len(files), rows.num_rows, damaged)
    for name in segments:
        store.delete(f"{prefix}/{name}")
    return done


def _downloaded(store: Store, key: str, file: Path) -> bool:
    try:
        store.download(key, file)
    except KeyError:
        return False
    return True


def read_lines(files: Sequence[Path], columns: dict[str, str], query: str) -> tuple[pa.Table, int]:
    """Read JSON lines with DuckDB.

    Args:
        files: the lines.
        columns: DuckDB type of each field; a value that does not fit is read as null.
        query: selects from `lines` what is kept of them.

    Returns:
        The rows and the number of damaged lines: those that are no JSON and those that the query left out.
    """
    import duckdb

    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    fields = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    if files:
        named = [str(file) for file in files]
        connection.execute(
            f"create temp view lines as select * from read_json({named}, columns = {{{fields}}}, format = 'newline_delimited', ignore_errors = true)"  # noqa: S608
        )
    else:
        connection.execute(f"create temp table lines ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    found: pa.Table = connection.sql(query).to_arrow_table()
    written = 0
    for file in files:
        with file.open("rb") as stream:
            written += sum(1 for line in stream if line.strip())
    return found, written - found.num_rows
