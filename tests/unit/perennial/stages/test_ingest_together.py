"""Many small files are appended together, and each is taken or refused as if it were alone.

The suite is a stand-in here (negative amounts are refused).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import remove_batch
from perennial.commands.land import encode
from perennial.data import commits
from perennial.data.landing import listing
from perennial.data.merging import BATCH
from perennial.data.receipts import receipts
from perennial.data.tables import Table
from perennial.errors import Fault, StoreUnreachable
from perennial.profiles.store import ProfileStore
from perennial.quality import data_docs, validation
from perennial.quality.validation import Failure, Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec
from perennial.stages import ingest
from perennial.store import FolderStore

SPEC = DatasetSpec(
    name="sales", title="Sales", owner="tests", key=("shop", "sold"), event_time="sold",
    columns=(Column(name="sold", type="timestamp"), Column(name="shop", type="string"), Column(name="amount", type="float")),
)  # fmt: skip
SETTINGS = Settings(store="unused", landing_settle_seconds=0, airflow_url="http://airflow")


def rows(day: int, amount: float = 1.0) -> pa.Table:
    times = [datetime(2013, 1, day) + timedelta(hours=hour) for hour in range(2)]
    return pa.table({"sold": pa.array(times, pa.timestamp("us")), "shop": ["a"] * 2, "amount": [amount] * 2})


def looks_at_amounts(rows: pa.Table, dataset: DatasetSpec, batch_name: str, **_: object) -> Verdict:
    wrong = sum(amount < 0 for amount in rows["amount"].to_pylist())
    failures = (Failure("expect_positive", "amount", "critical", wrong, rows.num_rows, "amount is negative"),) if wrong else ()
    report = f"reports/sales/docs/validations/{batch_name}.html"
    return Verdict(dataset.name, batch_name, rows.num_rows, not wrong, "critical" if wrong else None, failures, report)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "MANY", 2)
    monkeypatch.setattr(ingest, "dataset_spec", lambda name: SPEC)
    monkeypatch.setattr(discovery, "dataset", lambda name: SPEC)
    monkeypatch.setattr(validation, "validate", looks_at_amounts)
    monkeypatch.setattr(data_docs, "write_index", lambda store, dataset: store.write(data_docs.index_key(dataset), b"index"))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))


def land(store: FolderStore, name: str, data: bytes | pa.Table) -> None:
    store.write(f"landing/sales/{name}", encode(name, data) if isinstance(data, pa.Table) else data)


def run(store: FolderStore) -> ingest.IngestResult:
    return ingest.run(SETTINGS, store, "sales")


def commits_of(store: FolderStore) -> int:
    return sum(1 for item in store.list("tables/sales/_delta_log") if item.key.endswith(".json"))


def outcomes(store: FolderStore) -> dict[str, str]:
    return {receipt.name: receipt.outcome for receipt in receipts(store, "sales")}


def test_good_files_share_a_commit_and_have_a_receipt_each(store: FolderStore) -> None:
    """DM-10, DM-02: Bad ones among them are refused alone, each with its reasons; a copy of one is a duplicate."""
    for day in range(1, 8):
        land(store, f"day-{day}.csv", rows(day, -1.0 if day == 3 else 1.0))
    land(store, "copy.csv", rows(5))
    land(store, "empty.csv", b"")
    result = run(store)
    assert commits_of(store) == 2  # the empty table, and all batches
    good = {f"day-{day}.csv": 2 for day in (1, 2, 4, 6, 7)} | {"copy.csv": 2}
    assert (result.appended, result.duplicates, set(result.refused)) == (good, ("day-5.csv",), {"day-3.csv", "empty.csv"})
    assert result.snapshot == 1
    by_name = {receipt.name: receipt for receipt in receipts(store, "sales")}
    assert by_name["day-4.csv"].sentence == "day-4.csv: 2 rows are in the table sales since snapshot 1."
    assert {receipt.version for receipt in by_name.values() if receipt.outcome == "appended"} == {1}
    assert len({receipt.digest for receipt in by_name.values() if receipt.outcome == "appended"}) == len(good)
    assert (by_name["day-7.csv"].oldest, by_name["day-7.csv"].newest) == (datetime(2013, 1, 7), datetime(2013, 1, 7, 1))
    assert store.exists(f"{by_name['day-3.csv'].quarantine}/day-3.csv")
    labels = Counter(Table(store, "sales").scan([BATCH])[BATCH].to_pylist())
    assert labels == {f"{name} ({by_name[name].digest[:12]})": 2 for name in good}
    assert run(store).outcome == "skipped"


def test_a_file_whose_keys_another_of_the_group_has_is_refused(store: FolderStore) -> None:
    """DM-10, DM-05: As if the first were in already; keys that were in before refuse as ever."""
    land(store, "before.csv", rows(1))
    run(store)
    land(store, "a.csv", rows(2))
    land(store, "b.csv", rows(2, 5.0))
    land(store, "c.csv", rows(3))
    land(store, "d.csv", rows(1, 7.0))
    result = run(store)
    assert (result.appended, set(result.refused)) == ({"a.csv": 2, "c.csv": 2}, {"b.csv", "d.csv"})
    assert "already in the table sales, from batch a.csv" in result.refused["b.csv"]
    assert "already in the table sales, from batch before.csv" in result.refused["d.csv"]
    assert [receipt.late for receipt in receipts(store, "sales") if receipt.name == "c.csv"] == [0]


def test_a_file_that_continues_another_is_taken_after_it(store: FolderStore) -> None:
    """DM-01, DM-10: A log that was put aside with a number has the name of the one that is written now: they are no group."""
    land(store, "sales.csv", encode("a.csv", rows(1)))
    assert run(store).appended == {"sales.csv": 2}
    for name in ("sales.csv", "other.csv"):
        whole = encode("a.csv", pa.concat_tables([rows(day) for day in ((1, 2) if name == "sales.csv" else (3,))]))
        land(store, name, whole)
    assert run(store).appended == {"sales.csv": 2, "other.csv": 2}


def test_groups_are_bounded(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10, DM-08: By files and by bytes, since their rows are in memory together; a large file is alone."""
    monkeypatch.setattr(ingest, "TOGETHER", 3)
    for day in range(1, 8):
        land(store, f"day-{day}.csv", rows(day))
    size = listing(store, "sales")[0].size
    of = listing(store, "sales")

    def sizes() -> list[int]:
        return [len(group) for group in ingest._groups(SPEC, of)]

    assert sizes() == [3, 3, 1]
    monkeypatch.setattr(ingest, "MOST_BYTES", 2 * size)
    assert sizes() == [2, 2, 2, 1]
    monkeypatch.setattr(ingest, "SMALL", size)
    assert sizes() == [2, 2, 2, 1]
    monkeypatch.setattr(ingest, "SMALL", size - 1)
    assert sizes() == [1] * 7
    monkeypatch.setattr(ingest, "SMALL", size)
    monkeypatch.setattr(ingest, "MANY", 7)
    assert sizes() == [2, 2, 2, 1]
    monkeypatch.setattr(ingest, "MANY", 8)
    assert sizes() == [1] * 7
    monkeypatch.setattr(ingest, "MANY", 2)
    corrected = SPEC.model_copy(update={"rows": "corrected", "on_known_key": "replace"})
    assert [len(group) for group in ingest._groups(corrected, of)] == [1] * 7
    assert list(ingest._groups(SPEC, [])) == []
    assert run(store).appended == {f"day-{day}.csv": 2 for day in range(1, 8)}
    assert commits_of(store) == 1 + 3 + 1


