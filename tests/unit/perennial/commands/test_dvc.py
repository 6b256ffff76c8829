"""`perennial dvc`: a snapshot goes out as DVC's files, and what a `.dvc` file names comes in as any other batch."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from perennial import cli, discovery
from perennial.commands import dvc
from perennial.commands.land import encode
from perennial.data.dvc import contents_below, digest_of, manifest, object_place, pointer, read_pointer
from perennial.data.landing import listing
from perennial.data.receipts import receipts
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.errors import BatchRefused, StoredDataDamaged, UnknownName
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec
from perennial.stages import ingest
from perennial.store import FolderStore

SPEC = DatasetSpec(
    name="sales", title="Sales", owner="tests", key=("shop", "sold"), event_time="sold",
    columns=(Column(name="sold", type="timestamp"), Column(name="shop", type="string"), Column(name="amount", type="float", nullable=True)),
)  # fmt: skip
SETTINGS = Settings(store="unused", landing_settle_seconds=0)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A dataset whose suite takes everything, and profiles that are not made."""
    monkeypatch.setattr(discovery, "dataset", lambda name: SPEC)
    monkeypatch.setattr(discovery, "models", dict)
    monkeypatch.setattr(ingest, "dataset_spec", lambda name: SPEC)
    taken = (True, None, (), "reports/x.html")
    monkeypatch.setattr(validation, "validate", lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, *taken))
    monkeypatch.setattr(data_docs, "write_index", lambda *_: None)
    monkeypatch.setattr(ingest, "profile_owed", lambda *_: None)
    return


def day(number: int, rows: int = 3) -> pa.Table:
    times = [datetime(2013, 1, number) + timedelta(hours=h) for h in range(rows)]
    return pa.table({"sold": pa.array(times, pa.timestamp("us")), "shop": ["a"] * rows, "amount": [float(number), *[None] * (rows - 1)]})


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Two days that were ingested."""
    store = FolderStore(str(tmp_path / "store"))
    for number in (1, 2):
        store.write(f"landing/sales/{number}.csv", encode(f"{number}.csv", day(number)))
    ingest.run(SETTINGS, store, "sales")
    return store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of a DVC repository."""
    (tmp_path / "repository/.dvc").mkdir(parents=True)
    return tmp_path / "repository/data"


def export(store: FolderStore, to: Path, snapshot: int | None = None) -> int:
    return dvc.run(SETTINGS, store, "export", "sales", snapshot=snapshot, folder=to)


def take_in(store: FolderStore, file: Path, **options: Path | str) -> int:
    return dvc.run(SETTINGS, store, "import", str(file), dataset="sales", **options)  # type: ignore[arg-type]


def rows_in(store: FolderStore) -> list[dict[str, object]]:
    snapshot = latest_snapshot(store, SPEC)
    return [] if snapshot is None else snapshot.rows().astype(object).where(lambda frame: frame.notna(), None).to_dict("records")


