"""Stage ingest: every landed file comes to its stated outcome, exactly once, whatever is killed, doubled or run again.

The suite is a stand-in here (negative amounts are refused); the real one is tested in quality/ and in integration/.
"""

from __future__ import annotations

import gzip
import html
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.commands.land import encode
from perennial.data import commits
from perennial.data.landing import listing
from perennial.data.receipts import correct_receipt, receipts
from perennial.data.tables import Table
from perennial.errors import Fault, StoreUnreachable, UnknownName
from perennial.profiles.store import ProfileStore
from perennial.quality import data_docs, validation
from perennial.quality.groups import GroupCounts
from perennial.quality.validation import Failure, Verdict
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, FileForm, GroupSpec
from perennial.stages import ingest
from perennial.stages import profile as profiling
from perennial.store import FolderStore

SPEC = DatasetSpec(
    name="sales", title="Sales", owner="tests", key=("shop", "sold"), event_time="sold", max_batch_bytes=100_000,
    columns=(Column(name="sold", type="timestamp"), Column(name="shop", type="string"), Column(name="amount", type="float", nullable=True)),
)  # fmt: skip
GROUPED = SPEC.model_copy(update={"groups": (GroupSpec(column="shop"),)})
SETTINGS = Settings(store="unused", landing_settle_seconds=0, airflow_url="http://airflow")


def batch(day: int, rows: int = 3, amount: float = 1.0) -> pa.Table:
    times = [datetime(2013, 1, day) + timedelta(hours=h) for h in range(rows)]
    return pa.table({"sold": pa.array(times, pa.timestamp("us")), "shop": ["a"] * rows, "amount": [amount] * rows})


def looks_at_amounts(rows: pa.Table, dataset: DatasetSpec, batch_name: str, **_: object) -> Verdict:
    wrong = [v for v in rows["amount"].to_pylist() if v is not None and v < 0]
    failures = (
        (
            Failure(
                "expect_positive",
                "amount",
                "critical",
                len(wrong),
                rows.num_rows,
                f"amount is negative in {len(wrong)} of {rows.num_rows} rows",
            ),
        )
        if wrong
        else ()
    )
    return Verdict(
        dataset.name,
        batch_name,
        rows.num_rows,
        not wrong,
        "critical" if wrong else None,
        failures,
        f"reports/sales/docs/validations/{batch_name}.html",
    )


@pytest.fixture(autouse=True, scope="module")
def stand_ins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "dataset_spec", lambda name: SPEC)
        patch.setattr(validation, "validate", looks_at_amounts)
        patch.setattr(data_docs, "write_index", lambda store, dataset: store.write(data_docs.index_key(dataset), b"index"))
        yield


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "store"))


def land(store: FolderStore, name: str, data: bytes | pa.Table) -> None:
    store.write(f"landing/sales/{name}", encode(name, data) if isinstance(data, pa.Table) else data)


def run(store: FolderStore, **changes: object) -> ingest.IngestResult:
    return ingest.run(SETTINGS.model_copy(update=changes), store, "sales")


def in_landing(store: FolderStore) -> list[str]:
    return [file.name for file in listing(store, "sales")]


def test_nothing_has_landed(store: FolderStore) -> None:
    """DM-01: An empty landing zone is skipped, with the place to put files; afterwards with the time of the last one."""
    first = run(store)
    assert (first.outcome, first.snapshot) == ("skipped", None)
    assert first.sentence == f"Nothing has landed for sales yet: put files into {store.root}/landing/sales/."
    land(store, "a.csv", batch(1))
    run(store)
    second = run(store)
    assert second.outcome == "skipped"
    assert second.sentence.startswith("Nothing new has landed for sales since 20")
    assert second.snapshot == 1


def test_good_files_are_appended_and_stay(store: FolderStore) -> None:
    """DM-01, DM-06: Each in one commit; the landing zone keeps them as the raw archive; the result counts rows by file."""
    land(store, "a.csv", batch(1))
    land(store, "b.parquet", batch(2, 4))
    result = run(store)
    assert (result.outcome, result.snapshot, result.appended) == ("done", 2, {"a.csv": 3, "b.parquet": 4})
    assert result.sentence == "Appended 7 rows of 2 files to sales, now snapshot 2."
    assert result.links == {"Data Docs": "http://airflow/perennial/report/sales/docs/index.html"}
    assert in_landing(store) == ["a.csv", "b.parquet"]
    assert [(r.outcome, r.rows, r.version) for r in receipts(store, "sales")] == [("appended", 3, 1), ("appended", 4, 2)]


