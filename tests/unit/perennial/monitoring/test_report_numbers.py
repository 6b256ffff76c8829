"""The report of a window as a stored format: what was written opens, and is written the same again."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from perennial.errors import StoredDataDamaged
from perennial.monitoring.report.numbers import WindowReport, decoded
from perennial.monitoring.report.page import page

from .test_report import REPORT

STORED = Path(__file__).parents[3] / "fixtures" / "stored-0.1.0.tar.xz"
REPORT_BEFORE = "store/reports/digits/windows/2024-01-15_2024-01-17/report.json"


@pytest.fixture(scope="module")
def before():
    """The report that version 0.1.0 wrote of a window."""
    with tarfile.open(STORED) as kept:
        return kept.extractfile(REPORT_BEFORE).read()


def test_a_report_of_an_earlier_state_opens_and_stays_as_it_is(before):
    """MN-18: Every figure of it is where it was: it is written the same again, but for what has been added since, and its page can be
    drawn."""
    report = decoded(before, REPORT_BEFORE)
    assert (report.model, report.version, report.answered, report.performance.labelled) == ("digits", 1, 200, 150)
    assert (report.drift.alarming, report.drift.earlier) == ((), ("2024-01-13_2024-01-15",))
    stored = json.loads(before)
    stored |= {"damaged": [], "drift": {**stored["drift"], "limits": {}}, "jump": {**stored["jump"], "above": None, "loss_above": None}}
    stored["rules"] = []
    stored["metrics"] = {"labelled": 0, "units": "", "metrics": {}, "classes": [], "confusion": [], "each": [], "days": []}
    assert report.encoded() == json.dumps(stored, indent=1, sort_keys=True).encode()
    assert "Handwritten digits" in page(report)


def test_a_report_is_written_and_read_again_without_a_difference():
    """MN-18: Times keep their zone, versions are numbers, what drifted is in it though it follows from the findings."""
    report = WindowReport.model_validate(REPORT)
    again = decoded(report.encoded(), "report.json")
    assert again == report
    assert again.encoded() == report.encoded()
    written = json.loads(report.encoded())
    assert written["first"] == "2013-02-01T00:00:00+00:00"
    assert written["by_version"] == {"3": 90, "4": 10}
    assert (written["drift"]["drifted"], written["drift"]["alarming"]) == (["temp"], ["temp"])


def test_what_a_later_state_adds_is_passed_over():
    """MN-18: Who goes back to an earlier state of the platform can still look at a window."""
    assert decoded(json.dumps({**REPORT, "weather": "rain"}).encode(), "report.json") == WindowReport.model_validate(REPORT)


@pytest.mark.parametrize("content", [b"", b"[]", json.dumps({**REPORT, "version": "three"}).encode()])
def test_what_is_no_report_is_named(content):
    """MN-18: With its place and what to do: the window can be looked at again."""
    with pytest.raises(StoredDataDamaged, match=r"reports/m/report.json is no report of a window .* look at the window again"):
        decoded(content, "reports/m/report.json")


def test_a_figure_that_is_no_number_is_never_written():
    """MN-18: JSON knows none, and a page would show it as one."""
    report = WindowReport.model_validate({**REPORT, "performance": {**REPORT["performance"], "coverage": float("nan")}})
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.encoded()
