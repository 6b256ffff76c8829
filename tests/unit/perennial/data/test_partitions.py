"""Tables that are written by whole partitions."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from perennial.commands import verify
from perennial.data.partitions import PartitionedTable
from perennial.errors import Fault
from perennial.settings import Settings
from perennial.store import FolderStore

SCHEMA = pa.schema([("ride", pa.string()), ("score", pa.float64()), ("day", pa.date32()), ("source", pa.string())])
MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)


def rows(day, source, *rides, score=0.5):
    made = [{"ride": ride, "score": score, "day": day, "source": source} for ride in rides]
    return pa.Table.from_pylist(made, SCHEMA).to_batches(max_chunksize=2)


@pytest.fixture
def table(tmp_path):
    """An empty table by day and source."""
    return PartitionedTable(FolderStore(str(tmp_path)), "rides_scores", SCHEMA, ("day", "source"))


def all_of(table, version=None):
    return sorted((row["day"].day, row["source"], row["ride"], row["score"]) for row in table.scan(version=version).to_pylist())


def test_a_partition_is_replaced_as_a_whole(table):
    """SE-03, DM-09: Rows that are not among the new ones are gone, other partitions stay, and older versions keep all."""
    table.replace({"day": MONDAY, "source": "a"}, rows(MONDAY, "a", "r1", "r2", "r3"))
    table.replace({"day": MONDAY, "source": "b"}, rows(MONDAY, "b", "r1"))
    before = table.replace({"day": TUESDAY, "source": "a"}, rows(TUESDAY, "a", "r4"))
    after = table.replace({"day": MONDAY, "source": "a"}, rows(MONDAY, "a", "r2", score=0.7), {"run": "again"})
    others = [(2, "b", "r1", 0.5), (3, "a", "r4", 0.5)]
    assert all_of(table) == [(2, "a", "r2", 0.7), *others]
    assert all_of(table, before) == [(2, "a", "r1", 0.5), (2, "a", "r2", 0.5), (2, "a", "r3", 0.5), *others]
    assert (before, after, table.version()) == (3, 4, 4)
    assert table.partitions() == [{"day": MONDAY, "source": "a"}, {"day": MONDAY, "source": "b"}, {"day": TUESDAY, "source": "a"}]


def test_a_partition_without_rows_is_none(table):
    """SE-03: An empty one writes nothing where nothing was, and takes out what was."""
    partition = {"day": MONDAY, "source": "a"}
    assert table.replace(partition, []) == 0
    table.replace(partition, rows(MONDAY, "a", "r1"))
    assert (table.replace(partition, []), table.count(), table.partitions()) == (2, 0, [])


def test_who_commits_first_wins_and_the_other_writes_over_it(table, monkeypatch):
    """SE-03, OP-08: Of two writers of one partition each sees the other's files: no row is there twice."""
    partition = {"day": MONDAY, "source": "a"}
    table.replace(partition, rows(MONDAY, "a", "r0"))
    other = PartitionedTable(table.store, table.name, SCHEMA, table.by)
    put, came = FolderStore.put_if_absent, []

    def put_after_the_other(store, key, data):
        if not came:
            came.append(key)
            other.replace(partition, rows(MONDAY, "a", "r1", "r2"))
        return put(store, key, data)

    monkeypatch.setattr(FolderStore, "put_if_absent", put_after_the_other)
    table.replace(partition, rows(MONDAY, "a", "r2", score=0.9))
    assert all_of(table) == [(2, "a", "r2", 0.9)]


def test_its_bytes_are_kept_in_its_log(table, tmp_path, capsys):
    """SC-07: `perennial verify` knows the files of partitions, those that were replaced too."""
    for score in (0.1, 0.2):
        table.replace({"day": MONDAY, "source": "a"}, rows(MONDAY, "a", "r1", score=score))
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "home")})
    assert verify.run(settings, table.store) == 0
    assert "The table rides_scores: 2 files" in capsys.readouterr().out
    file = next(tmp_path.glob("tables/rides_scores/day=2026-03-02/source=a/*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert verify.run(settings, table.store) == 1


def test_a_column_keeps_its_type(table):
    """DM-13: Delta Lake would cast without a word."""
    table.replace({"day": MONDAY, "source": "a"}, rows(MONDAY, "a", "r1"))
    other = SCHEMA.set(1, pa.field("score", pa.string()))
    with pytest.raises(Fault, match="The column score of the table rides_scores holds double, and string was to be written"):
        PartitionedTable(table.store, table.name, other, table.by).replace({"day": MONDAY, "source": "a"}, [])
