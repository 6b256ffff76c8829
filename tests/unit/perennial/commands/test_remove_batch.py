"""`perennial remove-batch`: a wrong batch leaves the table, and everything that tells of it says so."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import remove_batch
from perennial.commands.land import encode
from perennial.data import compaction
from perennial.data.receipts import receipts
from perennial.data.tables import Table
from perennial.errors import BatchRefused, StoredDataDamaged, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.lineage.manifest import LabelsUsed
from perennial.lineage.version_folder import publish
from perennial.profiles.store import ProfileStore, mark_of
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, LabelSpec
from perennial.stages import ingest, profile
from perennial.store import FOLDERS, FolderStore
from perennial.testing import small_manifest, small_version

SPEC = DatasetSpec(
    name="sales", title="Sales", owner="tests", key=("shop", "sold"), event_time="sold",
    columns=(Column(name="sold", type="timestamp"), Column(name="shop", type="string"), Column(name="amount", type="float", nullable=True)),
)  # fmt: skip
SETTINGS = Settings(store="unused", landing_settle_seconds=0)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A dataset whose suite takes everything, and profiles from the first row on."""
    monkeypatch.setattr(discovery, "dataset", lambda name: SPEC)
    monkeypatch.setattr(discovery, "models", dict)
    monkeypatch.setattr(ingest, "dataset_spec", lambda name: SPEC)
    monkeypatch.setattr(
        validation,
        "validate",
        lambda rows, dataset, name, **_: Verdict(dataset.name, name, rows.num_rows, True, None, (), "reports/x.html"),
    )
    monkeypatch.setattr(data_docs, "write_index", lambda *_: None)
    monkeypatch.setattr(profile, "FIT_ROWS", 1)
    return


def day(number: int, rows: int = 3) -> pa.Table:
    times = [datetime(2013, 1, number) + timedelta(hours=h) for h in range(rows)]
    return pa.table({"sold": pa.array(times, pa.timestamp("us")), "shop": ["a"] * rows, "amount": [float(number)] * rows})


def land(store: FolderStore, name: str, number: int) -> str:
    data = encode(name, day(number))
    store.write(f"landing/sales/{name}", data)
    return hashlib.sha256(data).hexdigest()


def take_in(store: FolderStore) -> ingest.IngestResult:
    return ingest.run(SETTINGS, store, "sales")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Three days that were ingested."""
    store = FolderStore(str(tmp_path / "store"))
    for number in (1, 2, 3):
        land(store, f"{number}.csv", number)
    take_in(store)
    return store


def remove(store: FolderStore, batch: str = "2.csv", **given: object) -> int:
    return remove_batch.run(SETTINGS, store, "sales", batch, **{"reason": "wrong currency", "by": "ada"} | given)


def amounts(store: FolderStore, version: int | None = None) -> list[float]:
    return sorted(set(Table(store, "sales").scan(["amount"], version=version)["amount"].to_pylist()))


def test_what_is_written_lies_in_folders_that_the_store_names(store: FolderStore) -> None:
    """DM-06: Whoever empties a store folder by folder, as the demo does, leaves no leave to land a batch again."""
    remove(store)
    remove(store, again=True)
    assert {folder.name for folder in store.path.iterdir()} <= set(FOLDERS)


def counted(store: FolderStore) -> int:
    found = ProfileStore(store, "sales").read()
    assert found is not None
    return int(found.rows().sum())


def test_its_rows_are_gone_from_a_new_snapshot(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-06, DM-07: The snapshots before keep them; profiles count them no more; receipt and record say who, when and why."""
    assert (counted(store), Table(store, "sales").version()) == (9, 3)
    assert remove(store) == 0
    said = capsys.readouterr().out
    assert "2.csv (" in said
    assert "its 3 rows were taken out of the table sales on 20" in said
    assert "by ada (wrong currency); they are not in snapshot 4 and later ones." in said
    assert "No version learned from it." in said
    table = Table(store, "sales")
    assert (table.version(), amounts(store), amounts(store, 3), counted(store)) == (4, [1, 3], [1, 2, 3], 6)
    receipt = next(r for r in receipts(store, "sales") if r.name == "2.csv")
    assert (receipt.outcome, receipt.version) == ("removed", 4)
    assert "by ada (wrong currency)" in receipt.sentence
    (kept,) = store.list("removals/sales")
    record = json.loads(store.read(kept.key))
    assert (record["by"], record["reason"], record["rows"], record["version"]) == ("ada", "wrong currency", 3, 4)
    assert set(table.hashes().files) == {file["path"] for file in table.files()}
    table.refuse_damaged()
    assert take_in(store).outcome == "skipped"


