"""`perennial land` replays a dataset's own source."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from perennial.commands import land
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.store import FolderStore

DAY = date(2013, 1, 1)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def source(monkeypatch: pytest.MonkeyPatch, value: int = 1, name: str = "a.csv.gz") -> None:
    module = SimpleNamespace(land=lambda first, last: iter([(name, pa.table({"a": [value, None]}))]))
    monkeypatch.setattr(land, "dataset_module", lambda dataset: module)


def test_the_folder_is_there_for_who_looks_for_it(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Also of a dataset without a source of its own: its sentence names the folder."""
    monkeypatch.setattr(land, "dataset_module", lambda dataset: SimpleNamespace())
    with pytest.raises(UnknownName, match="landing/sales/ instead"):
        land.run(Settings(), store, "sales", DAY, DAY)
    assert (store.path / "landing/sales").is_dir()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_landing_again_writes_nothing(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """DM-01: The same rows give the same bytes, so a file that landed is not landed anew; it prints what it did."""
    source(monkeypatch, name=name)
    assert land.run(Settings(), store, "sales", DAY, DAY) == 0
    before = store.stat(f"landing/sales/{name}")
    assert "Landed 1 files of sales with 2 rows" in capsys.readouterr().out
    land.run(Settings(), store, "sales", DAY, DAY)
    assert store.stat(f"landing/sales/{name}") == before
    assert "Landed 0 files of sales with 0 rows" in capsys.readouterr().out


def test_changed_rows_land_anew(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: A file with other content replaces the one that landed."""
    source(monkeypatch, 1, "a.csv")
    land.run(Settings(), store, "sales", DAY, DAY)
    source(monkeypatch, 2, "a.csv")
    land.run(Settings(), store, "sales", DAY, DAY)
    assert store.read("landing/sales/a.csv") == b'"a"\n2\n\n'


def test_a_dataset_without_a_source_is_told(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: The sentence says where to put files instead."""
    monkeypatch.setattr(land, "dataset_module", lambda dataset: SimpleNamespace())
    with pytest.raises(UnknownName, match=r"put its files into .*/landing/sales/ instead"):
        land.run(Settings(), store, "sales", DAY, DAY)


def test_a_name_that_no_writer_knows_is_told() -> None:
    """DM-01: A mistake in the dataset's own file."""
    with pytest.raises(UnknownName, match=r"name it \.csv, \.csv\.gz or \.parquet"):
        land.encode("a.json", pa.table({"a": [1]}))