@pytest.mark.parametrize("files", [4, 20])
def test_commits_do_not_grow_with_the_files(store: FolderStore, files: int) -> None:
    """DM-10, OP-06: Four files or twenty: one commit, and each asks the table the same few times."""
    for day in range(1, files + 1):
        land(store, f"day-{day:02d}.csv", rows(day))
    opened = 0
    really = Table._open

    def counting(self: Table, version: int | None = None) -> object:
        nonlocal opened
        opened += 1
        return really(self, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "_open", counting)
        run(store)
    assert commits_of(store) == 2
    assert opened <= 20 + 4 * files


def test_one_of_a_group_is_taken_out_alone(store: FolderStore) -> None:
    """DM-11, DM-10: By its name: its receipt says so, the others stay, and its days are those of its own rows."""
    for day in range(1, 5):
        land(store, f"day-{day}.csv", rows(day))
    run(store)
    (batch,) = (batch for batch in Table(store, "sales").batches() if batch.name == "day-2.csv")
    ends = remove_batch._days(Table(store, "sales"), SPEC, batch)
    assert ends is not None
    assert [end.isoformat() for end in ends] == ["2013-01-02", "2013-01-02"]
    assert remove_batch.run(SETTINGS, store, "sales", "day-2.csv", reason="cents", by="ada") == 0
    assert outcomes(store) == {"day-1.csv": "appended", "day-2.csv": "removed", "day-3.csv": "appended", "day-4.csv": "appended"}
    assert {time.day for time in Table(store, "sales").scan()["sold"].to_pylist()} == {1, 3, 4}
    assert run(store).outcome == "skipped"


