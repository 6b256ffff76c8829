"""The page of a window."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.report.page import MAX_ANOMALIES
from perennial.monitoring.report.page import page as page_of
from perennial.monitoring.report.pictures import MAX_BINS

HOSTILE = "<img src=x onerror='alert(1)'>\"`&"
COLUMN = {
    "column": "temp",
    "kind": "shift",
    "drifted": True,
    "alarms": True,
    "effect": 0.4,
    "low": 0.3,
    "high": 0.5,
    "usual": 0.1,
    "p_value": 0.001,
    "family": "stable",
    "sentence": "`temp`: below 30 5 % → 45 % of rows <&>.",
    "bins": [{"label": "<i>", "reference": 0.05, "window": 0.45}],
}
DAY = {
    "day": "2013-02-01",
    "version": 3,
    "predictions": 100,
    "labelled": 50,
    "realised": 0.5,
    "expected": 0.4,
    "excess": 0.1,
    "coverage": 0.5,
}
ANOMALIES = {
    "detector": "multivariate",
    "alarms_per_day": 3.0,
    "achieved": 2.5,
    "highest": 9.0,
    "threshold": 12.0,
    "held_out_days": 14,
    "scored": 100,
    "days": 1,
    "found": 0,
    "shown": [],
    "unusual": False,
    "sentence": "No request is unlike the reference.",
}
INCIDENT = {
    "id": "0001-drift",
    "kind": "drift",
    "severity": "warning",
    "sentence": "`temp` moved.",
    "opened": "2013-02-02T10:00:00+00:00",
    "verdict": None,
    "blocks_training": False,
}
REPORT = {
    "model": "late_arrivals",
    "title": "Late arrivals",
    "name": "2013-02-01_2013-02-02",
    "first": "2013-02-01T00:00:00+00:00",
    "last": "2013-02-02T00:00:00+00:00",
    "version": 3,
    "by_version": {"3": 90, "4": 10},
    "requests": 100,
    "sentence": "Drift: temp.",
    "drift": {
        "drifted": ["temp"],
        "alarming": ["temp"],
        "confirmed": ["temp"],
        "windows": 2,
        "power": "The window is one day.",
        "reference_days": 45,
        "window_days": 1,
        "labellings": 2000,
        "exact": False,
        "alpha": 0.05,
        "columns": [COLUMN],
        "skipped": {"when": "is the event time"},
        "earlier": ["2013-01-31_2013-02-01"],
        "judged_by": "2125deb5a6ec1e63",
    },
    "breaks": [],
    "anomalies": ANOMALIES,
    "estimate": None,
    "slices": [],
    "decision": {"cause": "drift", "why": "temp drifted.", "request": "k"},
    "performance": {
        "loss": "log loss",
        "labelled": 0,
        "predictions": 100,
        "coverage": 0.0,
        "realised": None,
        "low": None,
        "high": None,
        "expected": None,
        "excess": None,
        "blocks": "",
    },
    "outcomes": {"predictions": 100, "labelled": 0, "repeated": 1, "contradicted": 2, "predicted_twice": 0, "unknown": 3},
    "damaged": ["4 logged lines could not be read."],
    "days": [],
    "jump": {"found": False, "sentence": "No labelled day."},
    "scores": [],
    "service": {"predictions": 100, "seconds": 60.0, "per_second": 1.7, "p50_ms": None, "p99_ms": None},
    "gateway": {"sentence": "The gateway's own counts:", "versions": {"3": {"requests": 120, "errors": 1, "p50_ms": 1.0, "p99_ms": None}}},
    "incidents": {"open": [INCIDENT], "changed": ["0001-drift"], "rate": "1.0 alarms a month (1 in 30 days); none was judged."},
}
QUIET = {**REPORT["drift"], "drifted": [], "alarming": [], "confirmed": [], "power": "", "columns": [], "skipped": {}}
KNOWN = {
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


def page(report):
    """The page of a report that was stored."""
    return page_of(WindowReport.model_validate(report))


ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "name",
        "content",
        "class",
        "style",
        "role",
        "scope",
        "tabindex",
        "aria-label",
        "viewbox",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "cx",
        "cy",
        "r",
        "width",
        "height",
        "points",
        "fill",
        "stroke",
        "stroke-width",
        "stroke-dasharray",
        "text-anchor",
    ]
)


class Page(HTMLParser):
    """Counts tags and collects text; keeps a stack to see that all are closed."""

    VOID = frozenset({"meta"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.pictures, self.text = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        """Push."""
        self.tags.append(tag)
        assert set(dict(attributes)) <= ATTRIBUTES
        if tag == "svg":
            self.pictures.append(dict(attributes)["aria-label"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """Note, with what a reader is told of a picture."""
        self.tags.append(tag)
        assert set(dict(attributes)) <= ATTRIBUTES

    def handle_endtag(self, tag):
        """Pop."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Collect."""
        self.text += data


