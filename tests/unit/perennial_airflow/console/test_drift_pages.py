"""The page of a model's drift and its windows' pages: heat map, findings with their pictures, whatever a report holds; bounded."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from perennial.monitoring.report.numbers import SliceLosses
from perennial.monitoring.report.sizes import note_sizes
from perennial.monitoring.report.timeline import note_windows, point_of
from perennial.monitoring.verdict import Bin, ColumnDrift
from perennial.store import FolderStore
from perennial.views.drift import WindowSize, drift_view
from perennial_airflow.console.pictures import drift, finding, loss
from perennial_airflow.console.words import window_link

from ....window_reports import window_report
from .test_pages import HOSTILE, ask

__all__ = ["ask"]
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
HERE = "/perennial/models/churn/drift/"
SHOWN = 30  # features of a page, unless all are asked for
OPENED = {"id": "0001-drift", "kind": "drift", "severity": "critical", "sentence": f"It moved {HOSTILE}"}


def found(column: str, effect: float = 0.2, level: int = 2, **more: Any) -> ColumnDrift:
    """A finding that did not drift, drifted (1) or alarms (2)."""
    told = {"sentence": f"`{column}` moved.", "bins": (), "usual": 0.01, "p_value": 0.01} | more
    return ColumnDrift(column=column, drifted=level > 0, alarms=level > 1, effect=effect, **told)


def write(store: FolderStore, day: int, *findings: ColumnDrift, **changes: Any) -> str:
    report = window_report("churn", BEGIN + timedelta(days=day), findings, **changes)
    store.write(f"reports/churn/windows/{report.name}/report.json", report.encoded())
    store.write(f"reports/churn/windows/{report.name}/index.html", b"<p>")
    note_windows(store, "churn")
    note_sizes(store, "churn")
    return report.name


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def told(page: str, name: str) -> dict[str, Any]:
    """What the charting library is told of a picture of a page."""
    return json.loads(unescape(re.search(f"id='chart-{name}' data-chart='([^']*)'", page)[1]))


RANGES = tuple(Bin(label=label, reference=0.3, window=share) for label, share in (("below 3", 0.5), ("3 to 4.5", 0.3), ("from 4.5", 0.2)))
NAMES = tuple(
    Bin(label=label, reference=before, window=after) for label, before, after in (("AA", 0.5, 0.4), ("UA", 0.3, 0.59), ("X", 0.2, 0.01))
)


def test_cells_stand_where_their_window_and_feature_are(ask: Any, store: FolderStore) -> None:
    """MN-01: What did not drift in one series, what did in another with a mark where it alarms; loss, versions and incidents on the same
    axis; a cell leads to its finding."""
    first = write(store, 0, found("a", 0.01, 0), found("b", 0.15), realised=0.5, expected=0.4, above=0.2, opened=[OPENED])
    second = write(store, 1, found("b", 0.05, 1), version=2, realised=0.6)
    page = ask("/models/churn/drift").text
    series = {one.get("name"): one for one in told(page, "drift")["series"]}
    assert series["no drift"]["data"] == [[0, 1, 0.1]]
    assert series["drift"]["data"] == [[0, 0, 1.5], [1, 0, 0.5]]
    assert series["alarms"]["data"] == [[0, 0]]
    assert series["realised"]["data"] == [[0, 0.5], [1, 0.6]]
    assert series["a jump above"]["data"] == [[0, pytest.approx(0.6)], [1, None]]
    assert [mark["xAxis"] for mark in series["realised"]["markLine"]["data"]] == [1]
    assert [one["value"] for one in series["incidents"]["data"]] == [[0, 0]]
    colours = {one["seriesIndex"]: told(page, "drift")["series"][one["seriesIndex"]]["name"] for one in told(page, "drift")["visualMap"]}
    assert sorted(colours.values()) == ["drift", "no drift"]
    cells = json.loads(unescape(re.search("data-cells='([^']*)'", page)[1]))
    assert (cells["x"], cells["y"], cells["path"]) == ([first, second], ["b", "a"], HERE)
    assert f"href='{window_link(HERE, second, 'b')}'>0.5</a> drifted" in page


def test_without_a_limit_of_the_loss_the_colours_are_of_the_same_series(store: FolderStore, ask: Any) -> None:
    """MN-01: Colours go by a series' number, which a line that is not there must not shift."""
    write(store, 0, found("b"), realised=0.5)
    view = drift_view(store, "churn")
    option = drift.option(view, view.features)
    assert [option["series"][one["seriesIndex"]]["type"] for one in option["visualMap"]] == ["heatmap", "heatmap"]