def test_refused_files_move_and_good_ones_go_in_all_the_same(store: FolderStore) -> None:
    """DM-10, DM-02: The result is done, tells what was refused, and links to the report; quarantine holds file and reasons."""
    land(store, "bad.csv", batch(1, amount=-1))
    land(store, "good.csv", batch(2))
    result = run(store)
    assert (result.outcome, result.snapshot, result.appended) == ("done", 1, {"good.csv": 3})
    link = "http://airflow/perennial/report/sales/docs/validations/bad.csv.html"
    assert result.refused == {"bad.csv": f"Suite sales refused batch bad.csv: amount is negative in 3 of 3 rows. Report: {link}"}
    assert result.links == {"Data Docs": link}
    assert in_landing(store) == ["good.csv"]
    refused = next(r for r in receipts(store, "sales") if r.outcome == "refused")
    assert store.read(f"{refused.quarantine}/bad.csv") == encode("bad.csv", batch(1, amount=-1))
    reasons = json.loads(store.read(f"{refused.quarantine}/reasons.json"))
    assert (reasons["rows"], reasons["reasons"][0]["sentence"]) == (3, "amount is negative in 3 of 3 rows")


def test_the_same_file_twice(store: FolderStore) -> None:
    """DM-06: Content that is in is a duplicate, under another name or landed again under its own; nothing is appended."""
    land(store, "a.csv", batch(1))
    run(store)
    land(store, "copy.csv", batch(1))
    land(store, "a.csv", batch(1))
    os.utime(Path(store.root, "landing/sales/a.csv"), (1, 1))
    result = run(store)
    assert (result.outcome, result.appended, result.duplicates, result.snapshot) == ("done", {}, ("a.csv", "copy.csv"), 1)
    assert result.sentence == "2 files are in already: a.csv, copy.csv."
    assert Table(store, "sales").count() == 3


def test_the_same_rows_in_another_form_are_refused(store: FolderStore) -> None:
    """DM-10: Other bytes, same keys: the batch that has them is named."""
    land(store, "a.csv", batch(1))
    run(store)
    land(store, "again.parquet", batch(1))
    result = run(store)
    sentence = result.refused["again.parquet"]
    assert sentence.startswith("3 of 3 rows have a key that is already in the table sales, from batch a.csv (")
    *_, receipt = receipts(store, "sales")
    assert receipt.report.endswith("~3~refused.html"), "its suite passed it: its page says what became of it"
    assert result.links == {"Data Docs": f"http://airflow/perennial/report/{receipt.report.removeprefix('reports/')}"}
    page = store.read(receipt.report).decode()
    assert html.escape(sentence) in page
    assert 'href="again.parquet.html"' in page


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"sold,shop,amount\n", "has a header but no rows"),
        ("a.parquet", encode("a.parquet", batch(1))[:-200], "cannot be read"),
        ("a.csv.gz", gzip.compress(encode("a.csv", batch(1)), mtime=0)[:-20], "cut short or damaged"),
        ("a.csv", "sold,shop,amount\n2013-01-01,caf\u00e9,1\n".encode("latin-1"), "is not UTF-8: line 2"),
        ("a.csv", b"sold,shop,price\n2013-01-01,a,1\n", "lacks the columns amount and has unexpected columns price"),
        ("a.csv", b"sold,shop,amount\n2013-01-01,a,much\n", "amount is 'much' in row 1"),
        ("a.csv.gz", gzip.compress(b"0" * 10_000_000, mtime=0), "unpacked, is larger than"),
        ("a.xlsx", b"PK", "is cut short or damaged"),
        ("a.pickle", b"PK", "no reader knows"),
        ("a.csv", b"sold,shop,amount\n,a,1\n", "sold is null in 1 of 1 rows and the spec of sales does not allow that"),
        ("a.csv", b"sold,shop,amount\n2013-01-01,a,1\n2013-01-01,a,2\n", "1 key (shop, sold) occurs more than once"),
    ],
)
def test_unreadable_files_are_refused(store: FolderStore, name: str, data: bytes, said: str) -> None:
    """DM-10, DM-02: Every stated outcome: the sentence is in the result and in quarantine, the file is kept whole there, the table is
    untouched."""
    land(store, name, data)
    result = run(store)
    assert said in result.refused[name]
    assert in_landing(store) == []
    (receipt,) = receipts(store, "sales")
    assert store.read(f"{receipt.quarantine}/{name}") == data
    assert result.sentence.endswith(result.refused[name])
    assert html.escape(result.refused[name]) in store.read(receipt.report).decode()
    assert store.exists(data_docs.index_key("sales")), "the index is made anew also where no suite was asked"
    assert Table(store, "sales").count() == 0