def test_the_page_stands_alone_and_says_everything():
    """MN-18: Verdict, decision, drift, counts and gateway are in the text; nothing is loaded from elsewhere; what comes from data is
    escaped."""
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
    """MN-18: Without drift and request the verdict is not marked, and the curves appear once there are two days."""
    columns = [{**COLUMN, "drifted": False, "alarms": False, "sentence": f"`c{i}`: as before; no drift."} for i in range(6)]
    quiet = {
        **REPORT,
        "drift": {**QUIET, "columns": columns},
        "decision": {"cause": None, "why": "Nothing asks.", "request": None},
        "performance": KNOWN,
        "days": [DAY, {**DAY, "day": "2013-02-02", "expected": None}],
        "scores": [{"label": "0 to 0.1", "share": 0.7, "of": "share of predictions by score"}],
        "service": {**REPORT["service"], "p50_ms": 1.0, "p99_ms": 9.0},
        "incidents": {"open": [], "changed": [], "rate": "0.0 alarms a month."},
    }
    found = Page(page(quiet))
    assert "class='verdict'" in page(quiet)
    for words in (
        "Nothing stands out.",
        "No input drifted. The nearest to it:",
        "4 more that moved less",
        "c5",
        "too narrow",
        "+0.0500",
        "99 % within 9.0 ms",
        "share of predictions by score",
        "Loss by day",
        "None is open.",
    ):
        assert words in found.text
    assert any("2013-02-02: 0.500" in told for told in found.pictures)


def test_the_worst_comes_first_in_the_verdict():
    """MN-18: A broken feed before a jump, a jump before drift, confirmed drift before drift."""
    broken = {
        **REPORT,
        "breaks": [{"key": "unit of temp", "column": "temp", "sentence": "`temp`: the values look like km instead of miles."}],
    }
    jumped = {**REPORT, "jump": {"found": True, "sentence": "It jumped."}}
    once = {**REPORT, "drift": {**REPORT["drift"], "confirmed": []}}
    strange = {**REPORT, "drift": QUIET, "anomalies": {**ANOMALIES, "unusual": True}}
    for report, mark, words in (
        (broken, "verdict alarm", "A feed looks broken."),
        (jumped, "verdict alarm", "The model has become worse."),
        (REPORT, "verdict changed", "drift in 2 windows in a row"),
        (once, "verdict changed", "it is not confirmed yet"),
        (strange, "verdict changed", "Unusually many strange requests."),
        ({**REPORT, "drift": QUIET}, "verdict changed", "Retraining was asked for."),
    ):
        assert f"class='{mark}'" in page(report)
        assert words in Page(page(report)).text
    assert "Diagnosis: temp: the values look like km" in Page(page(broken)).text


def test_what_changed_too_little_to_act_on_is_no_alarm():
    """MN-18: It is certain, so it is shown with its plot; the verdict stays quiet."""
    little = {**REPORT["drift"], "alarming": [], "confirmed": [], "columns": [{**COLUMN, "alarms": False}]}
    html = page({**REPORT, "drift": little, "decision": {"cause": None, "why": "Nothing asks.", "request": None}})
    assert "class='verdict'" in html
    text = Page(html).text
    assert "Small changes, none worth an alarm." in text
    assert "Inputs changed for certain, but too little to act on." in text
    assert "a little temp: below 30" in text


def test_the_verdict_is_the_first_thing_after_the_title():
    """MN-18: Who opens the page reads it without scrolling: verdict, figures, decision, then the evidence."""
    text = Page(page({**REPORT, "performance": KNOWN, "scores": [{"label": "a", "share": 1.0, "of": "scores"}]})).text
    order = [
        "Late arrivals",
        "Drift: temp.",
        "drifted of 1 findings",
        "What was decided",
        "Incidents",
        "Inputs against",
        "Scores",
        "Strange requests",
        "Performance",
        "Service",
        "How it was judged",
    ]
    places = [text.index(words, text.index("Version 3 answered") if i else 0) for i, words in enumerate(order)]
    assert places == sorted(places)


