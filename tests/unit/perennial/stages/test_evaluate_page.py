"""The page of an evaluation, for each task and each way to split, as a reader meets it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from perennial.errors import CandidateRefused
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec, SplitSpec
from perennial.stages import evaluate as stage
from perennial.stages.evaluate import Compared, describe, worst_rows
from perennial.training.evaluation import resampled
from perennial.training.report import page, rows_words, with_verdict

HOSTILE = '<b>it\'s "so"</b> & `on` '
DATASET = DatasetSpec(
    name="orders", title="Orders", owner="tests", key=("id",), event_time="at",
    columns=(Column(name="id", type="string"), Column(name="at", type="timestamp"), Column(name="city", type="string"),
        Column(name="price", type="float")),
)  # fmt: skip
CLASSES = {"regression": (), "binary": ("late", "on_time"), "multiclass": (HOSTILE, "b", "c")}
SPLITS = {"time": "days", "group": "groups", "random": "rows"}


def model(task: str, by: str = "time", classes: tuple[str, ...] | None = None) -> ModelSpec:
    """A model of orders."""
    return ModelSpec(
        name="prices", title=HOSTILE, owner="tests", dataset="orders", task=task, inputs=("city",), label="price",
        classes=CLASSES[task] if classes is None else classes, slices=("city",),
        split=SplitSpec(by=by, group=("city",) if by == "group" else ()),
        gate=GateSpec(metric="rmse" if task == "regression" else "log_loss", floors={}),
    )  # fmt: skip


def measured(spec: ModelSpec, *, champion: bool = True, rows: int = 300) -> Compared:
    """Rows of eight days with the scores of one version or two; keys and cities are hostile."""
    rng = np.random.default_rng(1)
    size = len(spec.classes) or 1
    labels = rng.integers(0, size, rows).astype(float) if spec.classes else rng.gamma(2, 1000, rows)

    def scores(noise: float) -> np.ndarray:
        if not spec.classes:
            return (labels * rng.normal(1, noise, rows))[:, None]
        logits = np.exp(rng.normal(size=(rows, size)) + (1 / noise) * np.eye(size)[labels.astype(int)])
        return logits / logits.sum(axis=1, keepdims=True)

    days = np.datetime64("2024-03-01") + np.arange(rows) * 8 // rows
    columns = {
        "id": np.array([f"{HOSTILE}{place}" for place in range(rows)], object),
        "at": days.astype("datetime64[us]"),
        "city": rng.choice([HOSTILE, "Wien"], rows).astype(object),
    }
    known = {"candidate": scores(0.5)} | ({"champion": scores(0.8)} if champion else {})
    return Compared(columns, labels, days, known, drawn=SPLITS[spec.split.by], groups=np.arange(rows) % 12)


def evaluated(spec: ModelSpec, *, champion: bool = True) -> dict[str, Any]:
    """The evaluation of such rows, as the stage writes it down."""
    bounds = {"train": ["2024-01-01", "2024-02-01"], "validation": ["2024-02-01", "2024-03-01"], "test": ["2024-03-01", "2024-03-09"]}
    version = SimpleNamespace(
        record={"bounds": bounds}, split=spec.split, number=3, seen=[], manifest=SimpleNamespace(digest="0a1b2c3d4e5f", snapshot=7)
    )
    test = measured(spec, champion=champion)
    parts = {"test": test} | ({"old_context": test} if champion else {})
    rule = [1 / len(spec.classes)] * len(spec.classes) if spec.classes else [2000.0]
    document = describe(spec, DATASET, version, version if champion else None, parts, rule)
    return json.loads(json.dumps(document | {"incomparable": ""}, allow_nan=False))


class Reader(HTMLParser):
    """What a reader without eyes gets: headings, the labels of pictures, tables beside them, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.headings: list[str] = []
        self.labels: list[str] = []
        self.pictures_without_table = 0
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "figure":
            self.pictures_without_table += 1
        if tag == "table" and "figure" in self.open and self.pictures_without_table:
            self.pictures_without_table -= 1
        if tag == "svg":
            self.labels.append(dict(attrs).get("aria-label") or "")
            assert "figure" in self.open

    def handle_endtag(self, tag: str) -> None:
        """Close it, and what was left open in it."""
        while self.open and self.open.pop() != tag:
            pass
        assert tag != "figure" or not self.pictures_without_table, "a picture without a table"

    def handle_data(self, data: str) -> None:
        """Keep it."""
        if self.open[-1] == "h2":
            self.headings.append(data)
        self.text += data if self.open[-1] != "style" else ""


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resampled", "residuals", "confusion"):
        whole = getattr(stage, name)
        monkeypatch.setattr(stage, name, lambda *given, _whole=whole, **more: _whole(*given, resamples=5, **more))