def test_doing_it_again_does_nothing(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """DE-22: It says so, with the words of the first time."""
    remove(store)
    before = [item.key for item in store.list("removals")]
    assert remove(store, reason="other words", by="bob") == 0
    assert "It was out already. 2.csv" in capsys.readouterr().out
    assert (Table(store, "sales").version(), amounts(store)) == (4, [1, 3])
    assert [item.key for item in store.list("removals")] == before
    assert "by ada (wrong currency)" in next(r for r in receipts(store, "sales") if r.name == "2.csv").sentence


@pytest.mark.parametrize("killed_at", ["correct_receipt", "record", "versions_of"])
def test_a_killed_one_is_repeated(store: FolderStore, monkeypatch: pytest.MonkeyPatch, killed_at: str) -> None:
    """DE-22: Wherever it died after the commit: the next call makes what is missing."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(remove_batch, killed_at, die)
        with pytest.raises(KeyboardInterrupt):
            remove(store)
    assert remove(store) == 0
    assert (amounts(store), counted(store), Table(store, "sales").version()) == ([1, 3], 6, 4)
    assert next(r for r in receipts(store, "sales") if r.name == "2.csv").outcome == "removed"
    assert len(list(store.list("removals/sales"))) == 1


def test_out_of_a_compacted_file(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: Rows of others in the same file stay; a file that was changed is not written anew."""
    monkeypatch.setattr(compaction, "MANY", 3)
    land(store, "4.csv", 4)
    take_in(store)
    shared = max(Table(store, "sales").files(), key=lambda file: file["num_records"])
    assert shared["num_records"] == 9
    place = Path(store.root, "tables/sales", shared["path"])
    whole = place.read_bytes()
    place.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    with pytest.raises(StoredDataDamaged, match=shared["path"]):
        remove(store)
    place.write_bytes(whole)
    remove(store)
    assert (amounts(store), Table(store, "sales").count(), counted(store)) == ([1, 3, 4], 9, 9)


def test_a_damaged_file_of_it_alone_can_be_given_up(store: FolderStore) -> None:
    """DM-06, MO-17: Nothing of it is read; landed again on purpose, the batch is whole."""
    digest = hashlib.sha256(encode("2.csv", day(2))).hexdigest()
    path = next(file["path"] for file in Table(store, "sales").files() if str(file["min.sold"]).startswith("2013-01-02"))
    Path(store.root, "tables/sales", path).write_bytes(b"rubbish")
    remove(store)
    Table(store, "sales").refuse_damaged()
    remove(store, digest[:12], again=True)
    assert take_in(store).appended == {"2.csv": 3}
    assert amounts(store) == [1, 2, 3]


def test_its_content_comes_back_on_purpose_alone(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-06: Under whatever name it is refused with who, why and how; after `--again` it is taken, once; then it may be taken out once
    more."""
    remove(store)
    land(store, "other name.csv", 2)
    refused = take_in(store).refused["other name.csv"]
    assert "was taken out of the table sales on 20" in refused
    assert "by ada (wrong currency)" in refused
    digest = hashlib.sha256(encode("2.csv", day(2))).hexdigest()
    assert f"`perennial remove-batch sales {digest[:12]} --again --reason ...`" in refused
    assert amounts(store) == [1, 3]
    assert remove(store, digest[:12], again=True, reason="it was right") == 0
    assert "is taken with the next ingestion if it still lies in the landing zone" in capsys.readouterr().out
    result = take_in(store)
    assert (result.appended, amounts(store), counted(store)) == ({"2.csv": 3}, [1, 2, 3], 9)
    with pytest.raises(BatchRefused, match="is in the table sales: there is nothing to let come back"):
        remove(store, digest[:12], again=True)
    remove(store)
    assert (amounts(store), counted(store)) == ([1, 3], 6)
    land(store, "third name.csv", 2)
    assert "third name.csv" in take_in(store).refused


def test_a_batch_is_named(store: FolderStore) -> None:
    """DM-06: By its file or the beginning of its digest; several of one name are told apart; none is a sentence."""
    with pytest.raises(UnknownName, match=r"never had a batch 9.csv: give the name of its landed file"):
        remove(store, "9.csv")
    store.delete("landing/sales/2.csv")
    digest = land(store, "2.csv", 5)
    take_in(store)
    with pytest.raises(
        UnknownName, match=rf"2 batches of sales are called 2.csv: give the digest of one, {digest[:12]} \(3 rows, since snapshot 4\)"
    ):
        remove(store, "2.csv")
    remove(store, digest[:8])
    assert amounts(store) == [1, 2, 3]
    remove(store, "2.csv")
    assert amounts(store) == [1, 3]


def test_versions_that_learned_from_it_are_named(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SC-05, DM-07: Those whose snapshot has it, by the days of their split; released ones by number, others as candidates."""
    bounds = {"train": ["2013-01-01", "2013-01-02"], "validation": ["2013-01-02", "2013-01-03"], "test": ["2013-01-03", "2013-01-04"]}
    measured = {"train": ["2012-12-01", "2012-12-31"], "validation": ["2012-12-31", "2013-01-01"], "test": ["2013-01-01", "2013-01-04"]}
    earlier = {part: ["2012-12-01", "2012-12-02"] for part in bounds}
    digests: dict[str, str] = {}
    for name, snapshot, split in (("learned", 3, bounds), ("measured", 3, measured), ("before", 1, bounds), ("earlier", 3, earlier)):
        folder = small_version(tmp_path / name)
        (folder / "training.json").write_text(json.dumps({"bounds": split, "name": name}))
        digests[name] = publish(
            store, "small_delays", folder, small_manifest(dataset="sales", snapshot=snapshot, run_key=f"{len(digests):024d}")
        )
    Ledger(store, "small_delays").append(
        "released", version=7, champion=7, weights={7: 10000}, versions={7: digests["learned"]}, reason="r", actor="a", after_seq=None
    )
    remove(store)
    said = capsys.readouterr().out
    assert "Learned from it: small_delays/7.\n" in said
    assert f"Measured on it, without learning from it: candidate {digests['measured'][:12]} of small_delays.\n" in said
    (kept,) = store.list("removals/sales")
    assert json.loads(store.read(kept.key))["learned"] == ["small_delays/7", f"candidate {digests['measured'][:12]} of small_delays"]


def test_versions_that_took_labels_from_it_are_named(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SC-05, DM-03: A batch of a label feed: those whose labels came from a version of the feed that has it."""
    feed = LabelSpec(dataset="sales", key=("id",), columns=("amount",), known_at="at")
    digests = []
    for snapshot in (1, 3):
        used = LabelsUsed(
            feed=feed, snapshot=snapshot, digest="d", rows_digest="r", known_by=datetime(2024, 1, 1), delay_days=0, newest_day=None
        )
        manifest = small_manifest(dataset="visits", snapshot=9, labels=used, run_key=f"{snapshot:024d}", parameters={"version": snapshot})
        digests.append(publish(store, "small_delays", small_version(tmp_path / str(snapshot)), manifest))
    remove(store)
    assert f"Learned from it: candidate {digests[1][:12]} of small_delays.\n" in capsys.readouterr().out


def test_a_damaged_version_does_not_hold_it_up(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-07: What cannot be told is said; all else is done and recorded."""
    digest = publish(store, "small_delays", small_version(tmp_path / "v"), small_manifest(dataset="sales", snapshot=3))
    store.write(f"models/small_delays/versions/{digest}/manifest.json", b"{")
    store.write("ledger/small_delays/00000000.json", b"{")
    assert remove(store) == 0
    said = capsys.readouterr().out
    assert f"Whether candidate {digest[:12]} of small_delays learned from it is not known. The manifest of small_delays" in said
    assert "Versions of small_delays have no numbers here. Entry 0 of the ledger" in said
    assert len(list(store.list("removals/sales"))) == 1


def test_an_ingestion_at_the_same_time_loses_no_row(store: FolderStore) -> None:
    """DE-22: Removals and appends take turns: every batch is in or out as was asked, and none twice."""
    for number in range(4, 12):
        land(store, f"{number}.csv", number)
    barrier = threading.Barrier(3)

    def work(batches: tuple[str, ...]) -> None:
        barrier.wait()
        for batch in batches:
            remove(store, batch)
        if not batches:
            take_in(store)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, (("1.csv", "3.csv"), ("2.csv", "1.csv"), ())))
    assert (amounts(store), Table(store, "sales").count(), counted(store)) == (list(range(4, 12)), 24, 24)
    assert sorted(r.name for r in receipts(store, "sales") if r.outcome == "removed") == ["1.csv", "2.csv", "3.csv"]


def test_a_batch_that_is_taken_out_while_it_is_profiled(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-14: The profile that was made of the rows from before does not stay."""
    digest = land(store, "4.csv", 4)
    write = ProfileStore.write

    def write_late(self: ProfileStore, batch: str, found: object) -> bool:
        remove(store, "4.csv")
        return write(self, batch, found)

    monkeypatch.setattr(ProfileStore, "write", write_late)
    take_in(store)
    assert counted(store) == 9
    assert mark_of(digest) not in {kept.mark for kept in ProfileStore(store, "sales").batches()}


def test_a_run_that_was_about_to_write_its_receipt(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-06: The batch is taken out between append and receipt: the receipt says so."""
    land(store, "4.csv", 4)
    write = ingest.write_receipt

    def write_late(*given: object) -> bool:
        remove(store, "4.csv")
        return write(*given)

    monkeypatch.setattr(ingest, "write_receipt", write_late)
    take_in(store)
    assert next(r for r in receipts(store, "sales") if r.name == "4.csv").outcome == "removed"


def test_who_asks_is_this_machines_user(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-07: Unless somebody is named; a user without a name by number."""
    monkeypatch.setattr(remove_batch.getpass, "getuser", lambda: "eve")
    remove(store, by="")
    assert "by eve (wrong currency)" in next(r for r in receipts(store, "sales") if r.name == "2.csv").sentence
