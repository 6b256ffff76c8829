"""The requests that callers sent last, as a version that serves has logged them: rows to warm and probe a candidate with.

>>> import tempfile
>>> from perennial import discovery
>>> from perennial.store import open_store
>>> recent_rows(open_store(tempfile.mkdtemp()), discovery.model("flight_delays"), discovery.dataset("flights"), 100)
[]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from perennial import encoding
from perennial.served_log import waiting_lines
from perennial.served_tables import INPUT, is_scored, predictions_name
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store


def recent_rows(store: Store, model: ModelSpec, dataset: DatasetSpec, count: int) -> list[dict[str, Any]]:
    """So many rows at most, the newest first; what nobody saw the answer of, or no caller asked for, is none.

    Args:
        store: has the servers' log and the table that monitoring makes of it.
        model: its inputs are what the table has; a logged line has what the version read.
        dataset: of the model.
        count: how many.
    """
    rows: list[dict[str, Any]] = []
    for row in _logged(store, model.name):
        if len(rows) == count:
            return rows
        rows.append(row)
    return rows + _collected(store, model, dataset, count - len(rows))


def _logged(store: Store, model: str) -> Iterator[dict[str, Any]]:
    """Logged rows that no monitoring has collected yet, the newest segment first. A line that cannot be read is passed over:
    monitoring sets it aside and says so."""
    for line in waiting_lines(store, f"predictions/{model}"):
        try:
            said = json.loads(line)
            if not said.get("shadow") and isinstance(said["row"], dict):
                yield said["row"]
        except (ValueError, KeyError, AttributeError, TypeError):
            continue


def _collected(store: Store, model: ModelSpec, dataset: DatasetSpec, count: int) -> list[dict[str, Any]]:
    """Rows of the table of predictions."""
    if count <= 0:
        return []
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from perennial.data.tables import Table

    table = Table(store, predictions_name(model.name))
    if table.version() is None:
        return []
    names = [name for name in model.inputs if INPUT + name in table.dataset().schema.names]
    found = table.scan(["served_at", *(INPUT + name for name in names)], ~pc.field("shadow") & ~is_scored())
    newest = found.sort_by([("served_at", "descending")]).slice(0, count)
    columns = {}
    for name in names:
        values = newest[INPUT + name]
        if pa.types.is_timestamp(values.type):  # wall times, as callers send them
            values = values.cast(pa.timestamp("us"))
        columns[name] = np.array([None, *values.to_pylist()], dtype=object)[1:]  # one object for each row, also where it is a list
    return encoding.rows_from_columns(columns, names)