def test_a_file_of_two_gigabytes_is_refused_unread(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10: By its size alone; it moves without being copied through this machine."""
    store.write("landing/sales/big.csv", b"")
    os.truncate(Path(store.root, "landing/sales/big.csv"), 2 << 30)
    monkeypatch.setattr(FolderStore, "download", lambda *_: pytest.fail("it was read"))
    result = run(store)
    assert "big.csv is larger than 100,000 bytes" in result.refused["big.csv"]
    assert "split it by time into smaller files" in result.refused["big.csv"]
    assert in_landing(store) == []
    (receipt,) = receipts(store, "sales")
    assert receipt.digest == ""
    found = store.stat(f"{receipt.quarantine}/big.csv")
    assert found is not None
    assert found.size == 2 << 30


def test_what_was_read_in_another_way_is_in_the_receipt(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01, DM-10: Blanks read as missing and extra columns, which the table keeps as text."""
    monkeypatch.setattr(ingest, "dataset_spec", lambda name: SPEC.model_copy(update={"files": FileForm(extra="keep")}))
    store.write("landing/sales/a.csv", b"sold,shop,amount,till\n2013-01-01,a, ,7\n2013-01-02,a,1,\n")
    ingest.run(SETTINGS, store, "sales")
    sentence = receipts(store, "sales")[0].sentence
    assert sentence.endswith("snapshot 1. a.csv: till kept in _extra. amount is blank in 1 row, read as missing.")
    kept = Table(store, "sales").scan(["amount", "_extra"]).to_pylist()
    assert sorted(kept, key=str) == [{"amount": 1.0, "_extra": None}, {"amount": None, "_extra": '{"till": "7"}'}]


def test_a_file_still_being_written_waits(store: FolderStore) -> None:
    """DM-01: Recently changed, or named as unfinished; it is taken once it is still."""
    land(store, "new.csv", batch(1))
    land(store, "next.csv.part", b"sold,sh")
    result = run(store, landing_settle_seconds=60)
    assert (result.outcome, result.waiting) == ("skipped", ("new.csv",))
    assert result.sentence.endswith("1 file is still being written: new.csv.")
    assert run(store).appended == {"new.csv": 3}


@pytest.mark.parametrize("amount", [1.0, -1.0])
def test_a_file_that_changes_while_it_is_read_waits(store: FolderStore, monkeypatch: pytest.MonkeyPatch, amount: float) -> None:
    """DM-01: Neither half a file is appended nor is a growing one refused."""
    land(store, "a.csv", batch(1, amount=amount))
    path = Path(store.root, "landing/sales/a.csv")

    def grows(rows: pa.Table, *rest: object, **named: object) -> Verdict:
        path.write_bytes(encode("a.csv", batch(1, 5, amount)))
        return looks_at_amounts(rows, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(validation, "validate", grows)
        result = run(store)
    assert (result.outcome, result.waiting, result.refused) == ("skipped", ("a.csv",), {})
    assert Table(store, "sales").count() == 0
    again = run(store)
    assert again.appended == ({"a.csv": 5} if amount > 0 else {})
    assert set(again.refused) == (set() if amount > 0 else {"a.csv"})


@pytest.mark.parametrize("moment", ["download", "validate"])
def test_a_file_that_another_run_refused_meanwhile_keeps_its_receipt_and_page(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """DE-22, DM-03: The slower run neither calls it still being written nor shows another verdict of it."""
    land(store, "a.csv", b"sold,shop,amount\n2013-01-01,,1\n")
    others: list[ingest.IngestResult] = []
    began: list[str] = []
    pages = Path(store.root, "reports/sales/docs/validations")
    download = FolderStore.download

    def another_runs(when: str) -> None:
        if when != moment or began:
            return
        began.append(when)
        others.append(run(store))
        for place, status in enumerate(("passed", "refused")):
            os.utime(next(pages.glob(f"*{status}.html")), (place, place))

    def passes(rows: pa.Table, dataset: DatasetSpec, name: str, *, digest: str = "", **rest: object) -> Verdict:
        another_runs("validate")
        page = data_docs.Page(dataset="sales", batch=name, digest=digest, rows=rows.num_rows, status="passed")
        store.write(page.key, b"passed")
        return replace(looks_at_amounts(rows, dataset, name), report_key=page.key)

    def downloads(self: FolderStore, key: str, path: Path) -> None:
        download(self, key, path)
        another_runs("download")

    monkeypatch.setattr(validation, "validate", passes)
    monkeypatch.setattr(FolderStore, "download", downloads)
    slower = run(store)
    assert set(others[-1].refused) == {"a.csv"}
    assert (slower.outcome, slower.waiting) == ("skipped", ())
    assert slower.sentence.endswith("Another run dealt with 1 file meanwhile: a.csv.")
    assert max(pages.iterdir(), key=lambda page: page.stat().st_mtime_ns).name.endswith("~refused.html")


def test_a_file_that_vanishes_is_passed_over(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: Another process took it between listing and reading."""
    land(store, "a.csv", batch(1))
    land(store, "b.csv", batch(2))
    download = FolderStore.download

    def vanishing(self: FolderStore, key: str, path: Path) -> None:
        if key.endswith("a.csv"):
            self.delete(key)
        download(self, key, path)

    monkeypatch.setattr(FolderStore, "download", vanishing)
    assert run(store).appended == {"b.csv": 3}


def test_trouble_with_one_file_does_not_hold_up_the_others(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15, OP-08: A defect is a fault that names the file, after all others are in; without the defect the file goes in."""
    land(store, "a.csv", batch(1))
    land(store, "b.csv", batch(2))

    def breaks(rows: pa.Table, dataset: DatasetSpec, name: str, **rest: object) -> Verdict:
        if name == "a.csv":
            raise ZeroDivisionError("oh")
        return looks_at_amounts(rows, dataset, name, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(validation, "validate", breaks)
        with pytest.raises(
            Fault,
            match=r"1 of 2 landed files of sales could not be dealt with; the others were. The first is a.csv \(ZeroDivisionError: oh\)",
        ):
            run(store)
    assert Table(store, "sales").count() == 3
    assert run(store).appended == {"a.csv": 3}


def test_an_unreachable_store_stops_at_once(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15: Its sentence is the stage's."""
    land(store, "a.csv", batch(1))

    def gone(*_: object) -> None:
        raise StoreUnreachable("The store is gone: look for it.")

    monkeypatch.setattr(FolderStore, "download", gone)
    with pytest.raises(StoreUnreachable, match="The store is gone"):
        run(store)


def test_other_errors_of_ours_keep_their_kind(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15: A dataset without a suite stays a refusal, with the file that met it."""
    land(store, "a.csv", batch(1))

    def no_suite(*_: object, **__: object) -> None:
        raise UnknownName("The dataset sales has no suite: write one.")

    monkeypatch.setattr(validation, "validate", no_suite)
    with pytest.raises(UnknownName, match=r"a.csv: The dataset sales has no suite"):
        run(store)


def lines(first: int, last: int, header: bool = False) -> bytes:
    """Days of the dataset as CSV."""
    rows = "".join(f"2013-01-{day:02} 00:00:00,a,{day}.25\n" for day in range(first, last + 1))
    return (("sold,shop,amount\n" if header else "") + rows).encode()


def grow(store: FolderStore, name: str, data: bytes) -> None:
    with Path(store.root, "landing/sales", name).open("ab") as file:
        file.write(data)


def amounts(store: FolderStore) -> list[float]:
    return sorted(Table(store, "sales").scan(["amount"])["amount"].to_pylist())


def test_a_file_that_has_grown_gives_its_new_rows(store: FolderStore) -> None:
    """DM-01, DM-02: Taken in a pause of its writer, and again after each further one: every row is in once, and the sentence says how."""
    land(store, "a.csv", lines(1, 3, header=True))
    run(store)
    for first, last in ((4, 5), (6, 6)):
        grow(store, "a.csv", lines(first, last))
        result = run(store)
        assert (result.appended, result.refused) == ({"a.csv": last - first + 1}, {})
    assert amounts(store) == [n + 0.25 for n in range(1, 7)]
    said = receipts(store, "sales")[-1].sentence
    assert "a.csv: 1 row is in the table sales since snapshot 3. It continues the batch a.csv (" in said
    assert "whose bytes it begins with: 5 rows were in already." in said
    grow(store, "a.csv", b"\n")
    assert run(store).duplicates == ("a.csv",)
    assert "has grown by no row since the batch a.csv (" in receipts(store, "sales")[-1].sentence
    assert run(store).outcome == "skipped"


@pytest.mark.parametrize(("name", "pack"), [("a.csv.gz", gzip.compress), ("a.jsonl", lambda data: data)])
def test_other_forms_grow_too(store: FolderStore, name: str, pack: Callable[[bytes], bytes]) -> None:
    """DM-01: Gzip by further members, JSON by further lines."""

    def part(first: int, last: int, header: bool = False) -> bytes:
        if name.endswith(".gz"):
            return lines(first, last, header)
        return "".join(
            json.dumps({"sold": f"2013-01-{n:02} 00:00:00", "shop": "a", "amount": n + 0.25}) + "\n" for n in range(first, last + 1)
        ).encode()

    land(store, name, pack(part(1, 2, header=True)))
    run(store)
    grow(store, name, pack(part(3, 5)))
    assert run(store).appended == {name: 3}
    assert amounts(store) == [n + 0.25 for n in range(1, 6)]


def test_a_row_that_was_cut_is_told(store: FolderStore) -> None:
    """DM-02: The part that was taken ends in the middle of a row: nothing more is taken, and the sentence says what to do, which works."""
    whole = lines(1, 4, header=True)
    land(store, "a.csv", whole[:-2])  # 4.25 is 4. so far
    assert run(store).appended == {"a.csv": 4}
    grow(store, "a.csv", whole[-2:] + lines(5, 5))
    result = run(store)
    assert amounts(store) == [1.25, 2.25, 3.25, 4.2]
    why = result.refused["a.csv"]
    assert (
        "a.csv was taken while it was being written: 4 rows of it are in the table sales since snapshot 1, the last of them cut at byte "
        f"{len(whole) - 2}." in why
    )
    digest = next(r for r in receipts(store, "sales") if r.outcome == "appended").digest
    assert (
        f"(`perennial remove-batch sales {digest[:12]} --reason ...`), then land the whole file from quarantine under another name." in why
    )
    Table(store, "sales").remove(digest, {"by": "ada", "reason": "cut"})
    (refused,) = (r for r in receipts(store, "sales") if r.outcome == "refused")
    land(store, "whole.csv", store.read(f"{refused.quarantine}/a.csv"))
    assert run(store).appended == {"whole.csv": 5}
    assert amounts(store) == [n + 0.25 for n in range(1, 6)]


def test_a_file_that_continues_what_was_taken_out_is_refused(store: FolderStore) -> None:
    """DM-06: Else its wrong rows would come back."""
    land(store, "a.csv", lines(1, 3, header=True))
    run(store)
    digest = receipts(store, "sales")[0].digest
    Table(store, "sales").remove(digest, {"by": "ada", "reason": "wrong currency"})
    store.write(f"removals/sales/{digest}/2.json", b"{}")
    grow(store, "a.csv", lines(4, 4))
    why = run(store).refused["a.csv"]
    assert "a.csv begins with the 3 rows of the batch a.csv (" in why
    assert "by ada (wrong currency). Land a file without them." in why
    assert amounts(store) == []


def test_a_file_that_was_appended_before_sizes_were_kept_is_continued(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Its receipt tells its size."""
    merge = Table.merge

    def without_size(self: Table, *given: object, metadata: dict[str, str], **named: object) -> object:
        return merge(self, *given, metadata={k: v for k, v in metadata.items() if k != "size"}, **named)  # type: ignore[arg-type]

    land(store, "a.csv", lines(1, 3, header=True))
    with monkeypatch.context() as patch:
        patch.setattr(Table, "merge", without_size)
        run(store)
    grow(store, "a.csv", lines(4, 5))
    assert run(store).appended == {"a.csv": 2}


def test_the_rest_of_a_refused_file_is_told_where_its_beginning_is(store: FolderStore) -> None:
    """DM-02: A writer that opens its file anew after the first part was refused makes another: both are kept, and the sentence names the
    first."""
    land(store, "a.csv", b"sold,shop\n2013-01-01 00:00:00,a\n")
    run(store)
    (first,) = receipts(store, "sales")
    land(store, "a.csv", lines(2, 3))
    assert f"An earlier file of this name lies in {first.quarantine}: if this one continues it, join the two" in run(store).refused["a.csv"]


def test_what_is_written_into_a_refused_file_is_not_lost(store: FolderStore) -> None:
    """DM-02: A program of another user may have it open: in a folder it writes on into quarantine."""
    land(store, "a.csv", b"sold,shop\n")
    with Path(store.root, "landing/sales/a.csv").open("ab") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderStore, "being_written", lambda *_: frozenset())
        run(store)
        file.write(b"more")
    (refused,) = receipts(store, "sales")
    assert store.read(f"{refused.quarantine}/a.csv") == b"sold,shop\nmore"


def test_a_retry_does_not_announce_what_was_taken_out_since(store: FolderStore) -> None:
    """DE-22: Neither as appended nor as refused."""
    land(store, "a.csv", batch(1))
    ingest.run(SETTINGS, store, "sales", run="monday")
    (receipt,) = receipts(store, "sales")
    correct_receipt(store, "sales", receipt.model_copy(update={"outcome": "removed"}))
    again = ingest.run(SETTINGS, store, "sales", run="monday", retry=True)
    assert (again.outcome, again.appended, again.refused) == ("skipped", {}, {})


def test_many_refusals_are_counted(store: FolderStore) -> None:
    """DM-10: The sentence names the first; the result all."""
    land(store, "a.csv", b"")
    land(store, "b.csv", b"")
    result = run(store)
    assert result.sentence == "Refused 2 files; the first is a.csv: a.csv is empty: land it again with its rows."
    assert set(result.refused) == {"a.csv", "b.csv"}


class Killed(BaseException):
    """What kill -9 looks like from inside: nothing below may catch it."""


EFFECTS = ("write", "put_if_absent", "delete", "upload", "copy")


class Mortal:
    """Lets the stage die before or after its nth effect on the store or the table."""

    def __init__(self, patch: pytest.MonkeyPatch, nth: int, after: bool) -> None:
        self.left, self.after = nth, after
        for name in EFFECTS:
            patch.setattr(FolderStore, name, self._deadly(getattr(FolderStore, name)))
        patch.setattr(commits, "write_deltalake", self._deadly(commits.write_deltalake))

    def _deadly(self, act: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*given: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            done = act(*given, **named)
            if self.left == 0:
                raise Killed
            return done

        return wrapped


def run_mortal(store: FolderStore, nth: int, after: bool, **named: object) -> ingest.IngestResult | None:
    with pytest.MonkeyPatch.context() as patch:
        Mortal(patch, nth, after)
        try:
            return ingest.run(SETTINGS, store, "sales", **named)  # type: ignore[arg-type]
        except Killed:
            return None


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", range(1, 15))
def test_killed_at_any_effect_and_run_again(store: FolderStore, nth: int, after: bool) -> None:
    """DE-22: One good and one bad file: whatever effect the stage dies at, the next run completes the work and both are reported."""
    land(store, "bad.csv", batch(1, amount=-1))
    land(store, "good.csv", batch(2))
    first = run_mortal(store, nth, after)
    second = run(store)
    assert Table(store, "sales").count() == 3
    assert in_landing(store) == ["good.csv"]
    assert Counter(r.outcome for r in receipts(store, "sales")) == {"appended": 1, "refused": 1}
    (refused,) = [r for r in receipts(store, "sales") if r.outcome == "refused"]
    assert store.exists(f"{refused.quarantine}/bad.csv")
    assert store.exists(f"{refused.quarantine}/reasons.json")
    if first is None:  # what the dead run did is told by the next one, but for what already had its receipt when it died
        assert set(second.refused) <= {"bad.csv"}
        assert set(second.appended) <= {"good.csv"}
        assert run(store).outcome == "skipped"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("nth", range(1, 15))
def test_a_retry_tells_all_that_its_run_did(store: FolderStore, nth: int, after: bool) -> None:
    """DE-22: Killed at any effect, also between the last receipt and the result: the retry's result is that of the whole run, so that its
    event is made and refused files are shown. Another run does not tell it again."""
    land(store, "bad.csv", batch(1, amount=-1))
    land(store, "good.csv", batch(2))
    run_mortal(store, nth, after, run="monday")
    land(store, "later.csv", batch(2))
    result = ingest.run(SETTINGS, store, "sales", run="monday", retry=True)
    assert (result.outcome, result.snapshot, result.appended, result.duplicates) == ("done", 1, {"good.csv": 3}, ("later.csv",))
    assert list(result.refused) == ["bad.csv"]
    assert ingest.run(SETTINGS, store, "sales", run="monday", retry=True) == result
    assert ingest.run(SETTINGS, store, "sales", run="tuesday", retry=True).outcome == "skipped"


def test_a_retry_whose_run_did_nothing_is_skipped(store: FolderStore) -> None:
    """DE-22: What was taken in by hand, or under no name, is nobody's retry."""
    land(store, "a.csv", batch(1))
    run(store)
    for name in ("", "monday"):
        assert ingest.run(SETTINGS, store, "sales", run=name, retry=True).outcome == "skipped"


act = st.one_of(
    st.tuples(st.just("land"), st.integers(1, 4), st.booleans(), st.sampled_from(["csv", "parquet", "csv.gz"])),
    st.tuples(st.just("duplicate"), st.integers(1, 4), st.integers(0, 2)),
    st.tuples(st.just("garbage"), st.integers(0, 2)),
    st.tuples(st.just("run")),
    st.tuples(st.just("kill"), st.integers(1, 10), st.booleans()),
)


@given(st.lists(act, max_size=12))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_keeps_each_good_batch_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[object, ...]]
) -> None:
    """DM-02, DE-22: Files land, land again, are garbage; the stage runs, is killed at any effect, runs again. In the end the table holds
    each good
    day once, every landed file has one receipt, and rows in = rows kept + rows refused + rows that were in already."""
    store = FolderStore(str(tmp_path_factory.mktemp("store")))
    good: set[int] = set()
    for number, (kind, *rest) in enumerate([*history, ("run",)]):
        if kind == "land":
            day, is_good, extension = rest
            land(store, f"{number}-day{day}.{extension}", batch(day, 2 + day, 1.0 if is_good else -1.0))
            good |= {day} if is_good else set()
        elif kind == "duplicate":
            day, copy = rest
            land(store, f"copy{copy}-day{day}.csv", batch(day, 2 + day))
            good.add(day)
        elif kind == "garbage":
            land(store, f"garbage{rest[0]}.csv", b"sold,shop\n2013")
        elif kind == "kill":
            run_mortal(store, *rest)
        else:
            run(store)
    kept = [row["sold"] for row in Table(store, "sales").scan().to_pylist()]
    assert Counter(time.day for time in kept) == {day: 2 + day for day in good}
    done = receipts(store, "sales")
    assert {r.id for r in done} >= {file.id for file in listing(store, "sales")}
    assert all(r.outcome != "refused" for r in done if r.id in {file.id for file in listing(store, "sales")})
    assert sum(r.rows or 0 for r in done if r.outcome == "appended") == len(kept)
    assert run(store).outcome == "skipped"


def test_receipts_tell_apart_what_a_dead_run_appended_and_what_came_twice(store: FolderStore) -> None:
    """DE-22: Killed between append and receipt: the file itself is `appended` at the next run, its copy is a duplicate."""
    land(store, "a.csv", batch(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "write_receipt", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(store)
    land(store, "copy.csv", batch(1))
    result = run(store)
    assert (result.appended, result.duplicates) == ({"a.csv": 3}, ("copy.csv",))
    assert "the run that appended them was cut short" in receipts(store, "sales")[0].sentence


def test_a_file_landed_anew_after_its_run_was_killed(store: FolderStore) -> None:
    """DE-22: Appended, killed before the receipt, then landed again: the first landing gets its receipt, the second is a duplicate."""
    land(store, "a.csv", batch(1))
    run_mortal(store, 6, after=False)  # the profile is noted as owed, the table made and appended to
    land(store, "a.csv", batch(1))
    os.utime(Path(store.root, "landing/sales/a.csv"), (1, 1))
    result = run(store)
    assert (result.appended, result.duplicates) == ({"a.csv": 3}, ("a.csv",))
    assert sorted(r.outcome for r in receipts(store, "sales")) == ["appended", "duplicate"]


def test_a_receipt_that_another_process_wrote_first_is_not_counted_twice(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: Two runs of the same file: one reports it."""
    land(store, "a.csv", batch(1))
    run(store)
    file = replace(listing(store, "sales")[0])
    monkeypatch.setattr(ingest, "waiting_files", lambda *_: ([file], []))
    assert run(store).appended == {}
    assert Table(store, "sales").count() == 3


def test_a_name_that_is_no_text_comes_to_an_outcome(store: FolderStore) -> None:
    """DM-01: Receipts and results are JSON, which cannot hold such a name: it is written out, and the file neither lost nor tried for
    ever."""
    (store.path / "landing" / "sales").mkdir(parents=True)
    (store.path / "landing" / "sales" / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"x")
    result = run(store)
    assert list(result.refused) == ["caf\\xe9.txt"]
    assert json.loads(result.model_dump_json())["outcome"] == "done"
    assert run(store).outcome == "skipped"


@pytest.fixture
def few_rows_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles are made from four rows on."""
    monkeypatch.setattr(profiling, "FIT_ROWS", 4)


@pytest.mark.usefixtures("few_rows_suffice")
def test_what_landed_is_profiled(store: FolderStore) -> None:
    """DM-14: Each batch that was appended once there are rows enough; a refused one not, and nothing is owed for it."""
    land(store, "a.csv", batch(1))
    run(store)
    kept = ProfileStore(store, "sales")
    assert kept.layout() is None
    assert len(kept.owed()) == 1
    land(store, "b.csv", batch(2, 5))
    land(store, "bad.csv", batch(3, amount=-1))
    land(store, "taken.csv", batch(1, 2))
    run(store)
    assert kept.owed() == {}
    assert [(b.first, b.last) for b in kept.batches()] == [(date(2013, 1, 1), date(2013, 1, 1)), (date(2013, 1, 2), date(2013, 1, 2))]
    found = kept.read()
    assert found is not None
    assert found.rows().tolist() == [3, 5]
    assert set(found.layout.names) == {"shop", "amount"}


@pytest.mark.usefixtures("few_rows_suffice")
def test_a_profile_that_cannot_be_made_is_told_and_made_up_for(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-14: The rows are in all the same; the next run makes the profile, though nothing new has landed."""
    with monkeypatch.context() as patch:
        patch.setattr(profiling, "layout_of", lambda *_: 1 / 0)
        land(store, "a.csv", batch(1, 6))
        result = run(store)
    assert (result.outcome, result.appended) == ("done", {"a.csv": 6})
    assert result.sentence.endswith("Profiles could not be made (ZeroDivisionError: division by zero): the next run makes up for them.")
    kept = ProfileStore(store, "sales")
    assert len(kept.owed()) == 1
    assert run(store).outcome == "skipped"
    assert kept.owed() == {}
    found = kept.read()
    assert found is not None
    assert found.rows().tolist() == [6]


@pytest.mark.usefixtures("few_rows_suffice")
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("effect", range(1, 10))
def test_a_run_killed_anywhere_leaves_every_profile_to_the_next(store: FolderStore, effect: int, after: bool) -> None:
    """DM-14, DE-22: Whatever effect it died at: in the end each batch that is in has its profile, once, of all its rows."""
    land(store, "a.csv", batch(1, 6))
    run_mortal(store, effect, after)
    run(store)
    land(store, "b.csv", batch(2, 4))
    run_mortal(store, effect, after)
    run(store)
    kept = ProfileStore(store, "sales")
    found = kept.read()
    assert found is not None
    assert found.rows().tolist() == [6, 4]
    assert kept.owed() == {}
    assert len(kept.batches()) == 2


def test_a_batch_is_compared_with_the_groups_that_are_in(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10: The rows by group of the batches of earlier runs; of a dataset that names no groups nothing is read."""
    seen: list[dict[str, GroupCounts]] = []

    def looks(rows: pa.Table, dataset: DatasetSpec, batch_name: str, *, usual: dict[str, GroupCounts], **more: object) -> Verdict:
        seen.append(usual)
        return looks_at_amounts(rows, dataset, batch_name, **more)

    monkeypatch.setattr(validation, "validate", looks)
    for day, spec in ((1, SPEC), (2, GROUPED), (3, GROUPED)):
        monkeypatch.setattr(ingest, "dataset_spec", lambda name, spec=spec: spec)
        land(store, f"{day}.parquet", batch(day, rows=3 + day))
        run(store)
    assert seen[0] == {}
    counts = [given["shop"] for given in seen[1:]]
    assert [(each.rows, sorted(batch["a"] for batch in each.by_batch)) for each in counts] == [({"a": 4}, [4]), ({"a": 9}, [4, 5])]
