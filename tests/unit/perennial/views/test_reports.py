"""The index of reports has each once, newest first and bounded, and leads from one to the next."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial.commands import show
from perennial.data.receipts import Receipt, write_receipt
from perennial.data.row_counts import RowCounts
from perennial.errors import UnknownName
from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.report.timeline import note_windows
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.views import reports as view
from perennial.views.reports import ReportsView, report, reports

from ..monitoring.test_report import REPORT

DIGESTS = ("a" * 64, "b" * 64)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """Two evaluations, two windows and three batches of one name, each written a minute after the one before."""
    store = FolderStore(str(tmp_path))
    for digest, passed in zip(DIGESTS, (True, False), strict=True):
        store.write(f"reports/churn/{digest}/evaluation.html", b"")
        store.write(f"reports/churn/{digest}/gate.json", json.dumps({"passed": passed, "sentence": "So says the gate."}).encode())
    for day in ("01", "02"):
        dates = {"name": f"2013-02-{day}", "first": f"2013-02-{day}T00:00:00Z", "last": f"2013-02-{day}T12:00:00Z"}
        window = WindowReport.model_validate({**REPORT, **dates})
        store.write(f"reports/churn/windows/2013-02-{day}/report.json", window.encoded())
        store.write(f"reports/churn/windows/2013-02-{day}/index.html", b"")
    for name in ("1.csv~1~10~passed", "2.csv~2~~refused", "3.csv~3~10~warning"):
        store.write(f"reports/churn/docs/validations/{name}.html", b"")
    for minute, key in enumerate(sorted(entry.key for entry in store.list("reports"))):
        os.utime(tmp_path / key, (1e9 + 60 * minute,) * 2)
    return store


def titles(rows: view.ReportList) -> list[tuple[str, str]]:
    return [(row.title, row.verdict) for row in rows.rows]


def test_the_index_has_each_report_by_title_and_verdict(store: FolderStore) -> None:
    """DM-10, MO-17: Newest first; with `refused` only what was refused; of a model and a dataset, each its own."""
    whole = reports(store, ["churn"], ["churn"])
    assert titles(whole.evaluations) == [("Evaluation of bbbbbbbbbbbb", "refused"), ("Evaluation of aaaaaaaaaaaa", "passed")]
    assert [title for title, _ in titles(whole.windows)] == ["Window 2013-02-02", "Window 2013-02-01"]
    assert titles(whole.batches) == [("Batch 3.csv", "warning"), ("Batch 2.csv", "refused"), ("Batch 1.csv", "passed")]
    refused = reports(store, ["churn"], ["churn"], refused=True)
    assert [row.title for part in (refused.evaluations, refused.windows, refused.batches) for row in part.rows] == [
        "Evaluation of bbbbbbbbbbbb",
        "Batch 2.csv",
    ]
    assert titles(reports(store, ["churn"], []).batches) == []
    assert titles(reports(store, ["churn"], ["churn"], about="other").evaluations) == []


def test_the_index_is_bounded(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kind the newest are shown, and how many more there are is said."""
    monkeypatch.setattr(view, "SHOWN", 1)
    shown = reports(store, ["churn"], ["churn"])
    assert [(len(part.rows), part.more) for part in (shown.evaluations, shown.windows, shown.batches)] == [(1, 1), (1, 1), (1, 2)]
    assert shown.batches.rows[0].title == "Batch 3.csv"


def test_a_report_leads_to_the_ones_before_and_after_it(store: FolderStore) -> None:
    """Within its kind; a page that is in no index stands alone."""
    note_windows(store, "churn")
    for rows in (
        reports(store, ["churn"], ["churn"]).batches,
        reports(store, ["churn"], []).windows,
        reports(store, ["churn"], []).evaluations,
    ):
        paths = [row.path for row in rows.rows]
        shown = [report(store, path) for path in paths]
        assert [one.newer for one in shown] == ["", *paths[:-1]]
        assert [one.older for one in shown] == [*paths[1:], ""]
        assert [one.row for one in shown] == list(rows.rows)
    alone = report(store, "churn/docs/suite.html")
    assert (alone.title, alone.row, alone.newer, alone.older) == ("docs/suite.html", None, "", "")


def test_damage_hides_no_other_report(store: FolderStore) -> None:
    """A window that cannot be read is said, all else is listed."""
    store.write("reports/churn/windows/2013-02-03/report.json", b"{")
    shown = reports(store, ["churn"], ["churn"])
    assert "reports/churn/windows/2013-02-03/report.json" in shown.damage[0]
    assert len(shown.evaluations.rows) == 2