def hostile_report(text):
    """A report in which everything that data can hold says `text`."""
    finding = {
        **COLUMN,
        "column": text,
        "sentence": f"`{text}`: new category {text}.",
        "bins": [{"label": text, "reference": 0.0, "window": 1.0}],
    }
    return {
        **REPORT,
        "title": text,
        "sentence": text,
        "drift": {
            **REPORT["drift"],
            "drifted": [text],
            "alarming": [text],
            "confirmed": [text],
            "columns": [{**finding, "kind": kind} for kind in ("shift", "nulls", "new category", "correlation", "joint", "predictions")],
            "skipped": {text: text},
        },
        "breaks": [{"key": text, "column": text, "sentence": text}],
        "anomalies": {
            **ANOMALIES,
            "found": 1,
            "shown": [{"prediction_id": text, "score": 9.0, "columns": [text], "sentence": text}],
            "sentence": text,
        },
        "slices": [{**KNOWN, "column": text, "name": text}],
        "decision": {"cause": "drift", "why": text, "request": text},
        "scores": [{"label": text, "share": 1.0, "of": text}],
        "gateway": {"sentence": text, "versions": {text: {"requests": 1, "errors": 0, "p50_ms": None, "p99_ms": None}}},
        "incidents": {"open": [{**INCIDENT, "id": text, "sentence": text}], "changed": [], "rate": text},
        "performance": KNOWN,
    }


def test_what_comes_from_data_cannot_break_the_page():
    """SC-01: Hostile names of columns, categories, ids, slices and incidents are text everywhere, in pictures' words too."""
    found = Page(page(hostile_report(HOSTILE)))
    assert found.open == []
    assert "img" not in found.tags
    assert found.text.count("<img src=x onerror='alert(1)'>") >= 15
    assert any(HOSTILE in told for told in found.pictures)


def test_findings_about_several_columns_have_their_own_place():
    """MN-18: Correlation and joint findings are a table with the effect, its interval and what is usual; predictions stand by the
    scores."""
    drift = {
        **REPORT["drift"],
        "columns": [
            COLUMN,
            {**COLUMN, "kind": "correlation", "column": "a, b", "sentence": "`a` and `b`: correlation 0.10 → 0.60."},
            {**COLUMN, "kind": "predictions", "column": "score of late", "sentence": "`score of late`: below 0.1 30 % → 60 %."},
        ],
    }
    text = Page(page({**REPORT, "drift": drift})).text
    assert "Columns together" in text
    assert "a and b: correlation 0.10 → 0.60." in text.split("Columns together")[1].split("Scores")[0]
    assert "score of late: below 0.1" in text.split("Scores")[1].split("Strange requests")[0]
    assert "0.4 (0.3 to 0.5)" in text


def test_without_outcomes_the_estimate_speaks_and_says_what_it_cannot_see():
    """MN-18: The tile and the table have it; with outcomes the realised loss takes its place on top."""
    estimate = {"rows": 100, "loss": 0.4321, "accuracy": 0.8, "roc_auc": 0.71}
    text = Page(page({**REPORT, "estimate": estimate})).text
    assert "≈ 0.432" in text
    assert "ROC AUC 0.7100" in text
    assert "An estimate until outcomes come" in text
    assert "blind to a changed concept" in text
    assert "0 %outcomes known, 0 of 100" in text
    known = Page(page({**REPORT, "estimate": {**estimate, "roc_auc": None}, "performance": KNOWN})).text
    assert "≈" not in known
    assert "ROC AUC" not in known
    assert "blind to a changed concept" in known


def test_slices_stand_with_their_intervals_the_worst_first():
    """MO-21, MN-18: One table for each column."""
    slices = [{**KNOWN, "column": "origin", "name": name, "realised": loss} for name, loss in (("EWR", 0.4), ("JFK", 0.55))]
    slices.append({**KNOWN, "column": "month", "name": "2013-02", "excess": None})
    found = Page(page({**REPORT, "performance": KNOWN, "slices": slices}))
    part = found.text.split("Performance by slice")[1]
    assert part.index("JFK") < part.index("EWR") < part.index("2013-02")
    assert "0.550 0.400 to 0.600" in part
    assert "0.55, interval 0.4 to 0.6" in found.pictures


def test_strange_requests_are_listed_and_the_budget_is_told():
    """MN-06, MN-18: The strangest, those alike on one line, how many more, the threshold, and what held-out days gave."""
    shown = [{"prediction_id": f"p{i}", "score": 20.0 - i, "columns": ["temp"], "sentence": f"`temp` is {i}."} for i in range(20)]
    text = Page(page({**REPORT, "anomalies": {**ANOMALIES, "found": 70, "shown": shown}})).text
    assert f"p{MAX_ANOMALIES - 1}" in text
    assert f"p{MAX_ANOMALIES}" not in text
    assert f"{70 - MAX_ANOMALIES} more; report.json has the first 20." in text
    alike = [{**one, "sentence": "`temp` is 99."} for one in shown]
    text_alike = Page(page({**REPORT, "anomalies": {**ANOMALIES, "found": 70, "shown": alike}})).text
    assert "temp is 99.20 requests, the strangest is p020" in text_alike, "p0 has a score of 20"
    assert "50 more; report.json has the first 20." in text_alike
    assert "On 14 held-out days of the reference, at this traffic, 2.5 a day were, 9 on the worst." in text
    unknown = {**ANOMALIES, "threshold": None, "achieved": None, "highest": None}
    assert "Detector" not in Page(page({**REPORT, "anomalies": unknown})).text