def test_four_hundred_columns_stay_usable(ask: Any, store: FolderStore) -> None:
    """MN-18: The first thirty are shown, all at another address; every page is bounded."""
    many = [found(f"c{number:03d}", 0.001 * number, 0) for number in range(405)]
    for day in range(3):
        name = write(store, day, *many)
    short, whole = ask("/models/churn/drift").text, ask("/models/churn/drift?features=all").text
    assert [len(told(page, "drift")["series"][6]["data"]) for page in (short, whole)] == [3 * SHOWN, 3 * 400]
    assert "Show all 400 features" in short
    assert "5 more moved less" in short
    assert len(whole) < 400_000
    assert f"data-height='{drift.height(drift_view(store, 'churn').features)}'" in whole
    of_window = ask(f"/models/churn/drift/{name}").text
    assert (of_window.count('<th scope="row">'), "Show all 400 features" in of_window) == (SHOWN, True)


def test_a_finding_has_its_picture_its_figures_and_its_neighbours(ask: Any, store: FolderStore) -> None:
    """MN-18: Statistic, limits and p-value, the windows before and after with the same column, and the stored report."""
    first = write(store, 0, found("b"))
    second = write(
        store, 1, found("b", 0.25, sentence="`b`: below 3: 30 % → 50 % of rows.", bins=RANGES, low=0.1, high=0.3, family="stable")
    )
    third = write(store, 2)
    page = ask(f"/models/churn/drift/{second}?column=b").text
    for words in (
        "Drifted, and alarms",
        "0.25, 95 % interval 0.1 to 0.3",
        "alarms from 0.1 on",
        "0.01, among stable statistics",
        "2,000 labellings",
    ):
        assert words in page
    assert f'rel="prev" href="{window_link(HERE, first, "b")}"' in page
    assert f'rel="next" href="{window_link(HERE, third, "b")}"' in page
    assert f"/churn/windows/{second}/index.html" in page
    assert [one["name"] for one in told(page, "finding-1")["series"]] == ["before", "in the window"]
    assert f"href='{window_link(HERE, first, 'b')}'" in page  # of its history
    assert "Nothing was found about it in this window." in ask(f"/models/churn/drift/{third}?column=b").text
    assert ask(f"/models/churn/drift/{second}.json?column=b").json()["findings"][0]["size"] == 2.5
    assert ask("/models/churn/drift.json").json()["features"][0]["column"] == "b"


def test_numbers_are_steps_and_categories_pairs_of_bars_by_change() -> None:
    """MN-18: Ranges keep their order; what changed most stands on top; what is beyond twenty is counted, and in the table."""
    steps = finding.option(found("a", bins=RANGES))
    assert [(one["type"], one["step"], one["data"]) for one in steps["series"]] == [
        ("line", "middle", [0.3, 0.3, 0.3]),
        ("line", "middle", [0.5, 0.3, 0.2]),
    ]
    assert steps["xAxis"]["data"] == ["below 3", "3 to 4.5", "from 4.5"]
    bars = finding.option(found("a", bins=NAMES))
    assert (bars["yAxis"]["data"], bars["series"][1]["data"]) == (["UA", "X", "AA"], [0.59, 0.01, 0.4])
    many = found("a", bins=tuple(Bin(label=f"c{number}", reference=0.0, window=number / 1000) for number in range(40)))
    assert len(finding.option(many)["series"][0]["data"]) == finding.MOST_BARS
    assert "20 more changed less" in finding.words(many)
    assert [row[0] for row in finding.rows(many)][:2] == ["c39", "c38"]
    assert len(finding.rows(many)) == 40