@pytest.mark.parametrize("by", SPLITS)
@pytest.mark.parametrize("task", CLASSES)
def test_a_page_says_what_its_task_and_its_split_are(task: str, by: str) -> None:
    """MO-07, DM-12, SC-01: Candidate, champion and simple rule for every task; what errs and where; days only where days made the split.
    Each picture has a label that says what it shows, and a table of its figures; names are text whatever they hold."""
    spec = model(task, by)
    document = evaluated(spec)
    reader = Reader(page(spec, document))
    expected = {
        "regression": ["Predicted against actual", "Residuals by prediction", "Size of the errors"],
        "binary": ["Which class is taken for which", "Each class", "Calibration"],
        "multiclass": ["Which class is taken for which", "Each class", "Calibration"],
    }[task]
    assert set(expected) <= set(reader.headings)
    assert ("Residuals over time" in reader.headings) == (task == "regression" and by == "time")
    assert ("Older days" in reader.headings, "Older rows" in reader.headings) == (by == "time", by != "time")
    assert all(f"{document['digest'][:12]}" in reader.text and who in reader.text for who in ("candidate", "champion", "simple rule"))
    assert len(reader.labels) == {"regression": 2 + (by == "time"), "binary": 1, "multiclass": 1}[task]
    for label in reader.labels:
        assert len(label) > 60
        assert any(letter.isdigit() for letter in label)
    assert "b" not in reader.tags
    assert reader.text.count(HOSTILE.strip()) >= 12  # title, worst rows, slices
    if by != "time":
        assert " day" not in reader.text.replace("every day", "")
        assert "2024-03" not in reader.text


def test_the_split_is_said_as_it_was() -> None:
    """DM-12: In the page and in the stage's sentence."""
    part, bounds = {"rows": 1234, "units": 12}, ["2024-03-01", "2024-03-09"]
    assert rows_words(part, {"by": "time", "group": []}, bounds) == "1,234 test rows from 2024-03-01 to before 2024-03-09"
    assert rows_words(part, {"by": "random", "group": []}, bounds) == "1,234 test rows, each chosen at random whatever its time"
    assert rows_words(part, {"by": "group", "group": ["shop", "till"]}, bounds) == (
        "1,234 test rows: all rows of 12 groups by shop, till, of which no row was trained on"
    )
    spec = model("binary", "group")
    assert "on 300 test rows: all rows of 12 groups by city" in stage._sentence(spec, evaluated(spec))


@pytest.mark.parametrize("task", CLASSES)
def test_the_simple_rule_is_measured_on_the_same_rows(task: str) -> None:
    """MO-07, MO-13: Its figures are the metrics of one answer for all rows; where nobody says what it answers there is none."""
    spec = model(task)
    test = evaluated(spec)["parts"]["test"]
    labels = measured(spec).labels
    expected = float(np.sqrt(np.mean((labels - 2000) ** 2))) if task == "regression" else float(np.log(len(spec.classes)))
    assert test["rule"]["metrics"][spec.gate.metric] == pytest.approx(expected)
    assert set(test["rule"]["metrics"]) == set(test["candidate"]["metrics"])


@pytest.mark.parametrize("task", CLASSES)
def test_the_worst_rows_are_those_of_the_largest_losses(task: str) -> None:
    """MO-07: By key, the worst first, with what each version said of them."""
    spec = model(task)
    part = measured(spec)
    rows = worst_rows(spec, DATASET, part)
    places = [int(row["key"]["id"].removeprefix(HOSTILE)) for row in rows]
    if task == "regression":
        errors = np.abs(part.scores["candidate"][:, 0] - part.labels)
        assert [abs(row["actual"] - row["candidate"]) for row in rows] == pytest.approx(sorted(errors)[::-1][:10])
        assert [row["champion"] for row in rows] == part.scores["champion"][places, 0].tolist()
    else:
        of_truth = part.scores["candidate"][np.arange(len(part.labels)), part.labels.astype(int)]
        assert [row["candidate"][1] for row in rows] == pytest.approx(sorted(of_truth)[:10])
        assert [row["actual"] for row in rows] == [spec.classes[int(part.labels[place])] for place in places]
        assert rows[0]["candidate"][0] != rows[0]["actual"]


