"""Whatever a function `collect` of the dataset's file reads: the function knows the system, the platform does all the rest.

    def collect(connection, watermark):
        since = (watermark or {"at": ""})["at"]
        with client(connection.host, connection.password.get_secret_value()) as shop:
            for page in shop.orders(since):
                yield page.rows, {"at": page.last_change}

It yields pairs: rows (a list of dicts, or an Arrow table), and the watermark at which reading goes on after them, in values that JSON has.
When it goes on after a `yield`, those rows are safe: then it may tell its server so.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perennial.errors import SourceRefused
from perennial.sources.functions import as_json, as_record, function, given_by
from perennial.sources.interface import Look, Piece, Tally

_KIND = "a pair: rows (a list of dicts, or an Arrow table) and the watermark after them (a dict)"


def pieces(look: Look) -> Iterator[Piece]:
    """What the dataset's `collect` gives.

    Raises:
        SourceRefused: there is no such function, or it gives something else.
        SourceUnreachable: it breaks.
    """
    name, source = look.dataset.name, look.dataset.source
    assert source is not None
    collect = function(name, "collect", "connection, watermark")
    before = None if look.watermark is None else dict(look.watermark)
    known = look.connection
    secrets = (known.password.get_secret_value(), known.url.get_secret_value()) if known else ()
    given = given_by(functools.partial(collect, known, before), name, "collect", secrets)
    for number, item in enumerate(given):
        rows, after = _pair(item, name)
        if after == before:
            if len(rows):
                raise SourceRefused(
                    f"collect of {name} gives rows and the watermark from which it was asked to go on: they would land at each look again. "
                    "Let each pair have the watermark after its rows."
                )
            continue
        path = look.scratch / f"{number}"
        yield Piece(after, tuple(_files(rows, name, path, source.file_rows)), Tally(landed=len(rows)))
        before = after


def _pair(item: Any, name: str) -> tuple[list[dict[str, Any]] | pa.Table, dict[str, Any]]:
    if not isinstance(item, (tuple, list)) or len(item) != 2 or not isinstance(item[1], Mapping):
        raise SourceRefused(f"collect of {name} gives {_what(item)} and must give {_KIND}.")
    rows, watermark = item
    try:
        after = as_json(dict(watermark))
    except (TypeError, ValueError) as error:
        raise SourceRefused(f"The watermark of collect of {name} is not in values that JSON has ({error}): write times as texts.") from None
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Table):
        return rows, after
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, Mapping) for row in rows):
        raise SourceRefused(f"collect of {name} gives {_what(rows)} as rows and must give {_KIND}.")
    try:
        return [as_record(row) for row in rows], after
    except TypeError as error:
        raise SourceRefused(f"A row of collect of {name} has {error}: turn it into a text, a number, a list or a dict.") from None


def _files(rows: list[dict[str, Any]] | pa.Table, name: str, path: Path, most: int) -> Iterator[tuple[str, Path]]:
    """Files of at most so many rows."""
    for part, begin in enumerate(range(0, len(rows), most)):
        stem, kind = (f"{name}-part{part + 1}" if part else name), "parquet" if isinstance(rows, pa.Table) else "jsonl"
        file = path.with_name(f"{path.name}-{part}.{kind}")
        if isinstance(rows, pa.Table):
            pq.write_table(rows.slice(begin, most), file)
        else:
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows[begin : begin + most]))
        yield f"{stem}.{kind}", file


def _what(item: Any) -> str:
    if isinstance(item, (tuple, list)):
        return f"{'a pair' if len(item) == 2 else 'a list'} of {', '.join(type(part).__name__ for part in item[:3]) or 'nothing'}"
    return f"a {type(item).__name__}"
