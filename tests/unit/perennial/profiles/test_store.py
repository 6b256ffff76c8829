"""Profiles as files, and in the store."""

from __future__ import annotations

import io
import json
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial.errors import StoredDataDamaged
from perennial.profiles import store
from perennial.profiles.layout import fit_layout
from perennial.profiles.profile import profile
from perennial.profiles.store import ProfileStore, decode, encode, mark_of
from perennial.store import FolderStore


def table(first=1, days=2, n=200, seed=0):
    """Rows of some days of January 2013."""
    rng = np.random.default_rng(seed)
    when = [datetime(2013, 1, first + i % days) + timedelta(minutes=i) for i in range(n)]
    return pa.table(
        {
            "when": pa.array(when, pa.timestamp("us")),
            "x": pa.array(np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))),
            "size": rng.integers(0, 4, n),
            "carrier": rng.choice(["UA", "AA", "雪"], n),
        }
    )


@pytest.fixture(scope="module")
def layout():
    return fit_layout(table(), ["x", "size", "carrier"])


@pytest.fixture
def kept(tmp_path, layout):
    found = ProfileStore(FolderStore(str(tmp_path)), "sales")
    found.keep_layout(layout)
    return found


def test_a_profile_is_the_same_after_writing(layout):
    """DM-14: With nulls, unseen categories and the joint sample; also of no days."""
    rows = table(seed=1).set_column(3, "carrier", pa.array(["ZZ", None] * 100))
    found = profile(rows, layout, day="when")
    assert decode(encode(found), layout) == found
    assert decode(encode(found.select(date(2014, 1, 1))), layout).blocks == {}


def test_days_are_written_some_at_a_time_and_lines_may_stand_in_any_order(layout, monkeypatch):
    """DM-14: Lines of many days are never in memory at once; an earlier code wrote them day by day, another reader may sort them."""
    rows = table(days=7, seed=1).set_column(3, "carrier", pa.array(["ZZ", None, "UA", "YY"] * 50))
    found = profile(rows, layout, day="when")
    whole = encode(found)
    monkeypatch.setattr(store, "TOGETHER", 3)
    some = encode(found)
    assert [pq.read_metadata(io.BytesIO(data)).num_row_groups for data in (whole, some)] == [1, 3]
    assert decode(some, layout) == decode(whole, layout) == found
    lines = pq.read_table(io.BytesIO(whole))
    out = io.BytesIO()
    pq.write_table(lines.take(np.random.default_rng(0).permutation(len(lines))), out)
    assert decode(out.getvalue(), layout) == found


def test_any_reader_of_parquet_understands_it(layout):
    """DM-14: Plain pyarrow, by what the module says: counts of a day by name, zero where there is no line."""
    rows = table(seed=1).set_column(3, "carrier", pa.array(["ZZ", None] * 100))
    file = pq.read_table(io.BytesIO(encode(profile(rows, layout, day="when"), {"perennial.batch": "b1"})))
    assert file.schema.names == ["day", "part", "column", "other", "cell", "count"]
    told = file.schema.metadata
    assert (told[b"perennial.format"], told[b"perennial.layout"], told[b"perennial.batch"]) == (b"2", layout.digest.encode(), b"b1")
    lines = file.to_pylist()
    first = [line for line in lines if line["day"] == date(2013, 1, 1)]
    assert [line["count"] for line in first if line["part"] == "rows"] == [100]
    assert [(line["other"], line["count"]) for line in first if line["part"] == "unseen"] == [("ZZ", 100)]
    size = {line["cell"]: line["count"] for line in first if line["part"] == "exact" and line["column"] == "size"}
    on_first = rows["size"].to_numpy()[::2]
    assert {layout.column("size").values[cell]: n for cell, n in size.items()} == {
        v: n for v, n in zip(*np.unique(on_first, return_counts=True), strict=True)
    }
    assert all(line["count"] for line in lines)
    assert {"mean", "square", "product", "cos", "sin", "levels"} <= {line["part"] for line in lines}


