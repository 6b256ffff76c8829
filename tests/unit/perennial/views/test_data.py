"""What landed, what each version learned from and what served when: said of each file, version and moment, in views and in a terminal."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial import discovery
from perennial.commands import _show_data, served_at, show
from perennial.data.batches import note_batches
from perennial.data.landing import receipt_key
from perennial.data.receipts import Receipt, correct_receipt, write_receipt
from perennial.data.row_counts import RowCounts
from perennial.errors import UnknownName
from perennial.lineage.ledger import Ledger
from perennial.lineage.registrations import note_registration
from perennial.lineage.version_folder import publish
from perennial.served_ids import Indexed, write_ids
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, SqlSource
from perennial.store import FolderStore
from perennial.testing import small_manifest, small_model, small_version
from perennial.testing.collecting import Collecting
from perennial.views import data as data_module
from perennial.views.data import BatchView, DataView, batch_view, data_view
from perennial.views.ledger import ROWS, answer_view, ledger_view, moment_view
from perennial.views.lineage import LineageView, lineage_view

NAME, DATASET = "small_delays", "flights"
BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SETTINGS = Settings.from_environment({})
HOSTILE = "<script>alert(1)</script>\u202e.csv"


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_models", lambda: ({NAME: small_model().model_copy(update={"dataset": DATASET})}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))


def came(store: FolderStore, id: str, day: int, **facts: Any) -> Receipt:
    """A file of the day of January 2013 that came on that day of March 2026."""
    of_day = datetime(2013, 1, day, 6)
    fields = {
        "name": f"{id}.csv", "size": 9, "digest": (id * 64)[:64], "outcome": "appended", "rows": 5, "counts": RowCounts(added=5),
        "since": day, "version": day, "oldest": of_day, "newest": of_day, "late": 0, "sentence": f"{id} is in.",
        "time": BEGIN + timedelta(days=day - 1), **facts,
    }  # fmt: skip
    receipt = Receipt(id=id, **fields)
    write_receipt(store, DATASET, receipt)
    return receipt


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Six files, of which one is refused; two versions, of which the second serves after a canary."""
    store = FolderStore(str(tmp_path / "store"))
    for day in (1, 2, 3):
        came(store, f"f{day}", day)
    came(store, "bad", 4, outcome="refused", counts=RowCounts(refused=5), since=None, version=None, report="reports/flights/docs/bad.html",
         sentence="Suite flights refused it.", quarantine="quarantine/flights/bad", name=HOSTILE)  # fmt: skip
    came(store, "cut", 4, outcome="refused", rows=None, counts=None, since=None, version=None, oldest=None, newest=None, late=None)
    came(store, "more", 5, counts=RowCounts(added=3, replaced=2), late=1)
    bounds = {"train": ["2013-01-01", "2013-01-03"], "validation": ["2013-01-03", "2013-01-04"], "test": ["2013-01-04", "2013-01-06"]}
    digests = {}
    for number, snapshot in ((1, 2), (2, 5)):
        folder = small_version(tmp_path / f"v{number}")
        (folder / "training.json").write_text(json.dumps({"bounds": bounds, "rows": {"train": 10}}))
        parents = [digests[1]] if number == 2 else []
        manifest = small_manifest(
            seed=number, run_key=f"{number:024d}", snapshot=snapshot, cause="drift", reason="As asked.", parents=parents
        )
        digests[number] = publish(store, NAME, folder, manifest)
        note_registration(store, NAME, number, digests[number], {})
    ledger, after = Ledger(store, NAME), None
    for day, kind, version, weights in (
        (1, "released", 1, {1: 10_000}),
        (2, "started", 2, {1: 10_000}),
        (3, "weights", 2, {1: 9_000, 2: 1_000}),
        (4, "promoted", 2, {2: 10_000}),
    ):
        fields = {"champion": 2 if kind == "promoted" else 1, "versions": digests, "actor": "jo", "reason": f"Because of {kind}."}
        after = ledger.append(kind, version=version, weights=weights, after_seq=after, now=BEGIN + timedelta(days=day), **fields).seq
    return store


