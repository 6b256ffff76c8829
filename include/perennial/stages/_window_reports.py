"""Writes the report of a window and its page."""

from __future__ import annotations

from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.report.page import page
from perennial.store import Store, write_if_other


def write_report(store: Store, folder: str, report: WindowReport) -> None:
    """Write `index.html` and `report.json` below a folder. The report comes last: whoever finds it finds its page."""
    write_if_other(store, f"{folder}/index.html", page(report).encode())
    write_if_other(store, f"{folder}/report.json", report.encoded())
