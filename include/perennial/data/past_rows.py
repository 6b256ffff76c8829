"""When the rows of a table came, and the rows that left it since: what a table said at each of its moments.

A row came with the commit of its batch. A row that was replaced or deleted by a later batch is in the files from before, which stay; it
left with the commit of that batch. Rows of a batch that a person took out are as if they had never come.

>>> from perennial.data.merging import Rule
>>> from perennial.store import open_store
>>> prices, by_row = Table(open_store("store"), "prices"), Rule(("item",), by_row=True, on_known_key="replace")
>>> first = prices.merge(pa.table({"item": ["a", "b"], "price": [1, 2]}), "1f" * 32, by_row, label="monday")
>>> second = prices.merge(pa.table({"item": ["a"], "price": [3]}), "2f" * 32, by_row, label="tuesday")
>>> [(number, rows.to_pylist()) for number, _, rows in left_rows(prices, 2, ["item", "price"], by_row.key)]
[(2, [{'item': 'a', 'price': 1, '_batch': 'monday'}])]
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.data.commits import log_key, missing
from perennial.data.hashes import refuse_damaged
from perennial.data.log import read_log
from perennial.data.merging import BATCH, matches, plain, without
from perennial.data.tables import Batch, Table
from perennial.errors import StoredDataDamaged

Came = tuple[int, datetime]  # the version that has a row first, and when that was made, UTC


def came(table: Table, version: int) -> dict[str, Came]:
    """When each batch that is in a version came into the table, by its label."""
    batches = reversed(table.batches())  # of one that came again, the last time counts
    return {
        batch.label: (batch.added.version, _made(table, batch.added.version, batch.added.time))
        for batch in batches
        if batch.added.version <= version and (batch.removed is None or batch.removed.version > version)
    }


def left_rows(table: Table, version: int, columns: Sequence[str], key: Sequence[str]) -> Iterator[tuple[int, datetime, pa.Table]]:
    """The rows that left the table up to a version, as a later batch replaced or deleted them.

    Args:
        table: it has one row for each key at any time.
        version: the last that is looked at.
        columns: of the rows, besides the label of their batch. One that a file lacks is null.
        key: of the table.

    Yields:
        Of each commit by which rows left: the version that it made, when, and these rows.
    """
    for batch, info, actions in _merges(table, version):
        labels = pc.field(BATCH).isin(list(batch.taken))
        before, after = ([action[kind]["path"] for action in actions if kind in action] for kind in ("remove", "add"))
        names = list(dict.fromkeys((*columns, *key, BATCH)))
        if batch.counts.deleted:
            had = plain(table.rows_of_files(before, labels, names))
            gone = without(had, plain(table.rows_of_files(after, labels, [*key, BATCH])), [*key, BATCH])
        else:  # what left has the keys of the rows that took its place: few rows are read
            instead = plain(table.rows_of_files(after, pc.field(BATCH) == batch.label, list(key)))
            where = functools.reduce(operator.and_, (pc.field(name).isin(pc.unique(instead[name])) for name in key), labels)
            had = plain(table.rows_of_files(before, where, names))
            gone = had.take(np.unique(matches(had, instead, key)[0]))
        yield batch.added.version, _made(table, batch.added.version, _time_of(info)), gone.select([*columns, BATCH])


def refuse_damaged_past(table: Table, version: int) -> None:
    """Read every file from before a batch replaced or deleted rows once. Raises StoredDataDamaged if one has changed since."""
    paths = {action["remove"]["path"] for _, _, actions in _merges(table, version) for action in actions if "remove" in action}
    if paths:
        known = read_log(table.store, table.name, version).hashes
        refuse_damaged(table.store, table.name, {path: known[path] for path in sorted(paths) if path in known})


def _merges(table: Table, version: int) -> Iterator[tuple[Batch, Mapping[str, Any], list[dict[str, Any]]]]:
    """The batches up to a version that replaced or deleted rows: what the commit of each says of itself, and what it does."""
    for batch in sorted(table.batches(), key=lambda batch: batch.added.version):
        if batch.added.version <= version and batch.taken:
            number = batch.added.version
            try:
                actions = [json.loads(line) for line in table.store.read(log_key(table.name, number)).splitlines()]
            except (KeyError, ValueError):
                raise StoredDataDamaged(missing(table.name, number)) from None
            yield batch, next(action["commitInfo"] for action in actions if "commitInfo" in action), actions


def _time_of(info: Mapping[str, Any]) -> datetime | None:
    when = info.get("timestamp")
    return datetime.fromtimestamp(when / 1000, timezone.utc) if when else None


def _made(table: Table, version: int, when: datetime | None) -> datetime:
    if when is None:
        raise StoredDataDamaged(f"Commit {version} of the table {table.name} does not say when it was made: restore it from a backup.")
    return when
