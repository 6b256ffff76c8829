"""What several stages' tests need."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from perennial_datasets.flights import land


@pytest.fixture(scope="session")
def january() -> Callable[[int, int], pa.Table]:
    """Every fourth flight of some days of January, as ingestion would have them."""

    def flights(first: int, last: int) -> pa.Table:
        some = pa.concat_tables([table for _, table in land(date(2013, 1, first), date(2013, 1, last))])
        types = [pa.timestamp("us") if pa.types.is_timestamp(column.type) else column.type for column in some.schema]
        return some.take(np.arange(0, len(some), 4)).cast(pa.schema(list(zip(some.schema.names, types, strict=True))))

    return flights


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each fit of the trees was given."""
    from perennial.training import boosted

    seen: list[int] = []
    fit = boosted.fit

    def counted(task: boosted.Task, classes: int, inputs: boosted.Inputs, labels: boosted.Floats, seed: int) -> boosted.Boosted:
        seen.append(len(labels))
        return fit(task, classes, inputs, labels, seed)

    monkeypatch.setattr(boosted, "fit", counted)
    return seen