@pytest.mark.parametrize(
    ("labels", "ranges"),
    [
        (("below 3", "from 3"), True),
        (("below -1.5e+07", "-1.5e+07 to -inf", "from -inf"), True),
        (("any value",), False),  # one bar says nothing as a step
        (("below average", "from 3"), False),
        (("AA", "all others"), False),
        (("missing", "present"), False),
        (("bucket 0", "bucket 1"), False),
    ],
)
def test_what_is_a_number_shows_in_the_names_of_its_ranges(labels: tuple[str, ...], ranges: bool) -> None:
    """MN-18: Categories, missing values and buckets of words are bars."""
    assert finding.are_ranges([Bin(label=label, reference=0.5, window=0.5) for label in labels]) is ranges


def test_the_history_shows_what_alarms_and_what_does_not() -> None:
    """MN-01: A bar for each window in which it was compared, by colour and in words, and the line at which it alarms."""
    sizes = [
        WindowSize(window=f"w{i}", version=1, size=size, mark=mark)
        for i, (size, mark) in enumerate([(0.5, ""), (None, ""), (3.0, "alarms")])
    ]
    option = finding.history(sizes)
    assert [one["value"] for one in option["series"][0]["data"]] == [[0, 0.5], [2, 3.0]]
    assert len({one["itemStyle"]["color"] for one in option["series"][0]["data"]}) == 2
    assert "max" not in option["yAxis"]
    assert finding.history(sizes[:1])["yAxis"]["max"] >= 1  # the line can be seen
    assert [row[2:] for row in finding.history_rows(sizes, HERE, "a")] == [["3", "alarms"], ["", ""], ["0.5", ""]]


def test_slices_are_drawn_with_their_interval() -> None:
    """MN-03: The bar of an interval begins at its lower end; without one the value stands alone."""
    facts = {"loss": "log loss", "predictions": 9, "coverage": 1.0, "excess": None, "blocks": "", "column": "c"}
    known = SliceLosses(name="x", labelled=40, realised=0.5, low=0.4, high=0.7, expected=0.3, **facts)
    bare = SliceLosses(name="y", labelled=40, realised=0.4, low=None, high=None, expected=None, **facts)
    lower, width, realised, expected = (one["data"] for one in finding.slices([known, bare])["series"])
    assert (lower, realised, expected) == ([[0.4, 0]], [[0.5, 0], [0.4, 1]], [[0.3, 0]])
    assert width == [[pytest.approx(0.3), 0]]
    assert finding.slice_rows([known, bare]) == [["x", "0.5", "0.4 to 0.7", "0.3", 40, 9], ["y", "0.4", "", "", 40, 9]]


def test_incidents_of_the_windows_stand_below_the_loss() -> None:
    """MN-18: Each at its window, by symbol and colour, in words in the table; no sentence is longer than a line of a box."""
    long = {**OPENED, "sentence": "x" * 10_000}
    windows = [point_of(window_report("m", BEGIN + timedelta(days=day), opened=[long] * day)) for day in range(3)]
    option = loss.option(windows)
    incidents = next(one["data"] for one in option["series"] if one.get("name") == "incidents")
    ends = [round((BEGIN + timedelta(days=day + 1)).timestamp() * 1000) for day in (1, 2, 2)]
    assert [one["value"][0] for one in incidents] == ends
    assert {one["symbol"] for one in incidents} == {"triangle"}
    assert max(len(one["name"]) for one in incidents) < 200
    assert [row[-1] for row in loss.rows(windows)] == ["critical drift; critical drift", "critical drift", ""]