def test_a_window_that_was_written_since_the_note_is_listed(store: FolderStore) -> None:
    """A note that lacks the newest window costs a read and no window."""
    store.delete("reports/churn/windows/2013-02-02/report.json")
    note_windows(store, "churn")
    dates = {"name": "2013-02-03", "first": "2013-02-03T00:00:00Z", "last": "2013-02-03T12:00:00Z"}
    store.write("reports/churn/windows/2013-02-03/report.json", WindowReport.model_validate({**REPORT, **dates}).encoded())
    assert [row.title for row in reports(store, ["churn"], []).windows.rows] == ["Window 2013-02-03", "Window 2013-02-01"]


def refuse(store: FolderStore, id: str, **facts: Any) -> None:
    """A receipt of a file that came in March."""
    fields = {
        "name": f"{id}.csv",
        "size": 1,
        "digest": id * 12,
        "outcome": "refused",
        "time": datetime(2026, 3, 1, tzinfo=timezone.utc),
        **facts,
    }
    write_receipt(store, "churn", Receipt(id=id, **fields))


def test_a_refused_batch_says_why(store: FolderStore) -> None:
    """DM-10: As the receipt of its file does; of a file of which rows alone were refused, too. One without a receipt says that it was."""
    store.write("reports/churn/docs/validations/4.csv~444444444444~5~refused.html", b"")
    refuse(store, "2", sentence="Column `a` is missing.", report="reports/churn/docs/validations/2.csv~2~~refused.html")
    taken = {
        "outcome": "appended",
        "rows": 10,
        "counts": RowCounts(added=5, refused=5),
        "report": "reports/churn/docs/validations/4.csv~4~10~passed.html",
    }
    refuse(store, "4", sentence="5 rows of 4.csv were refused.", **taken)
    refuse(store, "3", sentence="It is in.", outcome="appended", report="reports/churn/docs/validations/3.csv~3~10~warning.html")
    said = {row.title: row.sentence for row in reports(store, [], ["churn"]).batches.rows}
    assert said == {
        "Batch 1.csv": "10 rows. Its suite let it pass.",
        "Batch 2.csv": "Its rows could not be read. Column `a` is missing.",
        "Batch 3.csv": "10 rows. Its suite let it pass with a warning.",
        "Batch 4.csv": "5 rows. 5 rows of 4.csv were refused.",
    }
    page = report(store, "churn/docs/validations/2.csv~2~~refused.html").row
    assert page
    assert page.sentence == said["Batch 2.csv"]
    store.write("receipts/churn/2.json", b"{")
    damaged = reports(store, [], ["churn"])
    assert [row.sentence for row in damaged.batches.rows if row.title == "Batch 2.csv"] == ["Its rows could not be read. It was refused."]
    assert ["receipts/churn/2.json" in sentence for sentence in damaged.damage] == [True]


@pytest.mark.parametrize(
    ("name", "only", "titles", "none"),
    [
        (None, None, 7, 0), ("churn", None, 7, 0), ("churn", "refused", 2, 0), ("churn", "late", 0, 0), ("flights", None, 0, 1),
        ("nobody", None, 0, 0), ("../reports", None, 0, 0),
    ],
)  # fmt: skip
def test_the_terminal_says_what_the_index_says(
    store: FolderStore, capsys: pytest.CaptureFixture[str], name: str | None, only: str | None, titles: int, none: int
) -> None:
    """DM-10: `perennial show reports`, of all, of one model or dataset, also of one whose spec is gone; JSON reads back; a name that
    nothing has, and batches of another kind, are refused with a sentence."""
    asked: dict[str, Any] = {"what": "reports", "name": name, "only": only}
    if not titles and not none:
        with pytest.raises(UnknownName):
            show.run(Settings(), store, **asked)
        return
    show.run(Settings(), store, **asked)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("  20") for line in lines) == titles
    assert any("There is no report yet of flights." in line for line in lines) == bool(none)
    assert any("churn, Batch 2.csv, refused: Its rows could not be read." in line for line in lines) == bool(titles)
    show.run(Settings(), store, json=True, **asked)
    view = ReportsView.model_validate_json(capsys.readouterr().out)
    assert sum(len(part.rows) for part in (view.evaluations, view.windows, view.batches)) == titles
