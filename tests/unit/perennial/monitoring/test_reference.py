"""The reference of drift."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from perennial.monitoring.reference import reference, watched
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.store import FolderStore

DATASET = DatasetSpec(
    name="flights", title="Flights", owner="tests", key=("id",), event_time="when",
    columns=(Column(name="id", type="int"), Column(name="when", type="timestamp"), Column(name="arrival", type="timestamp"), Column(name="carrier", type="string")),
)  # fmt: skip
MODEL = ModelSpec(
    name="delays",
    title="Delays",
    owner="tests",
    dataset="flights",
    task="regression",
    label="arrival",
    inputs=("when", "arrival", "id", "carrier"),
    gate=GateSpec(metric="rmse", floors={}),
)


@pytest.fixture
def read():
    """Rows of three days; counts how often it is asked."""

    def run(columns):
        run.asked.append(columns)
        when = [datetime(2013, 1, 1) + timedelta(days=i % 3) for i in range(30)]
        return pa.table({"when": pa.array(when, pa.timestamp("us")), "id": list(range(30)), "carrier": ["UA", "AA"] * 15}).select(columns)

    run.asked = []
    return run


def test_times_are_not_watched():
    """Event time and other times always move on: they are named with the reason."""
    assert watched(MODEL, DATASET) == (["id", "carrier"], {"when": "is the event time", "arrival": "is a time: it always moves on"})


def test_a_reference_is_built_once(tmp_path, read):
    """The second call reads what the first one kept; another snapshot or another length is another reference."""
    store = FolderStore(str(tmp_path))
    first = reference(store, MODEL, DATASET, "snapshot-1", read)
    assert reference(store, MODEL, DATASET, "snapshot-1", read) == first
    assert read.asked == [["when", "id", "carrier"]]
    assert [d.rows for d in first.days] == [10, 10, 10]
    assert set(first.grids) == {"id"}
    reference(store, MODEL, DATASET, "snapshot-2", read)
    longer = MODEL.model_copy(update={"monitoring": MODEL.monitoring.model_copy(update={"reference_days": 90})})
    reference(store, longer, DATASET, "snapshot-1", read)
    assert len(read.asked) == 3
    assert len(list(store.list("reports/delays"))) == 3
