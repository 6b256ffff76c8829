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


def written(name: str, form: str, days: range, values: list[str]) -> None:
    """A file of a semicolon dialect: a day of March 2026 and a number in each row."""
    rows = [f"{datetime(2026, 3, days[place % len(days)]).strftime(form)};{value}" for place, value in enumerate(values)]
    Path(name).write_text("day;amount\n" + "\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("form", "days", "times", "words"),
    [
        ("%d.%m.%Y", range(1, 25), None, "times are written as '%d.%m.%Y'"),
        ("%d/%m/%Y", range(1, 13), None, "b.csv: read so that"),  # what the first leaves open the second tells
        ("%d/%m/%Y", range(1, 13), "%d/%m/%Y", "times are written as '%d/%m/%Y'"),
    ],
)
def test_dates_of_any_dialect_are_days(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    store: FolderStore,
    capsys: pytest.CaptureFixture[str],
    form: str,
    days: range,
    times: str | None,
    words: str,
) -> None:
    """MN-01: Separator, decimal mark and dates are found, said, and told by one file to the other; days are the blocks then."""
    monkeypatch.chdir(tmp_path)
    values = [f"0,{place % 89:03d}" for place in range(192)]
    written("a.csv", form, days, values)
    written("b.csv", form, days if times else range(1, 25), values)
    drift.run(Settings(), store, "a.csv", "b.csv", None, None, Path("drift.html"), times)
    said = capsys.readouterr().out
    assert words in said
    assert "numbers have the decimal mark ','" in said
    assert f"Compared: days of day, {len(days)} of the first" in said


def test_dates_that_both_leave_open_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """MN-01: With the option that says which; what is no form of times is refused."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        written(name, "%d/%m/%Y", range(1, 13), ["1", "2"] * 60)
    ask(store, "a.csv", "b.csv")
    assert "may be '%d/%m/%Y' or '%m/%d/%Y': say which one with --times." in capsys.readouterr().out
    with pytest.raises(UnknownName, match=r"^--times: "):
        drift.run(Settings(), store, "a.csv", "b.csv", None, None, Path("drift.html"), "%Q")


def test_infinite_numbers_of_a_file_are_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """MN-01, DM-02: No table would take them, and yet a person may ask how two files differ."""
    monkeypatch.chdir(tmp_path)
    values = [f"{place % 7}.5" for place in range(96)]
    written("a.csv", "%Y-%m-%d", range(1, 25), values)
    written("b.csv", "%Y-%m-%d", range(1, 25), ["inf" if place % 4 == 0 else value for place, value in enumerate(values)])
    assert ask(store, "a.csv", "b.csv") == 3
    said = capsys.readouterr().out
    assert "amount is infinite in 0 of 96 and 24 of 96 rows: counted beyond all its other values, not as missing." in said
    assert "nulls" not in said