@pytest.mark.parametrize("text", [HOSTILE, "x" * 10_000, "\u202eevil\x07", "' onmouseover='alert(1)", "../../etc?a=b&c#d", "{a|b}{{7*7}}"])
def test_hostile_names_are_shown_as_text(ask: Any, store: FolderStore, text: str) -> None:
    """A column, a category, a slice or a sentence may hold anything: it opens no tag and no attribute, and its own page is found."""
    bins = (Bin(label=text, reference=0.1, window=0.9), Bin(label="b", reference=0.9, window=0.1))
    slices = [{"column": text, "name": text, "realised": 0.5, "low": 0.4, "high": 0.6, "labelled": 40}]
    name = write(
        store,
        0,
        found(text, sentence=text, bins=bins),
        confirmed=[text],
        slices=slices,
        opened=[{**OPENED, "sentence": text}],
        sentence=text,
    )
    overview = ask("/models/churn/drift").text
    link = unescape(re.search(f'href="({HERE}{name}\\?column=[^"]*)"', overview)[1])
    assert ask(link.removeprefix("/perennial")).text.count("id='chart-finding-1'") == 1
    for page in (overview, ask(f"/models/churn/drift/{name}").text, ask(link.removeprefix("/perennial")).text, ask("/models/churn").text):
        assert len(re.findall("<script", page)) == 3
        assert not re.search("<[^>]*onmouseover='alert", page.replace("&#39;", ""))
        assert "49" not in "".join(re.findall("{a.b}(49)?", page))
    assert ask(link.removeprefix("/perennial").replace("?", ".json?")).json()["column"] == text


@pytest.mark.parametrize(("days", "folded"), [(12, None), (13, "1 earlier window"), (15, "3 earlier windows")])
def test_the_overview_folds_older_windows(ask: Any, store: FolderStore, days: int, folded: str | None) -> None:
    """MN-18: The newest twelve stand in the table, newest first; those before them are one press away, each once."""
    names = [write(store, day) for day in range(days)]
    page = ask("/models/churn").text
    assert re.findall(r"/churn/windows/([^/]*)/index.html", page) == names[::-1]
    shown, *rest = re.split("<details><summary>(?=[0-9]+ earlier)", page)
    assert re.findall(r"/churn/windows/([^/]*)/index.html", shown) == names[::-1][:12]
    assert [part.split("</summary>")[0] for part in rest] == ([folded] if folded else [])


def test_where_no_window_was_judged_the_page_says_what_is_missing(ask: Any) -> None:
    """MN-19: It is no error: when the next look is, and what it needs."""
    page = ask("/models/churn/drift").text
    assert "No window of live traffic was judged yet." in page
    assert "The next look is at <time" in page
    assert "data-chart" not in page


def test_a_damaged_window_is_said_and_no_other_hidden(ask: Any, store: FolderStore) -> None:
    """MN-18: The overview and the drift page show the others; the window's own page says what to do, with the status of a fault."""
    write(store, 0, found("kept"))
    name = write(store, 1, found("lost"))
    store.write(f"reports/churn/windows/{name}/report.json", b"[]")
    for path in ("/models/churn/drift", "/models/churn"):
        page = ask(path).text
        assert "is no report of a window" in page
        assert "kept" in page
    assert ask(f"/models/churn/drift/{name}").status_code == 503
    assert ask("/models/churn/drift/2020-01-01_2020-01-02").status_code == 404


@pytest.mark.parametrize("path", ["drift", "drift.json", "drift/2026-01-01_2026-01-02", "drift/2026-01-01_2026-01-02.json"])
def test_rights_are_those_of_the_model(ask: Any, store: FolderStore, path: str) -> None:
    """DM-09: Nobody without a login, and nobody who may not read the model's training."""
    write(store, 0, found("a"))
    assert ask(f"/models/churn/{path}", user=None).status_code == 401
    assert ask(f"/models/churn/{path}").status_code == 200
    assert ask(f"/models/secret/{path}").status_code == 404