def test_an_incident_that_holds_training_says_so():
    """MN-09, MN-18: Severity, kind, sentence, number; and that it is new."""
    incident = {**INCIDENT, "severity": "critical", "blocks_training": True, "verdict": "real"}
    text = Page(page({**REPORT, "incidents": {"open": [incident], "changed": ["0001-drift"], "rate": "1.0 alarms a month."}})).text
    assert "critical" in text
    assert "Training waits for it." in text
    assert "0001-drift, new at this look, judged real" in text


def test_the_decision_is_told_once():
    """MN-18: The sentence of the look ends with it; on the page it has its own place."""
    why = REPORT["decision"]["why"]
    text = Page(page({**REPORT, "sentence": f"100 predictions. {why}"})).text
    assert text.count(why) == 1


def test_of_many_bins_those_that_changed_most_are_drawn():
    """MN-18: In their own order, and the others are counted."""
    bins = [{"label": f"b{i:02d}", "reference": 0.02, "window": 0.02 + (0.01 if i % 2 else 0.0)} for i in range(50)]
    text = Page(page({**REPORT, "drift": {**REPORT["drift"], "columns": [{**COLUMN, "bins": bins}]}})).text
    assert f"{50 - MAX_BINS} more that changed less." in text
    assert text.index("b01") < text.index("b03") < text.index("b39")
    assert "b00" not in text


def test_the_page_suits_print_dark_rooms_and_phones():
    """MN-18: It tells the phone its width, has colours for the dark, rules for paper, and no text that lies in a picture alone."""
    html = page(REPORT)
    assert "name=viewport content='width=device-width,initial-scale=1'" in html
    assert "prefers-color-scheme:dark" in html
    assert "@media print" in html
    assert "http" not in html
    found = Page(html)
    assert found.tags.count("h1") == found.tags.count("main") == 1
    assert all(found.pictures)


def test_days_without_outcomes_leave_a_gap_in_the_curve():
    """MN-18: A line would claim to know them."""
    unknown = {**DAY, "realised": None, "expected": None, "coverage": 0.0}
    days = [{**day, "day": f"2013-02-0{i}"} for i, day in enumerate((DAY, DAY, unknown, DAY, DAY), start=1)]
    html = page({**REPORT, "performance": KNOWN, "days": days})
    assert html.count("<polyline") == 4
    assert page({**REPORT, "performance": KNOWN, "days": [DAY, unknown]}).count("<polyline") == 0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_bars_of_nothing_and_of_everything(value):
    """MN-18: Shares of zero or one draw without dividing by zero."""
    column = {**COLUMN, "bins": [{"label": "x", "reference": value, "window": value}]}
    assert "<svg" in page({**REPORT, "drift": {**REPORT["drift"], "columns": [column]}})


METRIC = {"value": 0.8123, "low": 0.7, "high": 0.9}
METRICS = {
    "labelled": 50, "units": "rows", "metrics": {"recall": METRIC, "accuracy": METRIC}, "classes": ["on time", HOSTILE],
    "confusion": [[30, 5], [4, 11]],
    "each": [{"name": n, "rows": 25, "predicted": 25, "precision": METRIC, "recall": None, "f1": METRIC} for n in ("on time", HOSTILE)],
    "days": [{"day": f"2013-02-0{n}", "version": 3, "labelled": 25, "metrics": {"accuracy": METRIC}} for n in (1, 3)],
}  # fmt: skip


def test_metrics_have_a_section_of_their_own():
    """MN-03: Values with intervals and what these rest on, each class, the confusion matrix, and a line by day; no name of a class acts."""
    page = page_of(WindowReport.model_validate(REPORT | {"metrics": METRICS}))
    section = page[page.index("<h2>Metrics</h2>") : page.index("<h2>Service</h2>")]
    assert section.index("Accuracy") < section.index("Recall")
    assert "0.8123 (0.7 to 0.9)" in section
    assert "With fewer than three days they take rows as independent" in section
    assert "<td>30</td><td>5</td>" in section
    assert "nothing to tell" in section
    assert "aria-label='Accuracy by day. 2013-02-01: 0.812; 2013-02-03: 0.812'" in section
    assert "<img" not in section


def test_a_report_from_before_there_were_metrics_has_no_section():
    """MN-03: It opens all the same."""
    report = WindowReport.model_validate({name: value for name, value in REPORT.items() if name != "metrics"})
    assert report.metrics.metrics == {}
    assert "<h2>Metrics</h2>" not in page_of(report)
