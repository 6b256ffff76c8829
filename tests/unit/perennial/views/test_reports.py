"""The index of reports has each once, newest first and bounded, and leads from one to the next."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.report.timeline import note_windows
from perennial.store import FolderStore
from perennial.views import reports as view
from perennial.views.reports import report, reports

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
