"""`perennial land` copies a person's files into the landing zone, and replays a dataset's own source."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from perennial.commands import land
from perennial.data.landing import listing, receipt_key
from perennial.data.receipts import Receipt, write_receipt
from perennial.errors import BatchRefused, UnknownName
from perennial.local.supervisor import Supervisor
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
        land.replay_source(store, "sales", DAY, DAY)
    assert (store.path / "landing/sales").is_dir()


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_landing_again_writes_nothing(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """DM-01: The same rows give the same bytes, so a file that landed is not landed anew; it prints what it did."""
    source(monkeypatch, name=name)
    assert land.replay_source(store, "sales", DAY, DAY) == 0
    before = store.stat(f"landing/sales/{name}")
    assert "Landed 1 file of sales with 2 rows" in capsys.readouterr().out
    land.replay_source(store, "sales", DAY, DAY)
    assert store.stat(f"landing/sales/{name}") == before
    assert "Landed 0 files of sales with 0 rows" in capsys.readouterr().out


def test_changed_rows_land_anew(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: A file with other content replaces the one that landed."""
    source(monkeypatch, 1, "a.csv")
    land.replay_source(store, "sales", DAY, DAY)
    source(monkeypatch, 2, "a.csv")
    land.replay_source(store, "sales", DAY, DAY)
    assert store.read("landing/sales/a.csv") == b'"a"\n2\n\n'


