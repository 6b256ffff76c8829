"""Stage ingest for datasets whose rows have no key, or no time."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from perennial.data import landed_rows
from perennial.data.landing import listing
from perennial.data.receipts import receipts, withdraw_receipt
from perennial.data.snapshots import Snapshot, latest_snapshot
from perennial.quality import data_docs, validation
from perennial.quality.validation import Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec
from perennial.stages import ingest
from perennial.store import FolderStore

LATE, EARLY = datetime(2024, 5, 2, 6), datetime(2024, 5, 1, 6)
MAY, JUNE = b"carat,cut\n0.5,Fair\n0.7,Good\n0.5,Good\n", b"carat,cut\n0.1,Ideal\n"


def gems(**given: Any) -> DatasetSpec:
    columns = (Column(name="carat", type="float"), Column(name="cut", type="string"))
    return DatasetSpec(**{"name": "gems", "title": "Gems", "owner": "tests", "columns": columns, "event_time": ""} | given)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A store, and a suite that lets everything pass."""

    def passes(rows: Any, dataset: DatasetSpec, name: str, **_: object) -> Verdict:
        return Verdict(dataset.name, name, rows.num_rows, True, None, ())

    monkeypatch.setattr(validation, "validate", passes)
    monkeypatch.setattr(data_docs, "write_index", lambda store, dataset: None)
    return FolderStore(str(tmp_path / "store"))


def take_in(store: FolderStore, spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, **landed: tuple[bytes, datetime]) -> Snapshot:
    """Land files at those times, and ingest."""
    for name, (data, when) in landed.items():
        store.write(f"landing/gems/{name}.csv", data)
        os.utime(Path(store.root, f"landing/gems/{name}.csv"), (when.timestamp(), when.timestamp()))
    monkeypatch.setattr(ingest, "dataset_spec", lambda name: spec)
    ingest.run(Settings(store="unused", landing_settle_seconds=0), store, "gems")
    snapshot = latest_snapshot(store, spec)
    assert snapshot is not None
    return snapshot


def test_rows_without_key_and_time_are_ordered_by_landing(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: The time at which a file landed is its rows' event time, in rows, bounds and the newest one; whoever is taken in first."""
    spec = gems(row_id="position", time_zone="America/New_York")
    snapshot = take_in(store, spec, monkeypatch, june=(JUNE, LATE))
    snapshot = take_in(store, spec, monkeypatch, may=(MAY, EARLY))
    assert snapshot.rows(["carat", "_row"]).to_numpy().tolist() == [
        [0.5, "may.csv:1"],
        [0.7, "may.csv:2"],
        [0.5, "may.csv:3"],
        [0.1, "june.csv:1"],
    ]
    assert snapshot.newest() == datetime(2024, 5, 2, 2)
    assert len(snapshot.rows(until=datetime(2024, 5, 2))) == 3


def test_a_batch_that_is_taken_in_again_is_the_same(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: A run that was killed before its receipt leaves nothing that another would count twice."""
    spec = gems(row_id="content")
    before = take_in(store, spec, monkeypatch, may=(MAY, EARLY))
    withdraw_receipt(store, "gems", receipts(store, "gems")[0])
    after = take_in(store, spec, monkeypatch)
    assert after.version == before.version
    assert after.rows().equals(before.rows())
    assert len(listing(store, "gems")) == 1


def test_a_file_that_grew_goes_on_counting(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: The new rows of a file that was taken in before have the places that follow, and the time at which they landed."""
    spec = gems(row_id="position")
    take_in(store, spec, monkeypatch, may=(MAY, EARLY))
    snapshot = take_in(store, spec, monkeypatch, may=(MAY + b"0.9,Fair\n", LATE))
    assert snapshot.rows(["_row"])["_row"].tolist() == ["may.csv:1", "may.csv:2", "may.csv:3", "may.csv:4"]
    assert snapshot.newest() == LATE


def large_ones(columns: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A clean that leaves small gems out."""
    return columns, {"small": columns["carat"] < 0.6}


def test_what_clean_leaves_out_is_counted_everywhere(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-02: In the receipt, the batch's sentence and the run's; also if the run was killed before its receipt. Rows keep their places."""
    monkeypatch.setattr(landed_rows, "clean_of", lambda name: large_ones)
    spec = gems(row_id="position")
    snapshot = take_in(store, spec, monkeypatch, may=(MAY, EARLY))
    assert snapshot.rows(["_row"])["_row"].tolist() == ["may.csv:2"]
    receipt = receipts(store, "gems")[0]
    assert (receipt.rows, receipt.left_out, receipt.outcome) == (3, {"small": 2}, "appended")
    assert "3 rows came, 1 added, 2 cleaned; " in receipt.sentence
    assert "2 of 3 rows were left out by clean: 2 by `small`." in receipt.sentence
    withdraw_receipt(store, "gems", receipt)
    result = ingest.run(Settings(store="unused", landing_settle_seconds=0), store, "gems")
    assert result.sentence == "Appended 1 row of 1 file to gems, now snapshot 1. Its clean left out 2 rows."
    again = receipts(store, "gems")[0]
    assert (again.rows, again.left_out, again.outcome) == (3, {"small": 2}, "appended")


def test_identical_rows_are_dropped_and_counted(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01, DM-02: Rows named by their content are in once, whether they come twice in a file or again in a later one."""
    spec = gems(row_id="content")
    take_in(store, spec, monkeypatch, may=(MAY + b"0.7,Good\n", EARLY))
    snapshot = take_in(store, spec, monkeypatch, june=(JUNE + b"0.5,Fair\n", LATE))
    assert sorted(snapshot.rows(["carat"])["carat"]) == [0.1, 0.5, 0.5, 0.7]
    told = {receipt.name: receipt.counts.sentence() for receipt in receipts(store, "gems") if receipt.counts}
    assert told == {"may.csv": "3 added, 1 repeated", "june.csv": "1 added, 1 unchanged"}


def test_rows_that_were_cleaned_in_another_way_are_the_same_rows(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-02: Who changes `clean` changes what lands from then on: what is in stays, and nothing is refused that no spec could take."""
    take_in(store, gems(row_id="content"), monkeypatch, may=(MAY, EARLY))
    monkeypatch.setattr(landed_rows, "clean_of", lambda name: lambda columns: columns | {"carat": columns["carat"] * 10})
    snapshot = take_in(store, gems(row_id="content"), monkeypatch, june=(MAY + b"9,Fair\n", LATE))
    assert [r.counts.sentence() for r in receipts(store, "gems") if r.counts and r.name == "june.csv"] == ["1 added, 3 kept"]
    assert sorted(snapshot.rows(["carat"])["carat"]) == [0.5, 0.5, 0.7, 90]
