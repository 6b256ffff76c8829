"""Profiles that an earlier code counted and stored, beside the rows that it counted."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial import discovery
from perennial.data.tables import BATCH, Table
from perennial.engine.in_process import run
from perennial.profiles.profile import ByDay, ByGroupAndDay, added
from perennial.profiles.store import ProfileStore, decode, encode, mark_of
from perennial.store import FolderStore

STORED = Path(__file__).parents[3] / "fixtures" / "stored-0.1.0.tar.xz"
METADATA = {b"perennial.format", b"perennial.layout"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """What an earlier code stored: profiles of a dataset's batches, and the table that they are of."""
    place = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED) as file:
        wanted = [member for member in file if member.name.startswith(("store/profiles/digits", "store/tables/digits"))]
        file.extractall(place, wanted, filter="data")
    return FolderStore(str(place / "store"))


def test_rows_are_counted_as_they_were(store):
    """DM-14: Count for count, the sample of rows that are seen together included: a layout or a hash that had changed would show."""
    kept = ProfileStore(store, "digits")
    layout, batches = kept.layout(), {batch.mark: batch for batch in kept.batches()}
    day = discovery.dataset("digits").event_time
    table = Table(store, "digits")
    counted = run(ByGroupAndDay(ByDay(layout, day), BATCH), table.dataset(table.version()))
    by_mark = {label.rstrip(")")[-len(mark_of("")) :]: profile for label, profile in counted.items()}
    assert by_mark.keys() == batches.keys()
    assert len(batches) == 16
    for mark, batch in batches.items():
        assert by_mark[mark] == kept.open(batch, layout)
    assert added(counted.values(), layout) == kept.read()


def test_a_profile_is_written_as_it_was(store):
    """DM-14: Line for line, whatever their order, and word for word, so that an earlier code reads what this one writes."""
    kept = ProfileStore(store, "digits")
    layout = kept.layout()
    for batch in kept.batches():
        before = pq.read_table(io.BytesIO(store.read(batch.key)))
        facts = {name.decode(): value.decode() for name, value in before.schema.metadata.items() if name not in METADATA}
        after = pq.read_table(io.BytesIO(encode(decode(store.read(batch.key), layout), facts)))
        assert after.schema.equals(before.schema, check_metadata=True)
        assert in_order(after).equals(in_order(before))


def in_order(table):
    """The lines of a profile by day and name."""
    for place, name in ((1, "part"), (2, "column"), (3, "other")):
        table = table.set_column(place, name, table[name].cast(pa.string()))
    return table.sort_by([(name, "ascending") for name in ("day", "part", "column", "other", "cell")])