@pytest.mark.parametrize("noted", [False, True])
def test_what_landed_is_told_by_day_and_by_file(store: FolderStore, noted: bool) -> None:
    """DM-02, DM-07: Rows accepted, late, corrected and refused by the day on which they came and of which they are; each file with reason,
    its page and the versions that learned from it."""
    if noted:
        note_batches(store, DATASET, "sched_dep")
    view = data_view(store, NAME)
    assert [(one.day.day, one.files, one.accepted, one.late, one.corrected, one.refused, one.unreadable) for one in view.came] == [
        (1, 1, 5, 0, 0, 0, 0), (2, 1, 5, 0, 0, 0, 0), (3, 1, 5, 0, 0, 0, 0), (4, 2, 0, 0, 0, 5, 1), (5, 1, 2, 1, 2, 0, 0),
    ]  # fmt: skip
    assert [one.day for one in view.of_days] == [date(2013, 1, day) for day in (1, 2, 3, 4, 5)]
    batches = {one.id: one for one in view.batches}
    assert list(batches) == ["more", "cut", "bad", "f3", "f2", "f1"] or list(batches) == ["more", "bad", "cut", "f3", "f2", "f1"]
    assert (batches["bad"].report, batches["bad"].sentence) == ("flights/docs/bad.html", "Suite flights refused it.")
    reach = {id: [(version.number, version.how) for version in one.versions] for id, one in batches.items()}
    assert reach == {
        "f1": [(1, "learned"), (2, "learned")],
        "f2": [(1, "learned"), (2, "learned")],
        "f3": [(2, "learned")],
        "bad": [],
        "cut": [],
        "more": [(2, "measured")],
    }
    assert DataView.model_validate_json(view.model_dump_json()) == view


@pytest.mark.parametrize(
    ("only", "ids"), [("refused", {"bad", "cut"}), ("late", {"more"}), ("corrected", {"more"}), ("removed", {"f2"})]
)  # fmt: skip
def test_one_kind_of_file_is_picked_out(store: FolderStore, only: Any, ids: set[str]) -> None:
    """DM-10: The refused, late, corrected and removed ones alone; the days still count all."""
    receipt = came(FolderStore(str(store.path) + "-other"), "f2", 2)
    correct_receipt(store, DATASET, receipt.model_copy(update={"outcome": "removed", "version": 9}))
    view = data_view(store, NAME, only=only)
    assert {one.id for one in view.batches} == ids
    assert sum(one.files for one in view.came) == 6