@pytest.mark.parametrize("found", ["1", ""])
def test_an_unknown_format_is_refused(layout, found):
    """DM-14: With what to do."""
    file = pq.read_table(io.BytesIO(encode(profile(table(), layout, day="when"))))
    out = io.BytesIO()
    told = {"perennial.format": found} if found else {}
    pq.write_table(file.replace_schema_metadata(told), out)
    with pytest.raises(StoredDataDamaged, match=f"has the format {found or 'of no profile'}, and 2 is what is known here: use the version"):
        decode(out.getvalue(), layout, "profiles/sales/x.parquet")


def test_what_is_no_profile_of_this_layout_is_refused(layout):
    """DM-14: Not Parquet, or counted on other cells."""
    with pytest.raises(StoredDataDamaged, match="it is no Parquet file"):
        decode(b"PAR1", layout)
    other = fit_layout(table(seed=9), ["x", "size", "carrier"])
    with pytest.raises(StoredDataDamaged, match="another layout"):
        decode(encode(profile(table(), other, day="when")), layout)


def test_a_layout_is_decided_once(kept, layout):
    """DM-14: The second one is told what holds; a damaged one is a sentence."""
    other = fit_layout(table(seed=9), ["x"])
    assert kept.keep_layout(other) == layout == kept.layout()
    assert ProfileStore(kept.store, "else").layout() is None
    assert ProfileStore(kept.store, "else").read() is None
    kept.store.write("profiles/sales/layout.json", b"{}")
    with pytest.raises(StoredDataDamaged, match="delete the folder profiles/sales"):
        kept.layout()


def test_a_layout_of_before_is_a_sentence(kept, layout):
    """DM-14: Those of format 1 said of each column how it is grouped."""
    old = json.loads(layout.model_dump_json())
    old["columns"] = [{**column, "few": False} for column in old["columns"]]
    kept.store.write("profiles/sales/layout.json", json.dumps(old).encode())
    with pytest.raises(
        StoredDataDamaged,
        match="restore it, or delete the folder profiles/sales to have all profiles made again",
    ):
        kept.layout()


def test_batches_are_kept_once_and_add_up(kept, layout):
    """DM-14: A batch's profile is written once and nothing is owed then; days are summed over the batches that have them."""
    digests = ["a" * 64, "b" * 64, "predictions/m/00000007"]
    tables = [table(1, 2, seed=1), table(2, 2, seed=2), table(5, 1, seed=3)]
    for digest, rows in zip(digests, tables, strict=True):
        assert not kept.has(digest)
        assert kept.write(digest, profile(rows, layout, day="when"))
        assert not kept.write(digest, profile(rows, layout, day="when"))
        assert kept.has(digest)
    assert kept.read() == profile(pa.concat_tables(tables), layout, day="when")
    assert list(kept.read(date(2013, 1, 2), date(2013, 1, 3)).blocks) == [date(2013, 1, 2), date(2013, 1, 3)]
    assert kept.read(marks={mark_of(digests[0])}) == profile(tables[0], layout, day="when")
    assert [batch.mark for batch in kept.batches(date(2013, 1, 4))] == [mark_of(digests[2])]


def test_what_is_owed_is_remembered(kept, layout):
    """DM-14, DE-22: Until its profile is there, or it was refused."""
    kept.owe("a" * 64, "a.csv (aaaaaaaaaaaa)")
    kept.owe("b" * 64, "b.csv (bbbbbbbbbbbb)")
    assert kept.owed() == {"a" * 64: "a.csv (aaaaaaaaaaaa)", "b" * 64: "b.csv (bbbbbbbbbbbb)"}
    kept.write("a" * 64, profile(table(), layout, day="when"))
    kept.forgive("b" * 64)
    assert kept.owed() == {}
