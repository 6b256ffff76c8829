"""The page of a window."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from perennial.monitoring.report import MAX_COLUMNS, page

COLUMN = {
    "column": "temp",
    "drifted": True,
    "effect": 0.4,
    "usual": 0.1,
    "p_value": 0.001,
    "sentence": "`temp`: below 30 5 % → 45 % of rows <&>.",
    "bins": [{"label": "<i>", "reference": 0.05, "window": 0.45}],
}
DAY = {"day": "2013-02-01", "realised": 0.5, "expected": 0.4}
REPORT = {
    "title": "Late arrivals", "name": "2013-02-01_2013-02-02", "first": "2013-02-01T00:00:00+00:00", "last": "2013-02-02T00:00:00+00:00", "version": 3, "by_version": {"3": 90, "4": 10},
    "requests": 100, "sentence": "Drift: temp.",
    "drift": {"drifted": ["temp"], "confirmed": ["temp"], "windows": 2, "power": "The window is one day.", "reference_days": 45, "columns": [COLUMN], "skipped": {"when": "is the event time"}},
    "decision": {"cause": "drift", "why": "temp drifted.", "request": "k"},
    "performance": {"loss": "log loss", "labelled": 0, "predictions": 100, "coverage": 0.0, "realised": None, "low": None, "high": None, "expected": None, "excess": None, "blocks": ""},
    "outcomes": {"repeated": 1, "contradicted": 2, "unknown": 3}, "days": [], "jump": {"sentence": "No labelled day."}, "scores": [],
    "service": {"predictions": 100, "seconds": 60.0, "per_second": 1.7, "p50_ms": None, "p99_ms": None},
    "gateway": {"sentence": "The gateway's own counts:", "versions": {"3": {"requests": 120, "errors": 1, "p50_ms": 1.0, "p99_ms": None}}},
}  # fmt: skip


class Page(HTMLParser):
    """Counts tags and collects text; keeps a stack to see that all are closed."""

    VOID = frozenset({"meta"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        """Push."""
        self.tags.append(tag)
        assert "src" not in dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """Note."""
        self.tags.append(tag)

    def handle_endtag(self, tag):
        """Pop."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Collect."""
        self.text += data


def test_the_page_stands_alone_and_says_everything():
    """Verdict, decision, drift, counts and gateway are in the text; nothing is loaded from elsewhere; what comes from data is escaped."""
    found = Page(page(REPORT))
    assert found.open == []
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    for words in (
        "Drift: temp.",
        "temp drifted.",
        "is the event time",
        "0 of 100 predictions",
        "1, 2, 3",
        "120 requests, 1 errors, p50 ≤ 1 ms, p99 ≤ ?",
        "Confirmed over 2 windows",
        "The window is one day.",
        "<i>",
        "rows <&>",
    ):
        assert words in found.text
    assert "verdict changed" in page(REPORT)


def test_a_quiet_page_looks_quiet():
    """Without drift and request the verdict is not marked, and the curves appear once there are two days."""
    full = {
        **REPORT["performance"],
        "labelled": 80,
        "coverage": 0.8,
        "realised": 0.5,
        "low": 0.4,
        "high": 0.6,
        "expected": 0.45,
        "excess": 0.05,
        "blocks": "rows",
    }
    quiet = {
        **REPORT,
        "drift": {
            **REPORT["drift"],
            "drifted": [],
            "confirmed": [],
            "power": "",
            "columns": [{**COLUMN, "drifted": False}] * (MAX_COLUMNS + 2),
            "skipped": {},
        },
        "decision": {"cause": None, "why": "Nothing asks.", "request": None},
        "performance": full,
        "days": [DAY, {**DAY, "expected": None}],
        "scores": [{"label": "0 to 0.1", "share": 0.7, "of": "share of predictions by score"}],
        "service": {**REPORT["service"], "p50_ms": 1.0, "p99_ms": 9.0},
    }
    text = Page(page(quiet)).text
    assert "verdict changed" not in page(quiet)
    for words in (
        "2 more columns moved less",
        "too narrow",
        "+0.0500",
        "99 % within 9.0 ms",
        "share of predictions by score",
        "Loss by day",
    ):
        assert words in text


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_bars_of_nothing_and_of_everything(value):
    """Shares of zero or one draw without dividing by zero."""
    column = {**COLUMN, "bins": [{"label": "x", "reference": value, "window": value}]}
    assert "<svg" in page({**REPORT, "drift": {**REPORT["drift"], "columns": [column]}})