def test_files_are_paged(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has a bounded number of files, and the next one begins where it ends; none is twice or missing."""
    monkeypatch.setattr(data_module, "ROWS", 2)
    seen: list[str] = []
    before = ""
    for _ in range(4):
        view = data_view(store, NAME, before=before)
        assert len(view.batches) <= 2
        seen += [one.id for one in view.batches]
        if not view.older:
            break
        before = view.older
    with pytest.raises(UnknownName, match="no place"):
        data_view(store, NAME, before="<script>~a")
    assert sorted(seen) == ["bad", "cut", "f1", "f2", "f3", "more"]


def test_the_blast_radius_of_a_batch(store: FolderStore) -> None:
    """SC-05, SC-03: Which versions learned from it and when these served with which share, and the command that takes it out."""
    view = batch_view(store, NAME, "f1")
    assert [(one.version.number, [w.share for w in one.windows]) for one in view.reached] == [(1, [1.0, 0.9]), (2, [0.1, 1.0])]
    assert view.reached[0].windows[1].end == BEGIN + timedelta(days=4)
    assert view.sentence == (
        "f1.csv is in snapshot 1 and all later ones; small_delays/1, small_delays/2 learned from it. "
        "Of these, small_delays/1, small_delays/2 answered requests."
    )
    assert view.command.startswith("perennial remove-batch flights f1f1f1f1f1f1 --reason")
    assert BatchView.model_validate_json(view.model_dump_json()) == view


def test_a_batch_that_was_removed_reached_what_read_it_before(store: FolderStore) -> None:
    """SC-05: Taken out with snapshot 5 it reached version 1 alone; the command lets it come back."""
    receipt = came(FolderStore(str(store.path) + "-other"), "f1", 1)
    correct_receipt(store, DATASET, receipt.model_copy(update={"outcome": "removed", "version": 5}))
    view = batch_view(store, NAME, "f1f1f1")
    assert [one.version.number for one in view.reached] == [1]
    assert "is in snapshots 1 to 4" in view.sentence
    assert "--again" in view.command
    assert [one.id for one in lineage_view(store, NAME, 2).files if one.how == "learned"] == ["f3", "f2"]


def test_versions_of_models_that_one_may_not_see_are_counted(store: FolderStore) -> None:
    """SC-01: Whoever may not see a model reads neither its name nor its number, only that there is more."""
    view = batch_view(store, NAME, "f1", visible=lambda models: set())
    assert (view.reached, view.batch.hidden) == ((), 2)
    assert "2 versions of models that you may not see" in view.sentence
    assert [one.hidden for one in data_view(store, NAME, visible=lambda models: set()).batches if one.id == "f1"] == [2]


def test_a_refused_file_reached_nothing(store: FolderStore) -> None:
    """DM-10: A refused file is found by its name, whatever that holds; there is nothing to take out."""
    view = batch_view(store, NAME, HOSTILE)
    assert (view.batch.id, view.reached, view.command) == ("bad", (), "")
    assert "in no snapshot" in view.sentence


@pytest.mark.parametrize("wanted", ["nothing.csv", "../../secret", "zz", ""])
def test_a_file_that_never_came_is_refused(store: FolderStore, wanted: str) -> None:
    """A name, an identity or a path that no file has is a sentence with the next step."""
    with pytest.raises(UnknownName, match="has landed for flights: give its name"):
        batch_view(store, NAME, wanted)


def test_a_version_has_its_files_days_and_traffic(store: FolderStore) -> None:
    """SC-03, SC-05: From the files over snapshot and training to the windows that it served; the one that serves if none is named."""
    view = lineage_view(store, NAME)
    assert (view.version, view.versions, view.parents) == (2, (2, 1), (1,))
    assert [(one.id, one.how) for one in view.files] == [("f3", "learned"), ("f2", "learned"), ("f1", "learned"), ("more", "measured")]
    assert [(one.dataset, one.version, one.files, one.rows) for one in view.snapshots] == [(DATASET, 5, 4, 20)]
    assert view.days["validation"] == (date(2013, 1, 3), date(2013, 1, 3))
    assert (view.cause, view.reason, view.rows) == ("drift", "As asked.", {"train": 10})
    assert [(window.share, window.end is None) for window in view.windows] == [(0.1, False), (1.0, True)]
    assert view.sentence.startswith(
        "Version 2 of small_delays was trained because of drift from snapshot 5 of flights (4 files, days 2013-01-01"
    )
    assert LineageView.model_validate_json(view.model_dump_json()) == view
    assert [one.id for one in lineage_view(store, NAME, 1).files] == ["f2", "f1"]
    with pytest.raises(UnknownName, match="has no version 7: it has 1, 2"):
        lineage_view(store, NAME, 7)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (receipt_key(DATASET, "f3"), "receipts/flights/f3.json"),
        (f"ledger/{NAME}/00000001.json", "Entry 1 of the ledger"),
        (f"models/{NAME}/numbers/00000002.json", "numbers/00000002.json"),
        ("manifest", "manifest of small_delays"),
    ],
)
def test_what_is_damaged_is_said_and_hides_nothing_else(store: FolderStore, key: str, told: str) -> None:
    """A receipt, an entry, a registration or a manifest that cannot be read is a sentence; what it does not concern is shown."""
    store.write(f"models/{NAME}/versions/{lineage_view(store, NAME, 2).digest}/manifest.json" if key == "manifest" else key, b"{")
    for item in list(store.list("views")):
        store.delete(item.key) if "/owed/" not in item.key else None
    said = [*data_view(store, NAME).damage, *lineage_view(store, NAME).damage, *batch_view(store, NAME, "f1").damage]
    assert any(told in sentence for sentence in said)
    assert {"f1", "f2"} <= {one.id for one in data_view(store, NAME).batches}


def test_nothing_yet(tmp_path: Path) -> None:
    """A model without files, versions or decisions says so, and a name of nothing is refused."""
    empty = FolderStore(str(tmp_path))
    assert (data_view(empty, NAME).batches, lineage_view(empty, NAME).version, ledger_view(empty, NAME).total) == ((), None, 0)
    assert "nothing served" in moment_view(empty, NAME, BEGIN).sentence
    for view in (data_view, lineage_view, ledger_view):
        with pytest.raises(UnknownName):
            view(empty, "nobody")


def test_the_ledger_is_paged_and_picked_from(store: FolderStore) -> None:
    """SC-03: Entries newest first, a bounded number at a time, those of one kind alone, with how many there are of each."""
    ledger = Ledger(store, NAME)
    versions = {number: f"{number:064d}" for number in (1, 2)}
    for after in range(3, 3 + 2 * ROWS):
        ledger.append(
            "weights", version=2, champion=1, weights={1: 5_000, 2: 5_000}, versions=versions, reason="R", actor="p", after_seq=after
        )
    first = ledger_view(store, NAME)
    second = ledger_view(store, NAME, before=first.older)
    assert [one.seq for one in (*first.entries, *second.entries)] == list(range(3 + 2 * ROWS, 3, -1))
    assert (first.total, first.counts["weights"], first.counts["released"]) == (4 + 2 * ROWS, 1 + 2 * ROWS, 1)
    last = ledger_view(store, NAME, before=second.older)
    assert ([one.seq for one in last.entries], last.older) == ([3, 2, 1, 0], None)
    assert [(one.seq, one.shares) for one in ledger_view(store, NAME, kind="promoted").entries] == [(3, {2: 1.0})]


def test_what_served_at_a_moment_is_what_the_command_says(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """SC-03: The page's sentence on a moment is the command's."""
    time = BEGIN + timedelta(days=3.5)
    view = moment_view(store, NAME, time)
    assert view.entry
    assert (view.entry.seq, view.entry.shares) == (2, {1: 0.9, 2: 0.1})
    served_at.run(SETTINGS, store, time=time, model=NAME)
    assert capsys.readouterr().out == view.sentence + "\n"


def logged(store: FolderStore, name: str, *lines: dict[str, Any]) -> None:
    store.write(f"predictions/{NAME}/{name}.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in lines) + b"cut o")


def line(id: str, version: int, **facts: Any) -> dict[str, Any]:
    return {"id": id, "version": version, "time": BEGIN.isoformat(), "row": {}, "scores": [1], **facts}


def test_who_answered_a_prediction_is_found_in_the_log(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """SC-03: By the id of a prediction or of one row of it, also where a shadow answered too; ids that begin alike are others."""
    logged(store, "1", line("ab-0", 1), line("ab-1", 1), line("abc-0", 2), line("ab-1", 2, shadow=True))
    assert [(one.id, one.version, one.shadow) for one in answer_view(store, NAME, "ab").answers] == [
        ("ab-0", 1, False), ("ab-1", 1, False), ("ab-1", 2, True),
    ]  # fmt: skip
    view = answer_view(store, NAME, "ab-1")
    assert view.sentence.startswith("Prediction ab-1 of small_delays: version 1 answered it; version 2 answered it in the shadow")
    assert served_at.run(SETTINGS, store, model=NAME, prediction="ab-1") == 0
    assert capsys.readouterr().out == view.sentence + "\n"


def test_who_answered_is_found_half_in_the_log_and_half_in_the_table(store: FolderStore) -> None:
    """SC-03: A champion's answer that was collected and a shadow's that still waits are both told, each once."""
    when = BEGIN - timedelta(seconds=1)
    write_ids(store, NAME, 1, [Indexed("ab", 1, 2, when, False), Indexed("ab", 2, 2, when, True)])
    logged(store, "1", line("ab-0", 2, shadow=True))
    found = [(one.id, one.version, one.time, one.shadow) for one in answer_view(store, NAME, "ab").answers]
    assert found == [("ab", 1, when, False), ("ab-0", 2, BEGIN, True)]


@pytest.mark.parametrize("id", ["<script>", "a b", "-x", "a" * 400, "$(rm -rf)"])
def test_an_id_that_no_prediction_can_have_is_told(store: FolderStore, id: str) -> None:
    """A text that is no id is not looked for, and stands in no command."""
    view = answer_view(store, NAME, id)
    assert (view.answers, view.command) == ((), "")
    assert "No prediction has such an id" in view.sentence


def test_what_was_collected_is_found_by_the_command(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """SC-03: The page names the command for older predictions, which finds them in the table; one that is nowhere is told."""
    import pyarrow as pa

    from perennial.data.tables import Table
    from perennial.served_tables import predictions_name

    rows = pa.table({"prediction_id": ["old-0", "older-0"], "model_version": [2, 1], "served_at": [BEGIN, BEGIN], "shadow": [False, False]})
    Table(store, predictions_name(NAME)).append(rows, "1" * 64)
    command = answer_view(store, NAME, "old").command
    assert command == f"perennial served-at --model {NAME} --prediction old"
    assert served_at.run(SETTINGS, store, model=NAME, prediction="old") == 0
    assert "version 2 answered it" in capsys.readouterr().out
    assert served_at.run(SETTINGS, store, model=NAME, prediction="nowhere") == 1
    assert "No version of small_delays answered" in capsys.readouterr().out


def test_what_was_collected_is_found_in_the_index(store: FolderStore) -> None:
    """SC-03: The page answers for a request and for each of its rows after a monitoring has collected them, a shadow's answer too."""
    when = BEGIN.astimezone(timezone.utc)
    write_ids(store, NAME, 1, [Indexed("ab", 1, 2, when, False), Indexed("ab", 2, 2, when, True), Indexed("c-7", 2, 1, when, False)])
    view = answer_view(store, NAME, "ab-1")
    assert [(one.id, one.version, one.time, one.shadow) for one in view.answers] == [("ab-1", 1, when, False), ("ab-1", 2, when, True)]
    assert view.sentence.startswith("Prediction ab-1 of small_delays: version 1 answered it; version 2 answered it in the shadow")
    assert view.command == ""
    assert [one.version for id in ("ab", "c-7", "c-7-0") for one in answer_view(store, NAME, id).answers] == [1, 2, 2, 2]
    assert not any(answer_view(store, NAME, id).answers for id in ("ab-2", "a", "c", "c-8", "ab-01x"))


def test_the_log_is_read_within_bounds(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest megabytes of the log are looked through."""
    logged(store, "1", line("old-0", 1))
    import os

    os.utime(store.path / f"predictions/{NAME}/1.jsonl", (1, 1))
    logged(store, "2", line("new-0", 1))
    monkeypatch.setattr("perennial.views.ledger.SEGMENTS", 1)
    assert answer_view(store, NAME, "new").answers
    assert not answer_view(store, NAME, "old").answers


def test_the_terminal_says_what_the_pages_say(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """`perennial show data` and `show lineage`, of a model, a dataset, a version and a batch; JSON reads back; an option of another view
    is refused."""
    for what, name, options, parts in (
        ("data", DATASET, {}, ("2026-03-05: 1 file, 2 accepted, 1 late, 2 corrected", "Learned from it: small_delays/1, small_delays/2.")),
        ("data", None, {"only": "refused"}, ("Suite flights refused it.", "1 file could not be read")),
        ("lineage", None, {}, ("f1.csv: 5 rows", "snapshot 5 of flights", "2026-03-05 12:00 to now: 100 %")),
        ("lineage", NAME, {"version": 1}, ("Version 1 of small_delays was trained",)),
        ("lineage", DATASET, {"batch": "f1.csv"}, ("small_delays/1 learned from it and served from", "Next: `perennial remove-batch")),
    ):
        show.run(SETTINGS, store, what=what, name=name, **options)
        told = capsys.readouterr().out
        for part in parts:
            assert part in told
    show.run(SETTINGS, store, what="data", json=True)
    assert DataView.model_validate_json(capsys.readouterr().out) == data_view(store, NAME)
    with pytest.raises(UnknownName, match="`perennial show data` has no --batch: `show lineage` has"):
        show.run(SETTINGS, store, what="data", batch="x")


def test_where_batches_come_from(store: FolderStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DM-01, MN-01: The source, up to where it was read and when it is looked at: in the view, in a terminal; another one is told."""
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("create table orders (id integer, at timestamp)")
        database.execute("insert into orders values (1, '2026-03-01 08:00:00'), (7, '2026-03-01 09:00:00')")

    def look(**more: Any) -> DatasetSpec:
        source = SqlSource(url=f"sqlite:///{tmp_path}/shop.db", table="orders", cursor="id", **more)
        spec = DatasetSpec(name=DATASET, title="Orders", owner="shop", columns=columns, key=("id",), event_time="at", source=source)
        monkeypatch.setattr(discovery, "_datasets", lambda: ({DATASET: spec}, {}))
        return spec

    spec = look()
    place = f"sqlite:///{tmp_path}/shop.db: orders by id"
    assert data_view(store, DATASET).source.sentence == f"Source: {place}. Nothing was read of it yet. It is looked at when a person asks."
    Collecting(spec, Path(store.root)).collect()
    look(every="0 3 * * *")
    source = data_view(store, DATASET).source
    assert (source.pieces, source.watermark, source.counts, source.every) == (1, "cursor 7", {"landed": 2}, "0 3 * * *")
    assert source.sentence in _show_data.show(store, DATASET)[1]
    assert re.fullmatch(
        rf"Source: {place}. 1 piece was read, the last at .* UTC, up to cursor 7. It is looked at by 0 3 \* \* \* \(UTC\).", source.sentence
    )
    spec = look()
    other = spec.model_copy(update={"source": spec.source.model_copy(update={"table": "sales"})})
    monkeypatch.setattr(discovery, "_datasets", lambda: ({DATASET: other}, {}))
    assert f"That was {place}: another source than the spec names now." in data_view(store, DATASET).source.sentence
    store.write(f"collected/{DATASET}/00000001.json", b"{")
    assert "cannot be read" in data_view(store, DATASET).damage[0]


def test_files_that_wait_are_told(store: FolderStore) -> None:
    """DM-01, MN-01: Those that have landed and were neither taken nor refused, in the view and in a terminal."""
    assert data_view(store, DATASET).waiting == 0
    store.write(f"landing/{DATASET}/one.csv", b"x")
    store.write("landing/other/one.csv", b"x")
    assert data_view(store, DATASET).waiting == 1
    assert f"1 file waits to be taken in: the newest run of {DATASET}_ingestion says why" in "".join(_show_data.show(store, DATASET)[1])
    assert "Nothing has landed" not in "".join(_show_data.show(store, DATASET)[1])
