"""Snapshots."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from perennial.data import compaction
from perennial.data.snapshots import Snapshot, latest_snapshot, snapshot_at
from perennial.data.tables import Table
from perennial.errors import Fault, TrainingRefused, UnknownName
from perennial.specs import Column, DatasetSpec
from perennial.store import FolderStore

MakeRows = Callable[..., pa.Table]


def test_there_is_no_snapshot_before_the_first_batch(store: FolderStore, spec: DatasetSpec) -> None:
    """DM-06: Nothing ingested, nothing to train on."""
    assert latest_snapshot(store, spec) is None
    with pytest.raises(UnknownName, match="has no snapshot yet: ingest a batch first"):
        snapshot_at(store, spec, 1)


def test_versions_are_checked(snapshot: Snapshot) -> None:
    """DM-06: A version that is not there is named beside those that are."""
    assert snapshot_at(snapshot.store, snapshot.dataset, 2).count() == 192
    with pytest.raises(UnknownName, match="has the snapshots 1 to 3"):
        snapshot_at(snapshot.store, snapshot.dataset, 4)


def test_rows_come_in_order_of_time(snapshot: Snapshot) -> None:
    """DM-06: Whatever the order of landing, the same snapshot gives the same frame."""
    rows = snapshot.rows()
    assert list(rows.columns) == [c.name for c in snapshot.dataset.columns]
    assert rows["sold"].is_monotonic_increasing
    assert len(rows) == snapshot.count() == 288


def test_rows_between_two_times(snapshot: Snapshot) -> None:
    """DM-06: The first time is included, the last is not; times with a zone are taken at their UTC reading."""
    rows = snapshot.rows(["amount", "sold"], datetime(2013, 1, 2), datetime(2013, 1, 3, tzinfo=timezone.utc))
    assert list(rows.columns) == ["amount", "sold"]
    assert (rows["sold"].min(), rows["sold"].max()) == (datetime(2013, 1, 2), datetime(2013, 1, 2, 23))
    assert len(snapshot.rows(until=datetime(2013, 1, 2))) == 24


def test_newest_is_the_newest_event_time(snapshot: Snapshot) -> None:
    """DM-06: Not the newest in order of landing."""
    assert snapshot.newest() == datetime(2013, 1, 12, 23)
    assert snapshot_at(snapshot.store, snapshot.dataset, 1).newest() == datetime(2013, 1, 12, 23)


def test_newest_without_statistics(store: FolderStore) -> None:
    """DM-06: Delta keeps statistics of 32 columns; beyond them the column is read."""
    columns = tuple(Column(name=f"c{n}", type="int") for n in range(40))
    wide = DatasetSpec(
        name="wide", title="Wide", owner="tests", key=("c0",), event_time="at", columns=(*columns, Column(name="at", type="timestamp"))
    )
    rows = pa.table({**{c.name: [1, 2] for c in columns}, "at": pa.array([datetime(2013, 1, 2), datetime(2013, 1, 1)], pa.timestamp("us"))})
    Table(store, "wide").append(rows, "one")
    found = latest_snapshot(store, wide)
    assert found is not None
    assert found.newest() == datetime(2013, 1, 2)


def test_an_empty_snapshot_has_no_newest(store: FolderStore, spec: DatasetSpec, make_days: MakeRows) -> None:
    """DM-06: It says to ingest."""
    Table(store, "sales").append(make_days(0), "one")
    with pytest.raises(TrainingRefused, match="has no rows: ingest a batch first"):
        Snapshot(spec, 1, store).newest()


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([None, None], "sold is null in every row of snapshot 1 of sales, and it is the event time: land rows that have one"),
        ([datetime(2013, 1, 1), datetime(9999, 12, 31)], r"has rows whose sold is on 9999-12-31.*perennial remove-batch sales FILE"),
    ],
)
@pytest.mark.parametrize("columns", [0, 40])  # with statistics of the table, and without
def test_rows_that_make_no_days_are_told(
    store: FolderStore, spec: DatasetSpec, times: list[datetime | None], said: str, columns: int
) -> None:
    """DM-06, DM-12: No event time at all, or one that no day follows: a split by days says so, and so does whoever asks for the newest."""
    rows = pa.table({**{f"c{n}": [1, 1] for n in range(columns)}, "sold": pa.array(times, pa.timestamp("us")), "shop": ["a", "b"]})
    wide = spec.model_copy(update={"columns": (*spec.columns, *(Column(name=f"c{n}", type="int") for n in range(columns)))})
    Table(store, "sales").append(rows, "one")
    with pytest.raises(TrainingRefused, match=said):
        Snapshot(wide, 1, store).newest()


def test_the_digest_names_the_content(snapshot: Snapshot) -> None:
    """DM-06: The same version always has the same digest, another version another."""
    again = Snapshot(snapshot.dataset, 3, snapshot.store)
    assert again.digest == snapshot.digest
    assert Snapshot(snapshot.dataset, 2, snapshot.store).digest != snapshot.digest


COLOUR = Column(name="colour", type="string", nullable=True)


def changed(spec: DatasetSpec, *columns: Column) -> DatasetSpec:
    """The spec with columns added or replaced."""
    kept = {column.name: column for column in (*spec.columns, *columns)}
    return spec.model_copy(update={"columns": tuple(kept.values())})


def test_a_nullable_column_that_the_spec_gained_is_null_in_older_snapshots(snapshot: Snapshot, make_days: MakeRows) -> None:
    """DM-06: Before any batch has it, in the snapshots from before, and in the older rows of the newest one; filters know it too."""
    spec = changed(snapshot.dataset, COLOUR, Column(name="weight", type="int", nullable=True))
    newest = latest_snapshot(snapshot.store, spec)
    assert newest is not None
    assert newest.rows()["colour"].isna().all()
    assert newest.rows(["weight"])["weight"].dtype == np.float64
    batch = make_days(1, datetime(2013, 1, 13))
    newest.table.append(batch.append_column("colour", pa.array(["red"] * 24)).append_column("weight", pa.array([1] * 24)), "new")
    after = Snapshot(spec, 4, snapshot.store)
    assert after.rows(since=datetime(2013, 1, 12))["colour"].isna().tolist() == [True] * 24 + [False] * 24
    before = Snapshot(spec, 3, snapshot.store)
    assert before.rows(["colour", "amount"])["colour"].isna().sum() == 288
    assert before.table.scan(["colour"], pc.field("colour") == "red", 3).num_rows == 0
    assert before.digest == snapshot.digest


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            Column(name="colour", type="string"),
            "Version 3 of the table sales has no column colour: the spec of sales requires it: make it nullable",
        ),
        (
            Column(name="items", type="string", nullable=True),
            "The column items of the table sales holds int64, and string is what the spec says",
        ),
        (Column(name="sold", type="string"), "The column sold of the table sales holds times, and string is what the spec says"),
    ],
)
def test_other_changes_of_a_spec_are_one_sentence(snapshot: Snapshot, column: Column, said: str) -> None:
    """DM-06: A required column that older rows lack, and another type, are told with what to do; a read without the column is none the
    worse."""
    other = Snapshot(changed(snapshot.dataset, column), 3, snapshot.store)
    with pytest.raises(Fault, match=said):
        other.rows()
    assert Snapshot(changed(snapshot.dataset, column), 3, snapshot.store).table.scan(["amount"], version=3).num_rows == 288


def test_a_required_column_that_the_rows_lack_is_refused_on_append(snapshot: Snapshot, make_days: MakeRows) -> None:
    """DM-06: Nothing goes in, for the rows that are in could not be read as the spec says."""
    table = Snapshot(changed(snapshot.dataset, Column(name="colour", type="string")), 3, snapshot.store).table
    with pytest.raises(Fault, match="requires it: make it nullable"):
        table.append(make_days(1, datetime(2013, 1, 13)).append_column("colour", pa.array(["red"] * 24)), "new")
    assert table.version() == 3


def test_a_compaction_is_no_new_snapshot(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, make_days: MakeRows) -> None:
    """DM-06: Version and digest of the newest snapshot stay, so that nothing trains for it; the next batch makes the next snapshot, with
    fewer files."""
    monkeypatch.setattr(compaction, "MANY", 3)
    table = snapshot.table
    raw = DeltaTable(table.uri)
    assert compaction.compact(snapshot.store, "sales", raw)
    raw.update_incremental()
    assert raw.version() == 4
    newest = latest_snapshot(snapshot.store, snapshot.dataset)
    assert newest is not None
    assert (newest.version, newest.digest) == (3, snapshot.digest)
    with pytest.raises(UnknownName, match="has the snapshots 1 to 3"):
        snapshot_at(snapshot.store, snapshot.dataset, 4)
    assert table.append(make_days(1, datetime(2013, 1, 13)), "next") == 5
    assert len(table.files()) == 2
    assert Snapshot(snapshot.dataset, 5, snapshot.store).rows(until=datetime(2013, 1, 13)).equals(snapshot.rows())
