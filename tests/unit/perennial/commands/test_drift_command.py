"""`perennial drift` on two files or tables of a person's own."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from perennial.commands import drift
from perennial.data.tables import Table
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.store import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A Parquet file, and a CSV file of other rows from farther right."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    first, second = (pa.table({"x": rng.normal(mean, 1, 80), "word": ["a", "b"] * 40}) for mean in (0, 2))
    pyarrow.parquet.write_table(first, "a.parquet")
    pyarrow.csv.write_csv(second, "b.csv")
    return Path("a.parquet"), Path("b.csv")


def ask(store: FolderStore, first: object, second: object, time: str | None = None, columns: str | None = None) -> int:
    return drift.run(Settings(), store, str(first), str(second), time, columns, Path("drift.html"))


def test_two_files_that_differ(store: FolderStore, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """MN-01: The finding as a sentence and in the table, what p means, the plots in a file; the exit code is 3."""
    assert ask(store, *files) == 3
    said = capsys.readouterr().out
    assert "Drift in `x`" in said
    assert "p: the chance that" in said
    assert "<code>x</code>" in Path("drift.html").read_text()
    assert not store.path.exists()  # nothing but the two files is needed


def test_two_that_are_alike(store: FolderStore, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """MN-01: The exit code is 0."""
    assert ask(store, files[0], files[0]) == 0
    assert "Nothing differs by more than chance." in capsys.readouterr().out


def test_a_version_of_a_table_is_read(store: FolderStore, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """MN-01: As it was; the columns that the platform adds are none of the person's."""
    rows = pyarrow.csv.read_csv(files[1])
    table = Table(store, "words")
    for number in (1, 2):
        table.append(rows.slice(40 * (number - 1), 40), str(number) * 64)
    assert ask(store, "table:words@1", "table:words") in (0, 3)
    said = capsys.readouterr().out
    assert "table:words@1: 40 rows. table:words: 80 rows." in said
    assert "_batch" not in said


def test_the_event_time_of_a_table_is_taken_where_both_have_it(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MN-01: Though there are other times; a file without it is compared by rows."""
    monkeypatch.chdir(tmp_path)
    days = [datetime(2026, 3, 1) + timedelta(days=place // 4) for place in range(80)]
    flights = pa.table({"scheduled_departure": days, "landed": days, "distance": np.arange(80.0)})
    Table(store, "flights").append(flights, "a" * 64)
    pyarrow.parquet.write_table(flights, "both.parquet")
    pyarrow.parquet.write_table(flights.select(["distance"]), "neither.parquet")
    ask(store, "table:flights", "both.parquet")
    assert "Compared: days of scheduled_departure, 20 of the first" in capsys.readouterr().out
    ask(store, "neither.parquet", "table:flights")
    assert "Compared: bundles of rows, 40 of the first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("first", "more", "words"),
    [
        ("nowhere.csv", {}, r"There is no file nowhere\.csv"),
        ("table:words", {}, "There is no table words in the store"),
        ("a.parquet", {"columns": "x, wrod"}, r"a\.parquet has no column wrod; it has x, word"),
        ("a.parquet", {"time": "x"}, "x is no column of times"),
        ("b.parquet", {}, r"b\.parquet cannot be read as Parquet"),
    ],
)
def test_what_is_not_there_is_told(store: FolderStore, files: tuple[Path, Path], first: str, more: dict[str, str], words: str) -> None:
    """MN-01: A file, a table, a column; and a file that is not what its name says."""
    Path("b.parquet").write_bytes(b"no parquet")
    with pytest.raises(UnknownName, match=words):
        ask(store, first, files[1], **more)
