"""The reference of drift."""

from __future__ import annotations

import hashlib
from datetime import date, datetime, timedelta

import pyarrow as pa
import pytest

from perennial.profiles import reference as module
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile
from perennial.profiles.reference import reference, watched
from perennial.profiles.store import ProfileStore
from perennial.specs import Column, DatasetSpec, GateSpec, JoinSpec, ModelSpec
from perennial.store import FolderStore

DATASET = DatasetSpec(
    name="flights", title="Flights", owner="tests", key=("id",), event_time="when",
    columns=(Column(name="id", type="int"), Column(name="when", type="timestamp"), Column(name="arrival", type="timestamp"),
        Column(name="carrier", type="string"),
             Column(name="delay", type="float")),
)  # fmt: skip
MODEL = ModelSpec(
    name="delays",
    title="Delays",
    owner="tests",
    dataset="flights",
    task="regression",
    label="delay",
    inputs=("when", "arrival", "id", "carrier"),
    gate=GateSpec(metric="rmse", floors={}),
)
BATCHES = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b")}


def snapshot():
    """Rows of three days from two batches; both have rows of the second day."""
    when = [datetime(2013, 1, 1) + timedelta(days=i // 10) for i in range(30)]
    batch = [f"{name}.csv ({BATCHES[name][:12]})" for name in ["a"] * 15 + ["b"] * 15]
    columns = {"when": pa.array(when, pa.timestamp("us")), "id": [i % 5 for i in range(30)], "carrier": ["UA", "AA"] * 15}
    return pa.table({**columns, "delay": [float(i) for i in range(30)], "_batch": batch})


@pytest.fixture
def read():
    """Reads the snapshot; notes what it is asked for."""

    def run(columns):
        run.asked.append(columns)
        return snapshot().select([name for name in columns if name != "arrival"])

    run.asked = []
    return run


@pytest.fixture
def store(tmp_path):
    return FolderStore(str(tmp_path))


def profiled(store, batches=("a", "b"), rows=None):
    """Keep a layout, and the profiles of some batches."""
    table = snapshot() if rows is None else rows
    kept = ProfileStore(store, "flights")
    layout = kept.keep_layout(fit_layout(snapshot(), ["id", "carrier", "delay"], joint=["id", "carrier"]))
    for name in batches:
        of_batch = table.filter(pa.array([BATCHES[name][:12] in label for label in table["_batch"].to_pylist()]))
        kept.write(BATCHES[name], profile(of_batch, layout, day="when"))
    return layout


def expected(layout):
    return profile(snapshot(), layout, day="when").only(["id", "carrier"])


def test_what_a_join_brings_is_not_watched():
    """MN-01, DM-13: The dataset's layout does not have it; why is said."""
    join = JoinSpec(dataset="weather", key=("carrier",), columns=("temp",), horizon_days=1)
    model = MODEL.model_copy(update={"inputs": ("id", "temp"), "joins": (join,)})
    assert watched(model, DATASET) == (["id"], {"temp": "is brought by a join: its effect on the scores is watched"})


def test_times_are_not_watched():
    """MN-01: Event time and other times always move on: they are named with the reason."""
    assert watched(MODEL, DATASET) == (["id", "carrier"], {"when": "is the event time", "arrival": "is a time: it always moves on"})


def test_a_reference_is_put_together_from_the_profiles_of_its_batches(store, read):
    """DM-14, MN-01: Nothing is counted again: of the table, only which batch and day each row is of is read."""
    layout = profiled(store)
    assert reference(store, MODEL, DATASET, "snapshot-1", layout, read) == expected(layout)
    assert read.asked == [["when", "_batch"]]


def test_days_without_a_whole_profile_are_counted_from_the_table(store, read, monkeypatch):
    """DM-14, MN-01: One batch has no profile: its days are counted, the others taken as they are."""
    layout = profiled(store, ["a"])
    counted = []
    monkeypatch.setattr(module, "profile", lambda rows, *given, **named: counted.append(rows.num_rows) or profile(rows, *given, **named))
    assert reference(store, MODEL, DATASET, "snapshot-1", layout, read) == expected(layout)
    assert counted == [20], "the second and third day; the first is all of batch a"


def test_batches_that_the_snapshot_has_not_do_not_count(store, read):
    """MN-01: A later batch with rows of the same days is no part of the reference."""
    layout = profiled(store)
    kept = ProfileStore(store, "flights")
    kept.write("c" * 64, profile(snapshot(), layout, day="when"))
    assert reference(store, MODEL, DATASET, "snapshot-1", layout, read) == expected(layout)


def test_a_profile_of_too_few_rows_is_not_believed(store, read):
    """MN-01: Nor is a damaged one: the table is right."""
    layout = profiled(store, rows=snapshot().slice(0, 28))
    assert reference(store, MODEL, DATASET, "snapshot-1", layout, read) == expected(layout)
    for kept in ProfileStore(store, "flights").batches():
        store.write(kept.key, b"damaged")
    assert reference(store, MODEL, DATASET, "snapshot-2", layout, read) == expected(layout)


def test_a_reference_is_built_once(store, read):
    """MN-01: The second call reads what the first one kept; another snapshot or another length is another reference; a damaged one is built
    anew."""
    layout = profiled(store)
    first = reference(store, MODEL, DATASET, "snapshot-1", layout, read)
    assert reference(store, MODEL, DATASET, "snapshot-1", layout, read) == first
    assert len(read.asked) == 1
    assert {day: state.rows for day, state in first.blocks.items()} == {date(2013, 1, d): 10 for d in (1, 2, 3)}
    assert first.layout.names == ("id", "carrier")
    reference(store, MODEL, DATASET, "snapshot-2", layout, read)
    longer = MODEL.model_copy(update={"monitoring": MODEL.monitoring.model_copy(update={"reference_days": 77})})
    reference(store, longer, DATASET, "snapshot-1", layout, read)
    assert len(read.asked) == 3
    keys = [item.key for item in store.list("reports/delays")]
    assert len(keys) == 3
    for key in keys:
        store.write(key, b"damaged")
    assert reference(store, MODEL, DATASET, "snapshot-1", layout, read) == first