def test_a_snapshot_goes_out_and_comes_in_again(store: FolderStore, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SY-17: The same rows in another store, by the usual ingestion with its receipts; the second time nothing lands."""
    assert export(store, data) == 0
    said = capsys.readouterr().out
    assert "Snapshot 2 of sales lies in" in said
    assert f"Next: git add {data}/sales.dvc {data}/.gitignore, git commit, dvc push." in said
    other = FolderStore(str(tmp_path / "other"))
    assert take_in(other, data / "sales.dvc") == 0
    assert "Landed 2 files of sales" in capsys.readouterr().out
    assert all(item.name.startswith("sales/part-") for item in listing(other, "sales"))
    ingest.run(SETTINGS, other, "sales")
    assert rows_in(other) == rows_in(store)
    assert [receipt.outcome for receipt in receipts(other, "sales")] == ["appended", "appended"]
    before = listing(other, "sales")
    take_in(other, data / "sales.dvc")
    assert "Landed 0 files of sales" in capsys.readouterr().out
    assert listing(other, "sales") == before
    assert ingest.run(SETTINGS, other, "sales").outcome == "skipped"


def test_what_is_written_is_what_dvc_has(store: FolderStore, data: Path) -> None:
    """SY-17: The `.dvc` file names the manifest, the manifest each file, the cache has both, and Git leaves the folder alone."""
    data.mkdir()
    (data / ".gitignore").write_text("/rides")
    export(store, data)
    snapshot = latest_snapshot(store, SPEC)
    assert snapshot is not None
    files = contents_below(data / "sales")
    document = yaml.safe_load((data / "sales.dvc").read_text())
    assert document == {
        "outs": [{"md5": digest_of(manifest(files)), "size": sum(one.size for one in files), "nfiles": 2, "hash": "md5", "path": "sales"}],
        "meta": {"perennial": {"dataset": "sales", "snapshot": 2, "sha256": snapshot.digest.removeprefix("sha256-bytes:")}},
    }
    cache = data.parent / ".dvc/cache"
    assert object_place(cache, digest_of(manifest(files)), "md5").read_bytes() == manifest(files)
    for one in files:
        assert object_place(cache, one.md5, "md5").read_bytes() == (data / "sales" / one.path).read_bytes()
    assert (data / ".gitignore").read_text() == "/rides\n/sales\n"
    assert sorted(path.name for path in data.iterdir()) == [".gitignore", "sales", "sales.dvc"]
    assert pq.read_table(data / "sales" / files[0].path).column_names == ["sold", "shop", "amount"]


def test_the_same_snapshot_is_the_same_bytes(store: FolderStore, data: Path, tmp_path: Path) -> None:
    """SY-17: And of two snapshots the files that both have, so that DVC keeps them once."""
    export(store, data)
    first = (data / "sales.dvc").read_text()
    export(store, data)
    export(store, tmp_path / "plain")
    assert (data / "sales.dvc").read_text() == (tmp_path / "plain/sales.dvc").read_text() == first
    assert not (tmp_path / "plain/.gitignore").exists()
    before = {one.md5 for one in contents_below(data / "sales")}
    export(store, data, snapshot=1)
    assert {one.md5 for one in contents_below(data / "sales")} < before
    assert len(list(data.parent.glob(".dvc/cache/files/md5/*/*"))) == 4  # two files, two manifests


def test_a_folder_of_something_else_is_left_alone(store: FolderStore, data: Path) -> None:
    """SY-17: Changed, not yet tracked, or a file: nothing that DVC could not bring back is replaced, and nothing is left half done."""
    export(store, data)
    (data / "sales/notes.txt").write_text("mine")
    with pytest.raises(BatchRefused, match=r"has other files than sales\.dvc names, and they would be lost"):
        export(store, data, snapshot=1)
    assert (data / "sales/notes.txt").read_text() == "mine"
    (data / "sales.dvc").unlink()
    with pytest.raises(BatchRefused, match="has other files than"):
        export(store, data)
    assert sorted(path.name for path in data.iterdir()) == [".gitignore", "sales"]
    (data / "other").mkdir()
    (data / "other/sales").write_text("mine")
    with pytest.raises(BatchRefused, match="is a file"):
        export(store, data / "other")


def test_an_export_that_was_killed_is_made_again(store: FolderStore, data: Path) -> None:
    """SY-17: What it left is cleaned away, also where the folder came and its `.dvc` file did not."""
    export(store, data)
    whole = (data / "sales.dvc").read_text()
    (data / ".sales.perennial").mkdir()
    (data / ".sales.perennial/part").write_text("half")
    export(store, data, snapshot=1)
    (data / "sales.dvc").write_text(whole)  # as if the one before had been killed before it wrote this
    export(store, data, snapshot=1)
    assert read_pointer(data / "sales.dvc")[0].md5 == digest_of(manifest(contents_below(data / "sales")))
    assert not (data / ".sales.perennial").exists()


def test_damaged_rows_are_not_handed_on(store: FolderStore, data: Path) -> None:
    """SY-17: A file of the table that has changed since it was written is told."""
    file = next(path for path in Path(store.root, "tables/sales").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(StoredDataDamaged):
        export(store, data)
    assert not data.exists()


def test_rows_of_an_older_form_have_the_columns_of_now(tmp_path: Path, data: Path) -> None:
    """SY-17: A column that the spec gained later is null in the files from before."""
    store = FolderStore(str(tmp_path / "store"))
    Table(store, "sales").append(day(1).drop_columns(["amount"]), "1f" * 32, key=SPEC.key)
    export(store, data)
    file = next((data / "sales").iterdir())
    assert pq.read_table(file)["amount"].null_count == 3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"action": "export", "what": "sales"}, "Name the folder to write into"),
        ({"action": "import", "what": "sales.dvc"}, "Say which dataset the files of sales.dvc belong to"),
        ({"action": "import", "what": "sales.dvc", "dataset": "sales"}, "sales.dvc cannot be read"),
        ({"action": "import", "what": "sales.dvc", "dataset": "sales", "remote": Path("nowhere")}, "nowhere is no folder"),
    ],
)
def test_what_is_lacking_is_told(store: FolderStore, given: dict[str, str], sentence: str) -> None:
    """SY-17: With what to type."""
    with pytest.raises(UnknownName, match=sentence):
        dvc.run(SETTINGS, store, **given)  # type: ignore[arg-type]


def test_a_dataset_without_rows_cannot_go_out(tmp_path: Path, data: Path) -> None:
    """SY-17: Nor can a snapshot that there is not."""
    empty = FolderStore(str(tmp_path / "empty"))
    with pytest.raises(UnknownName, match="sales has no snapshot yet"):
        export(empty, data)
    with pytest.raises(UnknownName, match="There is no snapshot 3 of sales"):
        export(empty, data, snapshot=3)


def own(folder: Path, **files: str) -> Path:
    """A folder of files beside its `.dvc` file."""
    (folder / "own").mkdir(parents=True)
    for name, text in files.items():
        (folder / "own" / name.replace("_", ".")).write_text(text)
    (folder / "own.dvc").write_text(pointer("own", contents_below(folder / "own")))
    return folder / "own.dvc"


def test_a_readme_among_the_files_is_left_out_by_a_pattern(tmp_path: Path, store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """SY-17: Without one all is refused and nothing lands, as no reader knows it."""
    file = own(tmp_path / "work", README_md="Sales.", **{"9_csv": "sold,shop,amount\n2013-01-09,a,1\n"})
    before = listing(store, "sales")
    with pytest.raises(BatchRefused, match=r"own/README\.md has an extension that no reader knows"):
        take_in(store, file)
    with pytest.raises(UnknownName, match=r"names 2 files, and none is called like \*\.json"):
        take_in(store, file, only="*.json")
    assert listing(store, "sales") == before
    take_in(store, file, only="*.csv")
    assert "Landed 1 file of sales" in capsys.readouterr().out
    ingest.run(SETTINGS, store, "sales")
    assert [receipt.name for receipt in receipts(store, "sales")][-1] == "own/9.csv"


def test_a_damaged_file_lands_with_none_beside_it(tmp_path: Path, store: FolderStore) -> None:
    """SY-17: One sentence says which, and what to run."""
    file = own(tmp_path / "work", **{"8_csv": "sold,shop,amount\n2013-01-08,a,1\n", "9_csv": "sold,shop,amount\n2013-01-09,a,1\n"})
    contents = contents_below(tmp_path / "work/own")
    remote = tmp_path / "remote"
    place = object_place(remote, read_pointer(file)[0].md5, "md5")
    place.parent.mkdir(parents=True)
    place.write_bytes(manifest(contents))
    (tmp_path / "work/own/9.csv").write_text("sold,shop,amount\n2013-01-09,a,2\n")
    before = listing(store, "sales")
    with pytest.raises(BatchRefused, match=r"own/9\.csv is not the file that is named"):
        take_in(store, file, remote=remote)
    assert listing(store, "sales") == before


def test_two_files_of_one_name_are_told(tmp_path: Path, store: FolderStore) -> None:
    """SY-17: One would replace the other."""
    file = own(tmp_path / "work", **{"9_csv": "sold,shop,amount\n"})
    text = file.read_text()
    file.write_text(text + text.removeprefix("outs:\n"))
    with pytest.raises(BatchRefused, match=r"names two files own/9\.csv"):
        take_in(store, file)


def test_a_dvc_file_without_files_is_told(tmp_path: Path, store: FolderStore) -> None:
    """SY-17: There is nothing to land."""
    with pytest.raises(UnknownName, match="names 0 files, so that there is nothing to land"):
        take_in(store, own(tmp_path / "work"))


def test_the_page_has_commands_that_there_are() -> None:
    """SY-17: Those of docs/how-to.md, option by option."""
    pasted = re.search(r"take data in from it\n\n```sh\n(.*?)```", (Path(__file__).parents[4] / "docs/how-to.md").read_text(), re.DOTALL)
    assert pasted
    for line in pasted[1].splitlines():
        given = vars(cli._parser().parse_args(shlex.split(line)[1:]))
        assert (given.pop("package"), given.pop("module"), given["action"]) == ("commands", "dvc", line.split()[2])
        inspect.signature(dvc.run).bind(None, None, **given)
