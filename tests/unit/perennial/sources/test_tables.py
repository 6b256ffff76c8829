"""Tables of Delta Lake and Iceberg that others write: their rows, then what changed, each once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from perennial.errors import SettingMissing, SourceRefused, SourceUnreachable
from perennial.specs import Column, DatasetSpec, DeltaSource, IcebergSource, SourceSpec
from perennial.testing.collecting import Collecting


def _rows(ids: Iterable[int], city: str = "Rome") -> pa.Table:
    ids = list(ids)
    at = pa.array([datetime(2026, 3, 1)] * len(ids), pa.timestamp("us"))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "at": at,
            "city": pa.array([city] * len(ids), pa.string()),
            "more": pa.array(["x"] * len(ids), pa.string()),
        }
    )


def _visits(tmp_path: Path, source: SourceSpec, *, rows: str = "final", deleted: str = "", **connections: Any) -> Collecting:
    marks = (Column(name=deleted, type="bool", nullable=True),) if deleted else ()
    spec = DatasetSpec(
        name="visits", title="Visits", owner="tests", key=("id",), event_time="at", rows=rows, deleted=deleted, source=source,
        on_known_key="replace" if rows == "corrected" else "refuse",
        columns=(Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="city", type="string"), *marks),
    )  # fmt: skip
    return Collecting(spec, tmp_path / "store", connections)


def _delta(tmp_path: Path, *, file_rows: int = 1000, **more: Any) -> Collecting:
    return _visits(tmp_path, DeltaSource(url=f"{tmp_path}/theirs", file_rows=file_rows), **more)


def _append(tmp_path: Path, ids: Iterable[int], city: str = "Rome") -> None:
    write_deltalake(f"{tmp_path}/theirs", _rows(ids, city), mode="append")


def test_delta_all_then_what_is_appended(tmp_path: Path) -> None:
    """DM-01: The first look reads all files, the next what commits have added; a compaction brings nothing."""
    for begin in (0, 10, 20):
        _append(tmp_path, range(begin, begin + 10))
    visits = _delta(tmp_path, file_rows=6)
    assert visits.collect().rows == 30
    assert visits.collect().outcome == "skipped"
    DeltaTable(f"{tmp_path}/theirs").optimize.compact()
    assert visits.collect().outcome == "skipped"
    _append(tmp_path, [30])
    _append(tmp_path, [31, 32])
    assert visits.collect().rows == 3
    assert not visits.take_in().refused
    assert visits.keys() == dict.fromkeys(range(33), 1)


@pytest.mark.parametrize("feed", ["true", "false"])
def test_delta_changes_and_deletions(tmp_path: Path, feed: str) -> None:
    """DM-01, DM-02: With and without its change data feed: changed rows replace theirs, deleted ones are deleted where the dataset knows
    deletions, and rows that a commit only wrote anew are no change."""
    settings = {"delta.enableChangeDataFeed": feed}
    write_deltalake(f"{tmp_path}/theirs", _rows(range(6)), configuration=settings)
    visits = _delta(tmp_path, rows="corrected", deleted="gone")
    visits.collect()
    visits.take_in()
    table = DeltaTable(f"{tmp_path}/theirs")
    table.update(predicate="id = 2", updates={"city": "'Bern'"})
    table.delete("id = 4")
    changed = visits.collect()
    assert (changed.rows, changed.changed) == (2, 1)
    assert not visits.take_in().refused
    assert [(row["id"], row["city"]) for row in visits.rows()] == [(0, "Rome"), (1, "Rome"), (2, "Bern"), (3, "Rome"), (5, "Rome")]


def test_delta_deletions_that_nobody_asked_for_are_told(tmp_path: Path) -> None:
    """DM-01: Of a dataset without deletions the rows stay, with a word."""
    _append(tmp_path, range(4))
    visits = _delta(tmp_path)
    visits.collect()
    DeltaTable(f"{tmp_path}/theirs").delete("id < 2")
    told = visits.collect()
    assert (told.outcome, "Version 1 removed 2 rows, which stay here" in told.sentence) == ("skipped", True)
    assert "removed" not in visits.collect().sentence


def test_delta_cut_short_at_any_write(tmp_path: Path) -> None:
    """DM-01, DE-22: File by file, commit by commit; run again, every row is in once."""
    for begin in (0, 3, 6):
        _append(tmp_path, range(begin, begin + 3))
    before, killed = 1, True
    while killed:
        visits = Collecting(_delta(tmp_path, file_rows=2).spec, tmp_path / f"store-{before}")
        killed = visits.collect_cut(before)
        if before == 6:
            _append(tmp_path, [9])
        visits.take_in()
        visits.collect()
        assert not visits.take_in().refused
        assert visits.keys() == dict.fromkeys(range(10 if before >= 6 else 9), 1)
        before += 1
    assert before > 15


def test_delta_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    """DM-01, DE-15: No table, a missing column, commits that are gone, a server that does not answer."""
    with pytest.raises(SourceRefused, match="There is no Delta table at"):
        _delta(tmp_path).collect()
    write_deltalake(f"{tmp_path}/theirs", _rows([1]).drop_columns(["city"]))
    with pytest.raises(SourceRefused, match=r"no column city; it has id, at, more\. Nothing was read"):
        _delta(tmp_path).collect()
    write_deltalake(f"{tmp_path}/theirs", _rows([1]), mode="overwrite", schema_mode="overwrite")
    visits = _delta(tmp_path)
    visits.collect()
    for number in range(2, 5):
        _append(tmp_path, [number])
    (tmp_path / "theirs/_delta_log/00000000000000000003.json").unlink()
    DeltaTable(f"{tmp_path}/theirs", version=2)
    with pytest.raises((SourceRefused, SourceUnreachable), match="cannot be read"):
        visits.collect()
    cloud = _visits(
        tmp_path / "theirs", DeltaSource(url="s3://bucket/theirs", connection="cloud"),
        cloud={"login": "k", "password": "geheim", "extra": {"endpoint_url": "http://127.0.0.1:9", "region_name": "x"}},
    )  # fmt: skip
    with pytest.raises(SourceUnreachable, match="s3://bucket/theirs of visits cannot be read") as told:
        cloud.collect()
    assert "geheim" not in str(told.value)


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    """A catalog of Iceberg with the table `shop.visits`."""
    catalog = SqlCatalog("source", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("shop")
    catalog.create_table("shop.visits", _rows([]).schema)
    return catalog


def _iceberg(tmp_path: Path, **more: Any) -> Collecting:
    return _visits(tmp_path, IcebergSource(catalog=f"sqlite:///{tmp_path}/catalog.db", table="shop.visits", file_rows=4), **more)


def test_iceberg_all_then_what_is_appended(tmp_path: Path, catalog: SqlCatalog) -> None:
    """DM-01: An empty table, the first rows, more rows; being cut short at any write costs nothing."""
    table = catalog.load_table("shop.visits")
    visits = _iceberg(tmp_path)
    assert visits.collect().outcome == "skipped"
    table.append(_rows(range(10)))
    assert visits.collect().rows == 10
    assert visits.collect().outcome == "skipped"
    table.append(_rows([10]))
    table.append(_rows([11, 12]))
    before = 1
    while visits.collect_cut(before):
        visits.take_in()
        before += 1
    visits.collect()
    assert not visits.take_in().refused
    assert visits.keys() == dict.fromkeys(range(13), 1)


def test_iceberg_changes_are_refused_with_the_way_out(tmp_path: Path, catalog: SqlCatalog) -> None:
    """DM-01, DM-02: A deletion there is not read as nothing; reading anew brings what is there, and what is in stays once."""
    table = catalog.load_table("shop.visits")
    table.append(_rows(range(4)))
    visits = _iceberg(tmp_path, rows="corrected")
    visits.collect()
    visits.take_in()
    table.delete("id = 1")
    table.append(_rows([9]))
    with pytest.raises(SourceRefused, match=r"changed or removed rows .*collect --dataset visits --anew"):
        visits.collect()
    visits.collect(anew=True)
    assert not visits.take_in().refused
    assert visits.keys() == dict.fromkeys([0, 1, 2, 3, 9], 1)


def test_iceberg_that_cannot_be_read_is_a_sentence(tmp_path: Path, catalog: SqlCatalog) -> None:
    """DM-01, DE-15: No table, a missing column, no catalog."""
    other = _visits(tmp_path, IcebergSource(catalog=f"sqlite:///{tmp_path}/catalog.db", table="shop.sales"))
    with pytest.raises(SourceRefused, match=r"has no table shop\.sales"):
        other.collect()
    catalog.create_table("shop.sales", _rows([]).schema.remove(2))
    with pytest.raises(SourceRefused, match=r"The table shop.sales has no column city; it has id, at, more"):
        other.collect()
    with pytest.raises(SettingMissing, match=r"The catalog odd cannot be opened .*extra"):
        _visits(tmp_path, IcebergSource(connection="odd", table="a.b"), odd={"extra": {"type": "none"}}).collect()
    with pytest.raises(SourceUnreachable, match="check the catalog and the connection"):
        _visits(tmp_path, IcebergSource(catalog="http://127.0.0.1:9", table="a.b")).collect()
