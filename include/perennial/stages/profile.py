"""Stage profile: a table's rows are counted by day: batch by batch as they land, or a whole version at once, on one machine or in parts.

Whatever the parts, and in whatever order they are added, the result is the same bit for bit (`monitoring/profile.py`).
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from perennial import discovery
from perennial.errors import Fault, StoredDataDamaged, UnknownName
from perennial.results import ProfileResult
from perennial.settings import Settings
from perennial.specs import DatasetSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

    from perennial.data.tables import Table
    from perennial.monitoring.layout import Layout
    from perennial.monitoring.profile import Profile
    from perennial.monitoring.profile_store import ProfileStore

log = logging.getLogger(__name__)

FIT_ROWS = 10_000  # of a dataset before it is decided how its rows are counted: one day shows too little of a column
MOST_FIT_ROWS = 200_000
TOGETHER = 16  # batches that are profiled at once
_APART = 10_000_000  # more days than there are: tells batches apart in the number of a block


def run(
    settings: Settings,
    store: Store,
    *,
    table: str = "",
    dataset: str = "",
    version: int | None = None,
    day: str = "",
    plan: bool = False,
    partition: tuple[int, int] | None = None,
    merge: int | None = None,
) -> ProfileResult:
    """Count the rows of one version of a table by day.

    Args:
        settings: not used.
        store: where everything is.
        table: name of the table.
        dataset: name of the dataset, where the table is a dataset's.
        version: table version; the newest if absent.
        day: date or timestamp column; the dataset's event time, or `event_time`, if empty.
        plan: only decide how rows are counted and which version, for those who count the parts.
        partition: count one part alone: the i-th of n shares of the files.
        merge: add the parts that were counted, so many.

    Returns:
        `skipped` if that version has been counted already.

    Raises:
        UnknownName: there is no such table, version or column.
        Fault: a part that is to be added has not been counted.
    """
    from perennial.monitoring.profile import profile
    from perennial.monitoring.profile_store import ProfileStore, encode

    name = table or dataset
    if not name:
        raise UnknownName("Nothing says what is to be counted: give --table or --dataset.")
    spec = discovery.datasets().get(name)
    if dataset and spec is None:
        discovery.dataset(dataset)
    whole = _table(store, name, spec)
    newest = whole.version()
    if not newest or (version is not None and not 1 <= version <= newest):
        known = f"has the versions 1 to {newest}" if newest else "is not there or has no rows yet"
        raise UnknownName(f"There is no version {version or 'yet'} of the table {name}: it {known}.")
    version = version or newest
    kept = ProfileStore(store, name)
    key = kept.version_key(version)
    if partition is None and store.exists(key):
        return ProfileResult(
            outcome="skipped", sentence=f"Version {version} of {name} has been counted: {key}.", version=version, profile=key
        )
    layout = kept.layout() or kept.keep_layout(_fitted(whole, version, spec))
    if plan:
        return ProfileResult(sentence=f"Version {version} of {name} is to be counted, {len(layout.columns)} columns.", version=version)
    if merge:
        found = _merged(store, kept, layout, version, merge)
    else:
        found = profile(whole.dataset(version, partition or (1, 1)), layout, day=day or _day(whole, version, spec))
    if partition:
        key = kept.version_key(version, "{}of{}".format(*partition))
    store.write(key, encode(found, {"perennial.version": str(version)}))
    rows, what = int(found.rows().sum()), f"Part {partition[0]} of {partition[1]} of version" if partition else "Version"
    sentence = f"{what} {version} of {name}: {rows:,} rows on {len(found.days)} days counted."
    return ProfileResult(sentence=sentence, version=version, rows=rows, days=len(found.days), profile=key)


def profile_owed(store: Store, spec: DatasetSpec) -> int:
    """Make the profiles of all batches that are in a dataset's table and have none; returns how many.

    As long as the table has fewer than FIT_ROWS rows, they stay owed: nothing says yet how its rows are best counted.
    """
    from perennial.monitoring.profile_store import ProfileStore

    kept = ProfileStore(store, spec.name)
    owed = kept.owed()
    if not owed:
        return 0
    table = _table(store, spec.name, spec)
    version = table.version()
    layout = kept.layout()
    if layout is None and version and table.count(version) >= FIT_ROWS:
        layout = kept.keep_layout(_fitted(table, version, spec))
    if layout is None or not version:
        log.info("%d batches of %s wait for their profiles until %s rows are in.", len(owed), spec.name, f"{FIT_ROWS:,}")
        return 0
    made, digests = 0, sorted(owed)
    for first in range(0, len(digests), TOGETHER):
        made += _profile_batches(kept, layout, table, spec, {digest: owed[digest] for digest in digests[first : first + TOGETHER]})
    log.info("Profiled %d of %d batches of %s.", made, len(owed), spec.name)
    return made


def _profile_batches(kept: ProfileStore, layout: Layout, table: Table, spec: DatasetSpec, batches: dict[str, str]) -> int:
    """One pass over the rows of some batches; one that is not in the table stays owed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from perennial.data.tables import BATCH
    from perennial.monitoring.profile import EPOCH, Profile, State, profile

    labels = pa.array(list(batches.values()), pa.string())
    rows = table.scan([*layout.names, spec.event_time, BATCH], pc.field(BATCH).isin(labels))
    number = pc.index_in(rows[BATCH].cast(pa.string()), labels).to_numpy()
    days = rows[spec.event_time].cast(pa.timestamp("us")).cast(pa.date32()).cast(pa.int32()).to_numpy().astype(np.int64)
    counted = profile(rows, layout, blocks=number * _APART + days + _APART // 2)
    by_batch: dict[int, dict[object, State]] = {}
    for block, state in counted.days.items():
        by_batch.setdefault(block // _APART, {})[EPOCH + timedelta(days=block % _APART - _APART // 2)] = state
    for place, digest in enumerate(batches):
        if place in by_batch:
            kept.write(digest, Profile(layout, by_batch[place]))
    return len(by_batch)


def _table(store: Store, name: str, spec: DatasetSpec | None) -> Table:
    from perennial.data.snapshots import table_of
    from perennial.data.tables import Table

    return table_of(store, spec) if spec else Table(store, name)


def _fitted(table: Table, version: int, spec: DatasetSpec | None) -> Layout:
    """How the rows of a table are counted, by the first of its files: the same wherever it is worked out."""
    from perennial.data.tables import BATCH
    from perennial.monitoring.layout import fit_layout
    from perennial.monitoring.reference import watched

    rows = table.dataset(version)
    names = [column.name for column in spec.columns] if spec else [name for name in rows.schema.names if name != BATCH]
    inputs = [watched(model, spec)[0] for model in discovery.models().values() if model.dataset == spec.name] if spec else []
    # Live traffic has the inputs alone: what is seen together must be there on both sides.
    shared = [name for name in names if all(name in some for some in inputs)]
    return fit_layout(_head(rows, names), names, joint=shared)


def _head(rows: pyarrow.dataset.Dataset, names: list[str]) -> pa.Table:
    found: pa.Table = rows.head(MOST_FIT_ROWS, columns=names)
    return found


def _day(table: Table, version: int, spec: DatasetSpec | None) -> str:
    """The column by which rows belong to days."""
    if spec:
        return spec.event_time
    names = table.dataset(version).schema.names
    if "event_time" in names:
        return "event_time"
    raise UnknownName(
        f"Nothing says to which day a row of the table {table.name} belongs: name a date or timestamp column with --day; it has {', '.join(names)}."
    )


def _merged(store: Store, kept: ProfileStore, layout: Layout, version: int, parts: int) -> Profile:
    from perennial.monitoring.profile import added
    from perennial.monitoring.profile_store import decode

    found = []
    for part in range(1, parts + 1):
        key = kept.version_key(version, f"{part}of{parts}")
        try:
            found.append(decode(store.read(key), layout, key))
        except KeyError:
            raise Fault(
                f"Part {part} of {parts} of version {version} of {kept.name} has not been counted: run `perennial profile --table {kept.name} --version {version} --partition {part}/{parts}`, then add the parts again."
            ) from None
        except StoredDataDamaged as damage:
            raise StoredDataDamaged(f"{damage} Then count part {part}/{parts} again.") from None
    return added(found, layout)
