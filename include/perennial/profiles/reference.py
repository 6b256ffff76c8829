"""The reference for drift: the days of the champion's snapshot, added up from the profiles that were made when they landed.

>>> from perennial import discovery
>>> from perennial.profiles.reference import watched
>>> model = discovery.model("flight_delays")
>>> watched(model, discovery.dataset(model.dataset))  # the inputs whose distribution is watched, and why the others are not
([...'distance'...], {'scheduled_departure': 'is the event time'...})
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from perennial.errors import StoredDataDamaged
from perennial.profiles.layout import Layout
from perennial.profiles.profile import Profile, added, profile
from perennial.profiles.store import MARK, ProfileStore, decode, encode
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

Read = Callable[[list[str]], "pa.Table"]


def watched(model: ModelSpec, dataset: DatasetSpec) -> tuple[list[str], dict[str, str]]:
    """Inputs whose distribution is watched, and why the others are not."""
    skipped = {}
    brought = {name for join in model.joins for name in join.names}
    for name in model.inputs:
        if name in brought:
            skipped[name] = "is brought by a join: its effect on the scores is watched"
        elif name not in {column.name for column in dataset.columns}:
            skipped[name] = "is no column of the dataset any more"
        elif name == dataset.time_column:
            skipped[name] = "is the event time"
        elif dataset.column(name).type == "timestamp":
            skipped[name] = "is a time: it always moves on"
    return [name for name in model.inputs if name not in skipped], skipped


def reference(
    store: Store, model: ModelSpec, dataset: DatasetSpec, snapshot_digest: str, layout: Layout, read: Read, *, batch_column: str = "_batch"
) -> Profile:
    """The reference of a snapshot: from the store, or put together from the profiles of its batches and kept there.

    A day counts as profiled if the profiles of all batches that have rows of it in the snapshot are there and have as many rows as the
    snapshot. All other days are counted anew from the table.

    Args:
        store: keeps it as `reports/<model>/reference-<identity>.parquet`.
        model: `monitoring.reference_days` and `inputs` count.
        dataset: names the event time and the columns.
        snapshot_digest: identity of the champion's snapshot.
        layout: how the dataset's rows are counted.
        read: gives the named columns of the snapshot's newest reference days.
        batch_column: column that says which batch a row came from: a name that ends with the beginning of its digest in brackets.

    Returns:
        The watched inputs that the dataset's layout knows, by day.
    """
    kept = ProfileStore(store, dataset.name)
    columns, _ = watched(model, dataset)
    identity = json.dumps([snapshot_digest, columns, model.monitoring.reference_days, layout.digest])
    key = f"reports/{model.name}/reference-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.parquet"
    narrow = Profile(layout, {}).only(columns).layout
    try:
        return decode(store.read(key), narrow, key)
    except KeyError:
        pass
    except StoredDataDamaged as damage:
        log.warning("%s It is made again.", damage)
    whole, lacking = _from_batches(kept, layout, read([dataset.time_column, batch_column]), dataset.time_column, batch_column)
    if lacking:
        log.info("%d of %d reference days have no profile and are counted from the table.", len(lacking), len(lacking) + len(whole.blocks))
        whole = added([whole, _counted(lacking, layout, read, dataset.time_column)], layout)
    inputs = whole.only(columns)
    store.write(key, encode(inputs))
    return inputs


def _from_batches(kept: ProfileStore, layout: Layout, rows: pa.Table, event_time: str, batch_column: str) -> tuple[Profile, set[date]]:
    """The days that the kept profiles tell whole, and the days that they do not."""
    import pyarrow as pa

    days = rows.append_column("_day", rows[event_time].cast(pa.timestamp("us")).cast(pa.date32()))
    counts = days.group_by(["_day", batch_column]).aggregate([([], "count_all")]).to_pylist()
    wanted: dict[date, dict[str, int]] = {}
    for line in counts:
        if line["_day"] is not None:
            wanted.setdefault(line["_day"], {})[_mark(line[batch_column])] = line["count_all"]
    marks = {mark for by_mark in wanted.values() for mark in by_mark}
    profiles: dict[str, Profile] = {}
    for batch in kept.batches(min(wanted, default=None), max(wanted, default=None)):
        if batch.mark in marks:
            try:
                profiles[batch.mark] = kept.open(batch, layout)
            except StoredDataDamaged as damage:
                log.warning("%s Its days are counted anew.", damage)
    lacking = set()
    for day, by_mark in wanted.items():
        for mark, n in by_mark.items():
            state = profiles[mark].blocks.get(day) if mark in profiles else None
            if state is None or state.rows != n:
                lacking.add(day)
    whole = [Profile(layout, {d: s for d, s in p.blocks.items() if d in wanted and d not in lacking}) for p in profiles.values()]
    return added(whole, layout), lacking


def _counted(days: set[date], layout: Layout, read: Read, event_time: str) -> Profile:
    """Counts, from the table, of those days that no stored profile covers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = read([event_time, *layout.sources])
    day_of = rows[event_time].cast(pa.timestamp("us")).cast(pa.date32())
    return profile(rows.filter(pc.is_in(day_of, pa.array(sorted(days), pa.date32()))), layout, day=event_time)


def _mark(label: str) -> str:
    """The beginning of the digest of a row's batch: labels end with it in brackets, or are the digest."""
    return label.rstrip(")")[-MARK:] if label.endswith(")") else label[:MARK]
