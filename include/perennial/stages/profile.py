"""Count a table's rows by day: each batch as it lands, or a whole table version at once, on one machine or in parts.

Whatever the parts, and in whatever order they are added, the result is the same bit for bit (`profiles/profile.py`).

    $ perennial profile --dataset flights
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from perennial import discovery
from perennial.counted import counted as number_of
from perennial.errors import Fault, StoredDataDamaged, UnknownName
from perennial.results import ProfileResult
from perennial.settings import Settings
from perennial.specs import DatasetSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset

    from perennial.data.tables import Table
    from perennial.profiles.layout import Layout
    from perennial.profiles.profile import Profile
    from perennial.profiles.store import OwedProfile, ProfileStore

log = logging.getLogger(__name__)

FIT_ROWS = 10_000  # of a dataset before it is decided how its rows are counted: one day shows too little of a column
MOST_FIT_ROWS = 200_000
MEMORY = 256 << 20  # bytes that the counts of the batches which are profiled together take: those of all their days, not their rows


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
    from perennial.engine.in_process import run as run_pass
    from perennial.profiles.profile import ByDay
    from perennial.profiles.store import ProfileStore, encode

    name = table or dataset
    if not name:
        raise UnknownName("Nothing says what is to be counted: give --table or --dataset.")
    spec = discovery.datasets().get(name)
    if dataset and spec is None:
        discovery.dataset(dataset)
    whole = _table(store, name, spec)
    newest = whole.version()
    if not newest or (version is not None and not 1 <= version <= newest):
        raise UnknownName(_no_version(name, version, newest, spec))
    version = version or newest
    kept = ProfileStore(store, name)
    key = kept.version_key(version)
    if partition is None and store.exists(key):
        return ProfileResult(
            outcome="skipped", sentence=f"Version {version} of {name} has been counted: {key}.", version=version, profile=key
        )
    layout = layout_of(kept, whole, version, spec)
    if layout is None:
        raise UnknownName(f"Version {version} of the table {name} has no rows yet: there is nothing to count.")
    if plan:
        return ProfileResult(sentence=f"Version {version} of {name} is to be counted, {len(layout.columns)} columns.", version=version)
    if merge:
        counted = _merged(store, kept, layout, version, merge)
    else:
        rows = whole.dataset(version, partition or (1, 1))
        counted = run_pass(ByDay(layout, _day(day, rows.schema, name, spec)), rows)
    if partition:
        key = kept.version_key(version, "{}of{}".format(*partition))
    store.write(key, encode(counted, {"perennial.version": str(version)}))
    count, what = int(counted.rows().sum()), f"Part {partition[0]} of {partition[1]} of version" if partition else "Version"
    sentence = f"{what} {version} of {name}: {number_of(count, 'row')} on {number_of(len(counted.blocks), 'day')} counted."
    return ProfileResult(sentence=sentence, version=version, rows=count, days=len(counted.blocks), profile=key)


def profile_owed(store: Store, spec: DatasetSpec) -> int:
    """Make the profiles of all batches that are in a dataset's table and have none, or of which rows were replaced since; returns how many.

    As long as the table has fewer than FIT_ROWS rows, they stay owed: nothing says yet how its rows are best counted.
    """
    import pyarrow.compute as pc

    from perennial.data.merging import BATCH
    from perennial.engine.in_process import run as run_pass
    from perennial.profiles.profile import ByDay, ByGroupAndDay
    from perennial.profiles.scan import Scan
    from perennial.profiles.store import ProfileStore, mark_of

    kept = ProfileStore(store, spec.name)
    owed_profiles = kept.owed_profiles()
    if not owed_profiles:
        return 0
    table = _table(store, spec.name, spec)
    # Asked before the version is read: its rows are then without those that these batches replaced.
    taken_in = {"", *table.which({owed.because for owed in owed_profiles} - {""})}
    of_batch: dict[str, list[OwedProfile]] = {}
    for one in owed_profiles:
        if one.because in taken_in:
            of_batch.setdefault(one.batch, []).append(one)
    owed = {batch: several[-1].label for batch, several in of_batch.items()}
    version = table.version()
    layout = layout_of(kept, table, version, spec, FIT_ROWS) if version else None
    if layout is None:
        batches = number_of(len(owed), "batch", "batches")
        log.info(
            "%s of %s %s not profiled (counted by day and column) yet: that begins by itself once the table has "
            "%s rows, enough to tell how its columns are best counted. Nothing is to be done.",
            batches,
            spec.name,
            "is" if len(owed) == 1 else "are",
            f"{FIT_ROWS:,}",
        )
        return 0
    made, marks, rows = 0, {profiled.mark for profiled in kept.batches()}, table.dataset(version)
    for digests in together(_days(rows, owed, spec), MEMORY // Scan(layout).memory):
        batch_of = {owed[digest]: digest for digest in digests}
        of_these = rows.filter(pc.field(BATCH).isin(list(batch_of)))
        counted = run_pass(ByGroupAndDay(ByDay(layout, spec.time_column), BATCH), of_these)
        for label, profile in counted.items():
            if mark_of(batch_of[label]) in marks or not kept.write(batch_of[label], profile):
                kept.replace(batch_of[label], profile)
        changed, there, were_there = table.changed_batches(version or 0), table.which(digests), table.which(digests, version)
        for label, batch in batch_of.items():
            if label in counted and batch not in there:  # taken out since its rows were read
                kept.remove(batch)
                continue
            if label not in counted and batch not in were_there:  # it may be about to be appended
                continue
            if label in changed:  # by a batch that came since the version was read: the next run counts again
                kept.owe(batch, label)
                continue
            if label not in counted:  # others replaced all of its rows
                kept.remove(batch)
            kept.settle(of_batch[batch])
        made += len(counted)
    log.info("Profiled %d of %d batches of %s.", made, len(owed), spec.name)
    return made


def _days(rows: Dataset, owed: Mapping[str, str], spec: DatasetSpec) -> dict[str, int]:
    """On how many days each batch has rows, by its digest; of a single one it is not asked.

    Args:
        rows: those of the table.
        owed: labels of the batches by their digests.
        spec: the dataset's.
    """
    import pyarrow.compute as pc

    from perennial.data.merging import BATCH
    from perennial.engine.in_process import run as run_pass
    from perennial.profiles.layout import Layout
    from perennial.profiles.profile import ByDay, ByGroupAndDay

    if len(owed) == 1:
        return dict.fromkeys(owed, 1)
    nothing = ByDay(Layout(columns=()), spec.time_column)
    found = run_pass(ByGroupAndDay(nothing, BATCH), rows.filter(pc.field(BATCH).isin(list(owed.values()))))
    return {digest: len(found[label].blocks) if label in found else 0 for digest, label in owed.items()}


def together(days: Mapping[str, int], most: int) -> Iterator[list[str]]:
    """Batches that are profiled in one pass over their rows: as many as have that many days in all, and one at least.

    Args:
        days: of each batch, by its digest.
        most: days whose counts may be in memory at once.
    """
    some, waiting = list[str](), 0
    for digest in sorted(days):
        if some and waiting + days[digest] > most:
            yield some
            some, waiting = [], 0
        some.append(digest)
        waiting += days[digest]
    if some:
        yield some


def _table(store: Store, name: str, spec: DatasetSpec | None) -> Table:
    from perennial.data.snapshots import table_of
    from perennial.data.tables import Table

    return table_of(store, spec) if spec else Table(store, name)


def layout_of(kept: ProfileStore, table: Table, version: int, spec: DatasetSpec | None, least: int = 1) -> Layout | None:
    """How the rows of a table are counted: as it was decided, or decided now, once and for all, by the first rows of a version.

    Args:
        kept: the profiles of the table.
        table: the table.
        version: version of the table.
        spec: the dataset's, where the table is one.
        least: rows that the version must have to decide by.

    Returns:
        None if it is not decided and the version has fewer rows.
    """
    if (layout := kept.layout()) is not None or table.count(version) < least:
        return layout
    return kept.keep_layout(fitted_layout(table, version, spec))


def fitted_layout(table: Table, version: int, spec: DatasetSpec | None) -> Layout:
    """How the rows of a table would be counted, by the first rows of a version. Arguments are those of `layout_of`."""
    from perennial.data.merging import BATCH
    from perennial.profiles.layout import fit_layout

    rows = table.dataset(version)
    names = [column.name for column in spec.columns] if spec else [name for name in rows.schema.names if name != BATCH]
    inputs = [model.inputs for model in discovery.models().values() if model.dataset == spec.name] if spec else []
    # Live traffic has the inputs alone: what is seen together must be there on both sides.
    shared = [name for name in names if all(name in columns for columns in inputs)]
    types = {column.name: column.type for column in spec.columns} if spec else {}
    return fit_layout(rows.head(MOST_FIT_ROWS, columns=names), names, joint=shared, types=types)


def _no_version(name: str, version: int | None, newest: int | None, spec: DatasetSpec | None) -> str:
    """A sentence on a table that lacks the version that was asked for, or has none, with what to do."""
    if newest:
        return f"There is no version {version} of the table {name}: it has the versions 1 to {newest}. Name one of them."
    advice = f"Ingest a batch first: perennial ingest --dataset {name}." if spec else "`perennial verify` lists the tables that are there."
    return f"There is no version yet of the table {name}: it is not there or has no rows yet. {advice}"


def _day(day: str, schema: pa.Schema, table: str, spec: DatasetSpec | None) -> str:
    """The column by which rows belong to days: the one that was named, else the dataset's event time, else `event_time`."""
    import pyarrow as pa

    day, columns = day or (spec.time_column if spec else "event_time"), ", ".join(schema.names)
    if day not in schema.names:
        raise UnknownName(f"The table {table} has no column {day}: name a date or timestamp column with --day; it has {columns}.")
    if not (pa.types.is_timestamp(kind := schema.field(day).type) or pa.types.is_date(kind)):
        raise UnknownName(f"The column {day} of the table {table} is {kind}, which is no date or time: name another with --day.")
    return day


def _merged(store: Store, kept: ProfileStore, layout: Layout, version: int, parts: int) -> Profile:
    from perennial.profiles.profile import added
    from perennial.profiles.store import decode

    batch_profiles = []
    for part in range(1, parts + 1):
        key = kept.version_key(version, f"{part}of{parts}")
        try:
            batch_profiles.append(decode(store.read(key), layout, key))
        except KeyError:
            raise Fault(
                f"Part {part} of {parts} of version {version} of {kept.name} has not been counted: "
                f"run `perennial profile --table {kept.name} --version {version} --partition {part}/{parts}`, "
                "then add the parts again."
            ) from None
        except StoredDataDamaged as damage:
            raise StoredDataDamaged(f"{damage} Then count part {part}/{parts} again.") from None
    return added(batch_profiles, layout)