SURE = {"value": 0.8, "low": 0.75, "high": 0.85}
METRICS = {"f1": {"value": 0.7}, "accuracy": SURE}
OF_CLASSES = {
    "labelled": 80, "units": "rows", "metrics": METRICS, "classes": ["fine", HOSTILE], "confusion": [[40, 8], [8, 24]],
    "each": [{"name": name, "rows": 40, "predicted": 40, "precision": SURE, "recall": None, "f1": SURE} for name in ("fine", HOSTILE)],
}  # fmt: skip


def test_metrics_are_lines_over_the_windows(ask: Any, store: FolderStore) -> None:
    """MN-03: On the page of drift and the model's own: a line of each metric, a gap where no outcome is known, the interval of the first;
    the same as a table."""
    write(store, 0, metrics=OF_CLASSES, realised=0.5)
    write(store, 1)
    for page in ("/models/churn/drift", "/models/churn"):
        text = ask(page).text
        series = {one.get("name"): one for one in told(text, "metrics")["series"]}
        assert [value for _, value in series["Accuracy"]["data"]] == [0.8, None]
        assert [value for _, value in series["F1"]["data"]] == [0.7, None]
        assert told(text, "metrics")["legend"]["data"] == ["Accuracy", "F1"]
        bands = [one["data"][0][1] for one in told(text, "metrics")["series"] if one.get("stack")]
        assert bands == [0.75, pytest.approx(0.1)]
        assert "0.8 (0.75 to 0.85)" in text


def test_a_window_shows_its_classes_and_the_confusion_matrix(ask: Any, store: FolderStore) -> None:
    """MN-03: What was answered against what happened; a class's name is text, what cannot be told is said."""
    name = write(store, 0, metrics=OF_CLASSES)
    page = ask(f"/models/churn/drift/{name}").text
    assert re.search(r"<th scope=\"row\">Accuracy</th><td>0.8 \(0.75 to 0.85\)</td>", page)
    assert page.index("Accuracy</th>") < page.index("F1</th>")
    assert "<td>40</td><td>8</td>" in page
    assert "nothing to tell" in page
    assert "too narrow" in page
    assert HOSTILE not in page
    assert escape(HOSTILE) in page


def test_without_outcomes_there_is_no_picture_of_metrics(ask: Any, store: FolderStore) -> None:
    """MN-03: Nor a heading over nothing."""
    name = write(store, 0)
    assert "chart-metrics" not in ask("/models/churn/drift").text
    assert "Metrics" not in ask(f"/models/churn/drift/{name}").text


def test_the_review_of_a_model(ask: Any, store: FolderStore) -> None:
    """OP-11, DE-20: Its figures, metrics and words; the days are the address's; what somebody wrote stays text."""
    begin = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    write(store, (begin - BEGIN).days - 2, metrics=OF_CLASSES, realised=0.5)
    page = ask("/models/churn/review").text
    assert "30 days" in page
    assert "lead time" in page
    assert "chart-metrics" in page
    assert "Accuracy 0.8 (0.75 to 0.85), F1 0.7" in page
    assert HOSTILE not in page
    assert "chart-metrics" not in ask("/models/churn/review?days=1").text
    assert ask("/models/churn/review.json?days=7").json()["row"]["name"] == "churn"
    assert ask("/models/churn/review?days=0").status_code == 422
    assert ask("/models/secret/review").status_code == 404


def test_delivery_stands_on_the_models_page_and_in_the_list(ask: Any) -> None:
    """DE-20: Four figures of 90 days; of each model that serves how often and how many failed."""
    page = ask("/models/churn").text
    assert "time to restore, median of 0" in page
    assert "Releases, 90 days" in ask("/models").text
