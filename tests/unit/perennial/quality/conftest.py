"""One real day of flights, and the means to break it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from perennial.data.readers import schema
from perennial.specs import DatasetSpec
from perennial.store import FolderStore
from perennial_datasets.flights import DATASET, land


@pytest.fixture(scope="session")
def day_of_flights() -> pa.Table:
    (_, rows), *_ = land(date(2013, 2, 8), date(2013, 2, 8))
    return rows.cast(schema(DATASET))


@pytest.fixture
def day(day_of_flights: pa.Table) -> pd.DataFrame:
    return day_of_flights.to_pandas()


@pytest.fixture
def flights() -> DatasetSpec:
    return DATASET


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))