def test_a_fault_of_one_leaves_the_others(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15, DM-10: A file that cannot be dealt with costs no other one, nor does a group that cannot be appended."""
    for day in range(1, 5):
        land(store, f"day-{day}.csv", rows(day))

    def breaks(rows: pa.Table, dataset: DatasetSpec, batch_name: str, **named: object) -> Verdict:
        if batch_name == "day-2.csv":
            raise ZeroDivisionError("of a suite")
        return looks_at_amounts(rows, dataset, batch_name, **named)

    monkeypatch.setattr(validation, "validate", breaks)
    with pytest.raises(Fault, match=r"1 of 4 landed files of sales could not be dealt with.*day-2.csv \(ZeroDivisionError: of a suite\)"):
        run(store)
    assert set(outcomes(store)) == {"day-1.csv", "day-3.csv", "day-4.csv"}

    def fails(*_: object) -> None:
        raise ValueError("together")

    monkeypatch.setattr(validation, "validate", looks_at_amounts)
    monkeypatch.setattr(Table, "append_together", fails)
    land(store, "day-5.csv", rows(5))
    assert run(store).appended == {"day-2.csv": 2, "day-5.csv": 2}


def test_what_was_read_before_a_fault_is_appended(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15, DM-10: A fault ends the run and is named with its file; a store that is gone ends it at once."""
    for day in range(1, 5):
        land(store, f"day-{day}.csv", rows(day))
    error: Exception = Fault("The suite is gone.")

    def breaks(rows: pa.Table, dataset: DatasetSpec, batch_name: str, **named: object) -> Verdict:
        if batch_name == "day-3.csv":
            raise error
        return looks_at_amounts(rows, dataset, batch_name, **named)

    monkeypatch.setattr(validation, "validate", breaks)
    with pytest.raises(Fault, match=r"day-3\.csv: The suite is gone\."):
        run(store)
    assert set(outcomes(store)) == {"day-1.csv", "day-2.csv"}
    error = StoreUnreachable("The store does not answer.")
    with pytest.raises(StoreUnreachable):
        run(store)
    assert set(outcomes(store)) == {"day-1.csv", "day-2.csv"}


def test_a_file_that_changes_while_the_group_is_read_waits(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01, DM-10: It is not appended with the others, and is taken at the next run as it is then."""
    for day in range(1, 4):
        land(store, f"day-{day}.csv", rows(day))

    def changes(rows_read: pa.Table, dataset: DatasetSpec, batch_name: str, **named: object) -> Verdict:
        if batch_name == "day-3.csv":
            land(store, "day-1.csv", rows(9))
        return looks_at_amounts(rows_read, dataset, batch_name, **named)

    monkeypatch.setattr(validation, "validate", changes)
    result = run(store)
    assert (result.appended, result.waiting) == ({"day-2.csv": 2, "day-3.csv": 2}, ("day-1.csv",))
    monkeypatch.setattr(validation, "validate", looks_at_amounts)
    assert run(store).appended == {"day-1.csv": 2}


class Killed(BaseException):
    """What kill -9 looks like from inside."""


def effects() -> Iterator[tuple[object, str]]:
    for name in ("write", "put_if_absent", "delete", "upload", "copy"):
        yield FolderStore, name
    yield commits, "write_deltalake"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", range(1, 26))
def test_killed_at_any_effect_and_run_again(store: FolderStore, nth: int, after: bool) -> None:
    """DE-22, DM-10: Three good files and a bad one: wherever the run dies, also between the commit and its receipts, the next one completes
    it: each row once, a receipt for each file, a profile for each batch."""
    for day in range(1, 5):
        land(store, f"day-{day}.csv", rows(day, -1.0 if day == 2 else 1.0))
    left = nth

    def deadly(act: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*given: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                raise Killed
            done = act(*given, **named)
            if left == 0:
                raise Killed
            return done

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for place, name in effects():
            patch.setattr(place, name, deadly(getattr(place, name)))
        with contextlib.suppress(Killed):
            run(store)
    run(store)
    table = Table(store, "sales")
    assert Counter(time.day for time in table.scan()["sold"].to_pylist()) == {1: 2, 3: 2, 4: 2}
    assert outcomes(store) == {"day-1.csv": "appended", "day-2.csv": "refused", "day-3.csv": "appended", "day-4.csv": "appended"}
    assert {receipt.rows for receipt in receipts(store, "sales")} == {2}
    owed = {profile.batch for profile in ProfileStore(store, "sales").owed_profiles()}
    assert owed >= {batch.digest for batch in table.batches()}  # too few rows for a layout: they stay owed
    assert run(store).outcome == "skipped"