def test_many_classes_are_shown_as_the_largest_and_a_rest() -> None:
    """MO-08: 20 of 30, and a line and a column for the others; every row is in the matrix."""
    spec = model("multiclass", classes=tuple(f"kind {place}" for place in range(30)))
    document = evaluated(spec, champion=False)
    assert sum(map(sum, document["parts"]["test"]["candidate"]["confusion"]["counts"])) == 300
    reader = Reader(page(spec, document))
    assert reader.text.count("10 others") == 2
    assert "Of 30 classes the 20 with most rows." in reader.text
    assert "There is no champion to compare it with." in reader.text


@pytest.mark.parametrize("who", ["candidate", "champion"])
@pytest.mark.parametrize(
    ("task", "answer"), [("binary", np.nan), ("multiclass", np.inf), ("regression", np.nan), ("regression", -np.inf), ("regression", 1e200)]
)
def test_answers_that_are_no_numbers_are_refused(who: str, task: str, answer: float) -> None:
    """MO-09: One row whose loss is no finite number leaves no figure that says anything: the sentence says whose it is and which row."""
    spec = model(task)
    test = measured(spec)
    test.scores[who][3, 0] = answer
    version = SimpleNamespace(record={"bounds": {"test": ["2024-03-01", "2024-03-09"]}}, manifest=SimpleNamespace(digest="0a", snapshot=7))
    with pytest.raises(CandidateRefused, match=f"loss of the {who} is no finite number on 1 of 300 .* row id {re.escape(HOSTILE)}3\\."):
        describe(spec, DATASET, version, None, {"test": test})


def test_the_verdict_of_the_gate_stands_on_top() -> None:
    """MO-13: A page says that it is not judged yet, then what the gate said, the last time it did; a page from before has it too."""
    spec = model("binary")
    html = page(spec, evaluated(spec))
    assert "has not judged it yet" in html
    passed = {"passed": True, "sentence": f"It is better. {HOSTILE}", "checks": [{"name": "floors", "passed": True, "sentence": "met"}]}
    refused = {"passed": False, "sentence": "It is worse.", "checks": [{"name": "champion", "passed": False, "sentence": "worse"}]}
    judged = with_verdict(with_verdict(html, passed), refused)
    assert judged == with_verdict(html, refused)
    assert "not judged" not in judged
    assert judged.index("The gate refused it.</strong><br>It is worse.") < judged.index("class=tiles")
    assert judged.count("<section id=gate") == judged.count("</section>") == 1
    assert "<b>it" not in with_verdict(html, passed)
    old = "<main><h1>Late</h1><p>Old.</p></main>"
    assert with_verdict(old, refused).startswith("<main><h1>Late</h1><section id=gate")
    assert with_verdict("nothing like a page", refused) == "nothing like a page"


def test_figures_of_slices_have_intervals_and_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-21: Of each slice and version, and of candidate less champion: the interval holds the figure, and is the wider the fewer rows."""
    monkeypatch.setattr(stage, "resampled", resampled)
    for task in ("binary", "regression"):
        spec = model(task)
        test = evaluated(spec)["parts"]["test"]
        metric = "rmse" if task == "regression" else "log_loss"
        for value, figures in test["candidate"]["slices"]["city"].items():
            low, high = test["candidate"]["slice_intervals"]["city"][value][metric]
            assert low <= figures[metric] <= high
            between = test["difference"]["slices"]["city"][value][metric]
            assert between[0] <= figures[metric] - test["champion"]["slices"]["city"][value][metric] <= between[1]
        low, high = test["difference"]["metrics"][metric]
        assert low < test["candidate"]["metrics"][metric] - test["champion"]["metrics"][metric] < high
        alone = evaluated(spec, champion=False)["parts"]["test"]
        assert "difference" not in alone
        assert alone["candidate"]["slice_intervals"] == test["candidate"]["slice_intervals"]  # whoever is beside it