def test_a_dataset_without_a_source_is_told(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: The sentence says where to put files instead."""
    monkeypatch.setattr(land, "dataset_module", lambda dataset: SimpleNamespace())
    with pytest.raises(UnknownName, match=r"put its files into .*/landing/sales/ instead"):
        land.replay_source(store, "sales", DAY, DAY)


def test_a_name_that_no_writer_knows_is_told() -> None:
    """DM-01: A mistake in the dataset's own file."""
    with pytest.raises(UnknownName, match=r"name it \.csv, \.csv\.gz or \.parquet"):
        land.encode("a.json", pa.table({"a": [1]}))


@pytest.fixture
def monday(tmp_path: Path) -> Path:
    file = tmp_path / "own" / "monday.csv"
    file.parent.mkdir()
    file.write_text("a\n1\n")
    return file


def landed(store: FolderStore) -> dict[str, bytes]:
    return {item.name: store.read(item.key) for item in listing(store, "digits")}


def land_own(store: FolderStore, *files: Path | str, dataset: str | None = "digits") -> int:
    return land.run(Settings(), store, [str(file) for file in files], dataset, None, None)


def test_files_of_ones_own_are_landed(store: FolderStore, monday: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-01: Each byte for byte under its own name; what was landed and what comes next is said."""
    tuesday = monday.with_name("tuesday.csv")
    tuesday.write_text("a\n2\n")
    assert land_own(store, monday, tuesday) == 0
    assert landed(store) == {"monday.csv": b"a\n1\n", "tuesday.csv": b"a\n2\n"}
    said = capsys.readouterr().out
    assert "Landed 2 files of digits" in said
    assert "perennial ingest --dataset digits" in said


def test_a_file_that_landed_is_not_landed_again(store: FolderStore, monday: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-01: The same file is the same batch: its identity does not change, so nothing takes it a second time."""
    land_own(store, monday)
    before = listing(store, "digits")
    land_own(store, monday, monday)
    assert listing(store, "digits") == before
    assert "Landed 0 files of digits" in capsys.readouterr().out


@pytest.mark.parametrize("up", [True, False])
def test_the_command_by_hand_is_named_where_no_platform_is_up(
    store: FolderStore, monday: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, up: bool
) -> None:
    """DM-01: Beside a platform it would take in the same file a second time."""
    monkeypatch.chdir(monday.parent)
    Path(".perennial/supervisor").mkdir(parents=True)
    monkeypatch.setattr(Supervisor, "running", lambda self: up)
    land_own(store, monday)
    assert ("perennial ingest --dataset digits" in capsys.readouterr().out) is not up


def test_what_became_of_a_file_is_said_where_it_is_landed_again(
    store: FolderStore, monday: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DM-01: Once it was taken in nothing waits; a file beside it that is new does."""
    land_own(store, monday)
    land_own(store, monday)
    assert "Next: the DAG digits_ingestion takes in what waits" in capsys.readouterr().out
    file = listing(store, "digits")[0]
    write_receipt(store, "digits", Receipt(id=file.id, name=file.name, size=file.size, outcome="appended", sentence="It is in snapshot 1."))
    land_own(store, monday)
    said = capsys.readouterr().out
    assert said.endswith("; 1 had landed already.\nIt is in snapshot 1.\n")
    monday.with_name("tuesday.csv").write_text("a\n2\n")
    land_own(store, monday, monday.with_name("tuesday.csv"))
    assert "Next: " in capsys.readouterr().out


def test_a_file_that_waits_is_not_replaced_by_another(store: FolderStore, monday: Path) -> None:
    """DM-01: Its rows would be lost without a word; once it was taken in, the name is free."""
    land_own(store, monday)
    monday.write_text("a\n3\n")
    with pytest.raises(BatchRefused, match=r"monday\.csv waits already, with other content\. Nothing was landed\. Ingest it first"):
        land_own(store, monday)
    assert landed(store) == {"monday.csv": b"a\n1\n"}
    store.write(receipt_key("digits", listing(store, "digits")[0].id), b"{}")
    land_own(store, monday)
    assert landed(store) == {"monday.csv": b"a\n3\n"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("monday.docx", r"monday\.docx has an extension that no reader knows: land one of \.csv"),
        ("monday.csv.part", "still being written"),
        (".monday.csv", "hidden"),
    ],
)
def test_a_file_that_ingestion_would_never_take_is_refused(store: FolderStore, monday: Path, name: str, sentence: str) -> None:
    """DM-01: And nothing of what was named beside it lands either."""
    monday.with_name(name).write_text("a\n1\n")
    with pytest.raises(BatchRefused, match=sentence):
        land_own(store, monday, monday.with_name(name))
    assert landed(store) == {}


def test_all_that_is_wrong_is_told_at_once(store: FolderStore, monday: Path, tmp_path: Path) -> None:
    """DM-01: Up to ten files, not one a try."""
    (tmp_path / "monday.csv").write_text("")
    with pytest.raises(BatchRefused) as refusal:
        land_own(store, monday, tmp_path / "monday.csv")
    assert str(refusal.value).count("has the name of another file") == 2
    with pytest.raises(UnknownName) as missing:
        land_own(store, tmp_path, *(f"{number}.csv" for number in range(11)))
    assert f"{tmp_path} is a folder" in str(missing.value)
    assert "8.csv is not there. 2 more are refused. Nothing was landed." in str(missing.value)


@pytest.mark.parametrize(
    ("what", "dataset", "sentence"),
    [
        (["monday.csv"], None, r"Say which dataset monday\.csv belongs to: --dataset NAME"),
        (["a", "b"], None, "Say which dataset these files belong to"),
        (["digits"], None, "--from DAY --to DAY; or name files"),
        (["digitz"], None, "Did you mean digits"),
        (["monday.csv"], "digitz", "Did you mean digits"),
    ],
)
def test_what_cannot_be_told_is_asked(store: FolderStore, what: list[str], dataset: str | None, sentence: str) -> None:
    """DM-01: A file without its dataset, a source without its days, a name that nobody has."""
    with pytest.raises(UnknownName, match=sentence):
        land_own(store, *what, dataset=dataset)


def test_days_belong_to_a_source(store: FolderStore, monday: Path) -> None:
    """DM-01: Files are landed whole, whatever days they hold."""
    with pytest.raises(UnknownName, match="--from and --to are days of a dataset's own source"):
        land.run(Settings(), store, [str(monday)], "digits", DAY, None)
