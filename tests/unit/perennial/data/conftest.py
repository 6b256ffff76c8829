"""A small dataset, its rows and its store."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from perennial.data.snapshots import Snapshot, latest_snapshot
from perennial.data.tables import Table
from perennial.specs import Column, DatasetSpec
from perennial.store import FolderStore


@pytest.fixture
def spec() -> DatasetSpec:
    return DatasetSpec(
        name="sales", title="Sales", owner="tests", key=("shop", "sold"), event_time="sold", max_batch_bytes=200_000,
        columns=(
            Column(name="sold", type="timestamp"), Column(name="shop", type="string"), Column(name="amount", type="float", nullable=True),
            Column(name="items", type="int", nullable=True), Column(name="open", type="bool", nullable=True),
        ),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))


@pytest.fixture
def rows() -> pa.Table:
    return sales(3)


def sales(count: int, begin: datetime = datetime(2013, 1, 1), shop: str = "north") -> pa.Table:
    """One sale an hour."""
    return pa.table(
        {
            "sold": pa.array([begin + timedelta(hours=h) for h in range(count)], pa.timestamp("us")),
            "shop": [shop] * count,
            "amount": pa.array([1.5 * h if h % 2 else None for h in range(count)], pa.float64()),
            "items": pa.array([h if h % 3 else None for h in range(count)], pa.int64()),
            "open": [True] * count,
        }
    )


@pytest.fixture
def make_sales():
    return sales


def days(count: int, begin: datetime = datetime(2013, 1, 1), unlabelled_last: int = 0) -> pa.Table:
    """Whole days of one sale an hour, each with another amount; the last ones without."""
    hours = range(count * 24)
    return pa.table(
        {
            "sold": pa.array([begin + timedelta(hours=h) for h in hours], pa.timestamp("us")),
            "shop": ["a"] * len(hours),
            "amount": pa.array([float(h) if h < (count - unlabelled_last) * 24 else None for h in hours], pa.float64()),
            "items": pa.array([1] * len(hours)),
            "open": [True] * len(hours),
        }
    )


@pytest.fixture
def make_days():
    return days


@pytest.fixture
def snapshot(store: FolderStore, spec: DatasetSpec) -> Snapshot:
    """Twelve days in three batches."""
    table = Table(store, "sales")
    for number, day in enumerate((3, 1, 2)):  # landed out of order
        table.append(days(4, datetime(2013, 1, 1 + 4 * (day - 1))), str(number))
    found = latest_snapshot(store, spec)
    assert found is not None
    return found
