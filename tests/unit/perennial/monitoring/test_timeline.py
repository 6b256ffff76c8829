"""The windows of a model in a line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perennial.errors import StoredDataDamaged
from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.report.timeline import note_windows, point_of, timeline
from perennial.store import FolderStore

from .test_report import COLUMN, KNOWN, REPORT


def report(**changes: object) -> WindowReport:
    return WindowReport.model_validate({**REPORT, **changes})


def write(store: FolderStore, day: int, **changes: object) -> str:
    name = f"2013-02-{day:02d}_2013-02-{day + 1:02d}"
    told = report(name=name, first=f"2013-02-{day:02d}T00:00:00+00:00", last=f"2013-02-{day + 1:02d}T00:00:00+00:00", **changes)
    key = f"reports/m/windows/{name}/report.json"
    store.write(key, told.encoded())
    store.write(key.replace("report.json", "index.html"), b"<p>")
    return key


def test_a_point_has_the_losses_and_the_largest_change_of_each_column() -> None:
    """MN-18: Realised with its interval, expected, and of two findings on one column the one that matters more."""
    small = {**COLUMN, "kind": "nulls", "drifted": False, "alarms": False, "effect": 0.9}
    other = {**COLUMN, "column": "wind", "drifted": True, "alarms": False, "effect": 0.2}
    point = point_of(report(performance=KNOWN, drift={**REPORT["drift"], "columns": [other, small, COLUMN]}))
    assert (point.realised, point.low, point.high, point.expected, point.labelled) == (0.5, 0.4, 0.6, 0.45, 80)
    assert [(c.column, c.kind, c.effect, c.alarms) for c in point.changes] == [("temp", "shift", 0.4, True), ("wind", "shift", 0.2, False)]
    assert (point.confirmed, point.cause, point.jumped, point.anomalies) == (("temp",), "drift", False, 0)


def test_windows_come_in_order_and_are_read_from_one_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-18: The timeline is oldest first; a window that was judged again is as it is now; noted ones are not read."""
    store = FolderStore(str(tmp_path))
    for day in (9, 1, 5):
        write(store, day)
    note_windows(store, "m")
    changed = write(store, 5, sentence="Judged again.")
    reads, read = [], FolderStore.read
    monkeypatch.setattr(FolderStore, "read", lambda self, key: reads.append(key) or read(self, key))
    assert [(p.first.day, p.sentence) for p in timeline(store, "m")] == [(1, "Drift: temp."), (5, "Judged again."), (9, "Drift: temp.")]
    assert reads == ["views/windows/m.json", changed]


def test_a_window_without_a_report_is_none_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    """MN-18: A look that died before its report left a folder alone; a report that cannot be read is said with its place."""
    store = FolderStore(str(tmp_path))
    store.write("reports/m/windows/2013-02-01_2013-02-02/current.parquet", b"x")
    assert timeline(store, "m") == []
    store.write("reports/m/windows/2013-02-01_2013-02-02/report.json", json.dumps({}).encode())
    with pytest.raises(StoredDataDamaged, match=r"reports/m/windows/2013-02-01_2013-02-02/report\.json is no report"):
        timeline(store, "m")
